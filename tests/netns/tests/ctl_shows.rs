//! What `weftctl` shows: documents in the agreed shape, and words that name the place.
//!
//! ```text
//!   tap0 ── web ─ access 10 ┐
//!   tap1 ── db ─ access 10 ─┼ switch ── weftctl
//!   (nothing) ─ gone ─ trunk ┘
//! ```

use serde_json::{Value, json};
use weft_netns::{
    Daemon, Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
};

const CONFIG: &str = "\
[vlan.office]
id = 10
[port.web]
type = \"netdev\"
device = \"tap0\"
vlan = { access = \"office\" }
[port.db]
type = \"netdev\"
device = \"tap1\"
vlan = { access = 10 }
[port.gone]
type = \"netdev\"
device = \"tap9\"
vlan = { trunk = [10, \"20-29\"], native = 10 }
[port.dev]
type = \"stream\"
socket = \"SOCKET\"
vlan = { dot1q-tunnel = 300, customer = [10, 12] }
[[fdb]]
mac = \"52:54:00:12:34:56\"
vlan = 10
port = \"db\"
";

fn scene() -> (Lab, Daemon, Nic, Nic) {
    let lab = Lab::new();
    let (mut web, mut db) = (Nic::open(lab.switch(), "tap0"), Nic::open(lab.switch(), "tap1"));
    let daemon = lab.daemon(&CONFIG.replace("SOCKET", &lab.path("dev.sock").to_string_lossy()));
    let frame = Frame::new(mac(1), BROADCAST).text("hello").bytes();
    web.send(&frame);
    db.expect_frame(&frame);
    web.send(&Frame::new(mac(1), BROADCAST).tag(10).bytes());
    daemon.ctl().wait_for_drops("web", "rx", "tagged-on-access", 1);
    (lab, daemon, web, db)
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn port_list_has_the_agreed_shape() {
    let (lab, daemon, _web, _db) = scene();
    let ports = daemon.ctl().json("port list");
    assert_eq!(ports.as_array().unwrap().len(), 4);
    let web = daemon.ctl().port("web");
    assert_eq!(
        (&web["switch"], &web["type"], &web["device"]),
        (&json!("main"), &json!("netdev"), &json!("tap0"))
    );
    assert_eq!((&web["state"], &web["vlan"]), (&json!("up"), &json!({ "access": 10 })));
    assert_eq!(web["rx"], json!({ "frames": 2, "bytes": 124, "drops": { "tagged-on-access": 1 } }));
    assert_eq!(keys(&web["tx"]), ["bytes", "drops", "frames"]);
    assert!(web["reason"].is_null() && web["socket"].is_null());
    let gone = daemon.ctl().port("gone");
    assert_eq!(gone["state"], "waiting");
    assert!(gone["reason"].as_str().unwrap().contains("tap9"), "{gone}");
    assert_eq!(gone["vlan"]["native"], 10);
    let dev = daemon.ctl().port("dev");
    assert_eq!((&dev["type"], &dev["socket"]), (&json!("stream"), &json!(lab.path("dev.sock"))));
    assert_eq!((&dev["vlan"]["dot1q-tunnel"], dev["device"].is_null()), (&json!(300), true));
    let shown = daemon.ctl().json("port show web");
    assert_eq!((&shown["name"], &shown["vlan"]), (&json!("web"), &json!({ "access": 10 })));
}

#[test]
fn fdb_list_has_the_agreed_shape() {
    let (_lab, daemon, _web, _db) = scene();
    let entries = daemon.ctl().json("fdb list --port web");
    let entry = &entries[0];
    assert_eq!(keys(entry), ["age-seconds", "kind", "mac", "port", "switch", "vlan"]);
    assert_eq!(
        (&entry["mac"], &entry["kind"], &entry["vlan"]),
        (&json!("02:00:00:00:00:01"), &json!("dynamic"), &json!(10))
    );
    assert!(entry["age-seconds"].as_u64().unwrap() < 60);
    let entry = &daemon.ctl().json("fdb list --port db")[0];
    assert_eq!((&entry["kind"], &entry["age-seconds"]), (&json!("static"), &json!(0)));
}

#[test]
fn a_trace_says_what_would_happen_and_does_not_do_it() {
    let (_lab, daemon, _web, mut db) = scene();
    let ctl = daemon.ctl();
    let before = (ctl.port("web"), ctl.json("fdb list").as_array().unwrap().len());
    let flood = ctl.json("trace --port web --src 02:00:00:00:00:09 --dst ff:ff:ff:ff:ff:ff");
    assert_eq!((&flood["verdict"], &flood["vlan"]), (&json!("flood"), &json!(10)), "{flood}");
    let mut egress: Vec<_> = flood["egress"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["port"].as_str().unwrap(), e["tagged"].as_bool().unwrap()))
        .collect();
    egress.sort_unstable();
    assert!(egress.contains(&("db", false)), "{flood}");
    assert!(!flood["steps"].as_array().unwrap().is_empty());
    assert!(
        flood["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| step["stage"].is_string() && step["text"].is_string())
    );
    let known = ctl.json("trace --port web --src 02:00:00:00:00:01 --dst 52:54:00:12:34:56");
    assert_eq!(
        (&known["verdict"], &known["egress"][0]["port"]),
        (&json!("forward"), &json!("db")),
        "{known}"
    );
    let dropped =
        ctl.json("trace --port web --src 02:00:00:00:00:01 --dst ff:ff:ff:ff:ff:ff --tag 20");
    assert_eq!(
        (&dropped["verdict"], &dropped["reason"]),
        (&json!("drop"), &json!("tagged-on-access")),
        "{dropped}"
    );
    assert_eq!(dropped["egress"], json!([]));
    let hex = "ffffffffffff020000000001080000";
    let raw = ctl.json(&format!("trace --port web --frame {hex}"));
    assert_eq!(raw["verdict"], "flood", "{raw}");
    let words =
        ctl.run("trace --port web --src 02:00:00:00:00:01 --dst ff:ff:ff:ff:ff:ff --tag 20");
    assert!(words.contains("access") && words.contains("10"), "{words}");
    ctl.refused(1, "trace --port nobody --src 02:00:00:00:00:01 --dst ff:ff:ff:ff:ff:ff");
    // Nothing was counted, learned or sent.
    assert_eq!((ctl.port("web"), ctl.json("fdb list").as_array().unwrap().len()), before);
    let marker = Frame::new(mac(2), mac(1)).text("marker").bytes();
    db.send(&marker);
    until("the marker is counted", || ctl.port("db")["rx"]["frames"] == 1);
}

/// A port whose device is set down takes no frames: the trace gives the reason that is counted.
#[test]
fn a_trace_knows_that_a_device_is_down() {
    let (lab, daemon, _web, mut db) = scene();
    let ctl = daemon.ctl();
    lab.switch().run("ip link set tap0 down");
    let reason = ctl.wait_for_state("web", "down")["reason"].clone();
    assert!(reason.as_str().unwrap().contains("ip link set tap0 up"), "{reason}");
    let trace = ctl.json("trace --port db --src 02:00:00:00:00:02 --dst 02:00:00:00:00:01");
    assert_eq!(
        (&trace["verdict"], &trace["reason"], &trace["egress"]),
        (&json!("drop"), &json!("port-down"), &json!([])),
        "{trace}"
    );
    let before = ctl.drops("web", "tx", "port-down");
    db.send(&Frame::new(mac(2), mac(1)).text("lost").bytes());
    ctl.wait_for_drops("web", "tx", "port-down", before + 1);
}

/// What is sent to a device that nothing is attached to is counted as lost, and goes again when something is.
#[test]
fn frames_to_a_device_without_carrier_are_counted() {
    let (lab, daemon, _web, mut db) = scene();
    let ctl = daemon.ctl();
    lab.switch().run("ip link add open type veth peer name end");
    ctl.run("port add open --type netdev --device open --access 10");
    let reason = ctl.wait_for_state("open", "down")["reason"].clone();
    assert!(reason.as_str().unwrap().contains("no carrier"), "{reason}");
    db.send(&Frame::new(mac(2), BROADCAST).text("lost").bytes());
    ctl.wait_for_drops("open", "tx", "port-down", 1);
    lab.switch().run("ip link set end up");
    ctl.wait_for_state("open", "up");
    let before = ctl.port("open")["tx"]["frames"].as_u64().unwrap();
    db.send(&Frame::new(mac(2), BROADCAST).text("sent").bytes());
    until("the frame is sent", || ctl.port("open")["tx"]["frames"].as_u64().unwrap() > before);
}

#[test]
fn one_screen_says_how_it_is() {
    let (_lab, daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    let screen = ctl.run("status");
    for word in ["main", "web", "db", "gone", "tap9", "02:00:00:00:00:01", "office"] {
        assert!(screen.contains(word), "{word} is not on the screen:\n{screen}");
    }
    let status = ctl.json("status");
    for key in [
        "version",
        "pid",
        "uptime-seconds",
        "workers",
        "revision",
        "switches",
        "vlans",
        "ports",
        "macs",
        "problems",
    ] {
        assert!(!status[key].is_null(), "{key}: {status}");
    }
    assert_eq!(status["pid"], daemon.pid());
    assert!(status["problems"].to_string().contains("tap9"), "{status}");
    let drops = ctl.run("drops");
    assert!(drops.contains("web") && drops.contains("tagged-on-access"), "{drops}");
    assert!(ctl.json("drops").to_string().contains("tagged-on-access"));
    let vlans = ctl.json("vlan list");
    let office = vlans.as_array().unwrap().iter().find(|vlan| vlan["vlan"] == 10).unwrap();
    assert_eq!(office["name"], "office", "{vlans}");
    assert!(office["untagged"].as_array().unwrap().contains(&json!("web")), "{vlans}");
    let switches = ctl.json("switch list");
    assert_eq!(switches[0]["name"], "main", "{switches}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(ctl.run(&format!("completions {shell}")).contains("weftctl"));
    }
}

/// Output for machines has no colours, whatever is asked; output for a pipe has none unless asked.
#[test]
fn colours_are_for_terminals() {
    let (_lab, daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    assert!(!ctl.run("status").contains('\x1b'));
    assert!(!ctl.run("--json --color always status").contains('\x1b'));
    assert!(ctl.run("--color always status").contains('\x1b'));
}

#[test]
fn a_misspelt_name_is_told_with_the_near_one() {
    let (_lab, daemon, _web, _db) = scene();
    let ctl = daemon.ctl();
    for (line, near) in [
        ("port show wbe", "web"),
        ("fdb list --port gonne", "gone"),
        ("fdb list --switch mian", "main"),
        ("trace --port dbb --src 02:00:00:00:00:01 --dst 02:00:00:00:00:02", "db"),
        ("capture --port wep", "web"),
        ("capture --vlan offcie", "office"),
        ("port set wbe --access 20", "web"),
        ("port set web --access offcie", "office"),
    ] {
        let refused = ctl.refused(1, line);
        assert!(refused.contains("did you mean") && refused.contains(near), "{line}: {refused}");
    }
}
