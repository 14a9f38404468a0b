//! The receiving side of an underlay socket: messages of up to 64 KiB, each one datagram or many of equal length, which
//! are handed out one by one to be opened in place.

use std::{
    ffi::{c_int, c_uint},
    io, mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr,
    slice::ChunksMut,
};

use weft_offload::ecn::Codepoint;

use super::{
    Socket,
    control::{self, Control},
    name::Name,
};
use crate::sys;

/// Messages that are taken in one call at most.
const MESSAGES: usize = 64;
/// Bytes that one call should bring at most, going by the call before: what is opened is delivered while it is in
/// the cache.
const BUDGET: usize = 256 * 1024;
/// Messages that are taken in one call however large they are.
const FEWEST: usize = 4;
/// Room for the largest datagram; an odd number of cache lines, so that the beginnings of messages do not all fall into
/// the same sets of the cache.
const ROOM: usize = 1025 * 64;

/// Stands for an address of another family, which the kernel never gives.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Takes messages from a socket. Belongs to one worker.
pub struct Receiver {
    socket: Socket,
    memory: Box<[u8]>,
    names: Box<[Name; MESSAGES]>,
    controls: Box<[Control; MESSAGES]>,
    /// What was received and has not been handed out yet: behind `taken` messages and `offset` bytes of the next.
    messages: Vec<Message>,
    place: Place,
    /// Messages to ask for next.
    ask_for: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    taken: usize,
    offset: usize,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    len: usize,
    /// Bytes of each datagram in it but the last.
    segment: usize,
    from: SocketAddr,
    own: Option<IpAddr>,
    mark: Codepoint,
}

/// One datagram.
#[derive(Debug)]
pub struct Record<'b> {
    /// Its payload, where the kernel put it.
    pub bytes: &'b mut [u8],
    /// Where it came from; a v4-mapped address is shown as IPv4.
    pub from: SocketAddr,
    /// Which of this host's addresses it was sent to, where the socket reports that.
    pub own: Option<IpAddr>,
    /// What its IP header said of congestion.
    pub mark: Codepoint,
}

impl Receiver {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            memory: vec![0; MESSAGES * ROOM].into_boxed_slice(),
            names: Box::new([Name::EMPTY; MESSAGES]),
            controls: Box::new([Control::EMPTY; MESSAGES]),
            messages: Vec::with_capacity(MESSAGES),
            place: Place::default(),
            ask_for: MESSAGES,
        }
    }

    /// Returns the descriptor that becomes readable when datagrams wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Tells whether datagrams that were received have not been handed out yet.
    pub fn holds_more(&self) -> bool {
        self.place.taken < self.messages.len()
    }

    /// Returns what [`Receiver::fill`] has received, from where the last call was left.
    pub fn records(&mut self) -> Records<'_> {
        let mut rooms = self.memory.chunks_mut(ROOM);
        if self.place.taken > 0 {
            rooms.nth(self.place.taken - 1);
        }
        let mut records =
            Records { rooms, messages: &self.messages, place: &mut self.place, current: &mut [] };
        let offset = records.place.offset;
        records.begin_message(offset);
        records
    }

    /// Receives what waits, without blocking, unless something received before has not been handed out; tells whether
    /// there is anything to hand out.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn fill(&mut self) -> io::Result<bool> {
        if self.holds_more() {
            return Ok(true);
        }
        self.messages.clear();
        self.place = Place::default();
        // SAFETY: all zero is a value of this structure of integers and pointers.
        let mut headers: [libc::mmsghdr; MESSAGES] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut pieces: [libc::iovec; MESSAGES] = unsafe { mem::zeroed() };
        let rooms = self.memory.chunks_mut(ROOM);
        let all = headers.iter_mut().zip(&mut pieces).zip(rooms);
        let beside = self.names.iter_mut().zip(self.controls.iter_mut());
        for (((header, piece), room), (name, control)) in all.zip(beside).take(self.ask_for) {
            *piece = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            let header = &mut header.msg_hdr;
            header.msg_iov = &raw mut *piece;
            header.msg_iovlen = 1;
            header.msg_name = name.as_mut_ptr().cast();
            header.msg_namelen = name.room();
            control.offer_to(header);
        }
        let received = loop {
            // SAFETY: each message points at a piece, that at a room of its own, and at a name and a control buffer of
            // its own, all of which the kernel may write; lengths are those of what is pointed at.
            let received = sys::check(unsafe {
                libc::recvmmsg(
                    self.socket.fd.as_raw_fd(),
                    headers.as_mut_ptr(),
                    self.ask_for as c_uint,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                )
            });
            match received {
                Ok(received) => break received as usize,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return Ok(false),
                    _ => return Err(error),
                },
            }
        };
        for (header, name) in headers[..received].iter().zip(&*self.names) {
            // SAFETY: the kernel has filled in the message just now.
            let said = unsafe { control::read(&header.msg_hdr) };
            let len = (header.msg_len as usize).min(ROOM);
            let from = name.address().unwrap_or(NOWHERE);
            let segment = segment(said.segment, len);
            self.messages.push(Message { len, segment, from, own: said.own, mark: said.mark });
        }
        self.adapt();
        Ok(self.holds_more())
    }

    /// Asks for fewer messages the larger they are.
    fn adapt(&mut self) {
        let bytes: usize = self.messages.iter().map(|message| message.len).sum();
        let fit = (BUDGET * self.messages.len()).checked_div(bytes);
        self.ask_for = fit.unwrap_or(MESSAGES).clamp(FEWEST, MESSAGES);
    }
}

/// Returns the length of the datagrams in a message; what cannot be one is no division.
fn segment(said: Option<c_int>, len: usize) -> usize {
    match said.map(usize::try_from) {
        Some(Ok(segment)) if segment > 0 => segment.min(len),
        _ => len,
    }
}

/// The datagrams of one [`Receiver::fill`]. What is not taken stays for the next call.
pub struct Records<'b> {
    rooms: ChunksMut<'b, u8>,
    messages: &'b [Message],
    place: &'b mut Place,
    /// What has not been handed out of the message at hand.
    current: &'b mut [u8],
}

impl Records<'_> {
    fn begin_message(&mut self, offset: usize) {
        if let (Some(message), Some(room)) =
            (self.messages.get(self.place.taken), self.rooms.next())
        {
            self.current = &mut room[offset..message.len];
        }
    }
}

impl<'b> Iterator for Records<'b> {
    type Item = Record<'b>;

    fn next(&mut self) -> Option<Record<'b>> {
        let message = *self.messages.get(self.place.taken)?;
        let len = message.segment.min(self.current.len());
        let (bytes, left) = mem::take(&mut self.current).split_at_mut(len);
        if left.is_empty() {
            self.place.taken += 1;
            self.place.offset = 0;
            self.begin_message(0);
        } else {
            self.place.offset += len;
            self.current = left;
        }
        let Message { from, own, mark, .. } = message;
        Some(Record { bytes, from, own, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_lies_divides_nothing() {
        for (said, len, expected) in [
            (None, 3000, 3000),
            (Some(1472), 3000, 1472),
            (Some(3000), 3000, 3000),
            (Some(3001), 3000, 3000),
            (Some(0), 3000, 3000),
            (Some(-1), 3000, 3000),
            (Some(c_int::MIN), 3000, 3000),
            (Some(c_int::MAX), 3000, 3000),
            (Some(1), 0, 0),
        ] {
            assert_eq!(segment(said, len), expected, "{said:?} of {len}");
        }
    }
}
