//! What a host tells its caller: sessions to use, news of peers, what to keep on disk, what was refused.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{PeerId, PublicKey, Session, Suite, Tai64n};

/// Something to act on. Events come before the datagrams of the same call: drain them first.
#[derive(Debug)]
pub enum Event {
    /// From here on, records with this session's index are opened by it.
    Receive {
        /// Also knows its peer and index.
        session: Arc<Session>,
    },
    /// From here on, this session seals what goes to its peer.
    Send {
        /// Was told by [`Event::Receive`] before.
        session: Arc<Session>,
    },
    /// A session neither seals nor opens any more: let go of it.
    Expired {
        /// Whose it was.
        peer: PeerId,
        /// The index that its records came with.
        index: u32,
    },
    /// Records to this peer go there from here on.
    Endpoint {
        /// Which peer.
        peer: PeerId,
        /// Where it is.
        address: SocketAddr,
    },
    /// A peer's state changed.
    State {
        /// Which peer.
        peer: PeerId,
        /// What it is.
        state: PeerState,
    },
    /// Three more initiations had no answer: if the peer's endpoint is a name, it may mean another address.
    Unanswered {
        /// Which peer.
        peer: PeerId,
    },
    /// The timestamps of this host's initiations stay below this mark: keep it for the next start.
    Mark {
        /// A minute ahead of the latest timestamp.
        mark: Tai64n,
    },
    /// The greatest timestamp of a peer's initiations: keep it for the next start.
    Greatest {
        /// Which peer.
        peer: PeerId,
        /// Its key, which the timestamp belongs to.
        key: PublicKey,
        /// `None` after [`Host::reset`](super::Host::reset): forget it.
        timestamp: Option<Tai64n>,
    },
    /// This host's clock shows less than its mark, so that timestamps go on from the mark.
    ClockBehind {
        /// What the clock shows.
        clock: Tai64n,
        /// The last timestamp.
        mark: Tai64n,
    },
    /// An initiation of a peer that is not up is older than one before. Either somebody sends it again, or the peer's
    /// clock and mark went back: then it is not let in until it is past `greatest`, or is reset here, and is told so by
    /// [`Event::HeldBehind`]. Beside a live session it is a replay, which is only counted.
    PeerBehind {
        /// Which peer.
        peer: PeerId,
        /// What it sent.
        timestamp: Tai64n,
        /// What it sent before.
        greatest: Tai64n,
    },
    /// The other end of that: a peer does not let this host in until its timestamps are past `greatest`, or until
    /// it is reset there.
    HeldBehind {
        /// Which peer.
        peer: PeerId,
        /// What it remembers of this host.
        greatest: Tai64n,
    },
    /// A peer asks for a suite that it may not use here.
    SuiteNotAllowed {
        /// Which peer.
        peer: PeerId,
        /// What it asked for.
        suite: Suite,
    },
    /// Somebody who is no peer knows this host's key and proves this one.
    Stranger {
        /// Where it wrote from.
        from: SocketAddr,
        /// Its key.
        key: PublicKey,
    },
}

/// Whether a peer can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// There is a session to send with, and the peer answers.
    Up,
    /// A handshake is under way, and meanwhile nothing is known to arrive.
    Handshaking,
    /// Nothing arrives.
    Down(DownReason),
}

/// Why a peer is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DownReason {
    /// No address is known: it has to begin.
    Waiting,
    /// Nothing was tried yet, or the last session ended with nobody to renew it.
    NoSession,
    /// It did not answer for 90 s; it is tried again later.
    NoAnswer,
    /// It remembers greater timestamps of this host.
    HeldBehind,
}

impl DownReason {
    /// The reason in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "no address known, waiting for it to begin",
            Self::NoSession => "no session",
            Self::NoAnswer => "no answer for 90 s",
            Self::HeldBehind => "it remembers later timestamps of this host; reset this host there",
        }
    }
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom, if a peer.
    pub peer: Option<PeerId>,
    /// Where to.
    pub to: SocketAddr,
    /// The UDP payload.
    pub datagram: Vec<u8>,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a message of a handshake was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
        }

        impl Refusal {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The reason's name in counters.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusals! {
    /// No message has this length, type or reserved bytes.
    Malformed = "malformed",
    /// An initiation of a version that is not spoken here.
    Version = "version",
    /// An initiation with a suite that is not known here.
    UnknownSuite = "unknown-suite",
    /// Its mac1 is not for this host's key.
    NotForUs = "not-for-us",
    /// Under load, without a proof that its sender receives; it was answered with a cookie.
    CookieAsked = "cookie-asked",
    /// Under load, from a source that asks for more than its share.
    RateLimited = "rate-limited",
    /// An answer to nothing that is under way.
    UnknownIndex = "unknown-index",
    /// It does not open: wrong keys, another preshared key, or changed on the way.
    Undecipherable = "undecipherable",
    /// It has a point of low order.
    LowOrder = "low-order",
    /// Its sender proved a key that no peer has.
    UnknownPeer = "unknown-peer",
    /// Its sender may not use the suite.
    SuiteNotAllowed = "suite-not-allowed",
    /// An initiation that came before.
    Replayed = "replayed",
    /// An initiation that is older than one that came.
    RolledBack = "rolled-back",
    /// An initiation right after another.
    Hasty = "hasty",
    /// A cookie that does not open.
    BadCookie = "bad-cookie",
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::error::Error for Refusal {}
