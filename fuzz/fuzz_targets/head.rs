//! Frames of any bytes and length with virtio-net headers that lie: through the frame parser, the check of the
//! header, and the cutter. What the check lets through must be finished without touching anything but what a
//! finished frame differs in.
//!
//! Input: a virtio-net header (10 bytes), the TCI of a stripped tag (2, none where 0), how much longer than its
//! first bytes the frame is (2, little-endian), the frame's first bytes.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use weft_offload::{Segments, VnetHeader, finish_checksum};
use weft_vlan::{Csum, Gso, Head, Offload, Tci, Tpid, WireTag};
use zerocopy::FromBytes;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok((header, rest)) = VnetHeader::read_from_prefix(data) else { return Corpus::Reject };
    let Some((&[a, b, c, d], first)) = rest.split_first_chunk() else { return Corpus::Reject };
    let stripped = match u16::from_be_bytes([a, b]) {
        0 => None,
        tci => Some(WireTag::new(Tpid::Dot1Q, Tci::from_bits(tci))),
    };
    let mut frame = first.to_vec();
    frame.extend((0..usize::from(u16::from_le_bytes([c, d]))).map(|at| (at * 31) as u8));

    let head = Head::read(&frame[..frame.len().min(Head::PREFIX)], frame.len(), stripped);
    head_is_the_frame(&head, &frame, stripped);
    let Ok(offload) = header.check(&head) else { return Corpus::Keep };
    let Some(csum) = offload.csum else {
        assert_eq!(offload, Offload::NONE);
        return Corpus::Keep;
    };
    let pushed = head.in_band_tag_len();
    if stripped.is_none() {
        assert_eq!(VnetHeader::announce(offload, pushed).check(&head), Ok(offload));
    }
    match offload.gso {
        None => checksum_is_finished(&frame, csum, pushed),
        Some(gso) => segments_are_the_frame(&frame, csum, gso, pushed),
    }
    Corpus::Keep
});

fn head_is_the_frame(head: &Head, frame: &[u8], stripped: Option<WireTag>) {
    let in_band = head.in_band_tag_len();
    assert_eq!(head.untagged_len() + in_band, frame.len());
    assert_eq!(head.tag().is_some(), stripped.is_some() || in_band > 0);
    assert!(head.consumed() <= frame.len());
    let mut delivered = head.bytes().to_vec();
    if let Some(tag) = head.tag().filter(|_| in_band > 0) {
        delivered.splice(12..12, tag.to_bytes());
    }
    assert_eq!(delivered, frame[..head.consumed()]);
    let _ = (
        head.destination(),
        head.source(),
        head.ethertype(),
        head.second_tag(),
        format!("{head:?}"),
    );
}

fn checksum_is_finished(frame: &[u8], csum: Csum, pushed: usize) {
    let mut finished = frame.to_vec();
    finish_checksum(&mut finished, csum, pushed).expect("a checked checksum is inside the frame");
    let start = usize::from(csum.start) + pushed;
    let at = start + usize::from(csum.offset);
    assert!(start >= 34);
    assert_eq!((&finished[..at], &finished[at + 2..]), (&frame[..at], &frame[at + 2..]));
    if csum.offset % 2 == 0 {
        let promised = word(frame, at);
        assert_eq!(sum(&finished[start..], promised), 0xffff);
    }
}

fn segments_are_the_frame(frame: &[u8], csum: Csum, gso: Gso, pushed: usize) {
    let header_len = usize::from(gso.header_len) + pushed;
    let l4 = usize::from(csum.start) + pushed;
    let at = l4 + usize::from(csum.offset);
    let mut segments = Segments::new(frame, gso, pushed).expect("checked metadata is of its frame");
    let mut payload = Vec::new();
    let mut count = 0;
    let mut segment = Vec::new();
    while let Some(len) = segments.next_into(&mut segment) {
        assert_eq!(len, segment.len());
        assert!(len > header_len && len <= header_len + usize::from(gso.size));
        assert_eq!(segment[..14], frame[..14]);
        // The promise was the pseudo header's sum with the super-frame's length; the segment's takes its place.
        let promised = [word(frame, at), !fold(frame.len() - l4), fold(len - l4)];
        let pseudo = fold(promised.into_iter().map(usize::from).sum());
        assert_eq!(sum(&segment[l4..], pseudo), 0xffff);
        let l3 = (14..l4)
            .step_by(4)
            .find(|&l3| [0x0800, 0x86dd].contains(&word(frame, l3 - 2)))
            .expect("it is IP");
        if segment[l3] >> 4 == 4 {
            assert_eq!(sum(&segment[l3..l4], 0), 0xffff);
            assert_eq!(usize::from(word(&segment, l3 + 2)), len - l3);
            assert_eq!(word(&segment, l3 + 4), word(frame, l3 + 4).wrapping_add(count));
        } else {
            assert_eq!(usize::from(word(&segment, l3 + 4)), len - l3 - 40);
        }
        payload.extend_from_slice(&segment[header_len..]);
        count += 1;
        segment.clear();
    }
    assert!((2..=VnetHeader::MAX_SEGMENTS).contains(&usize::from(count)));
    assert_eq!(payload, frame[header_len..]);
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn fold(mut total: usize) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}

/// RFC 1071 word for word, begun with `first`.
fn sum(bytes: &[u8], first: u16) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| usize::from(pair[0]) << 8 | usize::from(*pair.get(1).unwrap_or(&0)));
    fold(words.sum::<usize>() + usize::from(first))
}
