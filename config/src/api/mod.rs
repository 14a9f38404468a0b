//! What the control API says and takes: JSON over HTTP/1.1 on a Unix socket, paths under `/v1/`,
//! described by `GET /openapi.json`. `weftctl --json` prints these documents as they are.
//!
//! | request | takes | answers | who |
//! | --- | --- | --- | --- |
//! | `GET /v1/status` | | [`Status`] | readers |
//! | `GET /v1/ports` | | `[`[`Port`]`]` | readers |
//! | `POST /v1/ports` | [`AddPort`] | [`Changed`] | writers |
//! | `PATCH /v1/ports/{name}` | [`SetPort`] | [`Changed`] | writers |
//! | `DELETE /v1/ports/{name}` | | [`Changed`] | writers |
//! | `GET /v1/switches` | | `[`[`Switch`]`]` | readers |
//! | `POST /v1/switches` | [`AddSwitch`] | [`Changed`] | writers |
//! | `DELETE /v1/switches/{name}` | | [`Changed`] | writers |
//! | `GET /v1/vlans` | | `[`[`Vlan`]`]` | readers |
//! | `POST /v1/vlans` | [`AddVlan`] | [`Changed`] | writers |
//! | `DELETE /v1/vlans/{name}` | | [`Changed`] | writers |
//! | `GET /v1/fdb?vlan=&port=&switch=` | | `[`[`FdbEntry`]`]` | readers |
//! | `POST /v1/fdb` | [`AddFdb`] | [`Changed`] | writers |
//! | `DELETE /v1/fdb?vlan=&mac=&switch=` | | [`Changed`] | writers |
//! | `POST /v1/fdb/flush?vlan=&port=&switch=` | | [`Flushed`] | writers |
//! | `GET /v1/uplinks` | | `[`[`Uplink`]`]` | readers |
//! | `POST /v1/uplinks` | [`AdoptUplink`] | [`Changed`] | writers |
//! | `DELETE /v1/uplinks/{device}` | | [`Changed`] | writers |
//! | `GET /v1/segments` | | `[`[`Segment`]`]` | readers |
//! | `POST /v1/segments` | [`AddSegment`] | [`Changed`] | writers |
//! | `DELETE /v1/segments/{name}` | | [`Changed`] | writers |
//! | `GET /v1/peers` | | `[`[`Peer`]`]` | readers |
//! | `GET /v1/peers/{name}` | | [`Peer`] | readers |
//! | `POST /v1/peers` | [`AddPeer`] | [`Changed`] | writers |
//! | `PATCH /v1/peers/{name}` | [`SetPeer`] | [`Changed`] | writers |
//! | `DELETE /v1/peers/{name}` | | [`Changed`] | writers |
//! | `POST /v1/peers/{name}/ping` | [`PingRequest`] | [`Ping`] | writers |
//! | `POST /v1/peers/{name}/reset` | | [`PeerReset`] | writers |
//! | `GET /v1/wireguard` | | `[`[`Wireguard`]`]` | readers |
//! | `GET /v1/wireguard/{name}` | | [`Wireguard`] | readers |
//! | `POST /v1/wireguard` | [`AddWireguard`] | [`Changed`] | writers |
//! | `PATCH /v1/wireguard/{name}` | [`SetWireguard`] | [`Changed`] | writers |
//! | `DELETE /v1/wireguard/{name}` | | [`Changed`] | writers |
//! | `POST /v1/wireguard/{name}/peers` | [`AddWireguardPeer`] | [`Changed`] | writers |
//! | `PATCH /v1/wireguard/{name}/peers/{peer}` | [`SetWireguardPeer`] | [`Changed`] | writers |
//! | `DELETE /v1/wireguard/{name}/peers/{peer}` | | [`Changed`] | writers |
//! | `GET /v1/events?after=&wait-seconds=` | | [`Events`] | readers |
//! | `GET /v1/drops?lines=` | | lines of [`DropNews`], without end | readers |
//! | `POST /v1/capture` | [`CaptureRequest`] | pcapng, until it ends or the client goes | writers |
//! | `GET /v1/captures` | | `[`[`Capture`]`]` | readers |
//! | `DELETE /v1/captures/{id}` | | | writers |
//! | `POST /v1/trace` | [`TraceRequest`] | [`Trace`] | readers |
//! | `GET /v1/config` | | [`ConfigDocument`] | readers |
//! | `POST /v1/config/diff` | [`ConfigText`] | [`Changed`] | readers |
//! | `PUT /v1/config?confirm-seconds=` | [`ConfigText`] | [`Changed`] | writers |
//! | `POST /v1/config/confirm` | | [`Changed`] | writers |
//! | `POST /v1/config/take-back` | | [`Changed`] | writers |
//! | `GET /v1/config/history` | | `[`[`Former`]`]` | readers |
//! | `GET /v1/config/history/{number}` | | [`FormerConfig`] | readers |
//!
//! Every change of the configuration takes `?transient=true` (the file is left alone) and `If-Match` with a revision.
//! With [`SESSION_HEADER`], a list of IP addresses, a change is refused (`cuts-session`) that would cut the host off them.
//! Every refusal is an [`Error`].

mod capture;
mod events;
mod tunnel;
mod uplink;
mod wireguard;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use self::{
    capture::{Capture, CaptureDirection, CaptureRequest, Drop, DropNews},
    events::{Event, Events, Happening},
    tunnel::{
        AddPeer, AddSegment, Peer, PeerReset, PeerState, Ping, PingRequest, Segment, SetPeer, Vpn,
    },
    uplink::{AdoptUplink, Uplink},
    wireguard::{
        AddWireguard, AddWireguardPeer, SetWireguard, SetWireguardPeer, Wireguard, WireguardPeer,
    },
};

/// The header in which a client names the far ends of sessions that a change must not cut.
pub const SESSION_HEADER: &str = "weft-session";

/// One direction of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Direction {
    /// Frames, those dropped on arrival included.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames dropped, by reason; a reason that never came up is absent.
    pub drops: BTreeMap<String, u64>,
}

/// How a port is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// Frames flow.
    Up,
    /// Switched off in the configuration, or its device is down.
    Down,
    /// Its device or its peer is not there yet.
    Waiting,
    /// It cannot work until somebody changes something.
    Failed,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The switch that it belongs to.
    pub switch: String,
    /// `netdev`, `tap`, `vhost-user`, `stream`, `tunnel` or `wireguard`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The device, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The socket, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The virtual machine behind it, where that can be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<Vm>,
    /// Its VLAN mode, in the words of the configuration file, VLANs as numbers.
    #[schema(value_type = Object)]
    pub vlan: Value,
    /// Bytes behind the Ethernet header that a frame may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// How it is doing.
    pub state: PortState,
    /// Why it is not up, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From the port into the switch.
    pub rx: Direction,
    /// From the switch out of the port.
    pub tx: Direction,
}

/// A virtual machine behind a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Vm {
    /// What its command line calls it, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The program that runs it.
    pub program: String,
    /// Its process.
    pub pid: u32,
}

/// A switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Switch {
    /// Its name.
    pub name: String,
    /// How long an address lives without being heard.
    pub mac_ageing_seconds: u64,
    /// Addresses that it remembers at most.
    pub mac_limit: usize,
    /// Addresses that it has learned.
    pub macs: usize,
    /// Its ports' names.
    pub ports: Vec<String>,
}

/// A VLAN of a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Vlan {
    /// The switch; a name that no port uses stands under every switch.
    pub switch: String,
    /// The VID.
    pub vlan: u16,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Ports whose frames of this VLAN leave untagged.
    pub untagged: Vec<String>,
    /// Ports whose frames of this VLAN leave tagged. A trunk of all VLANs counts only where the VLAN is named or used.
    pub tagged: Vec<String>,
    /// Addresses learned in it.
    pub macs: usize,
}

/// Where a forwarding entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FdbKind {
    /// Learned from a frame.
    Dynamic,
    /// Configured.
    Static,
    /// Advertised by a peer.
    Remote,
}

/// A forwarding entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FdbEntry {
    /// The switch.
    pub switch: String,
    /// The VID.
    pub vlan: u16,
    /// The address.
    pub mac: String,
    /// The port's name.
    pub port: String,
    /// Where it comes from.
    pub kind: FdbKind,
    /// The peer that advertised it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Seconds since it was last heard; 0 for a static one.
    pub age_seconds: u64,
}

/// One screen's worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Threads that move frames.
    pub workers: usize,
    /// The configuration file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The running configuration's revision.
    pub revision: String,
    /// Said while the running configuration waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// The switches.
    pub switches: Vec<Switch>,
    /// The VLANs.
    pub vlans: Vec<Vlan>,
    /// The ports.
    pub ports: Vec<Port>,
    /// The segments.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// The peers.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// This host's end of its tunnels; absent where none are configured or they do not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpn: Option<Vpn>,
    /// The WireGuard adapters.
    #[serde(default)]
    pub wireguard: Vec<Wireguard>,
    /// The addresses by port, the youngest first, sixteen a port at most.
    pub macs: Vec<FdbEntry>,
    /// What is wrong, in words, with a hint.
    pub problems: Vec<String>,
}

/// A port to be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddPort {
    /// Its name.
    pub name: String,
    /// Its table, with the keys of `[port.NAME]` in the configuration file.
    #[schema(value_type = Object)]
    pub port: Map<String, Value>,
    /// Whether an equal port that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// Keys of a port to be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SetPort {
    /// Keys of `[port.NAME]` with their new values; null takes a key away, what is not named stays.
    #[schema(value_type = Object)]
    pub port: Map<String, Value>,
}

/// A switch to be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddSwitch {
    /// Its name.
    pub name: String,
    /// Its table, with the keys of `[switch.NAME]`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub switch: Map<String, Value>,
    /// Whether an equal one that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// A VLAN name to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddVlan {
    /// Its name.
    pub name: String,
    /// Its VID.
    pub id: u16,
    /// Whether an equal one that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// A static forwarding entry to be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddFdb {
    /// The address.
    pub mac: String,
    /// The VLAN, as a number or a name.
    #[schema(value_type = Object)]
    pub vlan: Value,
    /// The port's name.
    pub port: String,
    /// Whether an equal one that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// What a flush took away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Flushed {
    /// Dynamic entries forgotten.
    pub flushed: usize,
}

/// A frame described for a trace: either its bytes, or its addresses and tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TraceRequest {
    /// The port where it arrives.
    pub port: String,
    /// The whole frame in hexadecimal, as on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Its source, when it is described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its destination, when it is described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The VID of its 802.1Q tag, 0 to 4095, when it is described and tagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u16>,
    /// The priority code point of that tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcp: Option<u8>,
    /// The EtherType of what it carries; IPv4 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<u16>,
    /// Its length in bytes without tags; 60 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
}

/// What would happen to a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Trace {
    /// The outcome.
    pub verdict: Verdict,
    /// Why it is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The VLAN that it belongs to, when it got that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Where it leaves.
    pub egress: Vec<TraceEgress>,
    /// What was decided, step by step.
    pub steps: Vec<TraceStep>,
}

/// The outcome of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// To one port.
    Forward,
    /// To every other member of the VLAN.
    Flood,
    /// Nowhere.
    Drop,
}

/// A port where a traced frame leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TraceEgress {
    /// The port's name.
    pub port: String,
    /// Whether it leaves with the VLAN's tag.
    pub tagged: bool,
    /// The VID of that tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vid: Option<u16>,
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TraceStep {
    /// The stage of the pipeline.
    pub stage: String,
    /// What was decided there, in words.
    pub text: String,
}

/// The running configuration and the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigDocument {
    /// The running configuration as TOML.
    pub running: String,
    /// The file as it was loaded or last written; equal to `running` unless transient changes were made.
    pub file: String,
    /// The file's path, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Names the running configuration in `If-Match`.
    pub revision: String,
    /// Said while the running configuration waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
}

/// A whole configuration to be applied or compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConfigText {
    /// TOML.
    pub text: String,
    /// What to call it in messages, say the file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Only in the new configuration.
    Added,
    /// Only in the old one.
    Removed,
    /// In both, with different values.
    Changed,
}

/// One difference between two configurations, in the words of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// What kind.
    pub kind: ChangeKind,
    /// The table or key, as in `port.web1` or `port.web1.vlan`.
    pub path: String,
    /// The old value as TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new value as TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// The outcome of a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Changed {
    /// What changed, or would change.
    pub changes: Vec<Change>,
    /// The running configuration's revision afterwards.
    pub revision: String,
    /// The file that was written; absent when none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// Said while the running configuration waits for its confirmation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// What a person should know of the new configuration although it is right, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A configuration that is in force and not in the file: without confirmation the one before comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// Seconds until then.
    pub seconds_left: u64,
    /// The user who applied it.
    pub uid: u32,
}

/// A configuration that the file held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Former {
    /// Its number; later ones have larger ones.
    pub number: u64,
    /// How long ago it was replaced.
    pub age_seconds: u64,
    /// The user who replaced it; absent where an edited file was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// A configuration that the file held before, with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FormerConfig {
    /// Which one it is.
    #[serde(flatten)]
    pub former: Former,
    /// Its text.
    pub text: String,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Error {
    /// What was refused and why.
    pub error: ErrorBody,
}

/// The body of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ErrorBody {
    /// A stable word for programs: `not-found`, `exists`, `in-use`, `invalid-config`, `invalid-request`, `file-changed`,
    /// `file-unwritable`, `state-unwritable`, `confirm-pending`, `nothing-pending`, `cannot-listen`, `not-allowed`,
    /// `revision-mismatch`, `internal`.
    pub code: String,
    /// What happened, in a sentence.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}
