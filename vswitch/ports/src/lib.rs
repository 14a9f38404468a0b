//! Every file descriptor of the data path: TAP devices, packet sockets, streams. The only crate with
//! `unsafe`. Takes no forwarding decision and knows no VLAN mode.

mod egress;
mod error;
pub mod link;
pub mod packet;
pub mod peer;
mod queue;
pub mod stream;
mod sys;
pub mod tap;

pub use error::OpenError;
pub use queue::{
    ARENA, BURST, Burst, Fault, Job, Opened, Receive, Refused, RxFrame, Scratch, Tally, Transmit,
};
