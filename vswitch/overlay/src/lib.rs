//! The overlay: what travels between hosts inside a tunnel. Sees frames and addresses, no socket, key or clock.

pub mod bundle;
mod segment;

pub use segment::SegmentId;
