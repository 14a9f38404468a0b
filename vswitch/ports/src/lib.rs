//! Every file descriptor of the data path: TAP devices, packet sockets, streams. The only crate with
//! `unsafe`. Takes no forwarding decision and knows no VLAN mode.

mod queue;

pub use queue::{ARENA, BURST, Burst, Fault, Job, Opened, Receive, Refused, RxFrame, Scratch, Tally, Transmit};
