//! What a host does with the messages of handshakes, in the order in which it pays for them: form, mac1, mac2 and
//! the source's rate under load, then Diffie-Hellman.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::identity::Which;
use super::peer::{Answered, Held};
use super::{DownReason, Event, Host, Load, PeerState, Refusal, Transmit};
use crate::mac::Jar;
use crate::message::{self, Answer, Cookie, Initiation, Message, Response, Unreadable};
use crate::noise::{Begun, Ephemeral, NoiseError, Responder};
use crate::session::{Keys, Role, Session, Terms};
use crate::{PeerId, Random, Suite, Tai64n};

/// Initiations of one peer are at least this far apart; WireGuard's limit.
const HASTE: Duration = Duration::from_millis(20);

/// How often a peer is told that its timestamps are behind.
const TELL_BEHIND: Duration = Duration::from_secs(5);

/// How a message came.
#[derive(Clone, Copy)]
struct Came {
    now: Duration,
    from: SocketAddr,
    load: Load,
    /// The key of ours that it is for.
    local: Which,
}

/// What an initiation of a peer gets.
enum Admission {
    Session,
    /// The news that it remembers less of itself than we do.
    Behind(Tai64n),
}

impl<R: Random> Host<R> {
    /// Takes a message of type 1 to 3 that came from there; `wall` is the clock that people read, since 1970.
    ///
    /// # Errors
    /// With the reason, which has been counted, if nothing came of it.
    pub fn receive(
        &mut self,
        now: Duration,
        wall: Duration,
        load: Load,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Refusal> {
        let taken = self.take(now, wall, load, from, datagram);
        if let Err(reason) = taken {
            *self.refusals.entry(reason).or_default() += 1;
        }
        taken
    }

    fn take(
        &mut self,
        now: Duration,
        wall: Duration,
        load: Load,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Refusal> {
        let message = Message::read(datagram)?;
        if let Message::Cookie(it) = message {
            return self.cookie(now, wall, &it);
        }
        let local = self.identity.addressed(datagram).ok_or(Refusal::NotForUs)?;
        let came = Came { now, from, load, local };
        match message {
            Message::Initiation(it) => {
                self.pay(came, datagram, it.sender)?;
                self.initiation(came, &it)
            }
            Message::Response(it) => {
                // Who answers nothing costs us no cookie either.
                self.indices.get(&it.receiver).ok_or(Refusal::UnknownIndex)?;
                self.pay(came, datagram, it.sender)?;
                self.response(came, &it)
            }
            Message::Cookie(_) => Ok(()),
        }
    }

    /// What must be shown under load before anything is computed.
    fn pay(&mut self, came: Came, datagram: &[u8], sender: u32) -> Result<(), Refusal> {
        let Came { now, from, load, local } = came;
        if load == Load::Calm {
            return Ok(());
        }
        if !self.baker.recognises(now, &mut self.random, from, datagram) {
            let macs = self.identity.macs(local);
            let (nonce, sealed) = self.baker.bake(now, &mut self.random, macs, from, datagram);
            let datagram = message::cookie(sender, &nonce, &sealed);
            self.transmits.push_back(Transmit { peer: None, to: from, datagram });
            return Err(Refusal::CookieAsked);
        }
        if !self.limit.admits(now, from) {
            return Err(Refusal::RateLimited);
        }
        Ok(())
    }

    fn initiation(&mut self, came: Came, it: &Initiation<'_>) -> Result<(), Refusal> {
        let ephemeral = Ephemeral::draw(&mut self.random);
        let ours = &self.identity.key(came.local).private;
        let begun = Responder::read(it.suite, it.prologue, ephemeral, ours, it.noise)?;
        let Some(&id) = self.by_key.get(&begun.remote) else {
            self.events.push_back(Event::Stranger { from: came.from, key: begun.remote });
            return Err(Refusal::UnknownPeer);
        };
        match self.admit(came.now, id, it.suite, begun.timestamp)? {
            Admission::Session => self.accept(came, it, id, begun),
            Admission::Behind(greatest) => {
                // Sealed, so that only who sent the initiation can read it; a replay leaves no session here.
                let index = u32::from_le_bytes(crate::random::draw(&mut self.random));
                let answer = Answer::Behind(index, greatest);
                self.answer(came, id, index, it.sender, begun.responder, answer)?;
                Err(Refusal::RolledBack)
            }
        }
    }

    /// Whether a peer may begin a session now.
    fn admit(
        &mut self,
        now: Duration,
        id: PeerId,
        suite: Suite,
        timestamp: Tai64n,
    ) -> Result<Admission, Refusal> {
        let Some(peer) = self.peers.get_mut(&id) else { return Err(Refusal::UnknownPeer) };
        match peer.greatest {
            Some(greatest) if timestamp == greatest => return Err(Refusal::Replayed),
            Some(greatest) if timestamp < greatest => {
                let told = peer.last_told_behind;
                if told.is_some_and(|told| now.saturating_sub(told) < TELL_BEHIND) {
                    return Err(Refusal::RolledBack);
                }
                peer.last_told_behind = Some(now);
                // Beside a live session it is a replay, which anybody can send; if not, that session ends soon.
                if peer.current_state(now) != PeerState::Up {
                    self.events.push_back(Event::PeerBehind { peer: id, timestamp, greatest });
                }
                return Ok(Admission::Behind(greatest));
            }
            _ => {}
        }
        if peer.last_asked.is_some_and(|last| now.saturating_sub(last) < HASTE) {
            return Err(Refusal::Hasty);
        }
        peer.last_asked = Some(now);
        peer.greatest = Some(timestamp);
        let (key, timestamp) = (peer.key, peer.greatest);
        let allowed = peer.suites.allows(suite);
        self.events.push_back(Event::Greatest { peer: id, key, timestamp });
        if !allowed {
            self.events.push_back(Event::SuiteNotAllowed { peer: id, suite });
            return Err(Refusal::SuiteNotAllowed);
        }
        Ok(Admission::Session)
    }

    /// Makes a session that only receives until the peer confirms it, and answers.
    fn accept(
        &mut self,
        came: Came,
        it: &Initiation<'_>,
        id: PeerId,
        begun: Begun,
    ) -> Result<(), Refusal> {
        let index = self.index(id);
        let (remote, answer) = (begun.remote, Answer::Accepted(index));
        let answered = self.answer(came, id, index, it.sender, begun.responder, answer);
        let (keys, answered) = answered.inspect_err(|_| {
            self.indices.remove(&index);
        })?;
        let Some(peer) = self.peers.get(&id) else { return Err(Refusal::UnknownPeer) };
        // One that was never confirmed has no use beside a later one.
        let waiting = peer.sessions.iter().find(|held| held.confirmed.is_none());
        if let Some(index) = waiting.map(|held| held.session.index()) {
            self.drop_session(id, index);
        }
        let by_higher = remote > self.identity.key(came.local).public;
        let terms = self.terms(came.now, id, it.suite, Role::Responder, index, it.sender);
        let local = came.local;
        self.hold(id, terms, &keys, |session| Held {
            session,
            local,
            begun: came.now,
            confirmed: None,
            by_higher,
            answer: Some(answered),
        });
        self.settle(came.now, id);
        Ok(())
    }

    /// Sends Noise message 2.
    fn answer(
        &mut self,
        came: Came,
        id: PeerId,
        index: u32,
        receiver: u32,
        responder: Responder,
        answer: Answer,
    ) -> Result<(Keys, Answered), Refusal> {
        let Some(peer) = self.peers.get(&id) else { return Err(Refusal::UnknownPeer) };
        let (noise, keys) = responder.answer(peer.psk.as_ref(), &answer.write())?;
        let mut message = message::response(index, receiver, &noise);
        let cookie = peer.jar.as_ref().and_then(|jar| jar.fresh(came.now));
        let mac1 = peer.macs.mark(&mut message, cookie);
        let to = came.from;
        self.transmits.push_back(Transmit { peer: Some(id), to, datagram: message.clone() });
        Ok((keys, Answered { to, message, mac1, resent: false }))
    }

    /// The answer to an initiation of ours.
    fn response(&mut self, came: Came, it: &Response<'_>) -> Result<(), Refusal> {
        let Some(&id) = self.indices.get(&it.receiver) else { return Err(Refusal::UnknownIndex) };
        let Some(peer) = self.peers.get_mut(&id) else { return Err(Refusal::UnknownIndex) };
        let mut pending = peer
            .pending
            .take_if(|pending| pending.index == it.receiver && pending.local == came.local)
            .ok_or(Refusal::UnknownIndex)?;
        let answer = match pending.initiator.read(it.noise) {
            Ok(payload) => Answer::read(&payload),
            Err(error) => {
                // Anybody can send one that does not open: the right one may still come.
                peer.pending = Some(pending);
                return Err(error.into());
            }
        };
        match answer {
            Some(Answer::Accepted(index)) if index == it.sender => {}
            Some(Answer::Behind(index, greatest)) if index == it.sender => {
                self.indices.remove(&pending.index);
                self.events.push_back(Event::HeldBehind { peer: id, greatest });
                self.give_up(came.now, id, DownReason::HeldBehind);
                self.settle(came.now, id);
                return Ok(());
            }
            // It was read, and so cannot be read again; the next initiation is due in time.
            _ => {
                self.indices.remove(&pending.index);
                return Err(Refusal::Undecipherable);
            }
        }
        let by_higher = self.identity.key(pending.local).public > peer.key;
        let (index, to, now) = (pending.index, pending.to, came.now);
        let terms = self.terms(now, id, pending.suite, Role::Initiator, index, it.sender);
        let (local, begun, keys) = (pending.local, pending.began, pending.initiator.keys());
        self.hold(id, terms, &keys, |session| Held {
            session,
            local,
            begun,
            confirmed: Some(now),
            by_higher,
            answer: None,
        });
        self.establish(now, id, index);
        self.move_to(id, to);
        self.confirm(now, id, index);
        self.settle(now, id);
        Ok(())
    }

    fn terms(
        &self,
        born: Duration,
        peer: PeerId,
        suite: Suite,
        role: Role,
        index: u32,
        remote: u32,
    ) -> Terms {
        let pulse = self.peers.get(&peer).map(|peer| peer.pulse.clone()).unwrap_or_default();
        Terms { peer, suite, role, index, remote, born, pulse }
    }

    fn hold(
        &mut self,
        id: PeerId,
        terms: Terms,
        keys: &Keys,
        held: impl FnOnce(Arc<Session>) -> Held,
    ) {
        let session = Arc::new(Session::new(terms, keys));
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.sessions.push(held(session.clone()));
            self.events.push_back(Event::Receive { session });
        }
    }

    /// A cookie permits to send once more what it answers, and marks what is sent from here on.
    fn cookie(&mut self, now: Duration, wall: Duration, it: &Cookie<'_>) -> Result<(), Refusal> {
        let Some(&id) = self.indices.get(&it.receiver) else { return Err(Refusal::UnknownIndex) };
        let Some(peer) = self.peers.get_mut(&id) else { return Err(Refusal::UnknownIndex) };
        let pending = peer.pending.as_ref().filter(|pending| pending.index == it.receiver);
        let answer = peer.held(it.receiver).and_then(|held| held.answer.as_ref());
        let mac1 = match (pending, answer) {
            (Some(pending), _) => pending.mac1,
            (None, Some(answer)) => answer.mac1,
            (None, None) => return Err(Refusal::UnknownIndex),
        };
        let cookie = peer.macs.open(&mac1, it.nonce, it.sealed).ok_or(Refusal::BadCookie)?;
        // Nor is there haste if the peer's own handshake was quicker.
        let waits = |hurried: bool| hurried || peer.series.is_none();
        let pending = pending.map(|it| (waits(it.hurried), it.local, it.to));
        peer.jar = Some(Jar::new(now, cookie));
        match pending {
            Some((true, ..)) => {}
            Some((false, local, to)) => self.initiate(now, wall, id, local, to, true),
            None => self.answer_again(id, it.receiver, &cookie),
        }
        self.settle(now, id);
        Ok(())
    }

    /// Sends an answer again that a cookie came for: the same bytes with another mac2.
    fn answer_again(&mut self, id: PeerId, index: u32, cookie: &crate::mac::Cookie) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let macs = peer.macs.clone();
        let Some(answer) = peer.held_mut(index).and_then(|held| held.answer.as_mut()) else {
            return;
        };
        if std::mem::replace(&mut answer.resent, true) {
            return;
        }
        macs.mark(&mut answer.message, Some(cookie));
        let (to, datagram) = (answer.to, answer.message.clone());
        self.transmits.push_back(Transmit { peer: Some(id), to, datagram });
    }
}

impl From<Unreadable> for Refusal {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Malformed => Self::Malformed,
            Unreadable::Version => Self::Version,
            Unreadable::Suite => Self::UnknownSuite,
        }
    }
}

impl From<NoiseError> for Refusal {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::LowOrder => Self::LowOrder,
            NoiseError::Undecipherable => Self::Undecipherable,
        }
    }
}
