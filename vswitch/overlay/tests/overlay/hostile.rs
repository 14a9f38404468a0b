//! A peer that lies. Host 2 says whatever the test wants; the others are as they are.

use std::time::Duration;

use weft_overlay::{
    Event, Hold, LocalPort, PeerId, Refusal, SEQUENCE_MAX, SegmentId,
    wire::{Body, Entry, Message, Stamp},
};
use weft_vlan::MacAddr;

use crate::mesh::*;

const LIAR: usize = 2;

/// What the liar has claimed of whom, in messages that follow each other.
pub(crate) struct Liar {
    round: u64,
    version: u64,
}

impl Liar {
    pub(crate) fn new() -> Self {
        Self { round: 1 << 32, version: 0 }
    }

    pub(crate) fn claim(
        &mut self,
        mesh: &mut Mesh,
        victims: &[usize],
        segment: SegmentId,
        claims: &[(MacAddr, Option<u64>)],
    ) {
        let entry = |&(mac, sequence): &(MacAddr, Option<u64>)| Entry {
            mac,
            claim: sequence.map(|sequence| (sequence, vec![])),
        };
        let (from, to) = (self.version, self.version + 1);
        self.version = to;
        let entries = claims.iter().map(entry).collect();
        let body = Body::Claims { segment, round: self.round, from, to, full: 1, entries };
        let payload = message(body);
        victims.iter().for_each(|&to| mesh.forge(LIAR, to, payload.clone()));
    }
}

fn message(body: Body) -> Vec<u8> {
    Message { stamp: Stamp { epoch: 7, session: 1 }, body }.to_bytes()
}

fn mesh() -> (Mesh, Liar) {
    let mut mesh = Mesh::new(4);
    mesh.run_for(seconds(1));
    mesh.silenced.insert(LIAR);
    (mesh, Liar::new())
}

/// Where the honest hosts have an address.
fn honest(mesh: &Mesh, key: Key) -> [Option<Place>; 3] {
    [0, 1, 3].map(|host| mesh.hosts[host].fdb.get(&key).copied())
}

fn at_0() -> [Option<Place>; 3] {
    [Some(Place::Here), Some(Place::At(0)), Some(Place::At(0))]
}

fn refused(mesh: &Mesh, host: usize, wanted: Refusal) -> bool {
    mesh.hosts[host].events.iter().any(|event| {
        matches!(event, Event::Refused { peer: PeerId(2), refusal, .. } if *refusal == wanted)
    })
}

#[test]
fn all_that_was_refused_is_told_within_a_second() {
    let (mut mesh, mut liar) = mesh();
    let groups: Vec<_> =
        (0..5).map(|last| (MacAddr::new([1, 0, 0x5e, 0, 0, last]), Some(0))).collect();
    liar.claim(&mut mesh, &[0], segment(OFFICE), &groups);
    mesh.run_for(seconds(2));
    let told = mesh.hosts[0].events.iter().rev().find_map(|event| match event {
        Event::Refused { refusal: Refusal::BadAddress, count, .. } => Some(*count),
        _ => None,
    });
    assert_eq!(told, Some(5));
}

#[test]
fn another_hosts_addresses_are_back_with_one_frame_of_each() {
    for sequence in [1, 2, 1000, SEQUENCE_MAX, SEQUENCE_MAX + 2500, 2 * SEQUENCE_MAX, u64::MAX] {
        let (mut mesh, mut liar) = mesh();
        (0..50).for_each(|number| mesh.speak(0, office(number)));
        (50..60).for_each(|number| mesh.speak(1, office(number)));
        mesh.run_for(seconds(1));
        let claims: Vec<_> = (0..50).map(|number| (mac(number), Some(sequence))).collect();
        liar.claim(&mut mesh, &[0, 1, 3], segment(OFFICE), &claims);
        mesh.run_for(millis(50));
        // What is beyond a host's limit is not believed there even for a moment.
        for host in [0, 1, 3] {
            let is_stolen = mesh.hosts[host].fdb[&office(7)] == Place::At(LIAR);
            assert_eq!(is_stolen, sequence <= SEQUENCE_MAX + limit_of(host), "{sequence}");
        }
        assert_eq!(refused(&mesh, 1, Refusal::SequenceJump), sequence > 1);
        // A host that did not believe it hears a second later from those that did.
        if sequence > SEQUENCE_MAX {
            mesh.run_for(seconds(2));
        }
        (0..50).for_each(|number| mesh.speak(0, office(number)));
        mesh.run_for(millis(100));
        for number in 0..50 {
            assert_eq!(honest(&mesh, office(number)), at_0(), "{sequence}");
        }
        for number in 50..60 {
            let others = [Some(Place::At(1)), Some(Place::Here), Some(Place::At(1))];
            assert_eq!(honest(&mesh, office(number)), others);
        }
    }
}

#[test]
fn a_sequence_of_2_64_minus_1_moves_nothing_that_is_known_and_yields_to_the_first_frame() {
    let (mut mesh, mut liar) = mesh();
    mesh.speak(0, office(1));
    mesh.run_for(seconds(1));
    let claims = [(mac(1), Some(u64::MAX)), (mac(2), Some(u64::MAX))];
    liar.claim(&mut mesh, &[0, 1, 3], segment(OFFICE), &claims);
    mesh.run_for(seconds(1));
    assert_eq!(honest(&mesh, office(1)), at_0());
    assert_eq!(honest(&mesh, office(2)), [Some(Place::At(LIAR)); 3]);
    mesh.speak(0, office(2));
    mesh.run_for(millis(100));
    assert_eq!(honest(&mesh, office(2)), at_0());
    assert!([0, 1, 3].iter().all(|&host| refused(&mesh, host, Refusal::SequenceJump)));
    // And it moves on as ever.
    mesh.speak(1, office(2));
    mesh.run_for(millis(100));
    assert_eq!(mesh.hosts[3].fdb[&office(2)], Place::At(1));
}

#[test]
fn a_lie_that_only_one_host_hears_is_found_out_and_undone_by_one_frame() {
    for sequence in [1, 5, 1000, SEQUENCE_MAX, SEQUENCE_MAX + 3500] {
        let (mut mesh, mut liar) = mesh();
        mesh.speak(0, office(1));
        mesh.run_for(seconds(1));
        liar.claim(&mut mesh, &[3], segment(OFFICE), &[(mac(1), Some(sequence))]);
        mesh.run_for(seconds(2));
        assert_eq!(mesh.hosts[3].fdb[&office(1)], Place::At(LIAR));
        assert_eq!(mesh.hosts[0].fdb[&office(1)], Place::Here, "nothing goes by a dispute");
        mesh.speak(0, office(1));
        mesh.run_for(millis(100));
        assert_eq!(honest(&mesh, office(1)), at_0(), "{sequence}");
    }
}

#[test]
fn disputes_that_are_invented_take_nothing_away() {
    let (mut mesh, _) = mesh();
    (0..50).for_each(|number| mesh.speak(0, office(number)));
    mesh.run_for(seconds(1));
    for sequence in [0, 1, SEQUENCE_MAX, 2 * SEQUENCE_MAX - 1, u64::MAX] {
        let disputed = (0..50).map(|number| (segment(OFFICE), mac(number), sequence)).collect();
        mesh.forge(LIAR, 0, message(Body::Dispute(disputed)));
    }
    mesh.run_for(seconds(1));
    assert!((0..50).all(|number| honest(&mesh, office(number)) == at_0()));
    (0..50).for_each(|number| mesh.speak(0, office(number)));
    mesh.run_for(seconds(1));
    assert!((0..50).all(|number| honest(&mesh, office(number)) == at_0()));
    let challenged = |event: &&Event| matches!(event, Event::Challenged { .. });
    assert_eq!(mesh.hosts[0].events.iter().filter(challenged).count(), 50);
}

#[test]
fn a_million_claims_cost_the_liar_alone() {
    let (mut mesh, mut liar) = mesh();
    mesh.mac_limit = 10_000;
    mesh.carry(1, LIAR, &[(OFFICE, "office")]);
    (0..100).for_each(|number| mesh.speak(0, office(number)));
    mesh.run_for(seconds(1));
    for batch in 0..14_286u64 {
        let claims: Vec<_> =
            (0..70).map(|number| (mac(1_000_000 + batch * 70 + number), Some(0))).collect();
        liar.claim(&mut mesh, &[1], segment(OFFICE), &claims);
        if batch % 2 == 0 {
            mesh.run_for(millis(1));
        }
    }
    assert_eq!(mesh.hosts[1].overlay.claimed_by(PeerId(2)), 10_000);
    assert!(refused(&mesh, 1, Refusal::MacLimit));
    assert!((0..100).all(|number| mesh.hosts[1].fdb[&office(number)] == Place::At(0)));
    mesh.speak(0, office(500));
    mesh.run_for(millis(100));
    assert_eq!(mesh.hosts[1].fdb[&office(500)], Place::At(0));
    mesh.disconnect(1, LIAR);
    assert_eq!(mesh.hosts[1].fdb.len(), 101);
}

#[test]
fn more_messages_than_a_peer_may_send_are_not_read() {
    let (mut mesh, mut liar) = mesh();
    for batch in 0..10_000u64 {
        liar.claim(&mut mesh, &[1], segment(OFFICE), &[(mac(batch), Some(0))]);
    }
    let taken = mesh.hosts[1].overlay.claimed_by(PeerId(2));
    assert!((4000..=4096).contains(&taken), "{taken}");
    assert!(refused(&mesh, 1, Refusal::TooManyMessages));
    // The others' messages are read meanwhile.
    mesh.speak(0, office(20_000));
    mesh.run_for(millis(100));
    assert_eq!(mesh.hosts[1].fdb[&office(20_000)], Place::At(0));
}

#[test]
fn what_a_peer_may_not_claim_is_refused_with_its_reason() {
    let (mut mesh, mut liar) = mesh();
    let host = &mut mesh.hosts[1];
    let (now, gateway) = (mesh.now, mac(1));
    host.overlay.learned(now, segment(OFFICE), gateway, LocalPort(1), Hold::Static);
    host.fdb.insert(office(1), Place::Here);
    mesh.run_for(seconds(1));
    #[rustfmt::skip]
    let table = [
        (segment(OFFICE), MacAddr::BROADCAST,                  Refusal::BadAddress),
        (segment(OFFICE), MacAddr::new([0; 6]),                Refusal::BadAddress),
        (segment(OFFICE), MacAddr::new([1, 0, 0x5e, 0, 0, 1]), Refusal::BadAddress),
        (segment(OFFICE), gateway,                             Refusal::StaticHere),
        (segment(77),     mac(5),                              Refusal::ForeignSegment),
    ];
    for (of, mac, refusal) in table {
        liar.claim(&mut mesh, &[1], of, &[(mac, Some(3))]);
        mesh.run_for(seconds(1));
        assert!(refused(&mesh, 1, refusal), "{refusal}");
        assert_ne!(mesh.hosts[1].fdb.get(&(of, mac)), Some(&Place::At(LIAR)));
    }
    for payload in [vec![], vec![1], vec![9; 100], vec![0; 1101]] {
        mesh.forge(LIAR, 1, payload);
    }
    assert!(refused(&mesh, 1, Refusal::Malformed));
}

#[test]
fn a_static_address_is_nobody_elses_on_any_host() {
    let (mut mesh, mut liar) = mesh();
    let now = mesh.now;
    mesh.hosts[0].overlay.learned(now, segment(OFFICE), mac(1), LocalPort(1), Hold::Static);
    mesh.hosts[0].fdb.insert(office(1), Place::Here);
    mesh.run_for(seconds(1));
    for sequence in [1, 2, 3, 1000] {
        liar.claim(&mut mesh, &[0, 1, 3], segment(OFFICE), &[(mac(1), Some(sequence))]);
        mesh.run_for(millis(100));
        assert_eq!(honest(&mesh, office(1)), at_0(), "{sequence}");
    }
}

#[test]
fn a_peer_that_always_begins_anew_is_not_sent_everything_each_time() {
    let (mut mesh, _) = mesh();
    (0..5000).for_each(|number| mesh.speak(0, office(number)));
    mesh.run_for(seconds(2));
    let now = mesh.now;
    let overlay = &mut mesh.hosts[0].overlay;
    let mut sent = 0;
    for epoch in 0..1000u64 {
        let stamp = Stamp { epoch: 8 + epoch, session: 1 };
        let items = vec![(segment(OFFICE), "office".to_owned())];
        let body = Body::Catalogue { revision: 1, from: 0, total: 1, items };
        let at = now + Duration::from_millis(epoch);
        overlay.receive(at, PeerId(2), &Message { stamp, body }.to_bytes());
        overlay.handle_timeout(at);
        while let Some((_, payload)) = overlay.poll_transmit(at) {
            sent += usize::from(payload.len() > 500);
        }
    }
    assert!((32..=32 * 40).contains(&sent), "{sent}");
}

#[test]
fn acknowledgements_of_what_was_never_sent_mean_nothing() {
    let (mut mesh, _) = mesh();
    (0..5000).for_each(|number| mesh.speak(0, office(number)));
    for round in 0..100 {
        let logs = vec![(segment(OFFICE), round, u64::MAX), (segment(9), round, 1)];
        let body = Body::Ack { of: Stamp { epoch: 7, session: 1 }, catalogue: (1, u16::MAX), logs };
        mesh.forge(LIAR, 0, message(body));
    }
    mesh.run_for(seconds(3));
    assert!((0..5000).all(|number| honest(&mesh, office(number)) == at_0()));
}
