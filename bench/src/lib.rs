//! Measures switches side by side: the kernel's, Open vSwitch, bare copiers, weft. Its [`lab`] also serves
//! the demo. Decides nothing about frames.

pub mod clock;
pub mod copier;
pub mod ear;
pub mod lab;
pub mod ovs;
pub mod peer;
pub mod probe;
pub mod report;
pub mod switch;
mod sys;
pub mod udp;
