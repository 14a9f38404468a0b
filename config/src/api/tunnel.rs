//! What the control API says and takes about peers and segments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Direction;

/// How the tunnel to a peer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// There is a confirmed session: frames flow.
    Up,
    /// A session is being agreed on.
    Handshaking,
    /// There is no session and none is being agreed on.
    Down,
}

/// A peer: another host, at the other end of a tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Peer {
    /// Its name; its port is `vpn.NAME`.
    pub name: String,
    /// Its public key in base64.
    pub public_key: String,
    /// Where it was last heard, as `address:port`; where it was never heard, its endpoint as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How it is doing.
    pub state: PeerState,
    /// Why it is not up, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since the session's keys were agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_age_seconds: Option<u64>,
    /// Milliseconds there and back, smoothed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Bytes of the largest IP packet that is known to arrive there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u32>,
    /// The session's cipher, as in `ciphers` of the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
    /// Frames that it sent here, and why some were dropped.
    pub rx: Direction,
    /// Frames that were sent to it, and why some were dropped.
    pub tx: Direction,
    /// Datagrams in its name that were refused before they were frames, by reason; a reason that never came up is
    /// absent.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// The segments that it may carry.
    pub segments: Vec<String>,
    /// What is wrong, in words, with a hint: clocks set back, segment ids that differ, claims that were clamped.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// This host's end of its tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Vpn {
    /// Where datagrams come in, as `address:port`.
    pub listen: String,
    /// What its peers know it by, in base64.
    pub public_key: String,
    /// Datagrams of no peer that were refused, by reason: handshakes by why they failed, `unknown-session` for records
    /// that no session opens, `flooded` for what came faster than it could be looked at; a reason that never came up
    /// is absent.
    pub refused: BTreeMap<String, u64>,
}

/// A segment: a broadcast domain that spans hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Segment {
    /// Its name here.
    pub name: String,
    /// Its id, the same on every host.
    pub id: u32,
    /// The switch that it belongs to here.
    pub switch: String,
    /// The VID that it has here.
    pub vlan: u16,
    /// Whether ARP and neighbour discovery are answered here for guests elsewhere.
    pub answer_arp: bool,
    /// The peers that may carry it.
    pub peers: Vec<String>,
    /// Addresses that peers advertise in it.
    pub remote_macs: usize,
    /// What is wrong, in words, with a hint: a loop through the physical network, a frozen address.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// A peer to be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddPeer {
    /// Its name.
    pub name: String,
    /// Its table, with the keys of `[vpn.peer.NAME]` in the configuration file.
    #[schema(value_type = Object)]
    pub peer: Map<String, Value>,
    /// Whether an equal peer that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// Keys of a peer to be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SetPeer {
    /// Keys of `[vpn.peer.NAME]` with their new values; null takes a key away, what is not named stays.
    #[schema(value_type = Object)]
    pub peer: Map<String, Value>,
}

/// A segment to be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddSegment {
    /// Its name.
    pub name: String,
    /// Its table, with the keys of `[segment.NAME]` in the configuration file.
    #[schema(value_type = Object)]
    pub segment: Map<String, Value>,
    /// Whether an equal segment that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// One question to a peer through its tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PingRequest {
    /// Bytes of the UDP payload that carries it; the least that it takes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Milliseconds to wait for the answer, at most 10000; 1000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
}

/// What came of one question to a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Ping {
    /// Where it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Bytes of the UDP payload that carried it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Milliseconds until the answer was here; absent where none came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Why none came, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a reset took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PeerReset {
    /// Sessions that were ended.
    pub sessions: usize,
    /// Whether a time of the peer's clock, which it had to be later than, was forgotten.
    pub timestamp: bool,
}
