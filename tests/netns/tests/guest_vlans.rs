//! Real guests on VLANs: a virtio card on a TAP, an emulated e1000 on a stream socket, and a guest that tags by
//! itself; who must not talk does not talk. One boot of each serves all checks.
//!
//! ```text
//!   guest v, 10.0.0.1 (virtio) ── tapv ─ netdev, access 10 ┐
//!   guest e, 10.0.0.2 (e1000) ─── e.sock ─ stream, access 10 ┤
//!   guest t (virtio, 8021q) ───── tapt ─ netdev, trunk 10,20 ┼ switch
//!   host h, 10.0.0.4 ──────────── taph ─ tap, access 20 ─────┘
//! ```

use weft_netns::{Guest, GuestNic, Host, Lab};

fn config(lab: &Lab) -> String {
    format!(
        "[port.v]\ntype = \"netdev\"\ndevice = \"tapv\"\nvlan = {{ access = 10 }}\n\
         [port.e]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.t]\ntype = \"netdev\"\ndevice = \"tapt\"\nvlan = {{ trunk = [10, 20] }}\n\
         [port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 20 }}\n",
        lab.path("e.sock").display()
    )
}

fn virtio(device: &str, mac: &'static str) -> GuestNic {
    GuestNic::VirtioTap { device: device.to_owned(), mac }
}

#[test]
fn three_guests_and_a_host() {
    let lab = Lab::with_workers(2);
    let daemon = lab.daemon(&config(&lab));
    let ctl = daemon.ctl();
    let host = Host::on_tap(&lab, &daemon, "taph", "10.0.0.4/24");
    let e_nic = GuestNic::E1000Stream { socket: lab.path("e.sock"), mac: "52:54:00:00:00:02" };
    let mut e = Guest::boot(&lab, "e", &[e_nic]);
    let mut v = Guest::boot(&lab, "v", &[virtio("tapv", "52:54:00:00:00:01")]);
    for port in ["v", "e", "h"] {
        ctl.wait_for_state(port, "up");
    }
    v.set_address("10.0.0.1/24");
    e.set_address("10.0.0.2/24");

    // One VLAN, another, and back, live.
    v.wait_for_ping("10.0.0.2");
    assert!(!v.pings("10.0.0.4"), "VLAN 20 answers in VLAN 10");
    assert!(!host.pings("10.0.0.1"), "VLAN 10 answers in VLAN 20");
    ctl.run("port set v --access 20");
    v.wait_for_ping("10.0.0.4");
    v.run("ip neigh flush dev eth0");
    assert!(!v.pings("10.0.0.2"));
    ctl.run("port set v --access 10");
    v.run("ip neigh flush dev eth0");
    v.wait_for_ping("10.0.0.2");
    assert_eq!(ctl.fdb(10, "52:54:00:00:00:01"), Some(("v".into(), "dynamic".into())));
    assert_eq!(ctl.fdb(10, "52:54:00:00:00:02"), Some(("e".into(), "dynamic".into())));

    // TCP both ways between an offloading card and one that is not; the far ends verify each checksum themselves.
    for guest in [&mut v, &mut e] {
        guest.ask("ethtool -K eth0 rx off");
    }
    e.run("iperf3 -s -D");
    for (offload, direction) in [("on", ""), ("on", "-R"), ("off", ""), ("off", "-R")] {
        v.ask(&format!("ethtool -K eth0 tso {offload} gso {offload}"));
        let report = v.iperf(&format!("-c 10.0.0.2 -t 1 {direction}"));
        assert!(report.contains("receiver"), "{report}");
    }
    for guest in [&mut v, &mut e] {
        guest.assert_no_bad_checksums();
    }
    drop(e);
    ctl.wait_for_state("e", "waiting");

    // A guest that tags by itself speaks with both VLANs, and untagged with nobody.
    let mut t = Guest::boot(&lab, "t", &[virtio("tapt", "52:54:00:00:00:03")]);
    ctl.wait_for_state("t", "up");
    t.run("modprobe 8021q && ip link set eth0 up");
    for vlan in [10, 20] {
        t.run(&format!(
            "ip link add link eth0 name v{vlan} type vlan id {vlan} && ip link set v{vlan} up"
        ));
    }
    t.run("ip addr add 10.0.0.3/24 dev v10");
    t.wait_for_ping("10.0.0.1");
    assert!(v.pings("10.0.0.3"));
    assert!(!host.pings("10.0.0.3"));
    v.run("iperf3 -s -D");
    for direction in ["", "-R"] {
        t.iperf(&format!("-c 10.0.0.1 -t 1 {direction}"));
    }
    t.run("ip addr del 10.0.0.3/24 dev v10 && ip addr add 10.0.0.3/24 dev v20");
    t.wait_for_ping("10.0.0.4");
    assert!(host.pings("10.0.0.3"));
    assert!(!v.pings("10.0.0.3"));
    t.run("ip addr del 10.0.0.3/24 dev v20 && ip addr add 10.0.0.3/24 dev eth0");
    assert!(
        !t.pings("10.0.0.1") && !t.pings("10.0.0.4"),
        "an untagged frame crossed a trunk without a native VLAN"
    );
    assert!(ctl.drops("t", "rx", "no-native-vlan") > 0);
    for guest in [&mut v, &mut t] {
        guest.assert_no_bad_checksums();
    }
    for port in ["v", "t", "h"] {
        let port = ctl.port(port);
        assert!(
            port["rx"]["drops"]["bad-offload"].is_null()
                && port["rx"]["drops"]["oversize"].is_null(),
            "{port}"
        );
    }
}
