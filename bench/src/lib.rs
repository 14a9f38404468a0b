//! Measures weft side by side with others: switches between two hosts, tunnels between two gateways. Its
//! [`lab`] also serves the demo. Decides nothing about frames.

pub mod apart;
pub mod clock;
pub mod copier;
pub mod ear;
mod gateways;
pub mod guest;
pub mod lab;
pub mod pcap;
pub mod probe;
pub mod report;
pub mod site;
pub mod storm;
pub mod switch;
mod sys;
pub mod turns;
pub mod udp;
mod userspace;
pub mod vhost;
pub mod vpn;
pub mod weft;
pub mod wireguard;
