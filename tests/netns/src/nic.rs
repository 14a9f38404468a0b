//! The user's side of a TAP device, held exactly as QEMU holds a guest's: frames with their tags in band, no
//! virtio-net header.

use std::{io::ErrorKind, os::fd::AsRawFd, time::Instant};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use tun_tap::{Iface, Mode};

use crate::{Namespace, Wire};

/// A guest's network card: a TAP device whose kernel side is a `netdev` port. Gone with its owner.
#[derive(Debug)]
pub struct Nic {
    iface: Iface,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
}

impl Nic {
    /// Opens a TAP device in a namespace and sets it up.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[track_caller]
    pub fn open_up(space: &Namespace, device: &str) -> Self {
        let nic = Self::open(space, device);
        space.run(&format!("ip link set {device} up"));
        nic
    }

    /// Opens a TAP device in a namespace and leaves it down, as QEMU without a script does.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[track_caller]
    pub fn open(space: &Namespace, device: &str) -> Self {
        let iface = space
            .enter(|| Iface::without_packet_info(device, Mode::Tap))
            .unwrap_or_else(|error| panic!("TAP {device} cannot be opened: {error}"));
        iface.set_non_blocking().expect("a TAP can be read without blocking");
        let poll = Poll::new().expect("epoll is there");
        let source = iface.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&source), Token(0), Interest::READABLE)
            .expect("a TAP can be waited for");
        Self { iface, poll, events: Events::with_capacity(1), buffer: vec![0; 80 * 1024] }
    }

    /// Returns the device's name.
    pub fn device(&self) -> &str {
        self.iface.name()
    }

    /// Sends a frame that the kernel may refuse.
    ///
    /// # Errors
    /// Why it does.
    pub fn try_send(&mut self, frame: &[u8]) -> std::io::Result<()> {
        loop {
            match self.iface.send(frame) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    std::thread::yield_now();
                }
                other => return other.map(drop),
            }
        }
    }
}

impl Wire for Nic {
    #[track_caller]
    fn send(&mut self, frame: &[u8]) {
        if let Err(error) = self.try_send(frame) {
            panic!("{} takes no frame of {} bytes: {error}", self.device(), frame.len());
        }
    }

    fn receive(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        loop {
            match self.iface.recv(&mut self.buffer) {
                Ok(len) => return Some(self.buffer[..len].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{} cannot be read: {error}", self.device()),
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            match self.poll.poll(&mut self.events, Some(left)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    panic!("epoll failed: {error}")
                }
                _ => {}
            }
        }
    }
}
