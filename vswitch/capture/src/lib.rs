//! Captured frames: the pcapng format, filters in pcap's syntax, and the addresses that a frame shows. All of it works on
//! bytes that were copied; where they come from and where they go is the daemon's and the client's business.

mod filter;
pub mod pcapng;

mod view;

pub use filter::{Filter, FilterError};
pub use view::{View, Way};
