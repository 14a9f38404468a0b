//! The slots and where a key may stand: two buckets of one cache line each, by a keyed hash.

use super::slot::{Key, Slot, Value};

/// Slots that share a cache line.
const SLOTS: usize = 4;

/// The buckets.
pub(super) struct Table {
    secret: [u64; 2],
    buckets: Box<[Bucket]>,
}

#[derive(Default)]
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[repr(C, align(64))]
struct Bucket {
    slots: [Slot; SLOTS],
}

/// The two buckets of a key.
#[derive(Clone, Copy)]
pub(super) struct Place {
    first: usize,
    second: usize,
}

impl Place {
    /// Returns the numbers of the slots where the key may stand, in the order of preference.
    pub(super) fn slots(self) -> impl Iterator<Item = usize> + Clone {
        let second = if self.second == self.first { 0..0 } else { slots_of(self.second) };
        slots_of(self.first).chain(second)
    }
}

fn slots_of(bucket: usize) -> std::ops::Range<usize> {
    bucket * SLOTS..(bucket + 1) * SLOTS
}

impl Table {
    /// Makes an empty table with four slots or more for each entry: with two buckets to choose from, an address
    /// that finds both full is a rare thing at the limit and none below.
    pub(super) fn new(entries: usize, secret: [u64; 2]) -> Self {
        Self { secret, buckets: empty_buckets(entries.max(1).next_power_of_two()) }
    }

    /// Returns the number of slots.
    pub(super) fn len(&self) -> usize {
        self.buckets.len() * SLOTS
    }

    pub(super) fn slot(&self, number: usize) -> &Slot {
        &self.buckets[number / SLOTS].slots[number % SLOTS]
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.buckets.iter().flat_map(|bucket| &bucket.slots)
    }

    /// Returns where a key may stand.
    #[inline]
    pub(super) fn place(&self, key: Key) -> Place {
        // Two rounds: the bits of one product alone depend on few bits of the key.
        let hash = folded_product(key.bits() ^ self.secret[0], 0x9e37_79b9_7f4a_7c15);
        let hash = folded_product(hash ^ self.secret[1], 0xd6e8_feb8_6659_fd93);
        let mask = self.buckets.len() - 1;
        Place { first: (hash >> 32) as usize & mask, second: hash as u32 as usize & mask }
    }

    /// Returns the value of a key.
    #[inline(always)]
    pub(super) fn read(&self, key: Key, place: Place) -> Option<Value> {
        self.read_in(key, place.first).or_else(|| self.read_second(key, place.second))
    }

    #[inline(always)]
    fn read_in(&self, key: Key, bucket: usize) -> Option<Value> {
        self.buckets[bucket].slots.iter().find_map(|slot| slot.read_if(key))
    }

    /// Kept out of the way: nearly every address stands in its first bucket.
    #[inline(never)]
    fn read_second(&self, key: Key, bucket: usize) -> Option<Value> {
        self.read_in(key, bucket)
    }

    /// Returns the slot of a key, for writers.
    pub(super) fn find(&self, key: Key, place: Place) -> Option<usize> {
        place.slots().find(|&slot| self.slot(slot).read_if(key).is_some())
    }
}

#[inline]
fn folded_product(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Returns memory that is not resident before it is used.
#[cfg(not(loom))]
fn empty_buckets(count: usize) -> Box<[Bucket]> {
    use zerocopy::FromZeros;
    <[Bucket]>::new_box_zeroed_with_elems(count)
        .unwrap_or_else(|_| (0..count).map(|_| Bucket::default()).collect())
}

#[cfg(loom)]
fn empty_buckets(count: usize) -> Box<[Bucket]> {
    (0..count).map(|_| Bucket::default()).collect()
}
