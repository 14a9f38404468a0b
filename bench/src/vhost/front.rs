//! A front-end that polls: shared memory with one pair of rings, and the messages by which a switch comes to serve
//! them. vhost-user protocol; virtio 1.2 §2.7 and §5.1.

use std::{
    io::{IoSlice, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::atomic::{Ordering, fence},
};

use anyhow::{Context, Result, ensure};
use rustix::{
    cmsg_space,
    event::{EventfdFlags, eventfd},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

use crate::sys::SharedMemory;

/// Bytes of the header before each frame.
pub(super) const HEADER: usize = 12;
/// Descriptors of a frame on its way out: headers, and two pieces of payload, as Linux lays them out.
const CHAIN: u16 = 3;
const PIECE: usize = 32 << 10;
/// Bytes that a frame on its way out may take.
const SLOT: usize = 68 << 10;
/// Bytes of a receive buffer: a page, as Linux makes them for streams.
const BUFFER: usize = 4096;
const TX_SIZE: u16 = 256;
const RX_SIZE: u16 = 1024;
const TX_RING: usize = 0;
const RX_RING: usize = 0x4000;
const SLOTS: usize = 0x1_0000;
const BUFFERS: usize = SLOTS + SLOT * (TX_SIZE / CHAIN) as usize;
const MEMORY: usize = (BUFFERS + BUFFER * RX_SIZE as usize).next_multiple_of(4096);

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// Checksums left undone and TCP segments left uncut, both ways; several buffers for a frame; the protocol's own
/// features, of which none is taken; virtio 1.
const FEATURES: u64 = 1 | 1 << 1 | 1 << 7 | 1 << 11 | 1 << 15 | 1 << 30 | 1 << 32;

const RX: u32 = 0;
pub(super) const TX: u32 = 1;

/// A message's number.
pub(super) mod code {
    pub(crate) const GET_FEATURES: u32 = 1;
    pub(crate) const SET_FEATURES: u32 = 2;
    pub(crate) const SET_OWNER: u32 = 3;
    pub(crate) const SET_MEM_TABLE: u32 = 5;
    pub(crate) const SET_VRING_NUM: u32 = 8;
    pub(crate) const SET_VRING_ADDR: u32 = 9;
    pub(crate) const SET_VRING_BASE: u32 = 10;
    pub(crate) const GET_VRING_BASE: u32 = 11;
    pub(crate) const SET_VRING_KICK: u32 = 12;
    pub(crate) const SET_VRING_CALL: u32 = 13;
    pub(crate) const GET_PROTOCOL_FEATURES: u32 = 15;
    pub(crate) const SET_PROTOCOL_FEATURES: u32 = 16;
    pub(crate) const SET_VRING_ENABLE: u32 = 18;
}

/// A guest's card at a switch's port.
pub(super) struct Card {
    memory: SharedMemory,
    tx: Ring,
    rx: Ring,
    // While it lives, the port is up.
    _socket: UnixStream,
}

/// Frames that came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    pub(super) frames: u64,
    /// Those of them that are still uncut TCP segments.
    pub(super) super_frames: u64,
    /// Of all frames, without their headers of offloads.
    pub(super) bytes: u64,
}

/// The driver's side of a ring.
pub(super) struct Ring {
    place: usize,
    size: u16,
    available: u16,
    used: u16,
    kick: OwnedFd,
    call: OwnedFd,
}

impl Card {
    /// Has the switch at the other end of a socket serve a card whose every frame is the same: header of offloads
    /// and head as they are, and so much more of payload. All receive buffers are offered.
    ///
    /// # Errors
    /// When the switch does not offer what it takes, or hangs up.
    pub(super) fn attach(socket: UnixStream, head: &[u8], payload: usize) -> Result<Self> {
        let memory = SharedMemory::new(MEMORY)?;
        let tx = Ring::new(TX_RING, TX_SIZE)?;
        let mut rx = Ring::new(RX_RING, RX_SIZE)?;
        for frame in 0..TX_SIZE / CHAIN {
            lay_out(&memory, frame, head, payload);
        }
        for buffer in 0..RX_SIZE {
            let place = BUFFERS + BUFFER * usize::from(buffer);
            rx.describe(&memory, buffer, (place, BUFFER), WRITE);
            rx.put(&memory, buffer);
        }
        for ring in [&tx, &rx] {
            memory.store(ring.available_place(), NO_INTERRUPT);
        }
        rx.show(&memory);
        negotiate(&socket, &memory, [(RX, &rx), (TX, &tx)])?;
        Ok(Self { memory, tx, rx, _socket: socket })
    }

    /// Sends the first `frames` frames, of those that there is room for.
    pub(super) fn send_first(&mut self, frames: u16) {
        for frame in 0..frames.min(TX_SIZE / CHAIN) {
            self.tx.put(&self.memory, frame * CHAIN);
        }
        self.tx.show_and_kick(&self.memory);
    }

    /// Sends again what was sent; returns how many frames.
    pub(super) fn send_again(&mut self) -> usize {
        let mut sent = 0;
        while let Some((head, _)) = self.tx.next_used(&self.memory) {
            self.tx.put(&self.memory, head);
            sent += 1;
        }
        if sent > 0 {
            self.tx.show_and_kick(&self.memory);
        }
        sent
    }

    /// Drops what came; counts it.
    pub(super) fn receive(&mut self, arrived: &mut Arrived) {
        let mut more = 0;
        let mut any = false;
        while let Some((buffer, len)) = self.rx.next_used(&self.memory) {
            let mut bytes = len as usize;
            if more == 0 {
                let place = BUFFERS + BUFFER * usize::from(buffer % RX_SIZE);
                let header = self.memory.read::<HEADER>(place);
                more = u16::from_le_bytes([header[10], header[11]]).max(1);
                bytes = bytes.saturating_sub(HEADER);
                arrived.frames += 1;
                arrived.super_frames += u64::from(header[1] != 0);
            }
            more -= 1;
            arrived.bytes += bytes as u64;
            self.rx.put(&self.memory, buffer);
            any = true;
        }
        if any {
            self.rx.show_and_kick(&self.memory);
        }
    }
}

/// Writes a frame and its descriptors.
fn lay_out(memory: &SharedMemory, frame: u16, head: &[u8], payload: usize) {
    let place = SLOTS + SLOT * usize::from(frame);
    memory.write(place, head);
    let first = frame * CHAIN;
    let mut pieces = vec![(place, head.len())];
    let mut begin = place + head.len();
    let end = begin + payload;
    while begin < end {
        let bytes = PIECE.min(end - begin);
        pieces.push((begin, bytes));
        begin += bytes;
    }
    let last = pieces.len() - 1;
    for (number, piece) in (first..).zip(&pieces) {
        let more = if usize::from(number - first) == last { 0 } else { NEXT };
        write_descriptor(memory, TX_RING, number, *piece, more);
    }
}

fn write_descriptor(
    memory: &SharedMemory,
    ring: usize,
    number: u16,
    (place, len): (usize, usize),
    flags: u16,
) {
    let mut entry = (place as u64).to_le_bytes().to_vec();
    entry.extend((len as u32).to_le_bytes());
    entry.extend(flags.to_le_bytes());
    entry.extend((number + 1).to_le_bytes());
    memory.write(ring + 16 * usize::from(number), &entry);
}

impl Ring {
    /// Makes an empty ring at a place of the memory.
    pub(super) fn new(place: usize, size: u16) -> Result<Self> {
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self { place, size, available: 0, used: 0, kick: event()?, call: event()? })
    }

    pub(super) fn available_place(&self) -> usize {
        self.place + 16 * usize::from(self.size)
    }

    fn used_place(&self) -> usize {
        (self.available_place() + 6 + 2 * usize::from(self.size)).next_multiple_of(64)
    }

    fn describe(&self, memory: &SharedMemory, number: u16, piece: (usize, usize), flags: u16) {
        write_descriptor(memory, self.place, number, piece, flags);
    }

    /// Makes a buffer available without saying so.
    pub(super) fn put(&mut self, memory: &SharedMemory, head: u16) {
        let entry = usize::from(self.available % self.size);
        memory.write(self.available_place() + 4 + 2 * entry, &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
    }

    /// Shows what was put.
    fn show(&self, memory: &SharedMemory) {
        memory.store(self.available_place() + 2, self.available);
    }

    /// Shows what was put, and wakes the switch where it wants that.
    pub(super) fn show_and_kick(&self, memory: &SharedMemory) {
        self.show(memory);
        // The switch looks for buffers after it has asked to be woken: one of the two sees the other.
        fence(Ordering::SeqCst);
        if memory.load(self.used_place()) & NO_NOTIFY == 0 {
            // A counter that is full wakes, too.
            let _ = rustix::io::write(&self.kick, &1_u64.to_ne_bytes());
        }
    }

    /// Takes a buffer back: its number and the bytes written to it.
    pub(super) fn next_used(&mut self, memory: &SharedMemory) -> Option<(u16, u32)> {
        let place = self.used_place();
        if memory.load(place + 2) == self.used {
            return None;
        }
        let entry = memory.read::<8>(place + 4 + 8 * usize::from(self.used % self.size));
        self.used = self.used.wrapping_add(1);
        let [a, b, _, _, len @ ..] = entry;
        Some((u16::from_le_bytes([a, b]), u32::from_le_bytes(len)))
    }
}

/// Tells the switch of memory and rings, and waits until it has heard all.
fn negotiate(socket: &UnixStream, memory: &SharedMemory, rings: [(u32, &Ring); 2]) -> Result<()> {
    introduce(socket, memory, FEATURES)?;
    for (number, ring) in rings {
        set_up(socket, memory, number, ring)?;
    }
    ask(socket, code::GET_FEATURES, &[])?;
    Ok(())
}

/// Takes features and tells the switch of memory, at address 0 of the guest.
pub(super) fn introduce(socket: &UnixStream, memory: &SharedMemory, features: u64) -> Result<()> {
    tell(socket, code::SET_OWNER, &[], None)?;
    let offered = ask(socket, code::GET_FEATURES, &[])?;
    ensure!(offered & features == features, "the switch offers {offered:#x} of {features:#x}");
    ask(socket, code::GET_PROTOCOL_FEATURES, &[])?;
    tell(socket, code::SET_PROTOCOL_FEATURES, &0_u64.to_ne_bytes(), None)?;
    tell(socket, code::SET_FEATURES, &features.to_ne_bytes(), None)?;
    let region = [0, memory.len() as u64, memory.address(), 0].map(u64::to_ne_bytes).concat();
    tell(socket, code::SET_MEM_TABLE, &[pair(1, 0), region].concat(), Some(memory.file()))
}

/// Has the switch serve a ring.
pub(super) fn set_up(
    socket: &UnixStream,
    memory: &SharedMemory,
    number: u32,
    ring: &Ring,
) -> Result<()> {
    tell(socket, code::SET_VRING_NUM, &pair(number, ring.size.into()), None)?;
    tell(socket, code::SET_VRING_BASE, &pair(number, 0), None)?;
    let places = [ring.place, ring.used_place(), ring.available_place()];
    let places = places.map(|place| (memory.address() + place as u64).to_ne_bytes()).concat();
    let addresses = [pair(number, 0), places, 0_u64.to_ne_bytes().to_vec()].concat();
    tell(socket, code::SET_VRING_ADDR, &addresses, None)?;
    let word = u64::from(number).to_ne_bytes();
    tell(socket, code::SET_VRING_CALL, &word, Some(ring.call.as_fd()))?;
    tell(socket, code::SET_VRING_KICK, &word, Some(ring.kick.as_fd()))?;
    tell(socket, code::SET_VRING_ENABLE, &pair(number, 1), None)
}

/// Sends a message.
///
/// # Errors
/// When nobody listens.
pub(super) fn tell(
    socket: &UnixStream,
    code: u32,
    payload: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<()> {
    const VERSION: u32 = 1;
    let header = [code, VERSION, payload.len() as u32].map(u32::to_ne_bytes).concat();
    let message = [&header[..], payload].concat();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        let pushed = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(pushed, "there is room for one");
    }
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)
        .context("tell the switch")?;
    ensure!(sent == message.len(), "the switch does not listen");
    Ok(())
}

/// Sends a message and returns the word that answers it.
///
/// # Errors
/// When nobody answers, or something else.
pub(super) fn ask(mut socket: &UnixStream, code: u32, payload: &[u8]) -> Result<u64> {
    tell(socket, code, payload, None)?;
    let mut reply = [0; 20];
    socket.read_exact(&mut reply).context("the switch's answer")?;
    let [a, b, c, d, .., _, _, _, _, _, _, _, _] = reply;
    ensure!(u32::from_ne_bytes([a, b, c, d]) == code, "the switch answers something else");
    let mut word = [0; 8];
    word.copy_from_slice(&reply[12..]);
    Ok(u64::from_ne_bytes(word))
}

/// Two numbers, as many messages begin.
pub(super) fn pair(first: u32, second: u32) -> Vec<u8> {
    [first.to_ne_bytes(), second.to_ne_bytes()].concat()
}
