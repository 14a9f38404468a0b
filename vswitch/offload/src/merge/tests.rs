use proptest::prelude::*;
use weft_vlan::{Offload, Tci, Tpid, WireTag};

use super::*;
use crate::{
    Fit, Segments, finish_checksum,
    super_frame::{Ip, L4, SuperFrame, naive_sum, super_frames},
};

/// A frame whose outermost tag travels beside it.
#[derive(Clone)]
struct Frame {
    head: Head,
    bytes: Vec<u8>,
}

const TAG: WireTag = WireTag::new(Tpid::Dot1Q, Tci::from_bits(10));

impl Frame {
    fn new(bytes: Vec<u8>, vnet: VnetHeader) -> Self {
        let mut head = Head::read(&bytes[..bytes.len().min(Head::PREFIX)], bytes.len(), Some(TAG));
        head.set_offload(vnet.check(&head));
        Self { head, bytes }
    }

    fn offload(&self) -> Offload {
        self.head.offload().unwrap()
    }

    /// Cuts and finishes the frame as a receiver would that can do it all.
    fn finished(&self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        match self.offload() {
            Offload { gso: Some(gso), .. } => {
                let mut segments = Segments::new(&self.bytes, gso, 0).unwrap();
                let mut segment = Vec::new();
                while segments.next_into(&mut segment).is_some() {
                    out.push(std::mem::take(&mut segment));
                }
            }
            Offload { csum, .. } => {
                let mut bytes = self.bytes.clone();
                if let Some(csum) = csum {
                    finish_checksum(&mut bytes, csum, 0).unwrap();
                }
                out.push(bytes);
            }
        }
        out
    }
}

/// Merges frames as a port does: each into the one before it where it follows.
fn merge(frames: impl IntoIterator<Item = Frame>) -> Vec<Frame> {
    let mut merged: Vec<Frame> = Vec::new();
    let mut growing: Option<Merge> = None;
    let finish = |growing: &mut Option<Merge>, merged: &mut Vec<Frame>| {
        if let (Some(growing), Some(frame)) = (growing.take(), merged.last_mut()) {
            growing.finish(&mut frame.head);
            let len = frame.head.bytes().len().min(frame.bytes.len());
            frame.bytes[..len].copy_from_slice(&frame.head.bytes()[..len]);
            assert_eq!(frame.head.untagged_len(), frame.bytes.len());
        }
    };
    for frame in frames {
        let taken = match (&mut growing, merged.last()) {
            (Some(growing), Some(last)) => growing.take(&last.head, &frame.head),
            _ => None,
        };
        if let (Some(headers), Some(last)) = (taken, merged.last_mut()) {
            last.bytes.extend_from_slice(&frame.bytes[headers..]);
            continue;
        }
        finish(&mut growing, &mut merged);
        growing = Merge::begin(&frame.head);
        merged.push(frame);
    }
    finish(&mut growing, &mut merged);
    merged
}

/// Cuts a super-frame into pieces with so much payload at most.
fn cut(frame: &Frame, payload: usize) -> Vec<Frame> {
    let gso = frame.offload().gso.unwrap();
    let headers = usize::from(gso.header_len);
    let room = headers + VnetHeader::LEN + payload;
    let Fit::Pieces(mut cut) =
        Fit::of(frame.head.bytes(), frame.bytes.len(), frame.offload(), 0, room)
    else {
        panic!("it is not cut")
    };
    let mut rest = &frame.bytes[headers..];
    let mut pieces = Vec::new();
    while let Some(piece) = cut.next() {
        let (ours, left) = rest.split_at(piece.payload);
        rest = left;
        pieces.push(Frame::new([piece.headers, ours].concat(), piece.vnet));
    }
    pieces
}

fn fix_ip_checksum(frame: &SuperFrame, bytes: &mut [u8]) {
    bytes[frame.l3() + 10..][..2].fill(0);
    let checksum = !naive_sum(&bytes[frame.l3()..frame.l4()]);
    put16(bytes, frame.l3() + 10, checksum);
}

/// Makes IPv4 packets that may be fragmented.
fn not_atomic(frame: &SuperFrame, bytes: &mut [u8]) {
    bytes[frame.l3() + 6] = 0;
    fix_ip_checksum(frame, bytes);
}

fn v4() -> SuperFrame {
    SuperFrame {
        tags: vec![],
        ip: Ip::V4 { options: 0, id: 0xfffe },
        l4: L4::Tcp { options: 3, sequence: 0xffff_fc00, flags: 0x10 },
        payload: (0..5500).map(|at| (at * 3) as u8).collect(),
    }
}

fn v6() -> SuperFrame {
    SuperFrame { ip: Ip::V6 { extensions: vec![0] }, ..v4() }
}

fn pieces(frame: &SuperFrame) -> Vec<Frame> {
    cut(&Frame::new(frame.bytes(), frame.vnet(1000)), 1000)
}

#[test]
fn pieces_that_follow_each_other_become_the_frame_again() {
    for frame in [v4(), v6()] {
        for payload in [1000, 2000, 3500] {
            let whole = Frame::new(frame.bytes(), frame.vnet(1000));
            let merged = merge(cut(&whole, payload));
            assert_eq!(merged.len(), 1);
            assert_eq!(merged[0].bytes, whole.bytes);
            assert_eq!(merged[0].offload(), whole.offload());
        }
    }
}

#[test]
fn a_smaller_cut_is_merged_at_its_own_size() {
    let whole = Frame::new(v4().bytes(), v4().vnet(1000));
    let merged = merge(cut(&whole, 600));
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].bytes, whole.bytes);
    assert_eq!(merged[0].offload().gso.unwrap().size, 600);
}

#[test]
fn two_super_frames_in_a_row_are_merged_where_the_first_ends_full() {
    // payload, flags of the first; frames that come of both
    for (payload, flags, frames) in [(3000, 0x10, 1), (3000, 0x18, 2), (3001, 0x10, 2)] {
        let mut first = v4();
        first.payload.truncate(payload);
        first.l4 = L4::Tcp { options: 3, sequence: 5, flags };
        let second = SuperFrame {
            ip: Ip::V4 { options: 0, id: 0xfffeu16.wrapping_add(payload.div_ceil(1000) as u16) },
            l4: L4::Tcp { options: 3, sequence: 5 + payload as u32, flags: 0x10 },
            ..v4()
        };
        let merged = merge([pieces(&first), pieces(&second)].concat());
        assert_eq!(merged.len(), frames, "{payload} {flags:#x}");
    }
}

/// A change to the second of two pieces that would otherwise be merged.
type Change = fn(&SuperFrame, &mut Frame);

fn change(frame: &SuperFrame, piece: &mut Frame, at: usize, xor: u8) {
    let mut bytes = piece.bytes.clone();
    bytes[at] ^= xor;
    if matches!(frame.ip, Ip::V4 { .. }) && (frame.l3()..frame.l4()).contains(&at) {
        fix_ip_checksum(frame, &mut bytes);
    }
    *piece = Frame::new(bytes, VnetHeader::announce(piece.offload(), 0));
}

#[test]
fn what_does_not_fit_is_not_merged() {
    let both: &[(&str, Change)] = &[
        ("another destination address", |f, p| change(f, p, 0, 2)),
        ("another source address", |f, p| change(f, p, 11, 1)),
        ("another source port", |f, p| change(f, p, f.l4() + 1, 1)),
        ("another destination port", |f, p| change(f, p, f.l4() + 3, 1)),
        ("a gap", |f, p| change(f, p, f.l4() + 7, 1)),
        ("a segment from long ago", |f, p| change(f, p, f.l4() + 4, 0x80)),
        ("another acknowledgement", |f, p| change(f, p, f.l4() + 11, 1)),
        ("another window", |f, p| change(f, p, f.l4() + 15, 1)),
        ("an urgent pointer", |f, p| change(f, p, f.l4() + 19, 1)),
        ("other options", |f, p| change(f, p, f.l4() + 20, 1)),
        ("SYN", |f, p| change(f, p, f.l4() + 13, 0x02)),
        ("RST", |f, p| change(f, p, f.l4() + 13, 0x04)),
        ("no ACK", |f, p| change(f, p, f.l4() + 13, 0x10)),
        ("URG", |f, p| change(f, p, f.l4() + 13, 0x20)),
        ("ECE", |f, p| change(f, p, f.l4() + 13, 0x40)),
        ("CWR", |f, p| change(f, p, f.l4() + 13, 0x80)),
        ("AE", |f, p| change(f, p, f.l4() + 12, 0x01)),
        ("a wrong promise", |f, p| change(f, p, f.l4() + 16, 1)),
        ("no promise", |_, p| p.head.set_offload(Ok(Offload::NONE))),
        ("a promise that lies", |_, p| p.head.set_offload(Err(weft_vlan::BadOffload))),
        ("no payload", |f, p| {
            let mut bytes = p.bytes[..f.header_len()].to_vec();
            let len = (f.header_len() - f.l3()) as u16;
            match f.ip {
                Ip::V4 { .. } => {
                    put16(&mut bytes, f.l3() + 2, len);
                    fix_ip_checksum(f, &mut bytes);
                }
                Ip::V6 { .. } => put16(&mut bytes, f.l3() + 4, len - 40),
            }
            *p = Frame::new(bytes, VnetHeader::announce(p.offload(), 0));
        }),
        ("bytes behind the packet", |_, p| {
            let bytes = [&p.bytes[..], &[0]].concat();
            *p = Frame::new(bytes, VnetHeader::announce(p.offload(), 0));
        }),
        ("another VLAN", |_, p| {
            let tag = WireTag::new(Tpid::Dot1Q, Tci::from_bits(11));
            let offload = p.head.offload();
            p.head = Head::read(&p.bytes[..Head::PREFIX], p.bytes.len(), Some(tag));
            p.head.set_offload(offload);
        }),
    ];
    let of_v4: &[(&str, Change)] = &[
        ("another type of service", |f, p| change(f, p, f.l3() + 1, 0x20)),
        ("another ECN", |f, p| change(f, p, f.l3() + 1, 0x01)),
        ("another time to live", |f, p| change(f, p, f.l3() + 8, 1)),
        ("another IP address", |f, p| change(f, p, f.l3() + 15, 1)),
        ("other IP options", |f, p| change(f, p, f.l3() + 20, 1)),
        ("DF on one only", |f, p| change(f, p, f.l3() + 6, 0x40)),
        ("a wrong IP checksum", |f, p| {
            p.bytes[f.l3() + 10] ^= 1;
            *p = Frame::new(p.bytes.clone(), VnetHeader::announce(p.offload(), 0));
        }),
    ];
    let of_v6: &[(&str, Change)] = &[
        ("another traffic class", |f, p| change(f, p, f.l3(), 0x01)),
        ("another ECN", |f, p| change(f, p, f.l3() + 1, 0x10)),
        ("another flow label", |f, p| change(f, p, f.l3() + 3, 1)),
        ("another hop limit", |f, p| change(f, p, f.l3() + 7, 1)),
        ("another IP address", |f, p| change(f, p, f.l3() + 9, 1)),
        ("another extension", |f, p| change(f, p, f.l3() + 47, 1)),
    ];
    let v4 = SuperFrame { ip: Ip::V4 { options: 1, id: 7 }, ..v4() };
    for (frame, own) in [(v4, of_v4), (v6(), of_v6)] {
        for (name, change) in both.iter().chain(own) {
            let [first, second, ..] = &pieces(&frame)[..] else { panic!() };
            assert_eq!(merge([first.clone(), second.clone()]).len(), 1);
            let mut changed = second.clone();
            change(&frame, &mut changed);
            assert_eq!(merge([first.clone(), changed]).len(), 2, "{name}, {:?}", frame.ip);
        }
    }
}

#[test]
fn a_longer_segment_does_not_follow_and_nothing_follows_a_shorter_one() {
    let frame = v4();
    let whole = Frame::new(frame.bytes(), frame.vnet(1000));
    let (short, long) = (cut(&whole, 900), cut(&whole, 1000));
    // The last of each is the rest of 100 and 500 bytes.
    assert_eq!(merge(short.clone()).len(), 1);
    assert_eq!(merge([&long[..1], &short[1..2]].concat()).len(), 2, "an overlap");
    let mut tail = SuperFrame {
        ip: Ip::V4 { options: 0, id: 0xfffeu16.wrapping_add(6) },
        l4: L4::Tcp { options: 3, sequence: 0xffff_fc00u32.wrapping_add(5500), flags: 0x10 },
        ..v4()
    };
    tail.payload.truncate(1500);
    let merged = merge([long, pieces(&tail)].concat());
    let lens: Vec<_> = merged.iter().map(|frame| frame.bytes.len()).collect();
    assert_eq!(lens, [frame.header_len() + 5500, frame.header_len() + 1500]);
}

#[test]
fn identifications_count_only_where_packets_may_be_fragmented() {
    for (atomic, step, frames) in
        [(true, 0, 1), (true, 1, 1), (true, 9, 1), (false, 1, 1), (false, 0, 3), (false, 2, 3)]
    {
        let frame = v4();
        let mut three = pieces(&frame);
        three.truncate(3);
        for (piece, position) in three.iter_mut().zip(0u16..) {
            let mut bytes = piece.bytes.clone();
            put16(&mut bytes, frame.l3() + 4, 0xffff_u16.wrapping_add(step * position));
            fix_ip_checksum(&frame, &mut bytes);
            if !atomic {
                not_atomic(&frame, &mut bytes);
            }
            *piece = Frame::new(bytes, VnetHeader::announce(piece.offload(), 0));
        }
        assert_eq!(merge(three).len(), frames, "atomic {atomic}, step {step}");
    }
}

#[test]
fn a_frame_never_grows_beyond_what_its_length_field_says() {
    for (ip, largest) in [
        (Ip::V4 { options: 0, id: 0 }, 65_535 - 20 - 20),
        (Ip::V6 { extensions: vec![] }, 65_535 - 20),
    ] {
        for (payload, frames) in [(largest - 1, 1), (largest, 1), (largest + 1, 2)] {
            // Two halves, which differ by one at most.
            let half = payload / 2;
            let make = |sequence, id, payload| {
                let ip = match &ip {
                    Ip::V4 { options, .. } => Ip::V4 { options: *options, id },
                    v6 => v6.clone(),
                };
                let l4 = L4::Tcp { options: 0, sequence, flags: 0x10 };
                let frame = SuperFrame { tags: vec![], ip, l4, payload: vec![1; payload] };
                Frame::new(frame.bytes(), frame.vnet(u16::MAX))
            };
            let longer = payload - half;
            let merged = merge([make(0, 0, longer), make(longer as u32, 1, half)]);
            assert_eq!(merged.len(), frames, "{ip:?} {payload}");
        }
    }
}

#[test]
fn a_frame_never_grows_beyond_the_segments_that_are_allowed() {
    let make = |position: u32| {
        let l4 = L4::Tcp { options: 0, sequence: position * 8, flags: 0x10 };
        let ip = Ip::V6 { extensions: vec![] };
        let frame = SuperFrame { tags: vec![], ip, l4, payload: vec![1; 8] };
        Frame::new(frame.bytes(), frame.vnet(100))
    };
    let merged = merge((0..600).map(make));
    let segments: Vec<_> = merged.iter().map(|frame| frame.finished().len()).collect();
    assert_eq!(segments, [512, 88]);
    for frame in &merged {
        let vnet = VnetHeader::announce(frame.offload(), 0);
        assert_eq!(Frame::new(frame.bytes.clone(), vnet).offload(), frame.offload());
    }
}

proptest! {
    /// Pieces of two super-frames, some lost, some twice, in any order: a receiver sees the same segments in the
    /// same order whether they are merged or not.
    #[test]
    fn merging_changes_nothing_that_a_receiver_sees(
        frame in super_frames(), size in 8..3000u16, room in 1..9000usize, marked: bool, atomic: bool,
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
    ) {
        prop_assume!(frame.header_len() <= weft_vlan::HEAD_MAX);
        prop_assume!(frame.payload.len() > usize::from(size));
        prop_assume!(frame.payload.len() / usize::from(size) <= 511);
        let room = match frame.l4 {
            L4::Tcp { .. } => room.max(130).min(frame.payload.len() - 1),
            L4::Udp => room.max(size.into()).min(frame.payload.len() - 1),
        };
        let mut bytes = frame.bytes();
        if !atomic && matches!(frame.ip, Ip::V4 { .. }) {
            not_atomic(&frame, &mut bytes);
        }
        let mut vnet = frame.vnet(size);
        if marked && matches!(frame.l4, L4::Tcp { .. }) {
            vnet.gso_type |= VnetHeader::GSO_ECN;
        }
        let whole = Frame::new(bytes, vnet);
        let mut pieces = cut(&whole, room);
        let in_order = order.is_empty();
        for position in order {
            let piece = pieces[position.index(pieces.len())].clone();
            let to = (position.index(pieces.len() * 7)) % pieces.len();
            pieces.insert(to, piece);
        }
        let expected: Vec<_> = pieces.iter().flat_map(Frame::finished).collect();
        let flags = match frame.l4 { L4::Tcp { flags, .. } => flags, L4::Udp => SYN };
        let count = pieces.len();
        let merged = merge(pieces);
        for frame in &merged {
            // What was merged passes the check of whoever receives it next.
            let vnet = VnetHeader::announce(frame.offload(), 0);
            prop_assert_eq!(Frame::new(frame.bytes.clone(), vnet).offload(), frame.offload());
        }
        let seen: Vec<_> = merged.iter().flat_map(Frame::finished).collect();
        prop_assert!(seen == expected, "{} pieces, {} frames", count, merged.len());
        // And ordinary pieces do become one frame.
        let cwr_on_all = flags & CWR != 0 && !marked;
        if in_order && flags & (SYN | RST | URG | ACK) == ACK && !cwr_on_all {
            prop_assert_eq!(merged.len(), 1);
            prop_assert!(merged[0].bytes == whole.bytes);
        }
    }

    #[test]
    fn heads_of_any_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), frame in super_frames(),
        noise in proptest::collection::vec((0..120usize, any::<u8>()), 0..4),
    ) {
        let mut noisy = frame.bytes();
        for (at, byte) in noise {
            if let Some(place) = noisy.get_mut(at) {
                *place = byte;
            }
        }
        let frames = [
            Frame::new(bytes, frame.vnet(100)),
            Frame::new(noisy.clone(), frame.vnet(100)),
            Frame::new(noisy, frame.vnet(100)),
        ];
        merge(frames);
    }
}
