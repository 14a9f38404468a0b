use super::*;

fn key(of: u8) -> HostKey {
    HostKey::new([of; 32])
}

const OWN: u8 = 5;
/// How far the limit is above [`SEQUENCE_MAX`].
const LIMIT: u64 = 100;

fn judge() -> Judge {
    Judge::new(key(OWN), LIMIT)
}

/// Claims by hosts whose key is their number; [`OWN`] is this host.
fn station(claims: &[(u8, u64)]) -> Station {
    let mut station = Station::default();
    claims.iter().for_each(|&(host, sequence)| set(&mut station, host, Some(sequence)));
    station
}

fn set(station: &mut Station, host: u8, sequence: Option<u64>) {
    if host == OWN {
        station.local = sequence.map(|sequence| Local {
            sequence,
            version: 1,
            hold: Hold::Learned,
            ips: vec![],
        });
        return;
    }
    let peer = PeerId(host.into());
    station.claims.retain(|claim| claim.peer != peer);
    station.claims.extend(sequence.map(|sequence| Claim {
        peer,
        key: key(host),
        sequence,
        set: 1,
        ips: vec![],
    }));
}

fn owner(host: u8) -> Owner {
    if host == OWN { Owner::Here } else { Owner::Peer(PeerId(host.into())) }
}

#[test]
fn the_higher_credible_sequence_wins_and_among_equals_the_lower_key() {
    const TOP: u64 = SEQUENCE_MAX;
    type Case<'a> = (&'a [(u8, u64)], Option<u8>, u64);
    #[rustfmt::skip]
    let table: [Case<'_>; 15] = [
        // claims, of 5 is this host's                 winner   what beats the others'
        (&[],                                          None,    0),
        (&[(5, 0)],                                    Some(5), 0),
        (&[(7, 0)],                                    Some(7), 1),
        (&[(5, 0), (7, 1)],                            Some(7), 2),
        (&[(5, 2), (7, 1)],                            Some(5), 2),
        (&[(5, 1), (7, 1)],                            Some(5), 2),
        (&[(5, 1), (3, 1)],                            Some(3), 2),
        (&[(9, 4), (8, 4), (7, 3)],                    Some(8), 5),
        (&[(5, 3), (7, TOP)],                          Some(7), TOP + 1),
        (&[(5, 3), (7, TOP + LIMIT)],                  Some(7), TOP + LIMIT + 1),
        (&[(5, 3), (7, TOP + LIMIT + 1)],              Some(5), 1),
        (&[(5, 3), (7, u64::MAX)],                     Some(5), 1),
        (&[(7, u64::MAX), (8, u64::MAX)],              Some(7), 1),
        (&[(7, TOP + LIMIT + 1), (8, u64::MAX)],       Some(8), 1),
        (&[(7, 5), (8, u64::MAX)],                     Some(7), 6),
    ];
    for (claims, expected, next) in table {
        let mut claims = claims.to_vec();
        for _ in 0..claims.len().max(1) {
            let station = station(&claims);
            assert_eq!(station.winner(judge()), expected.map(owner), "{claims:?}");
            assert_eq!(station.next_sequence(judge()), next, "{claims:?}");
            if !claims.is_empty() {
                claims.rotate_left(1);
            }
        }
    }
}

#[test]
fn one_claim_more_wins_whatever_was_claimed_before() {
    for sequence in [0, 1, 1000, SEQUENCE_MAX, 2 * SEQUENCE_MAX, u64::MAX] {
        let mut station = station(&[(1, sequence), (2, sequence), (3, 0)]);
        let next = station.next_sequence(judge());
        set(&mut station, OWN, Some(next));
        assert_eq!(station.winner(judge()), Some(Owner::Here), "{sequence}");
    }
}

#[test]
fn a_disputed_claim_is_made_anew_above_what_is_believed_elsewhere() {
    #[rustfmt::skip]
    let table = [
        // own, believed elsewhere, news,  next
        (5,     4,                  false, 0),
        (5,     5,                  true,  6),
        (5,     9,                  true,  10),
        // A limit elsewhere may be higher than the one here.
        (5, SEQUENCE_MAX + LIMIT + 9, true, SEQUENCE_MAX + LIMIT + 10),
        (5,     2 * SEQUENCE_MAX,   false, 0),
        (5,     u64::MAX,           false, 0),
    ];
    for (own, believed, is_news, next) in table {
        let mut station = station(&[(5, own)]);
        assert_eq!(station.doubt(believed), is_news, "{believed}");
        assert!(!station.doubt(believed));
        assert_eq!(station.next_sequence(judge()), next, "{believed}");
    }
}

#[test]
fn the_fifth_move_freezes_with_the_owner_from_before_until_it_was_quiet() {
    let at = Duration::from_secs;
    let mut station = station(&[(5, 0)]);
    assert_eq!(station.settle(at(0), judge()), Settled::Calm);
    for moves in 1u64..=5 {
        let host = if moves % 2 == 1 { 7 } else { 5 };
        set(&mut station, host, Some(moves));
        let expected = if moves == 5 { Settled::Frozen(Owner::Here) } else { Settled::Calm };
        assert_eq!(station.settle(at(moves * 30), judge()), expected, "{moves}");
    }
    assert_eq!(station.owner(judge()), Some(Owner::Here));
    // It would move again at 300 s: the quiet time begins anew.
    set(&mut station, 8, Some(6));
    assert_eq!(station.settle(at(300), judge()), Settled::Calm);
    assert!(!station.is_quiet(at(330)));
    assert_eq!(station.wakes_at(), Some(at(480)));
    assert!(!station.is_quiet(at(479)));
    assert!(station.is_quiet(at(480)));
    station.melt(judge());
    assert_eq!(station.owner(judge()), Some(owner(8)));
}

#[test]
fn five_moves_in_more_than_180_seconds_are_moves() {
    let mut station = station(&[(5, 0)]);
    station.settle(Duration::ZERO, judge());
    for moves in 1..50 {
        set(&mut station, if moves % 2 == 1 { 7 } else { 5 }, Some(moves));
        assert_eq!(station.settle(Duration::from_secs(moves * 45), judge()), Settled::Calm);
    }
}

#[test]
fn a_frozen_owner_that_withdraws_is_nowhere() {
    let mut station = station(&[(5, 0)]);
    station.settle(Duration::ZERO, judge());
    for moves in 1..=5 {
        set(&mut station, if moves % 2 == 1 { 7 } else { 5 }, Some(moves));
        station.settle(Duration::from_secs(moves), judge());
    }
    set(&mut station, 5, None);
    assert_eq!(station.owner(judge()), None);
    set(&mut station, 5, Some(9));
    assert_eq!(station.owner(judge()), Some(Owner::Here));
}

#[test]
fn moves_are_remembered_while_nobody_claims() {
    let mut station = station(&[(5, 0)]);
    station.settle(Duration::ZERO, judge());
    set(&mut station, 7, Some(1));
    station.settle(Duration::from_secs(1), judge());
    set(&mut station, 5, None);
    set(&mut station, 7, None);
    station.settle(Duration::from_secs(2), judge());
    assert!(!station.is_forgettable(Duration::from_secs(180)));
    assert!(station.is_forgettable(Duration::from_secs(181)));
}
