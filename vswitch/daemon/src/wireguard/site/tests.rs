use std::{net::Ipv4Addr, sync::mpsc::Receiver};

use rustix::event::{
    Timespec,
    epoll::{self, EventData, EventFlags},
};
use weft_ports::udp::{self, Segmentation};
use weft_vpn::PrivateKey;
use weft_wireguard::{AdapterConfig, Boring, BoringGate};

use super::*;
use crate::tunnel::random;

fn site() -> (Site, Receiver<Note>) {
    let socket = udp::open((Ipv4Addr::LOCALHOST, 0).into(), 1, Segmentation::None).unwrap();
    let key = PrivateKey::generate(&mut random);
    let server = Server::new(Box::new(BoringGate::new(&key, &mut random)));
    let adapter = Adapter::new(AdapterConfig {
        mac: AdapterConfig::mac_of(key.public().as_bytes()),
        addresses: vec!["10.10.0.1/24".parse().unwrap()],
        gateway_v4: None,
        gateway_v6: None,
        mtu: 9000,
        vlan_mtu: 1500,
    });
    let (notes, told) = std::sync::mpsc::channel();
    (Site::new(server, adapter, socket[0].clone(), notes).unwrap(), told)
}

fn peer(number: u32, endpoint: Option<SocketAddr>) -> Arc<Peer> {
    let (own, theirs) = (PrivateKey::generate(&mut random), PrivateKey::generate(&mut random));
    let id = PeerId::new(number).unwrap();
    let engine = Boring::new(&own, theirs.public(), None, id);
    Arc::new(Peer::new(id, theirs.public(), Box::new(engine), endpoint, None, vec![]))
}

#[test]
fn strangers_take_no_place_of_those_who_call_from_where_a_peer_is() {
    let (site, told) = site();
    let [stranger, home] = [1, 2].map(|host| SocketAddr::from(([10, 0, 0, host], 1)));
    site.set_peers([peer(1, Some(home))].into_iter().collect());
    for _ in 0..HANDSHAKES_MAX + 3 {
        site.handshake(stranger.into(), &[1; 148]);
    }
    site.handshake(home.into(), &[1; 148]);
    assert_eq!(site.counts.all(), BTreeMap::from([("under-load", 3)]));
    let is_home = |note: &Note| matches!(note, Note::Handshake(Caller::Peer, from, _) if from.address == home);
    let mut from_home = 0;
    for note in told.try_iter() {
        from_home += usize::from(is_home(&note));
        site.heard(&note);
    }
    assert_eq!(from_home, 1);
    for from in [stranger, home] {
        site.handshake(from.into(), &[1; 148]);
    }
    assert_eq!(told.try_iter().count(), 2);
}

#[test]
fn what_waits_and_is_thrown_away_is_counted_with_the_port_and_the_peer() {
    let (site, _told) = site();
    let home = ([10, 0, 0, 2], 2).into();
    let (stays, goes) = (peer(1, Some(home)), peer(2, Some(home)));
    site.set_peers([stays.clone(), goes.clone()].into_iter().collect());
    let mut room = vec![0; ROOM];
    for peer in [&stays, &goes] {
        (0..70).for_each(|_| _ = peer.seal(&[0x45; 40], &mut room));
    }
    let mut tally = Tally::default();
    site.count_lost(&stays, &mut tally);
    assert_eq!(tally.drops, [(DropReason::NoSession, 6)]);
    stays.give_up();
    site.count_late(&stays, Tally { frames: 2, bytes: 100, ..Tally::default() });
    site.set_peers([stays.clone()].into_iter().collect());
    let mut tally = Tally::default();
    site.take_late(&mut tally);
    assert_eq!((tally.frames, tally.bytes), (2, 100));
    assert_eq!(tally.drops, [(DropReason::NoSession, 64 + 70)]);
    assert_eq!(site.counts_of(stays.id()), BTreeMap::from([("no-session", 70)]));
    let mut again = Tally::default();
    site.take_late(&mut again);
    assert_eq!((again.frames, again.drops), (0, vec![]));
}

/// Waits for what has room for more, once each time.
fn is_announced(epoll: &OwnedFd) -> bool {
    let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    epoll::wait(epoll, &mut events, Some(&at_once)).unwrap() == 1
}

#[test]
fn what_the_port_is_to_count_late_is_announced_each_time() {
    let (site, _told) = site();
    let stays = peer(1, None);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let flags = EventFlags::OUT | EventFlags::ET;
    epoll::add(&epoll, site.belated(), EventData::new_u64(0), flags).unwrap();
    assert!(is_announced(&epoll));
    for _ in 0..3 {
        assert!(!is_announced(&epoll));
        site.count_late(&stays, Tally { frames: 1, bytes: 60, ..Tally::default() });
        site.count_late(&stays, Tally { frames: 1, bytes: 60, ..Tally::default() });
        assert!(is_announced(&epoll));
        let mut tally = Tally::default();
        site.take_late(&mut tally);
        assert_eq!((tally.frames, tally.bytes), (2, 120));
    }
}

#[test]
fn packets_that_waited_for_a_neighbour_in_vain_are_counted_with_the_port_and_the_peer() {
    let (site, _told) = site();
    let waited = peer(1, None);
    let lost = [(waited.id(), Refusal::Unreachable, 3), (waited.id(), Refusal::QueueFull, 1)];
    site.count_unresolved(lost.into_iter());
    let mut refused = vec![];
    assert!(!site.take_answers(9, &mut vec![], |reason, packets| refused.push((reason, packets))));
    refused.sort_unstable();
    let mut expected = [(DropReason::Unroutable, 3), (DropReason::QueueFull, 1)];
    expected.sort_unstable();
    assert_eq!(refused, expected);
    let counts = BTreeMap::from([("queue-full", 1), ("unreachable", 3)]);
    assert_eq!(site.counts_of(waited.id()), counts);
    site.take_answers(9, &mut vec![], |reason, _| panic!("{reason:?} again"));
}
