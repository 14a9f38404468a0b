//! Guests whose rings the switches serve talk through the tunnel between two sites, segments left to the far end and not:
//! one that takes and leaves every offload on an access port, one that takes none, verifies each checksum itself, and
//! tags by itself.
//!
//! ```text
//!   guest a, 10.0.0.1 ── vhost-user, access 10 ─ site a ══ underlay ══ site b ─ vhost-user, trunk 20 ── guest b, 10.0.0.2
//!   host, 10.0.0.9 ────── tap, access 20 ───────────────────────────── site b
//! ```

use weft_netns::{Guest, GuestNic, Site, Sites, VhostEnd, until};

const NO_OFFLOADS: &str =
    ",guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,mrg_rxbuf=off";

fn switch(site: &Site) -> String {
    let vlan = 10 * (site.index() + 1);
    let (mode, further) = match site.name() {
        "a" => ("access = 10", ""),
        _ => (
            "trunk = [20]",
            "[port.host]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = { access = 20 }\n",
        ),
    };
    format!(
        "[port.guest]\ntype = \"vhost-user\"\nsocket = \"{}\"\nvlan = {{ {mode} }}\n{further}\
         [segment.office]\nid = 5010\nvlan = {vlan}\n",
        site.lab().path("g.sock").display()
    )
}

fn boot(site: &Site, mac: &'static str, properties: &'static str) -> Guest {
    let socket = site.lab().path("g.sock");
    let nic = GuestNic::VhostUser { socket, end: VhostEnd::Connects, mac, properties };
    let guest = Guest::boot(site.lab(), site.name(), &[nic]);
    site.ctl().wait_for_state("guest", "up");
    guest
}

/// Sends a stream whose every byte is compared.
fn streams(from: &mut Guest, to: &mut Guest, address: &str) {
    // By `-e`: busybox's own end of a pipe hangs up on whoever sends.
    to.run(r"printf '#!/bin/sh\nsha256sum >/tmp/part; mv /tmp/part /tmp/sum\n' >/tmp/take");
    to.run("chmod +x /tmp/take; (nc -l -p 5001 -e /tmp/take >/dev/null 2>&1 &)");
    let sent = from.run("seq 1 400000 | sha256sum");
    until("the stream is over", || {
        from.ask(&format!("seq 1 400000 | nc {address} 5001")).code == 0
    });
    until("all of it has arrived", || to.ask("[ -f /tmp/sum ]").code == 0);
    assert_eq!(to.run("cat /tmp/sum"), sent);
}

#[test]
fn guests_in_shared_memory_talk_through_a_tunnel() {
    let mut sites = Sites::two();
    sites.start(switch, "segments = [\"office\"]");
    sites.wait_for_tunnels();
    let host = sites[1].host("taph", "10.0.0.9/24");
    let mut a = boot(&sites[0], "52:54:00:00:00:01", "");
    let mut b = boot(&sites[1], "52:54:00:00:00:02", NO_OFFLOADS);
    a.set_address("10.0.0.1/24");
    b.run("modprobe 8021q && ip link set eth0 up");
    b.run("ip link add link eth0 name v20 type vlan id 20 && ip link set v20 up");
    b.run("ip addr add 10.0.0.2/24 dev v20");
    a.wait_for_ping("10.0.0.9");
    a.wait_for_ping("10.0.0.2");

    streams(&mut a, &mut b, "10.0.0.2");
    streams(&mut b, &mut a, "10.0.0.1");
    b.run("iperf3 -s -D");
    for offload in ["on", "off"] {
        a.ask(&format!("ethtool -K eth0 tso {offload} gso {offload}"));
        for direction in ["", "-R"] {
            let report = a.iperf(&format!("-c 10.0.0.2 -t 1 {direction}"));
            assert!(report.contains("receiver"), "{report}");
            let server = host.iperf_server();
            let report = a.iperf(&format!("-c 10.0.0.9 -t 1 {direction}"));
            assert!(report.contains("receiver"), "{report}");
            drop(server);
        }
    }
    a.assert_no_bad_checksums();
    b.assert_no_bad_checksums();
    host.assert_no_bad_checksums();
    for site in sites.iter() {
        let port = site.ctl().port("guest");
        for reason in ["bad-offload", "malformed", "oversize"] {
            assert!(port["rx"]["drops"][reason].is_null(), "{port}");
        }
    }
}
