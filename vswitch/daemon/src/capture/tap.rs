//! The workers' side: what of a burst somebody wants to see.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use arc_swap::{ArcSwap, Cache};
use rtrb::Producer;
use weft_capture::Way;
use weft_core::{DropReason, PortId, Switch};
use weft_ports::{Burst, Job, Tally};
use weft_vlan::{Tags, VlanId, VlanSet};

use super::{
    Names,
    record::{self, About},
};

/// Sees what becomes of the frames of a burst.
pub(crate) trait Watch {
    /// A frame has come: it belongs to this VLAN, if that is known, and goes no further for this reason, if for any.
    fn came(&mut self, position: usize, vlan: Option<VlanId>, reason: Option<DropReason>);

    /// A frame does not leave by a port.
    fn kept(&mut self, to: PortId, position: usize, reason: DropReason);

    /// Frames were given to a port, or all of them dropped there for one reason.
    fn left(&mut self, to: PortId, jobs: &[Job], tally: &Tally, reason: Option<DropReason>);

    /// Tells whether a port is to say which frames it drops.
    const FOLLOWS: bool;
}

/// Sees nothing, and costs nothing.
pub(crate) struct Nobody;

impl Watch for Nobody {
    #[inline(always)]
    fn came(&mut self, _: usize, _: Option<VlanId>, _: Option<DropReason>) {}

    #[inline(always)]
    fn kept(&mut self, _: PortId, _: usize, _: DropReason) {}

    #[inline(always)]
    fn left(&mut self, _: PortId, _: &[Job], _: &Tally, _: Option<DropReason>) {}

    const FOLLOWS: bool = false;
}

/// Which frames a client wants.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) vlans: Option<VlanSet>,
    pub(super) way: Option<Way>,
    pub(super) drops: bool,
    pub(super) snaplen: u32,
}

/// Frames that found no room, by port and way. One worker counts, others read.
pub(super) struct Lost(Box<[AtomicU64]>);

impl Lost {
    fn add(&self, port: PortId, way: Way, frames: u64) {
        let counter = &self.0[Self::index(port, way)];
        counter.store(counter.load(Relaxed).wrapping_add(frames), Relaxed);
    }

    /// Returns how many were lost so far.
    pub(super) fn of(&self, port: PortId, way: Way) -> u64 {
        self.0[Self::index(port, way)].load(Relaxed)
    }

    /// Returns how many were lost so far in all.
    pub(super) fn sum(&self) -> u64 {
        self.0.iter().map(|counter| counter.load(Relaxed)).sum()
    }

    fn index(port: PortId, way: Way) -> usize {
        2 * port.index() + usize::from(way == Way::Out)
    }
}

/// A worker's way to one client.
pub(crate) struct Tap {
    id: u64,
    ring: Producer<u8>,
    names: Cache<Arc<ArcSwap<Names>>, Arc<Names>>,
    wanted: Wanted,
    lost: Arc<Lost>,
    /// The record that is being put together.
    record: Vec<u8>,
}

impl Tap {
    pub(super) fn new(
        id: u64,
        ring: Producer<u8>,
        names: Arc<ArcSwap<Names>>,
        wanted: Wanted,
    ) -> Self {
        let lost = (0..2 * PortId::LIMIT).map(|_| AtomicU64::new(0)).collect();
        let lost = Arc::new(Lost(lost));
        Self { id, ring, names: Cache::new(names), wanted, lost, record: Vec::new() }
    }

    /// Returns what is counted of frames that found no room.
    pub(super) fn lost(&self) -> Arc<Lost> {
        self.lost.clone()
    }

    fn wants(&mut self, about: &About) -> bool {
        let Wanted { vlans, way, drops, .. } = &self.wanted;
        (!drops || about.reason.is_some())
            && way.is_none_or(|way| way == about.way)
            && vlans
                .as_ref()
                .is_none_or(|vlans| about.vlan.is_some_and(|vlan| vlans.contains(vlan)))
            && self.names.load().is_chosen(about.port)
    }

    /// Puts a frame into the ring, with these tags.
    fn show(&mut self, about: &mut About, burst: &Burst<'_>, job: Job) {
        if !self.wants(about) {
            return;
        }
        let head = &burst.frames()[usize::from(job.frame)].head;
        let len = head.untagged_len() + job.tags.wire_len();
        about.len = len as u32;
        let room = len.min(self.wanted.snaplen as usize);
        if self.has_room(record::HEAD + room) {
            record::put(&mut self.record, about, room, |bytes| burst.reader(&job).read(bytes));
            self.hand_over(about);
        } else {
            self.lost.add(about.port, about.way, 1);
        }
    }

    /// Puts a number of frames into the ring of which nothing is left.
    fn count(&mut self, about: &About) {
        if !self.wants(about) {
            return;
        }
        record::put(&mut self.record, about, 0, |_| 0);
        self.hand_over(about);
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.ring.cached_slots() >= bytes || self.ring.slots() >= bytes
    }

    fn hand_over(&mut self, about: &About) {
        if self.ring.push_entire_slice(&self.record).is_err() {
            self.lost.add(about.port, about.way, about.frames);
        }
    }
}

/// A worker's ways to clients.
#[derive(Default)]
pub(crate) struct Taps {
    taps: Vec<Tap>,
    /// Which VLAN each frame of the burst belongs to.
    vlans: Vec<Option<VlanId>>,
    /// Why the port has dropped each frame of the burst, where it has.
    reasons: Vec<Option<DropReason>>,
}

impl Taps {
    /// Tells whether nobody wants to see anything.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// Adds a way to a client.
    pub(crate) fn add(&mut self, tap: Tap) {
        self.taps.push(tap);
    }

    /// Takes one away.
    pub(crate) fn remove(&mut self, id: u64) {
        self.taps.retain(|tap| tap.id != id);
    }
}

/// A burst that somebody sees.
pub(crate) struct Watched<'a> {
    taps: &'a mut Taps,
    burst: &'a Burst<'a>,
    switch: &'a Switch,
    ingress: PortId,
    time: u64,
    has_arrived: bool,
}

impl<'a> Watched<'a> {
    /// Begins to show a burst, `time` nanoseconds after 1970. Frames that were shown when they arrived are not shown
    /// arriving again.
    pub(crate) fn new(
        taps: &'a mut Taps,
        burst: &'a Burst<'a>,
        switch: &'a Switch,
        ingress: PortId,
        time: u64,
        has_arrived: bool,
    ) -> Self {
        taps.vlans.clear();
        taps.vlans.resize(burst.frames().len(), None);
        let mut watched = Self { taps, burst, switch, ingress, time, has_arrived };
        for &(reason, frames) in burst.refused() {
            watched.count(ingress, Way::In, reason, frames);
        }
        watched
    }

    fn about(&self, port: PortId, way: Way, reason: Option<DropReason>) -> About {
        About { time: self.time, port, way, reason, vlan: None, len: 0, frames: 1 }
    }

    fn show(&mut self, about: About, job: Job) {
        let vlan = self.taps.vlans.get(usize::from(job.frame)).copied().flatten();
        for tap in &mut self.taps.taps {
            tap.show(&mut About { vlan, ..about }, self.burst, job);
        }
    }

    fn count(&mut self, port: PortId, way: Way, reason: DropReason, frames: u64) {
        let about = About { frames, ..self.about(port, way, Some(reason)) };
        self.taps.taps.iter_mut().for_each(|tap| tap.count(&about));
    }

    /// Returns a frame as it arrived.
    fn arrived(&self, position: usize) -> Job {
        let vlan = self.burst.frames()[position].head.tag();
        Job { frame: position as u16, tags: Tags { vlan, payload: None } }
    }
}

impl Watch for Watched<'_> {
    const FOLLOWS: bool = true;

    fn came(&mut self, position: usize, vlan: Option<VlanId>, reason: Option<DropReason>) {
        let head = &self.burst.frames()[position].head;
        self.taps.vlans[position] = vlan.or_else(|| self.switch.vlan_of(self.ingress, head));
        if self.has_arrived || reason.is_some() {
            self.show(self.about(self.ingress, Way::In, reason), self.arrived(position));
        }
    }

    fn kept(&mut self, to: PortId, position: usize, reason: DropReason) {
        self.show(self.about(to, Way::Out, Some(reason)), self.arrived(position));
    }

    fn left(&mut self, to: PortId, jobs: &[Job], tally: &Tally, reason: Option<DropReason>) {
        let mut reasons = std::mem::take(&mut self.taps.reasons);
        reasons.clear();
        reasons.resize(self.burst.frames().len(), reason);
        for &(frame, reason) in &tally.lost {
            reasons[usize::from(frame)] = Some(reason);
        }
        for job in jobs {
            let reason = reasons[usize::from(job.frame)];
            self.show(self.about(to, Way::Out, reason), *job);
        }
        self.taps.reasons = reasons;
        for &(reason, frames) in &tally.drops {
            let known = tally.lost.iter().filter(|(_, of)| *of == reason).count() as u64;
            if frames > known {
                self.count(to, Way::Out, reason, frames - known);
            }
        }
    }
}
