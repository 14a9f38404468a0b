//! The news of local addresses that other hosts are told of.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use weft_core::{Bulletin, Change, Change::*, Fdb, News, PortKind, PortSpec, Scope, Switch};
use weft_vlan::VlanSet;

use crate::common::*;

/// A switch with hosts on ports 1 to 3 and a peer behind port 8.
struct Scene {
    fdb: Arc<Fdb>,
    switch: Switch,
}

impl Scene {
    fn new() -> Self {
        let fdb = fdb();
        let local = |id| spec(port(id), trunk(&[10, 20]));
        let peer = PortSpec { kind: PortKind::Tunnel, ..local(8) };
        let limited = PortSpec { mac_limit: Some(2), ..local(3) };
        let specs = vec![local(1), local(2), limited, peer];
        let switch = Switch::new(&switch_spec(specs, vec![]), fdb.clone());
        Self { fdb, switch }
    }

    fn following(vids: &[u16], limit: usize) -> Self {
        let scene = Self::new();
        scene.fdb.follow(vlans(vids), limit);
        assert_eq!(scene.news(), Some(incomplete()));
        assert_eq!(scene.news(), None);
        scene
    }

    fn hear(&self, at: u64, ingress: u16, vid: u16, number: u64) {
        let head = head(&frame(BROADCAST, host(number), &[q(vid)], PAYLOAD));
        self.switch.forward(seconds(at), port(ingress), &head).unwrap();
    }

    fn install(&self, number: u64) {
        assert!(self.switch.install(seconds(0), vlan(10), host(number), port(8)));
    }

    fn news(&self) -> Option<Bulletin> {
        match self.fdb.poll_news(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(bulletin) => Some(bulletin),
            Poll::Pending => None,
        }
    }
}

fn incomplete() -> Bulletin {
    Bulletin { news: vec![], is_incomplete: true }
}

fn complete(changes: &[(u64, Change)]) -> Option<Bulletin> {
    let news = |&(number, change)| News { vlan: vlan(10), mac: host(number), change };
    Some(Bulletin { news: changes.iter().map(news).collect(), is_incomplete: false })
}

#[test]
fn local_addresses_that_come_move_and_go_are_news() {
    let scene = Scene::following(&[10], 100);
    let (one, two) = (port(1), port(2));
    scene.hear(0, 1, 10, 1);
    scene.hear(0, 1, 10, 2);
    scene.hear(1, 2, 10, 2);
    assert_eq!(scene.news(), complete(&[(1, Came(one)), (2, Came(one)), (2, Moved(two))]));
    // Known, refreshed, in another VLAN, from a peer: no news.
    scene.hear(1, 1, 10, 1);
    scene.hear(100, 1, 10, 1);
    scene.hear(100, 1, 20, 1);
    scene.hear(100, 8, 10, 80);
    assert_eq!(scene.news(), None);
    // Two ways to go: age and a flush.
    scene.fdb.sweep(seconds(302), AGEING);
    assert_eq!(scene.news(), complete(&[(2, Went)]));
    scene.fdb.flush(seconds(302), AGEING, Scope { vlan: None, port: Some(one) });
    assert_eq!(scene.news(), complete(&[(1, Went)]));
    // Evicted, and gone with its port.
    for number in 3..=5 {
        scene.hear(303, 3, 10, number);
    }
    let three = port(3);
    assert_eq!(
        scene.news(),
        complete(&[(3, Came(three)), (4, Came(three)), (3, Went), (5, Came(three))])
    );
    scene.fdb.forget_port(three);
    assert_eq!(scene.news(), complete(&[(4, Went), (5, Went)]));
}

#[test]
fn what_a_peer_told_is_no_news_until_the_address_is_heard_here() {
    let scene = Scene::following(&[10], 100);
    scene.install(80);
    assert!(scene.fdb.withdraw(vlan(10), host(80), port(8)));
    scene.install(80);
    assert_eq!(scene.news(), None);
    scene.hear(0, 1, 10, 80);
    assert_eq!(scene.news(), complete(&[(80, Came(port(1)))]));
    scene.install(80);
    scene.fdb.forget_port(port(8));
    assert_eq!(scene.news(), None);
}

#[test]
fn what_a_peer_told_is_news_when_it_has_to_make_room() {
    let small = Arc::new(Fdb::new(6, [1, 2]));
    let mut scene = Scene::new();
    scene.fdb = small.clone();
    let local = |id| spec(port(id), trunk(&[10, 20]));
    let peer = PortSpec { kind: PortKind::Tunnel, ..local(8) };
    scene.switch = Switch::new(&switch_spec(vec![local(1), peer], vec![]), small);
    scene.fdb.follow(vlans(&[10]), 100);
    assert_eq!(scene.news(), Some(incomplete()));
    (80..86).for_each(|number| scene.install(number));
    assert_eq!(scene.news(), None);
    let came = |number| (number, Came(port(1)));
    for number in 1..=3 {
        scene.hear(0, 1, 10, number);
    }
    let expected = [(80, Evicted), came(1), (81, Evicted), came(2), (82, Evicted), came(3)];
    assert_eq!(scene.news(), complete(&expected));
    // Told anew, it takes the place of what was told longer ago.
    scene.install(80);
    assert_eq!(scene.news(), complete(&[(83, Evicted)]));
}

#[test]
fn news_beyond_the_limit_are_lost_and_the_loss_is_told() {
    let scene = Scene::following(&[10], 3);
    for number in 0..3 {
        scene.hear(0, 1, 10, number);
    }
    let came = |number| (number, Came(port(1)));
    assert_eq!(scene.news(), complete(&[came(0), came(1), came(2)]));
    for number in 3..10 {
        scene.hear(0, 1, 10, number);
    }
    assert_eq!(scene.news(), Some(incomplete()));
    scene.hear(0, 1, 10, 10);
    assert_eq!(scene.news(), complete(&[came(10)]));
    // Other VLANs to follow: what is known in them is no news either.
    scene.hear(0, 1, 10, 11);
    scene.fdb.follow(vlans(&[20]), 3);
    assert_eq!(scene.news(), Some(incomplete()));
    scene.hear(0, 1, 10, 12);
    assert_eq!(scene.news(), None);
}

#[test]
fn nobody_is_told_anything_who_follows_nothing() {
    let scene = Scene::new();
    scene.hear(0, 1, 10, 1);
    assert_eq!(scene.news(), None);
    scene.fdb.follow(VlanSet::new(), 10);
    assert_eq!(scene.news(), Some(incomplete()));
    scene.hear(0, 1, 10, 2);
    assert_eq!(scene.news(), None);
}

#[test]
fn a_reader_that_waits_is_woken_once() {
    #[derive(Default)]
    struct Bell(AtomicUsize);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let scene = Scene::new();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let is_waiting = || scene.fdb.poll_news(&mut Context::from_waker(&waker)).is_pending();
    let rung = || bell.0.load(Ordering::Relaxed);
    // It may wait before there is anything to follow.
    assert!(is_waiting());
    scene.fdb.follow(vlans(&[10]), 10);
    assert_eq!((rung(), is_waiting(), is_waiting()), (1, false, true));
    scene.hear(0, 1, 20, 1);
    scene.hear(0, 8, 10, 80);
    assert_eq!(rung(), 1);
    for number in 1..5 {
        scene.hear(0, 1, 10, number);
    }
    assert_eq!((rung(), is_waiting(), is_waiting()), (2, false, true));
    scene.fdb.forget_port(port(1));
    assert_eq!(rung(), 3);
}
