//! The sending side of packet sockets: all frames of a burst in one system call, past the queueing discipline;
//! super-frames through it, since the kernel cuts them only there for a device that cannot. Tags go in band.

use std::{
    ffi::{c_int, c_uint},
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use weft_vlan::Offload;

use super::{ENABLED, bind, enlarge, packet_socket};
use crate::{
    BURST, Burst, Job, OpenError, Tally, Transmit,
    egress::{Front, VNET},
    error::to,
    sys,
};

/// The way that a frame takes to the device. Which offloads a device has can change under a running port: a guest's
/// driver tells its TAP. So the frame decides, not the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Road {
    /// Past the queueing discipline: the kernel drops what it would first have to cut.
    Direct,
    /// Through it.
    Queued,
}

pub(super) struct PacketTransmit {
    direct: OwnedFd,
    queued: OwnedFd,
    roads: Vec<Road>,
    fronts: Box<[Front; BURST]>,
    pieces: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in `pieces` and `messages` are only followed within one call of `send`, which writes them first.
unsafe impl Send for PacketTransmit {}

impl PacketTransmit {
    pub(super) fn open(index: c_int) -> Result<Self, OpenError> {
        let direct = packet_socket()?;
        sys::set_option(direct.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, ENABLED)
            .map_err(to("send past the queueing discipline"))?;
        let queued = packet_socket()?;
        for socket in [&direct, &queued] {
            enlarge(socket.as_fd(), libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)
                .map_err(to("enlarge the send buffer"))?;
            bind(socket.as_fd(), index, 0)?;
        }
        Ok(Self {
            direct,
            queued,
            roads: Vec::with_capacity(BURST),
            fronts: Box::new([const { Front::new() }; BURST]),
            pieces: Vec::with_capacity(2 * BURST),
            messages: Vec::with_capacity(BURST),
        })
    }

    /// Lays out a message for each frame that can be sent.
    fn lay_out(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        self.pieces.clear();
        self.messages.clear();
        self.roads.clear();
        for (job, front) in jobs.iter().zip(self.fronts.iter_mut()) {
            let frame = &burst.frames()[usize::from(job.frame)];
            if let Err(reason) = front.build(&frame.head, job.tags) {
                tally.dropped(reason);
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
            let cut = matches!(frame.head.offload(), Ok(Offload { gso: Some(_), .. }));
            self.roads.push(if cut { Road::Queued } else { Road::Direct });
        }
        // The list of pieces has its place in memory only when it is complete.
        let mut begin = 0;
        for message in &mut self.messages {
            message.msg_hdr.msg_iov = self.pieces[begin..].as_mut_ptr();
            begin += message.msg_hdr.msg_iovlen;
        }
    }

    /// Sends messages that go the same way until the kernel refuses one; returns how many it took.
    fn send_some(&mut self, from: usize) -> io::Result<usize> {
        let road = self.roads[from];
        let run = self.roads[from..].iter().take_while(|&&next| next == road).count();
        let messages = &mut self.messages[from..from + run];
        let socket = match road {
            Road::Direct => &self.direct,
            Road::Queued => &self.queued,
        };
        // SAFETY: the messages point at pieces, these at fronts of ours and at bytes of the burst's scatter list,
        // which is valid while the burst is borrowed; the kernel writes only each message's `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as c_uint, 0)
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
                        tally.dropped(sys::refusal(&error));
                        done += 1;
                    }
                }
            }
        }
    }

    fn flush(&mut self) {}

    fn backlog(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
