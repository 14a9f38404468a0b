//! Forwarding database: which port last sent from (FID, MAC). IEEE 802.1Q-2022 clause 8.8, one FID per VID.
//! Readers take no lock; writers take one. Ages lazily; does no flooding and holds no static entries.
//!
//! Four 16-byte slots share a cache line. A slot is a key and a value; a writer empties the key, writes the
//! value, then the new key, and a reader reads the key again after the value. Whoever fills the table with
//! addresses pays with addresses of its own: see [`Fdb::learn`].

mod list;
mod slot;

use std::time::Duration;

use weft_vlan::{MacAddr, VlanId};

use self::{
    list::Lists,
    slot::{Key, SLOTS, Slot, Value},
};
use crate::{
    PortId, Timestamp,
    sync::{AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering},
};

/// Slots for each entry that the limit allows, so that buckets rarely overflow.
const SLOTS_PER_ENTRY: usize = 4;
/// An entry is stamped anew, and becomes its port's youngest, at most this often.
const REFRESH: Duration = Duration::from_secs(1);
/// Calls of [`Fdb::sweep`] that visit the whole table once.
const SWEEPS: usize = 64;
const VLANS: usize = 4096;

/// The dynamic entries of one switch.
pub struct Fdb {
    secret: [u64; 2],
    mac_limit: usize,
    buckets: Box<[Bucket]>,
    /// Counts flushes; an entry learned before the flush that concerns it is dead.
    epoch: AtomicU32,
    flushed_all: AtomicU32,
    flushed_vlans: Box<[AtomicU32]>,
    flushed_ports: Box<[AtomicU32]>,
    occupied: AtomicUsize,
    writer: Mutex<Writer>,
}

#[repr(align(64))]
#[derive(Default)]
struct Bucket {
    slots: [Slot; SLOTS],
}

/// What only writers need.
struct Writer {
    lists: Lists,
    /// The port that held most when it was last looked for.
    largest: PortId,
    swept: usize,
}

/// What a flush concerns; `None` stands for any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this VLAN.
    pub vlan: Option<VlanId>,
    /// Only this port.
    pub port: Option<PortId>,
}

/// A live entry, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The VLAN.
    pub vlan: VlanId,
    /// The address.
    pub mac: MacAddr,
    /// Where it was last heard.
    pub port: PortId,
    /// How long ago, to about a second.
    pub age: Duration,
}

/// The rules that an address is learned by.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long an entry lives without being heard.
    pub ageing: Duration,
    /// Entries that the port may have.
    pub of_port: Option<usize>,
}

impl Fdb {
    /// Makes an empty table for this many entries. `secret` keys the hash: nobody who does not know it can
    /// aim at one bucket.
    pub fn new(mac_limit: usize, secret: [u64; 2]) -> Self {
        let buckets = (mac_limit.max(1) * SLOTS_PER_ENTRY / SLOTS).next_power_of_two();
        Self {
            secret: [secret[0], secret[1] | 1],
            mac_limit,
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            epoch: AtomicU32::new(0),
            flushed_all: AtomicU32::new(0),
            flushed_vlans: (0..VLANS).map(|_| AtomicU32::new(0)).collect(),
            flushed_ports: (0..PortId::LIMIT).map(|_| AtomicU32::new(0)).collect(),
            occupied: AtomicUsize::new(0),
            writer: Mutex::new(Writer {
                lists: Lists::new(buckets * SLOTS),
                largest: PortId::FIRST,
                swept: 0,
            }),
        }
    }

    /// Returns the number of entries that the table was made for.
    pub fn mac_limit(&self) -> usize {
        self.mac_limit
    }

    /// Returns the number of slots in use, entries included that have aged out or were flushed and are not reclaimed yet.
    pub fn len(&self) -> usize {
        self.occupied.load(Ordering::Relaxed)
    }

    /// Tells whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the port where an address was last heard.
    pub fn lookup(
        &self,
        now: Timestamp,
        ageing: Duration,
        vlan: VlanId,
        mac: MacAddr,
    ) -> Option<PortId> {
        let value = self.read(Key::new(vlan, mac))?;
        self.is_live(value, vlan, now, ageing).then(|| value.port())
    }

    /// Notes that an address was heard on a port. Costs no lock where nothing changed within a second.
    ///
    /// At the port's own limit its own oldest entry goes. At the switch's limit the oldest entry of the port
    /// that holds most goes. In a full bucket the oldest entry of whichever port holds most there goes, the
    /// newcomer counted in and ties decided by what the ports hold in all; where that is the newcomer's port
    /// and it has nothing there to give, the address is not learned.
    pub fn learn(&self, now: Timestamp, limits: Limits, vlan: VlanId, mac: MacAddr, port: PortId) {
        let key = Key::new(vlan, mac);
        let fresh = self.read(key).is_some_and(|value| {
            value.port() == port
                && value.age(now) < REFRESH
                && self.is_live(value, vlan, now, limits.ageing)
        });
        if !fresh {
            let stamped = Value::new(port, self.epoch.load(Ordering::Acquire), now);
            self.write(now, limits, key, stamped);
        }
    }

    /// Forgets entries; returns how many live ones there were.
    pub fn flush(&self, now: Timestamp, ageing: Duration, scope: Scope) -> usize {
        let concerned = |entry: &Entry| {
            scope.vlan.is_none_or(|vlan| vlan == entry.vlan)
                && scope.port.is_none_or(|port| port == entry.port)
        };
        let flushed = self.entries(now, ageing).into_iter().filter(concerned).count();
        let mut writer = self.lock();
        match (scope.vlan, scope.port) {
            (Some(vlan), Some(port)) => {
                let of_port: Vec<usize> = writer.lists.of(port).collect();
                for slot in of_port {
                    if self.slot(slot).key().is_some_and(|key| key.vlan() == Some(vlan)) {
                        self.clear(&mut writer, slot);
                    }
                }
            }
            (vlan, port) => {
                let epoch = self.next_epoch(&mut writer);
                let mark = match (vlan, port) {
                    (Some(vlan), _) => &self.flushed_vlans[usize::from(vlan.get())],
                    (_, Some(port)) => &self.flushed_ports[port.index()],
                    (None, None) => &self.flushed_all,
                };
                mark.store(epoch, Ordering::Release);
            }
        }
        flushed
    }

    /// Forgets what is known of a port, before its number is used again.
    pub fn forget_port(&self, port: PortId) {
        let mut writer = self.lock();
        let epoch = self.next_epoch(&mut writer);
        self.flushed_ports[port.index()].store(epoch, Ordering::Release);
    }

    /// Reclaims the slots of dead entries in a part of the table; some tens of calls visit all of it.
    pub fn sweep(&self, now: Timestamp, ageing: Duration) {
        let part = self.buckets.len().div_ceil(SWEEPS);
        let mut writer = self.lock();
        let first = writer.swept;
        writer.swept = if first + part >= self.buckets.len() { 0 } else { first + part };
        for bucket in first..(first + part).min(self.buckets.len()) {
            for slot in bucket * SLOTS..(bucket + 1) * SLOTS {
                if self.is_reclaimable(slot, now, ageing) {
                    self.clear(&mut writer, slot);
                }
            }
        }
    }

    /// Returns the live entries. Takes no lock: entries that change meanwhile may be missed.
    pub fn entries(&self, now: Timestamp, ageing: Duration) -> Vec<Entry> {
        let slots = self.buckets.iter().flat_map(|bucket| &bucket.slots);
        slots
            .filter_map(|slot| {
                let (key, value) = slot.read()?;
                let (vlan, mac) = (key.vlan()?, key.mac());
                let entry = Entry { vlan, mac, port: value.port(), age: value.age(now) };
                self.is_live(value, vlan, now, ageing).then_some(entry)
            })
            .collect()
    }

    /// Takes over the live entries of another table, as old as they are.
    pub fn adopt(&self, now: Timestamp, ageing: Duration, other: &Self) {
        let mut entries = other.entries(now, ageing);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.age));
        for entry in entries {
            let heard = Timestamp::from_micros(
                now.as_micros().saturating_sub(entry.age.as_micros() as u64),
            );
            let value = Value::new(entry.port, self.epoch.load(Ordering::Acquire), heard);
            self.write(
                now,
                Limits { ageing, of_port: None },
                Key::new(entry.vlan, entry.mac),
                value,
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic while the lock was held left at worst a slot out of its list: the table stays usable.
        self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn bucket_of(&self, key: Key) -> usize {
        let product = u128::from(key.bits() ^ self.secret[0]) * u128::from(self.secret[1]);
        let folded = (product as u64) ^ (product >> 64) as u64;
        // A second round: the low bits of one product alone depend on few bits of the key.
        let product = u128::from(folded ^ self.secret[1]) * u128::from(self.secret[0] | 1);
        ((product as u64) ^ (product >> 64) as u64) as usize & (self.buckets.len() - 1)
    }

    fn slot(&self, slot: usize) -> &Slot {
        &self.buckets[slot / SLOTS].slots[slot % SLOTS]
    }

    fn read(&self, key: Key) -> Option<Value> {
        self.buckets[self.bucket_of(key)].slots.iter().find_map(|slot| slot.read_if(key))
    }

    fn is_live(&self, value: Value, vlan: VlanId, now: Timestamp, ageing: Duration) -> bool {
        // Relaxed: a flush has happened once its caller knows, and the caller is not on the way of a frame.
        value.age(now) <= ageing
            && value.epoch() >= self.flushed_ports[value.port().index()].load(Ordering::Relaxed)
            && value.epoch() >= self.flushed_vlans[usize::from(vlan.get())].load(Ordering::Relaxed)
            && value.epoch() >= self.flushed_all.load(Ordering::Relaxed)
    }

    fn is_reclaimable(&self, slot: usize, now: Timestamp, ageing: Duration) -> bool {
        self.slot(slot).read().is_some_and(|(key, value)| {
            key.vlan().is_none_or(|vlan| !self.is_live(value, vlan, now, ageing))
        })
    }

    /// Begins a new epoch; when the numbers run out every entry goes and they begin again.
    fn next_epoch(&self, writer: &mut Writer) -> u32 {
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        if epoch <= Value::MAX_EPOCH {
            self.epoch.store(epoch, Ordering::Release);
            return epoch;
        }
        for slot in 0..self.buckets.len() * SLOTS {
            self.clear(writer, slot);
        }
        let marks =
            self.flushed_vlans.iter().chain(&*self.flushed_ports).chain([&self.flushed_all]);
        for mark in marks {
            mark.store(0, Ordering::Release);
        }
        self.epoch.store(0, Ordering::Release);
        0
    }

    fn write(&self, now: Timestamp, limits: Limits, key: Key, value: Value) {
        let first = self.bucket_of(key) * SLOTS;
        let mut writer = self.lock();
        let port = value.port();
        if let Some(slot) = (first..first + SLOTS).find(|&slot| self.slot(slot).key() == Some(key))
        {
            let before = self.slot(slot).value().port();
            writer.lists.remove(before, slot);
            if before != port {
                self.keep_port_limit(&mut writer, limits, port);
            }
            self.slot(slot).restamp(value);
            writer.lists.push(port, slot);
            return;
        }
        self.keep_port_limit(&mut writer, limits, port);
        self.keep_switch_limit(&mut writer, port);
        let Some(slot) = self.place_in(&mut writer, first, port, now, limits.ageing) else {
            return;
        };
        self.slot(slot).fill(key, value);
        writer.lists.push(port, slot);
        self.occupied.store(writer.lists.total(), Ordering::Relaxed);
    }

    fn keep_port_limit(&self, writer: &mut Writer, limits: Limits, port: PortId) {
        while limits.of_port.is_some_and(|limit| writer.lists.count(port) >= limit.max(1)) {
            let Some(oldest) = writer.lists.oldest(port) else { return };
            self.clear(writer, oldest);
        }
    }

    fn keep_switch_limit(&self, writer: &mut Writer, newcomer: PortId) {
        if writer.lists.total() < self.mac_limit.max(1) {
            return;
        }
        if writer.lists.count(newcomer) >= writer.lists.count(writer.largest) {
            writer.largest = newcomer;
        } else {
            writer.largest = writer.lists.largest();
        }
        if let Some(oldest) = writer.lists.oldest(writer.largest) {
            self.clear(writer, oldest);
        }
    }

    /// Returns an empty slot of the bucket that begins at `first`, emptying one where it must.
    fn place_in(
        &self,
        writer: &mut Writer,
        first: usize,
        newcomer: PortId,
        now: Timestamp,
        ageing: Duration,
    ) -> Option<usize> {
        let slots = first..first + SLOTS;
        if let Some(empty) = slots.clone().find(|&slot| self.slot(slot).key().is_none()) {
            return Some(empty);
        }
        if let Some(dead) = slots.clone().find(|&slot| self.is_reclaimable(slot, now, ageing)) {
            self.clear(writer, dead);
            return Some(dead);
        }
        let port_in = |slot: usize| self.slot(slot).value().port();
        let weight = |port: PortId| {
            let here = slots.clone().filter(|&slot| port_in(slot) == port).count()
                + usize::from(port == newcomer);
            (here, writer.lists.count(port))
        };
        let heaviest =
            slots.clone().map(port_in).chain([newcomer]).max_by_key(|&port| weight(port))?;
        let victim = slots
            .filter(|&slot| port_in(slot) == heaviest)
            .max_by_key(|&slot| self.slot(slot).value().age(now))?;
        self.clear(writer, victim);
        Some(victim)
    }

    fn clear(&self, writer: &mut Writer, slot: usize) {
        let place = self.slot(slot);
        if place.key().is_some() {
            writer.lists.remove(place.value().port(), slot);
            place.empty();
            self.occupied.store(writer.lists.total(), Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Fdb {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Fdb")
            .field("mac_limit", &self.mac_limit)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
