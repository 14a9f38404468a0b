//! Hosts that mean well find every address where it is, whatever is lost, late or down.

use std::time::Duration;

use weft_overlay::Event;

use crate::mesh::*;

#[test]
fn a_new_address_reaches_every_peer_within_100_ms_though_a_datagram_is_lost() {
    for lost in 0..=8 {
        let mut mesh = Mesh::new(5);
        mesh.run_for(seconds(2));
        // One datagram of each exchange, or all that go out at first.
        mesh.drop_next = lost.min(4);
        mesh.speak(0, office(1));
        assert!(mesh.time_to_agree(office(1), 0) <= millis(100), "{lost}");
        mesh.drop_next = lost.min(4);
        mesh.speak(3, office(1));
        assert!(mesh.time_to_agree(office(1), 3) <= millis(100), "{lost}");
    }
}

#[test]
fn an_address_that_moves_from_a_to_b_to_c_within_half_a_second_is_at_c() {
    for weather in [
        FAIR,
        Weather { loss_percent: 30, delay: millis(10), jitter: millis(80) },
        Weather { loss_percent: 0, delay: millis(100), jitter: millis(200) },
    ] {
        let mut mesh = Mesh::new(5);
        mesh.run_for(seconds(5));
        mesh.weather = weather;
        for host in [0, 1, 2] {
            mesh.speak(host, office(1));
            mesh.run_for(millis(200));
        }
        mesh.weather = FAIR;
        mesh.run_for(seconds(5));
        // A claim that crossed another may have lost: the guest's next frame settles it.
        mesh.speak(2, office(1));
        mesh.run_for(seconds(2));
        assert!(mesh.agree(office(1), 2), "{weather:?}: {:?}", mesh.places(office(1)));
    }
}

#[test]
fn an_address_heard_on_two_hosts_at_once_is_at_the_lower_key() {
    let mut mesh = Mesh::new(4);
    mesh.run_for(seconds(1));
    mesh.speak(1, office(1));
    mesh.speak(2, office(1));
    mesh.run_for(seconds(1));
    assert!(key_of(2) < key_of(1));
    assert!(mesh.agree(office(1), 2), "{:?}", mesh.places(office(1)));
    // And the other is right with one frame more.
    mesh.speak(1, office(1));
    mesh.run_for(millis(100));
    assert!(mesh.agree(office(1), 1), "{:?}", mesh.places(office(1)));
}

#[test]
fn an_address_that_ages_out_is_withdrawn_everywhere() {
    let mut mesh = Mesh::new(3);
    mesh.speak(0, office(1));
    mesh.run_for(seconds(1));
    mesh.drop_next = 2;
    mesh.age(0, office(1));
    mesh.run_for(millis(100));
    assert_eq!(mesh.places(office(1)), [None, None, None]);
}

#[test]
fn a_session_that_ends_takes_its_claims_with_it_and_a_new_one_brings_them_back() {
    let mut mesh = Mesh::new(3);
    (0..200).for_each(|number| mesh.speak(0, office(number)));
    mesh.run_for(seconds(1));
    mesh.disconnect(0, 1);
    assert!(mesh.hosts[1].fdb.is_empty());
    assert_eq!(mesh.hosts[2].fdb.len(), 200);
    mesh.run_for(seconds(5));
    mesh.connect(0, 1);
    mesh.run_for(millis(200));
    assert!((0..200).all(|number| mesh.agree(office(number), 0)));
}

#[test]
fn a_session_that_only_one_end_lost_is_filled_again() {
    // Also while acknowledgements of the session before are under way.
    for (end, before, between) in [(0, 1000, 1000), (1, 1000, 1000), (0, 10, 0), (1, 7, 1)] {
        let mut mesh = Mesh::new(2);
        mesh.speak(0, office(1));
        mesh.speak(1, office(2));
        mesh.run_for(millis(before));
        mesh.set_up(end, 1 - end, false);
        mesh.run_for(millis(between));
        mesh.set_up(end, 1 - end, true);
        mesh.run_for(seconds(1));
        assert!(mesh.agree(office(1), 0) && mesh.agree(office(2), 1), "{end}");
    }
}

#[test]
fn a_restarted_host_is_believed_by_its_epoch_and_what_it_does_not_confirm_is_withdrawn() {
    let mut mesh = Mesh::new(3);
    mesh.speak(0, office(1));
    mesh.speak(0, office(2));
    mesh.speak(1, office(3));
    mesh.run_for(seconds(1));
    // Its peers' sessions never end: they hear of the new epoch in its messages.
    mesh.restart(0);
    mesh.speak(0, office(1));
    let known = |mesh: &Mesh| mesh.hosts[1].fdb.contains_key(&office(2));
    assert!(known(&mesh), "kept until the new full set is complete");
    mesh.run_for(seconds(1));
    assert!(!known(&mesh));
    assert!(mesh.agree(office(1), 0) && mesh.agree(office(3), 1));
}

#[test]
fn a_guest_that_moved_while_its_hosts_were_apart_is_where_it_speaks() {
    // Moves that each side saw.
    for (moves_at_0, moves_at_1) in [(0, 0), (1, 4), (4, 1), (3, 3)] {
        for right in [0, 1] {
            let mut mesh = Mesh::new(4);
            mesh.disconnect(0, 1);
            mesh.run_for(seconds(1));
            for (host, moves) in [(0, moves_at_0), (1, moves_at_1)] {
                for _ in 0..moves {
                    for at in [host, host + 2] {
                        mesh.speak(at, office(1));
                        mesh.run_for(seconds(100));
                    }
                }
            }
            mesh.connect(0, 1);
            mesh.run_for(seconds(1));
            mesh.speak(right, office(1));
            mesh.run_for(seconds(3));
            mesh.speak(right, office(1));
            mesh.run_for(seconds(1));
            assert!(mesh.agree(office(1), right), "{right}: {:?}", mesh.places(office(1)));
        }
    }
}

#[test]
fn a_full_set_of_100_000_addresses_arrives_whole_and_paced() {
    let mut mesh = Mesh::apart(2, 1);
    (0..100_000).for_each(|number| mesh.speak(0, office(number)));
    mesh.weather.loss_percent = 1;
    mesh.connect(0, 1);
    // The window bounds what is under way.
    assert!(mesh.sent < 100, "{}", mesh.sent);
    mesh.run_for(seconds(10));
    assert_eq!(mesh.hosts[1].fdb.len(), 100_000);
    let synced = |event: &&Event| matches!(event, Event::Synced { .. });
    assert_eq!(mesh.hosts[1].events.iter().filter(synced).count(), 1);
    // Seventy to a message, and few are sent twice.
    let messages = 100_000 / 70;
    assert!((messages..messages * 2).contains(&mesh.sent), "{}", mesh.sent);
}

#[test]
fn hosts_that_agree_say_nothing() {
    let mut mesh = Mesh::new(4);
    (0..100).for_each(|number| mesh.speak(number as usize % 4, office(number)));
    mesh.run_for(seconds(5));
    let sent = mesh.sent;
    mesh.run_for(Duration::from_secs(3600));
    assert_eq!(mesh.sent, sent);
    assert!(mesh.hosts.iter().all(|host| host.overlay.poll_timeout().is_none()));
}
