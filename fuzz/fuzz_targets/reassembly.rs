//! The reassembly of a peer that lies: any fragments, in any order, over time. Its bound holds, no bundle comes out
//! but one whose every byte was sent for its place, and an honest one between the lies comes out whole when nothing
//! was given up.
//!
//! Input: records of a length (1), how many 16 ms pass before it (1), and a fragment of that length behind a number
//! whose low byte alone counts; one of length 255 goes on with zeros to the length that its first piece has.

#![no_main]

use std::{collections::HashMap, time::Duration};

use libfuzzer_sys::fuzz_target;
use weft_vpn::{
    BundleId, FRAGMENT_HEADER, Fragments, LONGEST_BUNDLE, Losses, REASSEMBLY_BOUND, Reassembly,
};

/// The bytes that were sent for each place of a bundle, by its number, length and number of pieces.
type Sent = HashMap<(usize, usize, u8), HashMap<u8, Vec<Vec<u8>>>>;

fuzz_target!(|data: &[u8]| {
    let (mut reassembly, mut sent, mut now) = (Reassembly::default(), Sent::new(), Duration::ZERO);
    let honest: Vec<u8> = (0..3000_u32).map(|at| (at * 7) as u8).collect();
    let mut pieces = Fragments::new(BundleId(u32::MAX), honest.len(), 200).unwrap();
    let mut rest = data;
    while let [len, pause, behind @ ..] = rest {
        now += Duration::from_millis(16 * u64::from(*pause));
        let (fragment, behind) = behind.split_at(behind.len().min((*len).into()));
        rest = behind;
        let mut fragment = fragment.to_vec();
        if let Some(number) = fragment.get_mut(1..4) {
            number.fill(0);
        }
        if *len == 255 && fragment.len() == 255 {
            let longest = word(&fragment, 4).clamp(245, LONGEST_BUNDLE);
            fragment.resize(FRAGMENT_HEADER + longest.div_ceil(fragment[9].max(2).into()), 0);
        }
        take(&mut reassembly, &mut sent, now, &fragment);
        let Some(piece) = pieces.next() else { continue };
        let piece = [&piece.header, &honest[piece.piece]].concat();
        let done = take(&mut reassembly, &mut sent, now, &piece);
        let is_due = pieces.len() == 0 && reassembly.losses() == Losses::default();
        assert!(done.map_or(!is_due, |bundle| bundle == honest));
    }
    while let Some(at) = reassembly.poll_timeout() {
        reassembly.handle_timeout(at);
    }
    assert_eq!(reassembly.held(), 0);
});

fn take(
    reassembly: &mut Reassembly,
    sent: &mut Sent,
    now: Duration,
    fragment: &[u8],
) -> Option<Vec<u8>> {
    let bundle = reassembly.insert(now, fragment, 0);
    assert!(reassembly.held() <= REASSEMBLY_BOUND);
    if bundle.is_err() {
        return None;
    }
    let (id, len) = (word(fragment, 0), word(fragment, 4));
    let (index, count) = (fragment[8], fragment[9]);
    assert!(len <= LONGEST_BUNDLE && index < count);
    let known = sent.entry((id, len, count)).or_default();
    known.entry(index).or_default().push(fragment[FRAGMENT_HEADER..].to_vec());
    let bundle = bundle.ok().flatten()?;
    assert_eq!(bundle.len(), len);
    for (index, piece) in bundle.chunks(len.div_ceil(count.into())).enumerate() {
        assert!(known[&(index as u8)].iter().any(|known| known == piece));
    }
    let copied = bundle.to_vec();
    reassembly.recycle(bundle);
    Some(copied)
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}
