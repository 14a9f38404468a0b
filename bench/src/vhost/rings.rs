//! TCP super-frames from ring to ring: a front-end of the bench's own, since testpmd cannot make them. One card sends
//! the same ones over and over, as large as Linux makes them; the other one drops what comes.

use std::{
    fmt,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    backend::{self, End, FRONT, Load},
    front::{Arrived, Card, HEADER},
    peer::Peer,
};
use crate::{
    clock::{self, wait_until},
    lab::Lab,
    probe::{cpu_seconds, wait_for_quiet},
    site::{PATIENCE, Tools},
};

/// Payload of a TCP segment with time stamps, of one that is not cut, and how many of the former the latter has.
const SEGMENT: usize = 1448;
const SEGMENTS: usize = 45;
/// Ethernet, IPv4, TCP without options.
const HEAD: usize = 14 + 20 + 20;
const HELLO: usize = 60;
const WARM: Duration = Duration::from_millis(500);
const ROUNDS_BETWEEN_LOOKS: u32 = 1024;
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CONNECTED: &str = "both ends are up";

/// What came through in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Segments {
    /// Received, in Gb/s.
    pub(super) gbps: f64,
    /// Cores that the switch's process kept busy.
    pub(super) cores: f64,
    /// Cores busy with other things just before.
    pub(super) background: f64,
}

impl fmt::Display for Segments {
    /// Writes them on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gbps, cores, .. } = self;
        write!(f, "{gbps:.1} Gb/s of 64 KiB frames, {cores:.2} cores busy")
    }
}

/// What the front-end counted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Count {
    /// Bytes of the frames that came.
    bytes: u64,
    /// Within so many seconds.
    seconds: f64,
}

/// Measures a switch.
///
/// # Errors
/// When something does not come up, or frames come cut or not at all.
pub(super) fn measure(lab: &Lab, tools: &Tools, peer: Peer, seconds: u64) -> Result<Segments> {
    let background = wait_for_quiet()?;
    let backend = backend::start(lab, tools, peer, Load::SuperFrames).context("set up")?;
    let mut command = Command::new("taskset");
    command.args(["-c", FRONT]).arg(&tools.bench).arg("rings").args(&backend.sockets);
    command.args(["--seconds", &seconds.to_string()]);
    if backend.front == End::Listens {
        command.arg("--listen");
    }
    let front = lab.spawn(&command, "rings.log")?;
    lab.wait_for_line(&front, CONNECTED, PATIENCE)?;
    let (begin, before) = (clock::now(), cpu_seconds(&backend.process)?);
    let said = lab.finish(&front, WARM + Duration::from_secs(seconds) + PATIENCE)?;
    let cores = (cpu_seconds(&backend.process)? - before) / begin.elapsed().as_secs_f64();
    let count: Count = crate::udp::report(&said)?;
    Ok(Segments { gbps: count.bytes as f64 * 8.0 / count.seconds / 1e9, cores, background })
}

/// Attaches two cards at sockets, has the first send for a while, and counts what comes at the second.
///
/// # Errors
/// When a switch does not serve them, or super-frames come cut or not at all.
pub fn send(sockets: &[PathBuf; 2], end: End, length: Duration) -> Result<Count> {
    let connect = |path: &Path| -> Result<UnixStream> {
        Ok(match end {
            End::Listens => UnixListener::bind(path)?.accept()?.0,
            End::Connects => UnixStream::connect(path)?,
        })
    };
    let socket = |at: usize| {
        connect(&sockets[at]).with_context(|| format!("the switch at {}", sockets[at].display()))
    };
    let mut near = Card::attach(socket(0)?, &super_frame(), SEGMENT * SEGMENTS)?;
    let mut far = Card::attach(socket(1)?, &hello(), 0)?;
    // The switch learns where the receiver is, and both ends are known to be up.
    let mut greeted = Arrived::default();
    far.send_first(1);
    wait_until("a frame of the receiver", PATIENCE, || {
        near.receive(&mut greeted);
        if greeted.frames == 0 {
            far.send_again();
        }
        Ok(greeted.frames > 0)
    })?;
    println!("{CONNECTED}");
    near.send_first(u16::MAX);
    pass(&mut near, &mut far, WARM);
    let begin = clock::now();
    let arrived = pass(&mut near, &mut far, length);
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(arrived.frames > 0, "nothing came through");
    ensure!(arrived.super_frames == arrived.frames, "super-frames came as something else");
    Ok(Count { bytes: arrived.bytes, seconds })
}

/// Sends and receives for a while.
fn pass(near: &mut Card, far: &mut Card, length: Duration) -> Arrived {
    let begin = clock::now();
    let mut arrived = Arrived::default();
    while begin.elapsed() < length {
        for _ in 0..ROUNDS_BETWEEN_LOOKS {
            near.send_again();
            far.receive(&mut arrived);
        }
    }
    arrived
}

/// Returns header of offloads and head of a TCP frame that is to be cut later; its payload is zeros.
fn super_frame() -> Vec<u8> {
    let length = (HEAD - 14 + SEGMENT * SEGMENTS) as u16;
    let mut ip = [0_u8; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length.to_be_bytes());
    ip[6] = 0x40;
    (ip[8], ip[9]) = (64, 6);
    ip[12..16].copy_from_slice(&[10, 66, 0, 1]);
    ip[16..20].copy_from_slice(&[10, 66, 0, 2]);
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let pseudo = [&ip[12..20], &[0, 6], &(length - 20).to_be_bytes()].concat();

    let mut tcp = [0_u8; 20];
    tcp[..4].copy_from_slice(&[0x9c, 0x40, 0x14, 0x51]);
    // The length of the header, ACK, a window; the checksum is begun.
    (tcp[12], tcp[13]) = (0x50, 0x10);
    tcp[14..16].copy_from_slice(&0xffff_u16.to_be_bytes());
    tcp[16..18].copy_from_slice(&sum(&pseudo).to_be_bytes());

    const NEEDS_CHECKSUM: u8 = 1;
    const TCP4: u8 = 1;
    let mut bytes = vec![NEEDS_CHECKSUM, TCP4];
    for field in [HEAD as u16, SEGMENT as u16, 34, 16, 0] {
        bytes.extend(field.to_le_bytes());
    }
    for part in [&RECEIVER[..], &SENDER, &[8, 0], &ip, &tcp] {
        bytes.extend(part);
    }
    bytes
}

/// Returns header of offloads and frame by which the receiver is heard of.
fn hello() -> Vec<u8> {
    /// IEEE 802, local experimental.
    const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
    let mut bytes = vec![0; HEADER];
    for part in [&[0xff; 6][..], &RECEIVER, &ETHERTYPE] {
        bytes.extend(part);
    }
    bytes.resize(HEADER + HELLO, 0);
    bytes
}

/// The Internet's sum of 16-bit words, folded.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_of_a_super_frame_sums_up() {
        let bytes = super_frame();
        assert_eq!(bytes.len(), HEADER + HEAD);
        assert_eq!(sum(&bytes[HEADER + 14..HEADER + 34]), 0xffff, "the IPv4 header");
        let length = u16::from_be_bytes([bytes[HEADER + 16], bytes[HEADER + 17]]);
        assert_eq!(usize::from(length), 40 + SEGMENT * SEGMENTS);
    }
}
