//! What the tests run on: hosts with a data path that does what a daemon's would, and a network of constant delay
//! between them that can lose, and that remembers all it carried.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::test::Dice;
use crate::{
    Event, Host, HostConfig, Kind, Load, OpenError, PAYLOAD_AT, PeerConfig, PeerId, PeerState,
    PresharedKey, PrivateKey, PublicKey, Refusal, Session, Suite, Suites, Tai64n, record_index,
    record_len,
};

/// How long a datagram is under way.
pub(super) const DELAY: Duration = Duration::from_millis(10);

/// What the wall clocks show at the origin.
pub(super) const WALL: Duration = Duration::from_secs(1_800_000_000);

/// The only peer of a host that has one.
pub(super) const PEER: PeerId = PeerId(1);

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) struct End {
    pub(super) host: Host<Dice>,
    pub(super) key: PrivateKey,
    pub(super) address: SocketAddr,
    pub(super) wall: Duration,
    pub(super) load: Load,
    pub(super) sessions: BTreeMap<u32, Arc<Session>>,
    pub(super) sending: BTreeMap<PeerId, Arc<Session>>,
    pub(super) endpoints: BTreeMap<PeerId, SocketAddr>,
    pub(super) states: Vec<(Duration, PeerState)>,
    pub(super) mark: Option<Tai64n>,
    pub(super) greatest: Option<Tai64n>,
    /// All other events.
    pub(super) news: Vec<Event>,
    pub(super) got: Vec<Vec<u8>>,
    pub(super) refused: Vec<Refusal>,
    pub(super) unopened: Vec<OpenError>,
}

#[derive(Clone, Debug)]
pub(super) struct Datagram {
    pub(super) at: Duration,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl Datagram {
    /// 1 initiation, 2 response, 3 cookie, 4 record.
    pub(super) fn kind(&self) -> u8 {
        self.bytes[0]
    }
}

pub(super) struct Net {
    pub(super) now: Duration,
    pub(super) ends: Vec<End>,
    wire: BTreeMap<(Duration, u64), Datagram>,
    sent: u64,
    /// Whether a datagram arrives; asked when it is sent.
    pub(super) arrives: Box<dyn FnMut(&Datagram) -> bool>,
    /// All that was sent.
    pub(super) seen: Vec<Datagram>,
    /// Every (receiver, counter), to see that none carries two texts.
    counters: BTreeSet<(u32, u64)>,
}

pub(super) fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, end as u8 + 1], 51900))
}

pub(super) fn attacker() -> SocketAddr {
    "198.51.100.66:6666".parse().unwrap()
}

pub(super) fn suites(list: &[Suite]) -> Suites {
    Suites::new(list.iter().copied()).unwrap()
}

impl End {
    fn new(
        now: Duration,
        seed: u64,
        address: SocketAddr,
        key: PrivateKey,
        mark: Option<Tai64n>,
    ) -> Self {
        let config = HostConfig { private_key: key.clone(), previous_private_key: None, mark };
        Self {
            host: Host::new(now, config, Dice::new(seed)),
            key,
            address,
            wall: WALL,
            load: Load::Calm,
            sessions: BTreeMap::new(),
            sending: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            states: Vec::new(),
            mark,
            greatest: None,
            news: Vec::new(),
            got: Vec::new(),
            refused: Vec::new(),
            unopened: Vec::new(),
        }
    }

    pub(super) fn public(&self) -> PublicKey {
        self.key.public()
    }

    pub(super) fn state(&self) -> PeerState {
        self.host.status(PEER).unwrap().state
    }

    pub(super) fn is_up(&self) -> bool {
        self.state() == PeerState::Up
    }

    fn note(&mut self, now: Duration, event: Event) {
        match event {
            Event::Receive { session } => {
                assert!(self.sessions.insert(session.index(), session).is_none());
            }
            Event::Send { session } => {
                assert!(
                    self.sessions.contains_key(&session.index()),
                    "it receives before it sends"
                );
                self.sending.insert(session.peer(), session);
            }
            Event::Expired { index, .. } => {
                assert!(self.sessions.remove(&index).is_some(), "it was there");
                self.sending.retain(|_, session| session.index() != index);
            }
            Event::Endpoint { peer, address } => {
                self.endpoints.insert(peer, address);
            }
            Event::State { state, .. } => self.states.push((now, state)),
            Event::Mark { mark } => self.mark = Some(mark),
            Event::Greatest { timestamp, .. } => self.greatest = timestamp,
            other => self.news.push(other),
        }
    }

    /// What a daemon's data path does with a datagram.
    fn take(&mut self, now: Duration, datagram: &Datagram) {
        let mut bytes = datagram.bytes.clone();
        let Some(index) = record_index(&bytes) else {
            let wall = self.wall + now;
            let taken = self.host.receive(now, wall, self.load, datagram.from, &bytes);
            self.refused.extend(taken.err());
            return;
        };
        let Some(session) = self.sessions.get(&index).cloned() else { return };
        let opened = match session.open(now, &mut bytes) {
            Ok(opened) => opened,
            Err(error) => return self.unopened.push(error),
        };
        if opened.first {
            self.host.confirmed(now, index, datagram.from);
        }
        let peer = session.peer();
        if opened.newest && self.endpoints.get(&peer) != Some(&datagram.from) {
            self.host.roamed(now, peer, datagram.from);
        }
        let payload = bytes[opened.payload].to_vec();
        match opened.kind {
            Kind::Control => assert!(self.host.control(now, peer, &payload)),
            Kind::Empty => {}
            _ => self.got.push(payload),
        }
    }
}

impl Net {
    /// Hosts without peers.
    pub(super) fn new(seed: u64, ends: usize) -> Self {
        let mut dice = Dice::new(seed);
        let now = Duration::from_secs(7);
        let end = |at| {
            let key = PrivateKey::generate(&mut dice);
            End::new(now, dice.roll(), address(at), key, None)
        };
        let ends = (0..ends).map(end).collect();
        let (wire, seen) = (BTreeMap::new(), Vec::new());
        Self {
            now,
            ends,
            wire,
            sent: 0,
            arrives: Box::new(|_| true),
            seen,
            counters: BTreeSet::new(),
        }
    }

    /// A and B, each other's peers; A knows where B is and begins.
    pub(super) fn pair(seed: u64) -> Self {
        let mut net = Self::new(seed, 2);
        net.add(B, A, |config| config.endpoint = None);
        net.add(A, B, |_| {});
        net
    }

    /// The same, some time after the handshake.
    pub(super) fn up(seed: u64) -> Self {
        let mut net = Self::pair(seed);
        net.run(Duration::from_millis(100));
        assert!(net.ends[A].is_up() && net.ends[B].is_up());
        net
    }

    /// Makes `peer` the peer of `end`.
    pub(super) fn add(&mut self, end: usize, peer: usize, change: impl FnOnce(&mut PeerConfig)) {
        let mut config = PeerConfig {
            key: self.ends[peer].public(),
            preshared_key: None,
            endpoint: Some(self.ends[peer].address),
            suites: Suites::default(),
            greatest: self.ends[end].greatest,
        };
        change(&mut config);
        self.ends[end].host.add(self.now, PEER, config).unwrap();
        self.drain(end);
    }

    /// Kills a host and starts it again, with what it kept or without; it has no peers then.
    pub(super) fn restart(&mut self, end: usize, keeps: bool) {
        let old = &self.ends[end];
        let mark = old.mark.filter(|_| keeps);
        let seed = self.sent + 1000;
        let mut new = End::new(self.now, seed, old.address, old.key.clone(), mark);
        new.wall = old.wall;
        new.greatest = old.greatest.filter(|_| keeps);
        self.ends[end] = new;
    }

    pub(super) fn psk(seed: u64) -> PresharedKey {
        PresharedKey::generate(&mut Dice::new(seed))
    }

    /// Puts a datagram on the wire.
    pub(super) fn inject(&mut self, from: SocketAddr, to: usize, bytes: Vec<u8>) {
        let to = self.ends[to].address;
        self.put(from, to, bytes);
    }

    fn put(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let datagram = Datagram { at: self.now, from, to, bytes };
        self.sent += 1;
        if (self.arrives)(&datagram) {
            self.wire.insert((self.now + DELAY, self.sent), datagram.clone());
        }
        self.seen.push(datagram);
    }

    /// Does what follows a call of a host.
    pub(super) fn drain(&mut self, end: usize) {
        while let Some(event) = self.ends[end].host.poll_event() {
            let now = self.now;
            self.ends[end].note(now, event);
        }
        while let Some(transmit) = self.ends[end].host.poll_transmit() {
            self.count(&transmit.datagram);
            let from = self.ends[end].address;
            self.put(from, transmit.to, transmit.datagram);
        }
    }

    fn count(&mut self, datagram: &[u8]) {
        if let Some(index) = record_index(datagram) {
            let counter = u64::from_le_bytes(datagram[8..16].try_into().unwrap());
            assert!(self.counters.insert((index, counter)), "a counter was used twice");
        }
    }

    /// Sends a guest's bytes; without a session asks for one and returns `false`.
    pub(super) fn send(&mut self, end: usize, payload: &[u8]) -> bool {
        let now = self.now;
        let from = &mut self.ends[end];
        let Some(session) = from.sending.get(&PEER) else {
            from.host.wanted(now, PEER).unwrap();
            self.drain(end);
            return false;
        };
        let mut record = vec![0; record_len(payload.len())];
        record[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(payload);
        session.seal(now, Kind::Bundle, payload.len(), &mut record).unwrap();
        let (from, to) = (from.address, from.endpoints[&PEER]);
        self.count(&record);
        self.put(from, to, record);
        true
    }

    /// Lets this much time go by.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something is true, at most this long.
    pub(super) fn run_until(
        &mut self,
        most: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> bool {
        let end = self.now + most;
        while !done(self) {
            if !self.step(end) {
                self.now = end;
                return done(self);
            }
        }
        true
    }

    /// The next thing that happens before `end`.
    fn step(&mut self, end: Duration) -> bool {
        let arrival = self.wire.keys().next().map(|&(at, _)| at);
        let timeouts = self.ends.iter().map(|end| end.host.poll_timeout()).enumerate();
        let timeout = timeouts.filter_map(|(end, at)| Some((at?, end))).min();
        match (arrival, timeout) {
            (Some(at), timeout) if at <= end && timeout.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                let (_, datagram) = self.wire.pop_first().unwrap();
                let to = self.ends.iter().position(|end| end.address == datagram.to);
                if let Some(to) = to {
                    let now = self.now;
                    self.ends[to].take(now, &datagram);
                    self.drain(to);
                }
                true
            }
            (_, Some((due, host))) if due <= end => {
                self.now = self.now.max(due);
                let (now, wall) = (self.now, self.ends[host].wall + self.now);
                self.ends[host].host.handle_timeout(now, wall);
                assert!(
                    self.ends[host].host.poll_timeout().is_none_or(|next| next > due || next < now),
                    "a timeout that was handled is not due again"
                );
                self.drain(host);
                true
            }
            _ => false,
        }
    }

    /// How many datagrams of a kind one end sent.
    pub(super) fn count_from(&self, end: usize, kind: u8) -> usize {
        let from = self.ends[end].address;
        self.seen.iter().filter(|it| it.from == from && it.kind() == kind).count()
    }

    /// Both ends send something, and it arrives.
    pub(super) fn assert_connected(&mut self) {
        for (from, to) in [(A, B), (B, A)] {
            let before = self.ends[to].got.len();
            assert!(self.send(from, b"connected?"), "{from} has no session");
            self.run(DELAY);
            assert_eq!(self.ends[to].got[before..], [b"connected?"], "from {from} to {to}");
        }
    }
}
