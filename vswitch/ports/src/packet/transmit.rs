//! The sending side of a packet socket: all frames of a burst in one system call. They go through the device's
//! queueing discipline: past it the kernel drops what it has to cut for the device, and what finds the device's
//! queue stopped. Tags go in band.

use std::{
    ffi::{c_int, c_uint},
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use super::{SOCKET_BUFFER, bind, packet_socket};
use crate::{
    BURST, Burst, Job, OpenError, Tally, Transmit,
    egress::{Front, VNET},
    error::to,
    sys,
};

pub(super) struct PacketTransmit {
    socket: OwnedFd,
    fronts: Box<[Front; BURST]>,
    pieces: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
    /// Which job each message is.
    sent: Vec<u16>,
}

// SAFETY: the pointers in `pieces` and `messages` are only followed within one call of `send`, which writes them first.
unsafe impl Send for PacketTransmit {}

impl PacketTransmit {
    pub(super) fn open(index: c_int) -> Result<Self, OpenError> {
        let socket = packet_socket()?;
        sys::enlarge(socket.as_fd(), libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SOCKET_BUFFER)
            .map_err(to("enlarge the send buffer"))?;
        bind(socket.as_fd(), index, 0)?;
        Ok(Self {
            socket,
            fronts: Box::new([const { Front::new() }; BURST]),
            pieces: Vec::with_capacity(2 * BURST),
            messages: Vec::with_capacity(BURST),
            sent: Vec::with_capacity(BURST),
        })
    }

    /// Lays out a message for each frame that can be sent.
    fn lay_out(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        self.pieces.clear();
        self.messages.clear();
        self.sent.clear();
        for (position, (job, front)) in jobs.iter().zip(self.fronts.iter_mut()).enumerate() {
            let frame = &burst.frames()[usize::from(job.frame)];
            if let Err(reason) = front.build(&frame.head, job.tags) {
                tally.lost(job, reason);
                continue;
            }
            let rest = burst.rest_of(frame);
            let built = front.bytes();
            self.pieces.push(libc::iovec {
                iov_base: built.as_ptr().cast_mut().cast(),
                iov_len: built.len(),
            });
            self.pieces.extend_from_slice(rest);
            // SAFETY: all zero is a value of this structure of integers and pointers.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iovlen = 1 + rest.len();
            self.messages.push(message);
            self.sent.push(position as u16);
        }
        // The list of pieces has its place in memory only when it is complete.
        let mut begin = 0;
        for message in &mut self.messages {
            message.msg_hdr.msg_iov = self.pieces[begin..].as_mut_ptr();
            begin += message.msg_hdr.msg_iovlen;
        }
    }

    /// Sends messages until the kernel refuses one; returns how many it took.
    fn send_some(&mut self, from: usize) -> io::Result<usize> {
        let messages = &mut self.messages[from..];
        // SAFETY: the messages point at pieces, these at fronts of ours and at bytes of the burst's scatter list,
        // which is valid while the burst is borrowed; the kernel writes only each message's `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as c_uint,
                0,
            )
        };
        Ok(sys::check(sent)? as usize)
    }
}

impl Transmit for PacketTransmit {
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        for jobs in jobs.chunks(BURST) {
            self.lay_out(burst, jobs, tally);
            let mut done = 0;
            while done < self.messages.len() {
                match self.send_some(done) {
                    Ok(sent) => {
                        for message in &self.messages[done..done + sent] {
                            tally.sent(message.msg_len as usize - VNET);
                        }
                        done += sent;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        let job = &jobs[usize::from(self.sent[done])];
                        tally.lost(job, sys::refusal(&error));
                        done += 1;
                    }
                }
            }
        }
    }

    fn flush(&mut self, _: &mut Tally) {}

    fn close(&mut self, _: &mut Tally) {}

    fn backlog(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
