//! Changes that nobody has to fear: `apply --confirm`, `confirm`, `rollback`.
//!
//! ```text
//!   host one, 10.0.0.1 ── v1 (netdev) ─ access 10 ┐
//!   host two, 10.0.0.2 ── v2 (netdev) ─ access 10 ┴ switch ── weftd.sock ── weftctl
//! ```

use serde_json::{Value, json};
use weft_netns::{Daemon, Host, Lab, Process, until};

const CONFIG: &str = "\
# The hosts' own ports.
[port.one]
type = \"netdev\"
device = \"v1\"
vlan = { access = 10 } # the administrator's

[port.two]
type = \"netdev\"
device = \"v2\"
vlan = { access = 10 }
";

fn scene() -> (Lab, Daemon, [Host; 2]) {
    let lab = Lab::new();
    let hosts = [("v1", "10.0.0.1/24"), ("v2", "10.0.0.2/24")]
        .map(|(device, address)| Host::on_veth(&lab, device, address));
    let daemon = lab.daemon(CONFIG);
    hosts[0].wait_for_ping("10.0.0.2");
    (lab, daemon, hosts)
}

/// A configuration that puts the administrator's port into VLAN 20.
fn candidate(lab: &Lab, daemon: &Daemon) -> String {
    let text = daemon.config().replacen("access = 10", "access = 20", 1);
    lab.write("candidate.toml", &text).display().to_string()
}

fn vlan_of_one(daemon: &Daemon) -> Value {
    daemon.ctl().port("one")["vlan"]["access"].clone()
}

fn wait_until_it_is_back(daemon: &Daemon) {
    until("what ran before is back", || vlan_of_one(daemon) == 10);
}

#[test]
fn who_locks_himself_out_is_let_in_again() {
    let (lab, daemon, [one, two]) = scene();
    let _server = two.iperf_server();
    let mut session =
        Process::start_line(one.space(), "iperf3 -c 10.0.0.2 -t 1000 -b 10M --forceflush");
    session.wait_for("Retr");
    let (before, file) = (daemon.config(), candidate(&lab, &daemon));
    let said = daemon.ctl().run(&format!("apply {file} --confirm 2s"));
    assert!(said.contains("weftctl confirm"), "{said}");
    wait_until_it_is_back(&daemon);
    assert_eq!(daemon.config(), before);
    let heard = two.counter("TcpInSegs");
    until("the session goes on", || two.counter("TcpInSegs") > heard + 100);
    assert!(session.ended().is_none(), "{}", session.said());
    daemon.wait_for_log(0, "nobody confirmed");
    let refused = daemon.ctl().refused(1, "--json confirm");
    assert!(refused.contains("nothing-pending"), "{refused}");
    daemon.ctl().refused(1, "rollback");
}

#[test]
fn nothing_else_is_changed_until_it_is_confirmed() {
    let (lab, daemon, [one, _two]) = scene();
    let ctl = daemon.ctl();
    let (before, file) = (daemon.config(), candidate(&lab, &daemon));
    let applied = ctl.json(&format!("apply {file} --confirm 10m"));
    let left = applied["candidate"]["seconds-left"].as_u64().unwrap();
    assert!((1..=600).contains(&left) && applied["written"].is_null(), "{applied}");
    assert_eq!(vlan_of_one(&daemon), 20);
    assert_eq!(daemon.config(), before, "the file waits");
    assert!(!one.pings("10.0.0.2"));
    let changes = [
        "port set two --access 20".to_owned(),
        "port set two --access 20 --transient".to_owned(),
        "vlan add office --id 10".to_owned(),
        "fdb add 02:00:00:00:00:01 --vlan 10 --port two".to_owned(),
        format!("apply {file}"),
        format!("apply {file} --confirm 1m"),
    ];
    for change in changes {
        let refused = ctl.refused(1, &format!("--json {change}"));
        assert!(refused.contains("confirm-pending"), "{change}: {refused}");
    }
    let log = daemon.log_len();
    daemon.reload();
    daemon.wait_for_log(log, "waits for its confirmation");
    assert_eq!(vlan_of_one(&daemon), 20);
    let (status, document) = (ctl.run("status"), ctl.json("config show"));
    assert!(status.contains("weftctl confirm"), "{status}");
    assert_eq!(document["candidate"]["uid"], 0);
    // Looking is allowed.
    assert_ne!(ctl.json("diff")["changes"], json!([]));
    ctl.run(&format!("apply {file} --dry-run"));

    let confirmed = ctl.json("confirm");
    assert_eq!(confirmed["changes"].as_array().unwrap().len(), 1, "{confirmed}");
    assert!(confirmed["written"].is_string() && confirmed["candidate"].is_null(), "{confirmed}");
    assert_eq!(daemon.config(), std::fs::read_to_string(&file).unwrap());
    assert!(!ctl.run("status").contains("weftctl confirm"));
    ctl.run("port set two --access 20");
    one.wait_for_ping("10.0.0.2");
}

#[test]
fn a_candidate_is_taken_back_at_a_word() {
    let (lab, daemon, [one, _two]) = scene();
    let (ctl, before) = (daemon.ctl(), daemon.config());
    ctl.run(&format!("apply {} --confirm 10m", candidate(&lab, &daemon)));
    let back = ctl.json("rollback");
    assert_eq!(back["changes"].as_array().unwrap().len(), 1, "{back}");
    assert_eq!((vlan_of_one(&daemon), daemon.config()), (json!(10), before));
    one.wait_for_ping("10.0.0.2");
    assert_eq!(ctl.json("rollback --list"), json!([]));
    ctl.run("vlan add office --id 10");
}

/// Transient changes are part of what ran before.
#[test]
fn what_comes_back_is_what_ran() {
    let (lab, daemon, _hosts) = scene();
    let (ctl, before) = (daemon.ctl(), daemon.config());
    ctl.run("port set two --access 30 --transient");
    ctl.run(&format!("apply {} --confirm 10m", candidate(&lab, &daemon)));
    ctl.run("rollback");
    assert_eq!(ctl.port("two")["vlan"]["access"], 30);
    assert_eq!(daemon.config(), before);
}

#[test]
fn a_daemon_that_is_killed_meanwhile_goes_on_waiting() {
    let (lab, mut daemon, _hosts) = scene();
    let file = candidate(&lab, &daemon);
    daemon.ctl().run(&format!("apply {file} --confirm 10m"));
    daemon.kill9();
    daemon.restart();
    assert_eq!(vlan_of_one(&daemon), 20);
    daemon.ctl().refused(1, "vlan add office --id 10");
    daemon.ctl().run("confirm");
    assert_eq!(daemon.config(), std::fs::read_to_string(&file).unwrap());
    daemon.kill9();
    daemon.restart();
    assert_eq!(vlan_of_one(&daemon), 20);
    daemon.ctl().run("vlan add office --id 10");
}

#[test]
fn a_daemon_that_is_killed_meanwhile_takes_it_back_in_time() {
    let (lab, mut daemon, [one, _two]) = scene();
    let before = daemon.config();
    // It is over while the daemon runs again, or before it does: both end the same.
    for patience in ["5s", "1s"] {
        daemon.ctl().run(&format!("apply {} --confirm {patience}", candidate(&lab, &daemon)));
        daemon.kill9();
        daemon.restart();
        wait_until_it_is_back(&daemon);
        one.wait_for_ping("10.0.0.2");
        assert_eq!(daemon.config(), before);
        daemon.ctl().refused(1, "confirm");
    }
}

#[test]
fn a_file_that_was_edited_meanwhile_is_not_overwritten() {
    let (lab, daemon, _hosts) = scene();
    let (ctl, before) = (daemon.ctl(), daemon.config());
    ctl.run(&format!("apply {} --confirm 10m", candidate(&lab, &daemon)));
    daemon.write_config("# somebody else's\n");
    let refused = ctl.refused(1, "--json confirm");
    assert!(refused.contains("file-changed"), "{refused}");
    assert_eq!(vlan_of_one(&daemon), 20, "it goes on waiting");
    daemon.write_config(&before);
    ctl.run("confirm");
}

#[test]
fn earlier_configurations_are_gone_back_to() {
    let (lab, mut daemon, [one, _two]) = scene();
    let ctl = daemon.ctl();
    let said = ctl.refused(1, "rollback");
    assert!(said.contains("no earlier configuration"), "{said}");
    let mut texts = vec![daemon.config()];
    for id in 20..33 {
        ctl.run(&format!("port set one --access {id}"));
        texts.push(daemon.config());
    }
    let formers = ctl.json("rollback --list");
    let numbers: Vec<u64> =
        formers.as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (4..=13).rev().collect::<Vec<_>>());
    assert_eq!(formers[0]["uid"], 0);
    let told = ctl.run("rollback 4 --dry-run");
    assert!(told.contains("port.one") && told.contains("dry run"), "{told}");
    assert_eq!(daemon.config(), texts[13]);
    // The last one, and back again.
    ctl.run("rollback");
    assert_eq!(daemon.config(), texts[12]);
    ctl.run("rollback");
    assert_eq!(daemon.config(), texts[13]);
    daemon.kill9();
    daemon.restart();
    ctl.run("rollback 6");
    assert_eq!(daemon.config(), texts[5]);
    assert_eq!(vlan_of_one(&daemon), 24);
    let gone = ctl.refused(1, "rollback 1");
    assert!(gone.contains("--list"), "{gone}");
    // An edited file that is loaded again leaves the one before, too.
    daemon.write_config(&texts[0]);
    daemon.reload();
    wait_until_it_is_back(&daemon);
    one.wait_for_ping("10.0.0.2");
    assert!(ctl.json("rollback --list")[0]["uid"].is_null());
    ctl.run("rollback --confirm 10m");
    assert_eq!((vlan_of_one(&daemon), daemon.config()), (json!(24), texts[0].clone()));
    ctl.run("rollback");
    assert_eq!(vlan_of_one(&daemon), 10);
    drop(lab);
}

#[test]
fn words_that_do_not_fit_are_refused() {
    let (lab, daemon, _hosts) = scene();
    let (ctl, before, file) = (daemon.ctl(), daemon.config(), candidate(&lab, &daemon));
    for options in
        ["--confirm", "--confirm 60", "--confirm 1m --transient", "--confirm 1m --dry-run"]
    {
        ctl.refused(2, &format!("apply {file} {options}"));
    }
    for time in ["0s", "25h"] {
        let refused = ctl.refused(1, &format!("apply {file} --confirm {time}"));
        assert!(refused.contains("24 h"), "{refused}");
    }
    for line in ["rollback x", "rollback 3 --list", "rollback --list --dry-run"] {
        ctl.refused(2, line);
    }
    assert_eq!(daemon.config(), before);
    assert_eq!(vlan_of_one(&daemon), 10);
}
