//! What follows from claims: who gives way, what the forwarding database is told, what is answered for.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::{Key, Overlay, keys_of};
use crate::{
    Event, Owner, PeerId, Refusal, SegmentId,
    station::{Claim, Hold, SEQUENCE_MAX, Settled, Station},
};

/// A claim that does not win is disputed when it stays for this long, and again after that.
const DISPUTED_AFTER: Duration = Duration::from_secs(1);
/// Addresses that are remembered for their moves alone.
const REMEMBERED_MAX: usize = 65_536;

impl Overlay {
    /// Enters a peer's claim. Refused is what the peer may not; a jump is told and counts by the rules.
    pub(super) fn enter_claim(
        &mut self,
        now: Duration,
        id: PeerId,
        key: Key,
        (sequence, ips): (u64, Vec<IpAddr>),
        set: u64,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !key.1.is_source() {
            return self.refuse(now, id, Refusal::BadAddress);
        }
        if !peer.held.contains(&key) && peer.held.len() >= peer.mac_limit {
            return self.refuse(now, id, Refusal::MacLimit);
        }
        peer.held.insert(key);
        let peer_key = peer.key;
        let station = self.stations.entry(key).or_default();
        let known = station.claims.iter_mut().find(|claim| claim.peer == id);
        if let Some(claim) = known {
            claim.set = set;
            if (claim.sequence, &claim.ips) == (sequence, &ips) {
                return;
            }
            (claim.sequence, claim.ips) = (sequence, ips);
        } else {
            station.claims.push(Claim { peer: id, key: peer_key, sequence, set, ips });
        }
        let is_jump = jumps(station, id, sequence);
        let is_static = station.local.as_ref().is_some_and(|local| local.hold == Hold::Static);
        if is_jump {
            self.refuse(now, id, Refusal::SequenceJump);
        }
        if is_static {
            self.refuse(now, id, Refusal::StaticHere);
        }
        self.settle(now, key);
    }

    /// Withdraws a peer's claim.
    pub(super) fn drop_claim(&mut self, now: Duration, id: PeerId, key: Key) {
        if self.peers.get_mut(&id).is_some_and(|peer| peer.held.remove(&key)) {
            if let Some(station) = self.stations.get_mut(&key) {
                station.claims.retain(|claim| claim.peer != id);
            }
            self.settle(now, key);
        }
    }

    /// Withdraws what a peer claims in a segment, or in all.
    pub(super) fn drop_claims(&mut self, now: Duration, id: PeerId, segment: Option<SegmentId>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let keys: Vec<Key> = match segment {
            None => peer.held.iter().copied().collect(),
            Some(segment) => keys_of(segment, |range| peer.held.range(range).copied().collect()),
        };
        keys.into_iter().for_each(|key| self.drop_claim(now, id, key));
    }

    /// Withdraws what a peer claims in a segment without having confirmed it in its latest full set.
    pub(super) fn drop_unconfirmed(
        &mut self,
        now: Duration,
        id: PeerId,
        segment: SegmentId,
        set: u64,
    ) {
        let Some(peer) = self.peers.get(&id) else { return };
        let is_old = |key: &&Key| {
            let claim = self.stations.get(key).and_then(|station| station.claim_of(id));
            claim.is_none_or(|claim| claim.set != set)
        };
        let keys: Vec<Key> =
            keys_of(segment, |range| peer.held.range(range).filter(is_old).copied().collect());
        keys.into_iter().for_each(|key| self.drop_claim(now, id, key));
    }

    /// Draws the consequences of a change of claims.
    pub(super) fn settle(&mut self, now: Duration, key: Key) {
        let judge = self.judge;
        let Some(station) = self.stations.get_mut(&key) else { return };
        let mut settled = station.settle(now, judge);
        let is_frozen = |settled, station: &Station| {
            settled != Settled::Calm || station.frozen_owner().is_some()
        };
        let hold = station.local.as_ref().map(|local| local.hold);
        let is_elsewhere = matches!(station.owner(judge), Some(Owner::Peer(_)));
        if is_elsewhere && hold == Some(Hold::Static) && !is_frozen(settled, station) {
            self.claim_here(key, Hold::Static);
            let Some(station) = self.stations.get_mut(&key) else { return };
            settled = station.settle(now, judge);
        }
        if let Settled::Frozen(owner) = settled {
            self.freeze(key, owner);
        }
        let Some(station) = self.stations.get(&key) else { return };
        // While it is frozen the others see what froze it: claims stay as they are.
        let gives_way = station.frozen_owner().is_none()
            && matches!(station.winner(judge), Some(Owner::Peer(_)))
            && station.local.as_ref().is_some_and(|local| local.hold == Hold::Learned);
        if gives_way {
            self.yield_claim(key);
        }
        self.install(key);
        self.bind(key);
        self.watch(now, key);
    }

    fn freeze(&mut self, key: Key, owner: Owner) {
        let Some(station) = self.stations.get_mut(&key) else { return };
        station.installed = None;
        let port = station.port.filter(|_| owner == Owner::Here);
        // The others freeze it here too: it needs a claim to stand on.
        if owner == Owner::Here && station.local.is_none() {
            self.claim_here(key, Hold::Learned);
        }
        let (segment, mac) = key;
        self.events.push_back(Event::Frozen { segment, mac, owner, port });
    }

    /// Tells the forwarding database where the address is.
    fn install(&mut self, key: Key) {
        let judge = self.judge;
        let Some(station) = self.stations.get_mut(&key) else { return };
        let wanted = match station.owner(judge) {
            Some(Owner::Peer(peer)) => Some(peer),
            _ => None,
        };
        let before = std::mem::replace(&mut station.installed, wanted);
        let (segment, mac) = key;
        match (before, wanted) {
            (before, wanted) if before == wanted => {}
            (_, Some(peer)) => self.events.push_back(Event::Install { segment, mac, peer }),
            (Some(peer), None) => self.events.push_back(Event::Withdraw { segment, mac, peer }),
            (None, None) => {}
        }
    }

    /// Keeps the table of protocol addresses in step.
    pub(super) fn bind(&mut self, key: Key) {
        let (segment, mac) = key;
        let Some(station) = self.stations.get_mut(&key) else { return };
        let wanted: &[IpAddr] =
            if self.answering.contains(&segment) { station.ips(self.judge) } else { &[] };
        if station.bound == wanted {
            return;
        }
        let wanted = wanted.to_vec();
        let before = std::mem::replace(&mut station.bound, wanted.clone());
        for &ip in before.iter().filter(|ip| !wanted.contains(ip)) {
            if let Some(macs) = self.bindings.get_mut(&(segment, ip)) {
                macs.remove(&mac);
                if macs.is_empty() {
                    self.bindings.remove(&(segment, ip));
                }
            }
        }
        for &ip in wanted.iter().filter(|ip| !before.contains(ip)) {
            let macs = self.bindings.entry((segment, ip)).or_default();
            macs.insert(mac);
            if macs.len() == 2 {
                let macs = [*macs.first().unwrap_or(&mac), *macs.last().unwrap_or(&mac)];
                self.events.push_back(Event::Conflict { segment, ip, macs });
            }
        }
    }

    /// Sees to it that the address is looked at when it is time, or forgets it.
    fn watch(&mut self, now: Duration, key: Key) {
        let judge = self.judge;
        let Some(station) = self.stations.get_mut(&key) else { return };
        let loses = |claim: &Claim| Some(Owner::Peer(claim.peer)) != station.winner(judge);
        let is_disputed = station.frozen_owner().is_none() && station.claims.iter().any(loses);
        let disputes = is_disputed.then(|| station.disputes.unwrap_or(now + DISPUTED_AFTER));
        reschedule(&mut self.disputes, key, &mut station.disputes, disputes);
        if station.is_forgettable(now) {
            reschedule(&mut self.wakes, key, &mut station.wakes, None);
            self.stations.remove(&key);
            return;
        }
        let wakes = station.wakes_at();
        reschedule(&mut self.wakes, key, &mut station.wakes, wakes);
        if self.wakes.len() > REMEMBERED_MAX
            && let Some(&(_, oldest)) = self.wakes.first()
        {
            self.melt(now, oldest);
        }
    }

    /// Thaws an address and forgets its moves. What was heard here meanwhile is news when it is heard again.
    fn melt(&mut self, now: Duration, key: Key) {
        let Some(station) = self.stations.get_mut(&key) else { return };
        let frozen_owner = station.frozen_owner();
        let is_learned = station.local.as_ref().is_some_and(|local| local.hold == Hold::Learned);
        if matches!(frozen_owner, Some(Owner::Peer(_))) && is_learned {
            self.yield_claim(key);
        }
        let judge = self.judge;
        self.stations.get_mut(&key).into_iter().for_each(|station| station.melt(judge));
        if frozen_owner.is_some() {
            let (segment, mac) = key;
            self.events.push_back(Event::Thawed { segment, mac });
        }
        self.settle(now, key);
    }

    /// Thaws and forgets what it is time for.
    pub(super) fn wake(&mut self, now: Duration) {
        while let Some(&(at, key)) = self.wakes.first() {
            if at > now {
                return;
            }
            self.wakes.pop_first();
            let Some(station) = self.stations.get_mut(&key) else { continue };
            station.wakes = None;
            if station.is_quiet(now) {
                self.melt(now, key);
            } else {
                self.settle(now, key);
            }
        }
    }

    /// Tells peers of claims that do not win and were not withdrawn.
    pub(super) fn dispute(&mut self, now: Duration) {
        while let Some(&(at, key)) = self.disputes.first() {
            if at > now {
                return;
            }
            let judge = self.judge;
            self.disputes.pop_first();
            let Some(station) = self.stations.get_mut(&key) else { continue };
            station.disputes = None;
            let winner = station.winner(judge);
            if let Some(sequence) = winner.and_then(|winner| station.sequence_of(winner)) {
                for claim in &station.claims {
                    let link = self.peers.get_mut(&claim.peer).and_then(|peer| peer.link.as_mut());
                    if let Some(link) = link
                        && Some(Owner::Peer(claim.peer)) != winner
                        && link.disputes.len() < crate::wire::DISPUTES_MAX
                    {
                        link.disputes.insert(key, sequence);
                        self.ready.insert(claim.peer);
                    }
                }
            }
            self.watch(now, key);
        }
    }
}

/// Tells whether a sequence is more than one over those of all others.
fn jumps(station: &Station, id: PeerId, sequence: u64) -> bool {
    let others = station.claims.iter().filter(|claim| claim.peer != id).map(|claim| claim.sequence);
    let highest = others.chain(station.local.iter().map(|local| local.sequence)).max();
    sequence > highest.unwrap_or(SEQUENCE_MAX).saturating_add(1)
}

fn reschedule(
    queue: &mut BTreeSet<(Duration, Key)>,
    key: Key,
    at: &mut Option<Duration>,
    wanted: Option<Duration>,
) {
    if *at == wanted {
        return;
    }
    if let Some(at) = *at {
        queue.remove(&(at, key));
    }
    if let Some(wanted) = wanted {
        queue.insert((wanted, key));
    }
    *at = wanted;
}
