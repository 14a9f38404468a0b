//! What the overlay tells its caller.

use std::{fmt, net::IpAddr};

use weft_vlan::MacAddr;

use crate::{LocalPort, Owner, PeerId, SegmentId};

/// Something to do or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The forwarding database must have the address at a peer, in the place of whatever it has.
    Install {
        /// The segment.
        segment: SegmentId,
        /// The address.
        mac: MacAddr,
        /// Where it is.
        peer: PeerId,
    },
    /// The forwarding database must not have the address at this peer any more; elsewhere it stays.
    Withdraw {
        /// The segment.
        segment: SegmentId,
        /// The address.
        mac: MacAddr,
        /// Where it was.
        peer: PeerId,
    },
    /// The address moved five times in 180 s: until it thaws it stays where it was before. On this host that is the
    /// port named; elsewhere, whatever the forwarding database has goes, and [`Event::Install`] follows if the
    /// owner claims it.
    Frozen {
        /// The segment.
        segment: SegmentId,
        /// The address.
        mac: MacAddr,
        /// Where it stays.
        owner: Owner,
        /// The port where it was last heard here, when it stays here.
        port: Option<LocalPort>,
    },
    /// The address was quiet for 180 s: it may move again.
    Thawed {
        /// The segment.
        segment: SegmentId,
        /// The address.
        mac: MacAddr,
    },
    /// A peer believes an address elsewhere that is here: [`crate::Overlay::learned`] must be called when it is
    /// heard after this, although the forwarding database knows it.
    Challenged {
        /// The segment.
        segment: SegmentId,
        /// The address.
        mac: MacAddr,
    },
    /// A peer's full set of a segment is complete.
    Synced {
        /// The peer.
        peer: PeerId,
        /// The segment.
        segment: SegmentId,
    },
    /// A peer was refused something, this many times in all; told once a second at most.
    Refused {
        /// The peer.
        peer: PeerId,
        /// What.
        refusal: Refusal,
        /// How often since it was added.
        count: u64,
    },
    /// The segments of the two ends were compared. What was said of them before is void.
    Compared {
        /// The peer.
        peer: PeerId,
        /// What does not fit together.
        mismatches: Vec<Mismatch>,
    },
    /// Two addresses of a segment claim one protocol address: it is not answered for.
    Conflict {
        /// The segment.
        segment: SegmentId,
        /// The protocol address.
        ip: IpAddr,
        /// Who claims it.
        macs: [MacAddr; 2],
    },
}

/// What a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A message that is none.
    Malformed,
    /// More messages than a peer may send.
    TooManyMessages,
    /// Claims in a segment that it does not carry.
    ForeignSegment,
    /// An address that cannot be a source.
    BadAddress,
    /// More addresses than it may claim.
    MacLimit,
    /// A sequence that rises by more than one over what is known. Beyond [`crate::SEQUENCE_MAX`] it counts for
    /// less than any other.
    SequenceJump,
    /// An address that is static here.
    StaticHere,
}

impl Refusal {
    /// Returns the name that counters show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooManyMessages => "too-many-messages",
            Self::ForeignSegment => "foreign-segment",
            Self::BadAddress => "bad-address",
            Self::MacLimit => "mac-limit",
            Self::SequenceJump => "sequence-jump",
            Self::StaticHere => "static-here",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// How the segments of two hosts do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// One name, two ids.
    Ids {
        /// The name.
        name: String,
        /// Its id here.
        here: SegmentId,
        /// Its id there.
        there: SegmentId,
    },
    /// The peer does not carry for this host what this host carries for it.
    NotThere {
        /// The name here.
        name: String,
        /// The id.
        segment: SegmentId,
    },
    /// This host does not carry for the peer what the peer carries for it.
    NotHere {
        /// The name there.
        name: String,
        /// The id.
        segment: SegmentId,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ids { name, here, there } => write!(
                out,
                "segment {name} has id {here} here and id {there} at the peer: \
                 nothing passes until both hosts give it the same id"
            ),
            Self::NotThere { name, segment } => write!(
                out,
                "segment {name} (id {segment}) is not among the segments that the peer carries for this host: \
                 nothing passes until it is added there or removed here"
            ),
            Self::NotHere { name, segment } => write!(
                out,
                "the peer carries segment {name} (id {segment}) for this host, which is not among its `segments` here: \
                 nothing passes until it is added here or removed there"
            ),
        }
    }
}
