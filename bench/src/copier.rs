//! Bare copiers: one thread that reads one device and writes the other, both ways. The limit of the road
//! that a switch travels: it looks at nothing and knows two devices only.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read, write},
};

use crate::sys;

const FRAMES_PER_TURN: usize = 64;
/// A super-frame of 64 KiB with its header, rounded up.
const LARGEST: usize = 70_000;

/// The kind of device that is copied between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Road {
    /// TAPs that the copier creates.
    Tap,
    /// Existing devices, by packet sockets.
    Packet,
}

/// Opens both devices, says so on standard output, and copies until killed.
///
/// # Errors
/// When a device cannot be opened, or a wait fails.
pub fn copy(road: Road, a: &str, b: &str) -> Result<()> {
    let open = |name: &str| {
        let opened = match road {
            Road::Tap => sys::open_tap(name),
            Road::Packet => sys::open_packet(name),
        };
        opened.with_context(|| format!("open {name}"))
    };
    let ends = [open(a)?, open(b)?];
    println!("ready");
    let mut buffer = vec![0; LARGEST];
    loop {
        let moved = turn(&ends[0], &ends[1], &mut buffer) + turn(&ends[1], &ends[0], &mut buffer);
        if moved == 0 {
            let mut waiting = [&ends[0], &ends[1]].map(|end| PollFd::new(end, PollFlags::IN));
            match poll(&mut waiting, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for frames"),
            }
        }
    }
}

/// Moves what waits on one side, and returns how many frames were read. What the other side refuses is lost,
/// as on a full wire.
fn turn(from: &OwnedFd, to: &OwnedFd, buffer: &mut [u8]) -> usize {
    for frame in 0..FRAMES_PER_TURN {
        let Ok(length) = read(from, &mut *buffer) else { return frame };
        let _ = write(to, &buffer[..length]);
    }
    FRAMES_PER_TURN
}
