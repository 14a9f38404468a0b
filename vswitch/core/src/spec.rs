//! What a switch is made of: the parsed wish, before it is compiled into tables.

use std::{net::IpAddr, time::Duration};

use weft_vlan::{MacAddr, PortVlan, VlanId, VlanSet};

use crate::PortId;

/// One switch: a set of ports with one forwarding database.
#[derive(Clone, Debug)]
pub struct SwitchSpec {
    /// How long a dynamic entry lives without being heard.
    pub ageing: Duration,
    /// Dynamic entries that the forwarding database holds at most.
    pub mac_limit: usize,
    /// The ports.
    pub ports: Vec<PortSpec>,
    /// Entries that are configuration.
    pub statics: Vec<StaticEntry>,
}

/// One port of a switch.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// Its number, unique in the daemon.
    pub id: PortId,
    /// What is behind it.
    pub kind: PortKind,
    /// Its VLAN mode.
    pub vlan: PortVlan,
    /// VLANs in which a loop was found behind it: there nothing enters and nothing leaves.
    pub blocked: VlanSet,
    /// Bytes behind the Ethernet header that a frame without tags may have.
    pub mtu: u32,
    /// Dynamic entries that may stand on this port.
    pub mac_limit: Option<usize>,
    /// The sources allowed.
    pub guards: Guards,
    /// Whether it talks to other isolated ports.
    pub isolation: Isolation,
    /// Broadcast, multicast and unknown unicast frames accepted from it.
    pub flood_limit: Option<Rate>,
}

/// What is behind a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortKind {
    /// Stations, whose addresses are learned.
    #[default]
    Local,
    /// Another host's switch, by a tunnel. Its frames teach nothing and never leave by a tunnel.
    Tunnel,
}

/// The only sources that a port may use; an empty list allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// Source addresses, ARP sender and ND link-layer addresses included.
    pub macs: Vec<MacAddr>,
    /// IP sources, ARP sender and ND addresses included.
    pub ips: Vec<IpAddr>,
}

/// Whether a port is isolated from other isolated ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Talks to every port.
    #[default]
    Open,
    /// Does not talk to other isolated ports.
    Isolated,
}

/// Frames per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Frames allowed in each second; also the burst that is let through at once.
    pub per_second: u32,
}

/// A forwarding entry that is configuration: neither learned nor aged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticEntry {
    /// The VLAN.
    pub vlan: VlanId,
    /// The address.
    pub mac: MacAddr,
    /// Where it is.
    pub port: PortId,
}
