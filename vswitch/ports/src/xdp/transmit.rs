//! The sending side of a queue: each frame is copied into a chunk, finished there, and all of a burst are shown to the
//! kernel at once. A super-frame is cut: a device takes none from such a socket. Tags go in band.

use std::{
    io,
    os::fd::BorrowedFd,
    slice,
    sync::{Arc, atomic::Ordering},
};

use weft_core::DropReason;
use weft_offload::{Segments, finish_checksum};
use weft_vlan::Gso;

use super::{
    RX_SLOTS, Socket, TX_SLOTS,
    ring::{Consumer, Producer},
};
use crate::{Burst, Job, Tally, Transmit, egress::append};

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
}

impl XdpTransmit {
    pub(super) fn new(
        socket: Arc<Socket>,
        sending: Producer<libc::xdp_desc>,
        completed: Consumer<u64>,
    ) -> Self {
        let free = (RX_SLOTS..RX_SLOTS + TX_SLOTS).map(|chunk| socket.memory.address(chunk));
        Self {
            free: free.collect(),
            socket,
            sending,
            completed,
            whole: Vec::new(),
            segment: Vec::new(),
            is_down: false,
        }
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
        self.show(chunk, len);
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
        let cut = Segments::new(&whole, gso, pushed).map(|mut segments| {
            while let Some(len) = self.next_segment(&mut segments) {
                // The room was seen to.
                let Some(chunk) = self.free.pop() else { break };
                self.socket.chunk(chunk, len).copy_from_slice(&self.segment);
                self.show(chunk, len);
            }
        });
        self.whole = whole;
        cut.map(|()| len).map_err(|_| DropReason::BadOffload)
    }

    fn next_segment(&mut self, segments: &mut Segments<'_>) -> Option<usize> {
        self.segment.clear();
        segments.next_into(&mut self.segment)
    }

    /// Sees to it that there are chunks for so many frames of this length.
    fn check_room(&mut self, len: usize, chunks: usize) -> Result<(), DropReason> {
        if len > self.socket.memory.room() || chunks > TX_SLOTS as usize {
            return Err(DropReason::Oversize);
        }
        if self.free.len() < chunks {
            self.hand_over();
            self.reclaim();
        }
        if self.free.len() < chunks { Err(DropReason::QueueFull) } else { Ok(()) }
    }

    /// Writes a frame that is complete in its chunk into the ring, which has room for every chunk that there is.
    fn show(&mut self, chunk: u64, len: usize) {
        self.sending.put(libc::xdp_desc { addr: chunk, len: len as u32, options: 0 });
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
        if !self.sending.needs_wakeup() {
            return;
        }
        let mut unread = self.sending.unread();
        while unread > 0 {
            let kicked = self.socket.kick();
            self.is_down = kicked.as_ref().is_err_and(says_down);
            let left = self.sending.unread();
            // A call sends only so many at once, and says "again".
            if left == unread {
                break;
            }
            unread = left;
        }
        self.socket.stuck.store(unread > 0 && !self.is_down, Ordering::Relaxed);
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

    /// Has the kernel send what it left in the ring before; `false` when it is still to be told again.
    pub(super) fn retry(&self) -> bool {
        let done = self.kick().map_or_else(|error| says_down(&error), |()| true);
        self.stuck.store(!done, Ordering::Relaxed);
        done
    }
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
                Err(reason) => tally.dropped(reason),
            }
        }
        self.hand_over();
    }

    fn flush(&mut self, _: &mut Tally) {}

    fn close(&mut self, _: &mut Tally) {}

    fn backlog(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
