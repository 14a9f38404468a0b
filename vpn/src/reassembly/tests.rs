//! Reassembly against a naive one that never forgets, and at its bounds.

use std::{collections::HashMap, sync::LazyLock};

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::fragment::{FRAGMENT_HEADER, Fragments, LONGEST_BUNDLE};

const NOW: Duration = Duration::from_secs(1000);
static LONG_TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| text(0, 2 * LONGEST_BUNDLE));

fn text(seed: u32, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u32).wrapping_mul(31).wrapping_add(seed) as u8).collect()
}

fn cut(id: u32, bundle: &[u8], payload: usize) -> Vec<Vec<u8>> {
    Fragments::new(BundleId(id), bundle.len(), payload)
        .unwrap()
        .map(|fragment| [&fragment.header[..], &bundle[fragment.piece]].concat())
        .collect()
}

fn payload(id: u32, len: u32, index: u8, count: u8, piece: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &len.to_le_bytes(), &[index, count], piece].concat()
}

#[test]
fn a_bundle_comes_out_whole_with_its_last_fragment() {
    let mut reassembly = Reassembly::default();
    for (id, len) in [(1, 1514), (2, LONGEST_BUNDLE), (3, 9014)] {
        let bundle = text(id, len);
        let mut fragments = cut(id, &bundle, 1400);
        let last = fragments.pop().unwrap();
        for fragment in fragments.iter().rev() {
            assert!(reassembly.insert(NOW, fragment, 0).unwrap().is_none());
        }
        let whole = reassembly.insert(NOW, &last, 0).unwrap().unwrap();
        assert_eq!(*whole, bundle);
        reassembly.recycle(whole);
    }
}

#[test]
fn a_bundle_has_the_marks_of_all_its_fragments() {
    let mut reassembly = Reassembly::default();
    let bundle = text(1, 3000);
    let [first, second, third] = &cut(1, &bundle, 1200)[..] else { panic!("three fragments") };
    reassembly.insert(NOW, second, 0b100).unwrap();
    reassembly.insert(NOW, first, 0b001).unwrap();
    // What is not kept does not count.
    reassembly.insert(NOW, first, 0b1000).unwrap_err();
    assert_eq!(reassembly.insert(NOW, third, 0b001).unwrap().unwrap().marks(), 0b101);
}

#[test]
fn memory_is_used_again_for_frames_of_one_kind() {
    let mut reassembly = Reassembly::default();
    let mut places = Vec::new();
    for id in 0..100 {
        let bundle = text(id, 1500 + id as usize);
        let [first, second] = &cut(id, &bundle, 1000)[..] else { panic!("two fragments") };
        reassembly.insert(NOW, first, 0).unwrap();
        let whole = reassembly.insert(NOW, second, 0).unwrap().unwrap();
        assert_eq!(*whole, bundle);
        places.push(whole.as_ptr());
        reassembly.recycle(whole);
    }
    assert!(places.iter().all(|&place| place == places[0]));
    assert_eq!(reassembly.held(), 2048);
}

#[test]
fn refusals_have_their_reasons_and_cost_at_most_their_bundle() {
    let mut reassembly = Reassembly::default();
    let other = text(9, 1000);
    let [first, last] = &cut(9, &other, 600)[..] else { panic!("two fragments") };
    reassembly.insert(NOW, first, 0).unwrap();
    assert!(reassembly.insert(NOW, &payload(7, 6, 0, 3, b"ab"), 0).unwrap().is_none());
    let malformed = |error| Err(FragmentError::Malformed(error));
    for (bytes, expected) in [
        (b"short".to_vec(), malformed(MalformedFragment::Short(5))),
        (payload(7, 6, 3, 3, b"cd"), malformed(MalformedFragment::Index { index: 3, count: 3 })),
        (
            payload(7, 6, 1, 3, b"c"),
            malformed(MalformedFragment::PieceLength { found: 1, expected: 2 }),
        ),
        (payload(7, 6, 0, 3, b"ab"), Err(FragmentError::Duplicate)),
        (payload(7, 6, 0, 3, b"aB"), Err(FragmentError::Overlap)),
        // The overlap cost its bundle: this begins it anew, the next contradicts it.
        (payload(7, 6, 1, 3, b"cd"), Ok(())),
        (payload(7, 5, 0, 3, b"ab"), Err(FragmentError::Contradiction)),
        (payload(7, 6, 0, 3, b"ab"), Ok(())),
        (payload(7, 6, 0, 2, b"abc"), Err(FragmentError::Contradiction)),
    ] {
        let result = reassembly.insert(NOW, &bytes, 0).map(|whole| assert!(whole.is_none()));
        assert_eq!(result, expected, "{bytes:?}");
    }
    assert_eq!(*reassembly.insert(NOW, last, 0).unwrap().unwrap(), other);
    assert_eq!(reassembly.losses(), Losses::default());
}

#[test]
fn a_bundle_waits_as_long_as_it_may_and_no_longer() {
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.poll_timeout(), None);
    let bundle = text(1, 3000);
    let [first, second, third] = &cut(1, &bundle, 1200)[..] else { panic!("three fragments") };
    reassembly.insert(NOW, first, 0).unwrap();
    let deadline = NOW + REASSEMBLY_TIMEOUT;
    assert_eq!(reassembly.poll_timeout(), Some(deadline));
    let late = deadline - Duration::from_nanos(1);
    reassembly.handle_timeout(late);
    reassembly.insert(late, second, 0).unwrap();
    reassembly.handle_timeout(deadline);
    assert_eq!(reassembly.losses(), Losses { evicted: 0, expired: 1 });
    assert!(reassembly.insert(deadline, third, 0).unwrap().is_none());

    // Nor when nobody calls in time.
    reassembly.insert(deadline + REASSEMBLY_TIMEOUT, first, 0).unwrap();
    assert_eq!(reassembly.losses(), Losses { evicted: 0, expired: 2 });
    let third = reassembly.insert(deadline + 2 * REASSEMBLY_TIMEOUT, third, 0).unwrap();
    assert!(third.is_none());

    // Idle, it holds nothing.
    while let Some(at) = reassembly.poll_timeout() {
        reassembly.handle_timeout(at);
    }
    assert_eq!(reassembly.held(), 0);
    assert_eq!(reassembly.losses(), Losses { evicted: 0, expired: 4 });
}

#[test]
fn the_oldest_bundle_makes_room() {
    let mut reassembly = Reassembly::default();
    let room = REASSEMBLY_BOUND / 2048;
    let bundles: Vec<_> = (0..=room as u32).map(|id| cut(id, &text(id, 2000), 1300)).collect();
    for bundle in &bundles {
        assert!(reassembly.insert(NOW, &bundle[0], 0).unwrap().is_none());
    }
    assert_eq!(reassembly.losses(), Losses { evicted: 1, expired: 0 });
    assert_eq!(reassembly.held(), REASSEMBLY_BOUND);
    for (id, bundle) in bundles.iter().enumerate().skip(1) {
        let whole = reassembly.insert(NOW, &bundle[1], 0).unwrap().unwrap();
        assert_eq!(*whole, text(id as u32, 2000));
    }
    assert!(reassembly.insert(NOW, &bundles[0][1], 0).unwrap().is_none());
}

/// Keeps everything, byte by byte.
#[derive(Default)]
struct Naive(HashMap<u32, (u32, u8, Vec<Option<u8>>)>);

impl Naive {
    /// `bytes` is a well-formed fragment, except that it may contradict others.
    fn insert(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, FragmentError> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (id, len, index, count) = (word(0), word(4), bytes[8], bytes[9]);
        let piece = &bytes[FRAGMENT_HEADER..];
        let empty = || (len, count, vec![None; len as usize]);
        let (known_len, known_count, places) = self.0.entry(id).or_insert_with(empty);
        if (*known_len, *known_count) != (len, count) {
            self.0.remove(&id);
            return Err(FragmentError::Contradiction);
        }
        let start = usize::from(index) * (len as usize).div_ceil(count.into());
        let places_of_piece = &mut places[start..start + piece.len()];
        if places_of_piece.iter().all(Option::is_none) {
            for (place, &byte) in places_of_piece.iter_mut().zip(piece) {
                *place = Some(byte);
            }
        } else if places_of_piece.iter().copied().eq(piece.iter().copied().map(Some)) {
            return Err(FragmentError::Duplicate);
        } else {
            self.0.remove(&id);
            return Err(FragmentError::Overlap);
        }
        let whole: Option<Vec<u8>> = places.iter().copied().collect();
        if whole.is_some() {
            self.0.remove(&id);
        }
        Ok(whole)
    }
}

proptest! {
    #[test]
    fn what_comes_out_is_what_a_naive_reassembler_makes(
        bundles in prop::collection::vec((0_u32..4, 2_usize..300, 12_usize..90, any::<u8>()), 1..12),
        order in prop::collection::vec((any::<Index>(), any::<Index>(), 0_u8..20), 0..200),
    ) {
        let bundles: Vec<_> = bundles
            .into_iter()
            .filter(|&(_, len, payload, _)| len > payload)
            .filter(|&(_, len, payload, _)| len.div_ceil(payload - FRAGMENT_HEADER) <= 128)
            .map(|(id, len, payload, seed)| cut(id, &text(seed.into(), len), payload))
            .collect();
        prop_assume!(!bundles.is_empty());
        let (mut reassembly, mut naive) = (Reassembly::default(), Naive::default());
        for (bundle, fragment, damage) in order {
            let mut bytes = fragment.get(&bundle.get(&bundles)[..]).clone();
            if damage == 0 {
                *bytes.last_mut().unwrap() ^= 1;
            }
            let got = reassembly.insert(NOW, &bytes, 0);
            let expected = naive.insert(&bytes);
            let copied = got.as_ref().map(|whole| whole.as_ref().map(|whole| whole.to_vec()));
            prop_assert_eq!(copied.map_err(|&error| error), expected);
            if let Ok(Some(whole)) = got {
                reassembly.recycle(whole);
            }
        }
        prop_assert_eq!(reassembly.losses(), Losses::default());
    }

    /// Bundles of all sizes, most never complete: what does come out is right, and the bound holds.
    #[test]
    fn the_bound_holds_whatever_comes(
        steps in prop::collection::vec(
            (0_u32..40, 2..=LONGEST_BUNDLE, any::<Index>(), 0_u64..300, any::<bool>()),
            0..120,
        ),
    ) {
        let mut reassembly = Reassembly::default();
        let mut now = NOW;
        for (id, len, index, millis, recycles) in steps {
            now += Duration::from_millis(millis);
            // Several lengths of a bundle contradict each other; one that only its number decides does not.
            let len = if len % 3 == 0 { len } else { 2 + id as usize * 2000 };
            let bundle = &LONG_TEXT[id as usize..][..len];
            let Ok(mut fragments) = Fragments::new(BundleId(id), len, len.div_ceil(2) + FRAGMENT_HEADER)
            else { continue };
            let fragment = fragments.nth(index.index(2)).unwrap();
            let bytes = [&fragment.header[..], &bundle[fragment.piece]].concat();
            match reassembly.insert(now, &bytes, 0) {
                Ok(Some(whole)) => {
                    prop_assert_eq!(&*whole, bundle);
                    if recycles {
                        reassembly.recycle(whole);
                    }
                }
                Ok(None) | Err(FragmentError::Duplicate | FragmentError::Contradiction) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
            let buffers = reassembly.pending.iter().map(|pending| pending.buffer.len());
            let spare = reassembly.spare.iter().map(|spare| spare.len());
            prop_assert_eq!(buffers.chain(spare).sum::<usize>(), reassembly.held());
            prop_assert!(reassembly.held() <= REASSEMBLY_BOUND);
            prop_assert!(reassembly.pending.len() <= REASSEMBLY_BOUND / BLOCK);
        }
    }
}
