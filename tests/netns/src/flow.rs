//! A TCP stream between two hosts whose every byte is compared where it arrives, for as long as a test does other
//! things to the network between them.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Host, Namespace, PATIENCE, until_some};

const CHUNK: usize = 64 * 1024;
/// How long a stream may stand still: a path's loss is noticed only after some, and TCP waits ever longer.
const STANDSTILL: Duration = Duration::from_secs(60);
/// A prime, so that no length of a segment makes a shifted stream look right.
const PERIOD: u64 = 251;

/// How a stream is written.
#[derive(Clone, Copy)]
struct Pace {
    chunk: usize,
    /// Between two chunks.
    pause: Duration,
}

/// Fast enough to fill the path, slow enough to leave the machine to others.
const FULL: Pace = Pace { chunk: CHUNK, pause: Duration::from_millis(2) };
/// Something is always on its way, and dozens of them leave the machine to others.
const TRICKLE: Pace = Pace { chunk: 4096, pause: Duration::from_millis(40) };

/// A running stream.
#[derive(Debug)]
pub struct Flow {
    to: SocketAddr,
    arrived: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<u64>>,
    reader: Option<JoinHandle<u64>>,
}

impl Flow {
    /// Starts a stream from one host to an address of another.
    ///
    /// # Panics
    /// When they cannot connect.
    #[track_caller]
    pub fn start(from: &Host, to: &Host, address: &str) -> Self {
        Self::between(from.space(), to.space(), address)
    }

    /// Starts a stream from one namespace to an address of another.
    ///
    /// # Panics
    /// When they cannot connect.
    #[track_caller]
    pub fn between(from: &Namespace, to: &Namespace, address: &str) -> Self {
        let address: IpAddr = address.parse().expect("an IP address");
        let listener =
            to.enter(|| TcpListener::bind((address, 0))).expect("the receiving host can listen");
        let target = listener.local_addr().expect("a listener has an address");
        let sender = from
            .enter(|| TcpStream::connect_timeout(&target, PATIENCE))
            .expect("the hosts can connect");
        let (receiver, _) = listener.accept().expect("a connection that was made is there");
        Self::over(target, sender, receiver, FULL)
    }

    /// Starts a stream from a namespace to somebody who sends back what comes and hangs up at its end; what comes back is
    /// compared.
    ///
    /// # Panics
    /// When they cannot connect.
    #[track_caller]
    pub fn echoed(from: &Namespace, by: SocketAddr) -> Self {
        Self::echoed_at(FULL, from, by)
    }

    /// Starts a stream as [`Flow::echoed`] does that never fills its path: a hundred kilobytes a second.
    ///
    /// # Panics
    /// When they cannot connect.
    #[track_caller]
    pub fn trickle(from: &Namespace, by: SocketAddr) -> Self {
        Self::echoed_at(TRICKLE, from, by)
    }

    #[track_caller]
    fn echoed_at(pace: Pace, from: &Namespace, by: SocketAddr) -> Self {
        let sender = from.enter(|| until_some("an echo", || TcpStream::connect(by).ok()));
        let receiver = sender.try_clone().expect("a socket can be cloned");
        Self::over(by, sender, receiver, pace)
    }

    fn over(to: SocketAddr, mut sender: TcpStream, mut receiver: TcpStream, pace: Pace) -> Self {
        receiver.set_read_timeout(Some(STANDSTILL)).expect("a read can have an end");
        sender.set_write_timeout(Some(STANDSTILL)).expect("a write can have an end");
        let (arrived, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let stopped = stop.clone();
        let writer = thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Relaxed) {
                sender.write_all(&pattern(sent, pace.chunk)).expect("the stream stands still");
                sent += pace.chunk as u64;
                thread::sleep(pace.pause);
            }
            sender.shutdown(Shutdown::Write).expect("a stream can be ended");
            sent
        });
        let count = arrived.clone();
        let reader = thread::spawn(move || {
            let (mut bytes, mut at) = (vec![0; CHUNK], 0);
            loop {
                let len = match receiver.read(&mut bytes) {
                    // The process was stopped for a while.
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    read => read.expect("the stream stands still"),
                };
                if len == 0 {
                    return at;
                }
                assert!(bytes[..len] == pattern(at, len), "other bytes arrive behind byte {at}");
                at += len as u64;
                count.store(at, Relaxed);
            }
        });
        Self { to, arrived, stop, writer: Some(writer), reader: Some(reader) }
    }

    /// Returns how many bytes have arrived, each right.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }

    /// Waits until so many more bytes have arrived.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        self.wait_until(self.arrived() + more, Instant::now() + STANDSTILL);
    }

    /// Waits until so many more bytes have arrived of each of these streams, which go on beside each other.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn wait_for_all(flows: &[Self], more: u64) {
        let wanted: Vec<_> = flows.iter().map(|flow| flow.arrived() + more).collect();
        let deadline = Instant::now() + STANDSTILL;
        flows.iter().zip(wanted).for_each(|(flow, wanted)| flow.wait_until(wanted, deadline));
    }

    #[track_caller]
    fn wait_until(&self, wanted: u64, deadline: Instant) {
        while self.arrived() < wanted {
            let ended = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            let is_late = Instant::now() >= deadline;
            assert!(!ended && !is_late, "the stream to {} ends at {}", self.to, self.arrived());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the stream; every byte that was sent has arrived. Returns how many.
    ///
    /// # Panics
    /// When one has not.
    #[track_caller]
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Relaxed);
        let joined = |thread: Option<JoinHandle<u64>>| {
            thread.and_then(|thread| thread.join().ok()).expect("both ends of the stream end well")
        };
        let (sent, arrived) = (joined(self.writer.take()), joined(self.reader.take()));
        assert_eq!(sent, arrived, "bytes that were sent and that arrived");
        arrived
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn pattern(at: u64, len: usize) -> Vec<u8> {
    (at..at + len as u64).map(|byte| (byte % PERIOD) as u8).collect()
}
