//! Captures in files that tcpdump and Wireshark read: pcap, microseconds, little-endian, Ethernet
//! (draft-ietf-opsawg-pcap). Knows no other variant.

use std::{
    io::{self, Write},
    time::Duration,
};

const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: [u16; 2] = [2, 4];
const SNAPSHOT_MAX: u32 = 262_144;
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;

/// Writes a capture, one frame at a time.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins a capture.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut header = Vec::with_capacity(FILE_HEADER);
        header.extend(MAGIC.to_le_bytes());
        header.extend(VERSION.iter().flat_map(|part| part.to_le_bytes()));
        for word in [0, 0, SNAPSHOT_MAX, ETHERNET] {
            header.extend(word.to_le_bytes());
        }
        out.write_all(&header)?;
        Ok(Self { out })
    }

    /// Appends a frame that came `since` the begin of the capture, in one write.
    ///
    /// # Errors
    /// When it cannot be written, or is longer than a capture may hold.
    pub fn write(&mut self, since: Duration, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).ok().filter(|length| *length <= SNAPSHOT_MAX);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(FRAME_HEADER + frame.len());
        for word in [seconds, since.subsec_micros(), length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
        self.out.write_all(&bytes)
    }
}

/// Returns the frames of a capture that [`Writer`] wrote, as far as it is whole.
pub fn frames(capture: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = capture.get(FILE_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, behind) = rest.split_at_checked(FRAME_HEADER)?;
        let length = u32::from_le_bytes(header[8..12].try_into().ok()?);
        let (frame, next) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        rest = next;
        Some(frame)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(frames: &[&[u8]]) -> Vec<u8> {
        let mut capture = Vec::new();
        let mut writer = Writer::new(&mut capture).unwrap();
        for frame in frames {
            writer.write(Duration::from_micros(1_500_000), frame).unwrap();
        }
        capture
    }

    #[test]
    fn capture_has_the_layout_that_others_read() {
        let expected = [
            &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..],
            &[0; 8],
            &[0, 0, 4, 0, 1, 0, 0, 0],
            &[1, 0, 0, 0, 0x20, 0xa1, 7, 0, 3, 0, 0, 0, 3, 0, 0, 0],
            b"abc",
        ];
        assert_eq!(written(&[b"abc"]), expected.concat());
    }

    #[test]
    fn frames_come_back_until_one_is_cut_short() {
        let capture = written(&[b"one", b"", b"three"]);
        assert_eq!(frames(&capture).collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        assert_eq!(frames(&capture[..capture.len() - 1]).count(), 2);
        assert_eq!(frames(&capture[..10]).count(), 0);
    }
}
