//! The framing of QEMU's stream sockets: any bytes, cut anywhere. The frames are those that a decoder with the
//! whole stream before it would find, and the decoder always has room to go on.
//!
//! Input: how many bytes each read brings (1 each, used in turn, begun with their number), then the stream.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use weft_ports::stream::{BadLength, Decoder, Unit};

/// What the decoder may carry, and what it may skip: `vswitch/ports/src/stream/decoder.rs`.
const CARRIED: usize = 70 * 1024;
const SKIPPED: usize = 128 * 1024;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((&reads, rest)) = data.split_first() else { return Corpus::Reject };
    let Some((reads, stream)) = rest.split_at_checked(reads.into()) else { return Corpus::Reject };
    // Long frames without long inputs: the stream's last byte goes on for a while.
    let mut stream = stream.to_vec();
    let last = stream.last().copied().unwrap_or_default();
    stream.resize(stream.len() + usize::from(reads.len() as u8 % 8) * 20_000, last);
    assert_eq!(decode(&stream, reads), whole(&stream));
    Corpus::Keep
});

type Frames = (Vec<Option<Vec<u8>>>, Option<BadLength>);

fn decode(stream: &[u8], reads: &[u8]) -> Frames {
    let mut decoder = Decoder::new();
    let (mut frames, mut rest) = (Vec::new(), stream);
    // A large read now and then, so that many frames stand in the buffer.
    let mut reads = reads
        .iter()
        .map(|&read| if read > 200 { usize::from(read) * 500 } else { read.into() })
        .cycle();
    loop {
        loop {
            match decoder.next() {
                Ok(Some(Unit::Frame(place))) => frames.push(Some(decoder.bytes(place).to_vec())),
                Ok(Some(Unit::Oversize)) => frames.push(None),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error), "an error lasts");
                    return (frames, Some(error));
                }
            }
        }
        assert!(!decoder.holds_more(), "what is complete has been taken");
        if rest.is_empty() {
            return (frames, None);
        }
        let room = decoder.room();
        assert!(!room.is_empty());
        let read = reads.next().unwrap_or(usize::MAX).clamp(1, room.len()).min(rest.len());
        room[..read].copy_from_slice(&rest[..read]);
        decoder.filled(read);
        rest = &rest[read..];
    }
}

/// The same with everything at hand.
fn whole(mut stream: &[u8]) -> Frames {
    let mut frames = Vec::new();
    while let Some((&length, rest)) = stream.split_first_chunk() {
        let length = u32::from_be_bytes(length);
        let len = length as usize;
        if len > SKIPPED {
            return (frames, Some(BadLength(length)));
        }
        if len > CARRIED {
            frames.push(None);
        } else if len > rest.len() {
            break;
        } else {
            frames.push(Some(rest[..len].to_vec()));
        }
        stream = &rest[len.min(rest.len())..];
    }
    (frames, None)
}
