//! The control plane: from the configuration to open ports and a plan for the workers, and back to answers.
//! One owner of all state, behind one lock; nothing here is on the way of a frame.

mod allowance;
mod candidate;
mod captures;
mod change;
mod events;
mod guests;
mod history;
mod lines;
mod links;
mod names;
mod peers;
mod ports;
mod scene;
mod secrets;
mod session;
mod sockets;
mod state;
mod tend;
mod tunnels;
mod uapi;
mod unknown;
mod uplinks;
mod view;
mod vms;
mod wireguard;

#[cfg(test)]
mod tests;

pub(crate) use captures::{Asker, CaptureError, Stream, capture, follow};
pub(crate) use change::{ChangeError, Permanence};
pub(crate) use peers::{ping, report, reset};
pub(crate) use state::{Control, Shared};
pub(crate) use tend::{Told, tend};
pub(crate) use tunnels::{Happened, Tunnels};
pub(crate) use uapi::{device, set};
pub(crate) use unknown::Unknown;
pub(crate) use uplinks::adopt;
pub(crate) use view::{FdbFilter, ViewError};
pub(crate) use vms::look_for_vms;
