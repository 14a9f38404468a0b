//! A guest that moves from one host to the other: how long until frames for it follow.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use serde::Serialize;

use super::weft::{self, Cipher};
use crate::{
    clock,
    gateways::{DEVICE, Ends, Underlay},
    lab::{Lab, Namespace},
    probe::median,
    report::{row, verdict},
    site::Tools,
    sys,
};

const MOVES: u8 = 100;
const BETWEEN: Duration = Duration::from_millis(50);
const EACH: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000 };
const PATIENCE: Duration = Duration::from_secs(10);
const BROADCAST: [u8; 6] = [0xff; 6];
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// For experiments: IEEE 802, local.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];
const FRAME: usize = 60;

/// Guests that appeared at the other host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Moves {
    /// Seconds from a guest's first frame at the far host until a frame for it arrived there, in order of length.
    pub(super) seconds: Vec<f64>,
}

/// Lets guests move from the near gateway to the far one while a host at the near one sends to them.
///
/// # Errors
/// When the tunnel does not come up, or frames do not follow at all.
pub(super) fn moves(lab: &Lab, tools: &Tools) -> Result<Moves> {
    let ends = Ends::lay(lab, Underlay::Veth)?;
    let site = ends.site(weft::join(lab, tools, &ends, Cipher::Aes256Gcm)?.processes());
    for end in [&ends.near, &ends.far] {
        end.bring_up(lab, &site.processes, None)?;
    }
    site.wait_for_answer(lab)?;
    let (near, far) = (wire(&ends.near.namespace)?, wire(&ends.far.namespace)?);
    let mut seconds = Vec::new();
    for number in 0..MOVES {
        let guest = [2, 0, 0, 0, 1, number];
        send(&near, BROADCAST, guest)?;
        thread::sleep(BETWEEN);
        while receive(&far)?.is_some() {}
        let begin = clock::now();
        send(&far, BROADCAST, guest)?;
        while !follows(&near, &far, guest)? {
            ensure!(begin.elapsed() < PATIENCE, "frames do not follow guest {number}");
        }
        seconds.push(begin.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(Moves { seconds })
}

/// Sends one frame to a guest and tells whether one arrived at its new place.
fn follows(near: &OwnedFd, far: &OwnedFd, guest: [u8; 6]) -> Result<bool> {
    send(near, guest, SENDER)?;
    poll(&mut [PollFd::new(far, PollFlags::IN)], Some(&EACH)).context("wait for a frame")?;
    while let Some(target) = receive(far)? {
        if target == guest {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens the tunnel's device in a namespace. A thread of its own goes there.
fn wire(namespace: &Namespace) -> Result<OwnedFd> {
    let place = File::open(format!("/run/netns/{}", namespace.name()))?;
    let open = || -> Result<OwnedFd> {
        move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(sys::open_packet(DEVICE)?)
    };
    match thread::scope(|scope| scope.spawn(open).join()) {
        Ok(opened) => opened.with_context(|| format!("{DEVICE} in {}", namespace.name())),
        Err(_) => bail!("the thread that opens {DEVICE} panicked"),
    }
}

fn send(wire: &OwnedFd, to: [u8; 6], from: [u8; 6]) -> Result<()> {
    let mut frame = [0; sys::VNET_HEADER + FRAME];
    let head = [&to[..], &from, &ETHER_TYPE].concat();
    frame[sys::VNET_HEADER..][..head.len()].copy_from_slice(&head);
    write(wire, &frame).context("send a frame")?;
    Ok(())
}

/// Returns whom a frame that has arrived is for.
fn receive(wire: &OwnedFd) -> Result<Option<[u8; 6]>> {
    let mut room = [0; 2048];
    match read(wire, &mut room) {
        Ok(len) => {
            Ok(room[..len].get(sys::VNET_HEADER..).and_then(|frame| frame.first_chunk().copied()))
        }
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error).context("receive a frame"),
    }
}

impl Moves {
    /// Writes it as a row of a table of aims.
    pub(super) fn rows(&self) -> String {
        const LONGEST: f64 = 0.5;
        let median = median(&self.seconds).unwrap_or_default();
        let longest = self.seconds.last().copied().unwrap_or_default();
        row(
            &format!("{} guests moved, frames follow within", self.seconds.len()),
            &format!("{:.1} ms, median {:.1} ms", longest * 1e3, median * 1e3),
            &format!("≤ {} ms", LONGEST * 1e3),
            &verdict(longest <= LONGEST, || format!("{:.1} s over", longest - LONGEST)),
        )
    }
}
