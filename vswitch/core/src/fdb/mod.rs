//! Forwarding database: which port last sent from (FID, MAC). IEEE 802.1Q-2022 clause 8.8, one FID per VID.
//! Readers take no lock; writers take one, for a constant time. Ages lazily; does no flooding and holds no
//! static entries. Beside what was heard it has what other hosts told of.

mod ledger;
mod list;
mod news;
mod plan;
mod remote;
mod slot;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, loom))]
mod tests_loom;

use std::{collections::HashSet, time::Duration};

use weft_vlan::{MacAddr, VlanId};

pub use self::news::{Bulletin, Change, Moves, News};
use self::{
    ledger::Ledger,
    news::Desk,
    plan::{Newcomer, Plan},
    slot::{Key, Ticks, Value},
    table::{Place, Table},
};
use crate::{
    PortId, Timestamp,
    sync::{AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering},
};

/// An entry is stamped anew, and becomes its port's youngest, at most this often.
const REFRESH: Duration = Duration::from_secs(1);
/// Entries that the control plane touches before it gives the lock to a worker that waits.
const CHUNK: usize = 256;
/// Entries that a table can be made for.
const MAC_LIMIT_MAX: usize = 1 << 22;
// Loom follows every atomic: under it there are few.
const VLANS: usize = if cfg!(loom) { 4 } else { 4096 };
const PORTS: usize = if cfg!(loom) { 4 } else { PortId::LIMIT };

/// The dynamic entries of one switch.
pub struct Fdb {
    table: Table,
    mac_limit: usize,
    /// Counts flushes; an entry learned before a flush that concerns it is dead.
    epoch: AtomicU32,
    flushed_all: AtomicU32,
    flushed_vlans: Box<[AtomicU32]>,
    flushed_ports: Box<[AtomicU32]>,
    occupied: AtomicUsize,
    writer: Mutex<Writer>,
}

/// What belongs to the one that holds the lock.
struct Writer {
    ledger: Ledger,
    /// What only the port where it stands may learn.
    frozen: HashSet<Key, foldhash::fast::RandomState>,
    /// For the reader of news.
    desk: Desk,
}

/// What a flush concerns; `None` stands for any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this VLAN.
    pub vlan: Option<VlanId>,
    /// Only this port.
    pub port: Option<PortId>,
}

impl Scope {
    fn concerns(self, vlan: VlanId, port: PortId) -> bool {
        self.vlan.is_none_or(|only| only == vlan) && self.port.is_none_or(|only| only == port)
    }
}

/// A live entry, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The VLAN.
    pub vlan: VlanId,
    /// The address.
    pub mac: MacAddr,
    /// Where it was last heard, or the tunnel to the host that told of it.
    pub port: PortId,
    /// Where the knowledge comes from.
    pub kind: EntryKind,
    /// How long ago that was, to about a second.
    pub age: Duration,
}

/// Where the knowledge of an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A frame, heard on a port. Ages.
    Learned,
    /// Another host's word. Stays until it is taken back.
    Remote,
}

/// The rules that addresses are learned by.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    ageing: Ticks,
    refresh: Ticks,
    of_port: Option<usize>,
    learns: bool,
}

impl Limits {
    /// Makes the rules: how long an entry lives without being heard, and how many the port may have.
    pub fn new(ageing: Duration, of_port: Option<usize>) -> Self {
        let ageing = Ticks::of(ageing);
        // Often enough that a host which keeps talking is never forgotten.
        Self { ageing, refresh: Ticks::of(REFRESH).min(ageing.quarter()), of_port, learns: true }
    }

    /// Makes rules by which nothing is learned, only told.
    pub fn without_learning(self) -> Self {
        Self { learns: false, ..self }
    }
}

/// What learning an address would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Learning {
    /// It is known there.
    Known,
    /// It was known on another port; these addresses make room for it on its new one.
    Moves(Vec<(VlanId, MacAddr)>),
    /// It is new; these addresses make room for it.
    New(Vec<(VlanId, MacAddr)>),
    /// There is no room that its port could give.
    Refused,
    /// It is frozen, and not known there.
    Frozen,
    /// Nothing is learned by these rules.
    Disabled,
}

impl Fdb {
    /// Makes an empty table for this many entries, four million at most. `secret` keys the hash: nobody who
    /// does not know it can aim at one bucket.
    pub fn new(mac_limit: usize, secret: [u64; 2]) -> Self {
        let entries = mac_limit.min(MAC_LIMIT_MAX);
        let table = Table::new(entries, secret);
        let ledger = Ledger::new(table.len(), entries);
        let marks = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        Self {
            table,
            mac_limit,
            epoch: AtomicU32::new(0),
            flushed_all: AtomicU32::new(0),
            flushed_vlans: marks(VLANS),
            flushed_ports: marks(PORTS),
            occupied: AtomicUsize::new(0),
            writer: Mutex::new(Writer {
                ledger,
                frozen: HashSet::default(),
                desk: Desk::default(),
            }),
        }
    }

    /// Returns the number of entries that the table was made for.
    pub fn mac_limit(&self) -> usize {
        self.mac_limit
    }

    /// Returns the number of entries, those included that have aged out and are not reclaimed yet.
    pub fn len(&self) -> usize {
        self.occupied.load(Ordering::Relaxed)
    }

    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the port where an address was last heard.
    #[inline]
    pub fn lookup(
        &self,
        now: Timestamp,
        limits: &Limits,
        vlan: VlanId,
        mac: MacAddr,
    ) -> Option<PortId> {
        let key = Key::new(vlan, mac);
        let value = self.table.read(key, self.table.place(key))?;
        self.is_live(value, vlan, Ticks::at(now), limits.ageing).then(|| value.port())
    }

    /// Notes that an address was heard on a port. Costs no lock where nothing changed within a second.
    ///
    /// At the port's own limit its own oldest entry goes. At the switch's limit the oldest entry goes that has
    /// aged out, else the oldest of the port that holds most. Where both buckets of the address are full, the
    /// oldest entry goes of whichever port has most there; a port that holds most in all and has nothing there
    /// learns nothing.
    #[inline]
    pub fn learn(&self, now: Timestamp, limits: &Limits, vlan: VlanId, mac: MacAddr, port: PortId) {
        let key = Key::new(vlan, mac);
        let place = self.table.place(key);
        let is_fresh = self.table.read(key, place).is_some_and(|value| {
            value.port() == port
                && Ticks::at(now).since(value.heard()) < limits.refresh
                && value.epoch() == self.epoch.load(Ordering::Acquire)
        });
        if !is_fresh {
            self.enter(Ticks::at(now), limits, key, port, EntryKind::Learned);
        }
    }

    /// Takes the moves between local ports since the last time.
    pub fn take_moves(&self) -> Moves {
        let moves = &mut self.lock().desk.moves;
        if moves.is_empty() { Moves::default() } else { std::mem::replace(moves, Moves::room()) }
    }

    /// Tells what [`Fdb::learn`] would do.
    pub(crate) fn would_learn(
        &self,
        now: Timestamp,
        limits: &Limits,
        vlan: VlanId,
        mac: MacAddr,
        port: PortId,
    ) -> Learning {
        if !limits.learns {
            return Learning::Disabled;
        }
        let key = Key::new(vlan, mac);
        let place = self.table.place(key);
        match self.lookup(now, limits, vlan, mac) {
            Some(at) if at == port => return Learning::Known,
            _ => {}
        }
        let writer = self.lock();
        if writer.frozen.contains(&key) && !self.stands_at(key, place, port) {
            return Learning::Frozen;
        }
        let plan = self.plan(&writer.ledger, Ticks::at(now), limits, key, place, port);
        let Some(slot) = plan.slot else { return Learning::Refused };
        let is_held = self.table.slot(slot).read().is_some_and(|(held, value)| {
            held == key && !self.is_dead(slot, Ticks::at(now), limits) && value.port() != port
        });
        let victims = plan.victims().filter_map(|slot| self.table.slot(slot).read());
        let forgotten = victims.filter_map(|(key, _)| Some((key.vlan()?, key.mac()))).collect();
        if is_held { Learning::Moves(forgotten) } else { Learning::New(forgotten) }
    }

    /// Forgets what was learned; returns how many live entries there were. They are gone for readers at once,
    /// except where both a VLAN and a port are named: then they go one by one.
    pub fn flush(&self, now: Timestamp, ageing: Duration, scope: Scope) -> usize {
        let mark = match (scope.vlan, scope.port) {
            (None, None) => Some(&self.flushed_all),
            (Some(vlan), None) => self.flushed_vlans.get(usize::from(vlan.get())),
            (None, Some(port)) => self.flushed_ports.get(port.index()),
            (Some(_), Some(_)) => None,
        };
        let epoch = self.begin_epoch(&mut self.lock(), mark);
        let (now, ageing) = (Ticks::at(now), Ticks::of(ageing));
        let mut forgotten = 0;
        self.clear_where(|vlan, value| {
            let is_concerned = value.kind() == EntryKind::Learned
                && scope.concerns(vlan, value.port())
                && value.epoch() < epoch;
            forgotten += usize::from(is_concerned && now.since(value.heard()) < ageing);
            is_concerned
        });
        forgotten
    }

    /// Forgets the entries that `keep` does not want in their VLAN on their port. They go one by one.
    pub(crate) fn retain(&self, keep: impl Fn(VlanId, PortId) -> bool) {
        self.clear_where(|vlan, value| !keep(vlan, value.port()));
    }

    /// Forgets all that is known of a port, before its number is used again.
    pub fn forget_port(&self, port: PortId) {
        self.begin_epoch(&mut self.lock(), self.flushed_ports.get(port.index()));
        loop {
            let mut writer = self.lock();
            let slots: Vec<usize> = writer.ledger.oldest_of(port).take(CHUNK).collect();
            if slots.is_empty() {
                return;
            }
            for slot in slots {
                self.clear(&mut writer, slot);
            }
            release(writer);
        }
    }

    /// Reclaims the slots of entries that have aged out. They count as absent before.
    pub fn sweep(&self, now: Timestamp, ageing: Duration) {
        let limits = Limits::new(ageing, None);
        loop {
            let mut writer = self.lock();
            let is_dead = |&slot: &usize| self.is_dead(slot, Ticks::at(now), &limits);
            let dead: Vec<usize> = writer.ledger.oldest().take_while(is_dead).take(CHUNK).collect();
            for &slot in &dead {
                self.clear(&mut writer, slot);
            }
            release(writer);
            if dead.len() < CHUNK {
                return;
            }
        }
    }

    /// Returns the live entries. Takes no lock: entries that change meanwhile may be missed.
    pub fn entries(&self, now: Timestamp, ageing: Duration) -> Vec<Entry> {
        let (now, ageing) = (Ticks::at(now), Ticks::of(ageing));
        let entry = |(key, value): (Key, Value)| {
            let vlan = key.vlan()?;
            let entry = || Entry {
                vlan,
                mac: key.mac(),
                port: value.port(),
                kind: value.kind(),
                age: now.since(value.heard()).duration(),
            };
            self.is_live(value, vlan, now, ageing).then(entry)
        };
        self.table.slots().filter_map(|slot| entry(slot.read()?)).collect()
    }

    /// Takes over the live entries of another table, as old as they are, and what is frozen there; not its reader
    /// of news.
    pub fn adopt(&self, now: Timestamp, ageing: Duration, other: &Self) {
        let limits = Limits::new(ageing, None);
        let now = Ticks::at(now);
        let age = |value: Value| now.since(value.heard());
        let is_live = |&(key, value): &(Key, Value)| {
            key.vlan().is_some_and(|vlan| other.is_live(value, vlan, now, limits.ageing))
        };
        let slots = other.table.slots();
        let mut entries: Vec<(Key, Value)> =
            slots.filter_map(slot::Slot::read).filter(is_live).collect();
        entries.sort_by_key(|&(_, value)| std::cmp::Reverse(age(value)));
        for (key, value) in entries {
            self.enter(value.heard(), &limits, key, value.port(), value.kind());
        }
        let frozen = other.lock().frozen.clone();
        self.lock().frozen = frozen;
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A panic while the lock was held left at worst a slot out of the ledger: the table stays usable.
        self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells whether an entry counts.
    #[inline]
    fn is_live(&self, value: Value, vlan: VlanId, now: Ticks, ageing: Ticks) -> bool {
        now.since(value.heard()) < ageing && self.is_current(value, vlan)
            || value.kind() == EntryKind::Remote
    }

    /// Tells whether no flush concerned the entry since it was heard.
    #[inline]
    fn is_current(&self, value: Value, vlan: VlanId) -> bool {
        let epoch = value.epoch();
        epoch == self.epoch.load(Ordering::Acquire)
            || epoch >= self.flushed_all.load(Ordering::Acquire)
                && epoch >= mark(&self.flushed_vlans, usize::from(vlan.get()))
                && epoch >= mark(&self.flushed_ports, value.port().index())
    }

    /// Tells whether an occupied slot's entry has aged out or was flushed.
    fn is_dead(&self, slot: usize, now: Ticks, limits: &Limits) -> bool {
        self.table.slot(slot).read().is_some_and(|(key, value)| {
            key.vlan().is_none_or(|vlan| !self.is_live(value, vlan, now, limits.ageing))
        })
    }

    /// Tells whether a port is where an address stands, live or not.
    fn stands_at(&self, key: Key, place: Place, port: PortId) -> bool {
        self.table.read(key, place).is_some_and(|value| value.port() == port)
    }

    /// Begins a new epoch, before which all that `mark` stands for is dead.
    fn begin_epoch(&self, writer: &mut Writer, mark: Option<&AtomicU32>) -> u32 {
        if self.epoch.load(Ordering::Relaxed) == Value::MAX_EPOCH {
            self.renumber(writer);
        }
        let epoch = self.epoch.load(Ordering::Relaxed) + 1;
        if let Some(mark) = mark {
            mark.store(epoch, Ordering::Release);
        }
        self.epoch.store(epoch, Ordering::Release);
        epoch
    }

    /// Begins again with epoch 0 when the numbers have run out. Readers see live entries all the time.
    fn renumber(&self, writer: &mut Writer) {
        for slot in 0..self.table.len() {
            let Some((key, value)) = self.table.slot(slot).read() else { continue };
            let is_current = |vlan| self.is_current(value, vlan);
            if value.kind() == EntryKind::Learned && !key.vlan().is_some_and(is_current) {
                self.clear(writer, slot);
            }
        }
        let marks =
            self.flushed_vlans.iter().chain(&*self.flushed_ports).chain([&self.flushed_all]);
        for mark in marks {
            mark.store(0, Ordering::Release);
        }
        for slot in 0..self.table.len() {
            if let Some((_, value)) = self.table.slot(slot).read() {
                self.table.slot(slot).renew(value.with_epoch(0));
            }
        }
        self.epoch.store(0, Ordering::Release);
    }

    fn plan(
        &self,
        ledger: &Ledger,
        now: Ticks,
        limits: &Limits,
        key: Key,
        place: Place,
        port: PortId,
    ) -> Plan {
        let mac_limit = self.mac_limit.min(MAC_LIMIT_MAX);
        let newcomer =
            Newcomer { table: &self.table, ledger, limits, mac_limit, key, place, port, now };
        newcomer.plan(|slot| self.is_dead(slot, now, limits))
    }

    /// Enters what was heard or told; tells whether there was room and right for it.
    #[cold]
    fn enter(&self, now: Ticks, limits: &Limits, key: Key, port: PortId, kind: EntryKind) -> bool {
        // Asked here, not on the way of every frame: what is known and fresh never comes here.
        if kind == EntryKind::Learned && !limits.learns {
            return false;
        }
        let place = self.table.place(key);
        let mut writer = self.lock();
        if kind == EntryKind::Learned
            && writer.frozen.contains(&key)
            && !self.stands_at(key, place, port)
        {
            return false;
        }
        let plan = self.plan(&writer.ledger, now, limits, key, place, port);
        let Some(number) = plan.slot else { return false };
        for victim in plan.victims() {
            if let Some((key, value)) = self.remove(&mut writer, victim) {
                writer.desk.note_evicted(key, value);
            }
        }
        let slot = self.table.slot(number);
        let value = Value::new(port, kind, self.epoch.load(Ordering::Relaxed), now);
        let before = slot.read().map(|(_, before)| before);
        match before {
            Some(before) => {
                writer.ledger.remove(before, number);
                slot.renew(value);
            }
            None => slot.fill(key, value),
        }
        writer.ledger.add(value, number);
        writer.desk.note(key, before, Some(value));
        self.occupied.store(writer.ledger.total(), Ordering::Relaxed);
        release(writer);
        true
    }

    /// Empties the slots whose entries are concerned, and gives the lock away now and then.
    fn clear_where(&self, mut is_concerned: impl FnMut(VlanId, Value) -> bool) {
        for first in (0..self.table.len()).step_by(CHUNK) {
            let mut writer = self.lock();
            for slot in first..(first + CHUNK).min(self.table.len()) {
                let Some((key, value)) = self.table.slot(slot).read() else { continue };
                if key.vlan().is_none_or(|vlan| is_concerned(vlan, value)) {
                    self.clear(&mut writer, slot);
                }
            }
            release(writer);
        }
    }

    fn clear(&self, writer: &mut Writer, number: usize) {
        if let Some((key, value)) = self.remove(writer, number) {
            writer.desk.note(key, Some(value), None);
        }
    }

    /// Empties a slot, which is no news.
    fn remove(&self, writer: &mut Writer, number: usize) -> Option<(Key, Value)> {
        let slot = self.table.slot(number);
        let (key, value) = slot.read()?;
        writer.ledger.remove(value, number);
        slot.empty();
        self.occupied.store(writer.ledger.total(), Ordering::Relaxed);
        Some((key, value))
    }
}

/// Gives the lock away, and then wakes the reader of news that waits for them.
fn release(mut writer: MutexGuard<'_, Writer>) {
    let reader = writer.desk.due();
    drop(writer);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[inline]
fn mark(marks: &[AtomicU32], index: usize) -> u32 {
    marks.get(index).map_or(0, |mark| mark.load(Ordering::Acquire))
}

impl std::fmt::Debug for Fdb {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Fdb")
            .field("mac_limit", &self.mac_limit)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
