use proptest::prelude::*;

use super::*;
use crate::{
    Segments,
    super_frame::{Ip, L4, SuperFrame, head_of, super_frames},
};

const TAG: [u16; 2] = [0x8100, 10];
const V4: Ip = Ip::V4 { options: 0, id: 7 };
const TCP: L4 = L4::Tcp { options: 3, sequence: 1, flags: 0x18 };

fn frame(tags: &[[u16; 2]], ip: Ip, l4: L4) -> SuperFrame {
    SuperFrame { tags: tags.to_vec(), ip, l4, payload: vec![0x5a; 3000] }
}

fn v6(extensions: &[u8]) -> Ip {
    Ip::V6 { extensions: extensions.to_vec() }
}

fn checked(frame: &SuperFrame, header: VnetHeader) -> Result<Offload, BadOffload> {
    header.check(&head_of(&frame.bytes()))
}

fn with(start: u16, offset: u16, kind: GsoKind, header_len: u16) -> Result<Offload, BadOffload> {
    Ok(Offload {
        csum: Some(Csum { start, offset }),
        gso: Some(Gso { kind, size: 1000, header_len }),
    })
}

#[test]
fn the_wire_form_is_little_endian() {
    let bytes = [1, 0x81, 0x42, 0, 0xb4, 0x05, 0x22, 0, 0x10, 0];
    let header = VnetHeader::read_from_bytes(&bytes).unwrap();
    let expected = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4 | VnetHeader::GSO_ECN,
        hdr_len: 66.into(),
        gso_size: 1460.into(),
        csum_start: 34.into(),
        csum_offset: 16.into(),
    };
    assert_eq!(header, expected);
    assert_eq!(header.as_bytes(), bytes);
    assert_eq!(VnetHeader::LEN, 10);
}

#[test]
fn honest_headers_are_rebuilt_from_the_untagged_frame() {
    let unmarked = Ecn::Unmarked;
    let table = [
        (frame(&[], V4, TCP), with(34, 16, GsoKind::Tcp4 { ecn: unmarked }, 66)),
        (frame(&[TAG], V4, TCP), with(34, 16, GsoKind::Tcp4 { ecn: unmarked }, 66)),
        (frame(&[[0x88a8, 300], TAG], V4, TCP), with(38, 16, GsoKind::Tcp4 { ecn: unmarked }, 70)),
        (frame(&[], Ip::V4 { options: 2, id: 0 }, L4::Udp), with(42, 6, GsoKind::Udp, 50)),
        (frame(&[], v6(&[]), TCP), with(54, 16, GsoKind::Tcp6 { ecn: unmarked }, 86)),
        (frame(&[TAG], v6(&[0, 1]), L4::Udp), with(78, 6, GsoKind::Udp, 86)),
    ];
    for (frame, expected) in table {
        let mut header = frame.vnet(1000);
        header.hdr_len = 9999.into();
        assert_eq!(checked(&frame, header), expected, "{frame:?}");
    }
}

#[test]
fn a_tag_that_the_kernel_stripped_does_not_move_the_checksum() {
    let frame = frame(&[], V4, TCP);
    let tag = weft_vlan::WireTag::read(&[0x81, 0, 0, 10]);
    let bytes = frame.bytes();
    let head = Head::read(&bytes[..Head::PREFIX], bytes.len(), tag);
    assert_eq!(
        frame.vnet(1000).check(&head),
        with(34, 16, GsoKind::Tcp4 { ecn: Ecn::Unmarked }, 66)
    );
}

#[test]
fn a_header_without_work_is_none_whatever_the_frame() {
    for flags in [0, VnetHeader::DATA_VALID, 0xfe] {
        let header = VnetHeader {
            flags,
            csum_start: 9999.into(),
            gso_size: 3.into(),
            ..VnetHeader::default()
        };
        for bytes in [&[][..], &[0xff; 60], &[0; 14]] {
            assert_eq!(header.check(&head_of(bytes)), Ok(Offload::NONE));
        }
    }
}

#[test]
fn one_segment_alone_is_a_plain_frame() {
    for l4 in [TCP, L4::Udp] {
        let mut frame = frame(&[], V4, l4);
        let csum = Some(Csum { start: 34, offset: frame.csum_offset() as u16 });
        for (payload, cut) in [(1001, true), (1000, false), (1, false), (0, false)] {
            frame.payload.resize(payload, 0);
            let offload = checked(&frame, frame.vnet(1000)).unwrap();
            assert_eq!((offload.csum, offload.gso.is_some()), (csum, cut), "{payload}");
        }
    }
}

#[test]
fn what_does_not_fit_the_frame_is_bad() {
    type Lie = fn(&mut VnetHeader);
    let tcp4 = || frame(&[], V4, TCP);
    let udp6 = || frame(&[], v6(&[]), L4::Udp);
    let table: &[(&str, SuperFrame, Lie)] = &[
        ("segments of nothing", tcp4(), |lie| lie.gso_size = 0.into()),
        ("more than 512 segments", tcp4(), |lie| lie.gso_size = 5.into()),
        ("GSO without a checksum", tcp4(), |lie| lie.flags = 0),
        ("UFO", udp6(), |lie| lie.gso_type = VnetHeader::GSO_UDP),
        ("unknown type", tcp4(), |lie| lie.gso_type = 2),
        ("ECN alone", tcp4(), |lie| lie.gso_type = VnetHeader::GSO_ECN),
        ("ECN on UDP", udp6(), |lie| lie.gso_type |= VnetHeader::GSO_ECN),
        ("a tunnel type", tcp4(), |lie| lie.gso_type |= 0x20),
        ("TCPV6 over IPv4", tcp4(), |lie| lie.gso_type = VnetHeader::GSO_TCPV6),
        ("TCPV4 over IPv6", frame(&[], v6(&[]), TCP), |lie| lie.gso_type = VnetHeader::GSO_TCPV4),
        ("UDP_L4 of TCP", tcp4(), |lie| lie.gso_type = VnetHeader::GSO_UDP_L4),
        ("TCPV6 of UDP", udp6(), |lie| lie.gso_type = VnetHeader::GSO_TCPV6),
        ("checksum in the IP header", tcp4(), |lie| lie.csum_start = 32.into()),
        ("checksum in front of the frame", frame(&[TAG], V4, TCP), |lie| lie.csum_start = 3.into()),
        ("checksum in the TCP options", tcp4(), |lie| lie.csum_offset = 20.into()),
        ("checksum over half of TCP", tcp4(), |lie| lie.csum_start = 36.into()),
        ("checksum behind the frame", udp6(), |lie| lie.csum_start = 4000.into()),
        ("checksum far behind the frame", udp6(), |lie| lie.csum_offset = u16::MAX.into()),
        ("USO of an inner packet", udp6(), |lie| lie.csum_start = 62.into()),
        ("headers longer than a head", frame(&[], v6(&[7, 1]), TCP), |_| ()),
    ];
    for (name, frame, lie) in table {
        let mut header = frame.vnet(1000);
        lie(&mut header);
        assert_eq!(checked(frame, header), Err(BadOffload), "{name}");
    }
}

#[test]
fn segments_that_ip_cannot_count_are_bad() {
    let mut frame = frame(&[], V4, L4::Udp);
    frame.payload = vec![0; 65_507];
    // Longer than any datagram: the length fields were written before.
    let mut bytes = frame.bytes();
    bytes.resize(70_000, 0);
    assert!(frame.vnet(65_507).check(&head_of(&bytes)).unwrap().gso.is_some());
    assert_eq!(frame.vnet(65_508).check(&head_of(&bytes)), Err(BadOffload));
}

#[test]
fn a_frame_that_is_no_whole_ip_packet_has_nothing_to_finish() {
    let frame = frame(&[], V4, TCP);
    let header = VnetHeader { gso_type: 0, ..frame.vnet(0) };
    let change = |at: usize, value: u8| {
        let mut bytes = frame.bytes();
        bytes[at] = value;
        header.check(&head_of(&bytes))
    };
    assert!(change(20, 0x40).is_ok());
    assert_eq!(change(20, 0x20), Err(BadOffload), "more fragments");
    assert_eq!(change(21, 0x01), Err(BadOffload), "a later fragment");
    assert_eq!(change(14, 0x42), Err(BadOffload), "an IHL below five");
    assert_eq!(change(14, 0x65), Err(BadOffload), "another version");
    assert_eq!(change(13, 0x06), Err(BadOffload), "ARP");
    for len in 0..52 {
        assert_eq!(header.check(&head_of(&frame.bytes()[..len])), Err(BadOffload), "cut at {len}");
    }
    assert!(header.check(&head_of(&frame.bytes()[..52])).is_ok());
}

#[test]
fn checksums_are_placed_where_their_protocol_has_them() {
    let mut bytes = frame(&[], v6(&[]), L4::Udp).bytes();
    let table = [
        (17, 54, 6, true),
        (17, 54, 4, false),
        // An inner packet behind VXLAN.
        (17, 62 + 8 + 34, 16, true),
        (17, 61, 16, false),
        (58, 54, 2, true),
        // The target link-layer address of a neighbour advertisement.
        (58, 54, 26, false),
        (58, 78, 2, false),
        (6, 54, 16, true),
        (6, 54, 14, false),
        // GRE, and a protocol that is not known: anywhere behind IP.
        (47, 54, 4, true),
        (132, 66, 0, true),
        (132, 53, 1, false),
    ];
    for (protocol, start, offset, fits) in table {
        bytes[20] = protocol;
        let header = VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            csum_start: start.into(),
            csum_offset: offset.into(),
            ..VnetHeader::default()
        };
        let offload = Offload { csum: Some(Csum { start, offset }), gso: None };
        let expected = if fits { Ok(offload) } else { Err(BadOffload) };
        assert_eq!(header.check(&head_of(&bytes)), expected, "{protocol} {start} {offset}");
    }
}

#[test]
fn what_is_announced_counts_the_pushed_tags() {
    let marked = frame(&[TAG], V4, TCP);
    let mut header = marked.vnet(1000);
    header.gso_type |= VnetHeader::GSO_ECN;
    header.flags |= VnetHeader::DATA_VALID;
    let offload = checked(&marked, header).unwrap();
    header.flags = VnetHeader::NEEDS_CSUM;
    assert_eq!(VnetHeader::announce(offload, 4), header);
    assert_eq!(VnetHeader::announce(offload, 0).csum_start, 34);
    assert_eq!(VnetHeader::announce(offload, 0).hdr_len, 66);
    assert_eq!(VnetHeader::announce(offload, 8).csum_start, 42);
    assert_eq!(VnetHeader::announce(Offload::NONE, 4), VnetHeader::default());
}

fn lying_headers() -> impl Strategy<Value = VnetHeader> {
    let small = || prop_oneof![0..140u16, any::<u16>()];
    let types = prop_oneof![
        Just(0u8),
        Just(1),
        Just(3),
        Just(4),
        Just(5),
        Just(0x81),
        Just(0x84),
        any::<u8>()
    ];
    (0..4u8, types, small(), small(), small(), prop_oneof![Just(6u16), Just(16), small()]).prop_map(
        |(flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)| VnetHeader {
            flags,
            gso_type,
            hdr_len: hdr_len.into(),
            gso_size: gso_size.into(),
            csum_start: csum_start.into(),
            csum_offset: csum_offset.into(),
        },
    )
}

/// What holds of every result, whatever came in.
fn assert_fits(bytes: &[u8], header: &VnetHeader, offload: Offload) {
    let Some(csum) = offload.csum else {
        assert_eq!(offload, Offload::NONE);
        return;
    };
    assert_ne!(header.flags & VnetHeader::NEEDS_CSUM, 0);
    let head = head_of(bytes);
    let start = usize::from(csum.start);
    assert!(start >= 34 && start + usize::from(csum.offset) + 2 <= head.untagged_len());
    let Some(gso) = offload.gso else { return };
    let segment = usize::from(gso.header_len) + usize::from(gso.size);
    let mut finished = Vec::new();
    let mut segments = Segments::new(bytes, gso, head.in_band_tag_len()).unwrap();
    let mut count = 0;
    while let Some(len) = segments.next_into(&mut finished) {
        count += 1;
        assert!(len <= segment + head.in_band_tag_len());
    }
    assert!((2..=VnetHeader::MAX_SEGMENTS).contains(&count));
}

proptest! {
    #[test]
    fn a_lie_about_a_real_frame_never_gets_through(frame in super_frames(), header in lying_headers(), cut in any::<prop::sample::Index>()) {
        let bytes = frame.bytes();
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(offload) = header.check(&head_of(bytes)) {
                assert_fits(bytes, &header, offload);
                if let Some(csum) = offload.csum {
                    prop_assert!(usize::from(csum.start) + 4 * frame.tags.len().min(1) >= frame.l4());
                }
            }
        }
    }

    #[test]
    fn no_bytes_with_any_header_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in lying_headers()) {
        if let Ok(offload) = header.check(&head_of(&bytes)) {
            assert_fits(&bytes, &header, offload);
        }
    }

    #[test]
    fn an_honest_header_is_accepted_and_announced_again(frame in super_frames(), size in 130..9000u16) {
        let header = frame.vnet(size);
        let in_band = 4 * frame.tags.len().min(1);
        let offload = checked(&frame, header);
        if frame.header_len() - in_band > weft_vlan::HEAD_MAX {
            prop_assert_eq!(offload, Err(BadOffload));
        } else if frame.payload.len() > usize::from(size) {
            prop_assert_eq!(VnetHeader::announce(offload?, in_band), header);
        } else {
            let plain = VnetHeader { gso_type: 0, gso_size: 0.into(), hdr_len: 0.into(), ..header };
            prop_assert_eq!(VnetHeader::announce(offload?, in_band), plain);
        }
    }
}
