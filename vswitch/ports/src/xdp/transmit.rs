//! The sending side of a queue: each frame is copied into a chunk, finished there, and all of a burst are shown to the
//! kernel at once. A super-frame is cut: a device takes none from such a socket. Tags go in band.

use std::{io, os::fd::BorrowedFd, slice, sync::Arc};

use weft_core::DropReason;
use weft_offload::{Segments, finish_checksum};
use weft_vlan::Gso;

use super::{
    RX_SLOTS, Socket, TX_SLOTS,
    ring::{Consumer, Producer},
};
use crate::{Burst, Job, Tally, Transmit, egress::append, event::Event};

/// Frames that a call sends at least, where the device has room: Linux `TX_BATCH_SIZE`.
const FRAMES_A_CALL: u32 = 32;

pub(super) struct XdpTransmit {
    socket: Arc<Socket>,
    sending: Producer<libc::xdp_desc>,
    completed: Consumer<u64>,
    /// The chunks that are not on their way.
    free: Vec<u64>,
    /// A super-frame in one piece, and a segment of it.
    whole: Vec<u8>,
    segment: Vec<u8>,
    /// Whether the device was down when it was looked at last.
    is_down: bool,
    /// Whether the kernel has left frames in the ring, of which it has to be told again.
    is_left: bool,
    /// What has a worker call `flush`: it is always writable, and said to be so anew when it is read.
    again: Event,
}

impl XdpTransmit {
    pub(super) fn new(
        socket: Arc<Socket>,
        sending: Producer<libc::xdp_desc>,
        completed: Consumer<u64>,
    ) -> io::Result<Self> {
        let free = (RX_SLOTS..RX_SLOTS + TX_SLOTS).map(|chunk| socket.memory.address(chunk));
        Ok(Self {
            free: free.collect(),
            socket,
            sending,
            completed,
            whole: Vec::new(),
            segment: Vec::new(),
            is_down: false,
            is_left: false,
            again: Event::new()?,
        })
    }

    fn put(&mut self, burst: &Burst<'_>, job: &Job) -> Result<usize, DropReason> {
        let frame = &burst.frames()[usize::from(job.frame)];
        let offload = frame.head.offload().map_err(|_| DropReason::BadOffload)?;
        if let Some(gso) = offload.gso {
            return self.put_cut(burst, job, gso);
        }
        let mut reader = burst.reader(job);
        let len = reader.len();
        self.check_room(len, 1)?;
        let chunk = self.free.pop().ok_or(DropReason::QueueFull)?;
        let bytes = self.socket.chunk(chunk, len);
        reader.read(bytes);
        if let Some(csum) = offload.csum
            && finish_checksum(bytes, csum, job.tags.wire_len()).is_err()
        {
            self.free.push(chunk);
            return Err(DropReason::BadOffload);
        }
        self.show(chunk, len)?;
        Ok(len)
    }

    fn put_cut(&mut self, burst: &Burst<'_>, job: &Job, gso: Gso) -> Result<usize, DropReason> {
        let frame = &burst.frames()[usize::from(job.frame)];
        let pushed = job.tags.wire_len();
        let len = frame.head.untagged_len() + pushed;
        let headers = usize::from(gso.header_len) + pushed;
        let segments = len.saturating_sub(headers).div_ceil(usize::from(gso.size.max(1)));
        self.check_room(headers + usize::from(gso.size), segments)?;
        self.whole.clear();
        append(&mut self.whole, &frame.head, burst.rest_of(frame), job.tags);
        let whole = std::mem::take(&mut self.whole);
        let segments = Segments::new(&whole, gso, pushed).map_err(|_| DropReason::BadOffload);
        let cut = segments.and_then(|mut segments| {
            while let Some(len) = self.next_segment(&mut segments) {
                let chunk = self.free.pop().ok_or(DropReason::QueueFull)?;
                self.socket.chunk(chunk, len).copy_from_slice(&self.segment);
                self.show(chunk, len)?;
            }
            Ok(len)
        });
        self.whole = whole;
        cut
    }

    fn next_segment(&mut self, segments: &mut Segments<'_>) -> Option<usize> {
        self.segment.clear();
        segments.next_into(&mut self.segment)
    }

    /// Sees to it that there are chunks, and places in the ring, for so many frames of this length.
    fn check_room(&mut self, len: usize, chunks: usize) -> Result<(), DropReason> {
        if len > self.socket.memory.room() || chunks > TX_SLOTS as usize {
            return Err(DropReason::Oversize);
        }
        if !self.has_room(chunks) {
            self.hand_over();
            self.reclaim();
        }
        if self.has_room(chunks) { Ok(()) } else { Err(DropReason::QueueFull) }
    }

    /// Both are looked at: a kernel may give a chunk back before it says that it has read its place in the ring.
    fn has_room(&mut self, chunks: usize) -> bool {
        self.free.len() >= chunks && self.sending.has_room(chunks as u32)
    }

    /// Writes a frame that is complete in its chunk into the ring.
    fn show(&mut self, chunk: u64, len: usize) -> Result<(), DropReason> {
        if self.sending.put(libc::xdp_desc { addr: chunk, len: len as u32, options: 0 }) {
            return Ok(());
        }
        self.free.push(chunk);
        Err(DropReason::QueueFull)
    }

    /// Takes back the chunks of frames that have been sent.
    fn reclaim(&mut self) {
        while let Some(chunk) = self.completed.take() {
            self.free.push(chunk);
        }
        self.completed.release();
    }

    /// Has the kernel send what is in the ring.
    fn hand_over(&mut self) {
        self.sending.publish();
        self.is_left = false;
        if !self.sending.needs_wakeup() {
            return;
        }
        // How far the kernel has come is what it answers, not what stands in the ring, where that comes late.
        let mut kicked = Ok(());
        for _ in 0..self.sending.unread().div_ceil(FRAMES_A_CALL) {
            kicked = self.socket.kick();
            if !kicked.as_ref().is_err_and(says_again) {
                break;
            }
        }
        self.is_down = kicked.as_ref().is_err_and(says_down);
        self.is_left = kicked.as_ref().is_err_and(says_full);
        if self.is_left {
            self.again.signal();
            self.again.reset();
        }
    }
}

impl Socket {
    /// Returns the first bytes of a chunk that is for sending.
    #[expect(clippy::mut_from_ref, reason = "whoever has a chunk's address has the chunk alone")]
    fn chunk(&self, address: u64, len: usize) -> &mut [u8] {
        match self.memory.at(address, len) {
            // SAFETY: the bytes are in mapped memory, and in a chunk that is in nobody else's hands: it was in the free
            // list and is in no ring.
            Some(bytes) => unsafe { slice::from_raw_parts_mut(bytes, len) },
            None => &mut [],
        }
    }
}

/// Tells whether the kernel sent as many as it sends by one call, or found no room.
fn says_again(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAGAIN)
}

/// Tells whether the kernel found no room, neither for all frames nor, `EBUSY`, for one that it has dropped.
fn says_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::ENOMEM))
}

fn says_down(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENXIO))
}

impl Transmit for XdpTransmit {
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        self.reclaim();
        if self.is_down {
            self.is_down = self.socket.kick().as_ref().is_err_and(says_down);
        }
        for job in jobs {
            let put = if self.is_down { Err(DropReason::PortDown) } else { self.put(burst, job) };
            match put {
                Ok(len) => tally.sent(len),
                Err(reason) => tally.lost(job, reason),
            }
        }
        self.hand_over();
    }

    fn flush(&mut self, _: &mut Tally) {
        if self.is_left {
            self.hand_over();
        }
    }

    fn close(&mut self, _: &mut Tally) {
        self.is_left = false;
    }

    fn backlog(&self) -> Option<BorrowedFd<'_>> {
        Some(self.again.fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_leaves_is_told_from_what_is_lost() {
        for (code, again, full, down) in [
            (libc::EAGAIN, true, true, false),
            (libc::EBUSY, false, true, false),
            (libc::ENOBUFS, false, true, false),
            (libc::ENETDOWN, false, false, true),
            (libc::ENXIO, false, false, true),
            (libc::EINVAL, false, false, false),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(
                (says_again(&error), says_full(&error), says_down(&error)),
                (again, full, down),
                "{error}"
            );
        }
    }
}
