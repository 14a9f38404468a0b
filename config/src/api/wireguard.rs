//! What the control API says and takes about WireGuard adapters and their peers. No secret is among it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Direction, PortState};

/// A WireGuard adapter: stock clients, placed on a VLAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Wireguard {
    /// Its name; its port is `wireguard.NAME`.
    pub name: String,
    /// The switch that the VLAN is on.
    pub switch: String,
    /// The VID.
    pub vlan: u16,
    /// Its own addresses in the VLAN, with their prefix lengths.
    pub address: Vec<String>,
    /// The VLAN's ways out, for IPv4 and for IPv6.
    #[serde(default)]
    pub gateway: Vec<String>,
    /// Where datagrams come in, as `address:port`.
    pub listen: String,
    /// Bytes of the largest IP packet that goes through its tunnels.
    pub mtu: u32,
    /// What its peers know it by, in base64; absent where its key file cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Its address on the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// How it is doing.
    pub state: PortState,
    /// Why it is not up, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Frames from its peers into the switch, and why some were dropped.
    pub rx: Direction,
    /// Frames from the switch to it, and why some were dropped.
    pub tx: Direction,
    /// Datagrams of no peer that were refused, by reason; a reason that never came up is absent.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// Its peers.
    pub peers: Vec<WireguardPeer>,
    /// What is wrong or worth knowing, in words: allowed IPs that several peers have.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// A client of a WireGuard adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WireguardPeer {
    /// Its name.
    pub name: String,
    /// Its public key in base64.
    pub public_key: String,
    /// Whether it has a preshared key.
    pub preshared_key: bool,
    /// Where it was last heard, as `address:port`; where it was never heard, its endpoint as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The networks behind it.
    pub allowed_ips: Vec<String>,
    /// Seconds since the last handshake; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_age_seconds: Option<u64>,
    /// Seconds between keepalives; absent for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_keepalive: Option<u16>,
    /// Bytes of UDP payload from it.
    pub rx_bytes: u64,
    /// Bytes of UDP payload to it.
    pub tx_bytes: u64,
    /// Packets and datagrams of its own that were refused or dropped, by reason; a reason that never came up is absent.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
}

/// A WireGuard adapter to be added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddWireguard {
    /// Its name.
    pub name: String,
    /// Its table, with the keys of `[wireguard.NAME]` in the configuration file; `peer` may have its peers' tables by
    /// their names.
    #[schema(value_type = Object)]
    pub wireguard: Map<String, Value>,
    /// Whether an equal adapter that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// Keys of a WireGuard adapter to be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SetWireguard {
    /// Keys of `[wireguard.NAME]` with their new values; null takes a key away, what is not named stays.
    #[schema(value_type = Object)]
    pub wireguard: Map<String, Value>,
}

/// A peer of a WireGuard adapter to be added. Allowed IPs that another peer has are taken from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AddWireguardPeer {
    /// Its name.
    pub name: String,
    /// Its table, with the keys of `[wireguard.NAME.peer.NAME]` in the configuration file.
    #[schema(value_type = Object)]
    pub peer: Map<String, Value>,
    /// Whether an equal peer that is there already is success.
    #[serde(default)]
    pub may_exist: bool,
}

/// Keys of a WireGuard adapter's peer to be changed. Allowed IPs that another peer has are taken from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SetWireguardPeer {
    /// Keys of `[wireguard.NAME.peer.NAME]` with their new values; null takes a key away, what is not named stays.
    #[schema(value_type = Object)]
    pub peer: Map<String, Value>,
}
