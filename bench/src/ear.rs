//! Listens on a device: for frames of one sender, or for all, to keep them. tcpdump does not run as root of a user
//! namespace.

use std::{fs::File, path::Path};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read},
};

use crate::{clock, pcap, sys};

/// What is said when nothing can escape any more.
pub const LISTENING: &str = "listening";
/// What [`listen`] says of each frame.
pub const HEARD: &str = "heard";

const SOURCE: std::ops::Range<usize> = 6..12;

/// Says on standard output that it listens, then a line for each frame from `sender`, until killed.
///
/// # Errors
/// When the device cannot be opened or goes.
pub fn listen(device: &str, sender: [u8; 6]) -> Result<()> {
    hear(device, |frame| {
        if frame.get(SOURCE) == Some(&sender[..]) {
            println!("{HEARD}");
        }
        Ok(())
    })
}

/// Says on standard output that it listens, then writes each frame that arrives into a capture, until killed.
/// Super-frames are one frame; a tag that the kernel has taken off is not in it.
///
/// # Errors
/// When the device cannot be opened or goes, or the file cannot be written.
pub fn record(device: &str, file: &Path) -> Result<()> {
    let create = || pcap::Writer::new(File::create(file)?);
    let mut capture = create().with_context(|| format!("create {}", file.display()))?;
    let begin = clock::now();
    hear(device, |frame| {
        let written = capture.write(begin.elapsed(), frame);
        written.with_context(|| format!("write {}", file.display()))
    })
}

/// Hands over each frame that arrives at a device.
fn hear(device: &str, mut heard: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let socket = sys::open_packet(device).with_context(|| format!("open {device}"))?;
    println!("{LISTENING}");
    let mut buffer = vec![0; 70_000];
    loop {
        match read(&socket, &mut *buffer) {
            Ok(length) => heard(buffer[..length].get(sys::VNET_HEADER..).unwrap_or_default())?,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&socket, PollFlags::IN)], None)
                    .context("wait for frames")?;
            }
            Err(error) => return Err(error).with_context(|| format!("read {device}")),
        }
    }
}
