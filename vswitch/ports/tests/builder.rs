//! Bursts that are put together from bytes, and read as bytes.

mod lab;

use lab::{EXPERIMENT, frame, tag};
use proptest::prelude::*;
use weft_core::DropReason;
use weft_offload::{Fit, VnetHeader};
use weft_ports::{BURST, Job, Scratch};
use weft_vlan::{BadOffload, Tags, Tpid, WireTag};

const OUTER: WireTag = WireTag::new(Tpid::Dot1ad, weft_vlan::Tci::from_bits(0x612c));

/// TCP over IPv4 with twelve bytes of options behind these tags, and what a stack says of it.
fn tcp(tags: &[WireTag], sequence: u32, payload: &[u8], size: u16) -> (Vec<u8>, VnetHeader) {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    tags.iter().for_each(|tag| frame.extend(tag.to_bytes()));
    frame.extend([8, 0]);
    let l3 = frame.len();
    let total = (52 + payload.len()) as u16;
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !weft_offload::sum(&frame[l3..]);
    frame[l3 + 10..l3 + 12].copy_from_slice(&checksum.to_be_bytes());
    let pseudo = [&frame[l3 + 12..l3 + 20], &[0, 6], &(total - 20).to_be_bytes()].concat();
    let promise = weft_offload::sum(&pseudo);
    frame.extend([0x30, 0x39, 0, 80]);
    frame.extend(sequence.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0x80, 0x10, 1, 0]);
    frame.extend(promise.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend([1; 12]);
    frame.extend(payload);
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: if size == 0 { VnetHeader::GSO_NONE } else { VnetHeader::GSO_TCPV4 },
        hdr_len: 0.into(),
        gso_size: size.into(),
        csum_start: (l3 as u16 + 20).into(),
        csum_offset: 16.into(),
    };
    (frame, vnet)
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 13) as u8 ^ (at >> 8) as u8).collect()
}

/// Reads a frame as it leaves with these tags, in portions.
fn read(burst: &weft_ports::Burst<'_>, frame: u16, tags: Tags, portion: usize) -> Vec<u8> {
    let mut reader = burst.reader(&Job { frame, tags });
    let (mut bytes, mut portion) = (Vec::new(), vec![0; portion]);
    loop {
        let len = reader.read(&mut portion);
        bytes.extend_from_slice(&portion[..len]);
        if len < portion.len() {
            assert_eq!(bytes.len(), reader.len());
            return bytes;
        }
    }
}

proptest! {
    /// A super-frame is cut, its pieces are pushed, and what comes out is the super-frame, whether its tags travel
    /// beside it or stand in its bytes.
    #[test]
    fn pieces_become_the_frame_that_was_cut(
        len in 2000..60_000usize, size in 100..1500u16, room in 300..9000usize, portion in 1..3000usize,
        inner: bool, beside: bool,
    ) {
        let payload = payload(len);
        let payload_tags = if inner { vec![tag(Tpid::Dot1Q, 7)] } else { vec![] };
        let (whole, vnet) = tcp(&payload_tags, 0xffff_f000, &payload, size);
        prop_assume!(len / usize::from(size) <= VnetHeader::MAX_SEGMENTS && room < whole.len());
        let mut scratch = Scratch::new();
        let mut pieces: Vec<(Vec<u8>, VnetHeader)> = Vec::new();
        {
            let mut builder = scratch.builder();
            builder.push(&whole, Some(OUTER), Some(&vnet));
            let burst = builder.finish();
            let offload = burst.frames()[0].head.offload().unwrap();
            let tags = if beside { Tags::NONE } else { Tags { vlan: Some(OUTER), payload: None } };
            let mut reader = burst.reader(&Job { frame: 0, tags });
            let fit = Fit::of(reader.front(), reader.len(), offload, tags.wire_len(), room);
            let Fit::Pieces(mut cut) = fit else { panic!() };
            while let Some(piece) = cut.next() {
                if pieces.is_empty() {
                    reader.skip(piece.headers.len());
                }
                let mut bytes = piece.headers.to_vec();
                bytes.resize(piece.headers.len() + piece.payload, 0);
                prop_assert_eq!(reader.read(&mut bytes[piece.headers.len()..]), piece.payload);
                pieces.push((bytes, piece.vnet));
            }
        }
        let mut builder = scratch.builder();
        for (bytes, vnet) in &pieces {
            builder.push(bytes, beside.then_some(OUTER), Some(vnet));
        }
        let burst = builder.finish();
        prop_assert_eq!(burst.frames().len(), 1);
        let head = &burst.frames()[0].head;
        prop_assert_eq!((head.tag(), head.untagged_len()), (Some(OUTER), whole.len()));
        prop_assert!(read(&burst, 0, Tags::NONE, portion) == whole);
        let gso = head.offload().unwrap().gso.unwrap();
        prop_assert!(gso.size <= size && gso.size > 0);
    }
}

#[test]
fn frames_that_do_not_follow_stay_apart_and_in_order() {
    let mut scratch = Scratch::new();
    let segment = |sequence| tcp(&[], sequence, &payload(1000), 0);
    let plain = |seed| (frame(&[], 300, seed), VnetHeader::default());
    let frames =
        [segment(0), plain(1), segment(1000), segment(2000), segment(2000), plain(2), plain(3)];
    let mut builder = scratch.builder();
    for (bytes, vnet) in &frames {
        builder.push(bytes, Some(OUTER), Some(vnet));
    }
    builder.refuse(DropReason::Malformed, 3);
    let burst = builder.finish();
    let lens: Vec<_> = burst.frames().iter().map(|frame| frame.head.untagged_len()).collect();
    assert_eq!(lens, [1066, 300, 2066, 1066, 300, 300]);
    assert_eq!(burst.refused(), [(DropReason::Malformed, 3)]);
    assert_eq!(read(&burst, 1, Tags::NONE, 77), frame(&[], 300, 1));
    let (mut merged, _) = tcp(&[], 1000, &[payload(1000), payload(1000)].concat(), 0);
    assert_eq!(read(&burst, 2, Tags::NONE, 500), merged);
    // With tags that a port pushes.
    let tags = Tags { vlan: Some(OUTER), payload: Some(tag(Tpid::Dot1Q, 7)) };
    merged.splice(12..12, [OUTER.to_bytes(), tag(Tpid::Dot1Q, 7).to_bytes()].concat());
    assert_eq!(read(&burst, 2, tags, 4000), merged);
}

#[test]
fn metadata_that_lies_stands_beside_its_frame_as_such() {
    let mut scratch = Scratch::new();
    let (bytes, vnet) = tcp(&[], 0, &payload(500), 0);
    let lying = VnetHeader { csum_start: 12.into(), ..vnet };
    let mut builder = scratch.builder();
    builder.push(&bytes, Some(OUTER), Some(&lying));
    builder.push(&bytes, Some(OUTER), None);
    builder.push(&[], Some(OUTER), Some(&vnet));
    let burst = builder.finish();
    let offloads: Vec<_> = burst.frames().iter().map(|frame| frame.head.offload()).collect();
    assert_eq!(offloads[0], Err(BadOffload));
    assert_eq!(offloads[1], Ok(weft_vlan::Offload::NONE));
    assert_eq!(offloads[2], Err(BadOffload));
    assert_eq!(read(&burst, 2, Tags::NONE, 10), []);
}

#[test]
fn a_burst_is_full_of_frames_or_of_bytes() {
    let mut scratch = Scratch::new();
    let small = frame(&[], 60, 1);
    let mut builder = scratch.builder();
    for _ in 0..BURST {
        assert!(!builder.is_full());
        builder.push(&small, None, None);
    }
    assert!(builder.is_full());
    // What is one record's may go beyond.
    builder.push(&small, None, None);
    assert_eq!(builder.finish().frames().len(), BURST + 1);

    let large = frame(&[], 60_000, 1);
    assert_eq!(large[12..14], EXPERIMENT.to_be_bytes());
    let mut builder = scratch.builder();
    for full in [false, false, false, true] {
        assert_eq!(builder.is_full(), full);
        builder.push(&large, None, None);
    }

    // A super-frame that grows is let become whole.
    let segments: Vec<_> = (0..200).map(|at| tcp(&[], at * 1000, &payload(1000), 0)).collect();
    let mut builder = scratch.builder();
    let pushed = segments.iter().take_while(|(bytes, vnet)| {
        let full = builder.is_full();
        builder.push(bytes, Some(OUTER), Some(vnet));
        !full
    });
    let pushed = pushed.count();
    assert!((128..200).contains(&pushed), "{pushed}");
    assert!(builder.finish().frames().len() <= 4);
}
