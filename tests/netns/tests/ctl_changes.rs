//! Changes by `weftctl`: live, written back to the file with its comments, idempotent where asked, refused in words.
//!
//! ```text
//!   tap0, tap1 ── switch ── weftd.sock ── weftctl
//!                    └ weft.toml
//! ```

use std::fs;

use weft_netns::{
    Daemon, Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
};

const CONFIG: &str = "\
# The office of the second floor.
[daemon]
workers = 1   # one core is enough

[vlan.office]
id = 10 # since 2019

# Do not touch: the database.
[port.db]
type = \"netdev\"
device = \"tap1\"
vlan = { access = \"office\" }
mac-limit = 64 # agreed with the team
";

fn scene() -> (Lab, Daemon, Nic, Nic) {
    let lab = Lab::new();
    let web = Nic::open(lab.switch(), "tap0");
    let db = Nic::open(lab.switch(), "tap1");
    let daemon = lab.daemon(CONFIG);
    (lab, daemon, web, db)
}

#[test]
fn a_port_is_added_changed_and_removed_and_the_file_says_so() {
    let (_lab, daemon, mut web, mut db) = scene();
    let ctl = daemon.ctl();
    ctl.run("port add web1 --type netdev --device tap0 --access office");
    ctl.wait_for_state("web1", "up");
    let frame = Frame::new(mac(1), BROADCAST).text("live").bytes();
    web.send(&frame);
    db.expect_frame(&frame);
    let text = daemon.config();
    assert!(text.starts_with(CONFIG.trim_end()), "the rest is as it was:\n{text}");
    assert!(text.contains("[port.web1]") && text.contains("tap0"), "{text}");

    // Only what is named changes.
    ctl.run("port set web1 --mac-limit 7 --isolated");
    ctl.run("port set db --flood-limit 500/s");
    let text = daemon.config();
    for line in [
        "# The office of the second floor.",
        "# one core is enough",
        "# since 2019",
        "# agreed with the team",
    ] {
        assert!(text.contains(line), "{line} is lost:\n{text}");
    }
    assert!(text.contains("flood-limit = \"500/s\"") && text.contains("mac-limit = 7"), "{text}");
    ctl.run("port set web1 --trunk 10,20,100-199 --native 10");
    assert_eq!(ctl.port("web1")["vlan"]["native"], 10);
    ctl.run("port set web1 --unset mac-limit");
    assert!(!daemon.config().contains("mac-limit = 7"));
    ctl.run("port set web1 --access 10");

    ctl.run("port remove web1");
    let text = daemon.config();
    assert!(!text.contains("web1") && text.contains("# Do not touch: the database."), "{text}");
    // The file is whole, and means what runs.
    ctl.run(&format!("check {}", daemon.config_path().display()));
    assert_eq!(ctl.json("diff")["changes"], serde_json::json!([]));
}

#[test]
fn what_is_written_survives_a_restart() {
    let (_lab, mut daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    ctl.run("port add web1 --type netdev --device tap0 --access 20");
    ctl.run("port set db --access 20 --transient");
    daemon.kill9();
    daemon.restart();
    assert_eq!(ctl.port("web1")["vlan"]["access"], 20);
    assert_eq!(ctl.port("db")["vlan"]["access"], 10, "a transient change is gone");
}

#[test]
fn transient_changes_leave_the_file_alone() {
    let (_lab, daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    ctl.run("port add web1 --type netdev --device tap0 --access 20 --transient");
    ctl.run("vlan add guests --id 20 --transient");
    assert_eq!(daemon.config(), CONFIG);
    ctl.wait_for_state("web1", "up");
    let diff = ctl.run("diff");
    assert!(diff.contains("web1") && diff.contains("guests"), "{diff}");
    // What the file says comes back with it.
    daemon.reload();
    weft_netns::until("the reload takes the port away", || !ctl.run("port list").contains("web1"));
    assert_eq!(ctl.json("diff")["changes"], serde_json::json!([]));
}

#[test]
fn a_file_that_was_edited_meanwhile_is_not_written_over() {
    let (_lab, daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    let edited = CONFIG.replace("since 2019", "since 2020")
        + "[port.mine]\ntype = \"tap\"\ndevice = \"mine\"\n";
    daemon.write_config(&edited);
    let errors = ctl.refused(1, "port set db --access 20");
    assert!(errors.contains("weft.toml") && errors.contains("diff"), "{errors}");
    assert_eq!(daemon.config(), edited);
    assert_eq!(ctl.port("db")["vlan"]["access"], 10, "nothing was changed");
    let refused = ctl.refused(1, "--json port set db --access 20");
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["error"]["code"], "file-changed", "{refused}");
    // The running switch alone may be changed.
    ctl.run("port set db --access 20 --transient");
    assert_eq!(ctl.port("db")["vlan"]["access"], 20);
}

#[test]
fn a_file_that_cannot_be_written_refuses_the_change() {
    let (_lab, mut daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    fs::remove_file(daemon.config_path()).unwrap();
    fs::create_dir(daemon.config_path()).unwrap();
    ctl.refused(1, "port set db --access 20");
    assert_eq!(ctl.port("db")["vlan"]["access"], 10);
    assert!(daemon.is_running());
    fs::remove_dir(daemon.config_path()).unwrap();
}

#[test]
fn idempotent_where_asked_and_strict_otherwise() {
    let (_lab, daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    let add = "port add web1 --type netdev --device tap0 --access office";
    ctl.run(add);
    let written = daemon.config();
    let errors = ctl.refused(1, add);
    assert!(errors.contains("web1"), "{errors}");
    ctl.run(&format!("{add} --may-exist"));
    // Not equal is not the same.
    ctl.refused(1, "port add web1 --type netdev --device tap0 --access 20 --may-exist");
    assert_eq!(daemon.config(), written);
    ctl.run("port remove web1");
    let errors = ctl.refused(1, "port remove web1");
    assert!(errors.contains("web1"), "{errors}");
    ctl.run("port remove web1 --if-exists");
    ctl.run("vlan add guests --id 20");
    ctl.refused(1, "vlan add guests --id 20");
    ctl.run("vlan add guests --id 20 --may-exist");
    ctl.run("vlan remove guests");
    ctl.refused(1, "vlan remove guests");
    ctl.run("vlan remove guests --if-exists");
    ctl.run("switch add lab --mac-limit 100");
    ctl.refused(1, "switch add lab");
    ctl.run("switch add lab --mac-limit 100 --may-exist");
    ctl.run("switch remove lab");
    ctl.run("switch remove lab --if-exists");
    ctl.run("fdb add 02:00:00:00:00:01 --vlan office --port db");
    ctl.refused(1, "fdb add 02:00:00:00:00:01 --vlan office --port db");
    ctl.run("fdb add 02:00:00:00:00:01 --vlan office --port db --may-exist");
    ctl.run("fdb remove 02:00:00:00:00:01 --vlan office");
    ctl.run("fdb remove 02:00:00:00:00:01 --vlan office --if-exists");
}

#[test]
fn refusals_say_what_to_write_instead() {
    let (lab, daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    let before = daemon.config();
    for (line, words) in [
        ("port set bd --access 20", "db"),
        ("port set db --access ofice", "office"),
        ("port set db --access 4095", "4094"),
        ("port set db --access 0", "4094"),
        ("port add web1 --type netdev --device tap1 --access 10", "tap1"),
        (
            "port add web1 --type netdev --device averyveryverylongname --access 10",
            "averyveryverylongname",
        ),
        ("port set db --native 10", "trunk"),
        ("fdb add 01:00:00:00:00:01 --vlan 10 --port db", "01:00:00:00:00:01"),
        ("fdb add 02:00:00:00:00:01 --vlan 10 --port bd", "db"),
        ("port set db --switch mian", "main"),
        ("switch remove main", "main"),
    ] {
        let output = ctl.line(line);
        assert!(matches!(output.code, Some(1 | 2)), "weftctl {line}: {output:?}");
        assert!(
            output.stderr.contains(words),
            "weftctl {line} does not mention {words}: {}",
            output.stderr
        );
    }
    assert_eq!(daemon.config(), before);
    assert_eq!(ctl.port("db")["vlan"]["access"], 10);
    drop(lab);
}

#[test]
fn exit_codes_tell_refused_from_misused_from_unreachable() {
    let (lab, mut daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    ctl.run("status");
    ctl.refused(1, "port show nobody");
    ctl.refused(2, "port frobnicate");
    ctl.refused(2, "port add web1");
    let errors = ctl.refused(2, "prot list");
    assert!(errors.contains("port"), "{errors}");
    daemon.terminate();
    let errors = ctl.refused(3, "status");
    assert!(errors.contains(&*daemon.socket().to_string_lossy()), "{errors}");
    let refused = ctl.refused(3, "--json status");
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert!(
        refused["error"]["code"].is_string() && refused["error"]["message"].is_string(),
        "{refused}"
    );
    // A check needs no daemon.
    ctl.run(&format!("check {}", daemon.config_path().display()));
    drop(lab);
}
