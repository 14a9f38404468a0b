//! What goes to peers, and when: each gets a message in turn; what is not acknowledged is sent again.

use std::{ops::Bound, time::Duration};

use super::{Key, Overlay};
use crate::{
    PeerId, SegmentId,
    log::TOMBS_MAX,
    peer::{Link, Outgoing, WINDOW},
    wire::{
        ACKS_MAX, Body, CATALOGUE_HEADER, CLAIMS_HEADER, Entry, ITEM_HEADER, Message, PAYLOAD_MAX,
        Stamp,
    },
};

/// Withdrawals that every peer knows are forgotten this often.
const BURY_EVERY: Duration = Duration::from_secs(1);

impl Overlay {
    /// Returns the next payload and the peer that it goes to. Peers come in turn; the caller may stop at any
    /// time and go on later, so that a budget a turn paces full sets.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<(PeerId, Vec<u8>)> {
        while !self.ready.is_empty() {
            let behind = (Bound::Excluded(self.turn), Bound::Unbounded);
            let id = *self.ready.range(behind).next().or_else(|| self.ready.first())?;
            self.turn = id;
            if let Some(payload) = self.next_message(now, id) {
                return Some((id, payload));
            }
            self.ready.remove(&id);
        }
        None
    }

    /// Does what it is time for.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.wake(now);
        self.dispute(now);
        self.tell_refusals(now);
        for (&id, peer) in &mut self.peers {
            let Some(link) = &mut peer.link else { continue };
            let mut is_ready = link.ours.retry.is_due(now);
            for log in link.outgoing.values_mut() {
                is_ready |= log.go_back(now);
            }
            if is_ready {
                // What is sent twice cannot be timed.
                link.trip.timed = None;
                self.ready.insert(id);
            }
        }
        if self.buries_at.is_some_and(|at| at <= now) {
            self.buries_at = None;
            self.bury();
        }
        if self.buries_at.is_none() && self.logs.values().any(|log| log.tombs() > 0) {
            self.buries_at = Some(now + BURY_EVERY);
        }
    }

    /// Returns when [`Overlay::handle_timeout`] is to be called; to be asked again after every other call.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let links = self.peers.values().filter_map(|peer| peer.link.as_ref());
        let stations = [self.wakes.first(), self.disputes.first()];
        links
            .filter_map(Link::retries_at)
            .chain(stations.into_iter().flatten().map(|&(at, _)| at))
            .chain(self.buries_at)
            .chain(self.tells_at)
            .min()
    }

    fn bury(&mut self) {
        for (segment, log) in &mut self.logs {
            let of_peers = self.peers.values_mut().filter_map(|peer| peer.link.as_mut());
            let mut outgoing: Vec<&mut Outgoing> =
                of_peers.filter_map(|link| link.outgoing.get_mut(segment)).collect();
            let known = outgoing.iter().map(|log| log.acknowledged).min();
            log.bury(known.unwrap_or(u64::MAX));
            if log.tombs() > TOMBS_MAX {
                // Who does not keep up hears everything again.
                let last = log.last();
                log.bury(last);
                for outgoing in outgoing.iter_mut().filter(|log| log.acknowledged < last) {
                    self.rounds += 1;
                    **outgoing = Outgoing::new(self.rounds, self.version);
                }
            }
        }
    }

    fn next_message(&mut self, now: Duration, id: PeerId) -> Option<Vec<u8>> {
        let body = self
            .next_ack(id)
            .or_else(|| self.next_catalogue(now, id))
            .or_else(|| self.next_dispute(id))
            .or_else(|| self.next_claims(now, id))?;
        let session = self.link(id)?.session;
        Some(Message { stamp: Stamp { epoch: self.epoch, session }, body }.to_bytes())
    }

    fn link(&mut self, id: PeerId) -> Option<&mut Link> {
        self.peers.get_mut(&id)?.link.as_mut()
    }

    fn next_ack(&mut self, id: PeerId) -> Option<Body> {
        let link = self.link(id)?;
        if !link.ack_is_due && link.unacknowledged.is_empty() {
            return None;
        }
        let of = link.heard?;
        link.ack_is_due = false;
        let mut logs = Vec::new();
        while logs.len() < ACKS_MAX
            && let Some(segment) = link.unacknowledged.pop_first()
        {
            let log = link.incoming.get(&segment);
            logs.extend(log.map(|log| (segment, log.round, log.version)));
        }
        let items = u16::try_from(link.theirs.items.len()).unwrap_or(u16::MAX);
        Some(Body::Ack { of, catalogue: (link.theirs.revision, items), logs })
    }

    fn next_catalogue(&mut self, now: Duration, id: PeerId) -> Option<Body> {
        let peer = self.peers.get_mut(&id)?;
        let link = peer.link.as_mut()?;
        if link.ours.is_known || link.ours.retry.at.is_some() {
            return None;
        }
        link.ours.retry.arm(now, link.trip.patience());
        let from = link.ours.acknowledged;
        let mut size = CATALOGUE_HEADER;
        let items = peer
            .segments
            .iter()
            .skip(from)
            .take_while(|(_, name)| {
                size += ITEM_HEADER + name.len();
                size <= PAYLOAD_MAX
            })
            .map(|(&segment, name)| (segment, name.clone()))
            .collect();
        let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let (from, total) = (count(from), count(peer.segments.len()));
        Some(Body::Catalogue { revision: peer.revision, from, total, items })
    }

    fn next_dispute(&mut self, id: PeerId) -> Option<Body> {
        let link = self.link(id)?;
        if link.disputes.is_empty() {
            return None;
        }
        let disputes = std::mem::take(&mut link.disputes);
        Some(Body::Dispute(
            disputes
                .into_iter()
                .map(|((segment, mac), sequence)| (segment, mac, sequence))
                .collect(),
        ))
    }

    fn next_claims(&mut self, now: Duration, id: PeerId) -> Option<Body> {
        let link = self.peers.get(&id)?.link.as_ref()?;
        let (&segment, outgoing) = link.outgoing.iter().find(|&(segment, outgoing)| {
            outgoing.flight.len() < WINDOW && outgoing.next < self.end_of(*segment, outgoing)
        })?;
        let (from, end) = (outgoing.next, self.end_of(segment, outgoing));
        let (entries, to) = self.changes(segment, from, end);
        let link = self.link(id)?;
        let patience = link.trip.patience();
        let outgoing = link.outgoing.get_mut(&segment)?;
        outgoing.next = to;
        outgoing.flight.push_back(to);
        if to > outgoing.sent {
            outgoing.sent = to;
            link.trip.timed.get_or_insert((segment, outgoing.round, to, now));
        }
        if outgoing.retry.at.is_none() {
            outgoing.retry.arm(now, patience);
        }
        let (round, full) = (outgoing.round, outgoing.full);
        Some(Body::Claims { segment, round, from, to, full, entries })
    }

    /// Returns the version that a peer is to have.
    fn end_of(&self, segment: SegmentId, outgoing: &Outgoing) -> u64 {
        outgoing.full.max(self.logs.get(&segment).map_or(0, crate::log::Log::last))
    }

    /// Returns the changes behind a version that fit a message, and the version that they lead to.
    fn changes(&self, segment: SegmentId, from: u64, end: u64) -> (Vec<Entry>, u64) {
        let (mut entries, mut to) = (Vec::new(), from);
        let mut size = CLAIMS_HEADER;
        for (version, mac) in self.logs.get(&segment).into_iter().flat_map(|log| log.since(from)) {
            let entry = self.entry_of((segment, mac));
            size += entry.size();
            if size > PAYLOAD_MAX {
                return (entries, to);
            }
            entries.push(entry);
            to = version;
        }
        (entries, end)
    }

    fn entry_of(&self, key: Key) -> Entry {
        let local = self.stations.get(&key).and_then(|station| station.local.as_ref());
        Entry { mac: key.1, claim: local.map(|local| (local.sequence, local.ips.clone())) }
    }
}
