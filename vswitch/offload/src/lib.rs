//! Work that a sender left to others: unfinished checksums and segmentation. Reads and writes virtio-net
//! headers, and finishes frames in software for receivers that promise nothing. Holds no queue and merges
//! no segments.

mod checksum;
mod layers;
mod segments;
#[cfg(test)]
mod super_frame;
mod vnet;

pub use checksum::{finish_checksum, sum};
pub use segments::Segments;
pub use vnet::VnetHeader;
