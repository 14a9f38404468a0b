//! `weftctl events`: what happened, and what happens from now on.
//!
//! ```text
//!   tap0, tap1 ── switch ── weftd.sock ── weftctl
//!   host one ── weftd a ══ tunnel ══ weftd b ── host two
//! ```

use serde_json::{Value, json};
use weft_netns::{
    Daemon, Lab, Nic, Process, Underlay, Wire,
    frame::{BROADCAST, Frame, mac},
    until, until_some,
};

const CONFIG: &str = "\
[port.one]
type = \"netdev\"
device = \"tap0\"
vlan = { access = 10 }

[port.two]
type = \"netdev\"
device = \"tap1\"
vlan = { access = 10 }
";

fn events(daemon: &Daemon) -> Vec<Value> {
    let told = daemon.ctl().json("events --recent");
    told["events"].as_array().unwrap().clone()
}

/// Waits for an event with this word, and the value of one of its fields.
#[track_caller]
fn wait_for(daemon: &Daemon, event: &str, field: &str, value: &Value) -> Value {
    until_some(&format!("an event {event} with {field} {value}"), || {
        let found = |it: &Value| it["event"] == event && it[field] == *value;
        events(daemon).into_iter().rfind(found)
    })
}

#[test]
fn ports_come_and_go_and_configurations_change() {
    let lab = Lab::new();
    let nic = Nic::open(lab.switch(), "tap0");
    let daemon = lab.daemon(CONFIG);
    let ctl = daemon.ctl();
    wait_for(&daemon, "port-up", "port", &json!("one"));
    let waits = wait_for(&daemon, "port-down", "port", &json!("two"));
    assert!(waits["reason"].as_str().unwrap().contains("tap1"), "{waits}");
    let follower = Process::start("weftctl events", lab.switch(), ctl.command(&["events"]));
    follower.wait_for("port two is down");
    drop(nic);
    wait_for(&daemon, "port-down", "port", &json!("one"));
    follower.wait_for("port one is down");
    let _nics = ["tap0", "tap1"].map(|device| Nic::open(lab.switch(), device));
    wait_for(&daemon, "port-up", "port", &json!("two"));
    follower.wait_for("port two is up");
    ctl.run("port remove two");
    wait_for(&daemon, "port-removed", "port", &json!("two"));
    let applied = wait_for(&daemon, "config-applied", "changes", &json!(1));
    assert_eq!(applied["uid"], 0);
    follower.wait_for("a change of the configuration by uid 0");
    daemon.write_config(&(daemon.config() + "[switch.lab]\n[switch.more]\n"));
    daemon.reload();
    let loaded = wait_for(&daemon, "config-applied", "changes", &json!(2));
    assert!(loaded["uid"].is_null(), "{loaded}");

    let events = events(&daemon);
    let numbers: Vec<u64> = events.iter().map(|it| it["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|it| it["time-ms"].as_u64().unwrap()));
    let log = daemon.log();
    assert!(log.contains("port two is removed"), "the log tells the same: {log}");
}

#[test]
fn addresses_that_move_are_told() {
    let lab = Lab::new();
    let mut nics = ["tap0", "tap1"].map(|device| Nic::open(lab.switch(), device));
    let daemon = lab.daemon(CONFIG);
    for port in ["one", "two"] {
        daemon.ctl().wait_for_state(port, "up");
    }
    let hello = Frame::new(mac(7), BROADCAST).text("here").bytes();
    nics[0].send(&hello);
    nics[1].expect_frame(&hello);
    nics[1].send(&hello);
    let moved = wait_for(&daemon, "mac-moved", "port", &json!("two"));
    assert_eq!(
        (&moved["switch"], &moved["vlan"], &moved["mac"]),
        (&json!("main"), &json!(10), &json!("02:00:00:00:00:07"))
    );
    assert!(!events(&daemon).iter().any(|it| it["event"] == "mac-moved" && it["port"] == "one"));
}

#[test]
fn peers_come_and_go() {
    let mut sites = Underlay::between(2).build();
    sites.start(
        |_| "[port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nvlan = { access = 10 }\n".to_owned(),
        "",
    );
    sites.wait_for_tunnels();
    let (a, _b) = sites.pair();
    wait_for(a.daemon(), "peer-up", "peer", &json!("b"));
    sites.cut(1);
    let (a, _b) = sites.pair();
    until("the peer is down", || a.peer_named("b")["state"] != "up");
    wait_for(a.daemon(), "peer-down", "peer", &json!("b"));
}
