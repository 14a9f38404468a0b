//! `weftctl drops --follow`: drops as they happen, as many as can be read, all of them counted.
//!
//! ```text
//!   tap0 ── web ─ access 10, ips 10.0.0.1 ┐
//!   tap1 ── host ─ trunk 10 ──────────────┴ switch ── weftctl drops --follow
//! ```

use std::time::{Duration, Instant};

use serde_json::Value;
use weft_netns::{
    Daemon, Lab, Nic, Process, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
};

const CONFIG: &str = "\
[port.web]
type = \"netdev\"
device = \"tap0\"
vlan = { access = 10 }
ips = [\"10.0.0.1\"]
[port.host]
type = \"netdev\"
device = \"tap1\"
vlan = { trunk = [10] }
";

struct Scene {
    lab: Lab,
    daemon: Daemon,
    web: Nic,
    host: Nic,
}

fn scene() -> Scene {
    let lab = Lab::new();
    let [web, host] = ["tap0", "tap1"].map(|device| Nic::open(lab.switch(), device));
    let daemon = lab.daemon(CONFIG);
    ["web", "host"].iter().for_each(|port| drop(daemon.ctl().wait_for_state(port, "up")));
    Scene { lab, daemon, web, host }
}

impl Scene {
    /// Starts to follow; returns once a first drop was told.
    #[track_caller]
    fn follow(&mut self, arguments: &[&str]) -> Process {
        let command = self.daemon.ctl().command(arguments);
        let follower = Process::start("weftctl drops --follow", self.lab.switch(), command);
        until("it follows", || {
            self.host.send(&Frame::new(mac(2), BROADCAST).tag(99).bytes());
            follower.said().contains("vlan-not-member")
        });
        follower
    }
}

#[test]
fn a_drop_is_told_with_port_vlan_addresses_and_reason() {
    let mut scene = scene();
    let lines = scene.follow(&["drops", "--follow"]);
    let documents = scene.follow(&["--json", "drops", "--follow"]);
    let ip = |last| [10, 0, 0, last].into();
    scene.web.send(&Frame::new(mac(1), mac(2)).udp(ip(9), ip(2), b"as somebody else").bytes());
    lines.wait_for("spoofed");
    let said = lines.said();
    let line = said.lines().find(|line| line.contains("spoofed")).unwrap();
    for word in [
        "web",
        "rx",
        "VLAN 10",
        "02:00:00:00:00:01 > 02:00:00:00:00:02",
        "10.0.0.9 > 10.0.0.2",
        "×1",
    ] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    documents.wait_for("spoofed");
    let said = documents.said();
    let document = said.lines().find(|line| line.contains("spoofed")).unwrap();
    let document: Value = serde_json::from_str(document).unwrap();
    for (key, value) in [
        ("kind", "drop"),
        ("port", "web"),
        ("direction", "rx"),
        ("reason", "spoofed"),
        ("source", "02:00:00:00:00:01"),
        ("source-ip", "10.0.0.9"),
        ("destination-ip", "10.0.0.2"),
    ] {
        assert_eq!(document[key], value, "{document}");
    }
    assert_eq!((&document["vlan"], &document["frames"]), (&10.into(), &1.into()), "{document}");
}

/// Every drop is in a line or in the number of those that are in none, and the lines are few.
#[test]
fn a_flood_of_drops_is_a_few_lines_and_a_number() {
    let mut scene = scene();
    let follower = scene.follow(&["--json", "drops", "--follow", "--lines", "5"]);
    let ctl = scene.daemon.ctl();
    for number in 0..20_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let source = [2, 7, 0, 0, high, low];
        scene.web.send(&Frame::new(source, BROADCAST).tag(10).bytes());
    }
    // A frame behind all of them has come through: the switch has seen each that its device did not lose.
    let hello = Frame::new(mac(1), BROADCAST).bytes();
    until("a frame behind the flood is forwarded", || {
        scene.web.send(&hello);
        scene.host.receive(Instant::now() + Duration::from_millis(100)).is_some()
    });
    let all_drops = |port: &str| -> u64 {
        let drops = ctl.port(port)["rx"]["drops"].clone();
        drops.as_object().unwrap().values().filter_map(Value::as_u64).sum()
    };
    let told = || -> (u64, u64, usize) {
        let said = follower.said();
        let news: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let frames = |kind: &str| -> u64 {
            let of = news.iter().filter(|it| it["kind"] == kind);
            of.filter_map(|it| it["frames"].as_u64()).sum()
        };
        (frames("drop"), frames("left-out"), news.len())
    };
    let dropped = all_drops("web");
    until("every drop is told or counted", || {
        let (in_lines, left_out, _) = told();
        in_lines + left_out >= dropped
    });
    let (in_lines, left_out, lines) = told();
    assert!(left_out > in_lines, "{in_lines} {left_out}");
    // What showed that it follows was dropped at the other port.
    assert!(in_lines + left_out <= dropped + all_drops("host"), "{in_lines} {left_out} {dropped}");
    assert!(lines < 1000, "{lines} lines of {dropped} drops");
}

#[test]
fn like_drops_become_one_line() {
    let mut scene = scene();
    let follower = scene.follow(&["--json", "drops", "--follow"]);
    for _ in 0..500 {
        scene.web.send(&Frame::new(mac(1), BROADCAST).tag(10).bytes());
    }
    scene.daemon.ctl().wait_for_drops("web", "rx", "tagged-on-access", 500);
    let lines = || -> Vec<u64> {
        let said = follower.said();
        let news = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        news.filter(|it| it["reason"] == "tagged-on-access")
            .map(|it| it["frames"].as_u64().unwrap())
            .collect()
    };
    until("all are told", || lines().iter().sum::<u64>() == 500);
    assert!(lines().len() < 100, "{:?}", lines());
}
