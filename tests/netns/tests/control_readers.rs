//! Whoever may only look at a switch: every request of the API is tried, and no answer, to a reader or to root, has a
//! secret in it.

use std::{fs, process::Command};

use serde_json::Value;
use weft_netns::{Ctl, Daemon, Lab, http};

const READERS: &str = "4242";
const SOMEBODY: &str = "65533";
/// Requests that change nothing although they have a body.
const QUESTIONS: [&str; 2] = ["/v1/config/diff", "/v1/trace"];
/// An answer that goes on for as long as it is read.
const ENDLESS: &str = "/v1/drops";
const PUBLIC: [&str; 2] = [
    "CSOLUmM6kIzn7QZnBU1Gi5sTvwPIdSHxhBv3RSDwHn4=",
    "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
];

struct Scene {
    lab: Lab,
    daemon: Daemon,
    /// What nobody may be told.
    secrets: Vec<String>,
}

fn scene() -> Scene {
    let lab = Lab::new();
    let keys = ["vpn", "road", "psk"].map(|name| {
        let path = lab.path(&format!("{name}.key"));
        let make = if name == "psk" { "psk" } else { "generate" };
        let made = Ctl::new(&path).run(&format!("key {make}"));
        let key = made.lines().map(str::trim).find(|line| line.len() == 44).expect("a key is made");
        fs::write(&path, format!("{key}\n")).expect("a key can be written");
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, only_owner).expect("a mode can be set");
        (path.display().to_string(), key.to_owned())
    });
    let [(vpn, first), (road, second), (psk, third)] = keys;
    let groups = fs::read_to_string("/etc/group").expect("there are groups");
    let groups: String = groups
        .lines()
        .filter(|line| !line.starts_with("weft:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let groups = lab.write("group", &format!("{groups}weft:x:{READERS}:\n"));
    let config = format!(
        "[port.one]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n\
         [vpn]\nlisten = \"127.0.0.1:51937\"\nprivate-key-file = \"{vpn}\"\n\
         [vpn.peer.berlin]\npublic-key = \"{}\"\npreshared-key-file = \"{psk}\"\nsegments = [\"office\"]\n\
         [wireguard.road]\nvlan = 10\naddress = [\"10.0.0.1/24\"]\nlisten = \"127.0.0.1:51938\"\n\
         private-key-file = \"{road}\"\n\
         [wireguard.road.peer.alice]\npublic-key = \"{}\"\npreshared-key-file = \"{psk}\"\n\
         allowed-ips = [\"10.0.0.9/32\"]\n",
        lab.path("one.sock").display(),
        PUBLIC[0],
        PUBLIC[1],
    );
    let wrapper = format!("mount --bind {} /etc/group && exec \"$0\" \"$@\"", groups.display());
    let daemon = Daemon::start_by(&lab, "weftd", &config, &["unshare", "-m", "sh", "-c", &wrapper]);
    Scene { lab, daemon, secrets: vec![first, second, third] }
}

/// Every method of every path that the daemon describes, with names in place of parameters.
fn requests(daemon: &Daemon) -> Vec<(String, String)> {
    let document = http::request(&daemon.socket(), "GET", "/openapi.json", &[], "").json();
    let paths = document["paths"].as_object().expect("there are paths").clone();
    let mut requests = Vec::new();
    for (path, methods) in paths {
        let filled = path
            .split('/')
            .map(|part| match part {
                "{name}" if path.contains("/peers") => "berlin",
                "{name}" if path.contains("/wireguard") => "road",
                "{peer}" => "alice",
                "{number}" | "{id}" => "1",
                part if part.starts_with('{') => "one",
                part => part,
            })
            .collect::<Vec<_>>()
            .join("/");
        let methods = methods.as_object().into_iter().flat_map(|methods| methods.keys().cloned());
        requests.extend(methods.map(|method| (method.to_uppercase(), filled.clone())));
    }
    assert!(requests.len() > 30, "{requests:?}");
    requests
}

/// Runs `work` as a member of the group; the test has its process to itself.
fn as_reader<T>(work: impl FnOnce() -> T) -> T {
    use nix::unistd::{Gid, Uid, getgroups, setegid, seteuid, setgroups};
    let own = getgroups().expect("a process has groups");
    setgroups(&[Gid::from_raw(READERS.parse().expect("a number"))]).expect("root may");
    setegid(Gid::from_raw(SOMEBODY.parse().expect("a number"))).expect("root may");
    seteuid(Uid::from_raw(SOMEBODY.parse().expect("a number"))).expect("root may");
    let result = work();
    seteuid(Uid::from_raw(0)).expect("it was root");
    setegid(Gid::from_raw(0)).expect("it was root");
    setgroups(&own).expect("it was root");
    result
}

#[test]
fn no_request_lets_a_reader_change_anything_or_anybody_see_a_secret() {
    let Scene { lab: _lab, daemon, secrets } = scene();
    let before = daemon.config();
    for (method, path) in requests(&daemon) {
        if path == ENDLESS {
            continue;
        }
        let body = if method == "GET" || method == "DELETE" { "" } else { "{}" };
        let ask = || http::request(&daemon.socket(), &method, &path, &[], body);
        let to_reader = as_reader(ask);
        let changes = method != "GET" && !QUESTIONS.contains(&path.as_str());
        assert_eq!(to_reader.status == 403, changes, "{method} {path}: {to_reader:?}");
        if changes {
            assert_eq!(to_reader.json()["error"]["code"], "not-allowed", "{method} {path}");
        }
        let mut answers = vec![to_reader.body];
        if method == "GET" {
            answers.push(ask().body);
        }
        for secret in &secrets {
            assert!(!answers.iter().any(|answer| answer.contains(secret)), "{method} {path}");
        }
    }
    assert_eq!(daemon.config(), before);
    let said = daemon.log();
    assert!(!secrets.iter().any(|secret| said.contains(secret)), "{said}");
    // Each refusal says who asked for what.
    assert!(said.contains(SOMEBODY) && said.contains("refused"), "{said}");
}

#[test]
fn a_file_that_one_may_not_read_is_not_told_of() {
    let Scene { lab, .. } = scene();
    let secret = "root:$6$kanari$hash:19000:0:99999:7:::\n";
    let shadow = lab.write("shadow", secret);
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&shadow, only_owner).expect("a mode can be set");
    let ctl = Ctl::new(&lab.path("none.sock"));
    let shadow = shadow.display().to_string();
    let weftctl = ctl.command(&["--json", "check", &shadow]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", SOMEBODY, "--regid", SOMEBODY, "--groups", READERS]);
    command.arg(weftctl.get_program()).args(weftctl.get_args());
    let output = command.output().expect("setpriv(1) of util-linux is installed");
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stderr).expect("it is JSON");
    let message = told["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("Permission denied"), "{told}");
    assert!(!told.to_string().contains("kanari"), "{told}");
}
