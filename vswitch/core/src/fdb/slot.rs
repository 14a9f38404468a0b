//! One slot of the forwarding database: two atomics that readers see whole without a lock.

use std::time::Duration;

use weft_vlan::{MacAddr, VlanId};

use crate::{
    PortId, Timestamp,
    sync::{AtomicU64, Ordering},
};

/// Slots that share a cache line.
pub(super) const SLOTS: usize = 4;

/// VID and MAC in one word; never 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    pub(super) fn new(vlan: VlanId, mac: MacAddr) -> Self {
        Self(u64::from(vlan.get()) << 48 | mac.to_u64())
    }

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

/// Port (12 bits), epoch (20 bits) and stamp (32 bits, in units of 2^16 microseconds: 8.9 years) in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Value(u64);

const STAMP_SHIFT: u32 = 16;

impl Value {
    pub(super) const MAX_EPOCH: u32 = (1 << 20) - 1;

    pub(super) fn new(port: PortId, epoch: u32, heard: Timestamp) -> Self {
        let stamp = (heard.as_micros() >> STAMP_SHIFT) as u32;
        Self(
            (port.index() as u64) << 52
                | u64::from(epoch & Self::MAX_EPOCH) << 32
                | u64::from(stamp),
        )
    }

    pub(super) fn port(self) -> PortId {
        PortId::from_bits((self.0 >> 52) as u16)
    }

    pub(super) fn epoch(self) -> u32 {
        (self.0 >> 32) as u32 & Self::MAX_EPOCH
    }

    /// Returns the time since it was stamped, to about 65 milliseconds; zero for a stamp of the future, which
    /// another worker's later clock may have written.
    pub(super) fn age(self, now: Timestamp) -> Duration {
        let units = ((now.as_micros() >> STAMP_SHIFT) as u32).wrapping_sub(self.0 as u32);
        if units > u32::MAX / 2 {
            Duration::ZERO
        } else {
            Duration::from_micros(u64::from(units) << STAMP_SHIFT)
        }
    }
}

/// A key, 0 when the slot is empty, and the value that belongs to it.
#[derive(Default)]
pub(super) struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

impl Slot {
    /// Returns the value when the slot holds `key`.
    ///
    /// The value's load acquires what its writer released: whoever sees a value of a later key also sees that
    /// this key is gone. Only a slot that changed hands and back between two instructions could deceive, and
    /// then shows a port that held it in between; the switch checks that a port is in the VLAN.
    pub(super) fn read_if(&self, key: Key) -> Option<Value> {
        if self.key.load(Ordering::Acquire) != key.0 {
            return None;
        }
        let value = self.value.load(Ordering::Acquire);
        (self.key.load(Ordering::Acquire) == key.0).then_some(Value(value))
    }

    /// Returns what the slot holds.
    pub(super) fn read(&self) -> Option<(Key, Value)> {
        let key = self.key()?;
        self.read_if(key).map(|value| (key, value))
    }

    /// Returns the key; for writers, who hold the lock, it stays until they change it.
    pub(super) fn key(&self) -> Option<Key> {
        let bits = self.key.load(Ordering::Acquire);
        (bits != 0).then_some(Key(bits))
    }

    /// Returns the value of an occupied slot, for writers.
    pub(super) fn value(&self) -> Value {
        Value(self.value.load(Ordering::Relaxed))
    }

    /// Fills an empty slot.
    pub(super) fn fill(&self, key: Key, value: Value) {
        self.value.store(value.0, Ordering::Release);
        self.key.store(key.0, Ordering::Release);
    }

    /// Gives an occupied slot a new value for the same key.
    pub(super) fn restamp(&self, value: Value) {
        self.value.store(value.0, Ordering::Release);
    }

    /// Empties the slot.
    pub(super) fn empty(&self) {
        self.key.store(0, Ordering::Release);
    }
}
