//! `macs` and `ips`: what a port may claim to be, in Ethernet, ARP, IPv4, IPv6 and neighbour discovery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_core::{DropReason, Guards, PortSpec, Switch};
use weft_vlan::{Head, MacAddr};

use crate::common::*;

const OWN4: [u8; 4] = [10, 10, 0, 5];
const OTHER4: [u8; 4] = [10, 10, 0, 6];
const ANY4: [u8; 4] = [0; 4];

fn own() -> MacAddr {
    host(1)
}

fn other() -> MacAddr {
    host(2)
}

fn ip6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn own6() -> Ipv6Addr {
    ip6("fd00::5")
}

fn other6() -> Ipv6Addr {
    ip6("fd00::6")
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Macs,
    Ips,
    Both,
}

fn guarded(kind: Kind) -> Switch {
    let macs = if kind == Kind::Ips { vec![] } else { vec![host(77), own()] };
    let ips: Vec<IpAddr> = if kind == Kind::Macs {
        vec![]
    } else {
        vec![own6().into(), Ipv4Addr::from(OWN4).into(), ip6("fe80::5").into()]
    };
    let trunk = || native(&[10, 20], 10);
    let guarded = PortSpec { guards: Guards { macs, ips }, ..spec(port(1), trunk()) };
    switch(vec![guarded, spec(port(2), trunk())])
}

/// Whether a frame passes under `macs`, under `ips`, and under both.
fn verdicts(head: &Head) -> [bool; 3] {
    [Kind::Macs, Kind::Ips, Kind::Both].map(|kind| {
        match forward(&guarded(kind), seconds(0), port(1), head) {
            Ok(_) => true,
            Err(reason) => {
                assert_eq!(reason, DropReason::Spoofed);
                false
            }
        }
    })
}

fn ethernet(source: MacAddr, tags: &[Tag], ethertype: u16, packet: &[u8]) -> Head {
    let payload = [&ethertype.to_be_bytes()[..], packet].concat();
    head(&frame(BROADCAST, source, tags, &payload))
}

fn arp(operation: u8, mac: MacAddr, ip: [u8; 4]) -> Vec<u8> {
    let head = [0, 1, 0x08, 0x00, 6, 4, 0, operation];
    [&head[..], &mac.octets(), &ip, &[0; 6], &OTHER4].concat()
}

fn ipv4(source: [u8; 4], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x45, 0, len[0], len[1], 0, 0];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend([255; 4]);
    packet.extend(payload);
    packet
}

fn udp(source: u16, destination: u16) -> Vec<u8> {
    let mut datagram = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    datagram.extend([0, 8, 0, 0]);
    datagram
}

fn ipv6(source: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], next, 255];
    packet.extend(source.octets());
    packet.extend(ip6("ff02::1").octets());
    packet.extend(payload);
    packet
}

const ICMP6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// An ND message of a type whose options follow `fixed` bytes, with a target and options.
fn nd(kind: u8, fixed: usize, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; fixed];
    message[0] = kind;
    if fixed >= 24 {
        message[8..24].copy_from_slice(&target.octets());
    }
    message.extend(options);
    message
}

fn link_layer(kind: u8, mac: MacAddr) -> Vec<u8> {
    [&[kind, 1][..], &mac.octets()].concat()
}

/// An extension header of eight bytes or a multiple.
fn extension(next: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0; len];
    header[0] = next;
    header[1] = (len / 8 - 1) as u8;
    header
}

fn fragment(next: u8, offset: u16, more: u16) -> Vec<u8> {
    let [high, low] = (offset << 3 | more).to_be_bytes();
    vec![next, 0, high, low, 0, 0, 0, 1]
}

const ALL: [bool; 3] = [true; 3];
const NONE: [bool; 3] = [false; 3];
/// Passes where only MACs, or only IPs, are guarded.
const BY_MACS: [bool; 3] = [true, false, false];
const BY_IPS: [bool; 3] = [false, true, false];

#[test]
fn ethernet_arp_and_ipv4_sources() {
    let wrong_sizes = [&[0, 1, 0x08, 0x00, 8, 4, 0, 1][..], &[0; 24]].concat();
    let cases = [
        (ethernet(own(), &[], 0x1234, &[1, 2]), ALL),
        (ethernet(other(), &[], 0x1234, &[1, 2]), BY_IPS),
        // ARP: request, reply, probe, and a reply that claims to be nobody.
        (ethernet(own(), &[], 0x0806, &arp(1, own(), OWN4)), ALL),
        (ethernet(own(), &[], 0x0806, &arp(2, own(), OWN4)), ALL),
        (ethernet(own(), &[], 0x0806, &arp(2, other(), OWN4)), BY_IPS),
        (ethernet(own(), &[], 0x0806, &arp(2, own(), OTHER4)), BY_MACS),
        (ethernet(own(), &[], 0x0806, &arp(1, own(), OTHER4)), BY_MACS),
        (ethernet(own(), &[], 0x0806, &arp(1, own(), ANY4)), ALL),
        (ethernet(own(), &[], 0x0806, &arp(2, own(), ANY4)), BY_MACS),
        (ethernet(own(), &[], 0x0806, &arp(1, own(), OWN4)[..20]), NONE),
        (ethernet(own(), &[], 0x0806, &wrong_sizes), NONE),
        // Behind tags of either protocol, and behind LLC and SNAP.
        (ethernet(own(), &[q(10)], 0x0806, &arp(2, own(), OTHER4)), BY_MACS),
        (ethernet(own(), &[q(10), ad(5), q(6)], 0x0806, &arp(2, own(), OTHER4)), BY_MACS),
        (ethernet(own(), &[q(10), ad(5), q(6)], 0x0806, &arp(2, own(), OWN4)), ALL),
        (ethernet(own(), &[q(10), ad(5)], 0x8100, &[0]), ALL),
        (ethernet(own(), &[ad(1); 40], 0x0800, &[0; 20]), NONE),
        (
            ethernet(
                own(),
                &[],
                36,
                &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 6], &arp(2, own(), OTHER4)[..]].concat(),
            ),
            BY_MACS,
        ),
        (ethernet(own(), &[], 36, &[0x42, 0x42, 3, 0, 0, 0, 8, 6, 0, 0]), ALL),
        // IPv4.
        (ethernet(own(), &[], 0x0800, &ipv4(OWN4, 6, 0, &[0; 20])), ALL),
        (ethernet(own(), &[], 0x0800, &ipv4(OTHER4, 6, 0, &[0; 20])), BY_MACS),
        (ethernet(own(), &[q(10)], 0x0800, &ipv4(OTHER4, 6, 0, &[0; 20])), BY_MACS),
        (ethernet(own(), &[], 0x0800, &ipv4(OWN4, 6, 0, &[])[..19]), NONE),
        (ethernet(own(), &[], 0x0800, &ipv6(own6(), 59, &[])), NONE),
        // 0.0.0.0 asks for an address and does nothing else.
        (ethernet(own(), &[], 0x0800, &ipv4(ANY4, 17, 0, &udp(68, 67))), ALL),
        (ethernet(own(), &[], 0x0800, &ipv4(ANY4, 17, 0, &udp(67, 68))), BY_MACS),
        (ethernet(own(), &[], 0x0800, &ipv4(ANY4, 17, 0x2000, &udp(68, 67))), BY_MACS),
        (ethernet(own(), &[], 0x0800, &ipv4(ANY4, 17, 0x0001, &udp(68, 67))), BY_MACS),
        (ethernet(own(), &[], 0x0800, &ipv4(ANY4, 6, 0, &udp(68, 67))), BY_MACS),
        (ethernet(own(), &[], 0x0800, &ipv4(ANY4, 17, 0, &[])), BY_MACS),
    ];
    for (position, (head, expected)) in cases.into_iter().enumerate() {
        assert_eq!(verdicts(&head), expected, "{position}");
    }
}

#[test]
fn ipv6_and_neighbour_discovery() {
    let packet = |packet: Vec<u8>| ethernet(own(), &[], 0x86dd, &packet);
    let icmp = |source: Ipv6Addr, message: &[u8]| packet(ipv6(source, ICMP6, message));
    let any6 = Ipv6Addr::UNSPECIFIED;
    let solicit = |options: &[u8]| nd(135, 24, other6(), options);
    let advertise = |target, options: &[u8]| nd(136, 24, target, options);
    let own_option = |kind| link_layer(kind, own());
    let other_option = |kind| link_layer(kind, other());
    let cases = [
        (packet(ipv6(own6(), 6, &[0; 20])), ALL),
        (packet(ipv6(other6(), 6, &[0; 20])), BY_MACS),
        (packet(ipv6(own6(), 59, &[])[..39].to_vec()), NONE),
        (packet(ipv4(OWN4, 6, 0, &[0; 40])), NONE),
        // The unspecified address: DAD, a router's solicitation, MLD; nothing else.
        (icmp(any6, &solicit(&[])), ALL),
        (icmp(any6, &nd(133, 8, any6, &[])), ALL),
        (icmp(any6, &[143, 0, 0, 0, 0, 0, 0, 1]), ALL),
        (icmp(any6, &[128, 0, 0, 0, 0, 0, 0, 1]), BY_MACS),
        (icmp(any6, &advertise(own6(), &[])), BY_MACS),
        (packet(ipv6(any6, 17, &udp(68, 67))), BY_MACS),
        (packet(ipv6(any6, HOP_BY_HOP, &[extension(ICMP6, 8), vec![143, 0, 0, 0]].concat())), ALL),
        // Link-layer options.
        (icmp(own6(), &solicit(&own_option(1))), ALL),
        (icmp(own6(), &solicit(&other_option(1))), BY_IPS),
        (icmp(other6(), &solicit(&own_option(1))), BY_MACS),
        (icmp(own6(), &nd(133, 8, any6, &other_option(1))), BY_IPS),
        (icmp(own6(), &nd(134, 16, any6, &other_option(1))), BY_IPS),
        (
            icmp(
                own6(),
                &nd(134, 16, any6, &[&[5, 1, 0, 0, 0, 0, 5, 220][..], &other_option(1)].concat()),
            ),
            BY_IPS,
        ),
        (icmp(own6(), &nd(137, 40, any6, &other_option(2))), BY_IPS),
        (icmp(own6(), &advertise(own6(), &own_option(2))), ALL),
        (icmp(own6(), &advertise(own6(), &other_option(2))), BY_IPS),
        (icmp(own6(), &advertise(other6(), &own_option(2))), BY_MACS),
        (
            icmp(own6(), &advertise(own6(), &[&own_option(2)[..], &other_option(2)].concat())),
            BY_IPS,
        ),
        // What is cut or lies about its length hides.
        (icmp(own6(), &advertise(own6(), &[])[..20]), NONE),
        (icmp(own6(), &solicit(&[1, 0, 0, 0, 0, 0, 0, 0])), BY_IPS),
        (icmp(own6(), &solicit(&[1, 2, 2, 0, 0, 0, 0, 1])), BY_IPS),
        (icmp(own6(), &solicit(&[&[14, 8][..], &[0; 62], &other_option(1)].concat())), BY_IPS),
        (icmp(own6(), &[]), NONE),
        // Behind extension headers.
        (
            packet(ipv6(
                own6(),
                DESTINATION_OPTIONS,
                &[extension(ICMP6, 16), solicit(&own_option(1))].concat(),
            )),
            ALL,
        ),
        (
            packet(ipv6(
                own6(),
                DESTINATION_OPTIONS,
                &[extension(ICMP6, 16), solicit(&other_option(1))].concat(),
            )),
            BY_IPS,
        ),
        (
            packet(ipv6(
                own6(),
                DESTINATION_OPTIONS,
                &[extension(ICMP6, 80), solicit(&own_option(1))].concat(),
            )),
            NONE,
        ),
        (packet(ipv6(own6(), DESTINATION_OPTIONS, &[extension(6, 72), vec![0; 40]].concat())), ALL),
        (
            packet(ipv6(
                own6(),
                DESTINATION_OPTIONS,
                &[extension(FRAGMENT, 72), fragment(ICMP6, 0, 1)].concat(),
            )),
            NONE,
        ),
        (packet(ipv6(own6(), DESTINATION_OPTIONS, &extension(HOP_BY_HOP, 8))), NONE),
        // In fragments: the first must show what it is and must not be ND, the others are data.
        (
            packet(ipv6(
                own6(),
                FRAGMENT,
                &[fragment(ICMP6, 0, 1), solicit(&own_option(1))].concat(),
            )),
            NONE,
        ),
        (
            packet(ipv6(own6(), FRAGMENT, &[fragment(ICMP6, 0, 1), vec![128, 0, 0, 0]].concat())),
            ALL,
        ),
        (packet(ipv6(own6(), FRAGMENT, &fragment(ICMP6, 0, 1))), NONE),
        (
            packet(ipv6(
                own6(),
                FRAGMENT,
                &[fragment(ICMP6, 9, 0), solicit(&other_option(1))].concat(),
            )),
            ALL,
        ),
        (
            packet(ipv6(
                own6(),
                FRAGMENT,
                &[fragment(DESTINATION_OPTIONS, 9, 0), vec![0xff; 8]].concat(),
            )),
            ALL,
        ),
        (packet(ipv6(other6(), FRAGMENT, &fragment(ICMP6, 9, 0))), BY_MACS),
        (
            packet(ipv6(
                own6(),
                FRAGMENT,
                &[fragment(DESTINATION_OPTIONS, 0, 1), vec![ICMP6, 200]].concat(),
            )),
            NONE,
        ),
    ];
    for (position, (head, expected)) in cases.into_iter().enumerate() {
        assert_eq!(verdicts(&head), expected, "{position}");
    }
}

#[test]
fn an_option_right_behind_the_copied_head_hides() {
    // 14 + 40 + 24 bytes, then options up to the 128th byte, then the option that would lie.
    let filler = [&[14, 6][..], &[0; 46], &[0; 2]].concat();
    assert_eq!(14 + 40 + 24 + filler.len(), weft_vlan::HEAD_MAX);
    let filler = [&[14, 5][..], &[0; 38], &[14, 1], &[0; 6], &[14, 1]].concat();
    let message = nd(135, 24, other6(), &[&filler[..], &[0; 6], &link_layer(1, other())].concat());
    for jumbo in [false, true] {
        let mut packet = ipv6(own6(), ICMP6, &message);
        if jumbo {
            packet[4..6].copy_from_slice(&[0, 0]);
        }
        assert_eq!(verdicts(&ethernet(own(), &[], 0x86dd, &packet)), BY_IPS, "{jumbo}");
    }
}

#[test]
fn without_a_guard_anything_may_be_claimed() {
    let switch = switch(vec![spec(port(1), access(10)), spec(port(2), access(10))]);
    for head in [
        ethernet(other(), &[], 0x0806, &arp(2, own(), OTHER4)),
        ethernet(other(), &[], 0x0800, &[0]),
        ethernet(other(), &[], 0x86dd, &ipv6(other6(), HOP_BY_HOP, &[])),
    ] {
        assert!(forward(&switch, seconds(0), port(1), &head).is_ok());
    }
}

#[test]
fn a_trace_says_what_the_guard_minds() {
    let head = ethernet(own(), &[], 0x0800, &ipv4(OTHER4, 6, 0, &[0; 20]));
    let trace = guarded(Kind::Both).trace(seconds(0), port(1), &head);
    let text = &trace.steps.iter().find(|step| step.stage == "guard").unwrap().text;
    assert_eq!(text, "the port's `ips` do not allow 10.10.0.6 as a source");
}
