//! A flood of small datagrams, and the count of those that arrive. Batched, so that the two ends are faster
//! than what lies between them.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::{clock, sys};

const BATCH: usize = 64;
/// The payload of a UDP datagram in an Ethernet frame of the least size.
const PAYLOAD: usize = 18;
/// Enough against a short stall of the receiver, too little to hide behind after the flood.
const BUFFER: usize = 16 << 20;
const SILENCE_AT_END: Duration = Duration::from_millis(700);

/// How many datagrams were sent or received.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Count {
    /// The number.
    pub datagrams: u64,
}

/// Sends as fast as the kernel takes them.
///
/// # Errors
/// When the socket fails for another reason than full queues or a peer that is not there.
pub fn blast(to: SocketAddr, length: Duration) -> Result<Count> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    socket.connect(to).context("connect")?;
    sys::grow_buffers(&socket, BUFFER);
    let mut batch = sys::Batch::new(BATCH, PAYLOAD);
    let (begin, mut datagrams) = (clock::now(), 0);
    while begin.elapsed() < length {
        match batch.send(&socket) {
            Ok(sent) => datagrams += sent as u64,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
            }
            Err(error) => return Err(error).context("send"),
        }
    }
    Ok(Count { datagrams })
}

/// Counts what arrives, until silence follows or the time is up. Says on standard error when it listens.
///
/// # Errors
/// When the socket fails.
pub fn count(port: u16, limit: Duration) -> Result<Count> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("bind")?;
    sys::grow_buffers(&socket, BUFFER);
    eprintln!("{LISTENING}");
    let mut batch = sys::Batch::new(BATCH, 2048);
    let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let (begin, mut last, mut datagrams) = (clock::now(), None, 0);
    while begin.elapsed() < limit {
        match batch.receive(&socket) {
            Ok(got) => {
                datagrams += got as u64;
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
    Ok(Count { datagrams })
}

/// What [`count`] says when datagrams may come.
pub(crate) const LISTENING: &str = "listening";
