use proptest::prelude::*;

use super::*;
use crate::{
    Segments, finish_checksum,
    super_frame::{Ip, L4, SuperFrame, super_frames},
};

/// The metadata of a super-frame whose tags all lie in what is counted, but for the first `pushed` ones.
fn offload_of(frame: &SuperFrame, size: u16, pushed: usize, ecn: Ecn) -> Offload {
    let kind = match (&frame.ip, frame.l4) {
        (Ip::V4 { .. }, L4::Tcp { .. }) => GsoKind::Tcp4 { ecn },
        (Ip::V6 { .. }, L4::Tcp { .. }) => GsoKind::Tcp6 { ecn },
        (_, L4::Udp) => GsoKind::Udp,
    };
    let start = (frame.l4() - 4 * pushed) as u16;
    let csum = Csum { start, offset: frame.csum_offset() as u16 };
    let header_len = (frame.header_len() - 4 * pushed) as u16;
    Offload { csum: Some(csum), gso: Some(Gso { kind, size, header_len }) }
}

/// What came of a cut: whole frames and their metadata.
fn cut(frame: &SuperFrame, offload: Offload, pushed: usize, room: usize) -> Option<Pieces> {
    let bytes = frame.bytes();
    let headers = &bytes[..bytes.len().min(HEADERS_MAX)];
    let Fit::Pieces(mut cut) = Fit::of(headers, bytes.len(), offload, 4 * pushed, room) else {
        return None;
    };
    let mut payload = &frame.payload[..];
    let mut pieces = Vec::new();
    while let Some(piece) = cut.next() {
        let (ours, rest) = payload.split_at(piece.payload);
        payload = rest;
        pieces.push(([piece.headers, ours].concat(), piece.vnet));
    }
    assert!(payload.is_empty(), "{} bytes were left over", payload.len());
    Some(pieces)
}

type Pieces = Vec<(Vec<u8>, VnetHeader)>;

/// Cuts and finishes a frame by its own metadata, as a receiver would that can do it all.
fn finished(bytes: &[u8], offload: Offload, pushed: usize) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    match (offload.gso, offload.csum) {
        (Some(gso), _) => {
            let mut segments = Segments::new(bytes, gso, pushed).unwrap();
            let mut segment = Vec::new();
            while segments.next_into(&mut segment).is_some() {
                out.push(std::mem::take(&mut segment));
            }
        }
        (None, csum) => {
            let mut bytes = bytes.to_vec();
            finish_checksum(&mut bytes, csum.unwrap(), pushed).unwrap();
            out.push(bytes);
        }
    }
    out
}

/// Reads the metadata of a piece back.
fn read(vnet: VnetHeader, bytes: &[u8]) -> Offload {
    let tag = weft_vlan::WireTag::new(weft_vlan::Tpid::Dot1Q, weft_vlan::Tci::from_bits(1));
    let prefix = &bytes[..bytes.len().min(weft_vlan::Head::PREFIX)];
    vnet.check(&weft_vlan::Head::read(prefix, bytes.len(), Some(tag))).unwrap()
}

fn tcp(payload: usize) -> SuperFrame {
    SuperFrame {
        tags: vec![[0x8100, 0x600a]],
        ip: Ip::V4 { options: 0, id: 0xffff },
        l4: L4::Tcp { options: 3, sequence: 0xffff_ff00, flags: 0x99 },
        payload: (0..payload).map(|at| at as u8).collect(),
    }
}

fn udp(payload: usize) -> SuperFrame {
    SuperFrame { l4: L4::Udp, ..tcp(payload) }
}

#[test]
fn a_frame_that_fits_with_its_metadata_is_left_whole() {
    let frame = tcp(1000);
    let bytes = frame.bytes();
    let offload = offload_of(&frame, 400, 0, Ecn::Unmarked);
    let fits = |offload, room| Fit::of(&bytes[..100], bytes.len(), offload, 0, room);
    assert!(matches!(fits(offload, bytes.len() + 10), Fit::Whole));
    assert!(matches!(fits(offload, bytes.len() + 9), Fit::Pieces(_)));
    assert!(matches!(fits(Offload::NONE, bytes.len()), Fit::Whole));
    assert!(matches!(fits(Offload::NONE, bytes.len() - 1), Fit::TooLarge));
    let plain = Offload { gso: None, ..offload };
    assert!(matches!(fits(plain, bytes.len() + 10), Fit::Whole));
    assert!(matches!(fits(plain, bytes.len() + 9), Fit::TooLarge));
}

#[test]
fn pieces_of_several_segments_are_super_frames() {
    let frame = tcp(10_000);
    let headers = frame.header_len();
    // room, payload in a piece, segments in it as announced
    let table = [
        (headers + 10 + 999, 999, 0),
        (headers + 10 + 1000, 1000, 0),
        (headers + 10 + 1999, 1000, 0),
        (headers + 10 + 2000, 2000, 1000),
        (headers + 10 + 3999, 3000, 1000),
    ];
    for (room, step, announced) in table {
        let pieces = cut(&frame, offload_of(&frame, 1000, 0, Ecn::Unmarked), 0, room).unwrap();
        assert_eq!(pieces.len(), 10_000_usize.div_ceil(step), "{room}");
        for (bytes, vnet) in &pieces[..pieces.len() - 1] {
            assert_eq!((bytes.len() - headers, vnet.gso_size.get()), (step, announced), "{room}");
        }
    }
}

#[test]
fn datagrams_keep_their_length_or_are_not_cut() {
    let frame = udp(5000);
    let headers = frame.header_len();
    let fits = |room| cut(&frame, offload_of(&frame, 1000, 0, Ecn::Unmarked), 0, room);
    assert!(fits(headers + 10 + 999).is_none());
    let lens = |pieces: Pieces| pieces.iter().map(|(b, _)| b.len() - headers).collect::<Vec<_>>();
    assert_eq!(lens(fits(headers + 10 + 1999).unwrap()), [1000; 5]);
    assert_eq!(lens(fits(headers + 10 + 2000).unwrap()), [2000, 2000, 1000]);
}

#[test]
fn cwr_stands_on_the_first_piece_alone_where_it_is_marked() {
    let frame = SuperFrame { l4: L4::Tcp { options: 0, sequence: 1, flags: 0xd8 }, ..tcp(4000) };
    let room = frame.header_len() + 10 + 2000;
    let seen = |ecn| {
        let pieces = cut(&frame, offload_of(&frame, 1000, 0, ecn), 0, room).unwrap();
        let flags = |(bytes, vnet): &(Vec<u8>, VnetHeader)| {
            (bytes[frame.l4() + 13], vnet.gso_type & VnetHeader::GSO_ECN)
        };
        pieces.iter().map(flags).collect::<Vec<_>>()
    };
    assert_eq!(seen(Ecn::Marked), [(0xd0, VnetHeader::GSO_ECN), (0x58, 0)]);
    assert_eq!(seen(Ecn::Unmarked), [(0xd0, 0), (0xd8, 0)]);
}

#[test]
fn metadata_of_another_frame_cuts_nothing() {
    let frame = tcp(4000);
    let right = offload_of(&frame, 1000, 0, Ecn::Unmarked);
    let (csum, gso) = (right.csum.unwrap(), right.gso.unwrap());
    let with = |gso| Offload { gso: Some(gso), ..right };
    let ecn = Ecn::Unmarked;
    assert!(cut(&frame, right, 0, 1500).is_some());
    for (offload, pushed) in [
        (with(Gso { kind: GsoKind::Tcp6 { ecn }, ..gso }), 0),
        (with(Gso { kind: GsoKind::Udp, ..gso }), 0),
        (with(Gso { size: 0, ..gso }), 0),
        (with(Gso { header_len: gso.header_len - 1, ..gso }), 0),
        (with(Gso { header_len: u16::MAX, ..gso }), 0),
        (Offload { csum: None, ..right }, 0),
        (Offload { csum: Some(Csum { start: csum.start + 1, ..csum }), ..right }, 0),
        (Offload { csum: Some(Csum { offset: 6, ..csum }), ..right }, 0),
        (right, 1),
        (right, 2),
    ] {
        assert!(cut(&frame, offload, pushed, 1500).is_none(), "{offload:?} {pushed}");
    }
    for room in 0..=frame.header_len() + 10 {
        assert!(cut(&frame, right, 0, room).is_none(), "{room}");
    }
}

proptest! {
    #[test]
    fn finished_pieces_are_the_segments(
        frame in super_frames(), size in 1..9000u16, room in 60..20_000usize, marked: bool, pushed in 0..=2usize,
    ) {
        let ecn = if marked { Ecn::Marked } else { Ecn::Unmarked };
        let pushed = pushed.min(frame.tags.len());
        let offload = offload_of(&frame, size, pushed, ecn);
        prop_assume!(frame.header_len() <= weft_vlan::HEAD_MAX && frame.payload.len() > usize::from(size));
        let Some(pieces) = cut(&frame, offload, pushed, room) else {
            let least = match frame.l4 { L4::Tcp { .. } => 1, L4::Udp => usize::from(size) };
            let fits = frame.bytes().len() + VnetHeader::LEN <= room;
            prop_assert!(fits || room < frame.header_len() + VnetHeader::LEN + least);
            return Ok(());
        };
        let longest = pieces.iter().map(|(bytes, _)| bytes.len()).max().unwrap();
        prop_assert!(longest + VnetHeader::LEN <= room);
        // What does not take a whole segment is cut as if the segments had been smaller.
        let fits = room - VnetHeader::LEN - frame.header_len();
        let effective = usize::from(size).min(fits) as u16;
        let gso = Gso { size: effective, ..offload.gso.unwrap() };
        let expected = finished(&frame.bytes(), Offload { gso: Some(gso), ..offload }, 4 * pushed);
        // A piece of more segments than are allowed in one frame cannot be read back.
        prop_assume!(fits / usize::from(size) <= VnetHeader::MAX_SEGMENTS);
        let mut seen = Vec::new();
        for (bytes, vnet) in &pieces {
            seen.extend(finished(bytes, read(*vnet, bytes), 0));
        }
        prop_assert!(seen == expected);
    }

    #[test]
    fn metadata_that_lies_never_panics(
        frame in super_frames(), header_len in 0..200u16, size in any::<u16>(), start in 0..200u16,
        offset in 0..20u16, pushed in 0..3usize, udp: bool, seen in 0..140usize, room in 0..70_000usize,
    ) {
        let kind = if udp { GsoKind::Udp } else { GsoKind::Tcp4 { ecn: Ecn::Unmarked } };
        let offload = Offload { csum: Some(Csum { start, offset }), gso: Some(Gso { kind, size, header_len }) };
        let bytes = frame.bytes();
        let headers = &bytes[..bytes.len().min(seen)];
        if let Fit::Pieces(mut cut) = Fit::of(headers, bytes.len(), offload, 4 * pushed, room) {
            let mut payload = 0;
            while let Some(piece) = cut.next() {
                payload += piece.payload;
            }
            prop_assert_eq!(payload, bytes.len() - frame.header_len());
        }
    }
}
