//! The overlay: what travels between hosts inside a tunnel. Sees frames and addresses, no socket, key or clock.
//! `docs/overlay.md` describes the messages and the rules.

pub mod bundle;
mod event;
mod host;
mod log;
pub mod neighbour;
mod overlay;
mod peer;
pub mod probe;
mod segment;
mod station;
pub mod wire;

pub use event::{Event, Mismatch, Refusal};
pub use host::{HostKey, LocalPort, PeerId};
pub use overlay::{Answering, Overlay};
pub use peer::PeerSpec;
pub use segment::SegmentId;
pub use station::{FLAPPING, Hold, MOVES_MAX, Owner, SEQUENCE_MAX};
