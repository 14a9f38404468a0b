//! A session: the two keys of a finished handshake, the counter of one and the replay window of the other. Seals
//! and opens records in place, from as many threads as share it. Knows nothing of what records carry.
//!
//! | bytes | record |
//! | --- | --- |
//! | 0 | type, 4 |
//! | 1–3 | zero |
//! | 4–7 | receiver's index, little-endian |
//! | 8–15 | counter, little-endian |
//! | 16 | kind (sealed from here on; what is before is authenticated) |
//! | 17 | padding: how many zeros stand before the tag, at most 15 |
//! | 18– | payload, padding |
//! | last 16 | tag |

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_lc_rs::aead::{Aad, LessSafeKey, UnboundKey};
use zeroize::Zeroizing;

use crate::peer::Pulse;
use crate::window::{Stale, Window};
use crate::{PeerId, Suite};

/// Where a record's payload begins.
pub const PAYLOAD_AT: usize = HEADER + 2;

/// How much longer than its payload, at least, a record is.
pub const RECORD_OVERHEAD: usize = PAYLOAD_AT + TAG;

/// The age at which the two ends make other keys.
pub(crate) const REKEY_AFTER: Duration = Duration::from_secs(120);

/// The age at which a session seals and opens no more.
pub const REJECT_AFTER: Duration = Duration::from_secs(180);

pub(crate) const RECORD: u8 = 4;
const HEADER: usize = 16;
const TAG: usize = 16;

/// What a sealed text is padded to a multiple of.
const BLOCK: usize = 16;

/// Records that may fail to open under one key: RFC 9001 §6.6 for ChaCha20-Poly1305; AES-GCM would bear more.
const FORGERIES: u64 = 1 << 36;

/// How long a record of `payload` bytes is.
#[must_use]
pub const fn record_len(payload: usize) -> usize {
    HEADER + (2 + payload).next_multiple_of(BLOCK) + TAG
}

/// How long a payload may be for its record to take at most `record` bytes; `None` if not even an empty one fits.
#[must_use]
pub const fn payload_room(record: usize) -> Option<usize> {
    match record.checked_sub(HEADER + TAG) {
        Some(text) if text >= BLOCK => Some(text / BLOCK * BLOCK - 2),
        _ => None,
    }
}

/// The receiver's index in a record, to find the session that opens it; `None` if `datagram` is no record.
#[must_use]
pub fn record_index(datagram: &[u8]) -> Option<u32> {
    match datagram {
        [RECORD, 0, 0, 0, a, b, c, d, ..] if datagram.len() >= record_len(0) => {
            Some(u32::from_le_bytes([*a, *b, *c, *d]))
        }
        _ => None,
    }
}

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing: a keepalive.
    Empty,
    /// A bundle, opaque here.
    Bundle,
    /// A piece of a bundle.
    Fragment,
    /// A word from tunnel to tunnel: probes, pings, preferences.
    Control,
    /// A word from overlay to overlay, opaque here.
    Overlay,
    /// Something of a later version: to be counted and passed over.
    Other(u8),
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Bundle => 1,
            Self::Fragment => 2,
            Self::Control => 3,
            Self::Overlay => 4,
            Self::Other(byte) => byte,
        }
    }

    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Empty,
            1 => Self::Bundle,
            2 => Self::Fragment,
            3 => Self::Control,
            4 => Self::Overlay,
            byte => Self::Other(byte),
        }
    }
}

/// A record that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it carries.
    pub kind: Kind,
    /// Where in the datagram the payload stands.
    pub payload: Range<usize>,
    /// No record sealed later was opened before, under this session or a later one: if it comes from another address
    /// than those before it, the peer has moved ([`Host::roamed`](crate::Host::roamed)).
    pub newest: bool,
    /// None was opened before under this session ([`Host::confirmed`](crate::Host::confirmed)).
    pub first: bool,
}

/// Why a record was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    /// The session is older than [`REJECT_AFTER`].
    #[error("the session has expired")]
    Expired,
    /// It has carried all that its key may.
    #[error("the session's counter has reached its end")]
    Exhausted,
    /// The peer began it and has not proved yet that it is not replaying.
    #[error("the session is not confirmed")]
    Unconfirmed,
    /// The buffer is shorter than [`record_len`] of the payload.
    #[error("no room for the record")]
    NoRoom,
}

/// Why a record was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// Too short, not of whole blocks, or its authenticated padding is none.
    #[error("malformed record")]
    Malformed,
    /// It is for another session.
    #[error("record of another session")]
    OtherSession,
    /// The session is older than [`REJECT_AFTER`].
    #[error("the session has expired")]
    Expired,
    /// Its counter is none that the peer may use.
    #[error("counter past its end")]
    PastEnd,
    /// Its counter came before.
    #[error("replayed counter")]
    Replayed,
    /// Its counter is behind the replay window.
    #[error("counter behind the replay window")]
    TooOld,
    /// Its tag is wrong.
    #[error("forged record")]
    Forged,
    /// So many were forged that the key is given up.
    #[error("too many forged records: the session is closed")]
    Spent,
}

impl OpenError {
    /// The reason's name in counters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OtherSession => "other-session",
            Self::Expired => "expired",
            Self::PastEnd => "past-end",
            Self::Replayed => "replayed",
            Self::TooOld => "too-old",
            Self::Forged => "forged",
            Self::Spent => "spent",
        }
    }
}

/// Which end of its handshake a host was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// The keys that a handshake leaves, by direction.
pub(crate) struct Keys {
    pub(crate) seal: Zeroizing<[u8; 32]>,
    pub(crate) open: Zeroizing<[u8; 32]>,
}

/// What a session is, apart from its keys.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) peer: PeerId,
    pub(crate) suite: Suite,
    pub(crate) role: Role,
    /// Ours: what the peer writes.
    pub(crate) index: u32,
    /// The peer's: what we write.
    pub(crate) remote: u32,
    pub(crate) born: Duration,
    pub(crate) pulse: Arc<Pulse>,
}

/// The keys and counters of one handshake. Never cloned: no second counter can exist for a key.
pub struct Session {
    terms: Terms,
    sealing: LessSafeKey,
    opening: LessSafeKey,
    /// Set once: what a peer begins, it must confirm.
    confirmed: AtomicBool,
    sealed: Line<AtomicU64>,
    forged: Line<AtomicU64>,
    window: Line<Window>,
}

/// A cache line of its own, so that sealing and opening threads do not disturb each other.
#[repr(align(128))]
struct Line<T>(T);

impl Session {
    pub(crate) fn new(terms: Terms, keys: &Keys) -> Self {
        let key = |bytes: &[u8; 32]| {
            let key = UnboundKey::new(terms.suite.algorithm(), bytes);
            LessSafeKey::new(key.expect("both take 32 bytes"))
        };
        Self {
            sealing: key(&keys.seal),
            opening: key(&keys.open),
            confirmed: AtomicBool::new(terms.role == Role::Initiator),
            sealed: Line(AtomicU64::new(0)),
            forged: Line(AtomicU64::new(0)),
            window: Line(Window::new()),
            terms,
        }
    }

    /// Seals the first [`record_len`] bytes of `record`, which carry `payload` bytes from [`PAYLOAD_AT`] on, and
    /// returns how many those are.
    ///
    /// Each call takes a counter of its own: what was sealed may be sent again as it stands, never sealed again.
    ///
    /// # Errors
    /// Nothing is sealed by a session that must not be used, and into a buffer that is too short.
    pub fn seal(
        &self,
        now: Duration,
        kind: Kind,
        payload: usize,
        record: &mut [u8],
    ) -> Result<usize, SealError> {
        let len = record_len(payload);
        let record = record.get_mut(..len).ok_or(SealError::NoRoom)?;
        let counter = self.draw(now)?;
        let (header, text) = record.split_at_mut(HEADER);
        header[..4].copy_from_slice(&[RECORD, 0, 0, 0]);
        header[4..8].copy_from_slice(&self.terms.remote.to_le_bytes());
        header[8..].copy_from_slice(&counter.to_le_bytes());
        let (text, tag) = text.split_at_mut(len - HEADER - TAG);
        let padding = text.len() - 2 - payload;
        text[..2].copy_from_slice(&[kind.byte(), padding as u8]);
        text[2 + payload..].fill(0);
        let nonce = self.terms.suite.nonce(counter);
        let sealed = self.sealing.seal_in_place_separate_tag(nonce, Aad::from(&*header), text);
        // It fails for texts of more than 2^36 bytes.
        tag.copy_from_slice(sealed.map_err(|_| SealError::NoRoom)?.as_ref());
        self.terms.pulse.sent(now, kind != Kind::Empty);
        Ok(len)
    }

    /// A counter that nobody else has.
    fn draw(&self, now: Duration) -> Result<u64, SealError> {
        if self.is_old(now) || self.is_spent() {
            return Err(SealError::Expired);
        }
        if !self.confirmed.load(Relaxed) {
            return Err(SealError::Unconfirmed);
        }
        let end = self.terms.suite.stop_at();
        // Asked first, so that failing does not count on for ever.
        if self.sealed.0.load(Relaxed) >= end {
            return Err(SealError::Exhausted);
        }
        match self.sealed.0.fetch_add(1, Relaxed) {
            counter if counter < end => Ok(counter),
            _ => Err(SealError::Exhausted),
        }
    }

    /// Opens the record that `datagram` is, in place. After an error its contents mean nothing.
    ///
    /// # Errors
    /// With the reason, which is to be counted; none of them says more than that the record is not delivered.
    pub fn open(&self, now: Duration, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        match record_index(datagram) {
            Some(index) if index == self.terms.index => {}
            Some(_) => return Err(OpenError::OtherSession),
            None => return Err(OpenError::Malformed),
        }
        let len = datagram.len() - HEADER - TAG;
        if !len.is_multiple_of(BLOCK) {
            return Err(OpenError::Malformed);
        }
        let (header, text) = datagram.split_at_mut(HEADER);
        let (text, tag) = text.split_at_mut(len);
        let counter = u64::from_le_bytes(header[8..].try_into().expect("8 bytes"));
        self.may_open(now, counter)?;
        let nonce = self.terms.suite.nonce(counter);
        let opened = self.opening.open_in_place_separate_tag(nonce, Aad::from(&*header), tag, text);
        if opened.is_err() {
            self.forged.0.fetch_add(1, Relaxed);
            return Err(OpenError::Forged);
        }
        let (kind, payload) = read(text)?;
        let taken = self.window.0.mark(counter)?;
        if taken.first {
            self.confirmed.store(true, Relaxed);
        }
        self.terms.pulse.heard(now);
        let payload = PAYLOAD_AT..PAYLOAD_AT + payload;
        let newest = self.terms.pulse.is_latest(self.terms.born) && taken.newest;
        Ok(Opened { kind, payload, newest, first: taken.first })
    }

    fn may_open(&self, now: Duration, counter: u64) -> Result<(), OpenError> {
        if self.is_old(now) {
            return Err(OpenError::Expired);
        }
        if self.is_spent() {
            return Err(OpenError::Spent);
        }
        if counter >= self.terms.suite.stop_at() {
            return Err(OpenError::PastEnd);
        }
        Ok(self.window.0.check(counter)?)
    }

    /// Whose session it is.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.terms.peer
    }

    /// The index that its records come with.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.terms.index
    }

    /// How its records are sealed.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.terms.suite
    }

    /// When its keys were made.
    #[must_use]
    pub fn born(&self) -> Duration {
        self.terms.born
    }

    /// How many records it has sealed.
    #[must_use]
    pub fn sealed(&self) -> u64 {
        self.sealed.0.load(Relaxed).min(self.terms.suite.stop_at())
    }

    /// How many forged records came.
    #[must_use]
    pub fn forged(&self) -> u64 {
        self.forged.0.load(Relaxed)
    }

    pub(crate) fn role(&self) -> Role {
        self.terms.role
    }

    #[cfg(test)]
    pub(crate) fn remote(&self) -> u32 {
        self.terms.remote
    }

    /// Sets the counter of the next record: what takes long in life.
    #[cfg(test)]
    pub(crate) fn skip_to(&self, counter: u64) {
        self.sealed.0.store(counter, Relaxed);
    }

    /// Whether it can neither seal nor open any more.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.is_old(now) || self.is_spent()
    }

    /// Whether so much was sealed that other keys are due.
    pub(crate) fn is_worn(&self) -> bool {
        self.sealed.0.load(Relaxed) >= self.terms.suite.rekey_after()
    }

    fn is_old(&self, now: Duration) -> bool {
        now.saturating_sub(self.terms.born) >= REJECT_AFTER
    }

    fn is_spent(&self) -> bool {
        self.forged.0.load(Relaxed) >= FORGERIES
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl From<Stale> for OpenError {
    fn from(stale: Stale) -> Self {
        match stale {
            Stale::Replayed => Self::Replayed,
            Stale::TooOld => Self::TooOld,
        }
    }
}

/// The kind of an opened text, and its payload's length.
fn read(text: &[u8]) -> Result<(Kind, usize), OpenError> {
    let [kind, padding, rest @ ..] = text else { return Err(OpenError::Malformed) };
    let payload = rest.len().checked_sub((*padding).into());
    match payload {
        Some(payload)
            if usize::from(*padding) < BLOCK && rest[payload..].iter().all(|&byte| byte == 0) =>
        {
            Ok((Kind::from_byte(*kind), payload))
        }
        _ => Err(OpenError::Malformed),
    }
}

#[cfg(test)]
mod tests;
