//! A peer that is removed by `weftctl` is silent at once: nothing more leaves to it, and nothing from it is let in. What
//! it brought is gone with it: the addresses of its guests, its ports.
//!
//! ```text
//!   card-a ─ netdev ─ site a ══ underlay, watched ══ site b ─ netdev ─ card-b
//! ```

use weft_netns::{
    Datagram, Nic, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac, mac_text},
    until,
};

fn switch(site: &Site) -> String {
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

fn scene(workers: usize) -> (Sites, Nic, Nic) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let (mut one, mut two) = (sites[0].nic("card-a"), sites[1].nic("card-b"));
    sites.start(switch, "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("card", "up");
    }
    sites.wait_for_tunnels();
    let hello = |last| Frame::new(mac(last), BROADCAST).text("hello").bytes();
    one.send(&hello(1));
    two.expect_frame(&hello(1));
    two.send(&hello(2));
    one.expect_frame(&hello(2));
    (sites, one, two)
}

fn remote(site: &Site, last: u8) -> Option<(String, String)> {
    site.ctl().fdb(10, &mac_text(mac(last)))
}

fn a_removed_peer_is_silent_at_once(workers: usize) {
    let (sites, mut one, mut two) = scene(workers);
    let (a, b) = sites.pair();
    until("a knows the guest at b", || {
        remote(a, 2) == Some(("vpn.b".to_owned(), "remote".to_owned()))
    });
    let mut watch = sites.watch();
    a.ctl().run("peer remove b");
    watch.seen(a);
    // Guests go on talking at both ends.
    for number in 0..100 {
        let text = format!("number {number}");
        one.send(&Frame::new(mac(1), BROADCAST).text(&text).bytes());
        one.send(&Frame::new(mac(1), mac(2)).text(&text).bytes());
        two.send(&Frame::new(mac(2), BROADCAST).text(&text).bytes());
    }
    until("a has dealt with all frames of its guest", || {
        a.ctl().port("card")["rx"]["frames"].as_u64() >= Some(201)
    });
    until("b has dealt with all frames of its guest", || {
        b.ctl().port("card")["rx"]["frames"].as_u64() >= Some(101)
    });
    let sent = |frames: &[Vec<u8>], from: &Site| {
        let datagrams = frames.iter().filter_map(|frame| Datagram::read(frame));
        datagrams.filter(|datagram| datagram.from == from.endpoint()).count()
    };
    let (of_b, of_a) = (watch.seen(b), watch.seen(a));
    assert_eq!(sent(&of_a, a) + sent(&of_b, a), 0, "a still speaks");
    assert!(sent(&of_b, b) + sent(&of_a, b) > 0, "b was watched");
    assert_eq!(remote(a, 2), None);
    // What b said has not been let in: only what a's own port is told now.
    let frames = a.ctl().port("card")["tx"]["frames"].as_u64();
    assert!(frames < Some(100), "{frames:?}");
}

fn remote_addresses_go_with_their_peer(workers: usize) {
    let (mut sites, _one, mut two) = scene(workers);
    for last in 10..30 {
        two.send(&Frame::new(mac(last), BROADCAST).text("me too").bytes());
    }
    for last in 10..30 {
        until("a knows a guest at b", || {
            remote(&sites[0], last) == Some(("vpn.b".to_owned(), "remote".to_owned()))
        });
    }
    // A segment that b may not carry any more takes them along, and brings them back.
    let config = sites[0].daemon().config();
    sites[0].daemon().write_config(&config.replace("segments = [\"office\"]", "segments = []"));
    sites[0].daemon().reload();
    until("no guest of b's is known", || (10..30).all(|last| remote(&sites[0], last).is_none()));
    sites[0].daemon().write_config(&config);
    sites[0].daemon().reload();
    until("they are back", || (10..30).all(|last| remote(&sites[0], last).is_some()));
    // A daemon that ends is missed after a while; one that comes back without guests has none.
    sites[1].daemon_mut().kill9();
    sites[1].daemon_mut().restart();
    until("the guests of before are gone", || {
        (10..30).all(|last| remote(&sites[0], last).is_none())
    });
}

each_worker_count!(a_removed_peer_is_silent_at_once, remote_addresses_go_with_their_peer);
