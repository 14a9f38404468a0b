//! 802.1Q vocabulary: addresses, tags, heads of frames, and how a port maps frames to VLANs.
//! IEEE 802.1Q-2022 clauses 6.9 and 9. Holds no tables and takes no forwarding decision.

mod head;
mod mac;
mod mode;
mod offload;
mod set;
mod tag;

pub use head::{ETHERNET_HEADER, HEAD_MAX, Head};
pub use mac::{MacAddr, ParseMacError};
pub use mode::{Native, PortVlan};
pub use offload::{BadOffload, Csum, Ecn, Gso, GsoKind, Offload};
pub use set::VlanSet;
pub use tag::{Priority, TAG_LEN, Tags, Tci, Tpid, VlanId, WireTag};
