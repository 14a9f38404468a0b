//! What a worker sees of a port: queues that frames come from, and queues that frames go to.

use std::{io, ops::Range, os::fd::BorrowedFd};

use weft_core::DropReason;
use weft_vlan::{Head, Tags};

/// Frames in a burst at most.
pub const BURST: usize = 64;
/// Bytes that a worker sets aside for the payload of one burst: room for the largest frame behind
/// [`ARENA_BUDGET`] bytes of others, so that large frames are delivered while they are in the cache.
pub const ARENA: usize = ARENA_BUDGET + LARGEST_FRAME;
pub(crate) const ARENA_BUDGET: usize = 128 * 1024;
/// The largest frame that a device or a peer may hand over: 64 KiB of IP, headers and tags, rounded up.
pub(crate) const LARGEST_FRAME: usize = 70 * 1024;

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
}

/// A queue that frames go to. Shared by workers behind a lock that is taken once per burst.
pub trait Transmit: Send {
    /// Sends frames of a burst, in order, without blocking. What cannot be sent is tallied with its reason.
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally);

    /// Sends what a full socket left over. Called when [`Transmit::backlog`] becomes writable.
    fn flush(&mut self);

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

/// What became of the jobs of one [`Transmit::send`].
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames sent.
    pub frames: u64,
    /// Their bytes as sent, tags included; a super-frame counts once with its whole length.
    pub bytes: u64,
    /// Frames not sent, with the reason.
    pub drops: Vec<(DropReason, u64)>,
}

/// A received frame: its head, and where the rest of it is.
#[derive(Clone, Debug)]
pub struct RxFrame {
    /// The copied head with tag and offload metadata beside it.
    pub head: Head,
    /// The rest of the frame, as positions in the burst's scatter list.
    pub(crate) rest: Range<u32>,
}

/// Frames that arrived but never became part of a burst.
pub type Refused = (DropReason, u64);

/// A worker's memory for one burst: heads, scatter list, and an arena for what kernel reads bring.
pub struct Scratch {
    pub(crate) frames: Vec<RxFrame>,
    pub(crate) rest: Vec<libc::iovec>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) arena: Box<[u8]>,
}

// SAFETY: the pointers in `rest` are only followed through a `Burst`, which borrows the scratch and the
// queue that filled it; between bursts they are dead values.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Sets the memory aside.
    pub fn new() -> Self {
        Self {
            frames: Vec::with_capacity(BURST),
            rest: Vec::with_capacity(BURST),
            refused: Vec::with_capacity(4),
            arena: vec![0; ARENA].into_boxed_slice(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Received frames, valid while the queue and the scratch are borrowed.
pub struct Burst<'b> {
    pub(crate) frames: &'b [RxFrame],
    pub(crate) rest: &'b [libc::iovec],
    pub(crate) refused: &'b [Refused],
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

    /// Tells whether nothing arrived at all.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.refused.is_empty()
    }

    /// Returns the scatter list of the bytes behind a frame's head.
    #[allow(dead_code)]
    pub(crate) fn rest_of(&self, frame: &RxFrame) -> &[libc::iovec] {
        &self.rest[frame.rest.start as usize..frame.rest.end as usize]
    }
}
