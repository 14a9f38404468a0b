//! Frames and drops as they happen: what to ask for, and what is told line by line.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What to capture. An empty one captures every frame at every port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CaptureRequest {
    /// Only at these ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Only frames of these VLANs, by number or name. A frame that was dropped before it belonged to a VLAN is of none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<String>,
    /// Only what comes `in` from a port, or goes `out` by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<CaptureDirection>,
    /// Only dropped frames.
    #[serde(default)]
    pub drops: bool,
    /// Only frames that a filter in the syntax of pcap lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Bytes of a frame that are kept at most; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
    /// Ends after so many frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Ends after so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
}

/// Which way frames go past a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureDirection {
    /// From the port into the switch.
    In,
    /// From the switch out by the port.
    Out,
}

/// A capture that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Capture {
    /// Its number, as in the header `weft-capture` of its answer.
    pub id: u64,
    /// Who captures.
    pub uid: u32,
    /// By which process.
    pub pid: i32,
    /// For how long.
    pub age_seconds: u64,
    /// What.
    pub wanted: CaptureRequest,
}

/// A line of what is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum DropNews {
    /// Frames that were dropped.
    Drop(Drop),
    /// Frames that were dropped too, for which there was no line.
    LeftOut {
        /// When, in milliseconds since 1970.
        time_ms: u64,
        /// How many.
        frames: u64,
    },
}

/// Frames that were dropped within a second, and are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Drop {
    /// When the last of them was, in milliseconds since 1970.
    pub time_ms: u64,
    /// The port.
    pub port: String,
    /// `rx` for frames that came from the port, `tx` for those that should have left by it.
    pub direction: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub frames: u64,
    /// The VLAN that they belong to, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Their source; absent where nothing is left of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Their destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The sender of an IP packet or an ARP message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source_ip: Option<IpAddr>,
    /// To whom it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub destination_ip: Option<IpAddr>,
    /// The EtherType behind the tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<u16>,
}

impl DropNews {
    /// Returns how many frames it tells of.
    pub fn frames(&self) -> u64 {
        match self {
            Self::Drop(drop) => drop.frames,
            Self::LeftOut { frames, .. } => *frames,
        }
    }
}
