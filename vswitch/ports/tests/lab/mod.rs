//! Hosts in network namespaces, raw frames, and queues to feed and to look into. Everything fails by panicking,
//! since every caller is a test.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]
#![allow(clippy::disallowed_methods, reason = "a test waits by the real clock")]

pub(crate) mod driver;
mod host;
pub(crate) mod memory;
mod raw;
mod tags;
mod transfer;
pub(crate) mod tunnel;

use std::{
    io::{Read, Write},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

pub(crate) use host::{Host, enter, ip};
pub(crate) use raw::{Raw, RawTap};
pub(crate) use tags::put_tags_on;
pub(crate) use transfer::Transfer;
use weft_core::DropReason;
use weft_ports::{
    Burst, Fault, Job, Opened, Receive, Scratch, Tally, Transmit, link::Links, packet, stream, xdp,
};
use weft_vlan::{Head, Tags, Tci, Tpid, WireTag};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// An EtherType that no stack sends by itself: IEEE 802, local experiments.
pub(crate) const EXPERIMENT: u16 = 0x88b5;

/// Makes a tag.
pub(crate) fn tag(tpid: Tpid, tci: u16) -> WireTag {
    WireTag::new(tpid, Tci::from_bits(tci))
}

/// Makes a frame of `len` bytes in all, with these tags and a content that tells it from others.
pub(crate) fn frame(tags: &[WireTag], len: usize, seed: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend(tag.to_bytes());
    }
    frame.extend(EXPERIMENT.to_be_bytes());
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    while frame.len() < len {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        frame.push(state as u8);
    }
    frame.truncate(len);
    frame
}

/// Waits until a condition holds.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// Tells whether a descriptor becomes readable in time.
pub(crate) fn is_readable(fd: BorrowedFd<'_>, time: Duration) -> bool {
    let mut ready = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the kernel reads and writes one entry.
    unsafe { libc::poll(&raw mut ready, 1, time.as_millis() as libc::c_int) == 1 }
}

/// A backlog's descriptor as a worker watches it: edge-triggered, for writability.
pub(crate) struct Watched(OwnedFd);

impl Watched {
    pub(crate) fn new(tx: &dyn Transmit) -> Self {
        let fd = tx.backlog().expect("it can leave something over").as_raw_fd();
        let mut event =
            libc::epoll_event { events: (libc::EPOLLOUT | libc::EPOLLET) as u32, u64: 0 };
        // SAFETY: the kernel reads one event; the descriptor is new.
        unsafe {
            let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event), 0);
            Self(OwnedFd::from_raw_fd(epoll))
        }
    }

    /// Tells whether it became writable since this was last asked.
    pub(crate) fn fired(&self) -> bool {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the kernel writes at most one event.
        unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, 0) == 1 }
    }
}

/// Opens a packet port on a device of this thread's namespace.
pub(crate) fn open_packet(device: &str) -> Opened {
    packet::open(Links::open().unwrap().index(device).unwrap()).unwrap()
}

/// Opens an AF_XDP port on a device of this thread's namespace.
pub(crate) fn open_xdp(device: &str) -> (Opened, xdp::Road) {
    xdp::open(Links::open().unwrap().index(device).unwrap()).unwrap()
}

/// What one burst brought.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) heads: Vec<Head>,
    /// The whole frames, their outermost tag in place.
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) refused: Vec<(DropReason, u64)>,
}

impl Received {
    pub(crate) fn refused(&self, reason: DropReason) -> u64 {
        self.refused
            .iter()
            .filter(|(counted, _)| *counted == reason)
            .map(|(_, frames)| frames)
            .sum()
    }
}

/// Looks into the frames of a receiving queue: sends them into a stream and reads that.
pub(crate) struct Sink {
    tx: Box<dyn Transmit>,
    far: UnixStream,
    scratch: Scratch,
}

impl Sink {
    pub(crate) fn new() -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        let mut opened = stream::attach(near.into()).unwrap();
        far.set_nonblocking(true).unwrap();
        Self { tx: opened.tx.remove(0), far, scratch: Scratch::new() }
    }

    /// Receives one burst.
    pub(crate) fn receive(&mut self, rx: &mut dyn Receive) -> Result<Received, Fault> {
        let mut received = Received::default();
        let burst = rx.receive(&mut self.scratch)?;
        received.refused.extend(burst.refused());
        for (frame, position) in burst.frames().iter().zip(0..) {
            received.heads.push(frame.head.clone());
            let tags = Tags { vlan: frame.head.tag(), payload: None };
            let mut tally = Tally::default();
            self.tx.send(&burst, &[Job { frame: position, tags }], &mut tally);
            let frames = read_framed(&mut self.far, || self.tx.flush(&mut tally));
            assert_eq!((tally.frames, &tally.drops[..]), (1, &[][..]));
            received.frames.extend(frames);
        }
        Ok(received)
    }

    /// Receives bursts until this many experimental frames have come; what a kernel sends by itself is left out.
    pub(crate) fn expect(&mut self, rx: &mut dyn Receive, count: usize) -> Received {
        let mut all = Received::default();
        until(&format!("{count} frames"), || {
            let burst = self.receive(rx).unwrap();
            all.refused.extend(burst.refused);
            for (head, frame) in burst.heads.into_iter().zip(burst.frames) {
                if is_experiment(&frame) {
                    all.heads.push(head);
                    all.frames.push(frame);
                }
            }
            (all.frames.len() >= count).then_some(())
        });
        all
    }
}

/// Tells whether a frame is one of [`frame`]'s.
pub(crate) fn is_experiment(frame: &[u8]) -> bool {
    frame.get(6..12) == Some(&[2, 0, 0, 0, 0, 1])
}

/// Reads one frame or more with their lengths.
pub(crate) fn read_framed(from: &mut UnixStream, mut flush: impl FnMut()) -> Vec<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => panic!("the port hung up"),
            Ok(len) => bytes.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => flush(),
            Err(error) => panic!("{error}"),
        }
        if let Some(frames) = split_framed(&bytes) {
            return frames;
        }
    }
}

/// Splits a stream into frames, `None` while the last one is not complete or there is none.
fn split_framed(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let len = u32::from_be_bytes(*length) as usize;
        frames.push(rest.get(..len)?.to_vec());
        bytes = &rest[len..];
    }
    (bytes.is_empty() && !frames.is_empty()).then_some(frames)
}

/// Puts a length in front of a frame.
pub(crate) fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

/// Sends frames that the test makes through a sending queue.
pub(crate) struct Source {
    rx: Box<dyn Receive>,
    far: UnixStream,
    scratch: Scratch,
}

impl Source {
    pub(crate) fn new() -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        let mut opened = stream::attach(near.into()).unwrap();
        Self { rx: opened.rx.remove(0), far, scratch: Scratch::new() }
    }

    /// Sends a frame with other tags than its own outermost.
    pub(crate) fn send(&mut self, tx: &mut dyn Transmit, frame: &[u8], tags: Tags) -> Tally {
        let Self { rx, far, scratch } = self;
        let mut tally = Tally::default();
        std::thread::scope(|scope| {
            // A large frame does not fit the socket at once.
            scope.spawn(|| far.write_all(&framed(frame)).unwrap());
            until("the frame", || {
                let burst = rx.receive(scratch).unwrap();
                if burst.is_empty() {
                    return None;
                }
                tx.send(&burst, &[Job { frame: 0, tags }], &mut tally);
                Some(())
            });
        });
        tally
    }

    /// Sends frames that fit the socket together, in one burst, with their own outermost tags.
    pub(crate) fn send_together(&mut self, tx: &mut dyn Transmit, frames: &[Vec<u8>]) -> Tally {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
        self.far.write_all(&bytes).unwrap();
        let burst = self.rx.receive(&mut self.scratch).unwrap();
        assert_eq!(burst.frames().len(), frames.len());
        let mut tally = Tally::default();
        tx.send(&burst, &jobs_for(&burst, Tagging::Keep), &mut tally);
        tally
    }

    /// Sends a frame with its own outermost tag.
    pub(crate) fn send_as_it_is(&mut self, tx: &mut dyn Transmit, bytes: &[u8]) -> Tally {
        let head = Head::read(&bytes[..bytes.len().min(Head::PREFIX)], bytes.len(), None);
        self.send(tx, bytes, Tags { vlan: head.tag(), payload: None })
    }
}

/// What to do with the outermost tag of a frame on its way.
#[derive(Clone, Copy)]
pub(crate) enum Tagging {
    Keep,
    Push(WireTag),
    Remove,
}

/// What passed one way.
#[derive(Default)]
pub(crate) struct Passed {
    pub(crate) frames: u64,
    /// The longest frame that stood for several segments.
    pub(crate) longest: usize,
    pub(crate) tally: Tally,
    pub(crate) refused: u64,
}

/// Passes what waits from one queue to another.
pub(crate) fn pass(
    rx: &mut dyn Receive,
    tx: &mut dyn Transmit,
    scratch: &mut Scratch,
    tagging: Tagging,
    passed: &mut Passed,
) {
    loop {
        let burst = rx.receive(scratch).unwrap();
        passed.refused += burst.refused().iter().map(|(_, frames)| frames).sum::<u64>();
        passed.frames += burst.frames().len() as u64;
        let jobs = jobs_for(&burst, tagging);
        for frame in burst.frames() {
            if frame.head.offload().is_ok_and(|offload| offload.gso.is_some()) {
                passed.longest = passed.longest.max(frame.head.untagged_len());
            }
        }
        tx.send(&burst, &jobs, &mut passed.tally);
        if !rx.holds_more() {
            return;
        }
    }
}

/// Makes a job of every frame of a burst.
pub(crate) fn jobs_for(burst: &Burst<'_>, tagging: Tagging) -> Vec<Job> {
    let jobs = burst.frames().iter().zip(0..).map(|(frame, position)| {
        let vlan = match tagging {
            Tagging::Keep => frame.head.tag(),
            Tagging::Push(tag) => {
                assert_eq!(frame.head.tag(), None, "a tag where none should be");
                Some(tag)
            }
            Tagging::Remove => None,
        };
        Job { frame: position, tags: Tags { vlan, payload: None } }
    });
    jobs.collect()
}
