//! What a worker sees of a port: queues that frames come from, and queues that frames go to.

use std::{io, ops::Range, os::fd::BorrowedFd};

use weft_core::DropReason;
use weft_offload::VnetHeader;
use weft_vlan::{Head, Tags, WireTag};

use crate::copy::copy_short;

/// Frames in a burst at most.
pub const BURST: usize = 64;
/// Bytes that a worker sets aside for the payload of one burst: room for the largest frame behind
/// 128 KiB of others, so that large frames are delivered while they are in the cache.
pub const ARENA: usize = ARENA_BUDGET + LARGEST_FRAME;
pub(crate) const ARENA_BUDGET: usize = 128 * 1024;
/// The largest frame that a device or a peer may hand over: 64 KiB of IP, headers and tags, rounded up.
pub(crate) const LARGEST_FRAME: usize = 70 * 1024;
/// Frames in the arena begin on cache lines; this is also more than a virtio-net header, so that behind every
/// beginning below [`ARENA_BUDGET`] there is room for that header and the largest frame.
pub(crate) const CACHE_LINE: usize = 64;

/// A queue that frames come from. Belongs to one worker.
pub trait Receive: Send {
    /// Returns the descriptor that becomes readable when frames wait.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Takes the frames that wait, [`BURST`] or a cache's worth at most, without blocking. An empty burst
    /// says that nothing waits.
    ///
    /// # Errors
    /// [`Fault`] when no frame will ever come again: the device is gone, the peer hung up.
    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault>;

    /// Tells whether frames are at hand that the last burst had no room for and the descriptor does not
    /// announce: [`Receive::receive`] is to be called again without waiting.
    fn holds_more(&self) -> bool {
        false
    }

    /// Tells whether asking for frames costs no system call: [`Receive::receive`] is to be called again and again
    /// while the worker is awake, and [`Receive::rest`] before it sleeps.
    fn is_polled(&self) -> bool {
        false
    }

    /// Takes note that the descriptor became readable; [`Receive::receive`] follows.
    fn announced(&mut self) {}

    /// Lets go of the last burst and has the next frames announced by the descriptor. `false` when frames wait already.
    fn rest(&mut self) -> bool {
        true
    }
}

/// A queue that frames go to. Shared by workers behind a lock that is taken once per burst.
pub trait Transmit: Send {
    /// Sends frames of a burst, in order, without blocking. What cannot be sent is tallied with its reason; what
    /// has to wait is tallied when [`Transmit::flush`] or [`Transmit::close`] decides what becomes of it.
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally);

    /// Sends what a full socket left over. Called when [`Transmit::backlog`] becomes writable.
    fn flush(&mut self, tally: &mut Tally);

    /// Drops what waits. Called when the port goes out of operation; nothing is sent from here on.
    fn close(&mut self, tally: &mut Tally);

    /// Returns the descriptor to watch for writability, edge-triggered, where a send can leave something over.
    fn backlog(&self) -> Option<BorrowedFd<'_>>;
}

/// The queues of a port that has just been opened.
pub struct Opened {
    /// Where frames come from; each is given to one worker.
    pub rx: Vec<Box<dyn Receive>>,
    /// Where frames go to.
    pub tx: Vec<Box<dyn Transmit>>,
}

/// A queue that has ended.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The device was removed.
    #[error("the device is gone")]
    DeviceGone,
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer broke the framing; nothing behind it can be trusted.
    #[error("the peer announced a frame of {0} bytes")]
    BadFraming(u32),
    /// The kernel refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One copy of one frame of a burst, to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The frame's position in the burst.
    pub frame: u16,
    /// The tags to put on it.
    pub tags: Tags,
}

/// What became of frames that were to be sent.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames sent.
    pub frames: u64,
    /// Their bytes as sent, tags included; a super-frame counts once with its whole length.
    pub bytes: u64,
    /// Frames not sent, with the reason.
    pub drops: Vec<(DropReason, u64)>,
    /// Whether those frames are to be named.
    pub follows: bool,
    /// The positions of those that can be named, with the reason, where somebody wants to know.
    pub lost: Vec<(u16, DropReason)>,
}

impl Tally {
    /// Counts a frame that was sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    /// Counts the frame of a job that was not sent.
    pub fn lost(&mut self, job: &Job, reason: DropReason) {
        self.dropped(reason);
        if self.follows {
            self.lost.push((job.frame, reason));
        }
    }

    /// Counts a frame that was not sent, whichever it was.
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        match self.drops.iter_mut().find(|(counted, _)| *counted == reason) {
            Some((_, frames)) => *frames += 1,
            None => self.drops.push((reason, 1)),
        }
    }
}

/// A received frame: its head, and where the rest of it is.
#[derive(Clone, Debug)]
pub struct RxFrame {
    /// The copied head with tag and offload metadata beside it.
    pub head: Head,
    /// The rest of the frame, as positions in the burst's scatter list.
    rest: Range<u32>,
}

/// Frames that arrived but never became part of a burst.
pub type Refused = (DropReason, u64);

/// A worker's memory for one burst: heads, scatter list, and an arena for what kernel reads bring.
pub struct Scratch {
    pub(crate) arrivals: Arrivals,
    pub(crate) arena: Box<[u8]>,
}

impl Scratch {
    /// Sets the memory aside.
    pub fn new() -> Self {
        let arrivals = Arrivals {
            frames: vec![RxFrame { head: Head::empty(), rest: 0..0 }; 2 * BURST],
            count: 0,
            rest: Vec::with_capacity(8 * BURST),
            refused: Vec::with_capacity(DropReason::COUNT),
        };
        Self { arrivals, arena: vec![0; ARENA].into_boxed_slice() }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// The frames of a burst while it is being received.
pub(crate) struct Arrivals {
    /// Heads are filled where they stand; those behind `count` are of earlier bursts.
    frames: Vec<RxFrame>,
    count: usize,
    rest: Vec<libc::iovec>,
    refused: Vec<Refused>,
}

// SAFETY: the pointers in `rest` are only followed through a `Burst`, which borrows these arrivals and the
// queue that filled them; between bursts they are dead values.
unsafe impl Send for Arrivals {}

impl Arrivals {
    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.rest.clear();
        self.refused.clear();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count >= BURST
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.refused.is_empty()
    }

    /// Tells whether there are frames, beside those that were refused.
    pub(crate) fn has_frames(&self) -> bool {
        self.count > 0
    }

    /// Adds a frame that lies in one piece of memory.
    ///
    /// # Safety
    /// `frame` to `frame + len` can be read, and nobody writes to it, until the burst that is made of these
    /// arrivals ends: it is memory of the scratch's arena or of the receiving queue, both borrowed by the burst.
    pub(crate) unsafe fn push(
        &mut self,
        frame: *const u8,
        len: usize,
        stripped: Option<WireTag>,
        vnet: Option<&VnetHeader>,
    ) {
        let copied = len.min(Head::PREFIX);
        let head = self.next();
        // SAFETY: the caller says that the frame can be read, and a head has room for its first bytes.
        unsafe { copy_short(frame, head.room().as_mut_ptr(), copied) };
        head.settle(copied, len, stripped);
        check_offload(head, vnet);
        let behind = head.consumed();
        // SAFETY: a head never stands for more bytes than the frame has; the caller says that they can be read.
        unsafe { self.string(frame.add(behind), len - behind) };
    }

    /// Adds a frame, whose head the caller fills.
    pub(crate) fn next(&mut self) -> &mut Head {
        if self.count == self.frames.len() {
            self.frames.push(RxFrame { head: Head::empty(), rest: 0..0 });
        }
        let begin = self.rest.len() as u32;
        let frame = &mut self.frames[self.count];
        self.count += 1;
        frame.rest = begin..begin;
        &mut frame.head
    }

    /// Adds bytes to the end of the last frame.
    ///
    /// # Safety
    /// As for [`Arrivals::push`].
    pub(crate) unsafe fn string(&mut self, bytes: *const u8, len: usize) {
        if len == 0 {
            return;
        }
        self.rest.push(libc::iovec { iov_base: bytes.cast_mut().cast(), iov_len: len });
        if let Some(last) = self.frames[..self.count].last_mut() {
            last.rest.end = self.rest.len() as u32;
        }
    }

    /// Returns the head of the last frame.
    pub(crate) fn last(&mut self) -> Option<&mut Head> {
        self.frames[..self.count].last_mut().map(|frame| &mut frame.head)
    }

    /// Counts frames that do not become part of the burst.
    pub(crate) fn refuse(&mut self, reason: DropReason, frames: u64) {
        match self.refused.iter_mut().find(|(counted, _)| *counted == reason) {
            Some((_, counted)) => *counted += frames,
            None => self.refused.push((reason, frames)),
        }
    }

    /// Returns the burst. It borrows what the frames lie in by its lifetime.
    pub(crate) fn burst(&self) -> Burst<'_> {
        Burst { frames: &self.frames[..self.count], rest: &self.rest, refused: &self.refused }
    }
}

/// Makes the head of a frame, with its offload metadata beside it.
pub(crate) fn read_head(
    prefix: &[u8],
    len: usize,
    stripped: Option<WireTag>,
    vnet: Option<&VnetHeader>,
) -> Head {
    let mut head = Head::read(prefix, len, stripped);
    check_offload(&mut head, vnet);
    head
}

/// Puts beside a frame what is left to do on it, which was said in front of it.
#[inline]
pub(crate) fn check_offload(head: &mut Head, vnet: Option<&VnetHeader>) {
    if let Some(vnet) = vnet {
        let offload = vnet.check(head);
        head.set_offload(offload);
    }
}

/// Received frames, valid while the queue and the scratch are borrowed.
pub struct Burst<'b> {
    frames: &'b [RxFrame],
    rest: &'b [libc::iovec],
    refused: &'b [Refused],
}

impl Burst<'_> {
    /// Returns the frames, in the order of arrival.
    pub fn frames(&self) -> &[RxFrame] {
        self.frames
    }

    /// Returns what the port itself had to refuse.
    pub fn refused(&self) -> &[Refused] {
        self.refused
    }

    /// Returns in how many pieces the bytes behind the heads lie: of segments that have become one frame, each lies where
    /// it came.
    pub fn pieces(&self) -> usize {
        self.rest.len()
    }

    /// Tells whether nothing arrived at all.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.refused.is_empty()
    }

    /// Returns the scatter list of the bytes behind a frame's head.
    pub(crate) fn rest_of(&self, frame: &RxFrame) -> &[libc::iovec] {
        &self.rest[frame.rest.start as usize..frame.rest.end as usize]
    }
}
