//! A front-end of vhost-user for tests that misuse one: it starts the ring that a guest sends by, and breaks it. QEMU
//! `docs/interop/vhost-user.rst`, virtio 1.2 §2.7.

use std::{
    fs::File,
    io::{self, IoSlice, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    path::Path,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::{MemfdFlags, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

use crate::PATIENCE;

const MEMORY: u64 = 1 << 20;
/// Where the memory begins in this process, as far as the other end is told.
const USER: u64 = 1 << 40;
const AVAIL: u64 = 0x1000;
const USED: u64 = 0x2000;
const SIZE: u32 = 256;
/// The ring that the first queue pair of a guest sends by.
const RING: u32 = 1;
/// VERSION_1 and PROTOCOL_FEATURES.
const FEATURES: u64 = 1 << 32 | 1 << 30;

/// A front-end with the memory of a guest that there is not.
#[derive(Debug)]
pub struct FrontEnd {
    socket: UnixStream,
    memory: File,
    kick: OwnedFd,
    call: OwnedFd,
    err: OwnedFd,
}

impl FrontEnd {
    /// Connects and describes its memory.
    ///
    /// # Errors
    /// When the port takes nobody.
    ///
    /// # Panics
    /// When the kernel gives no memory.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        let memory = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).expect("memory"));
        memory.set_len(MEMORY).expect("memory");
        let event =
            || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an event");
        let front_end = Self { socket, memory, kick: event(), call: event(), err: event() };
        front_end.send(3, &[], None)?;
        front_end.send(2, &FEATURES.to_ne_bytes(), None)?;
        let words = [1, 0, MEMORY, USER, 0];
        let table: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        front_end.send(5, &table, Some(front_end.memory.as_fd()))?;
        Ok(front_end)
    }

    /// Starts the ring anew, makes a buffer available that lies in no memory, and waits until the port has found that
    /// out.
    ///
    /// # Errors
    /// When the port hangs up.
    ///
    /// # Panics
    /// When it does not notice.
    pub fn break_ring(&mut self) -> io::Result<()> {
        self.write(0, &[0; 0x3000]);
        self.send(8, &pair(RING, SIZE), None)?;
        let places = [USER, USER + USED, USER + AVAIL, 0];
        let places = places.iter().flat_map(|place: &u64| place.to_ne_bytes());
        self.send(9, &pair(RING, 0).into_iter().chain(places).collect::<Vec<_>>(), None)?;
        let ring = u64::from(RING).to_ne_bytes();
        for (code, event) in [(14, &self.err), (13, &self.call), (12, &self.kick)] {
            self.send(code, &ring, Some(event.as_fd()))?;
        }
        self.send(18, &pair(RING, 1), None)?;
        // A descriptor of 64 bytes behind all memory; the first entry of the available ring is 0 and so names it.
        self.write(0, &(MEMORY * 2).to_le_bytes());
        self.write(8, &64_u32.to_le_bytes());
        self.write(AVAIL + 2, &1_u16.to_le_bytes());
        rustix::io::write(&self.kick, &1_u64.to_ne_bytes())?;
        let mut wait =
            [PollFd::new(&self.err, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).expect("a time");
        assert_ne!(poll(&mut wait, Some(&patience))?, 0, "the port does not notice");
        // Nothing was asked: it has hung up, which a port does as long as somebody else is connected.
        if wait[0].revents().is_empty() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        rustix::io::read(&self.err, &mut [0; 8])?;
        // Stop it, or it could not be set up again.
        self.send(11, &pair(RING, 0), None)?;
        self.socket.read_exact(&mut [0; 20])
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, at).expect("memory can be written");
    }

    fn send(&self, code: u32, payload: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let header = [code, 1, payload.len() as u32].map(u32::to_ne_bytes).concat();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = fd.into_iter().collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let parts = [IoSlice::new(&header), IoSlice::new(payload)];
        sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn pair(first: u32, second: u32) -> Vec<u8> {
    [first.to_ne_bytes(), second.to_ne_bytes()].concat()
}
