//! A device that the host uses itself is refused as a port, in words that say what is in the way.
//!
//! ```text
//!   10.0.0.1/24 ── owned  ┐
//!   a route ────── routed ┤
//!   bridge ─────── slave  ┼ switch
//!   loopback ───── lo     ┤
//!                  good   ┘
//! ```

use weft_netns::{
    Daemon, Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
};

fn port(name: &str) -> String {
    format!("[port.{name}]\ntype = \"netdev\"\ndevice = \"{name}\"\nvlan = {{ access = 10 }}\n")
}

#[test]
fn what_the_host_uses_is_refused_in_words() {
    let lab = Lab::new();
    for device in ["owned", "routed", "slave"] {
        lab.switch().run(&format!("ip link add {device} type veth peer name {device}-far"));
        lab.switch().run(&format!("ip link set {device} up"));
        lab.switch().run(&format!("ip link set {device}-far up"));
    }
    lab.switch().run("ip addr add 10.0.0.1/24 dev owned");
    lab.switch().run("ip route add 10.5.0.0/16 dev routed");
    lab.switch().run("ip link add bridge type bridge");
    lab.switch().run("ip link set slave master bridge");
    let (mut good, mut other) = (Nic::open(lab.switch(), "good"), Nic::open(lab.switch(), "other"));
    let config: String = ["owned", "routed", "slave", "lo", "good", "other"].map(port).concat();
    let daemon = lab.daemon(&config);
    let ctl = daemon.ctl();
    for (name, words) in [
        ("owned", "10.0.0.1/24"),
        ("routed", "10.5.0.0/16"),
        ("slave", "bridge"),
        ("lo", "loopback"),
    ] {
        let port = ctl.port(name);
        assert_eq!(port["state"], "failed", "{port}");
        let reason = port["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words) && reason.contains(name), "{port}");
        let shown = ctl.run(&format!("port show {name}"));
        assert!(shown.contains(words), "{shown}");
    }
    // Nothing was changed on them, and the others are in operation.
    assert!(lab.switch().run("ip addr show dev owned").contains("10.0.0.1/24"));
    assert!(lab.switch().run("ip link show dev slave").contains("master bridge"));
    assert!(!lab.switch().run("tc qdisc show dev owned").contains("clsact"));
    let status = ctl.run("status");
    assert!(status.contains("10.0.0.1/24"), "{status}");
    let frame = Frame::new(mac(1), BROADCAST).text("works").bytes();
    good.send(&frame);
    other.expect_frame(&frame);
}

/// What is in the way goes away: the port comes up without a command.
#[test]
fn a_refused_device_is_taken_once_it_is_free() {
    let lab = Lab::new();
    let _nic = Nic::open_up(lab.switch(), "owned");
    lab.switch().run("ip addr add 10.0.0.1/24 dev owned");
    let daemon = lab.daemon(&port("owned"));
    let ctl = daemon.ctl();
    ctl.wait_for_state("owned", "failed");
    lab.switch().run("ip addr del 10.0.0.1/24 dev owned");
    ctl.run("port set owned --disabled");
    ctl.run("port set owned --enabled");
    ctl.wait_for_state("owned", "up");
}

/// What the host does to a port's device later is told, and the port goes on.
#[test]
fn what_the_host_begins_to_use_is_told() {
    let lab = Lab::new();
    let (mut guest, mut other) = (Nic::open(lab.switch(), "tap0"), Nic::open(lab.switch(), "tap1"));
    lab.switch().run("ip link add bridge type bridge");
    let daemon = lab.daemon(&[port("tap0"), port("tap1")].concat());
    let ctl = daemon.ctl();
    ctl.wait_for_state("tap0", "up");
    for (done, told, undone) in [
        ("addr add 10.0.0.1/24 dev tap0", "has the address 10.0.0.1/24", "addr flush dev tap0"),
        ("route add 10.7.0.0/16 dev tap0", "the route 10.7.0.0/16", "route del 10.7.0.0/16"),
        ("link set tap0 master bridge", "is a port of the bridge", "link set tap0 nomaster"),
        ("link add up0 link tap0 type macvlan", "the macvlan device up0", "link del up0"),
    ] {
        lab.switch().run(&format!("ip {done}"));
        weft_netns::until(told, || {
            let problems = ctl.json("status")["problems"].to_string();
            problems.contains("port tap0: the host uses its device") && problems.contains(told)
        });
        assert_eq!(ctl.port("tap0")["state"], "up");
        let frame = Frame::new(mac(1), BROADCAST).text(told).bytes();
        guest.send(&frame);
        other.expect_frame(&frame);
        lab.switch().run(&format!("ip {undone}"));
        weft_netns::until(undone, || ctl.json("status")["problems"] == serde_json::json!([]));
    }
}

/// Two daemons on one device: the second is told so, and takes over when the first is gone.
#[test]
fn one_device_is_one_daemons() {
    let lab = Lab::new();
    let (mut guest, mut other) = (Nic::open(lab.switch(), "tap0"), Nic::open(lab.switch(), "tap1"));
    let mut first = lab.daemon(&[port("tap0"), port("tap1")].concat());
    first.ctl().wait_for_state("tap0", "up");
    let second = Daemon::start(&lab, "second", &port("tap0"));
    let refused = second.ctl().wait_for_state("tap0", "failed");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("another weftd, process {}", first.pid())), "{refused}");
    let frame = Frame::new(mac(1), BROADCAST).text("undisturbed").bytes();
    guest.send(&frame);
    other.expect_frame(&frame);
    first.kill9();
    second.ctl().wait_for_state("tap0", "up");
}

/// Two ports on one device: the configuration is refused as a whole.
#[test]
fn one_device_is_one_port() {
    let lab = Lab::new();
    let _nic = Nic::open(lab.switch(), "tap0");
    let daemon = lab.daemon(&port("tap0"));
    let errors = daemon.ctl().refused(1, "port add again --type netdev --device tap0 --access 10");
    assert!(errors.contains("tap0"), "{errors}");
}
