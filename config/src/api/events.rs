//! What happens to a switch, one event after the other.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Its number; the next one's is one more.
    pub number: u64,
    /// When it happened, in milliseconds since 1970.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub happening: Happening,
}

/// Events, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Events {
    /// Those that are known.
    pub events: Vec<Event>,
    /// Asks for those that come next.
    pub last: u64,
    /// How many came between those asked for and these, and are not known any more.
    pub lost: u64,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Happening {
    /// Frames flow through a port.
    PortUp {
        /// The port.
        port: String,
    },
    /// They do not, or not any more.
    PortDown {
        /// The port.
        port: String,
        /// Why not.
        reason: String,
    },
    /// A port is not configured any more.
    PortRemoved {
        /// The port.
        port: String,
    },
    /// There is a session with a peer.
    PeerUp {
        /// The peer.
        peer: String,
    },
    /// There is none, or none any more.
    PeerDown {
        /// The peer.
        peer: String,
        /// Why not.
        reason: String,
    },
    /// An address is heard on another port than before.
    MacMoved {
        /// The switch.
        switch: String,
        /// The VLAN.
        vlan: u16,
        /// The address.
        mac: String,
        /// Where it is heard now.
        port: String,
    },
    /// More addresses moved than can be told one by one.
    MacsMoved {
        /// The switch.
        switch: String,
        /// How many times.
        moves: u64,
    },
    /// An address moves between hosts too often, and stays where it was.
    MacFrozen {
        /// The segment's number.
        segment: u32,
        /// The address.
        mac: String,
        /// Where it stays, in words.
        stays: String,
    },
    /// It may move again.
    MacThawed {
        /// The segment's number.
        segment: u32,
        /// The address.
        mac: String,
    },
    /// A loop was found behind a port, which is blocked in that VLAN.
    LoopBlocked {
        /// The port.
        port: String,
        /// The VLAN.
        vlan: u16,
    },
    /// The loop is gone, and the port let in again.
    LoopGone {
        /// The port.
        port: String,
        /// The VLAN.
        vlan: u16,
    },
    /// The configuration changed.
    ConfigApplied {
        /// How many things.
        changes: usize,
        /// By whom; absent where an edited file was loaded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// It changed, and waits for its confirmation.
    ConfigTried {
        /// How many things.
        changes: usize,
        /// By whom.
        uid: u32,
        /// How long it waits.
        seconds: u64,
    },
    /// A configuration that waited was confirmed.
    ConfigConfirmed {
        /// By whom.
        uid: u32,
    },
    /// A configuration that waited was taken back.
    ConfigTakenBack {
        /// By whom; absent where its time was over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
}

/// In words, as the log has it.
impl fmt::Display for Happening {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortUp { port } => write!(out, "port {port} is up"),
            Self::PortDown { port, reason } => write!(out, "port {port} is down: {reason}"),
            Self::PortRemoved { port } => write!(out, "port {port} is removed"),
            Self::PeerUp { peer } => write!(out, "peer {peer} is up"),
            Self::PeerDown { peer, reason } => write!(out, "peer {peer} is down: {reason}"),
            Self::MacMoved { switch, vlan, mac, port } => {
                write!(out, "{mac} moved to port {port} in VLAN {vlan} of switch {switch}")
            }
            Self::MacsMoved { switch, moves } => {
                write!(out, "{moves} more moves of addresses on switch {switch} within a second")
            }
            Self::MacFrozen { segment, mac, stays } => {
                write!(out, "{mac} moves too often in segment {segment}: frozen, it stays {stays}")
            }
            Self::MacThawed { segment, mac } => {
                write!(out, "{mac} may move again in segment {segment}")
            }
            Self::LoopBlocked { port, vlan } => write!(
                out,
                "a loop behind port {port}, which reaches VLAN {vlan} by a tunnel, too: it is blocked there"
            ),
            Self::LoopGone { port, vlan } => {
                write!(out, "no loop behind port {port} any more: it is let into VLAN {vlan} again")
            }
            Self::ConfigApplied { changes, uid } => {
                write!(out, "{} {}", Changes(*changes), By(*uid))
            }
            Self::ConfigTried { changes, uid, seconds } => {
                write!(
                    out,
                    "{} {}, to be confirmed within {seconds} s",
                    Changes(*changes),
                    By(Some(*uid))
                )
            }
            Self::ConfigConfirmed { uid } => {
                write!(out, "configuration confirmed {}", By(Some(*uid)))
            }
            Self::ConfigTakenBack { uid: Some(uid) } => {
                write!(out, "configuration taken back {}", By(Some(*uid)))
            }
            Self::ConfigTakenBack { uid: None } => {
                out.write_str("nobody confirmed the configuration: the one before is back")
            }
        }
    }
}

struct Changes(usize);

impl fmt::Display for Changes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => out.write_str("a change of the configuration"),
            changes => write!(out, "{changes} changes of the configuration"),
        }
    }
}

struct By(Option<u32>);

impl fmt::Display for By {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(uid) => write!(out, "by uid {uid}"),
            None => out.write_str("by an edit of the file"),
        }
    }
}
