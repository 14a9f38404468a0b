//! Listens on a device for frames of one sender. tcpdump does not run as root of a user namespace.

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read},
};

use crate::sys;

/// What [`listen`] says when nothing can escape it any more.
pub const LISTENING: &str = "listening";
/// What it says of each frame.
pub const HEARD: &str = "heard";

const SOURCE: std::ops::Range<usize> = sys::VNET_HEADER + 6..sys::VNET_HEADER + 12;

/// Says on standard output that it listens, then a line for each frame from `sender`, until killed.
///
/// # Errors
/// When the device cannot be opened or goes.
pub fn listen(device: &str, sender: [u8; 6]) -> Result<()> {
    let socket = sys::open_packet(device).with_context(|| format!("open {device}"))?;
    println!("{LISTENING}");
    let mut buffer = vec![0; 70_000];
    loop {
        match read(&socket, &mut *buffer) {
            Ok(length) if buffer[..length].get(SOURCE) == Some(&sender[..]) => println!("{HEARD}"),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&socket, PollFlags::IN)], None)
                    .context("wait for frames")?;
            }
            Err(error) => return Err(error).with_context(|| format!("read {device}")),
        }
    }
}
