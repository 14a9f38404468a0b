//! What happens to a session: renewal, keepalives, peers that die, move, go or change their keys.

use std::time::Duration;

use super::SECOND;
use super::net::{A, B, DELAY, Net, PEER, address};
use crate::{DownReason, Event, PeerState, PrivateKey, Refusal};

/// Both ends send all the time, for a while; returns how many records each sent.
fn talk(net: &mut Net, time: Duration, each: Duration) -> u64 {
    let end = net.now + time;
    let mut sent = 0_u64;
    while net.now < end {
        for from in [A, B] {
            assert!(net.send(from, &sent.to_le_bytes()), "there is always a session");
        }
        sent += 1;
        net.run(each);
    }
    net.run(DELAY);
    sent
}

#[test]
fn a_rekey_under_load_loses_no_record() {
    let mut net = Net::up(1);
    let sent = talk(&mut net, SECOND * 400, DELAY * 3 / 2);
    for end in [A, B] {
        let got: Vec<_> = net.ends[end].got.iter().map(|it| it[..].try_into().unwrap()).collect();
        let got: Vec<_> = got.into_iter().map(u64::from_le_bytes).collect();
        assert_eq!(got, (0..sent).collect::<Vec<_>>(), "all, once, in order");
        assert!(net.ends[end].unopened.is_empty());
        assert_eq!(net.ends[end].states.len(), 2 - end, "up all the time");
    }
    assert_eq!(net.count_from(A, 1), 4, "every 120 s");
    assert_eq!(net.count_from(B, 1), 0, "the end that began renews");
}

#[test]
fn old_sessions_are_let_go_of() {
    let mut net = Net::up(2);
    net.run(SECOND * 1000);
    assert!(net.ends.iter().all(|end| end.is_up() && end.sessions.len() <= 2));
}

#[test]
fn the_other_end_renews_if_the_first_does_not() {
    let mut net = Net::up(3);
    net.arrives = Box::new(|it| it.kind() != 1 || it.from == address(B));
    net.run(SECOND * 170);
    assert!(net.count_from(B, 1) > 0);
    assert!(net.ends[A].is_up() && net.ends[B].is_up());
    net.assert_connected();
}

#[test]
fn an_idle_tunnel_stays_up_with_a_keepalive_every_ten_seconds() {
    let mut net = Net::up(4);
    let before = net.seen.len();
    net.run(SECOND * 100);
    let sent = net.seen.len() - before;
    assert!((18..=20).contains(&sent), "{sent}");
    assert!(net.seen[before..].iter().all(|it| it.kind() == 4 && it.bytes.len() == 48));
    assert!(net.ends.iter().all(super::net::End::is_up));
    assert_eq!(net.ends[A].states.len(), 2, "handshaking, up, and no more");
}

#[test]
fn one_way_traffic_is_answered_by_keepalives() {
    let mut net = Net::up(5);
    for _ in 0..1000 {
        net.send(A, b"no answer needed");
        net.run(Duration::from_millis(100));
    }
    assert_eq!(net.ends[A].states.len(), 2);
    assert_eq!(net.ends[B].got.len(), 1000);
}

#[test]
fn a_dead_peer_is_noticed_in_fifteen_seconds_given_up_in_ninety_and_found_again() {
    let mut net = Net::up(6);
    net.arrives = Box::new(|_| false);
    let died = net.now;
    net.send(A, b"hello?");
    let handshaking = |net: &Net| net.ends[A].state() == PeerState::Handshaking;
    assert!(net.run_until(SECOND * 20, handshaking));
    assert_eq!(net.now - died, SECOND * 15);
    assert_eq!(net.seen.last().unwrap().kind(), 1);
    let down = |net: &Net| net.ends[A].state() == PeerState::Down(DownReason::NoAnswer);
    assert!(net.run_until(SECOND * 100, down));
    let after = net.now - died - SECOND * 15;
    assert!(after >= SECOND * 90 && after < SECOND * 96, "{after:?}");
    assert!(net.ends[A].sessions.is_empty());
    net.arrives = Box::new(|_| true);
    assert!(net.run_until(SECOND * 65, |net| net.ends[A].is_up()), "it tries again by itself");
    net.run(DELAY);
    net.assert_connected();
}

#[test]
fn a_dead_peer_is_noticed_without_traffic() {
    let mut net = Net::up(7);
    net.arrives = Box::new(|_| false);
    let handshaking = |net: &Net| net.ends[A].state() == PeerState::Handshaking;
    assert!(net.run_until(SECOND * 36, handshaking));
}

#[test]
fn a_peer_that_was_killed_is_back_with_its_first_initiation() {
    let mut net = Net::up(8);
    net.run(SECOND * 20);
    net.restart(A, true);
    net.add(A, B, |_| {});
    net.run(DELAY * 3);
    net.assert_connected();
    assert!(net.ends[B].is_up());
}

#[test]
fn a_peer_without_an_address_that_was_killed_is_found_again() {
    let mut net = Net::up(9);
    net.restart(B, false);
    net.add(B, A, |config| config.endpoint = None);
    net.send(A, b"lost");
    let up = |net: &Net| net.ends[B].is_up() && net.ends[A].is_up();
    assert!(net.run_until(SECOND * 16, up));
    net.assert_connected();
}

#[test]
fn an_endpoint_follows_its_peer_mid_stream() {
    let mut net = Net::up(10);
    let new = "203.0.113.9:1".parse().unwrap();
    let late = {
        net.send(A, b"from the old address, late");
        net.seen.last().unwrap().clone()
    };
    net.ends[A].address = new;
    net.send(A, b"from the new address");
    net.run(DELAY);
    assert_eq!(net.ends[B].endpoints[&PEER], new);
    net.assert_connected();
    // What was sent before is no reason to move back, replayed or late.
    net.inject(late.from, B, late.bytes);
    net.run(DELAY);
    assert_eq!(net.ends[B].endpoints[&PEER], new);
}

#[test]
fn a_record_that_was_overtaken_moves_nothing() {
    let mut net = Net::up(11);
    net.send(A, b"one");
    let one = net.seen.pop().unwrap();
    // It is still under way by another path.
    net.arrives = Box::new(|_| true);
    net.run(DELAY);
    net.send(A, b"two");
    net.run(DELAY);
    net.inject(super::net::attacker(), B, one.bytes);
    net.run(DELAY);
    assert_eq!(net.ends[B].endpoints[&PEER], address(A));
}

#[test]
fn what_was_held_back_until_after_a_rekey_moves_nothing() {
    let mut net = Net::up(17);
    net.run(SECOND * 110);
    net.arrives = Box::new(|_| false);
    net.send(A, b"held back");
    let held = net.seen.last().unwrap().clone();
    net.arrives = Box::new(|_| true);
    net.run(SECOND * 20);
    net.assert_connected();
    net.inject(super::net::attacker(), B, held.bytes);
    net.run(DELAY);
    assert_eq!(net.ends[B].got.last().unwrap(), b"held back", "it is the peer's");
    assert_eq!(net.ends[B].endpoints[&PEER], address(A), "and tells nothing of where it is");
}

#[test]
fn a_removed_peer_is_silent_at_once() {
    let mut net = Net::up(12);
    net.send(A, b"data");
    // Something waits to be sent to it when it goes.
    let now = net.now;
    net.ends[B].host.control(now, PEER, &[5, 0, 0, 0, 0]);
    net.ends[B].host.remove(PEER).unwrap();
    assert_eq!(net.ends[B].host.poll_transmit(), None);
    net.drain(B);
    assert!(net.ends[B].sessions.is_empty() && net.ends[B].sending.is_empty());
    let before = net.count_from(B, 2) + net.count_from(B, 4);
    net.run(SECOND * 300);
    assert_eq!(net.count_from(B, 2) + net.count_from(B, 4), before);
    assert_eq!(net.ends[B].host.poll_timeout(), None);
    assert!(net.ends[B].refused.iter().all(|&it| it == Refusal::UnknownPeer));
    assert!(net.ends[B].news.iter().any(|it| matches!(it, Event::Stranger { .. })));
}

#[test]
fn a_changed_preshared_key_counts_at_the_next_handshake() {
    let mut net = Net::up(13);
    for end in [A, B] {
        net.ends[end].host.set_preshared_key(PEER, Some(Net::psk(1))).unwrap();
    }
    net.assert_connected();
    talk(&mut net, SECOND * 130, SECOND);
    assert_eq!(net.count_from(A, 1), 2);
    net.assert_connected();
    // At one end only: what is there goes on, the next handshake does not fit.
    net.ends[A].host.set_preshared_key(PEER, None).unwrap();
    net.assert_connected();
    net.run(SECOND * 200);
    assert!(!net.ends[A].is_up() && !net.ends[B].is_up());
    assert!(net.ends[A].refused.contains(&Refusal::Undecipherable));
}

#[test]
fn a_rotated_key_serves_peers_that_know_the_old_and_peers_that_know_the_new() {
    for begins in [A, B] {
        let mut net = Net::new(14, 2);
        let old = net.ends[A].key.clone();
        let new = PrivateKey::generate(&mut crate::test::Dice::new(99));
        net.add(A, B, |config| config.endpoint = config.endpoint.filter(|_| begins == A));
        net.add(B, A, |config| config.endpoint = config.endpoint.filter(|_| begins == B));
        net.run(SECOND);
        net.assert_connected();
        let now = net.now;
        net.ends[A].host.set_private_keys(now, new.clone(), Some(old)).unwrap();
        // Through a rekey with B knowing the old key alone.
        let sent = talk(&mut net, SECOND * 200, SECOND);
        assert_eq!(net.ends[B].got.len() as u64, sent + 1);
        // B learns the new key.
        net.ends[A].key = new.clone();
        net.ends[B].host.remove(PEER).unwrap();
        net.drain(B);
        net.ends[B].greatest = None;
        net.add(B, A, |config| config.endpoint = config.endpoint.filter(|_| begins == B));
        assert!(net.run_until(SECOND * 40, |net| net.ends[B].is_up()));
        net.run(SECOND);
        net.assert_connected();
        // And the old one is gone.
        let now = net.now;
        net.ends[A].host.set_private_keys(now, new, None).unwrap();
        talk(&mut net, SECOND * 200, SECOND);
        net.assert_connected();
    }
}

#[test]
fn what_is_known_of_a_peer_is_wiped_in_time() {
    let mut net = Net::up(15);
    assert_eq!(net.ends[B].endpoints[&PEER], address(A));
    net.arrives = Box::new(|_| false);
    // B has no address but the one that it heard A from.
    net.run(SECOND * (36 + 96 + 545));
    let status = net.ends[B].host.status(PEER).unwrap();
    assert_eq!((status.endpoint, status.heard), (None, None));
    assert_eq!(status.state, PeerState::Down(DownReason::Waiting));
    let before = net.count_from(B, 1);
    net.run(SECOND * 200);
    assert_eq!(net.count_from(B, 1), before);
    assert!(net.ends[B].sessions.is_empty());
}

#[test]
fn a_worn_key_is_replaced_before_its_time() {
    let mut net = Net::up(16);
    net.run(SECOND * 20);
    let session = net.ends[A].sending[&PEER].clone();
    session.skip_to(1 << 26);
    net.run(SECOND * 11);
    assert_ne!(net.ends[A].sending[&PEER].index(), session.index());
    net.assert_connected();
}
