//! `weftctl bugreport`: what whoever looks for a fault needs to know and nobody minds telling. Only what is named here goes
//! in; whatever comes to the daemon's answers later stays out until it is named, too.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use weft_config::{
    api::{ConfigDocument, Direction, Events, PeerState, PortState, Status},
    keyword,
};

use crate::{
    client::{Client, Request},
    failure::Failure,
    output::Output,
    render,
};

/// There is nothing to choose.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl bugreport
  weftctl bugreport > report.json

Versions, the kernel, states, counters and which keys the configuration has: no
names, no addresses, no paths, no keys' contents, no frames. Ports and peers are
numbered. Read it before you send it; it is text.")]
pub(crate) struct Bugreport {}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    weftctl: &'static str,
    weftd: String,
    kernel: String,
    machine: String,
    processors: usize,
    uptime_seconds: u64,
    workers: usize,
    switches: Vec<Switch>,
    vlans: Vec<Vlan>,
    ports: Vec<Port>,
    peers: Vec<Peer>,
    wireguard_adapters: usize,
    segments: usize,
    problems: usize,
    waits_for_confirmation: bool,
    /// How often each thing has happened among the events that are known.
    events: BTreeMap<String, usize>,
    /// The keys that the running configuration has, names left out.
    configuration: BTreeSet<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Switch {
    number: usize,
    mac_ageing_seconds: u64,
    mac_limit: usize,
    macs: usize,
    ports: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Vlan {
    vlan: u16,
    untagged: usize,
    tagged: usize,
    macs: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Port {
    number: usize,
    switch: Option<usize>,
    #[serde(rename = "type")]
    kind: &'static str,
    vlan_mode: BTreeSet<&'static str>,
    mtu: Option<u32>,
    state: PortState,
    has_vm: bool,
    rx: Traffic,
    tx: Traffic,
}

#[derive(Serialize)]
struct Traffic {
    frames: u64,
    bytes: u64,
    drops: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Peer {
    number: usize,
    state: PeerState,
    rtt_ms: Option<f64>,
    path_mtu: Option<u32>,
    problems: usize,
}

impl Bugreport {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let status: Status = client.send(Request::get("/v1/status"))?.value()?;
        let events: Events = client.send(Request::get("/v1/events"))?.value()?;
        let config: ConfigDocument = client.send(Request::get("/v1/config"))?.value()?;
        let report = report(&status, &events, &config.running);
        output.value(&report, render::json)
    }
}

fn report(status: &Status, events: &Events, config: &str) -> Report {
    let system = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let switches = status.switches.iter().zip(1..).map(|(switch, number)| Switch {
        number,
        mac_ageing_seconds: switch.mac_ageing_seconds,
        mac_limit: switch.mac_limit,
        macs: switch.macs,
        ports: switch.ports.len(),
    });
    let vlans = status.vlans.iter().map(|vlan| Vlan {
        vlan: vlan.vlan,
        untagged: vlan.untagged.len(),
        tagged: vlan.tagged.len(),
        macs: vlan.macs,
    });
    let peers = status.peers.iter().zip(1..).map(|(peer, number)| Peer {
        number,
        state: peer.state,
        rtt_ms: peer.rtt_ms,
        path_mtu: peer.path_mtu,
        problems: peer.problems.len(),
    });
    let mut happened = BTreeMap::new();
    for event in &events.events {
        let kind = json!(event.happening).get("event").and_then(Value::as_str).map(str::to_owned);
        *happened.entry(kind.unwrap_or_default()).or_insert(0) += 1;
    }
    Report {
        weftctl: env!("CARGO_PKG_VERSION"),
        weftd: status.version.clone(),
        kernel: text(system.release()),
        machine: text(system.machine()),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        uptime_seconds: status.uptime_seconds,
        workers: status.workers,
        switches: switches.collect(),
        vlans: vlans.collect(),
        ports: ports(status),
        peers: peers.collect(),
        wireguard_adapters: status.wireguard.len(),
        segments: status.segments.len(),
        problems: status.problems.len(),
        waits_for_confirmation: status.candidate.is_some(),
        events: happened,
        configuration: keys(config),
    }
}

fn ports(status: &Status) -> Vec<Port> {
    let number_of = |name: &str| {
        status.switches.iter().position(|switch| switch.name == name).map(|position| position + 1)
    };
    let ports = status.ports.iter().zip(1..).map(|(port, number)| Port {
        number,
        switch: number_of(&port.switch),
        kind: known(&port.kind, KINDS),
        vlan_mode: port
            .vlan
            .as_object()
            .into_iter()
            .flat_map(|mode| mode.keys().map(|key| known(key, VLAN_MODES)))
            .collect(),
        mtu: port.mtu,
        state: port.state,
        has_vm: port.vm.is_some(),
        rx: traffic(&port.rx),
        tx: traffic(&port.tx),
    });
    ports.collect()
}

fn traffic(direction: &Direction) -> Traffic {
    let mut drops = BTreeMap::new();
    for (reason, frames) in &direction.drops {
        *drops.entry(known(reason, REASONS)).or_insert(0) += frames;
    }
    Traffic { frames: direction.frames, bytes: direction.bytes, drops }
}

const KINDS: &[&str] = &["netdev", "tap", "vhost-user", "stream", "tunnel", "wireguard"];
const VLAN_MODES: &[&str] =
    &["access", "trunk", "native", "native-tagged", "ethertype", "dot1q-tunnel", "customer"];
const REASONS: &[&str] = &[
    "malformed",
    "bad-source",
    "reserved-address",
    "spoofed",
    "flood-limited",
    "tagged-on-access",
    "vlan-not-member",
    "no-native-vlan",
    "vlan-reserved",
    "customer-vlan-not-member",
    "loop-blocked",
    "oversize",
    "bad-offload",
    "static-elsewhere",
    "same-port",
    "no-member",
    "isolated",
    "split-horizon",
    "ambiguous-tag",
    "queue-full",
    "port-down",
    "no-session",
    "unroutable",
    "unsupported-offload",
];
/// Returns a word if it is one of those, so that nothing else gets out.
fn known(word: &str, words: &[&'static str]) -> &'static str {
    words.iter().find(|known| **known == word).copied().unwrap_or("other")
}

/// Returns which keys a configuration has: `port.*.device`.
fn keys(config: &str) -> BTreeSet<String> {
    fn gather(table: &toml::Table, path: &str, into: &mut BTreeSet<String>) {
        for (key, value) in table {
            let word = keyword(key).unwrap_or("*");
            let path = if path.is_empty() { word.to_owned() } else { format!("{path}.{word}") };
            match value {
                toml::Value::Table(table) if word != "vlan" || !path.contains("port") => {
                    gather(table, &path, into);
                }
                _ => {
                    into.insert(path);
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    if let Ok(table) = config.parse::<toml::Table>() {
        gather(&table, "", &mut found);
    }
    found
}
