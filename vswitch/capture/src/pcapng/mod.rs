//! The pcapng format, as much of it as captures of a switch need: one section, Ethernet interfaces, packets with
//! nanoseconds, direction and comment, statistics at the end. draft-ietf-opsawg-pcapng.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{Block, Blocks, BrokenPcapng};
pub use write::{
    Interface, Packet, Statistics, put_interface, put_packet, put_section, put_statistics,
};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

/// Options of every block.
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
/// Options of a section.
const SECTION_APPLICATION: u16 = 4;
/// Options of an interface.
const INTERFACE_NAME: u16 = 2;
const INTERFACE_DESCRIPTION: u16 = 3;
const INTERFACE_RESOLUTION: u16 = 9;
const INTERFACE_FILTER: u16 = 11;
/// Options of a packet.
const PACKET_FLAGS: u16 = 2;
/// Options of an interface's statistics.
const STATISTICS_START: u16 = 2;
const STATISTICS_END: u16 = 3;
const STATISTICS_RECEIVED: u16 = 4;
const STATISTICS_LOST: u16 = 5;
const STATISTICS_ACCEPTED: u16 = 6;

/// Bytes of a packet's block in front of the packet.
const PACKET_HEAD: usize = 28;
/// Bytes of a block around its body: type and length in front, length behind.
const FRAMING: usize = 12;
