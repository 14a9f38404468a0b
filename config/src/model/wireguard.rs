//! WireGuard adapters and their clients.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
};

use ipnet::IpNet;
use weft_vlan::VlanId;
use weft_vpn::PublicKey;

use super::{Config, Endpoint};

/// Stock WireGuard clients, placed on a VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireguardConfig {
    /// The switch that the VLAN is on.
    pub switch: String,
    /// The VLAN.
    pub vlan: VlanId,
    /// Its own addresses in the VLAN, each with its network's prefix length, in the order of the text; at least one.
    pub addresses: Vec<IpNet>,
    /// The VLAN's way out for IPv4.
    pub gateway_v4: Option<Ipv4Addr>,
    /// The VLAN's way out for IPv6.
    pub gateway_v6: Option<Ipv6Addr>,
    /// Where datagrams come in.
    pub listen: SocketAddr,
    /// The file with its private key.
    pub private_key_file: String,
    /// Bytes of the largest IP packet that goes through its tunnels.
    pub mtu: u16,
    /// `[wireguard.NAME.peer.NAME]`.
    pub peers: BTreeMap<String, WireguardPeerConfig>,
    /// Allowed IPs that several peers have in the text, in their order.
    pub overlaps: Vec<Overlap>,
}

impl WireguardConfig {
    /// Where datagrams come in unless told otherwise.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 51_820);
    /// The largest IP packet unless told otherwise: over IPv6 it just fits into Ethernet's 1500 bytes.
    pub const MTU: u16 = 1420;
}

/// A client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireguardPeerConfig {
    /// Who it is.
    pub public_key: PublicKey,
    /// The file with the secret that is shared with it alone.
    pub preshared_key_file: Option<String>,
    /// The networks behind it, ascending; none of them is another peer's too.
    pub allowed_ips: Vec<IpNet>,
    /// Where it is; `None` for one that is waited for.
    pub endpoint: Option<Endpoint>,
    /// Seconds after which it hears from here even if there is nothing to say; `None` for never.
    pub persistent_keepalive: Option<NonZeroU16>,
}

/// The same network among the allowed IPs of two peers: the later one in the text has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The network.
    pub network: IpNet,
    /// The peer that has it.
    pub owner: String,
    /// The peer that would have it.
    pub loser: String,
}

impl fmt::Display for Overlap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, owner, loser } = self;
        write!(
            out,
            "{network} is an allowed IP of peer {loser} and of peer {owner}, which comes later: {owner} has it"
        )
    }
}

/// The public keys of this host's own private ones, by who uses them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnKeys {
    /// Of `[vpn]`, the one from before included.
    pub vpn: Vec<PublicKey>,
    /// Of `[wireguard.NAME]`.
    pub wireguard: BTreeMap<String, PublicKey>,
}

/// A private key of this host is used for something else, too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnKey {
    /// A peer of a tunnel has it.
    #[error(
        "peer {peer}: `public-key` is this host's own key; write the one that `weftctl key public` says there"
    )]
    Peer {
        /// The peer's name.
        peer: String,
    },
    /// A WireGuard peer has the key of its adapter.
    #[error(
        "wireguard {adapter} peer {peer}: `public-key` is the adapter's own key; write the client's"
    )]
    WireguardPeer {
        /// The adapter.
        adapter: String,
        /// The peer's name.
        peer: String,
    },
    /// Two sections have one private key.
    #[error("{first} and wireguard {adapter} have one private key; each needs a key of its own")]
    Shared {
        /// `vpn`, or `wireguard lane`.
        first: String,
        /// The adapter.
        adapter: String,
    },
}

impl Config {
    /// Checks what the text alone does not tell: that no peer has one of this host's own keys, and that no key has
    /// two uses here.
    ///
    /// # Errors
    /// Names the peer that has, or the two sections.
    pub fn check_own_keys(&self, own: &OwnKeys) -> Result<(), OwnKey> {
        let peers = self.vpn.iter().flat_map(|vpn| &vpn.peers);
        for (name, peer) in peers {
            if own.vpn.contains(&peer.public_key) {
                return Err(OwnKey::Peer { peer: name.clone() });
            }
        }
        let mut users: BTreeMap<PublicKey, String> =
            own.vpn.iter().map(|key| (*key, "vpn".to_owned())).collect();
        for (adapter, key) in &own.wireguard {
            if let Some(first) = users.get(key) {
                let (first, adapter) = (first.clone(), adapter.clone());
                return Err(OwnKey::Shared { first, adapter });
            }
            users.insert(*key, format!("wireguard {adapter}"));
            let peers = self.wireguard.get(adapter).into_iter().flat_map(|config| &config.peers);
            if let Some((peer, _)) = peers.into_iter().find(|(_, peer)| peer.public_key == *key) {
                let (adapter, peer) = (adapter.clone(), peer.clone());
                return Err(OwnKey::WireguardPeer { adapter, peer });
            }
        }
        Ok(())
    }

    /// Returns what a person should know of a configuration that is right: allowed IPs that several peers have, and
    /// addresses that several adapters would answer for in one VLAN.
    pub fn notes(&self) -> Vec<String> {
        let adapters = self.wireguard.iter();
        let notes = adapters.flat_map(|(name, config)| {
            config.overlaps.iter().map(move |overlap| format!("wireguard {name}: {overlap}"))
        });
        notes.chain(self.shared_addresses()).collect()
    }

    fn shared_addresses(&self) -> impl Iterator<Item = String> {
        let answered = self.wireguard.iter().flat_map(|(name, config)| {
            let peers = config.peers.values().flat_map(|peer| &peer.allowed_ips);
            let single = peers.filter(|network| network.prefix_len() == network.max_prefix_len());
            let single = single.filter(|own| config.addresses.iter().any(|net| net.contains(*own)));
            let all = config.addresses.iter().chain(single).map(IpNet::addr);
            all.map(move |address| (name, config, address))
        });
        let mut first = HashMap::new();
        answered.filter_map(move |(name, config, address)| {
            let other = *first.entry((&config.switch, config.vlan, address)).or_insert(name);
            (other != name).then(|| {
                let vlan = config.vlan;
                format!("wireguard {name}: {other} answers for {address} in VLAN {vlan}, too")
            })
        })
    }
}
