//! The first handshake: who is up when, what is lost, what crosses.

use super::SECOND;
use super::net::{A, B, DELAY, Net, PEER, address, suites};
use crate::{DownReason, Event, HostError, PeerConfig, PeerState, Refusal, Suite, Suites};

#[test]
fn two_hosts_are_connected_after_one_round_trip() {
    let mut net = Net::pair(1);
    assert_eq!(net.ends[B].state(), PeerState::Down(DownReason::Waiting));
    net.run(DELAY * 2);
    assert!(net.ends[A].is_up());
    assert_eq!(net.ends[B].state(), PeerState::Down(DownReason::Waiting), "not yet confirmed");
    net.run(DELAY);
    assert!(net.ends[B].is_up());
    assert_eq!(net.ends[B].endpoints[&PEER], address(A));
    net.assert_connected();
    let session = &net.ends[A].sending[&PEER];
    assert_eq!(session.suite(), Suite::Aes256Gcm);
}

#[test]
fn the_responder_is_silent_until_the_initiator_confirms() {
    let mut net = Net::pair(2);
    net.arrives = Box::new(|it| it.kind() != 4);
    net.run(SECOND * 60);
    assert!(net.ends[B].sending.is_empty());
    assert_eq!(net.count_from(B, 4), 0);
    assert!(net.ends[B].states.is_empty(), "nothing moved");
    assert!(!net.ends[B].endpoints.contains_key(&PEER));
    assert!(!net.send(B, b"data"), "there is nothing to send with");
}

#[test]
fn the_initiator_confirms_without_waiting_for_data() {
    let mut net = Net::pair(3);
    net.run(DELAY * 2);
    assert_eq!((net.count_from(A, 1), net.count_from(B, 2), net.count_from(A, 4)), (1, 1, 1));
}

#[test]
fn each_message_may_be_lost() {
    for kind in 1..=4 {
        for losses in [1, 2, 3] {
            let mut net = Net::pair(4);
            let mut left = losses;
            net.arrives = Box::new(move |it| {
                let lost = it.kind() == kind && left > 0;
                left -= usize::from(lost);
                !lost
            });
            let up = |net: &Net| net.ends[A].is_up() && net.ends[B].is_up();
            assert!(net.run_until(SECOND * 17, up), "{losses} of kind {kind}");
            net.assert_connected();
        }
    }
}

#[test]
fn initiations_are_repeated_after_five_seconds_and_a_little() {
    let mut net = Net::pair(5);
    net.arrives = Box::new(|_| false);
    net.run(SECOND * 89);
    let times: Vec<_> = net.seen.iter().map(|it| it.at).collect();
    assert!((16..=18).contains(&times.len()), "{}", times.len());
    for pair in times.windows(2) {
        let gap = (pair[1] - pair[0]).as_millis();
        assert!((5000..=5333).contains(&gap), "{gap} ms");
    }
    // Each is another: nothing that was seen opens again.
    assert!(net.seen.windows(2).all(|pair| pair[0].bytes[8..40] != pair[1].bytes[8..40]));
}

#[test]
fn a_peer_that_does_not_answer_is_given_up_and_tried_again_later() {
    let mut net = Net::pair(6);
    net.arrives = Box::new(|_| false);
    net.run(SECOND * 94);
    assert_eq!(net.ends[A].state(), PeerState::Down(DownReason::NoAnswer));
    let doubts = net.ends[A].news.iter().filter(|it| matches!(it, Event::Unanswered { .. }));
    assert!(doubts.count() >= 3, "a name is to be resolved again");
    let before = net.seen.len();
    net.run(SECOND * 25);
    assert_eq!(net.seen.len(), before, "it rests");
    net.arrives = Box::new(|_| true);
    net.run(SECOND * 40);
    assert!(net.ends[A].is_up());
}

#[test]
fn what_is_wanted_ends_the_rest() {
    let mut net = Net::pair(7);
    net.arrives = Box::new(|_| false);
    net.run(SECOND * 100);
    net.arrives = Box::new(|_| true);
    assert!(!net.send(A, b"data"));
    net.run(DELAY * 3);
    net.assert_connected();
}

#[test]
fn handshakes_that_cross_both_complete_and_the_higher_key_sends() {
    for seed in 0..20 {
        let mut net = Net::new(100 + seed, 2);
        net.add(A, B, |_| {});
        net.add(B, A, |_| {});
        net.run(SECOND);
        assert_eq!((net.count_from(A, 1), net.count_from(B, 1)), (1, 1), "both began");
        let (a, b) = (&net.ends[A], &net.ends[B]);
        assert_eq!((a.sessions.len(), b.sessions.len()), (2, 2), "both completed");
        let higher = if a.public() > b.public() { A } else { B };
        let lower = 1 - higher;
        // The session that it began is the one whose index its initiation has.
        let began = net.seen.iter().find(|it| it.kind() == 1 && it.from == address(higher));
        let index = u32::from_le_bytes(began.unwrap().bytes[4..8].try_into().unwrap());
        assert_eq!(net.ends[higher].sending[&PEER].index(), index);
        let session = &net.ends[lower].sending[&PEER];
        assert!(net.ends[higher].sessions[&index].remote() == session.index());
        net.assert_connected();
        net.run(SECOND * 100);
        assert_eq!((net.count_from(A, 1), net.count_from(B, 1)), (1, 1), "none is repeated");
    }
}

#[test]
fn a_suite_that_is_not_allowed_meets_silence_and_is_reported() {
    let mut net = Net::new(8, 2);
    net.add(B, A, |config| {
        config.endpoint = None;
        config.suites = suites(&[Suite::ChaCha20Poly1305]);
    });
    net.add(A, B, |_| {});
    net.run(SECOND * 30);
    assert!(!net.ends[A].is_up());
    assert_eq!(net.count_from(B, 2), 0);
    assert!(net.ends[B].refused.iter().all(|&it| it == Refusal::SuiteNotAllowed));
    let told =
        |it: &Event| matches!(it, Event::SuiteNotAllowed { peer: PEER, suite: Suite::Aes256Gcm });
    assert!(net.ends[B].news.iter().any(told));
}

#[test]
fn a_preference_told_inside_counts_at_the_next_rekey() {
    let mut net = Net::up(9);
    let (aes, chacha) = (Suite::Aes256Gcm, Suite::ChaCha20Poly1305);
    let now = net.now;
    net.ends[B].host.set_suites(now, PEER, suites(&[chacha])).unwrap();
    net.drain(B);
    net.run(SECOND * 100);
    assert_eq!(net.ends[A].sending[&PEER].suite(), aes, "what is there goes on");
    net.run(SECOND * 30);
    for end in [A, B] {
        assert_eq!(net.ends[end].sending[&PEER].suite(), chacha);
        assert!(net.ends[end].refused.is_empty() && net.ends[end].news.is_empty());
    }
    net.assert_connected();
}

#[test]
fn both_orders_of_suites_lead_to_one() {
    let (aes, chacha) = (Suite::Aes256Gcm, Suite::ChaCha20Poly1305);
    let mut net = Net::new(11, 2);
    net.add(B, A, |config| {
        config.endpoint = None;
        config.suites = suites(&[chacha, aes]);
    });
    net.add(A, B, |config| config.suites = suites(&[aes, chacha]));
    net.run(SECOND * 130);
    let higher = if net.ends[A].public() > net.ends[B].public() { aes } else { chacha };
    assert_eq!(net.ends[A].sending[&PEER].suite(), higher);
    net.assert_connected();
}

#[test]
fn ones_own_key_and_keys_taken_twice_are_refused() {
    let mut net = Net::new(10, 3);
    let config = |key| PeerConfig {
        key,
        preshared_key: None,
        endpoint: None,
        suites: Suites::default(),
        greatest: None,
    };
    let (own, other, third) = (net.ends[A].public(), net.ends[B].public(), net.ends[2].public());
    let now = net.now;
    let second = crate::PeerId(2);
    let host = &mut net.ends[A].host;
    assert_eq!(host.add(now, PEER, config(own)), Err(HostError::OwnKey));
    assert_eq!(host.add(now, PEER, config(other)), Ok(()));
    assert_eq!(host.add(now, second, config(other)), Err(HostError::SameKey(PEER)));
    assert_eq!(host.add(now, PEER, config(third)), Err(HostError::SameId));
    let key = net.ends[B].key.clone();
    let host = &mut net.ends[A].host;
    assert_eq!(host.set_private_keys(now, key, None), Err(HostError::OwnKey));
    assert_eq!(host.remove(second), Err(HostError::UnknownPeer));
}
