//! Which segments two hosts carry for each other, and what is said where they differ.

use weft_overlay::{
    Event, Mismatch,
    wire::{Body, Message},
};

use crate::mesh::*;

fn mismatches(mesh: &Mesh, host: usize) -> Vec<String> {
    let mut told = mesh.hosts[host].events.iter().filter_map(|event| match event {
        Event::Compared { mismatches, .. } => Some(mismatches),
        _ => None,
    });
    told.next_back().into_iter().flatten().map(Mismatch::to_string).collect()
}

#[test]
fn an_id_that_differs_at_the_two_ends_is_told_in_words_on_both() {
    let mut mesh = Mesh::apart(2, 1);
    mesh.carry(0, 1, &[(5010, "office"), (7, "lab")]);
    mesh.carry(1, 0, &[(5011, "office"), (7, "lab")]);
    mesh.drop_next = 3;
    mesh.connect(0, 1);
    mesh.run_for(seconds(1));
    let words = |here: u32, there: u32| {
        format!(
            "segment office has id {here} here and id {there} at the peer: \
             nothing passes until both hosts give it the same id"
        )
    };
    assert_eq!(mismatches(&mesh, 0), [words(5010, 5011)]);
    assert_eq!(mismatches(&mesh, 1), [words(5011, 5010)]);
    // The other segment works meanwhile, and this one once it is put right.
    mesh.speak(0, (segment(7), mac(1)));
    mesh.speak(0, (segment(5010), mac(2)));
    mesh.run_for(seconds(1));
    assert!(mesh.agree((segment(7), mac(1)), 0));
    assert_eq!(mesh.hosts[1].fdb.len(), 1);
    mesh.carry(1, 0, &[(5010, "office"), (7, "lab")]);
    // The end that was changed compares at once, the other when it hears of it.
    assert!(mismatches(&mesh, 1).is_empty());
    mesh.run_for(seconds(3));
    assert!(mismatches(&mesh, 0).is_empty());
    assert!(mesh.agree((segment(5010), mac(2)), 0));
}

#[test]
fn what_only_one_end_carries_is_told_on_both() {
    let mut mesh = Mesh::apart(2, 1);
    mesh.carry(0, 1, &[(5010, "office"), (7, "lab")]);
    mesh.connect(0, 1);
    mesh.run_for(seconds(1));
    let lab = || ("lab".to_owned(), segment(7));
    let (name, id) = lab();
    assert_eq!(mismatches(&mesh, 0), [Mismatch::NotThere { name, segment: id }.to_string()]);
    let (name, id) = lab();
    assert_eq!(mismatches(&mesh, 1), [Mismatch::NotHere { name, segment: id }.to_string()]);
}

#[test]
fn a_name_that_differs_is_nobodys_business() {
    let mut mesh = Mesh::apart(2, 1);
    mesh.carry(0, 1, &[(5010, "büro")]);
    mesh.connect(0, 1);
    mesh.speak(0, office(1));
    mesh.run_for(seconds(1));
    assert!(mismatches(&mesh, 0).is_empty() && mismatches(&mesh, 1).is_empty());
    assert!(mesh.agree(office(1), 0));
}

#[test]
fn a_peer_hears_only_ids_that_are_configured_for_it() {
    let mut mesh = Mesh::apart(3, 1);
    mesh.carry(0, 1, &[(5010, "office"), (7, "lab")]);
    mesh.carry(1, 0, &[(5010, "office"), (7, "lab")]);
    mesh.speak(0, (segment(7), mac(1)));
    mesh.speak(0, office(2));
    mesh.silenced.insert(0);
    mesh.connect(0, 2);
    let mut named = std::collections::BTreeSet::new();
    let overlay = &mut mesh.hosts[0].overlay;
    // The peer lists what it should not know: it learns nothing by that.
    for id in [5010, 7] {
        let stamp = weft_overlay::wire::Stamp { epoch: 1, session: 1 };
        let items = vec![(segment(5010), "x".to_owned()), (segment(id), "x".to_owned())];
        let body = Body::Catalogue { revision: id, from: 0, total: 2, items };
        overlay.receive(mesh.now, weft_overlay::PeerId(2), &Message { stamp, body }.to_bytes());
        mesh.now += seconds(2);
        overlay.handle_timeout(mesh.now);
        while let Some((peer, payload)) = overlay.poll_transmit(mesh.now) {
            assert_eq!(peer, weft_overlay::PeerId(2));
            match Message::read(&payload).unwrap().body {
                Body::Catalogue { items, .. } => named.extend(items.into_iter().map(|item| item.0)),
                Body::Claims { segment, .. } => drop(named.insert(segment)),
                _ => {}
            }
        }
    }
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [segment(5010)]);
}

#[test]
fn a_segment_that_is_taken_away_takes_its_claims_with_it() {
    for taken_at in [0, 1] {
        let mut mesh = Mesh::new(2);
        mesh.speak(0, office(1));
        mesh.run_for(seconds(2));
        mesh.carry(taken_at, 1 - taken_at, &[]);
        mesh.run_for(seconds(1));
        assert_eq!(mesh.places(office(1)), [Some(Place::Here), None], "{taken_at}");
        mesh.carry(taken_at, 1 - taken_at, &[(OFFICE, "office")]);
        mesh.run_for(seconds(3));
        assert!(mesh.agree(office(1), 0));
    }
}

#[test]
fn a_segment_that_is_back_before_the_peer_noticed_is_filled_again() {
    for taken_at in [0, 1] {
        for away in [0, 1, 40, 300, 900] {
            let mut mesh = Mesh::new(2);
            mesh.speak(0, office(1));
            mesh.speak(1, office(2));
            // The first catalogue came so lately that the next must wait.
            mesh.run_for(std::time::Duration::from_millis(200));
            mesh.carry(taken_at, 1 - taken_at, &[]);
            mesh.run_for(std::time::Duration::from_millis(away));
            mesh.carry(taken_at, 1 - taken_at, &[(OFFICE, "office")]);
            mesh.run_for(seconds(5));
            assert!(mesh.agree(office(1), 0), "{taken_at}, away {away} ms");
            assert!(mesh.agree(office(2), 1), "{taken_at}, away {away} ms");
            mesh.speak(0, office(3));
            mesh.run_for(seconds(2));
            assert!(mesh.agree(office(3), 0), "{taken_at}, away {away} ms");
        }
    }
}

#[test]
fn a_catalogue_of_4094_segments_is_compared_whole() {
    let names: Vec<String> = (1..=4094).map(|id| format!("segment-with-a-name-{id}")).collect();
    let mut segments: Vec<(u32, &str)> =
        names.iter().enumerate().map(|(at, name)| (at as u32 + 1, &name[..])).collect();
    let mut mesh = Mesh::apart(2, 1);
    mesh.carry(0, 1, &segments);
    segments[4093].0 = 9999;
    mesh.carry(1, 0, &segments);
    mesh.weather.loss_percent = 10;
    mesh.connect(0, 1);
    mesh.run_for(seconds(20));
    assert_eq!((mismatches(&mesh, 0).len(), mismatches(&mesh, 1).len()), (1, 1));
    let last = (segment(4093), mac(1));
    mesh.speak(0, last);
    mesh.run_for(seconds(5));
    assert!(mesh.agree(last, 0));
}

#[test]
fn a_host_shares_what_is_configured_for_it_as_a_peer() {
    let mesh = Mesh::apart(2, 1);
    let overlay = &mesh.hosts[0].overlay;
    assert!(overlay.shares(key_of(1), segment(OFFICE)));
    assert!(!overlay.shares(key_of(1), segment(7)));
    assert!(!overlay.shares(key_of(2), segment(OFFICE)));
}
