//! Blocks, taken out of a stream as they become whole. Reads what [`put_section`](super::put_section) and its neighbours
//! write; of other blocks only the length.

use super::{
    BYTE_ORDER, COMMENT, END_OF_OPTIONS, FRAMING, INTERFACE, INTERFACE_NAME, PACKET, PACKET_FLAGS,
    PACKET_HEAD, SECTION, STATISTICS, STATISTICS_ACCEPTED, STATISTICS_LOST,
};
use crate::Way;

/// Bytes of a block at most: a frame of 64 KiB and all that can be said about it.
const BLOCK_MAX: usize = 1 << 20;

/// Bytes that are not pcapng, or not as it is written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is no pcapng of this machine")]
pub struct BrokenPcapng;

/// A stream that is divided into blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    bytes: Vec<u8>,
    /// How many of them were handed out.
    passed: usize,
    begun: bool,
}

/// What a block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// The file begins.
    Section,
    /// An interface, the first being number 0.
    Interface {
        /// Its short name.
        name: &'a str,
    },
    /// A frame.
    Packet {
        /// The number of its interface.
        interface: u32,
        /// Nanoseconds since 1970.
        time: u64,
        /// Bytes that it had.
        len: u32,
        /// Its first bytes.
        bytes: &'a [u8],
        /// Which way it went.
        way: Way,
        /// What is said about it.
        comment: Option<&'a str>,
    },
    /// What became of an interface's frames.
    Statistics {
        /// The number of the interface.
        interface: u32,
        /// Frames that were lost.
        lost: u64,
        /// Frames that were captured.
        accepted: u64,
    },
    /// Something else.
    Other,
}

impl Blocks {
    /// Adds bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.passed);
        self.passed = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next block that is whole, with its bytes.
    ///
    /// # Errors
    /// [`BrokenPcapng`] when what follows cannot be a block.
    #[expect(clippy::should_implement_trait, reason = "a block borrows the stream")]
    pub fn next(&mut self) -> Result<Option<(Block<'_>, &[u8])>, BrokenPcapng> {
        let rest = &self.bytes[self.passed..];
        let (Some(kind), Some(len)) = (number32(rest, 0), number32(rest, 4)) else {
            return Ok(None);
        };
        let len = len as usize;
        if !(FRAMING..=BLOCK_MAX).contains(&len)
            || !len.is_multiple_of(4)
            || (kind == SECTION) == self.begun
        {
            return Err(BrokenPcapng);
        }
        let Some(whole) = rest.get(..len) else { return Ok(None) };
        if number32(whole, len - 4) != Some(len as u32) {
            return Err(BrokenPcapng);
        }
        let block = read(kind, &whole[8..len - 4]).ok_or(BrokenPcapng)?;
        self.begun = true;
        self.passed += len;
        Ok(Some((block, whole)))
    }

    /// Returns how many bytes wait for the rest of their block.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.passed
    }
}

fn read(kind: u32, body: &[u8]) -> Option<Block<'_>> {
    Some(match kind {
        SECTION if number32(body, 0)? == BYTE_ORDER => Block::Section,
        SECTION => return None,
        INTERFACE => {
            let name = find(body.get(8..)?, INTERFACE_NAME).unwrap_or_default();
            Block::Interface { name: std::str::from_utf8(name).ok()? }
        }
        PACKET => {
            let captured = number32(body, 12)? as usize;
            let begin = PACKET_HEAD - 8;
            let bytes = body.get(begin..begin.checked_add(captured)?)?;
            let options = body.get(begin + captured.next_multiple_of(4)..)?;
            let comment = find(options, COMMENT).map(std::str::from_utf8).transpose().ok()?;
            let flags = find(options, PACKET_FLAGS).and_then(|flags| number32(flags, 0));
            Block::Packet {
                interface: number32(body, 0)?,
                time: u64::from(number32(body, 4)?) << 32 | u64::from(number32(body, 8)?),
                len: number32(body, 16)?,
                bytes,
                way: if flags? & 3 == 2 { Way::Out } else { Way::In },
                comment,
            }
        }
        STATISTICS => {
            let options = body.get(12..)?;
            let count = |code| {
                let bytes = find(options, code)?.first_chunk()?;
                Some(u64::from_ne_bytes(*bytes))
            };
            Block::Statistics {
                interface: number32(body, 0)?,
                lost: count(STATISTICS_LOST)?,
                accepted: count(STATISTICS_ACCEPTED)?,
            }
        }
        _ => Block::Other,
    })
}

/// Returns the value of an option.
fn find(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(&[a, b, c, d]) = options.first_chunk() {
        let (code, len) = (u16::from_ne_bytes([a, b]), usize::from(u16::from_ne_bytes([c, d])));
        let value = options.get(4..4 + len)?;
        if code == wanted {
            return Some(value);
        }
        if code == END_OF_OPTIONS {
            return None;
        }
        options = options.get(4 + len.next_multiple_of(4)..)?;
    }
    None
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
