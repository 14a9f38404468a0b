//! Streams of guests through a tunnel between sites whose segments have other VLANs: TCP and UDP, both ways, over IPv4
//! and IPv6 underlays, each byte of the guests' as it was sent, and nothing larger than the path.
//!
//! ```text
//!   one, 10.0.0.1 ── tap-a ─ access 10 ─ site a ══ underlay ══ site b ─ access 20 ─ tap-b ── two, 10.0.0.2
//! ```

use weft_netns::{Flow, Host, Site, Sites, Underlay, Version, each_worker_count};

fn switch(site: &Site) -> String {
    let (name, vlan) = (site.name(), 10 * (site.index() + 1));
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{name}\"\nvlan = {{ access = {vlan} }}\n\
         [segment.office]\nid = 5010\nvlan = {vlan}\n"
    )
}

fn scene(workers: usize, version: Version) -> (Sites, Host, Host) {
    let mut sites = Underlay::between(2).version(version).workers(workers).build();
    sites.start(switch, "segments = [\"office\"]");
    let one = sites[0].host("tap-a", "10.0.0.1/24");
    let two = sites[1].host("tap-b", "10.0.0.2/24");
    one.wait_for_ping("10.0.0.2");
    (sites, one, two)
}

fn tcp_and_udp_cross_and_no_checksum_is_wrong(workers: usize) {
    let (_sites, one, two) = scene(workers, Version::V4);
    for arguments in ["-t 2", "-t 2 -R", "-u -b 40M -l 1400 -t 1", "-u -b 40M -l 8000 -t 1 -R"] {
        let report = one.iperf(&two, &format!("-c 10.0.0.2 {arguments}"));
        assert!(report.contains("receiver"), "{report}");
    }
    one.assert_no_bad_checksums();
    two.assert_no_bad_checksums();
}

fn every_byte_arrives_as_it_was_sent(workers: usize) {
    for version in [Version::V4, Version::V6] {
        let (_sites, one, two) = scene(workers, version);
        let there = Flow::start(&one, &two, "10.0.0.2");
        let back = Flow::start(&two, &one, "10.0.0.1");
        there.wait_for(20_000_000);
        back.wait_for(20_000_000);
        there.finish();
        back.finish();
        one.assert_no_bad_checksums();
        two.assert_no_bad_checksums();
    }
}

each_worker_count!(tcp_and_udp_cross_and_no_checksum_is_wrong, every_byte_arrives_as_it_was_sent);
