//! Two hosts that share a segment and also a LAN: the loop is found, both ports there are blocked and say so, frames go
//! on through the tunnel, and the LAN is let in again when it does not join them any more.
//!
//! ```text
//!            ┌ lan-a ─ netdev ─ site a ─ netdev ─ card-a
//!   LAN, a bridge               ║
//!            └ lan-b ─ netdev ─ site b ─ netdev ─ card-b
//! ```

use std::time::{Duration, Instant};

use weft_netns::{
    Namespace, Nic, PATIENCE, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac},
    until, until_within,
};

fn switch(site: &Site) -> String {
    let name = site.name();
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{name}\"\nvlan = {{ access = 10 }}\n\
         [port.lan]\ntype = \"netdev\"\ndevice = \"lan-{name}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n"
    )
}

/// A LAN of both sites, with a station of the test's own on it.
fn lan(sites: &Sites) -> (Namespace, Nic) {
    let lan = Namespace::new();
    lan.run("ip link add bridge type bridge");
    lan.run("ip link set bridge up");
    for site in sites.iter() {
        let name = site.name();
        lan.run(&format!(
            "ip link add to-{name} type veth peer name lan-{name} netns {}",
            site.space().path()
        ));
        lan.run(&format!("ip link set to-{name} master bridge up"));
        site.space().run(&format!("ip link set lan-{name} up"));
    }
    let station = Nic::open_up(&lan, "station");
    lan.run("ip link set station master bridge");
    (lan, station)
}

fn said(site: &Site) -> bool {
    site.ctl().run("status").contains("segment office: port lan")
}

/// Reads what went round until the ports were blocked, and all that waits behind it.
fn settle(cards: &mut [Nic; 2]) {
    let mut round = 0;
    for (from, to) in [(0, 1), (1, 0)] {
        until("a frame comes through what went round", || {
            round += 1;
            let mark =
                Frame::new(mac(from as u8), BROADCAST).text(&format!("mark {round}")).bytes();
            cards[from].send(&mark);
            let deadline = Instant::now() + Duration::from_millis(100);
            std::iter::from_fn(|| cards[to].receive(deadline)).any(|frame| frame == mark)
        });
    }
}

fn a_loop_over_a_lan_is_blocked_and_let_in_again_when_it_is_cut(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let mut cards = [sites[0].nic("card-a"), sites[1].nic("card-b")];
    let (lan, mut station) = lan(&sites);
    sites.start(switch, "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("card", "up");
        site.ctl().wait_for_state("lan", "up");
    }
    sites.wait_for_tunnels();
    for site in sites.iter() {
        site.daemon().wait_for_log(0, "a loop");
        until("the loop is said", || said(site));
    }
    settle(&mut cards);
    // One frame each way is one frame: nothing goes round, and nothing gets in from the LAN.
    let from_lan =
        |number: usize| Frame::new(mac(9), BROADCAST).text(&format!("from the lan, {number}"));
    for number in 0..20 {
        station.send(&from_lan(number).bytes());
    }
    for site in sites.iter() {
        site.ctl().wait_for_drops("lan", "rx", "loop-blocked", 20);
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let hello = Frame::new(mac(from as u8), BROADCAST).text("hello").bytes();
        let end = Frame::new(mac(from as u8), BROADCAST).text("end").bytes();
        cards[from].send(&hello);
        cards[from].send(&end);
        let before = cards[to].before_marker(&end);
        assert_eq!(before.iter().filter(|frame| **frame == hello).count(), 1, "{before:02x?}");
        assert!(!before.iter().any(|frame| frame[6..12] == mac(9)), "the LAN is let in");
        assert!(!before.iter().any(|frame| frame[6..12] == mac(to as u8)), "a frame came back");
    }
    // The LAN is cut in two: behind each port there is no way to the other.
    lan.run("ip link set to-b nomaster");
    for site in sites.iter() {
        until_within("the port is let in again", 4 * PATIENCE, || !said(site));
    }
    let frame = from_lan(100).bytes();
    station.send(&frame);
    cards[0].expect_frame(&frame);
    cards[1].expect_frame(&frame);
}

each_worker_count!(a_loop_over_a_lan_is_blocked_and_let_in_again_when_it_is_cut);
