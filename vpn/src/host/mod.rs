//! A host: its keys, its peers and the handshakes with them. One thread owns it; workers hold the sessions that it
//! gives out. Opens no record: what the data path opened and is not for guests comes back by [`Host::confirmed`],
//! [`Host::roamed`] and [`Host::control`].
//!
//! After each call: drain [`Host::poll_event`], then [`Host::poll_transmit`], and call [`Host::handle_timeout`] when
//! [`Host::poll_timeout`] says.

mod event;
mod handshake;
mod identity;
mod peer;
mod stamps;
mod timers;

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use event::{DownReason, Event, PeerState, Refusal, Transmit};
pub use peer::PeerConfig;

use self::identity::Identity;
use self::peer::{Peer, Repeat};
use self::stamps::Stamps;
use crate::limit::SourceLimit;
use crate::mac::Baker;
use crate::preferences::{Preferences, Reply};
use crate::random::draw;
use crate::session::{PAYLOAD_AT, record_len};
use crate::{Kind, PeerId, PresharedKey, PrivateKey, PublicKey, Random, Session, Suites, Tai64n};

/// Whether handshakes come faster than they can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// All are computed.
    Calm,
    /// Only those whose senders prove that they receive at their address, each at a rate.
    Heavy,
}

/// What is configured of a host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// What others know this host by.
    pub private_key: PrivateKey,
    /// The key before it, during a rotation: peers that know no other are still talked to.
    pub previous_private_key: Option<PrivateKey>,
    /// The last [`Event::Mark`] of the start before.
    pub mark: Option<Tai64n>,
}

/// Why a peer, or a key of this host, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The peer's key is this host's own.
    #[error("the peer's public key is this host's own")]
    OwnKey,
    /// Another peer has the key.
    #[error("two peers have the same public key")]
    SameKey(PeerId),
    /// There is a peer of that number.
    #[error("there is a peer of that number")]
    SameId,
    /// There is none.
    #[error("there is no such peer")]
    UnknownPeer,
}

/// What can be told of a peer at a moment.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Whether it can be reached.
    pub state: PeerState,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// The session that sends.
    pub session: Option<Arc<Session>>,
    /// When the last record from it was opened.
    pub heard: Option<Duration>,
    /// When the last handshake was completed.
    pub handshake: Option<Duration>,
}

/// What [`Host::reset`] took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Sessions that were ended.
    pub sessions: usize,
    /// Whether a timestamp was forgotten.
    pub timestamp: bool,
}

/// Every peer of this host.
pub struct Host<R> {
    random: R,
    identity: Identity,
    stamps: Stamps,
    peers: BTreeMap<PeerId, Peer>,
    by_key: BTreeMap<PublicKey, PeerId>,
    /// Who has which of our indices, for a session or for an initiation.
    indices: BTreeMap<u32, PeerId>,
    deadlines: BTreeSet<(Duration, PeerId)>,
    baker: Baker,
    limit: SourceLimit,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
    refusals: BTreeMap<Refusal, u64>,
}

impl<R: Random> Host<R> {
    /// A host without peers.
    pub fn new(now: Duration, config: HostConfig, mut random: R) -> Self {
        Self {
            identity: Identity::new(config.private_key, config.previous_private_key),
            stamps: Stamps::new(config.mark),
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            indices: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            baker: Baker::new(now, &mut random),
            limit: SourceLimit::new(&mut random),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            refusals: BTreeMap::new(),
            random,
        }
    }

    /// Adds a peer. One with an endpoint is written to at once.
    ///
    /// # Errors
    /// One's own key is no peer's, and no two peers share a key or a number.
    pub fn add(&mut self, now: Duration, id: PeerId, config: PeerConfig) -> Result<(), HostError> {
        if self.identity.is(&config.key) {
            return Err(HostError::OwnKey);
        }
        if let Some(&other) = self.by_key.get(&config.key) {
            return Err(HostError::SameKey(other));
        }
        if self.peers.contains_key(&id) {
            return Err(HostError::SameId);
        }
        self.by_key.insert(config.key, id);
        let endpoint = config.endpoint;
        self.peers.insert(id, Peer::new(config));
        if let Some(address) = endpoint {
            self.events.push_back(Event::Endpoint { peer: id, address });
        }
        self.schedule(now, id);
        Ok(())
    }

    /// Removes a peer: nothing is sent to it any more, not even what waits in [`Host::poll_transmit`].
    ///
    /// # Errors
    /// There must be such a peer.
    pub fn remove(&mut self, id: PeerId) -> Result<(), HostError> {
        let peer = self.peers.remove(&id).ok_or(HostError::UnknownPeer)?;
        self.by_key.remove(&peer.key);
        self.indices.retain(|_, owner| *owner != id);
        if let Some(deadline) = peer.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.transmits.retain(|transmit| transmit.peer != Some(id));
        for held in &peer.sessions {
            self.events.push_back(Event::Expired { peer: id, index: held.session.index() });
        }
        Ok(())
    }

    /// Changes the secret shared with a peer, from the next handshake on.
    ///
    /// # Errors
    /// There must be such a peer.
    pub fn set_preshared_key(
        &mut self,
        id: PeerId,
        key: Option<PresharedKey>,
    ) -> Result<(), HostError> {
        self.peer_mut(id)?.psk = key;
        Ok(())
    }

    /// Changes the suites allowed with a peer, from the next handshake on, and tells it.
    ///
    /// # Errors
    /// There must be such a peer.
    pub fn set_suites(
        &mut self,
        now: Duration,
        id: PeerId,
        suites: Suites,
    ) -> Result<(), HostError> {
        let peer = self.peer_mut(id)?;
        peer.suites = suites;
        if let Some(index) = peer.sending {
            self.confirm(now, id, index);
            self.settle(now, id);
        }
        Ok(())
    }

    /// Changes where a peer is configured to be, or what its name means. A live session goes on where the peer
    /// was heard last.
    ///
    /// # Errors
    /// There must be such a peer.
    pub fn set_endpoint(
        &mut self,
        now: Duration,
        id: PeerId,
        address: Option<SocketAddr>,
    ) -> Result<(), HostError> {
        let peer = self.peer_mut(id)?;
        peer.configured = address;
        if peer.sending.is_none() && peer.endpoint != address {
            peer.endpoint = address;
            if let Some(address) = address {
                if peer.why_down == DownReason::Waiting {
                    peer.why_down = DownReason::NoSession;
                }
                self.events.push_back(Event::Endpoint { peer: id, address });
            }
        }
        self.schedule(now, id);
        Ok(())
    }

    /// Changes this host's keys. Sessions go on; handshakes under way begin again.
    ///
    /// # Errors
    /// No peer may have either key.
    pub fn set_private_keys(
        &mut self,
        now: Duration,
        current: PrivateKey,
        previous: Option<PrivateKey>,
    ) -> Result<(), HostError> {
        let identity = Identity::new(current, previous);
        if self.by_key.keys().any(|key| identity.is(key)) {
            return Err(HostError::OwnKey);
        }
        self.identity = identity;
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.local = identity::Which::Current;
                if let Some(pending) = peer.pending.take() {
                    self.indices.remove(&pending.index);
                    peer.next_attempt = Some(now);
                }
            }
            self.schedule(now, id);
        }
        Ok(())
    }

    /// Ends a peer's sessions, forgets its greatest timestamp and what it said, and begins a handshake at once: the
    /// cure where its clock and its state both went back.
    ///
    /// # Errors
    /// There must be such a peer.
    pub fn reset(&mut self, now: Duration, id: PeerId) -> Result<Reset, HostError> {
        let peer = self.peer_mut(id)?;
        let timestamp = peer.greatest.take().is_some();
        peer.jar = None;
        peer.theirs = None;
        peer.repeat = None;
        let key = peer.key;
        if peer.address(0).is_some() {
            peer.next_attempt = Some(now);
        }
        let sessions: Vec<u32> = peer.sessions.iter().map(|held| held.session.index()).collect();
        for &index in &sessions {
            self.drop_session(id, index);
        }
        self.events.push_back(Event::Greatest { peer: id, key, timestamp: None });
        self.settle(now, id);
        Ok(Reset { sessions: sessions.len(), timestamp })
    }

    /// There is something to send to a peer, and no session to send it with.
    ///
    /// # Errors
    /// There must be such a peer.
    pub fn wanted(&mut self, now: Duration, id: PeerId) -> Result<(), HostError> {
        let peer = self.peer_mut(id)?;
        let idle = peer.sending.is_none() && peer.series.is_none();
        // Who is held behind is not let in by asking more often.
        if idle && peer.why_down != DownReason::HeldBehind && peer.address(0).is_some() {
            let earliest = peer.last_initiation.map_or(now, |last| last + timers::RETRY);
            let at = earliest.max(now);
            peer.next_attempt = Some(peer.next_attempt.map_or(at, |planned| planned.min(at)));
            self.schedule(now, id);
        }
        Ok(())
    }

    /// The first record under a session, which has `index`, came from there: the peer has its keys, and is there.
    pub fn confirmed(&mut self, now: Duration, index: u32, from: SocketAddr) {
        let Some(&id) = self.indices.get(&index) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(held) = peer.held_mut(index) else { return };
        held.answer = None;
        if held.confirmed.is_none() {
            held.confirmed = Some(now);
            self.establish(now, id, index);
        }
        // A first record that was held back while later sessions were in use tells nothing.
        let peer = self.peers.get(&id);
        let held = peer.and_then(|peer| Some((peer, peer.held(index)?)));
        if held.is_some_and(|(peer, held)| peer.pulse.is_latest(held.session.born())) {
            self.move_to(id, from);
        }
        self.settle(now, id);
    }

    /// A record that was the newest of its peer came from there.
    pub fn roamed(&mut self, now: Duration, id: PeerId, from: SocketAddr) {
        if self.peers.get(&id).is_some_and(|peer| peer.sending.is_some()) {
            self.move_to(id, from);
            self.settle(now, id);
        }
    }

    /// A record of kind [`Kind::Control`] came from a peer. Says whether it was for the host; if not, it is for
    /// path-MTU discovery or a ping.
    pub fn control(&mut self, now: Duration, id: PeerId, payload: &[u8]) -> bool {
        let Some(told) = Preferences::read(payload) else { return false };
        let Some(peer) = self.peers.get_mut(&id) else { return true };
        peer.theirs = Some(told.suites);
        match told.wanted {
            Reply::Given => peer.repeat = None,
            Reply::Wanted => {
                let suites = peer.suites;
                if let Some(index) = peer.sending {
                    let answer = Preferences { wanted: Reply::Given, suites };
                    self.seal(now, id, index, Kind::Control, &answer.write());
                }
            }
        }
        self.settle(now, id);
        true
    }

    /// How a peer is.
    ///
    /// # Errors
    /// There must be such a peer.
    pub fn status(&self, id: PeerId) -> Result<PeerStatus, HostError> {
        let peer = self.peers.get(&id).ok_or(HostError::UnknownPeer)?;
        Ok(PeerStatus {
            state: peer.state,
            endpoint: peer.endpoint,
            session: peer.sender().map(|held| held.session.clone()),
            heard: peer.pulse.last_heard(),
            handshake: peer.sessions.iter().filter_map(|held| held.confirmed).max(),
        })
    }

    /// How many messages were refused for each reason that occurred.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        self.refusals.iter().map(|(&reason, &count)| (reason, count))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next datagram to send, once there are no more events.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`Host::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    fn peer_mut(&mut self, id: PeerId) -> Result<&mut Peer, HostError> {
        self.peers.get_mut(&id).ok_or(HostError::UnknownPeer)
    }

    /// The peer proved that it has the keys of the session with `index`: that one sends from here on, unless it
    /// crossed one that has precedence.
    fn establish(&mut self, now: Duration, id: PeerId, index: u32) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.pulse.heard(now);
        peer.series = None;
        peer.next_attempt = None;
        peer.why_down = DownReason::NoSession;
        let Some(held) = peer.held(index) else { return };
        let (session, local) = (held.session.clone(), held.local);
        let yields = peer.yields(now, held);
        peer.local = local;
        if !yields {
            peer.sending = Some(index);
            self.events.push_back(Event::Send { session });
        }
        while let Some(surplus) = self.peers.get(&id).and_then(Peer::surplus) {
            self.drop_session(id, surplus);
        }
    }

    /// Begins to tell a peer that the session with `index` is in use, and what we prefer.
    fn confirm(&mut self, now: Duration, id: PeerId, index: u32) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let wait = timers::CONFIRM;
        peer.repeat = Some(Repeat { index, at: now + wait, wait: wait * 2 });
        let preferences = Preferences { wanted: Reply::Wanted, suites: peer.suites };
        self.seal(now, id, index, Kind::Control, &preferences.write());
    }

    /// Seals a record of our own and has it sent.
    fn seal(&mut self, now: Duration, id: PeerId, index: u32, kind: Kind, payload: &[u8]) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (Some(held), Some(to)) = (peer.held(index), peer.endpoint) else { return };
        let mut datagram = vec![0; record_len(payload.len())];
        datagram[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(payload);
        // What cannot be sealed belongs to a session that is about to be replaced.
        if held.session.seal(now, kind, payload.len(), &mut datagram).is_ok() {
            self.transmits.push_back(Transmit { peer: Some(id), to, datagram });
        }
    }

    fn move_to(&mut self, id: PeerId, address: SocketAddr) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.endpoint != Some(address) {
            peer.endpoint = Some(address);
            self.events.push_back(Event::Endpoint { peer: id, address });
        }
    }

    fn drop_session(&mut self, id: PeerId, index: u32) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.sessions.retain(|held| held.session.index() != index);
        if peer.sending == Some(index) {
            peer.sending = None;
        }
        self.indices.remove(&index);
        self.events.push_back(Event::Expired { peer: id, index });
    }

    /// Tells a change of the peer's state, and puts down when it is to be looked at again.
    fn settle(&mut self, now: Duration, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.sessions.is_empty() {
            peer.idle_since = None;
        } else if peer.pulse.last_heard().is_some() {
            peer.idle_since.get_or_insert(now);
        }
        let state = peer.current_state(now);
        if peer.state != state {
            peer.state = state;
            self.events.push_back(Event::State { peer: id, state });
        }
        self.schedule(now, id);
    }

    fn schedule(&mut self, now: Duration, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let deadline = peer.due(now);
        if peer.deadline == deadline {
            return;
        }
        if let Some(before) = std::mem::replace(&mut peer.deadline, deadline) {
            self.deadlines.remove(&(before, id));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }

    /// An index that nobody has and nobody can guess.
    fn index(&mut self, id: PeerId) -> u32 {
        loop {
            let index = u32::from_le_bytes(draw(&mut self.random));
            if let Entry::Vacant(free) = self.indices.entry(index) {
                free.insert(id);
                return index;
            }
        }
    }
}

impl<R> std::fmt::Debug for Host<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("peers", &self.by_key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
