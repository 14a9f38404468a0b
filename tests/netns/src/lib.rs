//! Drives the real `weftd` and `weftctl` with real kernel devices and real QEMU guests, each test in network
//! namespaces of its own. Everything here fails by panicking, since every caller is a test. Decides nothing about
//! frames and links no code of the switch: it sees what a user sees. Of the tunnel and of WireGuard it links the
//! cryptography, to play peers that lie.

mod bed;
mod binaries;
mod client;
mod crowd;
mod ctl;
mod daemon;
mod flood;
mod flow;
mod forger;
pub mod frame;
mod front_end;
mod guest;
mod host;
pub mod http;
mod lab;
pub mod liar;
mod libvirt;
mod machine;
mod namespace;
mod nat;
mod nic;
mod process;
mod qmp;
mod sink;
mod sites;
mod stream;
mod terminal;
mod wait;
pub mod watch;
mod wire;

pub use bed::{Bed, Delivery, Kind, Member};
pub use client::{Client, ClientKey, Program, pings, preshared_key};
pub use crowd::{Caller, Crowd, Implementation, Stock};
pub use ctl::{Ctl, Output};
pub use daemon::Daemon;
pub use flood::Flood;
pub use flow::Flow;
pub use forger::{Forger, send_together};
pub use front_end::FrontEnd;
pub use guest::{Answer, BootFiles, Guest, GuestNic, KERNEL_ARGUMENTS, VhostEnd, newer_qemu};
pub use host::Host;
pub use lab::Lab;
pub use liar::Liar;
pub use libvirt::Libvirt;
pub use machine::Machine;
pub use namespace::Namespace;
pub use nat::Nat;
pub use nic::Nic;
pub use process::Process;
pub use sink::TcpSink;
pub use sites::{Site, Sites, Underlay, Version};
pub use stream::StreamGuest;
pub use terminal::{Shown, on_terminal, typed_to};
pub use wait::{PATIENCE, eventually, until, until_some, until_within};
pub use watch::{Datagram, Watch};
pub use wire::Wire;

/// Makes two tests of each function that takes a number of workers: one with a worker, one with two.
#[macro_export]
macro_rules! each_worker_count {
    ($($name:ident),* $(,)?) => {
        mod one_worker {
            $(#[test] fn $name() { super::$name(1); })*
        }
        mod two_workers {
            $(#[test] fn $name() { super::$name(2); })*
        }
    };
}
