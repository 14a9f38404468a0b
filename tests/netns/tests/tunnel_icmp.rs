//! Routers that lie: ICMP that calls the path to the other end narrow changes nothing, whatever it quotes.
//!
//! ```text
//!   one, 10.0.0.1 ── tap-a ─ site a ══ underlay of 1500, watched ══ site b ─ tap-b ── two, 10.0.0.2
//!                                             ║
//!                                     a router that lies to a
//! ```

use std::net::IpAddr;

use weft_netns::{
    Datagram, Site, Underlay, Version, each_worker_count,
    frame::{Frame, mac},
    until,
};

const ETHERNET: usize = 14;
const LARGE: usize = 1380;

fn switch(site: &Site) -> String {
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

/// How often the kernel of a site was told that something is too big.
fn believed(site: &Site, version: Version) -> u64 {
    let name = match version {
        Version::V4 => "IcmpInDestUnreachs",
        Version::V6 => "Icmp6InPktTooBigs",
    };
    let text = site.space().run(&format!("nstat -asz {name}"));
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let count = line.and_then(|line| line.split_whitespace().next());
    count.and_then(|count| count.parse().ok()).expect("the kernel counts them")
}

fn a_forged_too_big_changes_nothing(workers: usize) {
    let routers: [(Version, IpAddr); 2] =
        [(Version::V4, [10, 99, 0, 254].into()), (Version::V6, "fd99::fe".parse().unwrap())];
    for (version, router) in routers {
        let mut sites = Underlay::between(2).version(version).workers(workers).build();
        sites.start(switch, "segments = [\"office\"]");
        let one = sites[0].host("tap-a", "10.0.0.1/24");
        let _two = sites[1].host("tap-b", "10.0.0.2/24");
        one.wait_for_ping("10.0.0.2");
        let (a, b) = sites.pair();
        // In steps of 16 bytes.
        let path = || a.peer_named("b")["path-mtu"].as_u64().unwrap_or_default();
        until("the path is known", || path() > 1500 - 16);
        let known = path();
        let mut watch = sites.watch();
        let ping = || one.run("ping -c 20 -i 0.005 -W 5 -q -M do -s 1320 10.0.0.2");
        ping();
        let is_large = |datagram: &Datagram| {
            (datagram.from, datagram.to) == (a.endpoint(), b.endpoint())
                && datagram.payload.len() > LARGE
        };
        let frames = watch.seen(a);
        let record =
            frames.iter().find(|frame| Datagram::read(frame).as_ref().is_some_and(is_large));
        let record = record.expect("a full-size record was seen");
        let to = Datagram::read(record).expect("it is one").link.0;
        for mtu in [68, 0, 552, 1280] {
            let lie = Frame::new(mac(0x99), to);
            let lie = lie.too_big(router, a.address(), mtu, &record[ETHERNET..]).bytes();
            (0..50).for_each(|_| watch.send_frame(&lie));
        }
        until("the kernel heard of them", || believed(a, version) >= 200);
        ping();
        assert_eq!(path(), known);
        let records = watch.seen(a);
        let large = records.iter().filter_map(|frame| Datagram::read(frame)).filter(is_large);
        assert!(large.count() >= 20, "{version:?}: full-size frames cross in one record each");
    }
}

each_worker_count!(a_forged_too_big_changes_nothing);
