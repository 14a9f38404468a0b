//! Who is measured, and in what.

use std::{fmt, path::Path};

use clap::ValueEnum;
use serde::Serialize;

use super::backend::{OVS, TESTPMD};
use crate::report::Rival;

/// What guests may be joined by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// DPDK's testpmd on `net_vhost`, which looks at nothing and knows two ports only.
    Testpmd,
    /// Open vSwitch with DPDK.
    OvsDpdk,
    /// The kernel's bridge with TAPs, for real guests.
    Bridge,
    /// weft on `vhost-user` ports.
    Weft,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Part {
    /// Small and large frames between two of DPDK's front-ends.
    Frames,
    /// TCP super-frames from ring to ring.
    Segments,
    /// Two real guests.
    Guests,
    /// Small frames beside somebody hostile, on weft alone.
    Neighbours,
}

impl Peer {
    /// Tells whether this is weft.
    pub fn is_weft(self) -> bool {
        self == Self::Weft
    }
}

impl Part {
    /// Tells whether a peer is measured in this part.
    pub(super) fn has(self, peer: Peer) -> bool {
        match self {
            Self::Frames | Self::Segments => peer != Peer::Bridge,
            Self::Guests => matches!(peer, Peer::Bridge | Peer::Weft),
            // Who takes turns there are crimes.
            Self::Neighbours => false,
        }
    }
}

/// Tells whether a peer's program is not on this machine.
pub(super) fn missing(peer: Peer) -> bool {
    let program = match peer {
        Peer::Testpmd => TESTPMD,
        Peer::OvsDpdk => OVS,
        Peer::Bridge | Peer::Weft => return false,
    };
    !Path::new(program).exists()
}

impl Rival for Peer {
    fn title(self) -> &'static str {
        match self {
            Self::Testpmd => "bare copier: testpmd on `net_vhost`",
            Self::OvsDpdk => "OVS with DPDK",
            Self::Bridge => "kernel bridge, TAP",
            Self::Weft => "**weft, `vhost-user` ports**",
        }
    }
}

impl fmt::Display for Peer {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl fmt::Display for Part {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}
