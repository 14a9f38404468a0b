//! Tunnels to other hosts: ports of the switch whose far side is another host's switch. Workers seal and open records
//! by what the keeper, one thread, puts in the directory; handshakes, timers and the path's MTU are the keeper's.
//!
//! ```text
//! Switch::forward ─► Outgoing::send ─► udp::Batch       worker
//! udp::Records ─► Incoming::serve ─► Switch::forward    worker
//!                     │ handshakes, probes, first records
//!                     ▼
//!                  Keeper ─► Directory                  one thread
//! ```

mod command;
mod counts;
mod directory;
mod incoming;
mod keeper;
mod kept;
mod notes;
mod outgoing;
mod stamps;
#[cfg(test)]
mod tests;

pub(crate) use command::{Command, News, PeerReport, Report};
pub(crate) use counts::Counts;
pub(crate) use directory::{Carried, Directory, Peer};
pub(crate) use incoming::Incoming;
pub(crate) use keeper::{Keeper, random};
pub(crate) use notes::{Notes, OVERLAY_MAX, OverlayMessage, notes};
pub(crate) use outgoing::{Outgoing, SharedSender};
pub(crate) use stamps::Stamps;
