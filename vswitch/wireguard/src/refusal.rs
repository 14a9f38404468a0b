//! Why something was not done. Each packet or datagram that is refused has one reason.

use std::fmt;

/// Why a frame, a packet or a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a datagram of the protocol, not an IP packet, or a length in it that is not its own.
    Malformed,
    /// It was not made for this host's key, or by somebody who has it not.
    Forged,
    /// Too many handshakes; the sender was given a cookie, or has come too often with one.
    UnderLoad,
    /// A public key that no peer has.
    UnknownPeer,
    /// An initiation that is not newer than the last one.
    OldTimestamp,
    /// An ephemeral key that would make a shared secret known to all.
    LowOrder,
    /// A record of a session that there is not, or not any more.
    NoSession,
    /// A record that has been seen, or is too old to tell.
    Replayed,
    /// A peer of which no address is known.
    NoEndpoint,
    /// A packet from a peer with a source address that is not among its allowed IPs.
    NotAllowed,
    /// A source address that nobody can have, or that is somebody else's.
    BadSource,
    /// To a group or to all: peers and VLAN hear no others' groups.
    Multicast,
    /// To an address that no peer has and that is not in the VLAN.
    NoRoute,
    /// Larger than the way carries, and not to be cut.
    TooBig,
    /// It has passed too many routers.
    Expired,
    /// Congestion was experienced on its way by a sender that would not understand it.
    Congested,
    /// Nobody in the VLAN answers for the address.
    Unreachable,
    /// More wait than may.
    QueueFull,
    /// A frame for another host.
    NotForUs,
    /// To the adapter itself, which has nothing for it.
    NotServed,
}

impl Refusal {
    /// Returns the name that counters have.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::UnderLoad => "under-load",
            Self::UnknownPeer => "unknown-peer",
            Self::OldTimestamp => "old-timestamp",
            Self::LowOrder => "low-order",
            Self::NoSession => "no-session",
            Self::Replayed => "replayed",
            Self::NoEndpoint => "no-endpoint",
            Self::NotAllowed => "not-allowed",
            Self::BadSource => "bad-source",
            Self::Multicast => "multicast",
            Self::NoRoute => "no-route",
            Self::TooBig => "too-big",
            Self::Expired => "expired",
            Self::Congested => "congestion",
            Self::Unreachable => "unreachable",
            Self::QueueFull => "queue-full",
            Self::NotForUs => "not-for-us",
            Self::NotServed => "not-served",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
