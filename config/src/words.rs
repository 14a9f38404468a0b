//! The model in the words of the file: its keys in their order, JSON values for the control API, TOML text.

use std::{net::IpAddr, num::NonZeroU16};

use serde_json::{Map, Value, json};
use weft_vlan::{Native, PortVlan, Tpid, VlanId, VlanSet};

use crate::model::{
    Config, DaemonConfig, FdbConfig, NetdevIo, PeerConfig, PortConfig, PortType, SegmentConfig,
    SocketConfig, SocketMode, SwitchConfig, UplinkConfig, VpnConfig, WireguardConfig,
    WireguardPeerConfig,
};

/// Keys that every port may have.
pub(crate) const PORT_KEYS: &[&str] = &[
    "switch",
    "type",
    "vlan",
    "enabled",
    "mtu",
    "mac-limit",
    "macs",
    "ips",
    "isolated",
    "flood-limit",
];
/// Further keys of a `netdev` port.
pub(crate) const NETDEV_KEYS: &[&str] = &["device", "io"];
/// Further keys of a `tap` port.
pub(crate) const TAP_KEYS: &[&str] = &["device", "queues"];
/// Further keys of a `stream` port.
pub(crate) const STREAM_KEYS: &[&str] = &["socket", "mode", "owner", "group", "socket-mode"];
/// Further keys of a `vhost-user` port.
pub(crate) const VHOST_USER_KEYS: &[&str] =
    &["socket", "mode", "owner", "group", "socket-mode", "queues"];
/// Keys of a port's VLAN mode.
pub(crate) const VLAN_MODE_KEYS: &[&str] =
    &["access", "trunk", "native", "native-tagged", "ethertype", "dot1q-tunnel", "customer"];
/// Keys of a switch.
pub(crate) const SWITCH_KEYS: &[&str] = &["mac-ageing", "mac-limit"];
/// Keys of a static forwarding entry.
pub(crate) const FDB_KEYS: &[&str] = &["mac", "vlan", "port"];
/// Keys of an uplink.
pub(crate) const UPLINK_KEYS: &[&str] = &["port"];
/// Keys of a segment.
pub(crate) const SEGMENT_KEYS: &[&str] = &["id", "vlan", "switch", "answer-arp"];
/// Keys of `[vpn]`.
pub(crate) const VPN_KEYS: &[&str] =
    &["listen", "private-key-file", "previous-private-key-file", "dscp", "peer"];
/// Keys of a peer.
pub(crate) const PEER_KEYS: &[&str] =
    &["public-key", "endpoint", "preshared-key-file", "ciphers", "segments"];

/// Keys of a WireGuard adapter.
pub(crate) const WIREGUARD_KEYS: &[&str] =
    &["vlan", "switch", "address", "gateway", "listen", "private-key-file", "mtu", "peer"];
/// Keys of a WireGuard adapter's peer.
pub(crate) const WIREGUARD_PEER_KEYS: &[&str] =
    &["public-key", "preshared-key-file", "allowed-ips", "endpoint", "persistent-keepalive"];

/// The order in which keys are written.
const ORDER: &[&str] = &[
    "id",
    "listen",
    "private-key-file",
    "previous-private-key-file",
    "dscp",
    "public-key",
    "endpoint",
    "preshared-key-file",
    "ciphers",
    "segments",
    "allowed-ips",
    "persistent-keepalive",
    "switch",
    "type",
    "device",
    "io",
    "socket",
    "mode",
    "owner",
    "group",
    "socket-mode",
    "queues",
    "mac",
    "vlan",
    "address",
    "gateway",
    "port",
    "answer-arp",
    "enabled",
    "mtu",
    "mac-ageing",
    "mac-limit",
    "macs",
    "ips",
    "isolated",
    "flood-limit",
    "access",
    "trunk",
    "native",
    "native-tagged",
    "ethertype",
    "dot1q-tunnel",
    "customer",
];

/// Returns a word of the file's own, a section or a key; `None` for a name.
pub fn keyword(word: &str) -> Option<&'static str> {
    let sections = crate::parse::SECTIONS.iter().chain(&["peer", "workers"]);
    sections.chain(ORDER).find(|known| **known == word).copied()
}

/// Returns a value that a key may have, as TOML, for messages.
pub(crate) fn example(key: &str) -> &'static str {
    match key {
        "switch" => "\"main\"",
        "type" => "\"netdev\"",
        "device" => "\"tap0\"",
        "io" => "\"packet\"",
        "socket" => "\"/run/weft/ports/dev1/dev1.sock\"",
        "mode" => "\"server\"",
        "owner" | "group" => "\"libvirt-qemu\"",
        "socket-mode" => "\"0660\"",
        "queues" | "workers" => "1",
        "mac" => "\"52:54:00:12:34:56\"",
        "macs" => "[\"52:54:00:12:34:56\"]",
        "ips" => "[\"10.10.0.5\", \"fd00::5\"]",
        "enabled" | "isolated" | "native-tagged" | "answer-arp" => "true",
        "mtu" => "1500",
        "mac-ageing" => "\"300s\"",
        "mac-limit" => "64",
        "flood-limit" => "\"1000/s\"",
        "vlan" => "{ access = 10 }",
        "trunk" => "[10, 20, \"100-199\"]",
        "customer" => "[10, 12]",
        "dot1q-tunnel" => "300",
        "ethertype" => "\"802.1ad\"",
        "port" => "\"web1\"",
        "listen" => "\"[::]:51900\"",
        "private-key-file" => "\"/etc/weft/vpn.key\"",
        "previous-private-key-file" => "\"/etc/weft/vpn.key.old\"",
        "preshared-key-file" => "\"/etc/weft/berlin.psk\"",
        "public-key" => "\"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\"",
        "endpoint" => "\"berlin.example.net:51900\"",
        "ciphers" => "[\"aes-256-gcm\", \"chacha20-poly1305\"]",
        "segments" => "[\"office\"]",
        "dscp" => "0",
        "address" => "[\"10.10.0.1/24\"]",
        "gateway" => "\"10.10.0.254\"",
        "allowed-ips" => "[\"10.10.0.201/32\"]",
        "persistent-keepalive" => "25",
        _ => "10",
    }
}

/// Returns the keys of a table in the order in which they are written.
pub(crate) fn ordered(table: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut keys: Vec<_> = table.iter().map(|(key, value)| (key.as_str(), value)).collect();
    keys.sort_by_key(|(key, _)| rank(key));
    keys
}

/// Tells whether a key is written above another.
pub(crate) fn precedes(key: &str, other: &str) -> bool {
    rank(key) < rank(other)
}

fn rank(key: &str) -> usize {
    ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len())
}

/// A value is nested deeper than any value of a configuration, or is something that TOML cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is not something that a configuration can hold")]
pub(crate) struct NotToml;

/// Writes a value as TOML on one line, tables inline.
pub(crate) fn toml_text(value: &Value) -> Result<String, NotToml> {
    toml_value(value).map(|value| value.to_string())
}

/// Makes a TOML value of a JSON one, tables inline.
pub(crate) fn toml_value(value: &Value) -> Result<toml_edit::Value, NotToml> {
    const DEPTH_MAX: u8 = 8;
    toml_value_within(value, DEPTH_MAX)
}

fn toml_value_within(value: &Value, depth: u8) -> Result<toml_edit::Value, NotToml> {
    let depth = depth.checked_sub(1).ok_or(NotToml)?;
    Ok(match value {
        Value::Null => return Err(NotToml),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) if number.is_f64() => number.as_f64().ok_or(NotToml)?.into(),
        Value::Number(number) => number.as_i64().ok_or(NotToml)?.into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => {
            let list = list
                .iter()
                .map(|value| toml_value_within(value, depth))
                .collect::<Result<toml_edit::Array, _>>()?;
            list.into()
        }
        Value::Object(table) => {
            let mut inline = toml_edit::InlineTable::new();
            for (key, value) in ordered(table) {
                inline.insert(key, toml_value_within(value, depth)?);
            }
            inline.into()
        }
    })
}

/// Writes a key as TOML, quoted where it must be.
pub(crate) fn toml_key(key: &str) -> String {
    toml_edit::Key::new(key).to_string()
}

/// Returns a port's VLAN mode in the words of the file, VLANs as numbers: `{"trunk": [10, "100-199"], "native": 10}`.
pub fn vlan_json(vlan: &PortVlan) -> Value {
    let mut table = Map::new();
    match vlan {
        PortVlan::Access(vlan) => {
            table.insert("access".to_owned(), json!(vlan.get()));
        }
        PortVlan::Trunk { members, native, tpid } => {
            let members =
                if *members == VlanSet::all() { json!("all") } else { vlan_list(members) };
            table.insert("trunk".to_owned(), members);
            if let Some(native) = native {
                table.insert("native".to_owned(), json!(native.vlan().get()));
            }
            if matches!(native, Some(Native::Tagged(_))) {
                table.insert("native-tagged".to_owned(), json!(true));
            }
            if *tpid != Tpid::Dot1Q {
                table.insert("ethertype".to_owned(), json!(tpid.to_string()));
            }
        }
        PortVlan::Dot1qTunnel { vlan, customer } => {
            table.insert("dot1q-tunnel".to_owned(), json!(vlan.get()));
            if let Some(customer) = customer {
                table.insert("customer".to_owned(), vlan_list(customer));
            }
        }
    }
    Value::Object(table)
}

/// Writes a set as the file does: numbers, and ranges of three or more.
fn vlan_list(vlans: &VlanSet) -> Value {
    let mut list = Vec::new();
    for (first, last) in vlans.ranges() {
        match last.get() - first.get() {
            0 => list.push(json!(first.get())),
            1 => list.extend([json!(first.get()), json!(last.get())]),
            _ => list.push(json!(format!("{first}-{last}"))),
        }
    }
    Value::Array(list)
}

/// Returns a port's VLAN mode for people: `access 10`, `trunk 10, 20, 100-199 native 10`.
pub fn vlan_words(vlan: &PortVlan) -> String {
    match vlan {
        PortVlan::Access(vlan) => format!("access {vlan}"),
        PortVlan::Trunk { members, native, tpid } => {
            let members =
                if *members == VlanSet::all() { "all".to_owned() } else { members.to_string() };
            let native = match native {
                None => String::new(),
                Some(Native::Untagged(vlan)) => format!(" native {vlan}"),
                Some(Native::Tagged(vlan)) => format!(" native {vlan} tagged"),
            };
            let tpid = if *tpid == Tpid::Dot1Q { String::new() } else { format!(" {tpid}") };
            format!("trunk {members}{native}{tpid}")
        }
        PortVlan::Dot1qTunnel { vlan, customer: None } => format!("dot1q-tunnel {vlan}"),
        PortVlan::Dot1qTunnel { vlan, customer: Some(customer) } => {
            format!("dot1q-tunnel {vlan} customer {customer}")
        }
    }
}

/// Whether a key that has its default value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defaults {
    /// It is left away.
    Implied,
    /// It is written.
    Written,
}

/// A table under construction.
struct Words {
    table: Map<String, Value>,
    defaults: Defaults,
}

impl Words {
    fn new(defaults: Defaults) -> Self {
        Self { table: Map::new(), defaults }
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.table.insert(key.to_owned(), value.into());
    }

    fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn put_unless<T: Into<Value> + PartialEq>(&mut self, key: &str, value: T, default: &T) {
        if self.defaults == Defaults::Written || value != *default {
            self.put(key, value);
        }
    }
}

impl DaemonConfig {
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put_unless("workers", self.workers.get(), &Self::default().workers.get());
        words.table
    }
}

impl SwitchConfig {
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let ageing = |switch: &Self| format!("{}s", switch.mac_ageing.as_secs());
        let default = Self::default();
        let mut words = Words::new(defaults);
        words.put_unless("mac-ageing", ageing(self), &ageing(&default));
        words.put_unless("mac-limit", self.mac_limit, &default.mac_limit);
        words.table
    }
}

impl PortConfig {
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put_unless("switch", self.switch.as_str(), &"main");
        match &self.kind {
            PortType::Netdev { device, io } => {
                words.put("type", "netdev");
                words.put("device", device.as_str());
                let io = match io {
                    NetdevIo::Packet => "packet",
                    NetdevIo::Xdp => "xdp",
                };
                words.put_unless("io", io, &"packet");
            }
            PortType::Tap { device, queues } => {
                words.put("type", "tap");
                words.put("device", device.as_str());
                words.put_unless("queues", *queues, &1);
            }
            PortType::Stream(socket) => {
                words.put("type", "stream");
                socket.add_words(&mut words);
            }
            PortType::VhostUser { socket, queues } => {
                words.put("type", "vhost-user");
                socket.add_words(&mut words);
                words.put_unless("queues", *queues, &1);
            }
        }
        words.put("vlan", vlan_json(&self.vlan));
        words.put_unless("enabled", self.enabled, &true);
        words.put_some("mtu", self.mtu);
        words.put_some("mac-limit", self.mac_limit);
        let macs: Vec<String> = self.macs.iter().map(ToString::to_string).collect();
        let ips: Vec<String> = self.ips.iter().map(ToString::to_string).collect();
        words.put_some("macs", Some(macs).filter(|macs| !macs.is_empty()));
        words.put_some("ips", Some(ips).filter(|ips| !ips.is_empty()));
        words.put_unless("isolated", self.isolated, &false);
        words.put_some("flood-limit", self.flood_limit.map(|limit| format!("{limit}/s")));
        words.table
    }
}

impl SocketConfig {
    fn add_words(&self, words: &mut Words) {
        words.put("socket", self.path.as_str());
        let mode = match self.mode {
            SocketMode::Server => "server",
            SocketMode::Client => "client",
        };
        words.put_unless("mode", mode, &"server");
        words.put_some("owner", self.owner.as_deref());
        words.put_some("group", self.group.as_deref());
        words.put_some("socket-mode", self.socket_mode.map(|bits| format!("{bits:04o}")));
    }
}

impl FdbConfig {
    pub(crate) fn words(&self) -> Map<String, Value> {
        let mut words = Words::new(Defaults::Implied);
        words.put("mac", self.mac.to_string());
        words.put("vlan", self.vlan.get());
        words.put("port", self.port.as_str());
        words.table
    }
}

impl UplinkConfig {
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put("port", self.port.as_str());
        words.table
    }
}

impl SegmentConfig {
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put("id", self.id.get());
        words.put("vlan", self.vlan.get());
        words.put_unless("switch", self.switch.as_str(), &"main");
        words.put_unless("answer-arp", self.answer_arp, &false);
        words.table
    }
}

impl VpnConfig {
    /// Returns everything but the peers.
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put_unless("listen", self.listen.to_string(), &Self::LISTEN.to_string());
        words.put("private-key-file", self.private_key_file.as_str());
        words.put_some("previous-private-key-file", self.previous_private_key_file.as_deref());
        words.put_unless("dscp", self.dscp, &0);
        words.table
    }
}

impl PeerConfig {
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put("public-key", self.public_key.to_string());
        words.put_some("endpoint", self.endpoint.as_ref().map(ToString::to_string));
        words.put_some("preshared-key-file", self.preshared_key_file.as_deref());
        let ciphers: Vec<&str> = self.ciphers.iter().map(|cipher| cipher.word()).collect();
        words.put_some("ciphers", Some(ciphers).filter(|ciphers| !ciphers.is_empty()));
        words.put_unless("segments", self.segments.clone(), &Vec::new());
        words.table
    }
}

impl WireguardConfig {
    /// Returns everything but the peers.
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put_unless("switch", self.switch.as_str(), &"main");
        words.put("vlan", self.vlan.get());
        words.put("address", texts(&self.addresses));
        match (self.gateway_v4, self.gateway_v6) {
            (Some(v4), Some(v6)) => words.put("gateway", vec![v4.to_string(), v6.to_string()]),
            (v4, v6) => {
                let one = v4.map(IpAddr::V4).or(v6.map(IpAddr::V6));
                words.put_some("gateway", one.map(|ip| ip.to_string()));
            }
        }
        words.put_unless("listen", self.listen.to_string(), &Self::LISTEN.to_string());
        words.put("private-key-file", self.private_key_file.as_str());
        words.put_unless("mtu", self.mtu, &Self::MTU);
        words.table
    }
}

impl WireguardPeerConfig {
    pub(crate) fn words(&self, defaults: Defaults) -> Map<String, Value> {
        let mut words = Words::new(defaults);
        words.put("public-key", self.public_key.to_string());
        words.put_some("preshared-key-file", self.preshared_key_file.as_deref());
        words.put_unless("allowed-ips", texts(&self.allowed_ips), &Vec::new());
        words.put_some("endpoint", self.endpoint.as_ref().map(ToString::to_string));
        words.put_some("persistent-keepalive", self.persistent_keepalive.map(NonZeroU16::get));
        words.table
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Writes the keys of a table as lines.
pub(crate) fn table_lines(table: &Map<String, Value>, line_end: &str) -> Result<String, NotToml> {
    ordered(table)
        .into_iter()
        .map(|(key, value)| Ok(format!("{} = {}{line_end}", toml_key(key), toml_text(value)?)))
        .collect()
}

impl Config {
    /// Returns the text of a file that says the same: no comments, defaults left away, VLANs as numbers.
    pub fn to_toml(&self) -> String {
        let mut sections = Vec::new();
        let mut section = |header: String, table: &Map<String, Value>| {
            // The model holds nothing that TOML cannot say.
            sections.push(format!("{header}\n{}", table_lines(table, "\n").unwrap_or_default()));
        };
        if self.daemon != DaemonConfig::default() {
            section("[daemon]".to_owned(), &self.daemon.words(Defaults::Implied));
        }
        for (name, switch) in &self.switches {
            if name != "main" || *switch != SwitchConfig::default() {
                section(format!("[switch.{name}]"), &switch.words(Defaults::Implied));
            }
        }
        for (name, vlan) in &self.vlans {
            section(format!("[vlan.{name}]"), &vlan_id_words(*vlan));
        }
        for (name, port) in &self.ports {
            section(format!("[port.{name}]"), &port.words(Defaults::Implied));
        }
        for (device, uplink) in &self.uplinks {
            let header = format!("[uplink.{}]", toml_key(device));
            section(header, &uplink.words(Defaults::Implied));
        }
        for entry in &self.fdb {
            section("[[fdb]]".to_owned(), &entry.words());
        }
        for (name, segment) in &self.segments {
            section(format!("[segment.{name}]"), &segment.words(Defaults::Implied));
        }
        if let Some(vpn) = &self.vpn {
            section("[vpn]".to_owned(), &vpn.words(Defaults::Implied));
            for (name, peer) in &vpn.peers {
                section(format!("[vpn.peer.{name}]"), &peer.words(Defaults::Implied));
            }
        }
        for (name, adapter) in &self.wireguard {
            section(format!("[wireguard.{name}]"), &adapter.words(Defaults::Implied));
            for (peer, config) in &adapter.peers {
                let header = format!("[wireguard.{name}.peer.{peer}]");
                section(header, &config.words(Defaults::Implied));
            }
        }
        sections.join("\n")
    }
}

/// Returns the table of a VLAN name.
pub(crate) fn vlan_id_words(vlan: VlanId) -> Map<String, Value> {
    Map::from_iter([("id".to_owned(), json!(vlan.get()))])
}
