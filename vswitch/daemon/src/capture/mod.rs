//! Frames shown to those who ask: each worker puts copies into a ring of its own, a thread for each client takes them out,
//! sorts, chooses and writes. A ring that is full costs copies, which are counted, never a frame.

mod follow;
mod names;
mod record;
mod rings;
mod session;
mod tap;

#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::Builder,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use tokio::sync::{mpsc, oneshot};
use weft_capture::{Filter, Way};
use weft_vlan::VlanSet;

use self::{
    follow::Follow,
    rings::Rings,
    session::{End, Session},
    tap::Wanted,
};
pub(crate) use self::{
    names::Names,
    tap::{Nobody, Tap, Taps, Watch, Watched},
};

/// Bytes of a ring: what a worker may be ahead of the thread that captures.
const CAPTURE_RING: usize = 4 << 20;
/// The same for dropped frames, of which only heads are told.
const FOLLOW_RING: usize = 256 << 10;
/// How often the rings are emptied: workers never wake anybody.
const PERIOD: Duration = Duration::from_millis(5);
/// Pieces of output that may wait for a client.
const WAITING: usize = 4;
/// How long a client that does not read is waited for when its capture is over.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a dropped frame that its addresses are read from.
const HEAD: u32 = 128;

/// What is to be captured.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Only frames of these VLANs.
    pub(crate) vlans: Option<VlanSet>,
    /// Only frames that go this way.
    pub(crate) way: Option<Way>,
    /// Only dropped ones.
    pub(crate) drops: bool,
    /// Only those that it lets through, and its text.
    pub(crate) filter: (Filter, String),
    /// Bytes of a frame that are kept at most.
    pub(crate) snaplen: u32,
    /// Ends after so many frames.
    pub(crate) count: Option<u64>,
    /// Ends after so long.
    pub(crate) duration: Option<Duration>,
}

/// A thread that has begun to write for a client.
pub(crate) struct Begun {
    /// One for each worker.
    pub(crate) taps: Vec<Tap>,
    /// What it writes.
    pub(crate) output: mpsc::Receiver<Bytes>,
    /// Ends it.
    pub(crate) stop: Stop,
    /// Tells what it did when it has ended.
    pub(crate) ended: oneshot::Receiver<Outcome>,
}

/// What a thread has written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Frames.
    pub(crate) frames: u64,
    /// Frames that were lost.
    pub(crate) lost: u64,
}

/// Ends a capture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Has it ended as soon as it can be.
    pub(crate) fn stop(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Begins to capture for a client.
///
/// # Errors
/// When there is no thread for it.
pub(crate) fn capture(
    id: u64,
    workers: usize,
    names: &Arc<ArcSwap<Names>>,
    plot: Plot,
) -> io::Result<Begun> {
    // A filter may look further than anybody wants to keep.
    let depth = if plot.filter.0.wants_all() { 0 } else { Filter::DEPTH as u32 };
    let wanted = Wanted {
        vlans: plot.vlans.clone(),
        way: plot.way,
        drops: plot.drops,
        snaplen: plot.snaplen.max(depth),
    };
    let (taps, rings) = taps(id, workers, names, &wanted, CAPTURE_RING);
    let stop = Stop::default();
    let end = End::new(plot.count, plot.duration, stop.clone());
    let names = names.clone();
    begin("weft-capture", taps, stop, move |output| {
        Session::new(rings, names, &plot, end, output).run()
    })
}

/// Begins to tell a client what is dropped, in so many lines a second at most.
///
/// # Errors
/// When there is no thread for it.
pub(crate) fn follow(
    id: u64,
    workers: usize,
    names: &Arc<ArcSwap<Names>>,
    lines: usize,
) -> io::Result<Begun> {
    let wanted = Wanted { vlans: None, way: None, drops: true, snaplen: HEAD };
    let (taps, rings) = taps(id, workers, names, &wanted, FOLLOW_RING);
    let stop = Stop::default();
    let (names, end) = (names.clone(), stop.clone());
    begin("weft-drops", taps, stop, move |output| {
        Follow::new(rings, names, lines, end, output).run()
    })
}

fn taps(
    id: u64,
    workers: usize,
    names: &Arc<ArcSwap<Names>>,
    wanted: &Wanted,
    ring: usize,
) -> (Vec<Tap>, Rings) {
    let mut rings = Rings::default();
    let taps = (0..workers)
        .map(|_| {
            let (into, from) = rtrb::RingBuffer::new(ring);
            let tap = Tap::new(id, into, names.clone(), wanted.clone());
            rings.add(from, tap.lost());
            tap
        })
        .collect();
    (taps, rings)
}

fn begin(
    name: &str,
    taps: Vec<Tap>,
    stop: Stop,
    run: impl FnOnce(mpsc::Sender<Bytes>) -> Outcome + Send + 'static,
) -> io::Result<Begun> {
    let (sender, output) = mpsc::channel(WAITING);
    let (tell, ended) = oneshot::channel();
    Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waits for it when the daemon ends.
        let _ = tell.send(run(sender));
    })?;
    Ok(Begun { taps, output, stop, ended })
}
