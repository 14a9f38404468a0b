//! Every file descriptor of the data path: TAP devices, packet sockets, AF_XDP, streams, guests' shared memory, a
//! tunnel's UDP sockets. The only crate with `unsafe`. Takes no forwarding decision and knows no VLAN mode.

mod builder;
mod copy;
mod egress;
mod error;
mod event;
pub mod link;
pub mod packet;
pub mod peer;
mod queue;
mod reader;
pub mod stream;
mod sys;
pub mod tap;
pub mod udp;
pub mod vhost;
pub mod xdp;

pub use builder::Builder;
pub use error::OpenError;
pub use queue::{
    ARENA, BURST, Burst, Fault, Job, Opened, Receive, Refused, RxFrame, Scratch, Tally, Transmit,
};
pub use reader::Reader;
