//! News of local addresses, for whoever tells other hosts of them, and of what they told. Written by the one that changes an entry, under
//! the lock that it holds anyway; bounded; says when it is not the whole story.

use std::task::Waker;

use weft_vlan::{MacAddr, VlanId, VlanSet};

use super::slot::{Key, Value};
use crate::{EntryKind, PortId};

/// What happened to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The VLAN.
    pub vlan: VlanId,
    /// The address.
    pub mac: MacAddr,
    /// What happened to it.
    pub change: Change,
}

/// What can happen to an address. What [`crate::Switch::install`] and [`crate::Fdb::withdraw`] do is no news to whoever
/// asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was heard on this port, where nothing was known of it or another host's word.
    Came(PortId),
    /// It was heard on this port, before that on another one.
    Moved(PortId),
    /// It has aged out, or was flushed, evicted or forgotten with its port.
    Went,
    /// It stood there on another host's word and had to make room.
    Evicted,
}

/// The news since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bulletin {
    /// In the order in which it happened.
    pub news: Vec<News>,
    /// Whether there was more, which is lost: only [`crate::Fdb::entries`], taken after this, knows what is there.
    pub is_incomplete: bool,
}

/// Addresses that moved from one local port to another since the last time: for people, who are told of a few at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// The first of them, and where they are now.
    pub moves: Vec<(VlanId, MacAddr, PortId)>,
    /// How many more there were.
    pub more: u64,
}

/// Moves that are kept.
const MOVES_MAX: usize = 16;

impl Moves {
    pub(super) fn room() -> Self {
        Self { moves: Vec::with_capacity(MOVES_MAX), more: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// Allocates nothing.
    fn add(&mut self, vlan: VlanId, mac: MacAddr, to: PortId) {
        if self.moves.len() < self.moves.capacity() {
            self.moves.push((vlan, mac, to));
        } else {
            self.more += 1;
        }
    }
}

/// What is kept for the readers.
pub(super) struct Desk {
    pub(super) moves: Moves,
    vlans: VlanSet,
    limit: usize,
    waiting: Bulletin,
    reader: Option<Waker>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            moves: Moves::room(),
            vlans: VlanSet::new(),
            limit: 0,
            waiting: Bulletin::default(),
            reader: None,
        }
    }
}

impl Desk {
    /// Begins anew with an incomplete bulletin: of what was known before there is no news.
    pub(super) fn follow(&mut self, vlans: VlanSet, limit: usize) {
        (self.vlans, self.limit) = (vlans, limit);
        self.waiting = Bulletin { news: Vec::with_capacity(limit), is_incomplete: true };
    }

    /// Notes that an entry is another one than before. Allocates nothing.
    pub(super) fn note(&mut self, key: Key, before: Option<Value>, after: Option<Value>) {
        let Some(vlan) = key.vlan() else { return };
        let local = |value: Value| (value.kind() == EntryKind::Learned).then(|| value.port());
        let change = match (before.and_then(local), after) {
            (Some(from), Some(after)) => match local(after) {
                Some(to) if to != from => Change::Moved(to),
                _ => return,
            },
            (None, Some(after)) => match local(after) {
                Some(port) => Change::Came(port),
                None => return,
            },
            (Some(_), None) => Change::Went,
            (None, None) => return,
        };
        if let Change::Moved(to) = change {
            self.moves.add(vlan, key.mac(), to);
        }
        if self.vlans.contains(vlan) {
            self.add(News { vlan, mac: key.mac(), change });
        }
    }

    /// Notes that an entry had to make room. Allocates nothing.
    pub(super) fn note_evicted(&mut self, key: Key, value: Value) {
        let Some(vlan) = key.vlan().filter(|&vlan| self.vlans.contains(vlan)) else { return };
        let change = match value.kind() {
            EntryKind::Learned => Change::Went,
            EntryKind::Remote => Change::Evicted,
        };
        self.add(News { vlan, mac: key.mac(), change });
    }

    fn add(&mut self, news: News) {
        if self.waiting.news.len() < self.limit && !self.waiting.is_incomplete {
            self.waiting.news.push(news);
        } else {
            self.waiting.news.clear();
            self.waiting.is_incomplete = true;
        }
    }

    /// Returns whom to wake, once, when there is something to read.
    pub(super) fn due(&mut self) -> Option<Waker> {
        if self.has_news() { self.reader.take() } else { None }
    }

    /// Hands out the news; where there are none, remembers whom to wake.
    pub(super) fn take(&mut self, reader: &Waker) -> Option<Bulletin> {
        if self.has_news() {
            let news = Vec::with_capacity(self.limit);
            let next = Bulletin { news, is_incomplete: false };
            return Some(std::mem::replace(&mut self.waiting, next));
        }
        match &mut self.reader {
            Some(known) => known.clone_from(reader),
            None => self.reader = Some(reader.clone()),
        }
        None
    }

    fn has_news(&self) -> bool {
        self.waiting.is_incomplete || !self.waiting.news.is_empty()
    }
}
