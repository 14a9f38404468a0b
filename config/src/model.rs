//! A configuration that is right by its type: every name resolved, every limit checked.

mod tunnel;
mod wireguard;

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32, num::NonZeroUsize, time::Duration};

use weft_vlan::{MacAddr, PortVlan, VlanId};

pub use self::{
    tunnel::{Cipher, Endpoint, PeerConfig, SegmentConfig, VpnConfig},
    wireguard::{Overlap, OwnKey, OwnKeys, WireguardConfig, WireguardPeerConfig},
};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[daemon]`.
    pub daemon: DaemonConfig,
    /// `[switch.NAME]`; "main" is always there.
    pub switches: BTreeMap<String, SwitchConfig>,
    /// `[vlan.NAME]`.
    pub vlans: BTreeMap<String, VlanId>,
    /// `[port.NAME]`.
    pub ports: BTreeMap<String, PortConfig>,
    /// `[uplink.DEVICE]`.
    pub uplinks: BTreeMap<String, UplinkConfig>,
    /// `[[fdb]]`, ordered by switch, VLAN and address.
    pub fdb: Vec<FdbConfig>,
    /// `[segment.NAME]`.
    pub segments: BTreeMap<String, SegmentConfig>,
    /// `[vpn]`; `None` for a host without tunnels.
    pub vpn: Option<VpnConfig>,
    /// `[wireguard.NAME]`.
    pub wireguard: BTreeMap<String, WireguardConfig>,
}

/// What an empty file says: the switch "main", and nothing on it.
impl Default for Config {
    fn default() -> Self {
        Self {
            daemon: DaemonConfig::default(),
            switches: BTreeMap::from([("main".to_owned(), SwitchConfig::default())]),
            vlans: BTreeMap::new(),
            ports: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            fdb: Vec::new(),
            segments: BTreeMap::new(),
            vpn: None,
            wireguard: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Returns the `netdev` port that a device is.
    pub fn port_on(&self, device: &str) -> Option<(&str, &PortConfig)> {
        let is_it = |port: &PortConfig| matches!(&port.kind, PortType::Netdev { device: own, .. } if own == device);
        let found = self.ports.iter().find(|(_, port)| is_it(port));
        found.map(|(name, port)| (name.as_str(), port))
    }
}

/// What concerns the daemon as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonConfig {
    /// Threads that move frames.
    pub workers: NonZeroUsize,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self { workers: NonZeroUsize::MIN }
    }
}

/// One switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchConfig {
    /// How long an address lives without being heard.
    pub mac_ageing: Duration,
    /// Addresses that the switch remembers at most.
    pub mac_limit: usize,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self { mac_ageing: Duration::from_secs(300), mac_limit: 65_536 }
    }
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The switch that it belongs to.
    pub switch: String,
    /// What it is.
    pub kind: PortType,
    /// Its VLAN mode.
    pub vlan: PortVlan,
    /// Whether it is in operation.
    pub enabled: bool,
    /// Bytes behind the Ethernet header; `None` for the device's own.
    pub mtu: Option<u32>,
    /// Addresses that may be learned from it.
    pub mac_limit: Option<usize>,
    /// The only MAC sources allowed, ascending; empty for all.
    pub macs: Vec<MacAddr>,
    /// The only IP, ARP and ND sources allowed, ascending; empty for all.
    pub ips: Vec<IpAddr>,
    /// Whether it talks to other isolated ports.
    pub isolated: bool,
    /// Broadcast, multicast and unknown unicast frames a second that it may send.
    pub flood_limit: Option<NonZeroU32>,
}

/// A NIC of the host's that is a port: the host is reached by its addresses on another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// The `tap` port whose device has the NIC's addresses and routes meanwhile.
    pub port: String,
}

/// What a port is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortType {
    /// An existing device.
    Netdev {
        /// Its name.
        device: String,
        /// How its frames are taken.
        io: NetdevIo,
    },
    /// A TAP that the daemon makes.
    Tap {
        /// Its name.
        device: String,
        /// Queues of the device.
        queues: u16,
    },
    /// QEMU's `-netdev stream`.
    Stream(SocketConfig),
    /// A guest's rings in shared memory.
    VhostUser {
        /// The front-end's socket.
        socket: SocketConfig,
        /// Queue pairs that the guest may use.
        queues: u16,
    },
}

/// How the frames of an existing device are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetdevIo {
    /// By a packet socket.
    #[default]
    Packet,
    /// By AF_XDP.
    Xdp,
}

/// A Unix socket that a guest's VMM is at the other end of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Its path.
    pub path: String,
    /// Which end listens.
    pub mode: SocketMode,
    /// The user who may be at the other end; `None` for the daemon's own.
    pub owner: Option<String>,
    /// The group that may be there.
    pub group: Option<String>,
    /// The socket file's permission bits; `None` for 0600, or 0660 with a group.
    pub socket_mode: Option<u32>,
}

/// Which end of a Unix socket listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketMode {
    /// The daemon listens.
    #[default]
    Server,
    /// The VMM listens; the daemon connects, again and again.
    Client,
}

/// A static forwarding entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbConfig {
    /// The switch, the one of the port.
    pub switch: String,
    /// The address.
    pub mac: MacAddr,
    /// The VLAN.
    pub vlan: VlanId,
    /// The port's name.
    pub port: String,
}
