//! The back-end of vhost-user: a guest's virtio-net rings in shared memory, served here. virtio 1.2 §2.7 and §5.1; QEMU
//! `docs/interop/vhost-user.rst`. What is offered, and what is not, stands in `features.rs`.
//!
//! A [`Session`] talks to the front-end on a thread of its own; workers use the rings as [`Receive`] and [`Transmit`].
//! Both are hostile: whatever a driver writes is copied before it is checked, whatever a front-end sends is checked
//! before it is used. A driver that leaves no sense in a ring stops that ring until it begins anew.

mod channel;
mod device;
mod features;
mod guard;
mod inflight;
mod memory;
pub mod message;
mod piece;
mod receive;
mod ring;
mod session;
mod transmit;

use std::{
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
};

use self::{channel::Channel, device::Device, receive::FromGuest, transmit::ToGuest};
pub use self::{
    features::{OFFERED, PROTOCOL_OFFERED},
    ring::Broken,
    session::{Ended, News, Refused, Session},
};
use crate::{OpenError, Opened, Receive, Transmit, error::to};

/// Queue pairs that a port may have.
pub const PAIRS_MAX: usize = 128;

/// A connected front-end.
pub struct Attached {
    /// The port's queues.
    pub opened: Opened,
    /// The conversation, to be run on a thread of its own.
    pub session: Session,
    /// The way to end it.
    pub line: Line,
}

/// The connection of a front-end; dropping it hangs up, which ends the session.
#[derive(Debug)]
pub struct Line {
    socket: UnixStream,
}

impl Drop for Line {
    fn drop(&mut self) {
        // It fails for a connection that has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Takes the connected socket of a front-end that may use this many queue pairs.
///
/// # Errors
/// [`OpenError`] when descriptors cannot be had.
pub fn attach(socket: OwnedFd, pairs: usize) -> Result<Attached, OpenError> {
    if !(1..=PAIRS_MAX).contains(&pairs) {
        return Err(OpenError::BadPairs(pairs));
    }
    let line = socket.try_clone().map_err(to("double the socket's descriptor"))?.into();
    let channel = Channel::new(socket).map_err(to("make the socket wait"))?;
    let device = Arc::new(Device::new(2 * pairs).map_err(to("make event descriptors"))?);
    let rx = |pair| Box::new(FromGuest::new(device.clone(), 2 * pair + 1)) as Box<dyn Receive>;
    let tx = |pair| Box::new(ToGuest::new(device.clone(), 2 * pair)) as Box<dyn Transmit>;
    let opened = Opened { rx: (0..pairs).map(rx).collect(), tx: (0..pairs).map(tx).collect() };
    Ok(Attached { opened, session: Session::new(channel, device), line: Line { socket: line } })
}
