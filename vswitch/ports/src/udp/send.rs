//! The sending side of an underlay socket: records are laid out one behind the other where they are sealed; those of equal
//! length become one message that the kernel, or the device, cuts (UDP_SEGMENT), and a burst's messages one system
//! call. A record that could not be sent is gone; nothing is sent twice.

use std::{
    ffi::c_uint,
    io, mem,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
};

use weft_core::DropReason;
use weft_offload::ecn::Codepoint;

use super::{
    LARGEST, Segmentation, Socket, class, control::Control, is_of_own_address, name::Name,
};
use crate::{Tally, sys};

/// Bytes that are laid out before they are sent.
const BUFFER: usize = 256 * 1024;
/// Datagrams in one message at most: what every kernel takes, and what a receiver merges.
const DATAGRAMS: usize = 64;
/// Messages in one system call at most.
const MESSAGES: usize = 64;
/// Messages that are sent datagram by datagram before the kernel is asked again to cut one.
const RETRY: u32 = 1024;

/// Lays records out and sends them. Used by whoever sends through the socket, one after the other.
pub struct Sender {
    socket: Socket,
    buffer: Box<[u8]>,
    used: usize,
    messages: Vec<Message>,
}

/// Where records go.
#[derive(Clone, Debug)]
pub struct Destination {
    address: SocketAddr,
    /// This host's address that they leave from; where there is none, the system chooses.
    own: Option<IpAddr>,
    dscp: u8,
    /// Messages that are still to be sent datagram by datagram, since the kernel would not cut one on this way.
    uncut: u32,
}

impl Destination {
    /// Makes a destination; `dscp` is 0 to 63, higher bits are ignored.
    pub fn new(address: SocketAddr, dscp: u8) -> Self {
        Self { address, own: None, dscp, uncut: 0 }
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes on at another address.
    pub fn move_to(&mut self, address: SocketAddr) {
        *self = Self::new(address, self.dscp);
    }

    /// Has what is sent from here on leave from one of this host's addresses. One that this host has not got counts for
    /// nothing.
    pub fn leave_from(&mut self, own: Option<IpAddr>) {
        self.own = own;
    }
}

/// Datagrams of equal length, the last perhaps shorter.
#[derive(Clone, Copy, Debug)]
struct Message {
    begin: usize,
    len: usize,
    /// Bytes of each datagram but the last.
    segment: usize,
    datagrams: usize,
    mark: Codepoint,
    /// Frames whose last record is in it, and their bytes.
    frames: u64,
    bytes: u64,
    failed: Option<DropReason>,
}

impl Message {
    fn takes(&self, len: usize, mark: Codepoint) -> bool {
        self.mark == mark
            && len <= self.segment
            && self.len == self.datagrams * self.segment
            && self.datagrams < DATAGRAMS
            && self.len + len <= LARGEST
    }
}

/// What goes to the kernel as one: a message, or a datagram of it.
#[derive(Clone, Copy)]
struct Unit {
    message: usize,
    /// Bytes of the message in front of it.
    offset: usize,
    len: usize,
}

impl Sender {
    pub(super) fn new(socket: Socket) -> Self {
        let buffer = vec![0; BUFFER + LARGEST].into_boxed_slice();
        Self { socket, buffer, used: 0, messages: Vec::with_capacity(MESSAGES) }
    }

    /// Begins to send records to one peer. What becomes of its frames is tallied.
    pub fn batch<'s>(&'s mut self, to: &'s mut Destination, tally: &'s mut Tally) -> Batch<'s> {
        self.clear();
        Batch { sender: self, to, tally }
    }

    fn clear(&mut self) {
        self.used = 0;
        self.messages.clear();
    }

    /// Sends what is laid out.
    fn send(&mut self, to: &mut Destination, tally: &mut Tally) {
        match Name::new(to.address, self.socket.family) {
            Ok(name) => self.send_to(&name, to),
            Err(_) => self.fail_from(0, DropReason::PortDown),
        }
        for message in self.messages.drain(..) {
            match message.failed {
                None => {
                    tally.frames += message.frames;
                    tally.bytes += message.bytes;
                }
                Some(reason) => (0..message.frames).for_each(|_| tally.dropped(reason)),
            }
        }
        self.used = 0;
    }

    fn send_to(&mut self, name: &Name, to: &mut Destination) {
        let mut next = self.unit_at(0, 0, to);
        while let Some(unit) = next {
            let error = match self.send_some(unit, name, to) {
                Ok(last) => {
                    next = self.unit_behind(last, to);
                    continue;
                }
                Err(error) => error,
            };
            let message = &mut self.messages[unit.message];
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                // Where the address was not at fault, the same error comes again.
                _ if to.own.is_some() && is_of_own_address(&error) => {
                    to.own = None;
                    continue;
                }
                // EIO: the device or a transformation on the way cannot. EINVAL: this kernel or socket does not. EMSGSIZE: not
                // into datagrams larger than the path's MTU, which by themselves may be fragmented.
                Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) if unit.len > message.segment => {
                    to.uncut = RETRY;
                    next = self.unit_at(unit.message, 0, to);
                    continue;
                }
                // Too large by itself, too: that was not the cutting's fault.
                Some(libc::EMSGSIZE) if to.uncut == RETRY => to.uncut = 0,
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                    self.fail_from(unit.message, DropReason::QueueFull);
                    return;
                }
                _ => {}
            }
            message.failed = Some(sys::refusal(&error));
            next = self.unit_at(unit.message + 1, 0, to);
        }
    }

    /// Hands units to the kernel, this one first; returns the last that it took.
    fn send_some(&self, first: Unit, name: &Name, to: &mut Destination) -> io::Result<Unit> {
        // SAFETY: all zero is a value of this structure of integers and pointers.
        let mut headers: [libc::mmsghdr; MESSAGES] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut pieces: [libc::iovec; MESSAGES] = unsafe { mem::zeroed() };
        let mut controls = [Control::EMPTY; MESSAGES];
        let mut units = [first; MESSAGES];
        let is_v4 = name.is_v4();
        // How many messages are sent uncut is counted when they have been.
        let (mut ahead, mut count) = (to.clone(), 0);
        let mut next = Some(first);
        while let Some(unit) = next
            && count < MESSAGES
        {
            let message = &self.messages[unit.message];
            let begin = message.begin + unit.offset;
            let bytes = &self.buffer[begin..begin + unit.len];
            let (piece, control) = (&mut pieces[count], &mut controls[count]);
            *piece =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            let class = class(to.dscp, message.mark);
            if class != 0 {
                control.put_class(is_v4, class);
            }
            if unit.len > message.segment {
                control.put_segment(message.segment as u16);
            }
            if let Some(own) = to.own {
                control.put_own(own);
            }
            let header = &mut headers[count].msg_hdr;
            header.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_namelen = name.len();
            header.msg_iov = &raw mut *piece;
            header.msg_iovlen = 1;
            control.attach_to(header);
            units[count] = unit;
            count += 1;
            next = self.unit_behind(unit, &mut ahead);
        }
        // SAFETY: each message points at a piece of the buffer, at the name and at a control buffer of its own, all of
        // which are there for the call; the kernel writes only each message's `msg_len`.
        let sent = sys::check(unsafe {
            libc::sendmmsg(self.socket.fd.as_raw_fd(), headers.as_mut_ptr(), count as c_uint, 0)
        })?;
        let sent = (sent as usize).max(1);
        for unit in &units[..sent - 1] {
            self.unit_behind(*unit, to);
        }
        Ok(units[sent - 1])
    }

    /// Returns the unit that begins here, if anything does.
    fn unit_at(&self, message: usize, offset: usize, to: &Destination) -> Option<Unit> {
        let laid_out = self.messages.get(message)?;
        let whole = to.uncut == 0 && self.socket.segmentation == Segmentation::Kernel;
        let left = laid_out.len - offset;
        // What was begun datagram by datagram is ended so.
        let len = if whole && offset == 0 { left } else { left.min(laid_out.segment) };
        Some(Unit { message, offset, len })
    }

    /// Returns the unit behind one that is sent; counts messages that were not cut.
    fn unit_behind(&self, unit: Unit, to: &mut Destination) -> Option<Unit> {
        let message = &self.messages[unit.message];
        let end = unit.offset + unit.len;
        if end < message.len {
            return self.unit_at(unit.message, end, to);
        }
        if message.datagrams > 1 {
            to.uncut = to.uncut.saturating_sub(1);
        }
        self.unit_at(unit.message + 1, 0, to)
    }

    fn fail_from(&mut self, message: usize, reason: DropReason) {
        for message in &mut self.messages[message..] {
            message.failed.get_or_insert(reason);
        }
    }
}

/// Records on their way to one peer.
#[must_use = "nothing is sent before `send`"]
pub struct Batch<'s> {
    sender: &'s mut Sender,
    to: &'s mut Destination,
    tally: &'s mut Tally,
}

impl Batch<'_> {
    /// Returns room for a record of so many bytes, [`LARGEST`] at most, whose content is whatever was there before. What
    /// has been laid out is sent first where there is no room.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        if self.sender.used >= BUFFER {
            self.sender.send(self.to, self.tally);
        }
        &mut self.sender.buffer[self.sender.used..][..len.min(LARGEST)]
    }

    /// Adds the first `len` bytes of the room as a record, whose IP header begins with this mark.
    pub fn commit(&mut self, len: usize, mark: Codepoint) {
        let Sender { buffer, used, messages, .. } = &mut *self.sender;
        let len = len.min(LARGEST).min(buffer.len() - *used);
        if len == 0 {
            return;
        }
        match messages.last_mut() {
            Some(last) if last.takes(len, mark) => {
                last.len += len;
                last.datagrams += 1;
            }
            _ => messages.push(Message {
                begin: *used,
                len,
                segment: len,
                datagrams: 1,
                mark,
                frames: 0,
                bytes: 0,
                failed: None,
            }),
        }
        *used += len;
    }

    /// Counts a frame of so many bytes, all of which is in the records that were added: it is sent if the last of
    /// them is.
    pub fn frame(&mut self, bytes: usize) {
        if let Some(last) = self.sender.messages.last_mut() {
            last.frames += 1;
            last.bytes += bytes as u64;
        }
    }

    /// Counts a frame that is not sent.
    pub fn drop_frame(&mut self, reason: DropReason) {
        self.tally.dropped(reason);
    }

    /// Sends what has been laid out.
    pub fn send(self) {
        self.sender.send(self.to, self.tally);
    }
}
