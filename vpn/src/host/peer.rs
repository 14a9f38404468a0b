//! One peer as its host sees it: keys, addresses, the handshake under way, the sessions that live. Decides from
//! these what is due when; does none of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::identity::Which;
use super::{DownReason, PeerState};
use crate::mac::{Jar, MacKeys};
use crate::message::MAC;
use crate::noise::Initiator;
use crate::peer::Pulse;
use crate::session::{REKEY_AFTER, Role};
use crate::suite::Decides;
use crate::{PresharedKey, PublicKey, REJECT_AFTER, Session, Suite, Suites, Tai64n};

/// How long nothing is sent before a keepalive is.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long a question may go without any answer: a keepalive answers it, and may be late.
pub(crate) const UNANSWERED: Duration = Duration::from_secs(15);

/// How long there may be silence when nothing was asked: three keepalives are missing.
pub(crate) const SILENCE: Duration = Duration::from_secs(35);

/// When the end that answered makes new keys, if the one that began does not.
const REKEY_ANYWAY: Duration = Duration::from_secs(150);

/// When what is known of a peer without sessions is wiped.
pub(crate) const WIPE: Duration = Duration::from_secs(540);

/// How long the answer to an initiation is waited for when nobody repeats it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Sessions of one peer: the sending one, one before it, one that crossed it, one to come.
const SESSIONS: usize = 4;

/// What is configured of a peer.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Who it is.
    pub key: PublicKey,
    /// A secret shared with it beside the keys.
    pub preshared_key: Option<PresharedKey>,
    /// Where it is; `None`: it has to begin.
    pub endpoint: Option<SocketAddr>,
    /// How records to and from it may be sealed.
    pub suites: Suites,
    /// The greatest timestamp that it sent before this start.
    pub greatest: Option<Tai64n>,
}

pub(super) struct Peer {
    pub(super) key: PublicKey,
    pub(super) macs: MacKeys,
    pub(super) psk: Option<PresharedKey>,
    pub(super) suites: Suites,
    /// What the peer told of its own.
    pub(super) theirs: Option<Suites>,
    pub(super) configured: Option<SocketAddr>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) greatest: Option<Tai64n>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) jar: Option<Jar>,
    /// The key of ours that it took last.
    pub(super) local: Which,
    pub(super) pending: Option<Pending>,
    pub(super) series: Option<Series>,
    /// When an initiation is due.
    pub(super) next_attempt: Option<Duration>,
    pub(super) last_initiation: Option<Duration>,
    pub(super) last_asked: Option<Duration>,
    pub(super) last_told_behind: Option<Duration>,
    pub(super) sessions: Vec<Held>,
    /// The index of the session that sends.
    pub(super) sending: Option<u32>,
    pub(super) repeat: Option<Repeat>,
    pub(super) why_down: DownReason,
    pub(super) state: PeerState,
    /// When the last session went, while there is something to wipe.
    pub(super) idle_since: Option<Duration>,
    /// As it stands among the host's deadlines.
    pub(super) deadline: Option<Duration>,
}

/// An initiation of ours that has no answer yet.
pub(super) struct Pending {
    pub(super) initiator: Initiator,
    pub(super) index: u32,
    pub(super) suite: Suite,
    pub(super) local: Which,
    pub(super) began: Duration,
    pub(super) to: SocketAddr,
    pub(super) mac1: [u8; MAC],
    /// A cookie had it sent at once: the next one waits.
    pub(super) hurried: bool,
}

/// Initiations until one is answered.
pub(super) struct Series {
    pub(super) began: Duration,
    pub(super) attempts: u32,
}

/// A session, and what is not for workers to know of it.
pub(super) struct Held {
    pub(super) session: Arc<Session>,
    /// The key of ours that it began with.
    pub(super) local: Which,
    /// When its initiation was sent or came.
    pub(super) begun: Duration,
    /// When the peer was proved to have its keys.
    pub(super) confirmed: Option<Duration>,
    /// Whether the higher static key began it.
    pub(super) by_higher: bool,
    /// Our answer, while there is no confirmation.
    pub(super) answer: Option<Answered>,
}

pub(super) struct Answered {
    pub(super) to: SocketAddr,
    pub(super) message: Vec<u8>,
    pub(super) mac1: [u8; MAC],
    pub(super) resent: bool,
}

/// A confirmation that is repeated until the peer answers it.
pub(super) struct Repeat {
    pub(super) index: u32,
    pub(super) at: Duration,
    pub(super) wait: Duration,
}

impl Peer {
    pub(super) fn new(config: PeerConfig) -> Self {
        let why_down = match config.endpoint {
            Some(_) => DownReason::NoSession,
            None => DownReason::Waiting,
        };
        Self {
            key: config.key,
            macs: MacKeys::new(&config.key),
            psk: config.preshared_key,
            suites: config.suites,
            theirs: None,
            configured: config.endpoint,
            endpoint: config.endpoint,
            greatest: config.greatest,
            pulse: Arc::default(),
            jar: None,
            local: Which::Current,
            pending: None,
            series: None,
            next_attempt: None,
            last_initiation: None,
            last_asked: None,
            last_told_behind: None,
            sessions: Vec::new(),
            sending: None,
            repeat: None,
            why_down,
            state: PeerState::Down(why_down),
            idle_since: None,
            deadline: None,
        }
    }

    pub(super) fn held(&self, index: u32) -> Option<&Held> {
        self.sessions.iter().find(|held| held.session.index() == index)
    }

    pub(super) fn held_mut(&mut self, index: u32) -> Option<&mut Held> {
        self.sessions.iter_mut().find(|held| held.session.index() == index)
    }

    pub(super) fn sender(&self) -> Option<&Held> {
        self.held(self.sending?)
    }

    /// Since when the peer has not given the answer that it owes.
    fn suspect_at(&self) -> Option<Duration> {
        let sender = self.sender()?;
        let heard = self.pulse.last_heard().max(sender.confirmed)?;
        let silence = heard + SILENCE;
        let unanswered = self.pulse.unanswered_since().map(|since| since + UNANSWERED);
        Some(unanswered.map_or(silence, |unanswered| unanswered.min(silence)))
    }

    pub(super) fn is_suspect(&self, now: Duration) -> bool {
        self.suspect_at().is_some_and(|at| at <= now)
    }

    /// When the sending session is to have a successor.
    fn rekey_at(&self) -> Option<Duration> {
        let session = &self.sender()?.session;
        let age = match session.role() {
            Role::Initiator => REKEY_AFTER,
            Role::Responder => REKEY_ANYWAY,
        };
        Some(session.born() + age)
    }

    /// Whether initiations should go out, though none are.
    pub(super) fn needs_handshake(&self, now: Duration) -> bool {
        if self.series.is_some() || self.next_attempt.is_some() || self.address(0).is_none() {
            return false;
        }
        let Some(sender) = self.sender() else { return true };
        self.is_suspect(now)
            || sender.session.is_worn()
            || self.rekey_at().is_some_and(|at| at <= now)
    }

    pub(super) fn keepalive_at(&self) -> Option<Duration> {
        let sender = self.sender()?;
        Some(self.pulse.last_sent().max(sender.confirmed)? + KEEPALIVE)
    }

    /// Where the initiation of this turn goes: where the peer was last, then where it is configured to be.
    pub(super) fn address(&self, turn: u32) -> Option<SocketAddr> {
        match turn % 2 {
            0 => self.endpoint.or(self.configured),
            _ => self.configured.or(self.endpoint),
        }
    }

    /// The suite of the next handshake.
    pub(super) fn suite(&self, local: &PublicKey) -> Suite {
        let decides = if *local > self.key { Decides::Ours } else { Decides::Theirs };
        let agreed = self.theirs.and_then(|theirs| self.suites.agreed(theirs, decides));
        agreed.unwrap_or(self.suites.first())
    }

    /// Whether `new`, just confirmed, leaves the sending to the session that crossed it.
    pub(super) fn yields(&self, now: Duration, new: &Held) -> bool {
        let Some(sender) = self.sender() else { return false };
        let established = sender.confirmed.unwrap_or(sender.begun);
        let crossed = new.begun <= established && sender.begun <= new.confirmed.unwrap_or(now);
        crossed && sender.by_higher && !new.by_higher && !sender.session.is_over(now)
    }

    /// The sessions that are too many: the oldest, but not the sending one.
    pub(super) fn surplus(&self) -> Option<u32> {
        if self.sessions.len() <= SESSIONS {
            return None;
        }
        let indices = self.sessions.iter().map(|held| held.session.index());
        indices.into_iter().find(|&index| Some(index) != self.sending)
    }

    pub(super) fn current_state(&self, now: Duration) -> PeerState {
        if self.sending.is_some() && !self.is_suspect(now) {
            PeerState::Up
        } else if self.series.is_some() {
            PeerState::Handshaking
        } else {
            PeerState::Down(self.why_down)
        }
    }

    /// When something is due.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let at_rest = self.series.is_none() && self.next_attempt.is_none();
        let rekey = || self.rekey_at().filter(|_| at_rest && self.address(0).is_some());
        // What is past has been seen to.
        let suspect = || self.suspect_at().filter(|&at| at > now);
        [
            self.needs_handshake(now).then_some(now),
            self.next_attempt,
            self.sessions.iter().map(|held| held.session.born() + REJECT_AFTER).min(),
            self.keepalive_at(),
            rekey(),
            suspect(),
            self.repeat.as_ref().map(|repeat| repeat.at),
            self.pending.as_ref().filter(|_| self.series.is_none()).map(|it| it.began + PATIENCE),
            self.idle_since.map(|since| since + WIPE),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
