//! Four sites, each joined to each other: a broadcast arrives once at every guest, none comes back or goes round, and
//! what is sent to one guest crosses one tunnel only.
//!
//! ```text
//!   card-a ── netdev ─ site a ══╦══ site b ─ netdev ── card-b
//!                               ║
//!   card-c ── netdev ─ site c ══╩══ site d ─ netdev ── card-d      six tunnels
//! ```

use std::collections::BTreeSet;

use weft_netns::{
    Datagram, Nic, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac, mac_text},
    until,
};

const SITES: usize = 4;

fn switch(site: &Site) -> String {
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

fn scene(workers: usize) -> (Sites, Vec<Nic>) {
    let mut sites = Underlay::between(SITES).workers(workers).build();
    let nics = sites.iter().map(|site| site.nic(&format!("card-{}", site.name()))).collect();
    sites.start(switch, "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("card", "up");
    }
    sites.wait_for_tunnels();
    (sites, nics)
}

/// The guest at a site.
fn guest(site: usize) -> [u8; 6] {
    mac(site as u8 + 1)
}

/// Has every guest say something to all.
fn say(nics: &mut [Nic], text: &str) {
    for (from, nic) in nics.iter_mut().enumerate() {
        nic.send(&Frame::new(guest(from), BROADCAST).text(&format!("{text}, from {from}")).bytes());
    }
}

/// A loop probe of the switch's own, which every card sees each second.
fn is_probe(frame: &[u8]) -> bool {
    frame.starts_with(&[3, 0x77, 0x65, 0x66, 0x74, 1])
}

fn a_broadcast_arrives_once_everywhere(workers: usize) {
    let (_sites, mut nics) = scene(workers);
    for round in 0..50 {
        say(&mut nics, &format!("to all, {round}"));
    }
    // Behind them, over the same ways.
    say(&mut nics, "end");
    for (site, nic) in nics.iter_mut().enumerate() {
        let mut ends = BTreeSet::new();
        let mut came = Vec::new();
        while ends.len() < SITES - 1 {
            let frame = nic.expect("frame to all", &|frame| !is_probe(frame));
            match frame[14..].starts_with(b"end") {
                true => assert!(ends.insert(frame), "an end came twice to site {site}"),
                false => came.push(frame),
            }
        }
        let different: BTreeSet<_> = came.iter().collect();
        assert_eq!((came.len(), different.len()), (150, 150), "at site {site}");
        assert!(!came.iter().any(|frame| frame[6..12] == guest(site)), "its own came back");
    }
    // A frame that goes round would come again by now: everybody asks once more, and nothing else is there.
    say(&mut nics, "last");
    for (site, nic) in nics.iter_mut().enumerate() {
        for _ in 0..SITES - 1 {
            let frame = nic.expect("last frame", &|frame| !is_probe(frame));
            assert!(frame[14..].starts_with(b"last"), "site {site} receives again {frame:02x?}");
        }
    }
}

fn a_unicast_crosses_one_tunnel(workers: usize) {
    let (sites, mut nics) = scene(workers);
    say(&mut nics, "here");
    for site in sites.iter() {
        for other in sites.iter().filter(|other| other.name() != site.name()) {
            let wanted = Some((format!("vpn.{}", other.name()), "remote".to_owned()));
            let address = mac_text(guest(other.index()));
            until(&format!("{} knows {address}", site.name()), || {
                site.ctl().fdb(10, &address) == wanted
            });
        }
    }
    let mut watch = sites.watch();
    let count = 400;
    for number in 0..count {
        let frame = Frame::new(guest(0), guest(2)).text(&format!("to c alone, {number}"));
        nics[0].send(&frame.bytes());
        nics[2].expect_frame(&frame.bytes());
    }
    let mut to = [0; SITES];
    for datagram in watch.seen(&sites[0]).iter().filter_map(|frame| Datagram::read(frame)) {
        if let Some(site) = sites.iter().find(|site| site.endpoint() == datagram.to)
            && datagram.from == sites[0].endpoint()
        {
            to[site.index()] += 1;
        }
    }
    assert!(to[2] >= count, "{to:?}");
    // Keepalives, probes of the path and words of the overlay are few.
    assert!(to[1] < count / 4 && to[3] < count / 4, "{to:?}");
    for quiet in [1, 3] {
        let end = Frame::new(guest(2), BROADCAST).text("end").bytes();
        nics[2].send(&end);
        let before = nics[quiet].before_marker(&end);
        let astray = before.iter().filter(|frame| frame[..6] == guest(2)).count();
        assert_eq!(astray, 0, "at site {quiet}");
    }
}

each_worker_count!(a_broadcast_arrives_once_everywhere, a_unicast_crosses_one_tunnel);
