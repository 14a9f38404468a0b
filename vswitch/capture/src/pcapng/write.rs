//! Blocks, appended to a buffer in the machine's byte order.

use super::{
    BYTE_ORDER, COMMENT, END_OF_OPTIONS, FRAMING, INTERFACE, INTERFACE_DESCRIPTION,
    INTERFACE_FILTER, INTERFACE_NAME, INTERFACE_RESOLUTION, LINKTYPE_ETHERNET, PACKET,
    PACKET_FLAGS, PACKET_HEAD, SECTION, SECTION_APPLICATION, STATISTICS, STATISTICS_ACCEPTED,
    STATISTICS_END, STATISTICS_LOST, STATISTICS_RECEIVED, STATISTICS_START,
};
use crate::Way;

/// Bytes of a text at most; longer ones are cut.
const TEXT_MAX: usize = 1024;
/// Nanoseconds: a power of ten.
const RESOLUTION: u8 = 9;

/// Where frames were captured.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its short name.
    pub name: &'a str,
    /// What it is.
    pub description: &'a str,
    /// Bytes of a frame that are kept at most; 0 keeps all.
    pub snaplen: u32,
    /// The filter, where there is one.
    pub filter: &'a str,
}

/// A captured frame.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The number of its interface, in the order of the interfaces' blocks.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Bytes that it had.
    pub len: u32,
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// Which way it went past the port.
    pub way: Way,
    /// What is to be said about it.
    pub comment: Option<&'a str>,
}

/// What became of an interface's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When the capture began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Frames that were to be captured, lost ones included.
    pub received: u64,
    /// Frames that were lost because nobody took them in time.
    pub lost: u64,
    /// Frames that the filter let through.
    pub accepted: u64,
}

/// Appends the block that a file begins with.
pub fn put_section(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION, |out| {
        out.extend(BYTE_ORDER.to_ne_bytes());
        // Version 1.0.
        out.extend(1_u16.to_ne_bytes());
        out.extend(0_u16.to_ne_bytes());
        // The section's length is not known.
        out.extend(u64::MAX.to_ne_bytes());
        put_text(out, SECTION_APPLICATION, application);
        put_option(out, END_OF_OPTIONS, &[]);
    });
}

/// Appends the block of an interface; the first one has number 0.
pub fn put_interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    block(out, INTERFACE, |out| {
        out.extend(LINKTYPE_ETHERNET.to_ne_bytes());
        out.extend([0; 2]);
        out.extend(interface.snaplen.to_ne_bytes());
        put_text(out, INTERFACE_NAME, interface.name);
        put_text(out, INTERFACE_DESCRIPTION, interface.description);
        put_option(out, INTERFACE_RESOLUTION, &[RESOLUTION]);
        if !interface.filter.is_empty() {
            // The first byte says that a text of pcap's syntax follows.
            let filter = clean(interface.filter);
            put_option(out, INTERFACE_FILTER, &[&[0], filter.as_bytes()].concat());
        }
        put_option(out, END_OF_OPTIONS, &[]);
    });
}

/// Appends the block of a frame.
pub fn put_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    out.reserve(FRAMING + PACKET_HEAD + packet.bytes.len() + 64);
    block(out, PACKET, |out| {
        out.extend(packet.interface.to_ne_bytes());
        put_time(out, packet.time);
        out.extend((packet.bytes.len() as u32).to_ne_bytes());
        out.extend(packet.len.to_ne_bytes());
        out.extend_from_slice(packet.bytes);
        pad(out, packet.bytes.len());
        if let Some(comment) = packet.comment {
            put_text(out, COMMENT, comment);
        }
        let direction: u32 = match packet.way {
            Way::In => 1,
            Way::Out => 2,
        };
        put_option(out, PACKET_FLAGS, &direction.to_ne_bytes());
        put_option(out, END_OF_OPTIONS, &[]);
    });
}

/// Appends what became of an interface's frames.
pub fn put_statistics(out: &mut Vec<u8>, interface: u32, statistics: &Statistics) {
    block(out, STATISTICS, |out| {
        out.extend(interface.to_ne_bytes());
        put_time(out, statistics.end);
        for (code, time) in [(STATISTICS_START, statistics.start), (STATISTICS_END, statistics.end)]
        {
            let mut bytes = Vec::with_capacity(8);
            put_time(&mut bytes, time);
            put_option(out, code, &bytes);
        }
        for (code, count) in [
            (STATISTICS_RECEIVED, statistics.received),
            (STATISTICS_LOST, statistics.lost),
            (STATISTICS_ACCEPTED, statistics.accepted),
        ] {
            put_option(out, code, &count.to_ne_bytes());
        }
        put_option(out, END_OF_OPTIONS, &[]);
    });
}

/// Appends a block: its type, its whole length, its body, and the length again.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend(kind.to_ne_bytes());
    out.extend([0; 4]);
    body(out);
    let len = (out.len() + 4 - begin) as u32;
    out.extend(len.to_ne_bytes());
    out[begin + 4..begin + 8].copy_from_slice(&len.to_ne_bytes());
}

/// A time stands with its upper half in front, whatever the byte order.
fn put_time(out: &mut Vec<u8>, time: u64) {
    out.extend(((time >> 32) as u32).to_ne_bytes());
    out.extend((time as u32).to_ne_bytes());
}

fn put_text(out: &mut Vec<u8>, code: u16, text: &str) {
    put_option(out, code, clean(text).as_bytes());
}

fn put_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_ne_bytes());
    out.extend((value.len() as u16).to_ne_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Everything ends on four bytes.
fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend(std::iter::repeat_n(0, len.wrapping_neg() % 4));
}

/// Returns a text that no reader can take for more than a text: of bounded length, without control characters.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(TEXT_MAX));
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if clean.len() + c.len_utf8() > TEXT_MAX {
            break;
        }
        clean.push(c);
    }
    clean
}
