//! Who holds which slots, in the order in which they were heard. Belongs to the writers of a forwarding
//! database; every question and every change takes the same time whatever the table holds.

use super::{
    list::{EMPTY, Ends, Links},
    slot::Value,
};
use crate::{EntryKind, PortId};

/// The occupied slots, by port and, those that age, by age.
pub(super) struct Ledger {
    ageing: Ends,
    by_age: Links,
    ports: Vec<Holding>,
    by_port: Links,
    /// Lists of ports by the number of slots that they hold.
    ranks: Vec<Ends>,
    by_rank: Links,
    /// The highest rank that a port has.
    most: usize,
    total: usize,
}

#[derive(Clone, Copy)]
struct Holding {
    slots: Ends,
    count: usize,
}

impl Ledger {
    /// Makes the ledger of a table with this many slots, of which `limit` will be occupied at most.
    pub(super) fn new(slots: usize, limit: usize) -> Self {
        Self {
            ageing: EMPTY,
            by_age: Links::new(slots),
            ports: vec![Holding { slots: EMPTY, count: 0 }; PortId::LIMIT],
            by_port: Links::new(slots),
            ranks: vec![EMPTY; limit + 1],
            by_rank: Links::new(PortId::LIMIT),
            most: 0,
            total: 0,
        }
    }

    /// Returns the number of occupied slots.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Returns the number of slots that a port holds.
    pub(super) fn count(&self, port: PortId) -> usize {
        self.ports[port.index()].count
    }

    /// Returns the number of slots that the port with most of them holds.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Returns the slots of entries that age, oldest first.
    pub(super) fn oldest(&self) -> impl Iterator<Item = usize> {
        self.by_age.iter(self.ageing)
    }

    /// Returns a port's slots, oldest first.
    pub(super) fn oldest_of(&self, port: PortId) -> impl Iterator<Item = usize> {
        self.by_port.iter(self.ports[port.index()].slots)
    }

    /// Returns the oldest slot of the port that holds most.
    pub(super) fn oldest_of_most(&self) -> Option<usize> {
        let port = self.by_rank.iter(self.ranks[self.most]).next()?;
        self.by_port.iter(self.ports[port].slots).next()
    }

    /// Enters a slot with this value as the youngest of its port and of all.
    pub(super) fn add(&mut self, value: Value, slot: usize) {
        let port = value.port();
        if value.kind() == EntryKind::Learned {
            self.by_age.push(&mut self.ageing, slot);
        }
        let holding = &mut self.ports[port.index()];
        self.by_port.push(&mut holding.slots, slot);
        self.total += 1;
        self.rank(port, |count| count + 1);
    }

    /// Takes out a slot that was entered with this value, or one that differs in its epoch.
    pub(super) fn remove(&mut self, value: Value, slot: usize) {
        let port = value.port();
        if value.kind() == EntryKind::Learned {
            self.by_age.remove(&mut self.ageing, slot);
        }
        let holding = &mut self.ports[port.index()];
        self.by_port.remove(&mut holding.slots, slot);
        self.total -= 1;
        self.rank(port, |count| count - 1);
    }

    fn rank(&mut self, port: PortId, change: impl Fn(usize) -> usize) {
        let holding = &mut self.ports[port.index()];
        let before = holding.count;
        let after = change(before);
        holding.count = after;
        if before > 0 {
            self.by_rank.remove(&mut self.ranks[before], port.index());
        }
        if after > 0 {
            self.by_rank.push(&mut self.ranks[after], port.index());
        }
        if after > self.most || before == self.most && self.ranks[before] == EMPTY {
            self.most = after;
        }
    }
}
