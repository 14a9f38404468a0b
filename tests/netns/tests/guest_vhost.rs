//! Real guests whose rings the switch serves in their memory: one that takes every offload, one that takes none and so
//! verifies each checksum itself, one that tags by itself; with a host on a TAP beside them. One boot of each serves
//! all checks.
//!
//! ```text
//!   guest a, 10.0.0.1 (all offloads) ── a.sock ─ vhost-user, access 10 ───────────┐
//!   guest b, 10.0.0.2 (none) ────────── b.sock ─ vhost-user, client, trunk 10,20 ─┼ switch
//!   host h, 10.0.0.9 ────────────────── taph ─ tap, access 10 ────────────────────┘
//! ```

use weft_netns::{Guest, GuestNic, Host, Lab, VhostEnd};

const NO_OFFLOADS: &str =
    ",guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,mrg_rxbuf=off";

fn config(lab: &Lab) -> String {
    format!(
        "[port.a]\ntype = \"vhost-user\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.b]\ntype = \"vhost-user\"\nsocket = \"{}\"\nmode = \"client\"\nvlan = {{ trunk = [10, 20] }}\n\
         [port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 10 }}\n",
        lab.path("a/a.sock").display(),
        lab.path("b.sock").display()
    )
}

#[test]
fn guests_in_shared_memory_and_a_host_beside_them() {
    let lab = Lab::with_workers(2);
    let daemon = lab.daemon(&config(&lab));
    let ctl = daemon.ctl();
    let host = Host::on_tap(&lab, &daemon, "taph", "10.0.0.9/24");
    let nic = |socket, end, mac, properties| GuestNic::VhostUser {
        socket: lab.path(socket),
        end,
        mac,
        properties,
    };
    let a = nic("a/a.sock", VhostEnd::Connects, "52:54:00:00:00:01", "");
    let b = nic("b.sock", VhostEnd::Listens, "52:54:00:00:00:02", NO_OFFLOADS);
    let mut a = Guest::boot(&lab, "a", &[a]);
    let mut b = Guest::boot(&lab, "b", &[b]);
    for port in ["a", "b"] {
        ctl.wait_for_state(port, "up");
    }
    a.set_address("10.0.0.1/24");
    b.run("modprobe 8021q && ip link set eth0 up");
    for vlan in [10, 20] {
        b.run(&format!(
            "ip link add link eth0 name v{vlan} type vlan id {vlan} && ip link set v{vlan} up"
        ));
    }
    b.run("ip addr add 10.0.0.2/24 dev v10");

    a.wait_for_ping("10.0.0.9");
    b.wait_for_ping("10.0.0.9");
    b.wait_for_ping("10.0.0.1");
    assert_eq!(ctl.fdb(10, "52:54:00:00:00:01"), Some(("a".into(), "dynamic".into())));
    assert_eq!(ctl.fdb(10, "52:54:00:00:00:02"), Some(("b".into(), "dynamic".into())));
    b.run("ip addr del 10.0.0.2/24 dev v10 && ip addr add 10.0.0.2/24 dev v20");
    assert!(!b.pings("10.0.0.1"), "VLAN 10 answers in VLAN 20");
    b.run("ip addr del 10.0.0.2/24 dev v20 && ip addr add 10.0.0.2/24 dev v10");
    b.wait_for_ping("10.0.0.1");

    // TCP between guest and guest and between guest and host, both ways, segments left to the switch and not.
    b.run("iperf3 -s -D");
    let server = || Host::iperf_server(&host);
    for offload in ["on", "off"] {
        a.ask(&format!("ethtool -K eth0 tso {offload} gso {offload}"));
        for direction in ["", "-R"] {
            let report = a.iperf(&format!("-c 10.0.0.2 -t 1 {direction}"));
            assert!(report.contains("receiver"), "{report}");
            for guest in [&mut a, &mut b] {
                let server = server();
                let report = guest.iperf(&format!("-c 10.0.0.9 -t 1 {direction}"));
                assert!(report.contains("receiver"), "{report}");
                drop(server);
            }
        }
    }
    a.assert_no_bad_checksums();
    b.assert_no_bad_checksums();
    host.assert_no_bad_checksums();
    for port in ["a", "b", "h"] {
        let port = ctl.port(port);
        for reason in ["bad-offload", "malformed", "oversize"] {
            assert!(port["rx"]["drops"][reason].is_null(), "{port}");
        }
        assert!(port["tx"]["drops"]["unsupported-offload"].is_null(), "{port}");
    }
}
