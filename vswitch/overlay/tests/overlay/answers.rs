//! ARP answered on behalf of guests elsewhere, RFC 9161.

use weft_overlay::{Answering, Event};
use weft_vlan::MacAddr;

use crate::mesh::*;

const IP: [u8; 4] = [10, 0, 0, 1];
const ASKER: u64 = 99;

fn arp(operation: u8, sender: MacAddr, sender_ip: [u8; 4], target_ip: [u8; 4]) -> Vec<u8> {
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &sender.octets(),
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation],
        &sender.octets(),
        &sender_ip,
        &[0; 6],
        &target_ip,
        &[],
    ];
    parts.concat()
}

fn mesh(answering: Answering) -> Mesh {
    let mut mesh = Mesh::new(3);
    for host in &mut mesh.hosts {
        host.overlay.set_answering(segment(OFFICE), answering);
    }
    mesh.run_for(seconds(1));
    mesh
}

/// A guest speaks, by ARP.
fn introduce(mesh: &mut Mesh, host: usize, number: u64, ip: [u8; 4]) {
    mesh.speak(host, office(number));
    let frame = arp(1, mac(number), ip, ip);
    mesh.hosts[host].overlay.observe(segment(OFFICE), &frame);
    mesh.run_for(seconds(1));
}

/// Who a host says has the address, when a guest of it asks.
fn answer(mesh: &Mesh, host: usize) -> Option<MacAddr> {
    let question = arp(1, mac(ASKER), [10, 0, 0, 9], IP);
    let frame = mesh.hosts[host].overlay.answer(segment(OFFICE), &question)?;
    Some(MacAddr::new(*frame[6..].first_chunk().unwrap()))
}

#[test]
fn a_guest_elsewhere_is_answered_for_where_that_is_on() {
    for (answering, expected) in [(Answering::On, Some(mac(1))), (Answering::Off, None)] {
        let mut mesh = mesh(answering);
        introduce(&mut mesh, 0, 1, IP);
        assert_eq!([0, 1, 2].map(|host| answer(&mesh, host)), [expected; 3]);
    }
}

#[test]
fn nothing_is_answered_by_default() {
    let mut mesh = Mesh::new(2);
    introduce(&mut mesh, 0, 1, IP);
    assert_eq!(answer(&mesh, 1), None);
}

#[test]
fn the_answer_dies_with_the_entry() {
    let mut mesh = mesh(Answering::On);
    introduce(&mut mesh, 0, 1, IP);
    mesh.age(0, office(1));
    mesh.run_for(seconds(1));
    assert_eq!([0, 1, 2].map(|host| answer(&mesh, host)), [None; 3]);
    introduce(&mut mesh, 0, 1, IP);
    mesh.disconnect(0, 1);
    assert_eq!([1, 2].map(|host| answer(&mesh, host)), [None, Some(mac(1))]);
}

#[test]
fn a_gateway_that_another_claims_to_be_is_flooded_for_and_told() {
    let mut mesh = mesh(Answering::On);
    introduce(&mut mesh, 0, 1, IP);
    introduce(&mut mesh, 2, 2, IP);
    for host in 0..3 {
        assert_eq!(answer(&mesh, host), None, "{host}");
        let conflict =
            Event::Conflict { segment: segment(OFFICE), ip: IP.into(), macs: [mac(1), mac(2)] };
        assert!(mesh.hosts[host].events.contains(&conflict), "{host}");
    }
    mesh.age(2, office(2));
    mesh.run_for(seconds(1));
    assert_eq!(answer(&mesh, 1), Some(mac(1)));
}

#[test]
fn whoever_asks_for_its_own_address_is_not_answered() {
    let mut mesh = mesh(Answering::On);
    introduce(&mut mesh, 0, 1, IP);
    let unusual = [
        arp(1, mac(1), [10, 0, 0, 9], IP),
        arp(1, mac(1), IP, IP),
        arp(1, mac(ASKER), [0; 4], IP),
        arp(2, mac(ASKER), [10, 0, 0, 9], IP),
    ];
    for frame in unusual {
        assert_eq!(mesh.hosts[0].overlay.answer(segment(OFFICE), &frame), None);
    }
}

#[test]
fn an_answer_follows_the_address_that_moves() {
    let mut mesh = mesh(Answering::On);
    introduce(&mut mesh, 0, 1, IP);
    mesh.speak(1, office(1));
    mesh.run_for(seconds(1));
    assert_eq!(answer(&mesh, 2), None, "host 1 has not heard it say so");
    introduce(&mut mesh, 1, 1, IP);
    assert_eq!([0, 1, 2].map(|host| answer(&mesh, host)), [Some(mac(1)); 3]);
}

#[test]
fn only_what_is_known_here_is_learned_and_no_more_than_a_few() {
    let mut mesh = mesh(Answering::On);
    mesh.hosts[0].overlay.observe(segment(OFFICE), &arp(1, mac(1), IP, IP));
    mesh.run_for(seconds(1));
    assert_eq!(answer(&mesh, 0), None);
    introduce(&mut mesh, 0, 1, IP);
    for last in 100..104 {
        introduce(&mut mesh, 0, 1, [10, 0, 0, last]);
    }
    assert_eq!([0, 1].map(|host| answer(&mesh, host)), [None; 2], "its latest four are kept");
}
