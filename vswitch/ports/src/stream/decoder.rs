//! Takes a byte stream apart into frames, in place. QEMU `net/stream.c`: four bytes of length, big-endian, then
//! the frame. Does no input or output; its memory is one buffer, whatever arrives.

use std::ops::Range;

use crate::queue::LARGEST_FRAME;

/// Bytes that are read at once at most.
const BUFFER: usize = 128 * 1024;
/// The longest frame that is skipped; who announces a longer one does not speak this protocol.
const LONGEST_SKIPPED: usize = 128 * 1024;
const LENGTH: usize = 4;

/// The state between two reads of one connection.
pub struct Decoder {
    buffer: Box<[u8]>,
    /// The bytes that have been read and not been taken.
    begin: usize,
    end: usize,
    /// Bytes still to come of a frame that nobody wants.
    skip: usize,
}

/// What the stream held next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A frame, in these bytes of the buffer, until the next [`Decoder::room`].
    Frame(Range<usize>),
    /// A frame that is too long to be carried; it is skipped.
    Oversize,
}

/// The peer announced a frame of this length, which no frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer announced a frame of {0} bytes")]
pub struct BadLength(pub u32);

impl Decoder {
    /// Sets the memory aside.
    pub fn new() -> Self {
        const { assert!(LENGTH + LARGEST_FRAME <= BUFFER) };
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), begin: 0, end: 0, skip: 0 }
    }

    /// Returns where the next bytes of the stream belong; never empty once [`Decoder::next`] has returned `None`.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        &mut self.buffer[self.end..]
    }

    /// Takes note of bytes that were put at the beginning of the room.
    ///
    /// # Panics
    /// When they are more than the room had.
    pub fn filled(&mut self, bytes: usize) {
        assert!(bytes <= self.buffer.len() - self.end, "more bytes than there was room");
        self.end += bytes;
    }

    /// Takes the next unit that is complete; `None` when more has to be read first.
    ///
    /// # Errors
    /// [`BadLength`] when the stream makes no sense from here on; so does every later call.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frames borrow the decoder's buffer: no iterator"
    )]
    pub fn next(&mut self) -> Result<Option<Unit>, BadLength> {
        let skipped = self.skip.min(self.end - self.begin);
        self.skip -= skipped;
        self.begin += skipped;
        let Some(length) = self.announced() else { return Ok(None) };
        let body = self.begin + LENGTH;
        let len = length as usize;
        if len > LONGEST_SKIPPED {
            return Err(BadLength(length));
        }
        if len > LARGEST_FRAME {
            self.begin = body;
            self.skip = len;
            return Ok(Some(Unit::Oversize));
        }
        if self.end - body < len {
            return Ok(None);
        }
        self.begin = body + len;
        Ok(Some(Unit::Frame(body..body + len)))
    }

    /// Returns the bytes of a frame.
    pub fn bytes(&self, frame: Range<usize>) -> &[u8] {
        &self.buffer[frame]
    }

    /// Tells whether [`Decoder::next`] has something to say before more is read.
    pub fn holds_more(&self) -> bool {
        match self.announced() {
            _ if self.skip > 0 => self.end - self.begin > self.skip,
            Some(length) => {
                length as usize > LARGEST_FRAME || self.end - self.begin - LENGTH >= length as usize
            }
            None => false,
        }
    }

    /// Returns the length in front of the next frame, once all of it is there.
    fn announced(&self) -> Option<u32> {
        self.buffer[self.begin..self.end].first_chunk().map(|&length| u32::from_be_bytes(length))
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a stream in pieces; returns the frames, `None` for one that was skipped, and how it ended.
    fn decode(
        stream: &[u8],
        mut cut: impl FnMut() -> usize,
    ) -> (Vec<Option<Vec<u8>>>, Result<(), BadLength>) {
        let (mut decoder, mut frames, mut rest) = (Decoder::new(), Vec::new(), stream);
        loop {
            loop {
                let expected = decoder.holds_more();
                match decoder.next() {
                    Ok(Some(Unit::Frame(place))) => {
                        frames.push(Some(decoder.bytes(place).to_vec()))
                    }
                    Ok(Some(Unit::Oversize)) => frames.push(None),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
                assert!(expected || decoder.skip > 0, "a unit came that was not announced");
            }
            if rest.is_empty() {
                return (frames, Ok(()));
            }
            let room = decoder.room();
            assert!(!room.is_empty(), "no room for the rest of a frame");
            let taken = cut().clamp(1, room.len()).min(rest.len());
            room[..taken].copy_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            decoder.filled(taken);
        }
    }

    fn framed(len: usize, fill: u8) -> Vec<u8> {
        let mut stream = u32::try_from(len).unwrap().to_be_bytes().to_vec();
        stream.resize(LENGTH + len, fill);
        stream
    }

    #[test]
    fn every_length_arrives_or_is_skipped() {
        for len in [
            0,
            1,
            13,
            14,
            60,
            1514,
            65_549,
            LARGEST_FRAME,
            LARGEST_FRAME + 1,
            100_000,
            LONGEST_SKIPPED,
        ] {
            let stream = [framed(len, 7), framed(60, 8)].concat();
            let expected = (len <= LARGEST_FRAME).then(|| vec![7; len]);
            assert_eq!(
                decode(&stream, || usize::MAX),
                (vec![expected, Some(vec![8; 60])], Ok(())),
                "{len}"
            );
        }
    }

    #[test]
    fn a_length_that_no_frame_has_ends_the_stream_behind_what_came_before() {
        for length in [LONGEST_SKIPPED as u32 + 1, 0x4745_5420, u32::MAX] {
            let stream = [framed(60, 1), length.to_be_bytes().to_vec(), framed(60, 2)].concat();
            assert_eq!(decode(&stream, || 7), (vec![Some(vec![1; 60])], Err(BadLength(length))));
        }
    }

    proptest! {
        #[test]
        fn frames_are_the_same_wherever_the_stream_is_cut(
            lengths in prop::collection::vec(
                prop_oneof![4 => 0..200_usize, 3 => 1000..9000_usize, 1 => 60_000..LONGEST_SKIPPED], 0..20),
            cuts in prop::collection::vec(prop_oneof![1..9_usize, 1..3000_usize, 1..BUFFER], 1..50),
        ) {
            let stream: Vec<u8> = lengths.iter().zip(0..).flat_map(|(&len, fill)| framed(len, fill)).collect();
            let expected: Vec<_> =
                lengths.iter().zip(0..).map(|(&len, fill)| (len <= LARGEST_FRAME).then(|| vec![fill; len])).collect();
            let mut cuts = cuts.into_iter().cycle();
            prop_assert_eq!(decode(&stream, || cuts.next().unwrap()), (expected, Ok(())));
        }

        #[test]
        fn hostile_bytes_neither_panic_nor_hang(stream in prop::collection::vec(any::<u8>(), 0..4000)) {
            let _ = decode(&stream, || 100);
        }
    }
}
