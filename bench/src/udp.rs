//! Small datagrams, as many as go or so many a second, and the count of those that arrive. Batched, so that
//! the two ends are faster than what lies between them.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{clock, sys};

const BATCH: usize = 64;
/// Less at a time where a rate is kept, so that no queue on the way has to take a burst.
const BATCH_OF_A_RATE: usize = 16;
const BETWEEN_BATCHES: Duration = Duration::from_micros(50);
/// The payload of a UDP datagram in an Ethernet frame of the least size.
const PAYLOAD: usize = 18;
/// Enough against a short stall of the receiver, too little to hide behind after the flood.
const BUFFER: usize = 16 << 20;
const SILENCE_AT_END: Duration = Duration::from_millis(700);

/// How fast datagrams are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the kernel takes them.
    Flood,
    /// So many a second.
    PerSecond(u32),
}

/// How many datagrams were sent or received.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Count {
    /// The number.
    pub datagrams: u64,
}

/// Which datagrams arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// How many, each counted once.
    pub datagrams: u64,
    /// How many came again.
    pub repeated: u64,
    /// The runs of numbers below the highest one that did not arrive: the first, and how many.
    pub missing: Vec<(u64, u64)>,
}

/// Sends for `length`, numbering the datagrams from 0.
///
/// # Errors
/// When the socket fails for another reason than full queues or a peer that is not there.
pub fn blast(to: SocketAddr, rate: Rate, length: Duration) -> Result<Count> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    socket.connect(to).context("connect")?;
    sys::grow_buffers(&socket, BUFFER);
    let mut batch = sys::Batch::new(rate.batch(), PAYLOAD);
    keep(rate, length, |datagrams| {
        batch.number(datagrams);
        batch.send(&socket)
    })
}

impl Rate {
    /// Returns how many datagrams are sent at a time.
    pub(crate) fn batch(self) -> usize {
        if self == Self::Flood { BATCH } else { BATCH_OF_A_RATE }
    }
}

/// Keeps a rate for `length`; `send` is told how many datagrams there were before, and tells how many it sent.
///
/// # Errors
/// When that fails for another reason than full queues or a peer that is not there.
pub(crate) fn keep(
    rate: Rate,
    length: Duration,
    mut send: impl FnMut(u64) -> io::Result<usize>,
) -> Result<Count> {
    let (begin, mut datagrams) = (clock::now(), 0);
    loop {
        let elapsed = begin.elapsed();
        if elapsed >= length {
            return Ok(Count { datagrams });
        }
        if let Rate::PerSecond(rate) = rate
            && datagrams as f64 > f64::from(rate) * elapsed.as_secs_f64()
        {
            thread::sleep(BETWEEN_BATCHES);
            continue;
        }
        match send(datagrams) {
            Ok(sent) => datagrams += sent as u64,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
            }
            Err(error) => return Err(error).context("send"),
        }
    }
}

/// Counts what arrives, until silence follows or the time is up. Says on standard error when it listens.
///
/// # Errors
/// When the socket fails.
pub fn count(port: u16, limit: Duration) -> Result<Count> {
    let mut datagrams = 0;
    receive(port, limit, |_, got| datagrams += got as u64)?;
    Ok(Count { datagrams })
}

/// Notes which datagrams arrive, like [`count`].
///
/// # Errors
/// When the socket fails.
pub fn track(port: u16, limit: Duration) -> Result<Arrivals> {
    let mut ledger = Ledger::default();
    receive(port, limit, |batch, got| batch.numbers(got).for_each(|number| ledger.note(number)))?;
    Ok(ledger.arrivals())
}

/// Reads the report of a probe, the last line of what it said.
///
/// # Errors
/// When that is something else.
pub(crate) fn report<T: DeserializeOwned>(output: &str) -> Result<T> {
    let line = output.lines().last().context("the probe said nothing")?;
    serde_json::from_str(line).context("the probe's report")
}

/// What [`count`] and [`track`] say when datagrams may come.
pub(crate) const LISTENING: &str = "listening";

fn receive(port: u16, limit: Duration, mut took: impl FnMut(&sys::Batch, usize)) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("bind")?;
    sys::grow_buffers(&socket, BUFFER);
    eprintln!("{LISTENING}");
    let mut batch = sys::Batch::new(BATCH, 2048);
    let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let (begin, mut last) = (clock::now(), None);
    while begin.elapsed() < limit {
        match batch.receive(&socket) {
            Ok(got) => {
                took(&batch, got);
                last = Some(clock::now());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if last.is_some_and(|last| last.elapsed() > SILENCE_AT_END) {
                    break;
                }
                poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&tick)).context("wait")?;
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
    Ok(())
}

/// One bit for each number that arrived.
#[derive(Debug, Default)]
struct Ledger {
    seen: Vec<u64>,
    repeated: u64,
}

/// Far more than any probe sends; what claims more is none of ours.
const LARGEST_NUMBER: u64 = 1 << 32;

impl Ledger {
    fn note(&mut self, number: u64) {
        if number >= LARGEST_NUMBER {
            return;
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
        } else {
            self.repeated += 1;
        }
    }

    fn arrivals(&self) -> Arrivals {
        let arrived = |number: &u64| self.seen[(number / 64) as usize] >> (number % 64) & 1 == 1;
        let mut missing = Vec::new();
        let (mut datagrams, mut expected) = (0, 0);
        for number in (0..self.seen.len() as u64 * 64).filter(arrived) {
            if number > expected {
                missing.push((expected, number - expected));
            }
            datagrams += 1;
            expected = number + 1;
        }
        Arrivals { datagrams, repeated: self.repeated, missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_tells_gaps_from_late_and_repeated_datagrams() {
        let mut ledger = Ledger::default();
        for number in [0, 1, 3, 2, 2, 130, 6, 200] {
            ledger.note(number);
        }
        let missing = vec![(4, 2), (7, 123), (131, 69)];
        assert_eq!(ledger.arrivals(), Arrivals { datagrams: 7, repeated: 1, missing });
    }

    #[test]
    fn numbers_survive_the_way_through_a_socket() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut batch = sys::Batch::new(4, PAYLOAD);
        batch.number(1 << 40);
        assert_eq!(batch.send(&sender).unwrap(), 4);
        sender.send(&[1; 7]).unwrap();
        let mut received = sys::Batch::new(8, 2048);
        let mut numbers = Vec::new();
        let mut datagrams = 0;
        while datagrams < 5 {
            poll(&mut [PollFd::new(&receiver, PollFlags::IN)], None).unwrap();
            let got = received.receive(&receiver).unwrap();
            numbers.extend(received.numbers(got));
            datagrams += got;
        }
        assert_eq!(numbers, (1 << 40..(1 << 40) + 4).collect::<Vec<u64>>());
    }
}
