//! Stock WireGuard clients on a VLAN: an IP adapter between peers and Ethernet, cryptokey routing, and the protocol of the
//! WireGuard paper by an engine behind a trait. Sans-I/O: datagrams, frames and time go in, datagrams and frames come out.
//! Knows no switch, no tag and no file; the engine that is built in reads a clock of its own.

mod adapter;
mod allowed;
mod arp;
mod boring;
mod engine;
mod fragment;
mod icmp;
mod mss;
mod nd;
mod neighbours;
mod outbox;
mod packet;
mod peer;
mod refusal;
mod server;
#[cfg(test)]
mod test;

pub use adapter::{Adapter, AdapterConfig, Onward};
pub use allowed::AllowedIps;
pub use boring::{Boring, BoringGate};
pub use engine::{Admitted, Engine, Gate, LONGEST_MESSAGE, Opened, RECORD_OVERHEAD, Ticked};
pub use outbox::{Outbox, To};
pub use peer::{Arrived, Endpoint, Peer, PeerId, PeerStatus, Sealed};
pub use refusal::Refusal;
pub use server::{Handled, Message, Peers, Server};
