//! Work that a sender left to others: unfinished checksums and segmentation. Reads and writes virtio-net
//! headers; finishes frames in software for receivers that promise nothing; cuts super-frames smaller and merges
//! segments where the promises stay; takes finished segments for unfinished ones where that helps. Holds no queue and no payload.

mod checksum;
mod cut;
pub mod ecn;
mod layers;
mod merge;
mod segments;
#[cfg(test)]
mod super_frame;
mod undo;
mod undone;
mod vnet;

pub use checksum::{finish_checksum, sum};
pub use cut::{Cut, Fit, Piece};
pub use merge::Merge;
pub use segments::Segments;
pub use undo::undo_checksum;
pub use undone::find_undone;
pub use vnet::VnetHeader;
