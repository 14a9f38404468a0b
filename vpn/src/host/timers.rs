//! What a host does without being written to: initiations and their repetition, keepalives, confirmations again,
//! the end of sessions.

use std::net::SocketAddr;
use std::time::Duration;

use super::identity::Which;
use super::peer::{PATIENCE, Peer, Pending, Series, WIPE};
use super::{DownReason, Event, Host, Transmit};
use crate::message;
use crate::noise::{Ephemeral, Initiator};
use crate::preferences::{Preferences, Reply};
use crate::random::draw;
use crate::{Kind, PeerId, Random};

/// How long an answer to an initiation is waited for, with jitter, before the next.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// How much longer, at most, so that two hosts do not go on crossing each other.
const JITTER: Duration = Duration::from_millis(333);

/// When initiations end that nobody answers.
const GIVE_UP: Duration = Duration::from_secs(90);

/// How long a peer that did not answer is left alone, and how much longer at most.
const REST: Duration = Duration::from_secs(30);
const REST_JITTER: Duration = Duration::from_secs(30);

/// When a confirmation is first repeated; each time it is twice as long until the next, up to the last.
pub(super) const CONFIRM: Duration = Duration::from_millis(500);
const CONFIRM_LAST: Duration = Duration::from_secs(8);

/// After so many initiations without an answer, an address that came from a name is doubted.
const DOUBT: u32 = 3;

impl<R: Random> Host<R> {
    /// Does what is due at `now`; `wall` is the clock that people read, since 1970.
    pub fn handle_timeout(&mut self, now: Duration, wall: Duration) {
        // Once each, however soon some are due again.
        let due: Vec<_> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|&(_, id)| id).collect();
        for id in due {
            self.tick(now, wall, id);
        }
    }

    fn tick(&mut self, now: Duration, wall: Duration, id: PeerId) {
        self.expire(now, id);
        self.speak(now, id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let due = peer.next_attempt.is_some_and(|at| at <= now);
        if due || peer.needs_handshake(now) {
            self.attempt(now, wall, id);
        }
        self.settle(now, id);
    }

    /// Lets go of what is too old.
    fn expire(&mut self, now: Duration, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let over = peer.sessions.iter().filter(|held| held.session.is_over(now));
        for index in over.map(|held| held.session.index()).collect::<Vec<_>>() {
            self.drop_session(id, index);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let repeated = peer.series.is_some();
        if let Some(pending) = peer.pending.take_if(|it| !repeated && it.began + PATIENCE <= now) {
            self.indices.remove(&pending.index);
        }
        if peer.idle_since.is_some_and(|since| since + WIPE <= now) {
            self.wipe(id);
        }
    }

    /// Forgets what a peer told and where it was, and ends a handshake with it.
    fn wipe(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.idle_since = None;
        peer.pulse = std::sync::Arc::default();
        peer.jar = None;
        peer.theirs = None;
        peer.repeat = None;
        if peer.endpoint != peer.configured {
            peer.endpoint = peer.configured;
            if let Some(address) = peer.configured {
                self.events.push_back(Event::Endpoint { peer: id, address });
            } else {
                peer.why_down = DownReason::Waiting;
                peer.series = None;
                peer.next_attempt = None;
            }
        }
        if let Some(pending) = peer.pending.take() {
            self.indices.remove(&pending.index);
        }
    }

    /// Keepalives, and confirmations again.
    fn speak(&mut self, now: Duration, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(repeat) = peer.repeat.take_if(|repeat| repeat.at <= now) {
            let preferences = Preferences { wanted: Reply::Wanted, suites: peer.suites };
            let (index, at, wait) = (repeat.index, now + repeat.wait, repeat.wait * 2);
            if peer.held(index).is_some() && repeat.wait <= CONFIRM_LAST {
                peer.repeat = Some(super::Repeat { index, at, wait });
                self.seal(now, id, index, Kind::Control, &preferences.write());
            }
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(index) = peer.sending
            && peer.keepalive_at().is_some_and(|at| at <= now)
        {
            self.seal(now, id, index, Kind::Empty, &[]);
            // A session that cannot seal is not asked again before the next keepalive.
            if let Some(peer) = self.peers.get(&id) {
                peer.pulse.sent(now, false);
            }
        }
    }

    /// Sends an initiation, or gives up.
    fn attempt(&mut self, now: Duration, wall: Duration, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let series = peer.series.get_or_insert(Series { began: now, attempts: 0 });
        if series.began + GIVE_UP <= now {
            return self.give_up(now, id, DownReason::NoAnswer);
        }
        let turn = series.attempts;
        series.attempts += 1;
        if turn > 0 && turn.is_multiple_of(DOUBT) {
            self.events.push_back(Event::Unanswered { peer: id });
        }
        let (local, turns) = self.identity.turn(peer.local, turn);
        let Some(to) = peer.address(turn / turns) else {
            peer.series = None;
            peer.next_attempt = None;
            peer.why_down = DownReason::Waiting;
            return;
        };
        self.initiate(now, wall, id, local, to, false);
    }

    /// Sends an initiation, in place of the one before it.
    pub(super) fn initiate(
        &mut self,
        now: Duration,
        wall: Duration,
        id: PeerId,
        local: Which,
        to: SocketAddr,
        hurried: bool,
    ) {
        let jitter = self.jitter(JITTER);
        let index = self.index(id);
        let stamp = self.stamps.next(wall);
        if let Some(mark) = stamp.mark {
            self.events.push_back(Event::Mark { mark });
        }
        if let Some(clock) = stamp.behind {
            self.events.push_back(Event::ClockBehind { clock, mark: stamp.timestamp });
        }
        let ephemeral = Ephemeral::draw(&mut self.random);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(before) = peer.pending.take() {
            self.indices.remove(&before.index);
        }
        peer.last_initiation = Some(now);
        peer.next_attempt = Some(now + RETRY + jitter);
        let ours = self.identity.key(local);
        let suite = peer.suite(&ours.public);
        let header = message::initiation_header(suite, index);
        let psk = peer.psk.as_ref();
        let begun = Initiator::begin(
            suite,
            &header,
            ephemeral,
            &ours.private,
            &peer.key,
            psk,
            stamp.timestamp,
        );
        // Only a key of low order fails, and none is taken for a peer's.
        let Ok((initiator, noise)) = begun else {
            self.indices.remove(&index);
            return;
        };
        let mut datagram = message::initiation(header, &noise);
        let cookie = peer.jar.as_ref().and_then(|jar| jar.fresh(now));
        let mac1 = peer.macs.mark(&mut datagram, cookie);
        peer.pending =
            Some(Pending { initiator, index, suite, local, began: now, to, mac1, hurried });
        self.transmits.push_back(Transmit { peer: Some(id), to, datagram });
    }

    /// Ends the initiations to a peer for a while. What lives without an answer is ended too.
    pub(super) fn give_up(&mut self, now: Duration, id: PeerId, why: DownReason) {
        let rest = REST + self.jitter(REST_JITTER);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.series = None;
        peer.next_attempt = Some(now + rest);
        peer.why_down = why;
        if let Some(pending) = peer.pending.take() {
            self.indices.remove(&pending.index);
        }
        if peer.is_suspect(now) {
            for index in indices(peer) {
                self.drop_session(id, index);
            }
        }
    }

    fn jitter(&mut self, most: Duration) -> Duration {
        let roll = u32::from_le_bytes(draw(&mut self.random));
        most.mul_f64(f64::from(roll) / f64::from(u32::MAX))
    }
}

fn indices(peer: &Peer) -> Vec<u32> {
    peer.sessions.iter().map(|held| held.session.index()).collect()
}
