//! What is promised of tunnels, each promise by itself: two hosts, one disturbance.

use std::time::Duration;

use weft_sim::{Act, Memory, Must, PATIENCE, Report, World};
use weft_vpn::PeerId;

const SECOND: Duration = Duration::from_secs(1);

/// Two hosts that are up.
fn two(seed: u64) -> World {
    let mut world = World::of_two(seed);
    world.settle(5 * SECOND);
    world
}

#[test]
fn a_rekey_under_load_loses_no_frame() {
    for seed in 0..10 {
        let mut world = two(seed);
        world.demand(Must::Arrive);
        for (from, to) in [(0, 1), (1, 0)] {
            world.send(from, to, 13_000, SECOND / 50);
        }
        // Sessions live for 120 s: two are replaced meanwhile.
        world.run_for(260 * SECOND);
        world.close();
        assert!(world.delivered() >= 26_000);
    }
}

#[test]
fn a_tunnel_that_nobody_uses_stays_up() {
    for seed in 0..20 {
        let mut world = two(seed);
        world.silence();
        world.run_for(1000 * SECOND);
        world.demand(Must::Arrive);
        world.send(0, 1, 1, SECOND);
        world.send(1, 0, 1, SECOND);
        world.run_for(SECOND);
        world.close();
    }
}

#[test]
fn a_host_that_was_killed_is_back_at_once_with_its_state_and_without() {
    for memory in [Memory::Kept, Memory::Lost] {
        for seed in 0..20 {
            let mut world = two(seed);
            world.act(Act::Kill(0));
            world.run_for(2 * SECOND);
            world.act(Act::Start(0, memory));
            assert!(world.settle(10 * SECOND) < 10 * SECOND);
        }
    }
}

#[test]
fn what_was_captured_moves_nothing_to_the_attacker_after_a_restart() {
    for seed in 0..50 {
        let mut world = two(seed);
        world.act(Act::Kill(1));
        world.act(Act::Clock(1, -100_000));
        world.act(Act::Start(1, Memory::Lost));
        // It knows of no timestamp, and takes the first for a new one. Who is taken for whom is looked at all the time.
        world.replay_handshakes(1);
        world.settle(30 * SECOND);
        world.replay_handshakes(1);
        world.replay_handshakes(0);
        world.demand(Must::Arrive);
        world.run_for(30 * SECOND);
        world.close();
    }
}

#[test]
fn a_clock_that_goes_back_is_made_up_for_by_the_state() {
    for seed in 0..20 {
        let mut world = two(seed);
        world.act(Act::Kill(0));
        world.act(Act::Clock(0, -1_000_000));
        world.act(Act::Start(0, Memory::Kept));
        world.settle(10 * SECOND);
        assert!(world.reports().is_empty());
    }
}

#[test]
fn a_clock_that_goes_back_without_its_state_is_made_up_for_by_the_other_end() {
    for seed in 0..20 {
        let mut world = two(seed);
        world.act(Act::Kill(0));
        world.act(Act::Clock(0, -1_000_000));
        world.act(Act::Start(0, Memory::Lost));
        world.run_for(SECOND);
        assert_eq!(world.reports(), [(0, Report::HeldBehind(PeerId(1)))]);
        world.settle(40 * SECOND);
    }
}

#[test]
fn a_clock_that_goes_back_without_its_state_is_reported_at_both_ends_and_reset() {
    for seed in 0..20 {
        // Behind a translator that has forgotten it: the other end cannot begin.
        let mut world = World::of_one_that_begins(seed);
        world.settle(5 * SECOND);
        world.act(Act::Kill(0));
        world.act(Act::Relocate(0));
        world.act(Act::Clock(0, -1_000_000));
        world.act(Act::Start(0, Memory::Lost));
        world.run_for(150 * SECOND);
        let at_the_other = (1, Report::PeerBehind(PeerId(0)));
        let at_the_host = (0, Report::HeldBehind(PeerId(1)));
        assert!(world.reports().contains(&at_the_other), "{:?}", world.reports());
        assert!(world.reports().contains(&at_the_host), "{:?}", world.reports());
        world.act(Act::Reset(1, 0));
        world.settle(65 * SECOND);
    }
}

#[test]
fn an_end_that_moves_is_followed_and_both_that_move_are_looked_up() {
    for seed in 0..20 {
        let mut world = two(seed);
        world.act(Act::Relocate(0));
        // What its guest sends next, or a keepalive, tells.
        assert!(world.settle(12 * SECOND) <= 12 * SECOND);
        world.act(Act::Relocate(0));
        world.act(Act::Relocate(1));
        world.settle(90 * SECOND);
    }
}

#[test]
fn a_translator_that_forgets_is_told_again_by_a_keepalive() {
    for seed in 0..20 {
        let mut world = World::of_one_that_begins(seed);
        world.settle(5 * SECOND);
        world.silence();
        world.act(Act::Relocate(0));
        world.run_for(11 * SECOND);
        world.demand(Must::Arrive);
        world.send(1, 0, 3, SECOND);
        world.run_for(4 * SECOND);
        world.close();
    }
}

#[test]
fn a_path_that_shrinks_loses_nothing_for_longer_than_eight_seconds() {
    for seed in 0..20 {
        let mut world = two(seed);
        world.run_for(20 * SECOND);
        world.act(Act::Mtu(0, 1, 1300));
        world.act(Act::Mtu(1, 0, 1210));
        world.send(0, 1, 80, SECOND / 10);
        world.send(1, 0, 80, SECOND / 10);
        world.run_for(8 * SECOND);
        world.demand(Must::Arrive);
        world.run_for(60 * SECOND);
        world.close();
    }
}

#[test]
fn a_rotated_key_is_taken_up_without_a_gap_at_the_host_that_has_it() {
    let worlds = (0..20).flat_map(|seed| [World::of_two(seed), World::of_one_that_begins(seed)]);
    for mut world in worlds {
        world.settle(5 * SECOND);
        world.demand(Must::Arrive);
        world.act(Act::NewKey(0));
        world.run_for(200 * SECOND);
        world.demand(Must::May);
        world.run_for(5 * SECOND);
        // The peer's configuration follows: a peer with another key is another peer.
        world.act(Act::LearnKey(1, 0));
        world.settle(30 * SECOND);
        world.demand(Must::Arrive);
        world.run_for(10 * SECOND);
        world.act(Act::ForgetKey(0));
        world.run_for(200 * SECOND);
        world.close();
    }
}

#[test]
fn a_preshared_key_counts_from_the_next_handshake_on() {
    for seed in 0..20 {
        let mut world = two(seed);
        world.demand(Must::Arrive);
        world.act(Act::Psk(0, 1, 1));
        world.run_for(60 * SECOND);
        world.demand(Must::May);
        // Sessions end, and with different keys none begins.
        world.run_for(200 * SECOND);
        let before = world.delivered();
        world.run_for(60 * SECOND);
        assert_eq!(world.delivered(), before);
        world.act(Act::Psk(1, 0, 1));
        world.settle(PATIENCE);
    }
}

#[test]
fn a_peer_that_was_removed_is_silent_and_comes_back() {
    for seed in 0..20 {
        let mut world = two(seed);
        // That nothing is sent to it is looked at with every datagram.
        world.act(Act::Remove(0, 1));
        world.run_for(100 * SECOND);
        let before = world.delivered();
        world.run_for(10 * SECOND);
        assert_eq!(world.delivered(), before);
        world.act(Act::Add(0, 1));
        world.settle(10 * SECOND);
    }
}

#[test]
fn hosts_under_load_ask_for_cookies_and_let_each_other_in() {
    for seed in 0..20 {
        let mut world = World::of_two(seed);
        world.act(Act::Load(0));
        world.act(Act::Load(1));
        world.settle(10 * SECOND);
        world.demand(Must::Arrive);
        world.run_for(260 * SECOND);
        world.close();
    }
}
