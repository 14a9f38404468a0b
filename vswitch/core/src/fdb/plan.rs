//! What learning an address will change, decided before anything is changed. Fairness is decided here: whoever
//! fills the table with addresses pays with addresses of its own.

use super::{
    Limits,
    ledger::Ledger,
    slot::{Key, Ticks},
    table::{Place, Table},
};
use crate::PortId;

/// Entries that learning one address makes room with at most: two of a port whose limit was lowered, and one
/// more where both buckets are full.
const VICTIMS: usize = 3;

/// The slots to empty, and then the slot for the address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    victims: [Option<usize>; VICTIMS],
    /// `None` when the address is not learned; then nothing is emptied.
    pub(super) slot: Option<usize>,
}

impl Plan {
    const REFUSED: Self = Self { victims: [None; VICTIMS], slot: None };

    /// Returns the slots to empty.
    pub(super) fn victims(&self) -> impl Iterator<Item = usize> {
        self.victims.iter().copied().flatten()
    }

    fn has_victim(&self) -> bool {
        self.victims().next().is_some()
    }

    fn empties(&self, slot: usize) -> bool {
        self.victims().any(|victim| victim == slot)
    }

    fn add_victim(&mut self, slot: usize) {
        if let Some(free) = self.victims.iter_mut().find(|victim| victim.is_none()) {
            *free = Some(slot);
        }
    }
}

/// An address that was heard, and what the plan is made from.
pub(super) struct Newcomer<'a> {
    pub(super) table: &'a Table,
    pub(super) ledger: &'a Ledger,
    pub(super) limits: &'a Limits,
    pub(super) mac_limit: usize,
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) port: PortId,
    pub(super) now: Ticks,
}

impl Newcomer<'_> {
    /// Makes the plan. `is_dead` tells whether the entry of an occupied slot has aged out or was flushed.
    pub(super) fn plan(&self, is_dead: impl Fn(usize) -> bool) -> Plan {
        let mut plan = Plan::default();
        if let Some(slot) = self.table.find(self.key, self.place) {
            if self.occupant(slot) != Some(self.port) && !self.keep_port_limit(&mut plan) {
                return Plan::REFUSED;
            }
            plan.slot = Some(slot);
            return plan;
        }
        if self.mac_limit == 0 || !self.keep_port_limit(&mut plan) {
            return Plan::REFUSED;
        }
        if !plan.has_victim() && self.ledger.total() >= self.mac_limit {
            self.keep_switch_limit(&mut plan, &is_dead);
        }
        let is_empty = |&slot: &usize| self.occupant(slot).is_none() || plan.empties(slot);
        if let Some(slot) = self.place.slots().find(is_empty) {
            plan.slot = Some(slot);
            return plan;
        }
        let Some(slot) = self.place.slots().find(|&slot| is_dead(slot)).or_else(|| self.evicted())
        else {
            return Plan::REFUSED;
        };
        plan.add_victim(slot);
        plan.slot = Some(slot);
        plan
    }

    fn occupant(&self, slot: usize) -> Option<PortId> {
        self.table.slot(slot).read().map(|(_, value)| value.port())
    }

    /// Lets the port's own oldest entries go; `false` when it may have none.
    fn keep_port_limit(&self, plan: &mut Plan) -> bool {
        let Some(limit) = self.limits.of_port else { return true };
        let excess = (self.ledger.count(self.port) + 1).saturating_sub(limit);
        for slot in self.ledger.oldest_of(self.port).take(excess.min(VICTIMS - 1)) {
            plan.add_victim(slot);
        }
        limit > 0
    }

    /// Lets the oldest entry go that has aged out, else the oldest of the port that holds most.
    fn keep_switch_limit(&self, plan: &mut Plan, is_dead: impl Fn(usize) -> bool) {
        let dead = self.ledger.oldest().next().filter(|&slot| is_dead(slot));
        if let Some(slot) = dead.or_else(|| self.ledger.oldest_of_most()) {
            plan.add_victim(slot);
        }
    }

    /// Returns the oldest entry, in full buckets, of whichever port has most there, ties decided by what the
    /// ports hold in all. `None` when the newcomer's port holds most in all and has nothing there to give.
    fn evicted(&self) -> Option<usize> {
        let count_here = |port: PortId| {
            self.place.slots().filter(|&slot| self.occupant(slot) == Some(port)).count()
        };
        let holds_most = self.ledger.count(self.port) >= self.ledger.most();
        if holds_most && count_here(self.port) == 0 {
            return None;
        }
        let heaviest = self
            .place
            .slots()
            .filter_map(|slot| self.occupant(slot))
            .max_by_key(|&port| (count_here(port), self.ledger.count(port)))?;
        self.place
            .slots()
            .filter(|&slot| self.occupant(slot) == Some(heaviest))
            .max_by_key(|&slot| self.age(slot))
    }

    fn age(&self, slot: usize) -> Option<Ticks> {
        self.table.slot(slot).read().map(|(_, value)| self.now.since(value.heard()))
    }
}
