//! Cuts a bundle that is larger than the path into fragments, each the payload of a record of its own. The pieces of
//! a bundle are all of one length but the last, so that where a piece belongs follows from its index: fragments
//! that overlap cannot be written down. Puts nothing together; that is `reassembly`.
//!
//! | bytes | |
//! | --- | --- |
//! | 0–3 | the bundle's number, little-endian |
//! | 4–7 | the bundle's length, little-endian |
//! | 8 | the piece's index, from 0 |
//! | 9 | how many pieces there are, 2 to 128 |
//! | 10– | the piece |

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// The length of what stands in front of each piece.
pub const FRAGMENT_HEADER: usize = 10;
/// The longest bundle that can be cut: a super-frame of 64 KiB with its headers, and room to spare.
pub const LONGEST_BUNDLE: usize = 80 * 1024;
/// The most pieces of a bundle.
pub const MOST_FRAGMENTS: usize = 128;

/// Names a bundle among those that its sender has under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BundleId(pub u32);

/// Hands out the numbers of bundles to one peer, to several workers at once.
#[derive(Debug)]
pub struct BundleIds(AtomicU32);

impl BundleIds {
    /// Begins at a number that should be random: a host that restarts then does not meet what is left of its
    /// earlier bundles.
    pub const fn beginning_at(first: u32) -> Self {
        Self(AtomicU32::new(first))
    }

    /// Returns a number that comes again after 2^32 others.
    pub fn next(&self) -> BundleId {
        BundleId(self.0.fetch_add(1, Relaxed))
    }
}

/// One piece of a bundle, still to be copied behind its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What the payload begins with.
    pub header: [u8; FRAGMENT_HEADER],
    /// Which bytes of the bundle follow.
    pub piece: Range<usize>,
}

/// The fragments of one bundle, in order.
#[derive(Clone, Debug)]
pub struct Fragments {
    id: BundleId,
    shape: Shape,
    next: u8,
}

/// The bundle cannot be cut into payloads of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bundle of {len} bytes cannot be cut into fragments of at most {payload} bytes")]
pub struct UncuttableError {
    /// The bundle's length.
    pub len: usize,
    /// The largest payload of a record.
    pub payload: usize,
}

impl Fragments {
    /// Cuts a bundle of `len` bytes into the fewest fragments of at most `payload` bytes, all equally long but the
    /// last, which may be a little shorter.
    ///
    /// # Errors
    /// When the bundle fits whole, is longer than [`LONGEST_BUNDLE`], or would need more than [`MOST_FRAGMENTS`].
    pub fn new(id: BundleId, len: usize, payload: usize) -> Result<Self, UncuttableError> {
        let shape = payload
            .checked_sub(FRAGMENT_HEADER)
            .filter(|&room| room > 0 && len > payload)
            .and_then(|room| Shape::new(len, len.div_ceil(room)))
            .ok_or(UncuttableError { len, payload })?;
        Ok(Self { id, shape, next: 0 })
    }
}

impl Iterator for Fragments {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        let piece = self.shape.piece(self.next)?;
        let header = Header { id: self.id, shape: self.shape, index: self.next }.to_bytes();
        self.next += 1;
        Some(Fragment { header, piece })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.shape.count - self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fragments {}

/// How a bundle is cut: its length, and the number of its pieces, none of them empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    len: u32,
    count: u8,
}

impl Shape {
    /// Returns the shape, if a bundle may have it.
    fn new(len: usize, count: usize) -> Option<Self> {
        let is_possible = (2..=MOST_FRAGMENTS).contains(&count) && count <= len;
        // Of 5 bytes, 4 equal pieces would leave none for the last.
        let fills_all = is_possible && len.div_ceil(len.div_ceil(count)) == count;
        (len <= LONGEST_BUNDLE && fills_all).then_some(Self { len: len as u32, count: count as u8 })
    }

    pub(crate) fn len(self) -> usize {
        self.len as usize
    }

    pub(crate) fn count(self) -> u8 {
        self.count
    }

    /// Returns the bytes of a piece, if there is one of this index.
    fn piece(self, index: u8) -> Option<Range<usize>> {
        let longest = self.len().div_ceil(self.count.into());
        let start = usize::from(index) * longest;
        (index < self.count).then(|| start..self.len().min(start + longest))
    }
}

/// What stands in front of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: BundleId,
    pub(crate) shape: Shape,
    pub(crate) index: u8,
}

/// Why the payload of a fragment record is no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum MalformedFragment {
    /// It ends before its piece begins.
    #[error("fragment of {0} bytes is cut short")]
    Short(usize),
    /// No bundle is of this length.
    #[error("fragment of a bundle of {0} bytes, which none has")]
    BundleLength(u32),
    /// A bundle of this length has not as many pieces, or not as few.
    #[error("fragment of a bundle in {count} pieces, which {len} bytes cannot be cut into")]
    Count {
        /// The bundle's length.
        len: u32,
        /// The number of pieces.
        count: u8,
    },
    /// The piece is none of the bundle's.
    #[error("fragment {index} of {count}")]
    Index {
        /// The piece's index.
        index: u8,
        /// The number of pieces.
        count: u8,
    },
    /// The piece is not of the length that it has in a bundle of this shape.
    #[error("fragment of {found} bytes where {expected} belong")]
    PieceLength {
        /// The bytes behind the header.
        found: usize,
        /// The bytes that belong there.
        expected: usize,
    },
}

impl Header {
    fn to_bytes(self) -> [u8; FRAGMENT_HEADER] {
        let mut bytes = [0; FRAGMENT_HEADER];
        bytes[..4].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.shape.len.to_le_bytes());
        bytes[8..].copy_from_slice(&[self.index, self.shape.count]);
        bytes
    }

    /// Reads a fragment; returns its header, which bytes of the bundle it carries, and these.
    pub(crate) fn read(payload: &[u8]) -> Result<(Self, Range<usize>, &[u8]), MalformedFragment> {
        let short = MalformedFragment::Short(payload.len());
        let (id, rest) = payload.split_first_chunk().ok_or(short)?;
        let (len, rest) = rest.split_first_chunk().ok_or(short)?;
        let (&[index, count], bytes) = rest.split_first_chunk().ok_or(short)?;
        let (id, len) = (BundleId(u32::from_le_bytes(*id)), u32::from_le_bytes(*len));
        let length = usize::try_from(len).ok().filter(|len| (2..=LONGEST_BUNDLE).contains(len));
        let length = length.ok_or(MalformedFragment::BundleLength(len))?;
        let shape =
            Shape::new(length, count.into()).ok_or(MalformedFragment::Count { len, count })?;
        let piece = shape.piece(index).ok_or(MalformedFragment::Index { index, count })?;
        if bytes.len() != piece.len() {
            let (found, expected) = (bytes.len(), piece.len());
            return Err(MalformedFragment::PieceLength { found, expected });
        }
        Ok((Self { id, shape, index }, piece, bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_of_1500_goes_in_two_equal_halves() {
        let fragments = Fragments::new(BundleId(7), 1514, 1418).unwrap();
        let pieces: Vec<_> = fragments.map(|fragment| fragment.piece).collect();
        assert_eq!(pieces, [0..757, 757..1514]);
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        for (len, payload) in [
            (0, 100),
            (100, 100),
            (100, FRAGMENT_HEADER),
            (100, 0),
            (LONGEST_BUNDLE + 1, 60_000),
            (MOST_FRAGMENTS + 1, FRAGMENT_HEADER + 1),
        ] {
            let refused = Fragments::new(BundleId(0), len, payload).err();
            assert_eq!(refused, Some(UncuttableError { len, payload }));
        }
        assert!(Fragments::new(BundleId(0), LONGEST_BUNDLE, 1150).is_ok());
    }

    #[test]
    fn what_no_sender_writes_is_refused_with_its_reason() {
        let fragment = |len: u32, index, count, piece: usize| {
            let mut bytes = [[9, 0, 0, 0], len.to_le_bytes()].concat();
            bytes.extend([index, count]);
            bytes.resize(FRAGMENT_HEADER + piece, 0);
            Header::read(&bytes).map(|(_, piece, _)| piece)
        };
        use MalformedFragment::{BundleLength, Count, Index, PieceLength};
        for (len, index, count, piece, expected) in [
            (1000, 0, 2, 500, Ok(0..500)),
            (1001, 1, 2, 500, Ok(501..1001)),
            (0, 0, 2, 0, Err(BundleLength(0))),
            (1, 0, 2, 1, Err(BundleLength(1))),
            (81_921, 0, 2, 40_961, Err(BundleLength(81_921))),
            (u32::MAX, 0, 2, 10, Err(BundleLength(u32::MAX))),
            (1000, 0, 0, 1000, Err(Count { len: 1000, count: 0 })),
            (1000, 0, 1, 1000, Err(Count { len: 1000, count: 1 })),
            (1000, 0, 129, 8, Err(Count { len: 1000, count: 129 })),
            (5, 3, 4, 0, Err(Count { len: 5, count: 4 })),
            (1000, 2, 2, 500, Err(Index { index: 2, count: 2 })),
            (1000, 255, 2, 500, Err(Index { index: 255, count: 2 })),
            (1000, 0, 2, 499, Err(PieceLength { found: 499, expected: 500 })),
            (1001, 1, 2, 501, Err(PieceLength { found: 501, expected: 500 })),
            (1000, 0, 2, 0, Err(PieceLength { found: 0, expected: 500 })),
        ] {
            assert_eq!(fragment(len, index, count, piece), expected, "{len} {index}/{count}");
        }
        for len in 0..FRAGMENT_HEADER {
            assert_eq!(Header::read(&[0; 9][..len]), Err(MalformedFragment::Short(len)));
        }
    }

    proptest! {
        #[test]
        fn the_fewest_pieces_cover_a_bundle_once(
            id: u32,
            len in 2..=LONGEST_BUNDLE,
            payload in 650_usize..9000,
        ) {
            prop_assume!(len > payload);
            let fragments = Fragments::new(BundleId(id), len, payload).unwrap();
            prop_assert_eq!(fragments.len(), len.div_ceil(payload - FRAGMENT_HEADER));
            let (mut covered, mut longest) = (0, 0);
            for fragment in fragments {
                prop_assert_eq!(fragment.piece.start, covered);
                prop_assert!(!fragment.piece.is_empty());
                prop_assert!(FRAGMENT_HEADER + fragment.piece.len() <= payload);
                longest = longest.max(fragment.piece.len());
                prop_assert!(fragment.piece.len() == longest || fragment.piece.end == len);
                let mut bytes = fragment.header.to_vec();
                bytes.resize(FRAGMENT_HEADER + fragment.piece.len(), 0);
                let (header, piece, _) = Header::read(&bytes).unwrap();
                prop_assert_eq!((header.id, piece), (BundleId(id), fragment.piece.clone()));
                covered = fragment.piece.end;
            }
            prop_assert_eq!(covered, len);
        }

        #[test]
        fn what_is_read_is_what_a_sender_writes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok((header, piece, rest)) = Header::read(&bytes) {
                prop_assert_eq!(&header.to_bytes()[..], &bytes[..FRAGMENT_HEADER]);
                prop_assert_eq!(piece.len(), rest.len());
                prop_assert!(piece.end <= header.shape.len());
            }
        }
    }
}
