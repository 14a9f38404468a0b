//! One slot of the forwarding database: two atomics that readers see whole without a lock.

use std::time::Duration;

use weft_vlan::{MacAddr, VlanId};

use super::EntryKind;
use crate::{
    PortId, Timestamp,
    sync::{AtomicU64, Ordering},
};

/// Bits of the tag that is on top of both words of a slot.
const TAG_BITS: u32 = 4;

/// VID (12 bits) and MAC (48 bits) in the low bits of one word; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    #[inline]
    pub(super) fn new(vlan: VlanId, mac: MacAddr) -> Self {
        Self(u64::from(vlan.get()) << 48 | mac.to_u64())
    }

    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Returns the VLAN; `None` only for a word that no frame wrote.
    pub(super) fn vlan(self) -> Option<VlanId> {
        VlanId::new((self.0 >> 48) as u16)
    }

    pub(super) fn mac(self) -> MacAddr {
        MacAddr::from_u64(self.0 & 0xffff_ffff_ffff)
    }
}

/// A moment or a span in units of 2^16 microseconds; a moment comes round after 8.9 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticks(u32);

const TICK_SHIFT: u32 = 16;

impl Ticks {
    #[inline]
    pub(super) fn at(moment: Timestamp) -> Self {
        Self((moment.as_micros() >> TICK_SHIFT) as u32)
    }

    /// Returns a span, rounded up; what is longer than half the range becomes that.
    pub(super) fn of(span: Duration) -> Self {
        let ticks = span.as_micros().div_ceil(1 << TICK_SHIFT);
        Self(u32::try_from(ticks).map_or(u32::MAX / 2, |ticks| ticks.min(u32::MAX / 2)))
    }

    pub(super) fn duration(self) -> Duration {
        Duration::from_micros(u64::from(self.0) << TICK_SHIFT)
    }

    /// Returns the span since `earlier`; zero for a moment to come, which another worker's clock may have written.
    #[inline]
    pub(super) fn since(self, earlier: Self) -> Self {
        let span = self.0.wrapping_sub(earlier.0);
        Self(if span > u32::MAX / 2 { 0 } else { span })
    }

    pub(super) fn quarter(self) -> Self {
        Self(self.0 / 4)
    }
}

/// Port (12 bits), kind (1 bit), epoch (15 bits) and stamp (32 bits) in the low bits of one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Value(u64);

/// The bit of a value that another host told of.
const REMOTE: u64 = 1 << 47;

impl Value {
    pub(super) const MAX_EPOCH: u32 = 0x7fff;

    pub(super) fn new(port: PortId, kind: EntryKind, epoch: u32, heard: Ticks) -> Self {
        let (port, epoch) = (port.index() as u64, u64::from(epoch & Self::MAX_EPOCH));
        let kind = match kind {
            EntryKind::Learned => 0,
            EntryKind::Remote => REMOTE,
        };
        Self(port << 48 | kind | epoch << 32 | u64::from(heard.0))
    }

    #[inline]
    pub(super) fn kind(self) -> EntryKind {
        if self.0 & REMOTE == 0 { EntryKind::Learned } else { EntryKind::Remote }
    }

    #[inline]
    pub(super) fn port(self) -> PortId {
        PortId::from_bits((self.0 >> 48) as u16)
    }

    #[inline]
    pub(super) fn epoch(self) -> u32 {
        (self.0 >> 32) as u32 & Self::MAX_EPOCH
    }

    #[inline]
    pub(super) fn heard(self) -> Ticks {
        Ticks(self.0 as u32)
    }

    pub(super) fn with_epoch(self, epoch: u32) -> Self {
        Self::new(self.port(), self.kind(), epoch, self.heard())
    }
}

/// A key, without which the slot is empty, and the value that belongs to it.
///
/// A tag on top of both words counts the keys that the slot has had. A reader believes a pair whose tags agree
/// and whose key is still there after the value was read; only thirty-two changes of hands between two
/// instructions, the last one back to the first key, could deceive it.
#[derive(Default)]
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[repr(C)]
pub(super) struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

impl Slot {
    /// Returns the value when the slot holds `key`.
    #[inline]
    pub(super) fn read_if(&self, key: Key) -> Option<Value> {
        let found = self.key.load(Ordering::Acquire);
        if found << TAG_BITS == key.0 << TAG_BITS { self.value_behind(found) } else { None }
    }

    /// Returns what the slot holds.
    pub(super) fn read(&self) -> Option<(Key, Value)> {
        let found = self.key.load(Ordering::Acquire);
        let key = untagged(found);
        if key == 0 { None } else { self.value_behind(found).map(|value| (Key(key), value)) }
    }

    /// Reads the value of a key that was just seen. The load acquires what the value's writer released before:
    /// that an earlier key was gone.
    #[inline]
    fn value_behind(&self, key: u64) -> Option<Value> {
        let value = self.value.load(Ordering::Acquire);
        let is_whole = tag(value) == tag(key) && self.key.load(Ordering::Relaxed) == key;
        is_whole.then_some(Value(untagged(value)))
    }

    /// Fills an empty slot. Like all that changes a slot, for the one writer that holds the lock.
    pub(super) fn fill(&self, key: Key, value: Value) {
        let tag = tag(self.value.load(Ordering::Relaxed)).wrapping_add(1) << (64 - TAG_BITS);
        self.value.store(tag | value.0, Ordering::Release);
        self.key.store(tag | key.0, Ordering::Release);
    }

    /// Gives an occupied slot a new value for the same key.
    pub(super) fn renew(&self, value: Value) {
        let tag = tag(self.value.load(Ordering::Relaxed)) << (64 - TAG_BITS);
        self.value.store(tag | value.0, Ordering::Release);
    }

    /// Empties the slot.
    pub(super) fn empty(&self) {
        self.key.store(0, Ordering::Release);
    }
}

#[inline]
fn tag(word: u64) -> u64 {
    word >> (64 - TAG_BITS)
}

#[inline]
fn untagged(word: u64) -> u64 {
    word & (u64::MAX >> TAG_BITS)
}
