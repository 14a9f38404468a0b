//! Addresses that flap, RFC 7432 §15.1.

use weft_overlay::{Event, Owner};

use crate::mesh::*;

fn frozen(mesh: &Mesh, host: usize) -> Vec<Owner> {
    let told = mesh.hosts[host].events.iter().filter_map(|event| match event {
        Event::Frozen { owner, .. } => Some(*owner),
        _ => None,
    });
    told.collect()
}

fn thawed(mesh: &Mesh, host: usize) -> bool {
    mesh.hosts[host].events.iter().any(|event| matches!(event, Event::Thawed { .. }))
}

/// The address is at host 0, then moves to 1 and back, so many times.
fn flap(mesh: &mut Mesh, moves: usize) {
    mesh.speak(0, office(1));
    mesh.run_for(seconds(1));
    for step in 1..=moves {
        mesh.speak(step % 2, office(1));
        mesh.run_for(seconds(10));
    }
}

#[test]
fn five_moves_in_180_seconds_freeze_it_everywhere_with_the_owner_from_before() {
    let mut mesh = Mesh::new(4);
    mesh.run_for(seconds(1));
    flap(&mut mesh, 5);
    assert!(mesh.agree(office(1), 0), "{:?}", mesh.places(office(1)));
    for host in 0..4 {
        assert_eq!(frozen(&mesh, host).len(), 1, "{host}");
    }
    // Whoever speaks now changes nothing.
    for _ in 0..3 {
        mesh.speak(1, office(1));
        mesh.run_for(seconds(10));
    }
    assert!(mesh.agree(office(1), 0));
}

#[test]
fn four_moves_do_not_freeze() {
    let mut mesh = Mesh::new(4);
    mesh.run_for(seconds(1));
    flap(&mut mesh, 4);
    assert!(mesh.agree(office(1), 0));
    assert!((0..4).all(|host| frozen(&mesh, host).is_empty()));
}

#[test]
fn it_thaws_after_180_quiet_seconds_and_moves_again() {
    let mut mesh = Mesh::new(4);
    mesh.run_for(seconds(1));
    flap(&mut mesh, 5);
    mesh.run_for(seconds(160));
    assert!((0..4).all(|host| !thawed(&mesh, host)));
    mesh.run_for(seconds(60));
    assert!((0..4).all(|host| thawed(&mesh, host)));
    mesh.speak(1, office(1));
    mesh.run_for(seconds(3));
    mesh.speak(1, office(1));
    mesh.run_for(seconds(1));
    assert!(mesh.agree(office(1), 1), "{:?}", mesh.places(office(1)));
}

#[test]
fn an_address_that_goes_round_three_hosts_stays_where_it_began() {
    let mut mesh = Mesh::new(4);
    mesh.run_for(seconds(1));
    for step in 0..6 {
        mesh.speak(step % 3, office(1));
        mesh.run_for(seconds(5));
    }
    mesh.run_for(seconds(5));
    assert!(mesh.agree(office(1), 0), "{:?}", mesh.places(office(1)));
}
