use proptest::{collection::vec, prelude::*};

use super::*;

const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 5]);
const OTHER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 6]);

fn ip(last: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a0a_0000 + last).into()
}

fn packet(byte: u8) -> Waiting {
    packet_of(1, byte)
}

fn packet_of(peer: u32, byte: u8) -> Waiting {
    Waiting { packet: vec![byte], peer: PeerId::new(peer).unwrap() }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Ticks; returns who is asked for and what is given up.
fn tick(neighbours: &mut Neighbours, now: Duration) -> (Vec<IpAddr>, Vec<u8>) {
    let (mut asked, mut given_up) = (vec![], vec![]);
    neighbours.tick(now, |ip| asked.push(ip), |waiting| given_up.push(waiting.packet[0]));
    (asked, given_up)
}

#[test]
fn packets_wait_in_order_for_the_answer() {
    let mut neighbours = Neighbours::default();
    assert_eq!(neighbours.wait(secs(1), ip(5), packet(1)), Ok(true));
    assert_eq!(neighbours.wait(secs(1), ip(5), packet(2)), Ok(false));
    let sent = neighbours.heard(secs(2), ip(5), MAC, Heard::Statement);
    assert_eq!(sent.iter().map(|waiting| waiting.packet[0]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(neighbours.find(secs(2), ip(5)), Found::At(MAC));
    assert_eq!((neighbours.waiting, neighbours.unknown.len()), (0, 0));
}

#[test]
fn who_does_not_answer_is_asked_three_times_and_then_left_alone() {
    let mut neighbours = Neighbours::default();
    neighbours.wait(secs(1), ip(5), packet(1)).unwrap();
    assert_eq!(tick(&mut neighbours, secs(1)), (vec![], vec![]));
    assert_eq!(tick(&mut neighbours, secs(2)), (vec![ip(5)], vec![]));
    assert_eq!(tick(&mut neighbours, secs(3)), (vec![ip(5)], vec![]));
    assert_eq!(tick(&mut neighbours, secs(4)), (vec![], vec![1]));
    assert_eq!(neighbours.wait(secs(5), ip(5), packet(2)), Err(Refusal::Unreachable));
    assert_eq!(neighbours.wait(secs(7), ip(5), packet(2)), Ok(true));
    assert_eq!((neighbours.waiting, neighbours.unknown.len()), (1, 1));
}

#[test]
fn what_was_heard_long_ago_is_asked_again_while_it_is_used() {
    let mut neighbours = Neighbours::default();
    neighbours.heard(secs(1), ip(5), MAC, Heard::Question);
    assert_eq!(neighbours.find(secs(30), ip(5)), Found::At(MAC));
    assert_eq!(neighbours.find(secs(31), ip(5)), Found::Confirm(MAC));
    assert_eq!(neighbours.find(secs(31), ip(5)), Found::At(MAC));
    neighbours.heard(secs(32), ip(5), MAC, Heard::Statement);
    assert_eq!(neighbours.find(secs(40), ip(5)), Found::At(MAC));
    for at in [62, 63, 64] {
        assert_eq!(neighbours.find(secs(at), ip(5)), Found::Confirm(MAC), "{at}");
    }
    tick(&mut neighbours, secs(65));
    assert_eq!(neighbours.find(secs(65), ip(5)), Found::Missing);
}

#[test]
fn only_who_is_sent_to_is_remembered() {
    let mut neighbours = Neighbours::default();
    neighbours.heard(secs(1), ip(5), MAC, Heard::Statement);
    assert_eq!(neighbours.find(secs(1), ip(5)), Found::Missing);
    neighbours.heard(secs(1), ip(5), MAC, Heard::Question);
    neighbours.heard(secs(2), ip(5), OTHER, Heard::Hint);
    assert_eq!(neighbours.find(secs(2), ip(5)), Found::At(MAC));
    neighbours.heard(secs(3), ip(5), OTHER, Heard::Statement);
    assert_eq!(neighbours.find(secs(3), ip(5)), Found::At(OTHER));
    tick(&mut neighbours, secs(304));
    assert_eq!(neighbours.find(secs(304), ip(5)), Found::Missing);
}

#[test]
fn memory_is_bounded_whatever_is_asked_for() {
    let mut neighbours = Neighbours::default();
    let wait = |neighbours: &mut Neighbours, now, at: u32| {
        neighbours.wait(secs(now), ip(at / 9), packet_of(at % 7, 0)).is_ok()
    };
    let waiting = (0..10_000).filter(|&at| wait(&mut neighbours, 1, at)).count();
    assert_eq!(waiting - neighbours.displaced().count(), WAITING_MAX);
    for at in 0..10_000 {
        neighbours.heard(secs(1), ip(70_000 + at), MAC, Heard::Question);
    }
    assert_eq!(neighbours.known.len(), ASKERS_MAX);
    for now in 2..8 {
        tick(&mut neighbours, secs(now));
    }
    assert_eq!((neighbours.waiting, neighbours.unknown.len()), (0, 0));
    assert!(neighbours.shares.is_empty());
    for at in 0..10_000 {
        let _ = neighbours.wait(secs(8), ip(at), packet_of(at % 7, 0));
    }
    assert_eq!(neighbours.unknown.len(), UNKNOWN_MAX);
    for at in 0..10_000 {
        let _ = neighbours.wait(secs(9), ip(at), packet_of(at % 7, 0));
        neighbours.heard(secs(9), ip(at), MAC, Heard::Statement);
    }
    assert_eq!((neighbours.known.len(), neighbours.order.len()), (KNOWN_MAX, KNOWN_MAX));
    tick(&mut neighbours, secs(400));
    assert_eq!((neighbours.askers, neighbours.order.len()), (0, 0));
}

#[test]
fn questions_leave_room_for_those_that_packets_go_to() {
    let mut neighbours = Neighbours::default();
    for at in 0..10_000 {
        neighbours.heard(secs(1), ip(70_000 + at), MAC, Heard::Question);
    }
    assert_eq!(neighbours.wait(secs(1), ip(5), packet(1)), Ok(true));
    assert_eq!(neighbours.heard(secs(1), ip(5), OTHER, Heard::Statement).len(), 1);
    assert_eq!(neighbours.find(secs(1), ip(5)), Found::At(OTHER));
    // Whoever is sent to has not only asked: there is room for another asker.
    assert_eq!(neighbours.find(secs(1), ip(70_000)), Found::At(MAC));
    neighbours.heard(secs(1), ip(90_000), MAC, Heard::Question);
    assert_eq!(neighbours.find(secs(1), ip(90_000)), Found::At(MAC));
}

#[test]
fn one_peer_that_asks_for_much_leaves_room_for_others() {
    let mut neighbours = Neighbours::default();
    for at in 0..10_000 {
        let _ = neighbours.wait(secs(1), ip(1000 + at), packet_of(1, 0));
    }
    assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(1, 0)), Err(Refusal::QueueFull));
    assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(2, 0)), Ok(true));
    for _ in 0..10_000 {
        let _ = neighbours.wait(secs(1), ip(1000), packet_of(1, 0));
    }
    assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(2, 0)), Ok(false));
    // What is asked for again later is the new asker's.
    for now in 2..5 {
        tick(&mut neighbours, secs(now));
    }
    assert_eq!(neighbours.wait(secs(4), ip(1000), packet_of(2, 0)), Err(Refusal::Unreachable));
    assert_eq!(neighbours.wait(secs(7), ip(1000), packet_of(2, 0)), Ok(true));
    for now in 8..15 {
        tick(&mut neighbours, secs(now));
    }
    assert!(neighbours.shares.is_empty());
}

/// Has a peer ask for an address and its host answer.
fn resolve(neighbours: &mut Neighbours, now: Duration, peer: u32, ip: IpAddr) {
    assert_eq!(neighbours.wait(now, ip, packet_of(peer, 0)), Ok(true));
    assert_eq!(neighbours.heard(now, ip, MAC, Heard::Statement).len(), 1);
    assert_eq!(neighbours.find(now, ip), Found::At(MAC));
}

#[test]
fn who_is_sent_to_stays_and_who_is_needed_finds_room_while_a_peer_scans_what_answers() {
    let mut neighbours = Neighbours::default();
    resolve(&mut neighbours, secs(1), 1, ip(5));
    resolve(&mut neighbours, secs(1), 1, ip(6));
    for at in 0..3 * KNOWN_MAX as u32 {
        let now = secs(1) + Duration::from_millis(at.into());
        resolve(&mut neighbours, now, 2, ip(1000 + at));
        if at.is_multiple_of(1000) {
            assert_eq!(neighbours.find(now, ip(5)), Found::At(MAC), "{at}");
            neighbours.heard(now, ip(5), MAC, Heard::Statement);
        }
    }
    assert_eq!((neighbours.known.len(), neighbours.order.len()), (KNOWN_MAX, KNOWN_MAX));
    assert_eq!(neighbours.find(secs(14), ip(6)), Found::Missing);
    resolve(&mut neighbours, secs(14), 1, ip(7));
    assert_eq!(neighbours.find(secs(14), ip(5)), Found::At(MAC));
    // The last ones that the scan has found are there, the first ones are not.
    assert_eq!(neighbours.find(secs(14), ip(999 + 3 * KNOWN_MAX as u32)), Found::At(MAC));
    assert_eq!(neighbours.find(secs(14), ip(1000)), Found::Missing);
}

#[test]
fn askers_make_way_for_whom_packets_go_to() {
    let mut neighbours = Neighbours::default();
    for at in 0..ASKERS_MAX as u32 {
        neighbours.heard(secs(1), ip(70_000 + at), MAC, Heard::Question);
    }
    for at in 0..KNOWN_MAX as u32 {
        resolve(&mut neighbours, secs(2), 1, ip(1000 + at));
    }
    assert_eq!((neighbours.known.len(), neighbours.askers), (KNOWN_MAX, 0));
    neighbours.heard(secs(2), ip(70_000), MAC, Heard::Question);
    assert_eq!(neighbours.find(secs(2), ip(70_000)), Found::Missing);
}

#[test]
fn peers_that_scan_what_does_not_answer_take_no_room_from_others() {
    let mut neighbours = Neighbours::default();
    let all = UNKNOWN_MAX as u32;
    for at in 0..all {
        assert_eq!(neighbours.wait(secs(1), ip(1000 + at), packet_of(at % 4, 0)), Ok(true), "{at}");
    }
    // The oldest of a scanner's makes way, and its packet is its loss.
    assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(9, 5)), Ok(true));
    let displaced: Vec<_> = neighbours.displaced().collect();
    assert!(matches!(&displaced[..], [peer] if peer.number() < 4), "{displaced:?}");
    assert_eq!(neighbours.unknown.len(), UNKNOWN_MAX);
    assert_eq!(neighbours.heard(secs(1), ip(5), MAC, Heard::Statement).len(), 1);
    // Those that failed make way, the oldest first, and are nobody's.
    for now in 2..5 {
        tick(&mut neighbours, secs(now));
    }
    assert!(neighbours.shares.is_empty());
    let failed = neighbours.unknown.len();
    for at in 0..=UNKNOWN_MAX - failed {
        assert_eq!(neighbours.wait(secs(4), ip(at as u32), packet_of(9, 0)), Ok(true));
    }
    assert_eq!(neighbours.displaced().count(), 0);
    assert_eq!(neighbours.unknown.len(), UNKNOWN_MAX);
    let gone: Vec<_> =
        (0..all).filter(|at| !neighbours.unknown.contains_key(&ip(1000 + at))).collect();
    assert!(matches!(gone[..], [first, second] if first < 4 && second < 4), "{gone:?}");
}

#[test]
fn peers_whose_packets_wait_take_no_room_from_others() {
    let mut neighbours = Neighbours::default();
    let all = WAITING_MAX as u32;
    for at in 0..all {
        let waits = neighbours.wait(secs(1), ip(1000 + at / 8), packet_of(at % 4, 0));
        assert!(waits.is_ok(), "{at}");
    }
    for byte in 0..3 {
        assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(9, byte)), Ok(byte == 0));
    }
    let displaced: Vec<_> = neighbours.displaced().map(PeerId::number).collect();
    assert!(displaced.len() == 3 && displaced.iter().all(|peer| *peer < 4), "{displaced:?}");
    assert_eq!(neighbours.waiting, WAITING_MAX);
    assert_eq!(neighbours.heard(secs(1), ip(5), MAC, Heard::Statement).len(), 3);
    // Who has as much as others has no claim to theirs.
    for at in 0..all {
        let _ = neighbours.wait(secs(1), ip(2000 + at / 8), packet_of(9, 0));
    }
    let most = neighbours.shares.values().map(|share| share.waiting).max();
    assert!(neighbours.share(PeerId::new(9).unwrap()).waiting <= most.unwrap());
    assert_eq!(neighbours.waiting, WAITING_MAX);
}

/// Compares what is counted with what there is.
fn check_books(neighbours: &Neighbours) {
    let askers = neighbours.known.values().filter(|known| known.is_asker).count();
    assert_eq!((neighbours.askers, neighbours.order.len()), (askers, neighbours.known.len()));
    let mut shares = HashMap::<PeerId, Share, RandomState>::default();
    let mut waiting_now = 0;
    for unknown in neighbours.unknown.values() {
        let State::Resolving { peer, waiting, .. } = &unknown.state else { continue };
        shares.entry(*peer).or_default().asked += 1;
        waiting_now += waiting.len();
        waiting.iter().for_each(|it| shares.entry(it.peer).or_default().waiting += 1);
    }
    assert_eq!((neighbours.waiting, &neighbours.shares), (waiting_now, &shares));
    assert!(neighbours.unknown.len() <= UNKNOWN_MAX && waiting_now <= WAITING_MAX);
    assert!(neighbours.known.keys().all(|ip| !neighbours.unknown.contains_key(ip)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn books_are_right_whatever_happens_and_every_packet_has_one_end(
        happenings in vec((0..16_u8, 0..9_u32, 0..600_u32), 0..4000)
    ) {
        let mut neighbours = Neighbours::default();
        let (mut now, mut taken, mut ended) = (secs(1), 0, 0);
        for (what, peer, at) in happenings {
            match what {
                0 => now += Duration::from_millis(250),
                1 => neighbours.tick(now, |_| {}, |_| ended += 1),
                2 => ended += neighbours.heard(now, ip(at), MAC, Heard::Statement).len(),
                3 => ended += neighbours.heard(now, ip(at), OTHER, Heard::Question).len(),
                _ if neighbours.find(now, ip(at)) != Found::Missing => {}
                _ => {
                    taken += usize::from(neighbours.wait(now, ip(at), packet_of(peer, 0)).is_ok());
                    ended += neighbours.displaced().count();
                }
            }
        }
        check_books(&neighbours);
        prop_assert_eq!(taken, ended + neighbours.waiting);
    }
}
