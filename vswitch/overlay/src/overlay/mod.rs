//! The control plane of the overlay: which address is at which host. One state machine; time is an argument,
//! payloads go in and out. Every address has one log entry in its segment; peers follow the log, `docs/overlay.md`.
//! Decides on no frame: what it finds goes to the forwarding database as events.

mod receive;
mod settle;
mod transmit;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use weft_vlan::MacAddr;

use crate::{
    Event, HostKey, LocalPort, Owner, PeerId, PeerSpec, SegmentId,
    log::Log,
    neighbour,
    peer::{Link, Outgoing, Peer},
    station::{Hold, Judge, Local, Station},
    wire::{CATALOGUE_MAX, IPS_MAX, NAME_MAX},
};

type Key = (SegmentId, MacAddr);

/// Whether ARP and ND are answered in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answering {
    /// They are flooded like any other broadcast.
    #[default]
    Off,
    /// RFC 9161.
    On,
}

/// The overlay of one host.
pub struct Overlay {
    judge: Judge,
    epoch: u64,
    peers: BTreeMap<PeerId, Peer>,
    stations: BTreeMap<Key, Station>,
    logs: BTreeMap<SegmentId, Log>,
    answering: BTreeSet<SegmentId>,
    /// Who has a protocol address, in segments that are answered for.
    bindings: BTreeMap<(SegmentId, IpAddr), BTreeSet<MacAddr>>,
    /// Counts the changes of all logs.
    version: u64,
    /// Counts the full sets sent.
    rounds: u64,
    /// Counts the full sets received.
    sets: u64,
    wakes: BTreeSet<(Duration, Key)>,
    disputes: BTreeSet<(Duration, Key)>,
    buries_at: Option<Duration>,
    /// When refusals are told that have not been.
    tells_at: Option<Duration>,
    /// Peers that may have something to be sent, and whose turn it was last.
    ready: BTreeSet<PeerId>,
    turn: PeerId,
    events: VecDeque<Event>,
}

impl Overlay {
    /// Makes the overlay of a host without peers. `epoch` is higher than that of every run before, `secret` random.
    pub fn new(own: HostKey, epoch: u64, secret: u64) -> Self {
        Self {
            judge: Judge::new(own, secret),
            epoch,
            peers: BTreeMap::new(),
            stations: BTreeMap::new(),
            logs: BTreeMap::new(),
            answering: BTreeSet::new(),
            bindings: BTreeMap::new(),
            version: 1,
            rounds: 0,
            sets: 0,
            wakes: BTreeSet::new(),
            disputes: BTreeSet::new(),
            buries_at: None,
            tells_at: None,
            ready: BTreeSet::new(),
            turn: PeerId(0),
            events: VecDeque::new(),
        }
    }

    /// Adds a peer or changes what it may carry and claim. Names are cut at 64 bytes.
    pub fn set_peer(&mut self, now: Duration, id: PeerId, spec: &PeerSpec) {
        if self.peers.get(&id).is_some_and(|peer| peer.key != spec.key) {
            self.remove_peer(now, id);
        }
        let segments: BTreeMap<_, _> = spec
            .segments
            .iter()
            .take(CATALOGUE_MAX)
            .map(|(segment, name)| (*segment, fitting(name).to_owned()))
            .collect();
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(spec.key));
        peer.mac_limit = spec.mac_limit;
        if peer.revision > 0 && peer.segments == segments {
            return;
        }
        let gone: Vec<_> =
            peer.segments.keys().filter(|&id| !segments.contains_key(id)).copied().collect();
        peer.segments = segments;
        peer.revision += 1;
        let mut is_back = false;
        if let Some(link) = &mut peer.link {
            is_back = peer.segments.keys().any(|id| link.taken_away.contains(id));
            link.taken_away.extend(&gone);
            link.ours = Default::default();
            link.incoming.retain(|segment, _| peer.segments.contains_key(segment));
            link.outgoing.retain(|segment, _| peer.segments.contains_key(segment));
            link.disputes.retain(|(segment, _), _| peer.segments.contains_key(segment));
        }
        for segment in gone {
            self.drop_claims(now, id, Some(segment));
        }
        if is_back {
            // The peer may not have noticed that it was away, and so would not say again what it has there.
            return self.session_up(now, id);
        }
        self.compare(id);
        self.match_segments(now, id);
        self.ready.insert(id);
    }

    /// Removes a peer and all that it claimed.
    pub fn remove_peer(&mut self, now: Duration, id: PeerId) {
        self.session_down(now, id);
        self.peers.remove(&id);
        self.ready.remove(&id);
    }

    /// Notes that a session with a peer begins: a full set goes out, and one is expected.
    pub fn session_up(&mut self, now: Duration, id: PeerId) {
        self.session_down(now, id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.sessions = peer.sessions.wrapping_add(1);
        peer.link = Some(Link::new(now, peer.sessions));
        self.ready.insert(id);
    }

    /// Notes that the session with a peer ended: all that it claimed is withdrawn.
    pub fn session_down(&mut self, now: Duration, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.link.take().is_some() {
            self.drop_claims(now, id, None);
        }
    }

    /// Tells that an address was heard on a port of this host: that it is new here, came from elsewhere, or was
    /// asked for by [`Event::Challenged`]. With [`Hold::Static`] the configuration says so.
    pub fn learned(
        &mut self,
        now: Duration,
        segment: SegmentId,
        mac: MacAddr,
        port: LocalPort,
        hold: Hold,
    ) {
        if !mac.is_source() {
            return;
        }
        let judge = self.judge;
        let station = self.stations.entry((segment, mac)).or_default();
        station.port = Some(port);
        // The forwarding database has it where it was heard.
        station.installed = None;
        if station.frozen_owner().is_some_and(|owner| owner != Owner::Here) {
            return self.settle(now, (segment, mac));
        }
        if let Some(local) = &mut station.local {
            local.hold = hold;
            if station.floor.is_none() && station.owner(judge) == Some(Owner::Here) {
                return;
            }
        }
        self.claim_here((segment, mac), hold);
        self.settle(now, (segment, mac));
    }

    /// Tells that an address is no longer on a port of this host.
    pub fn forgotten(&mut self, now: Duration, segment: SegmentId, mac: MacAddr) {
        if self.yield_claim((segment, mac)) {
            self.settle(now, (segment, mac));
        }
    }

    /// Forgets the addresses of this host in a segment that is no more.
    pub fn remove_segment(&mut self, now: Duration, segment: SegmentId) {
        let macs: Vec<_> = keys_of(segment, |range| {
            self.stations
                .range(range)
                .filter(|(_, station)| station.local.is_some())
                .map(|(&(_, mac), _)| mac)
                .collect()
        });
        macs.into_iter().for_each(|mac| self.forgotten(now, segment, mac));
        self.set_answering(segment, Answering::Off);
    }

    /// Says whether ARP and ND are answered in a segment.
    pub fn set_answering(&mut self, segment: SegmentId, answering: Answering) {
        let changed = match answering {
            Answering::On => self.answering.insert(segment),
            Answering::Off => self.answering.remove(&segment),
        };
        if changed {
            let keys: Vec<_> =
                keys_of(segment, |range| self.stations.range(range).map(|(&key, _)| key).collect());
            keys.into_iter().for_each(|key| self.bind(key));
        }
    }

    /// Learns protocol addresses from a frame that came in by a port of this host, where the segment is answered
    /// for. The address must be known here: [`Overlay::learned`] first.
    pub fn observe(&mut self, segment: SegmentId, frame: &[u8]) {
        if !self.answering.contains(&segment) {
            return;
        }
        let Some((mac, ip)) = neighbour::sender(frame) else { return };
        let key = (segment, mac);
        let Some(local) = self.stations.get_mut(&key).and_then(|station| station.local.as_mut())
        else {
            return;
        };
        if local.ips.last() == Some(&ip) || local.ips.contains(&ip) {
            return;
        }
        if local.ips.len() == IPS_MAX {
            local.ips.remove(0);
        }
        local.ips.push(ip);
        let before = std::mem::replace(&mut local.version, self.version + 1);
        self.version += 1;
        let version = self.version;
        self.logs.entry(segment).or_default().claim(mac, Some(before), version);
        self.announce(segment);
        self.bind(key);
    }

    /// Returns the answer to an ARP request or a neighbour solicitation that came in by a port of this host,
    /// where the segment is answered for and one live address claims what is asked for. Without an answer the
    /// frame is flooded.
    pub fn answer(&self, segment: SegmentId, frame: &[u8]) -> Option<Vec<u8>> {
        if !self.answering.contains(&segment) {
            return None;
        }
        let question = neighbour::Question::read(frame)?;
        let macs = self.bindings.get(&(segment, question.target()))?;
        let &mac = macs.first().filter(|_| macs.len() == 1)?;
        // Whoever asks for its own address wants to know whether another has it.
        (mac != question.asker()).then(|| question.answer(mac))
    }

    /// Returns where an address is believed to be.
    pub fn owner(&self, segment: SegmentId, mac: MacAddr) -> Option<Owner> {
        self.stations.get(&(segment, mac))?.owner(self.judge)
    }

    /// Returns the addresses of a segment that the forwarding database was told to have at peers, and at which.
    pub fn installed(&self, segment: SegmentId) -> impl Iterator<Item = (MacAddr, PeerId)> {
        let stations = keys_of(segment, |range| self.stations.range(range));
        stations.filter_map(|(&(_, mac), station)| Some((mac, station.installed?)))
    }

    /// Returns the peer at which the forwarding database was told to have an address.
    pub fn installed_at(&self, segment: SegmentId, mac: MacAddr) -> Option<PeerId> {
        self.stations.get(&(segment, mac))?.installed
    }

    /// Tells whether a host is a peer that carries a segment together with this host: whose loop probes count.
    pub fn shares(&self, host: HostKey, segment: SegmentId) -> bool {
        self.peers.values().any(|peer| peer.key == host && peer.segments.contains_key(&segment))
    }

    /// Returns the number of addresses that a peer claims.
    pub fn claimed_by(&self, id: PeerId) -> usize {
        self.peers.get(&id).map_or(0, |peer| peer.held.len())
    }

    /// Returns what happened and what is to be done, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Claims an address for this host, above all other claims.
    fn claim_here(&mut self, (segment, mac): Key, hold: Hold) {
        let station = self.stations.entry((segment, mac)).or_default();
        let sequence = station.next_sequence(self.judge);
        let before = station.local.take();
        self.version += 1;
        let earlier = before.as_ref().map(|local| local.version);
        let ips = before.map_or_else(Vec::new, |local| local.ips);
        station.local = Some(Local { sequence, version: self.version, hold, ips });
        station.floor = None;
        self.logs.entry(segment).or_default().claim(mac, earlier, self.version);
        self.announce(segment);
    }

    /// Withdraws the claim of this host; tells whether there was one.
    fn yield_claim(&mut self, (segment, mac): Key) -> bool {
        let station = self.stations.get_mut(&(segment, mac));
        let Some(local) = station.and_then(|station| station.local.take()) else { return false };
        self.version += 1;
        self.logs.entry(segment).or_default().withdraw(mac, local.version, self.version);
        self.announce(segment);
        true
    }

    /// Lets the peers hear of changes in a segment.
    fn announce(&mut self, segment: SegmentId) {
        for (&id, peer) in &self.peers {
            if peer.link.as_ref().is_some_and(|link| link.outgoing.contains_key(&segment)) {
                self.ready.insert(id);
            }
        }
    }

    fn next_outgoing(&mut self) -> Outgoing {
        self.rounds += 1;
        Outgoing::new(self.rounds, self.version)
    }
}

/// Calls with the range of a segment's keys.
fn keys_of<T>(segment: SegmentId, with: impl FnOnce(std::ops::RangeInclusive<Key>) -> T) -> T {
    with((segment, MacAddr::from_u64(0))..=(segment, MacAddr::BROADCAST))
}

/// Returns what of a name fits the wire.
fn fitting(name: &str) -> &str {
    let end = (0..=NAME_MAX.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
    &name[..end.unwrap_or(0)]
}
