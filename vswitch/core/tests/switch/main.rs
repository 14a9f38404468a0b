//! The switch as its users see it: frames in, frames out. What the forwarding database does by itself is tested
//! beside it.
#![cfg(not(loom))]

mod checks;
mod common;
mod guards;
mod modes;
mod news;
mod random;
mod reference;
mod tunnels;
