//! Guests keep their MTU: full-size pings that must not be fragmented cross underlays of 1500 and of 1280 bytes, and no
//! IP packet on the underlay is a fragment or larger than its MTU.
//!
//! ```text
//!   one, 10.0.0.1 ── tap-a ─ site a ══ underlay of 1500 or 1280, watched ══ site b ─ tap-b ── two, 10.0.0.2
//! ```

use weft_netns::{Datagram, Site, Underlay, Version, each_worker_count, watch::is_fragment};

const ETHERNET: usize = 14;

fn switch(site: &Site) -> String {
    let name = site.name();
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{name}\"\nvlan = {{ access = 10 }}\nmtu = 9000\n\
         [segment.office]\nid = 5010\nvlan = 10\n"
    )
}

fn full_size_pings_cross_without_a_fragment(workers: usize) {
    for (version, mtu) in [(Version::V4, 1500), (Version::V4, 1280), (Version::V6, 1280)] {
        let mut sites = Underlay::between(2).version(version).mtu(mtu).workers(workers).build();
        sites.start(switch, "segments = [\"office\"]");
        let one = sites[0].host("tap-a", "10.0.0.1/24");
        let two = sites[1].host("tap-b", "10.0.0.2/24");
        one.wait_for_ping("10.0.0.2");
        let mut watch = sites.watch();
        for guests in [1500, 9000] {
            for host in [&one, &two] {
                host.run(&format!("ip link set eth0 mtu {guests}"));
            }
            // IP and ICMP take 28 bytes.
            for size in [guests - 28, guests - 29, 1200] {
                one.run(&format!("ping -c 20 -i 0.005 -W 5 -q -M do -s {size} 10.0.0.2"));
                two.run(&format!("ping -c 20 -i 0.005 -W 5 -q -M do -s {size} 10.0.0.1"));
            }
        }
        let frames = watch.seen(&sites[0]);
        let largest = frames.iter().map(Vec::len).max().unwrap_or_default();
        assert!(largest <= ETHERNET + mtu as usize, "{version:?} {mtu}: {largest} bytes");
        assert!(!frames.iter().any(|frame| is_fragment(frame)), "{version:?} {mtu}");
        let records = frames.iter().filter_map(|frame| Datagram::read(frame));
        let records = records.filter(|it| it.to == sites[1].endpoint()).count();
        assert!(records >= 240, "{version:?} {mtu}: {records} datagrams were seen");
    }
}

each_worker_count!(full_size_pings_cross_without_a_fragment);
