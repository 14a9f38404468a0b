//! Who may do what at the control socket: root and the daemon's user change things, members of group `weft` look,
//! others are told that they may not.
//!
//! ```text
//!   weftd, in a mount namespace whose /etc/group has weft:x:4242:
//!     └ weftd.sock ── root, a member of 4242, a stranger
//! ```

use std::{fs, os::unix::net::UnixStream, process::Command};

use weft_netns::{
    Ctl, Daemon, Lab, Output, Process, StreamGuest, Wire, eventually,
    frame::{BROADCAST, Frame, mac, mac_text},
};

const READERS: &str = "4242";
const SOMEBODY: &str = "65533";

struct Scene {
    lab: Lab,
    daemon: Daemon,
}

fn scene() -> Scene {
    let lab = Lab::new();
    let groups: String = fs::read_to_string("/etc/group")
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("weft:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let groups = lab.write("group", &format!("{groups}weft:x:{READERS}:\n"));
    let config = format!(
        "[port.one]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
        lab.path("one.sock").display()
    );
    let wrapper = format!("mount --bind {} /etc/group && exec \"$0\" \"$@\"", groups.display());
    let daemon = Daemon::start_by(&lab, "weftd", &config, &["unshare", "-m", "sh", "-c", &wrapper]);
    Scene { lab, daemon }
}

/// Runs `weftctl` as somebody else.
fn run_as(ctl: &Ctl, group: &str, line: &str) -> Output {
    let arguments: Vec<_> = line.split_whitespace().collect();
    let weftctl = ctl.command(&arguments);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", SOMEBODY, "--regid", SOMEBODY, "--groups", group])
        .arg(weftctl.get_program())
        .args(weftctl.get_args());
    let output = command.output().unwrap();
    Output {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
    }
}

#[test]
fn members_of_the_group_look_and_change_nothing() {
    let Scene { lab, daemon } = scene();
    let ctl = daemon.ctl();
    let before = daemon.config();
    for line in [
        "status",
        "port list",
        "fdb list",
        "vlan list",
        "segment list",
        "peer list",
        "drops",
        "config show",
        "diff",
        "trace --port one --src 02:00:00:00:00:01 --dst ff:ff:ff:ff:ff:ff",
    ] {
        let output = run_as(&ctl, READERS, line);
        assert_eq!(output.code, Some(0), "weftctl {line}: {}", output.stderr);
    }
    let candidate = lab.write("candidate.toml", "");
    for line in [
        "port set one --access 20",
        "port remove one",
        "fdb flush",
        "vlan add x --id 5",
        "segment add x --id 5 --vlan 10",
        "peer ping x --count 1",
        "peer reset x",
        "peer remove x",
        "capture --count 1",
        "capture --drops --count 1",
        &format!("apply {}", candidate.display()),
    ] {
        let output = run_as(&ctl, READERS, line);
        assert_eq!(output.code, Some(1), "weftctl {line}: {}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains("may not"), "weftctl {line}: {}", output.stderr);
    }
    assert_eq!(daemon.config(), before);
    assert_eq!(ctl.port("one")["vlan"]["access"], 10);
}

/// Frames are for those who may change things; who was where, and why it was dropped, is state.
#[test]
fn members_of_the_group_follow_drops_and_see_no_frame() {
    let Scene { lab, daemon } = scene();
    let follow = daemon.ctl().command(&["drops", "--follow"]);
    let mut as_reader = Command::new("setpriv");
    as_reader
        .args(["--reuid", SOMEBODY, "--regid", SOMEBODY, "--groups", READERS])
        .arg(follow.get_program())
        .args(follow.get_args());
    let follower = Process::start("weftctl drops --follow", lab.switch(), as_reader);
    let mut guest = StreamGuest::connect(&lab.path("one.sock"));
    let secret = Frame::new(mac(1), BROADCAST).tag(10).text("nobody's business").bytes();
    eventually(|| {
        guest.send(&secret);
        follower.said().contains("tagged-on-access").then_some(())
    });
    follower.wait_for(&mac_text(mac(1)));
    assert!(!follower.said().contains("business"), "{}", follower.said());
    let refused = run_as(&daemon.ctl(), READERS, "capture --count 1");
    assert!(refused.stderr.contains("may not see frames"), "{}", refused.stderr);
    let log = daemon.log();
    assert!(log.contains("/v1/capture") && log.contains("refused"), "{log}");
}

#[test]
fn strangers_are_told_that_they_may_not() {
    let Scene { lab: _lab, daemon } = scene();
    for line in ["status", "port list", "port remove one", "capture", "drops --follow"] {
        let output = run_as(&daemon.ctl(), SOMEBODY, line);
        assert_eq!(output.code, Some(1), "weftctl {line}: {}{}", output.stdout, output.stderr);
        assert!(
            output.stderr.contains("may not") && output.stderr.contains(SOMEBODY),
            "{}",
            output.stderr
        );
        assert!(!output.stdout.contains("one"), "{}", output.stdout);
    }
    let output = run_as(&daemon.ctl(), SOMEBODY, "--json status");
    let error: serde_json::Value = serde_json::from_str(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "not-allowed");
    assert!(error["error"]["help"].is_string());
}

/// Those who may only look cannot keep root out by holding every connection.
#[test]
fn readers_and_strangers_cannot_keep_root_out() {
    let Scene { lab: _lab, daemon } = scene();
    for group in [READERS, SOMEBODY] {
        let socket = daemon.socket();
        // The credentials are those of the thread at the time of connecting.
        let held: Vec<_> = as_somebody(group, || {
            (0..400).filter_map(|_| UnixStream::connect(&socket).ok()).collect()
        });
        assert!(held.len() > 200, "{} connections", held.len());
        for _ in 0..20 {
            daemon.ctl().run("port set one --access 20");
            daemon.ctl().run("port set one --access 10");
        }
        drop(held);
    }
}

/// Runs `work` with the credentials of a user who is in one group; the test has its process to itself.
fn as_somebody<T>(group: &str, work: impl FnOnce() -> T) -> T {
    use nix::unistd::{Gid, Uid, getgroups, setegid, seteuid, setgroups};
    let own = getgroups().unwrap();
    setgroups(&[Gid::from_raw(group.parse().unwrap())]).unwrap();
    setegid(Gid::from_raw(SOMEBODY.parse().unwrap())).unwrap();
    seteuid(Uid::from_raw(SOMEBODY.parse().unwrap())).unwrap();
    let result = work();
    seteuid(Uid::from_raw(0)).unwrap();
    setegid(Gid::from_raw(0)).unwrap();
    setgroups(&own).unwrap();
    result
}
