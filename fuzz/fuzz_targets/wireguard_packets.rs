//! A WireGuard adapter under frames of a VLAN and packets of its peers that say anything, over time. Nothing goes on that is
//! longer than it came, or that bears an address which its peer does not have; what the adapter says itself has right lengths,
//! fits a peer's tunnel, and comes from its own MAC.
//!
//! Input: for each, a byte whose bits say which way, whether an IPv4 header's checksum is to be made right, and which peer; a
//! byte of seconds; two bytes of length; the bytes.

#![no_main]

use std::{net::IpAddr, time::Duration};

use libfuzzer_sys::{Corpus, fuzz_target};
use weft_vlan::{ETHERNET_HEADER, MacAddr};
use weft_wireguard::{Adapter, AdapterConfig, AllowedIps, Onward, Outbox, PeerId, To};

const MTU: u16 = 1420;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn peer(number: u32) -> PeerId {
    PeerId::new(number).expect("it has few bits")
}

fn adapter() -> Adapter {
    let addresses = ["10.10.0.1/24", "fd00::1/64"];
    Adapter::new(AdapterConfig {
        mac: MacAddr::new(MAC),
        addresses: addresses.iter().map(|network| network.parse().expect("a network")).collect(),
        gateway_v4: Some([10, 10, 0, 254].into()),
        gateway_v6: None,
        mtu: MTU,
        vlan_mtu: 1500,
    })
}

fn allowed() -> AllowedIps {
    let networks = [
        ("10.10.0.201/32", 1),
        ("fd00::201/128", 1),
        ("10.10.0.202/32", 2),
        ("192.168.7.0/24", 2),
        ("fd07::/16", 2),
    ];
    let networks = networks.iter();
    networks.map(|(network, number)| (network.parse().expect("a network"), peer(*number))).collect()
}

/// Returns the source and the length that a packet says it has.
fn said(packet: &[u8]) -> Option<(IpAddr, usize)> {
    let be16 = |at: usize| packet.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    match packet.first()? >> 4 {
        4 => {
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            Some((source.into(), be16(2)?.into()))
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            Some((source.into(), 40 + usize::from(be16(4)?)))
        }
        _ => None,
    }
}

fn make_right(packet: &mut [u8]) {
    let words = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    if packet.first().is_some_and(|first| first >> 4 == 4) && (20..=packet.len()).contains(&words) {
        packet[10..12].fill(0);
        let checksum = !weft_offload::sum(&packet[..words]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let (mut adapter, allowed, mut out) = (adapter(), allowed(), Outbox::default());
    let (mut now, mut rest) = (Duration::from_secs(1000), data);
    while let [kind, seconds, high, low, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (bytes, next) = behind.split_at(len);
        rest = next;
        now += Duration::from_secs((*seconds).into());
        let mut room = bytes.to_vec();
        if kind & 2 != 0 {
            make_right(room.get_mut(ETHERNET_HEADER..).unwrap_or_default());
        }
        let from = peer(1 + u32::from(kind >> 2 & 1));
        let source =
            said(room.get(ETHERNET_HEADER..).unwrap_or_default()).map(|(source, _)| source);
        let largest = (kind & 8 != 0).then_some(usize::from(*seconds) * 16);
        let onward = if kind & 1 == 0 {
            let onward = adapter.forward_packet(now, from, &mut room, &allowed, &mut out);
            assert!(
                onward.is_err() || source.and_then(|source| allowed.find(source)) == Some(from)
            );
            onward
        } else {
            adapter.forward_frame(now, &mut room, largest, &allowed, &mut out)
        };
        match onward {
            Ok(Onward::Vlan(len)) => {
                assert!(ETHERNET_HEADER + len <= room.len() && len <= 1500);
                assert_eq!(room[6..12], MAC);
            }
            Ok(Onward::Peer(_, len)) => {
                assert!(ETHERNET_HEADER + len <= room.len());
                assert!(len <= MTU.into() || largest.is_some());
            }
            _ => {}
        }
        adapter.peer_unreachable(now, &room, &mut out);
        let packet = room.get(ETHERNET_HEADER..).unwrap_or_default();
        adapter.other_unreachable(now, from, packet, &mut out);
        adapter.tick(now, &mut out);
        check(&out);
        out.clear();
    }
    Corpus::Keep
});

fn check(out: &Outbox) {
    for (to, bytes) in out.iter() {
        let packet = match to {
            To::Peer(_) => {
                assert!(bytes.len() <= MTU.into());
                bytes
            }
            To::Vlan => {
                assert_eq!(bytes[6..12], MAC);
                if bytes[12..14] == [8, 6] {
                    continue;
                }
                &bytes[ETHERNET_HEADER..]
            }
        };
        assert_eq!(said(packet).map(|(_, len)| len), Some(packet.len()));
    }
}
