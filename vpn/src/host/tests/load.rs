//! Floods: what a host under load still does, and what it never does.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::SECOND;
use super::net::{A, B, DELAY, Net, PEER, attacker};
use crate::mac::MacKeys;
use crate::test::Dice;
use crate::{Load, Random, Refusal};

/// What a flood may leave behind: nothing.
fn state_of(net: &Net, end: usize) -> (usize, usize, usize) {
    let host = &net.ends[end].host;
    (host.indices.len(), host.deadlines.len(), net.ends[end].sessions.len())
}

/// An initiation that anybody can make who knows the receiver's public key.
fn forged(net: &Net, to: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = vec![0; 148];
    dice.fill(&mut bytes);
    bytes[..4].copy_from_slice(&[1, 1, (dice.roll() % 2) as u8, 0]);
    MacKeys::new(&net.ends[to].public()).mark(&mut bytes, None);
    bytes
}

fn spoofed(dice: &mut Dice) -> SocketAddr {
    let [a, b, c, d, port @ ..] = dice.roll().to_le_bytes();
    SocketAddr::from(([a, b, c, d], u16::from_le_bytes([port[0], port[1]])))
}

#[test]
fn forged_floods_leave_no_state_and_get_no_more_than_they_give() {
    for load in [Load::Calm, Load::Heavy] {
        let mut net = Net::up(1);
        net.ends[B].load = load;
        let mut dice = Dice::new(2);
        let (state, seen) = (state_of(&net, B), net.seen.len());
        let mut given = 0;
        for _ in 0..2000 {
            let bytes = forged(&net, B, &mut dice);
            given += bytes.len();
            let from = spoofed(&mut dice);
            net.inject(from, B, bytes);
        }
        net.run(DELAY);
        assert_eq!(state_of(&net, B), state);
        let answers: Vec<_> =
            net.seen[seen..].iter().filter(|it| it.from == net.ends[B].address).collect();
        assert!(answers.iter().map(|it| it.bytes.len()).sum::<usize>() <= given / 2);
        let expected = match load {
            Load::Calm => Refusal::Undecipherable,
            Load::Heavy => Refusal::CookieAsked,
        };
        assert_eq!(answers.len(), if load == Load::Calm { 0 } else { 2000 });
        let low = |it: &&Refusal| **it != expected && **it != Refusal::LowOrder;
        assert_eq!(net.ends[B].refused.iter().find(low), None);
        assert_eq!(net.ends[B].host.refusals().map(|(_, count)| count).sum::<u64>(), 2000);
        net.assert_connected();
    }
}

#[test]
fn without_a_right_mac1_nothing_is_computed_or_answered() {
    let mut net = Net::up(3);
    net.ends[B].load = Load::Heavy;
    let mut dice = Dice::new(4);
    let sent = net.seen.len();
    for _ in 0..100 {
        let mut bytes = forged(&net, B, &mut dice);
        bytes[120] ^= 1;
        net.inject(attacker(), B, bytes);
    }
    net.run(DELAY);
    assert_eq!(net.ends[B].refused, [Refusal::NotForUs; 100]);
    assert!(net.seen[sent..].iter().all(|it| it.from == attacker()));
}

#[test]
fn under_load_a_cookie_brings_a_handshake_through_at_once() {
    for heavy in [&[B][..], &[A], &[A, B]] {
        let mut net = Net::pair(5);
        for &end in heavy {
            net.ends[end].load = Load::Heavy;
        }
        net.run(DELAY * 10);
        assert!(net.ends[A].is_up() && net.ends[B].is_up(), "{heavy:?}");
        net.assert_connected();
        for &end in heavy {
            assert_eq!(net.count_from(end, 3), 1, "{heavy:?}");
        }
        let again = usize::from(heavy.contains(&B));
        assert_eq!(net.count_from(A, 1), 1 + again);
        let mut stamps: Vec<_> =
            net.seen.iter().filter(|it| it.kind() == 1).map(|it| it.bytes[8..].to_vec()).collect();
        stamps.dedup();
        assert_eq!(stamps.len(), 1 + again, "sent anew, not again");
    }
}

#[test]
fn one_cookie_permits_one_immediate_initiation() {
    let mut net = Net::pair(6);
    net.ends[B].load = Load::Heavy;
    // Its answers are lost, all but cookies; and cookies are doubled.
    net.arrives = Box::new(|it| it.kind() != 2);
    net.run(DELAY * 3);
    assert_eq!(net.count_from(A, 1), 2);
    let cookie = net.seen.iter().find(|it| it.kind() == 3).unwrap().clone();
    for _ in 0..10 {
        net.inject(cookie.from, A, cookie.bytes.clone());
    }
    net.run(DELAY * 3);
    assert_eq!(net.count_from(A, 1), 2);
    assert_eq!(net.ends[A].refused, [Refusal::UnknownIndex; 10]);
}

#[test]
fn a_cookie_is_good_at_its_address_and_for_its_time() {
    let mut net = Net::pair(7);
    net.ends[B].load = Load::Heavy;
    net.arrives = Box::new(|it| it.kind() != 2);
    net.run(DELAY * 3);
    let proved = net.seen.iter().rfind(|it| it.kind() == 1).unwrap().clone();
    assert!(proved.bytes[132..].iter().any(|&byte| byte != 0), "it has a mac2");
    // Elsewhere it proves nothing.
    net.inject(attacker(), B, proved.bytes.clone());
    net.run(DELAY);
    assert_eq!(net.ends[B].refused.last(), Some(&Refusal::CookieAsked));
    // From the same place, it is seen to be a replay, which is known only after its price was paid.
    net.inject(proved.from, B, proved.bytes.clone());
    net.run(DELAY);
    assert_eq!(net.ends[B].refused.last(), Some(&Refusal::Replayed));
    net.run(SECOND * 245);
    net.inject(proved.from, B, proved.bytes);
    net.run(DELAY);
    assert_eq!(net.ends[B].refused.last(), Some(&Refusal::CookieAsked));
}

#[test]
fn a_source_that_receives_is_still_limited() {
    let mut net = Net::pair(8);
    net.ends[B].load = Load::Heavy;
    net.arrives = Box::new(|it| it.kind() != 2);
    net.run(DELAY * 3);
    let proved = net.seen.iter().rfind(|it| it.kind() == 1).unwrap().clone();
    let before = net.ends[B].refused.len();
    for _ in 0..100 {
        net.inject(proved.from, B, proved.bytes.clone());
    }
    net.run(DELAY);
    let refused = &net.ends[B].refused[before..];
    let computed = refused.iter().filter(|&&it| it == Refusal::Replayed).count();
    assert!((1..=5).contains(&computed), "{computed}");
    assert!(refused.iter().filter(|&&it| it == Refusal::RateLimited).count() >= 95);
}

#[test]
fn a_handshake_comes_through_a_flood() {
    for seed in 0..20 {
        let mut net = Net::new(900 + seed, 2);
        net.add(B, A, |config| config.endpoint = None);
        net.ends[B].load = Load::Heavy;
        let mut dice = Dice::new(seed);
        let begun = net.now;
        net.add(A, B, |_| {});
        while !(net.ends[A].is_up() && net.ends[B].is_up()) {
            for _ in 0..20 {
                let (from, bytes) = (spoofed(&mut dice), forged(&net, B, &mut dice));
                net.inject(from, B, bytes);
            }
            net.run(DELAY / 2);
            assert!(net.now - begun < SECOND * 5);
        }
    }
}

#[test]
fn answers_to_nothing_get_nothing_even_under_load() {
    let mut net = Net::up(9);
    net.ends[A].load = Load::Heavy;
    let mut dice = Dice::new(1);
    let sent = net.seen.len();
    for len in [96, 108, 64] {
        let mut bytes = vec![0; len];
        dice.fill(&mut bytes);
        bytes[..4].copy_from_slice(&[if len == 64 { 3 } else { 2 }, 0, 0, 0]);
        MacKeys::new(&net.ends[A].public()).mark(&mut bytes, None);
        net.inject(attacker(), A, bytes);
    }
    net.run(DELAY);
    assert_eq!(net.ends[A].refused, [Refusal::UnknownIndex; 3]);
    assert_eq!(net.seen.len(), sent + 3);
}

#[test]
fn a_cookie_that_does_not_open_is_no_permission() {
    let mut net = Net::pair(10);
    net.ends[B].load = Load::Heavy;
    net.arrives = Box::new(|it| it.kind() != 3);
    net.run(DELAY);
    let mut cookie = net.seen.iter().find(|it| it.kind() == 3).unwrap().clone();
    cookie.bytes[40] ^= 1;
    net.arrives = Box::new(|_| true);
    net.inject(cookie.from, A, cookie.bytes);
    net.run(DELAY);
    assert_eq!(net.ends[A].refused, [Refusal::BadCookie]);
    assert_eq!(net.count_from(A, 1), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever comes, in whatever order, with right macs or wrong: no panic, no state.
    #[test]
    fn no_message_brings_a_host_down(
        messages in prop::collection::vec(
            (0..6_u8, 0..3_u8, prop::collection::vec(any::<u8>(), 0..200), any::<bool>()),
            1..20,
        ),
        heavy: bool,
    ) {
        let mut net = Net::up(11);
        net.ends[B].load = if heavy { Load::Heavy } else { Load::Calm };
        let keys = MacKeys::new(&net.ends[B].public());
        let state = state_of(&net, B);
        for (kind, flavour, mut bytes, right) in messages {
            let len = match kind { 1 => 148, 2 => 96, 3 => 64, _ => bytes.len() };
            if flavour > 0 {
                bytes.resize(len, 0);
            }
            if bytes.len() >= 40 {
                bytes[..4].copy_from_slice(&[kind, u8::from(kind == 1), 0, 0]);
                if right {
                    keys.mark(&mut bytes, None);
                }
            }
            net.inject(attacker(), B, bytes);
        }
        net.run(DELAY);
        prop_assert_eq!(state_of(&net, B), state);
        prop_assert!(net.ends[B].is_up());
        let now = net.now;
        net.ends[B].host.control(now, PEER, &[5, 0, 0]);
        net.assert_connected();
    }
}
