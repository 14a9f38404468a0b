//! The slots of each port from oldest to youngest, as doubly linked lists through one array. Belongs to the
//! writers of a forwarding database.

use crate::PortId;

/// No slot; slots are stored by number plus one, so that untouched memory says "none".
const NONE: u32 = 0;

/// One list for each port.
pub(super) struct Lists {
    older: Vec<u32>,
    younger: Vec<u32>,
    ports: Vec<Ends>,
    total: usize,
}

#[derive(Clone, Copy, Default)]
struct Ends {
    oldest: u32,
    youngest: u32,
    count: u32,
}

impl Lists {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            older: vec![NONE; slots],
            younger: vec![NONE; slots],
            ports: vec![Ends::default(); PortId::LIMIT],
            total: 0,
        }
    }

    /// Returns the slots in all lists.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Returns the slots of a port.
    pub(super) fn count(&self, port: PortId) -> usize {
        self.ports[port.index()].count as usize
    }

    /// Returns the port that has most slots.
    pub(super) fn largest(&self) -> PortId {
        let largest = self.ports.iter().enumerate().max_by_key(|(_, ends)| ends.count);
        largest.map_or(PortId::FIRST, |(index, _)| PortId::from_bits(index as u16))
    }

    /// Returns a port's oldest slot.
    pub(super) fn oldest(&self, port: PortId) -> Option<usize> {
        position(self.ports[port.index()].oldest)
    }

    /// Returns a port's slots, oldest first.
    pub(super) fn of(&self, port: PortId) -> impl Iterator<Item = usize> {
        std::iter::successors(self.oldest(port), |&slot| position(self.younger[slot]))
    }

    /// Makes a slot the port's youngest. It must be in no list.
    pub(super) fn push(&mut self, port: PortId, slot: usize) {
        let link = slot as u32 + 1;
        let ends = &mut self.ports[port.index()];
        self.older[slot] = ends.youngest;
        self.younger[slot] = NONE;
        match position(ends.youngest) {
            Some(before) => self.younger[before] = link,
            None => ends.oldest = link,
        }
        ends.youngest = link;
        ends.count += 1;
        self.total += 1;
    }

    /// Takes a slot out of the port's list. It must be in it.
    pub(super) fn remove(&mut self, port: PortId, slot: usize) {
        let (older, younger) = (self.older[slot], self.younger[slot]);
        let ends = &mut self.ports[port.index()];
        match position(older) {
            Some(before) => self.younger[before] = younger,
            None => ends.oldest = younger,
        }
        match position(younger) {
            Some(after) => self.older[after] = older,
            None => ends.youngest = older,
        }
        ends.count -= 1;
        self.total -= 1;
    }
}

fn position(link: u32) -> Option<usize> {
    (link != NONE).then(|| link as usize - 1)
}
