//! The framing of QEMU's `-netdev stream` over a connected Unix socket: a length of four bytes, big-endian, then
//! the frame. The peer takes no offloads: checksums are finished and super-frames are cut before they leave.

mod decoder;
mod outbox;

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use weft_core::DropReason;

pub use self::decoder::{BadLength, Decoder, Unit};
use self::outbox::Outbox;
use crate::{
    Burst, Fault, Job, OpenError, Opened, Receive, Scratch, Tally, Transmit, error::to,
    queue::Arrivals, sys,
};

/// Takes a connected stream socket.
///
/// # Errors
/// [`OpenError`] when it is not a stream socket or cannot be doubled.
pub fn attach(socket: OwnedFd) -> Result<Opened, OpenError> {
    let kind: libc::c_int = sys::get_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TYPE)
        .map_err(to("read the socket's type"))?;
    if kind != libc::SOCK_STREAM {
        return Err(OpenError::NotAStream);
    }
    // A descriptor of its own for sending, so that a worker can watch the same socket for both.
    let sender = socket.try_clone().map_err(to("double the socket's descriptor"))?;
    Ok(Opened {
        rx: vec![Box::new(StreamReceive { socket, decoder: Decoder::new() })],
        tx: vec![Box::new(StreamTransmit {
            socket: sender,
            outbox: Outbox::new(),
            peer: Peer::Connected,
        })],
    })
}

struct StreamReceive {
    socket: OwnedFd,
    decoder: Decoder,
}

impl StreamReceive {
    /// Reads once; tells whether anything came.
    fn read(&mut self) -> Result<bool, Fault> {
        let room = self.decoder.room();
        // SAFETY: the kernel writes into the decoder's room, at most its length.
        let read = unsafe {
            libc::recv(
                self.socket.as_raw_fd(),
                room.as_mut_ptr().cast(),
                room.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match sys::moved(read) {
            Ok(0) => Err(Fault::Closed),
            Ok(len) => {
                self.decoder.filled(len);
                Ok(true)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(false),
                Some(libc::EINTR) => Ok(true),
                Some(libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN) => Err(Fault::Closed),
                _ => Err(error.into()),
            },
        }
    }

    /// Takes the frames that are complete, as many as a burst has room for.
    fn take(&mut self, arrivals: &mut Arrivals) -> Result<(), Fault> {
        while !arrivals.is_full() {
            match self.decoder.next() {
                Ok(Some(Unit::Frame(place))) => {
                    let frame = self.decoder.bytes(place);
                    // SAFETY: the decoder's memory changes only in `read`, which needs the queue that the burst
                    // borrows.
                    unsafe { arrivals.push(frame.as_ptr(), frame.len(), None, None) };
                }
                Ok(Some(Unit::Oversize)) => arrivals.refuse(DropReason::Oversize, 1),
                Ok(None) => break,
                // What came before it is delivered first; the next call finds the same.
                Err(_) if !arrivals.is_empty() => break,
                Err(BadLength(length)) => return Err(Fault::BadFraming(length)),
            }
        }
        Ok(())
    }
}

impl Receive for StreamReceive {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        let arrivals = &mut scratch.arrivals;
        arrivals.clear();
        loop {
            self.take(arrivals)?;
            // A read would move what has been taken.
            if !arrivals.is_empty() || !self.read()? {
                return Ok(arrivals.burst());
            }
        }
    }

    fn holds_more(&self) -> bool {
        self.decoder.holds_more()
    }
}

/// Whether the other end still reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Connected,
    Gone,
}

struct StreamTransmit {
    socket: OwnedFd,
    outbox: Outbox,
    peer: Peer,
}

impl StreamTransmit {
    /// Writes what waits until it is gone or the socket is full.
    fn write(&mut self, tally: &mut Tally) {
        while !self.outbox.pending().is_empty() && self.peer == Peer::Connected {
            let pending = self.outbox.pending();
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the kernel reads the pending bytes, which are all there.
            let sent = unsafe {
                libc::send(self.socket.as_raw_fd(), pending.as_ptr().cast(), pending.len(), flags)
            };
            match sys::moved(sent) {
                Ok(sent) => self.outbox.sent(sent, tally),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.close(tally),
            }
        }
    }
}

impl Transmit for StreamTransmit {
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        for job in jobs {
            if self.peer == Peer::Gone {
                tally.lost(job, DropReason::PortDown);
                continue;
            }
            let frame = &burst.frames()[usize::from(job.frame)];
            let rest = burst.rest_of(frame);
            let mut put = self.outbox.put(&frame.head, rest, job.tags);
            if put == Err(DropReason::QueueFull) {
                self.write(tally);
                put = self.outbox.put(&frame.head, rest, job.tags);
            }
            if let Err(reason) = put {
                tally.lost(job, reason);
            }
        }
        self.write(tally);
    }

    fn flush(&mut self, tally: &mut Tally) {
        self.write(tally);
    }

    fn close(&mut self, tally: &mut Tally) {
        self.peer = Peer::Gone;
        self.outbox.clear(tally);
    }

    fn backlog(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}
