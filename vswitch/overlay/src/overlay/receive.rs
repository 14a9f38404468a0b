//! What peers say. Only what is configured for a peer gives it a say.

use std::{collections::BTreeSet, time::Duration};

use super::{Key, Overlay};
use crate::{
    Event, Mismatch, PeerId, Refusal, SegmentId,
    peer::{Greeting, Incoming, TOLD_EVERY, Theirs},
    wire::{Body, Entry, Message},
};

/// Segments of a peer's catalogue that are told when they are not carried here.
const TOLD_MAX: usize = 16;

impl Overlay {
    /// Takes a control message that a peer sent in its session.
    pub fn receive(&mut self, now: Duration, id: PeerId, payload: &[u8]) {
        let Some(link) = self.peers.get_mut(&id).and_then(|peer| peer.link.as_mut()) else {
            return;
        };
        if !link.take(now) {
            return self.refuse(now, id, Refusal::TooManyMessages);
        }
        let Ok(message) = Message::read(payload) else {
            return self.refuse(now, id, Refusal::Malformed);
        };
        match link.greet(now, message.stamp) {
            Greeting::Stale => return,
            Greeting::Same | Greeting::First => {}
            Greeting::NewSession => self.send_all_again(id),
            Greeting::NewEpoch => {
                let complete = link.theirs.complete.take();
                link.theirs = Theirs { complete, ..Theirs::default() };
                link.incoming.values_mut().for_each(|log| *log = Incoming::default());
                self.send_all_again(id);
            }
        }
        match message.body {
            Body::Catalogue { revision, from, total, items } => {
                let part = (revision, usize::from(from), usize::from(total));
                self.take_catalogue(now, id, part, items);
            }
            Body::Claims { segment, round, from, to, full, entries } => {
                self.take_claims(now, id, segment, (round, from, to, full), entries);
            }
            Body::Ack { of, catalogue, logs } => {
                // One of an earlier session says what the peer had, not that it noticed this one.
                let session =
                    self.peers.get(&id).and_then(|peer| Some(peer.link.as_ref()?.session));
                if (of.epoch, Some(of.session)) == (self.epoch, session) {
                    self.take_ack(now, id, catalogue, &logs);
                }
            }
            Body::Dispute(disputed) => {
                for (segment, mac, sequence) in disputed {
                    self.take_dispute(id, (segment, mac), sequence);
                }
            }
        }
    }

    /// The peer has nothing of this host any more.
    fn send_all_again(&mut self, id: PeerId) {
        let (rounds, version) = (&mut self.rounds, self.version);
        let Some(link) = self.peers.get_mut(&id).and_then(|peer| peer.link.as_mut()) else {
            return;
        };
        link.ours = Default::default();
        for log in link.outgoing.values_mut() {
            *rounds += 1;
            *log = crate::peer::Outgoing::new(*rounds, version);
        }
        self.ready.insert(id);
    }

    fn take_catalogue(
        &mut self,
        now: Duration,
        id: PeerId,
        part: (u32, usize, usize),
        items: Vec<(SegmentId, String)>,
    ) {
        let Some(link) = self.peers.get_mut(&id).and_then(|peer| peer.link.as_mut()) else {
            return;
        };
        link.ack_is_due = true;
        self.ready.insert(id);
        if link.theirs.take(now, part, items) {
            link.theirs.complete = Some(link.theirs.items.iter().map(|item| item.0).collect());
            self.compare(id);
            self.match_segments(now, id);
        }
    }

    /// Says what does not fit.
    pub(super) fn compare(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let Some(theirs) = peer.link.as_ref().map(|link| &link.theirs) else { return };
        if theirs.complete.is_none() || !theirs.is_whole() {
            return;
        }
        let theirs = &theirs.items;
        let ids: BTreeSet<SegmentId> = theirs.iter().map(|item| item.0).collect();
        let mut explained = BTreeSet::new();
        let mut mismatches = Vec::new();
        for (&here, name) in peer.segments.iter().filter(|(id, _)| !ids.contains(id)) {
            let namesake = theirs
                .iter()
                .find(|(there, called)| called == name && !peer.segments.contains_key(there));
            if let Some(&(there, _)) = namesake {
                explained.insert(there);
                mismatches.push(Mismatch::Ids { name: name.clone(), here, there });
            } else {
                mismatches.push(Mismatch::NotThere { name: name.clone(), segment: here });
            }
        }
        let unknown = theirs
            .iter()
            .filter(|(there, _)| !peer.segments.contains_key(there) && !explained.contains(there));
        mismatches.extend(
            unknown
                .take(TOLD_MAX)
                .map(|(there, name)| Mismatch::NotHere { name: name.clone(), segment: *there }),
        );
        self.events.push_back(Event::Compared { peer: id, mismatches });
    }

    /// Begins to send what both ends carry, and drops what they do not.
    pub(super) fn match_segments(&mut self, now: Duration, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(link) = &mut peer.link else { return };
        let Some(theirs) = &link.theirs.complete else { return };
        let common: BTreeSet<SegmentId> =
            peer.segments.keys().filter(|id| theirs.contains(id)).copied().collect();
        link.outgoing.retain(|segment, _| common.contains(segment));
        let gone: Vec<SegmentId> =
            link.incoming.keys().filter(|&id| !theirs.contains(id)).copied().collect();
        link.incoming.retain(|segment, _| theirs.contains(segment));
        let new: Vec<SegmentId> =
            common.into_iter().filter(|id| !link.outgoing.contains_key(id)).collect();
        for segment in gone {
            self.drop_claims(now, id, Some(segment));
        }
        for segment in new {
            let log = self.next_outgoing();
            let link = self.peers.get_mut(&id).and_then(|peer| peer.link.as_mut());
            link.map(|link| link.outgoing.insert(segment, log));
        }
        self.ready.insert(id);
    }

    fn take_claims(
        &mut self,
        now: Duration,
        id: PeerId,
        segment: SegmentId,
        (round, from, to, full): (u64, u64, u64, u64),
        entries: Vec<Entry>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.segments.contains_key(&segment) {
            return self.refuse(now, id, Refusal::ForeignSegment);
        }
        let Some(link) = &mut peer.link else { return };
        let log = link.incoming.entry(segment).or_default();
        // A round begins with its first message: before that nothing of it is there.
        if round < log.round || round > log.round && from > 0 {
            return;
        }
        if round > log.round {
            self.sets += 1;
            *log = Incoming { round, full, set: self.sets, ..Incoming::default() };
        }
        link.unacknowledged.insert(segment);
        self.ready.insert(id);
        if from > log.version || to <= log.version {
            return;
        }
        log.version = to;
        let set = log.set;
        let completes = !log.is_complete && to >= log.full;
        log.is_complete |= completes;
        for entry in entries {
            let key = (segment, entry.mac);
            match entry.claim {
                Some(claim) => self.enter_claim(now, id, key, claim, set),
                None => self.drop_claim(now, id, key),
            }
        }
        if completes {
            self.drop_unconfirmed(now, id, segment, set);
            self.events.push_back(Event::Synced { peer: id, segment });
        }
    }

    fn take_ack(
        &mut self,
        now: Duration,
        id: PeerId,
        (revision, items): (u32, u16),
        logs: &[(SegmentId, u64, u64)],
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(link) = &mut peer.link else { return };
        let items = usize::from(items);
        if revision == peer.revision && !link.ours.is_known && items <= peer.segments.len() {
            link.ours.is_known = items == peer.segments.len();
            if link.ours.is_known {
                link.taken_away.clear();
            }
            if items > link.ours.acknowledged || link.ours.is_known {
                link.ours.acknowledged = items;
                link.ours.retry.succeed();
            }
        }
        for &(segment, round, version) in logs {
            let Some(log) = link.outgoing.get_mut(&segment).filter(|log| log.round == round) else {
                continue;
            };
            if version <= log.sent {
                link.trip.arrived(now, segment, round, version);
            }
            log.acknowledge(now, version, link.trip.patience());
        }
        self.ready.insert(id);
    }

    /// A peer believes an address of this host elsewhere: it is claimed anew once it is heard here.
    fn take_dispute(&mut self, id: PeerId, key: Key, sequence: u64) {
        let may = self.peers.get(&id).is_some_and(|peer| peer.segments.contains_key(&key.0));
        let Some(station) = self.stations.get_mut(&key).filter(|_| may) else { return };
        if station.doubt(sequence) {
            let (segment, mac) = key;
            self.events.push_back(Event::Challenged { segment, mac });
        }
    }

    /// Counts a refusal, and tells of it now and then.
    pub(super) fn refuse(&mut self, now: Duration, id: PeerId, refusal: Refusal) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let told = peer.refused.entry(refusal).or_default();
        told.count += 1;
        let due = told.at.map_or(now, |at| at + TOLD_EVERY);
        if due <= now {
            (told.at, told.told) = (Some(now), told.count);
            let count = told.count;
            self.events.push_back(Event::Refused { peer: id, refusal, count });
        } else {
            self.tells_at = Some(self.tells_at.map_or(due, |at| at.min(due)));
        }
    }

    /// Tells what was refused since it was told last.
    pub(super) fn tell_refusals(&mut self, now: Duration) {
        if self.tells_at.is_none_or(|at| at > now) {
            return;
        }
        self.tells_at = None;
        for (&peer, known) in &mut self.peers {
            for (&refusal, told) in known.refused.iter_mut().filter(|(_, it)| it.told < it.count) {
                (told.at, told.told) = (Some(now), told.count);
                self.events.push_back(Event::Refused { peer, refusal, count: told.count });
            }
        }
    }
}
