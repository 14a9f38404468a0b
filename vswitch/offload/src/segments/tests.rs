use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use weft_vlan::Offload;

use super::*;
use crate::{
    finish_checksum,
    super_frame::{Ip, L4, SuperFrame, head_of, super_frames},
};

fn cut(frame: &SuperFrame, size: u16, ecn: Ecn) -> Vec<Vec<u8>> {
    let kind = match (&frame.ip, frame.l4) {
        (Ip::V4 { .. }, L4::Tcp { .. }) => GsoKind::Tcp4 { ecn },
        (Ip::V6 { .. }, L4::Tcp { .. }) => GsoKind::Tcp6 { ecn },
        (_, L4::Udp) => GsoKind::Udp,
    };
    let pushed = 4 * frame.tags.len();
    let gso = Gso { kind, size, header_len: (frame.header_len() - pushed) as u16 };
    let bytes = frame.bytes();
    let mut segments = Segments::new(&bytes, gso, pushed).unwrap();
    let mut out = Vec::new();
    let mut cut = Vec::new();
    while let Some(len) = segments.next_into(&mut out) {
        cut.push(out.split_off(out.len() - len));
    }
    assert!(out.is_empty());
    cut
}

/// Parses a frame with etherparse, which checks every length, and verifies its checksums with etherparse's own
/// arithmetic. Returns the payload of layer 4.
fn verified(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let net = packet.net.unwrap();
    if let NetSlice::Ipv4(ip) = &net {
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
    }
    let (payload, said, counted) = match (packet.transport.unwrap(), &net) {
        (TransportSlice::Tcp(tcp), NetSlice::Ipv4(ip)) => (
            tcp.payload().to_vec(),
            tcp.checksum(),
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()),
        ),
        (TransportSlice::Tcp(tcp), NetSlice::Ipv6(ip)) => (
            tcp.payload().to_vec(),
            tcp.checksum(),
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()),
        ),
        (TransportSlice::Udp(udp), NetSlice::Ipv4(ip)) => {
            let counted =
                udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload());
            (udp.payload().to_vec(), udp.checksum(), counted)
        }
        (TransportSlice::Udp(udp), NetSlice::Ipv6(ip)) => {
            let counted =
                udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload());
            (udp.payload().to_vec(), udp.checksum(), counted)
        }
        other => panic!("{other:?}"),
    };
    // The two zeros of ones' complement; a zero is never written.
    let counted = counted.unwrap();
    assert!(
        said != 0 && (said == counted || (said, counted) == (0xffff, 0)),
        "{said:#06x} is not {counted:#06x}"
    );
    payload
}

#[test]
fn a_tcp_super_frame_becomes_these_three_segments() {
    let frame = SuperFrame {
        tags: vec![[0x8100, 0x600a]],
        ip: Ip::V4 { options: 0, id: 0xffff },
        l4: L4::Tcp { options: 0, sequence: 0xffff_fffe, flags: 0x99 },
        payload: b"abcdefg".to_vec(),
    };
    let table = [
        // total, id, sequence, flags, payload
        (43, 0xffff, 0xffff_fffe, 0x90, "abc"),
        (43, 0x0000, 0x0000_0001, 0x10, "def"),
        (41, 0x0001, 0x0000_0004, 0x19, "g"),
    ];
    let segments = cut(&frame, 3, Ecn::Marked);
    assert_eq!(segments.len(), table.len());
    for (segment, (total, id, sequence, flags, payload)) in segments.iter().zip(table) {
        let mut expected = frame.bytes()[..frame.header_len()].to_vec();
        expected[20..22].copy_from_slice(&u16::to_be_bytes(total));
        expected[22..24].copy_from_slice(&u16::to_be_bytes(id));
        expected[42..46].copy_from_slice(&u32::to_be_bytes(sequence));
        expected[51] = flags;
        expected.extend(payload.as_bytes());
        // The checksums are the business of `verified`.
        for at in [28, 29, 54, 55] {
            expected[at] = segment[at];
        }
        assert_eq!(*segment, expected);
        assert_eq!(verified(segment), payload.as_bytes());
    }
}

// Every byte written out: 10.1.2.3 to 10.4.5.6, UDP 12345 to 53, "ab" and "c".
#[test]
fn a_udp_super_frame_becomes_these_two_datagrams() {
    let frame = SuperFrame {
        tags: vec![],
        ip: Ip::V4 { options: 0, id: 1 },
        l4: L4::Udp,
        payload: b"abc".to_vec(),
    };
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let first: &[u8] = &[
        0x45, 2, 0, 30, 0, 1, 0x40, 0, 64, 17, 0x1f, 0xbf, 10, 1, 2, 3, 10, 4, 5, 6, // IPv4
        0x30, 0x39, 0, 53, 0, 10, 0x52, 0xfc, b'a', b'b',
    ];
    let second: &[u8] = &[
        0x45, 2, 0, 29, 0, 2, 0x40, 0, 64, 17, 0x1f, 0xbf, 10, 1, 2, 3, 10, 4, 5, 6, // IPv4
        0x30, 0x39, 0, 53, 0, 9, 0x51, 0x60, b'c',
    ];
    let expected: Vec<_> = [first, second].iter().map(|ip| [&ethernet, *ip].concat()).collect();
    assert_eq!(cut(&frame, 2, Ecn::Unmarked), expected);
}

#[test]
fn without_the_mark_cwr_stays_on_every_segment() {
    let frame = SuperFrame {
        tags: vec![],
        ip: Ip::V6 { extensions: vec![1, 0] },
        l4: L4::Tcp { options: 3, sequence: 9, flags: 0xd0 },
        payload: vec![7; 300],
    };
    let flags = |ecn| {
        cut(&frame, 100, ecn).iter().map(|segment| segment[frame.l4() + 13]).collect::<Vec<_>>()
    };
    assert_eq!(flags(Ecn::Marked), [0xd0, 0x50, 0x50]);
    assert_eq!(flags(Ecn::Unmarked), [0xd0, 0xd0, 0xd0]);
}

#[test]
fn a_datagram_whose_checksum_would_be_zero_says_ffff() {
    let mut frame = SuperFrame {
        tags: vec![],
        ip: Ip::V4 { options: 0, id: 1 },
        l4: L4::Udp,
        payload: vec![0, 0, 0, 0],
    };
    let [segment, _] = &cut(&frame, 2, Ecn::Unmarked)[..] else { panic!() };
    // A payload equal to the checksum makes the checksum zero.
    frame.payload[..2].copy_from_slice(&segment[40..42]);
    let [segment, _] = &cut(&frame, 2, Ecn::Unmarked)[..] else { panic!() };
    assert_eq!(segment[40..42], [0xff, 0xff]);
    verified(segment);
}

#[test]
fn metadata_of_another_frame_is_refused() {
    let frame = SuperFrame {
        tags: vec![[0x8100, 10]],
        ip: Ip::V4 { options: 0, id: 1 },
        l4: L4::Tcp { options: 0, sequence: 1, flags: 0x10 },
        payload: vec![0; 100],
    };
    let ecn = Ecn::Unmarked;
    let right = Gso { kind: GsoKind::Tcp4 { ecn }, size: 10, header_len: 54 };
    let bytes = frame.bytes();
    assert!(Segments::new(&bytes, right, 4).is_ok());
    for (gso, pushed) in [
        (Gso { kind: GsoKind::Tcp6 { ecn }, ..right }, 4),
        (Gso { kind: GsoKind::Udp, ..right }, 4),
        (Gso { size: 0, ..right }, 4),
        (Gso { size: u16::MAX, ..right }, 4),
        (Gso { header_len: 53, ..right }, 4),
        (Gso { header_len: u16::MAX, ..right }, 4),
        (right, 0),
        (right, 8),
    ] {
        assert_eq!(Segments::new(&bytes, gso, pushed).err(), Some(BadOffload), "{gso:?} {pushed}");
    }
    assert!(Segments::new(&bytes[..57], right, 4).is_err());
}

#[test]
fn a_routing_header_does_not_disturb_the_checksum() {
    // The pseudo header has the final destination (RFC 8200 §8.1), which is not the one in the IPv6 header.
    let plain = SuperFrame {
        tags: vec![],
        ip: Ip::V6 { extensions: vec![2] },
        l4: L4::Udp,
        payload: b"0123456789".to_vec(),
    };
    let mut routed = plain.bytes();
    let (destination, routing) = (38..54, 54..78);
    routed[20] = 43;
    let home = plain.bytes()[destination.clone()].to_vec();
    routed[routing.clone()].copy_from_slice(&[&[17, 2, 2, 1, 0, 0, 0, 0], &home[..]].concat());
    routed[destination].fill(0xfc);
    let gso = Gso { kind: GsoKind::Udp, size: 4, header_len: 86 };
    let mut segments = Segments::new(&routed, gso, 0).unwrap();
    for expected in cut(&plain, 4, Ecn::Unmarked) {
        let mut segment = Vec::new();
        segments.next_into(&mut segment).unwrap();
        assert_eq!(segment[78..], expected[78..]);
    }
    assert_eq!(segments.next_into(&mut Vec::new()), None);
}

#[test]
fn nothing_is_allocated_where_there_is_room() {
    let frame = SuperFrame {
        tags: vec![],
        ip: Ip::V4 { options: 0, id: 1 },
        l4: L4::Udp,
        payload: vec![1; 60_000],
    };
    let bytes = frame.bytes();
    let gso = Gso { kind: GsoKind::Udp, size: 1472, header_len: 42 };
    let mut out = Vec::with_capacity(42 + 1472);
    let room = (out.as_ptr(), out.capacity());
    let mut segments = Segments::new(&bytes, gso, 0).unwrap();
    while segments.next_into(&mut out).is_some() {
        assert_eq!((out.as_ptr(), out.capacity()), room);
        out.clear();
    }
}

proptest! {
    #[test]
    fn segments_verify_and_their_payloads_are_the_original(frame in super_frames(), size in 1..9000u16) {
        prop_assume!(!frame.payload.is_empty());
        let segments = cut(&frame, size, Ecn::Marked);
        let mut payload = Vec::new();
        for segment in &segments {
            prop_assert!(segment.len() <= frame.header_len() + usize::from(size));
            payload.extend(verified(segment));
        }
        prop_assert_eq!(segments.len(), frame.payload.len().div_ceil(size.into()));
        prop_assert_eq!(payload, frame.payload);
    }

    #[test]
    fn a_finished_checksum_verifies(frame in super_frames()) {
        let mut bytes = frame.bytes();
        let mut header = frame.vnet(0);
        header.gso_type = 0;
        let head = head_of(&bytes);
        prop_assume!(frame.l4() - head.in_band_tag_len() <= weft_vlan::HEAD_MAX);
        let Ok(Offload { csum: Some(csum), gso: None }) = header.check(&head) else { panic!() };
        finish_checksum(&mut bytes, csum, head.in_band_tag_len())?;
        prop_assert_eq!(verified(&bytes), frame.payload);
    }

    #[test]
    fn metadata_that_lies_never_panics(frame in super_frames(), header_len in 0..200u16, size in any::<u16>(), pushed in 0..3usize, udp: bool) {
        let kind = if udp { GsoKind::Udp } else { GsoKind::Tcp4 { ecn: Ecn::Unmarked } };
        let bytes = frame.bytes();
        if let Ok(mut segments) = Segments::new(&bytes, Gso { kind, size, header_len }, 4 * pushed) {
            let mut out = Vec::new();
            let mut count = 0;
            while segments.next_into(&mut out).is_some() && count < 20 {
                count += 1;
                out.clear();
            }
        }
    }
}
