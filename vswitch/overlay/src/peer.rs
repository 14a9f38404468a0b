//! What is known of a peer and of the session with it: catalogues, and of each segment's log how far both are.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use weft_vlan::MacAddr;

use crate::{
    HostKey, Refusal, SegmentId,
    wire::{CATALOGUE_MAX, Stamp},
};

/// Messages of one segment's log that are under way at most.
pub(crate) const WINDOW: usize = 32;
/// What was not acknowledged is sent again after this at first, and at the latest.
pub(crate) const RETRY_MIN: Duration = Duration::from_millis(40);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Messages that a peer may send at once, and in a second.
const MESSAGES_BURST: u32 = 4096;
const MESSAGES_RATE: u32 = 2048;
/// A refusal of one kind by one peer is told at most this often.
pub(crate) const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A peer's new sessions and epochs are taken note of at most this often while one session of ours lasts.
const GREETED_EVERY: Duration = Duration::from_millis(100);

/// What a message's stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// Nothing new.
    Same,
    /// It is from before, or new too soon.
    Stale,
    /// The first in this session.
    First,
    /// The peer lost its session: what it had of this host is gone.
    NewSession,
    /// The peer began anew: what this host has of it is old.
    NewEpoch,
}

/// A peer as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSpec {
    /// Its public key.
    pub key: HostKey,
    /// The segments that it may carry, and what they are called here.
    pub segments: Vec<(SegmentId, String)>,
    /// How many addresses it may claim.
    pub mac_limit: usize,
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) key: HostKey,
    pub(crate) segments: BTreeMap<SegmentId, String>,
    pub(crate) mac_limit: usize,
    /// Counts the changes of `segments`.
    pub(crate) revision: u32,
    /// Counts the sessions.
    pub(crate) sessions: u32,
    /// What it claims.
    pub(crate) held: BTreeSet<(SegmentId, MacAddr)>,
    pub(crate) link: Option<Link>,
    pub(crate) refused: BTreeMap<Refusal, Told>,
}

/// How often something was refused, and how often that was when it was told last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) count: u64,
    pub(crate) told: u64,
    pub(crate) at: Option<Duration>,
}

impl Peer {
    pub(crate) fn new(key: HostKey) -> Self {
        Self {
            key,
            segments: BTreeMap::new(),
            mac_limit: 0,
            revision: 0,
            sessions: 0,
            held: BTreeSet::new(),
            link: None,
            refused: BTreeMap::new(),
        }
    }
}

/// A session.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) session: u32,
    /// The peer's run and session, the latest heard.
    pub(crate) heard: Option<Stamp>,
    greeted: Option<Duration>,
    pub(crate) ack_is_due: bool,
    /// Logs whose state is to be acknowledged.
    pub(crate) unacknowledged: BTreeSet<SegmentId>,
    pub(crate) disputes: BTreeMap<(SegmentId, MacAddr), u64>,
    pub(crate) ours: Ours,
    /// Segments that were taken away, until the peer knows.
    pub(crate) taken_away: BTreeSet<SegmentId>,
    pub(crate) theirs: Theirs,
    pub(crate) outgoing: BTreeMap<SegmentId, Outgoing>,
    pub(crate) incoming: BTreeMap<SegmentId, Incoming>,
    pub(crate) trip: Trip,
    messages: u32,
    refilled: Duration,
}

impl Link {
    pub(crate) fn new(now: Duration, session: u32) -> Self {
        Self {
            session,
            heard: None,
            greeted: None,
            ack_is_due: false,
            unacknowledged: BTreeSet::new(),
            disputes: BTreeMap::new(),
            ours: Ours::default(),
            taken_away: BTreeSet::new(),
            theirs: Theirs::default(),
            outgoing: BTreeMap::new(),
            incoming: BTreeMap::new(),
            trip: Trip::default(),
            messages: MESSAGES_BURST,
            refilled: now,
        }
    }

    /// Takes one message off what the peer may send; `false` when it sent too many.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.refilled);
        let earned = passed.as_millis().saturating_mul(u128::from(MESSAGES_RATE)) / 1000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(MESSAGES_BURST);
            self.messages = self.messages.saturating_add(earned).min(MESSAGES_BURST);
            self.refilled = now;
        }
        let is_left = self.messages > 0;
        self.messages = self.messages.saturating_sub(1);
        is_left
    }

    /// Compares a message's stamp with the latest.
    pub(crate) fn greet(&mut self, now: Duration, stamp: Stamp) -> Greeting {
        match self.heard {
            Some(heard) if stamp == heard => return Greeting::Same,
            Some(heard) if stamp < heard => return Greeting::Stale,
            _ => {}
        }
        // Whoever begins anew with each message would be sent everything again each time.
        if self.greeted.is_some_and(|greeted| now < greeted + GREETED_EVERY) {
            return Greeting::Stale;
        }
        let before = self.heard.replace(stamp);
        self.greeted = Some(now);
        match before {
            None => Greeting::First,
            Some(heard) if heard.epoch == stamp.epoch => Greeting::NewSession,
            Some(_) => Greeting::NewEpoch,
        }
    }

    /// Returns when something is to be sent again.
    pub(crate) fn retries_at(&self) -> Option<Duration> {
        let logs = self.outgoing.values().filter_map(|log| log.retry.at);
        logs.chain(self.ours.retry.at).min()
    }
}

/// When what was sent is to be sent again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retry {
    pub(crate) at: Option<Duration>,
    failures: u32,
}

impl Retry {
    pub(crate) fn arm(&mut self, now: Duration, first: Duration) {
        let patience = first.saturating_mul(1 << self.failures.min(10)).min(RETRY_MAX);
        self.at = Some(now + patience);
    }

    /// Tells whether the time has come, and waits longer the next time.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self.at.is_some_and(|at| at <= now);
        if is_due {
            self.at = None;
            self.failures += 1;
        }
        is_due
    }

    pub(crate) fn succeed(&mut self) {
        *self = Self::default();
    }
}

/// How long messages take, there and back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trip {
    smoothed: Option<Duration>,
    /// A message that is timed: segment, round, version, when it was sent.
    pub(crate) timed: Option<(SegmentId, u64, u64, Duration)>,
}

impl Trip {
    pub(crate) fn arrived(&mut self, now: Duration, segment: SegmentId, round: u64, version: u64) {
        let Some((of, in_round, upto, sent)) = self.timed else { return };
        if (of, in_round) != (segment, round) || version < upto {
            return;
        }
        self.timed = None;
        let took = now.saturating_sub(sent);
        self.smoothed = Some(self.smoothed.map_or(took, |before| (before * 7 + took) / 8));
    }

    /// Returns how long to wait for an acknowledgement.
    pub(crate) fn patience(&self) -> Duration {
        let trip = self.smoothed.unwrap_or_default();
        (trip * 3 / 2 + Duration::from_millis(10)).clamp(RETRY_MIN, RETRY_MAX)
    }
}

/// How far the peer has this host's catalogue.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    pub(crate) acknowledged: usize,
    /// The whole catalogue is there.
    pub(crate) is_known: bool,
    pub(crate) retry: Retry,
}

/// The peer's catalogue.
#[derive(Debug, Default)]
pub(crate) struct Theirs {
    pub(crate) revision: u32,
    pub(crate) total: usize,
    pub(crate) items: Vec<(SegmentId, String)>,
    /// The last one that was complete.
    pub(crate) complete: Option<BTreeSet<SegmentId>>,
    pub(crate) began: Option<Duration>,
}

impl Theirs {
    /// A catalogue is begun anew at most this often.
    const CHANGED_EVERY: Duration = Duration::from_secs(1);

    /// Takes a part of a catalogue; tells whether one is complete with it.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        (revision, from, total): (u32, usize, usize),
        items: Vec<(SegmentId, String)>,
    ) -> bool {
        if total > CATALOGUE_MAX || revision < self.revision {
            return false;
        }
        if revision > self.revision {
            let is_early = self.began.is_some_and(|began| now < began + Self::CHANGED_EVERY);
            if from > 0 || is_early {
                return false;
            }
            *self = Self {
                revision,
                total,
                items: Vec::new(),
                complete: self.complete.take(),
                began: Some(now),
            };
        } else if from != self.items.len() || total != self.total || self.is_whole() {
            return false;
        }
        if self.items.len() + items.len() > total {
            return false;
        }
        self.items.extend(items);
        self.is_whole()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.items.len() == self.total
    }
}

/// How far the peer has the log of one of this host's segments.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) round: u64,
    pub(crate) full: u64,
    pub(crate) acknowledged: u64,
    pub(crate) next: u64,
    /// The highest version that was sent.
    pub(crate) sent: u64,
    /// The versions that messages under way lead to.
    pub(crate) flight: VecDeque<u64>,
    pub(crate) retry: Retry,
}

impl Outgoing {
    pub(crate) fn new(round: u64, full: u64) -> Self {
        Self {
            round,
            full,
            acknowledged: 0,
            next: 0,
            sent: 0,
            flight: VecDeque::new(),
            retry: Retry::default(),
        }
    }

    /// Takes an acknowledgement; tells whether it brought something new.
    pub(crate) fn acknowledge(&mut self, now: Duration, version: u64, patience: Duration) -> bool {
        if version <= self.acknowledged || version > self.sent {
            return false;
        }
        self.acknowledged = version;
        self.next = self.next.max(version);
        while self.flight.front().is_some_and(|&to| to <= version) {
            self.flight.pop_front();
        }
        self.retry.succeed();
        if !self.flight.is_empty() {
            self.retry.arm(now, patience);
        }
        true
    }

    /// Begins again behind what was acknowledged, if it is time.
    pub(crate) fn go_back(&mut self, now: Duration) -> bool {
        let is_due = self.retry.is_due(now);
        if is_due {
            self.next = self.acknowledged;
            self.flight.clear();
        }
        is_due
    }
}

/// How far this host has the log of one of the peer's segments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) round: u64,
    pub(crate) version: u64,
    pub(crate) full: u64,
    /// The mark of claims that this full set confirmed.
    pub(crate) set: u64,
    pub(crate) is_complete: bool,
}
