//! What moves nothing: replays, foreign addresses, clocks that went back, keys that do not fit.

use std::time::Duration;

use super::SECOND;
use super::net::{A, B, DELAY, Net, PEER, WALL, attacker};
use crate::{DownReason, Event, PeerState, Refusal, Reset};

/// All that an attacker would want to change at an end.
fn standing(net: &Net, end: usize) -> impl PartialEq + std::fmt::Debug + use<> {
    let end = &net.ends[end];
    let sending: Vec<_> = end.sending.values().map(|session| session.index()).collect();
    (end.endpoints.clone(), sending, end.states.clone(), end.state())
}

#[test]
fn a_replayed_initiation_from_another_address_moves_nothing_and_has_no_answer() {
    let mut net = Net::up(1);
    let initiation = net.seen.iter().find(|it| it.kind() == 1).unwrap().clone();
    let (before, sent) = (standing(&net, B), net.seen.len());
    for _ in 0..10 {
        net.inject(attacker(), B, initiation.bytes.clone());
        net.run(DELAY);
    }
    assert_eq!(standing(&net, B), before);
    assert!(net.seen[sent..].iter().all(|it| it.to != attacker()));
    assert_eq!(net.ends[B].refused, [Refusal::Replayed; 10]);
    net.assert_connected();
}

#[test]
fn an_initiation_stolen_on_its_way_gets_an_answer_and_moves_nothing() {
    let mut net = Net::up(2);
    // The rekey's initiation never arrives; the attacker delivers it from its own address.
    net.arrives = Box::new(|it| it.kind() != 1);
    assert!(net.run_until(SECOND * 121, |net| net.count_from(A, 1) == 2));
    let stolen = net.seen.iter().rfind(|it| it.kind() == 1).unwrap().clone();
    net.arrives = Box::new(|_| true);
    let before = standing(&net, B);
    net.inject(attacker(), B, stolen.bytes);
    net.run(DELAY);
    let answer = net.seen.iter().rfind(|it| it.kind() == 2).unwrap();
    assert_eq!(answer.to, attacker());
    assert_eq!(standing(&net, B), before, "no endpoint, no session to send with, no state");
    net.assert_connected();
    assert_eq!(standing(&net, B), before);
}

#[test]
fn an_initiation_replayed_after_a_restart_with_state_is_known() {
    let mut net = Net::up(3);
    let initiation = net.seen.iter().find(|it| it.kind() == 1).unwrap().clone();
    for (keeps, refused) in [(true, vec![Refusal::Replayed]), (false, vec![])] {
        net.restart(B, keeps);
        net.add(B, A, |config| config.endpoint = None);
        net.inject(attacker(), B, initiation.bytes.clone());
        net.run(DELAY * 2);
        assert_eq!(net.ends[B].refused, refused);
        // Without state it is answered, which still moves nothing.
        assert!(net.ends[B].states.is_empty() && net.ends[B].endpoints.is_empty());
        assert!(net.ends[B].sending.is_empty());
    }
}

#[test]
fn a_clock_that_goes_back_does_no_harm_while_its_mark_is_kept() {
    let mut net = Net::up(4);
    net.run(SECOND * 30);
    net.restart(A, true);
    net.ends[A].wall = WALL - SECOND * 100_000;
    net.add(A, B, |_| {});
    net.run(DELAY * 3);
    net.assert_connected();
    let told = |it: &Event| matches!(it, Event::ClockBehind { .. });
    assert_eq!(net.ends[A].news.iter().filter(|it| told(it)).count(), 1);
}

#[test]
fn a_rollback_is_reported_at_both_ends_and_cured_by_a_reset() {
    let mut net = Net::up(5);
    let before = net.ends[B].endpoints.clone();
    // A is behind something that lets in what it asked for alone: only A can begin.
    let at_b = net.ends[B].address;
    net.arrives = Box::new(move |it| it.kind() != 1 || it.from != at_b);
    net.restart(A, false);
    net.ends[A].wall = WALL - SECOND * 100_000;
    net.add(A, B, |_| {});
    net.run(DELAY * 2);
    let Some(&Event::HeldBehind { peer: PEER, greatest }) =
        net.ends[A].news.iter().find(|it| matches!(it, Event::HeldBehind { .. }))
    else {
        panic!("{:?}", net.ends[A].news)
    };
    assert_eq!(Some(greatest), net.ends[B].greatest);
    assert_eq!(net.ends[A].state(), PeerState::Down(DownReason::HeldBehind));
    assert_eq!(net.ends[B].endpoints, before);
    assert!(net.ends[A].sessions.is_empty());
    assert!(net.ends[B].is_up() && net.ends[B].news.is_empty(), "it may be a replay");
    let is_told = |it: &Event| matches!(it, Event::PeerBehind { peer: PEER, .. });
    let told = |net: &Net| net.ends[B].news.iter().any(is_told);
    assert!(net.run_until(SECOND * 120, told), "{:?}", net.ends[B].news);
    assert!(!net.ends[B].is_up());

    let now = net.now;
    assert!(net.ends[B].host.reset(now, PEER).unwrap().timestamp);
    net.drain(B);
    assert_eq!(net.ends[B].greatest, None);
    assert!(net.ends[B].sessions.is_empty());
    let up = |net: &Net| net.ends[A].is_up() && net.ends[B].is_up();
    assert!(net.run_until(SECOND * 61, up));
    net.assert_connected();
}

#[test]
fn a_rollback_is_made_up_for_by_the_other_end_where_it_can_begin() {
    let mut net = Net::up(5);
    net.restart(A, false);
    net.ends[A].wall = WALL - SECOND * 100_000;
    net.add(A, B, |_| {});
    net.run(DELAY * 2);
    assert_eq!(net.ends[A].state(), PeerState::Down(DownReason::HeldBehind));
    assert!(net.run_until(SECOND * 40, |net| net.ends[A].is_up()));
    net.assert_connected();
    assert!(net.ends[B].news.is_empty());
}

#[test]
fn a_reset_lets_a_peer_in_for_good_whatever_is_replayed() {
    let mut net = Net::up(12);
    net.run(SECOND * 600);
    net.restart(A, false);
    net.ends[A].wall = WALL - SECOND * 100_000;
    net.add(A, B, |_| {});
    net.run(SECOND);
    assert_eq!(net.ends[A].state(), PeerState::Down(DownReason::HeldBehind));
    let now = net.now;
    let reset = net.ends[B].host.reset(now, PEER).unwrap();
    assert_eq!(reset, Reset { sessions: 2, timestamp: true });
    net.drain(B);
    // Whatever was recorded before, with timestamps that A's clock is far from, is sent to B again and again.
    let recorded: Vec<_> = net.seen.iter().filter(|it| it.kind() == 1).cloned().collect();
    assert!(recorded.len() > 4);
    for _ in 0..600 {
        for old in &recorded {
            net.inject(attacker(), B, old.bytes.clone());
        }
        net.run(SECOND);
        assert!(net.ends[A].is_up() && net.ends[B].is_up());
    }
    net.assert_connected();
    assert!(net.ends[B].news.is_empty());
}

#[test]
fn a_replay_beside_a_live_session_is_counted_and_not_reported() {
    let mut net = Net::up(13);
    let old = net.seen.iter().find(|it| it.kind() == 1).unwrap().clone();
    net.run(SECOND * 130);
    net.inject(attacker(), B, old.bytes);
    net.run(DELAY);
    assert_eq!(net.ends[B].refused, [Refusal::RolledBack]);
    assert!(net.ends[B].news.is_empty(), "{:?}", net.ends[B].news);
}

#[test]
fn a_rollback_is_told_to_nobody_but_the_initiator_and_not_often() {
    let mut net = Net::up(6);
    let old = net.seen.iter().find(|it| it.kind() == 1).unwrap().clone();
    net.run(SECOND * 130);
    let (before, sent) = (standing(&net, B), net.seen.len());
    for _ in 0..100 {
        net.inject(attacker(), B, old.bytes.clone());
        net.run(Duration::from_millis(20));
    }
    let told: Vec<_> = net.seen[sent..].iter().filter(|it| it.to == attacker()).collect();
    assert_eq!(told.len(), 1, "once in 5 s");
    assert!(told[0].bytes.len() <= old.bytes.len());
    assert_eq!(standing(&net, B), before);
    // Brought to A, it answers nothing that is under way.
    let told = told[0].bytes.clone();
    net.inject(attacker(), A, told);
    net.run(DELAY);
    assert_eq!(net.ends[A].refused, [Refusal::UnknownIndex]);
    assert!(net.ends[A].is_up());
}

#[test]
fn preshared_keys_that_differ_connect_nothing() {
    let mut net = Net::new(7, 2);
    net.add(B, A, |config| config.preshared_key = Some(Net::psk(1)));
    net.add(A, B, |config| config.preshared_key = Some(Net::psk(2)));
    net.run(SECOND * 30);
    for end in [A, B] {
        assert!(!net.ends[end].is_up());
        assert!(net.ends[end].sending.is_empty());
        assert!(net.ends[end].refused.contains(&Refusal::Undecipherable));
        assert_eq!(net.count_from(end, 4), 0);
    }
    net.ends[A].host.set_preshared_key(PEER, Some(Net::psk(1))).unwrap();
    let up = |net: &Net| net.ends[A].is_up() && net.ends[B].is_up();
    assert!(net.run_until(SECOND * 6, up));
    net.assert_connected();
}

#[test]
fn strangers_get_no_answer_and_leave_nothing() {
    let mut net = Net::new(8, 3);
    net.add(B, A, |config| config.endpoint = None);
    net.add(2, B, |_| {});
    net.run(SECOND * 30);
    assert_eq!(net.count_from(B, 2) + net.count_from(B, 3), 0);
    assert!(net.ends[B].sessions.is_empty());
    let key = net.ends[2].public();
    let knocks = |it: &&Event| matches!(it, Event::Stranger { key: it, .. } if *it == key);
    assert_eq!(net.ends[B].news.iter().filter(knocks).count(), net.count_from(2, 1));
}

#[test]
fn a_host_with_the_same_key_connects_to_nobody() {
    let mut net = Net::new(9, 2);
    net.add(B, A, |_| {});
    net.add(A, B, |_| {});
    // B's key in A's hands: A is a stranger to B, whatever it calls itself.
    let now = net.now;
    let thief = net.ends[B].key.clone();
    net.ends[A].host.remove(PEER).unwrap();
    net.ends[A].host.set_private_keys(now, thief, None).unwrap();
    net.drain(A);
    net.run(SECOND * 30);
    assert!(!net.ends[B].is_up());
    assert_eq!(net.count_from(B, 2), 0);
}

#[test]
fn an_answer_that_does_not_fit_does_no_harm_to_the_one_that_does() {
    let mut net = Net::pair(10);
    net.arrives = Box::new(|it| it.kind() != 2);
    net.run(DELAY);
    let answer = net.seen.iter().find(|it| it.kind() == 2).unwrap().clone();
    net.arrives = Box::new(|_| true);
    for byte in [12, 50, 60] {
        let mut changed = answer.bytes.clone();
        changed[byte] ^= 1;
        // Anybody can make its mac1 right again.
        crate::mac::MacKeys::new(&net.ends[A].public()).mark(&mut changed, None);
        net.inject(attacker(), A, changed);
    }
    net.run(DELAY);
    assert_eq!(net.ends[A].refused, [Refusal::Undecipherable; 3]);
    net.inject(answer.from, A, answer.bytes);
    net.run(DELAY * 2);
    net.assert_connected();
}

#[test]
fn an_index_changed_in_an_answer_is_noticed() {
    let mut net = Net::pair(11);
    net.arrives = Box::new(|it| it.kind() != 2);
    net.run(DELAY);
    let mut answer = net.seen.iter().find(|it| it.kind() == 2).unwrap().clone();
    net.arrives = Box::new(|_| true);
    answer.bytes[4] ^= 1;
    crate::mac::MacKeys::new(&net.ends[A].public()).mark(&mut answer.bytes, None);
    net.inject(attacker(), A, answer.bytes);
    net.run(DELAY);
    assert_eq!(net.ends[A].refused, [Refusal::Undecipherable]);
    assert!(net.ends[A].sessions.is_empty());
}
