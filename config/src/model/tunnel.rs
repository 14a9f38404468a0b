//! Segments and peers.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv6Addr, SocketAddr},
    num::NonZeroU32,
};

use weft_vlan::VlanId;
use weft_vpn::PublicKey;

/// A broadcast domain that spans hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentConfig {
    /// Its id, the same on every host; 24 bits.
    pub id: NonZeroU32,
    /// The switch that it belongs to here.
    pub switch: String,
    /// What it is called here.
    pub vlan: VlanId,
    /// Whether ARP and neighbour discovery are answered here for guests elsewhere.
    pub answer_arp: bool,
}

/// This host's end of its tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpnConfig {
    /// Where datagrams come in.
    pub listen: SocketAddr,
    /// The file with this host's private key.
    pub private_key_file: String,
    /// The file with the key from before, during a rotation.
    pub previous_private_key_file: Option<String>,
    /// The code point of every datagram's outer header; six bits.
    pub dscp: u8,
    /// `[vpn.peer.NAME]`.
    pub peers: BTreeMap<String, PeerConfig>,
}

impl VpnConfig {
    /// Where datagrams come in unless told otherwise.
    pub const LISTEN: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 51_900);
}

/// Another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Who it is.
    pub public_key: PublicKey,
    /// Where it is; `None` for one that is waited for.
    pub endpoint: Option<Endpoint>,
    /// The file with the secret that is shared with it alone.
    pub preshared_key_file: Option<String>,
    /// The ciphers that may be used with it, the preferred one first; empty for all, in the order that suits the
    /// machine.
    pub ciphers: Vec<Cipher>,
    /// Names of the segments that it may carry, ascending.
    pub segments: Vec<String>,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// At an address.
    Address(SocketAddr),
    /// Where a name leads, which is asked for again and again.
    Name {
        /// The name.
        host: String,
        /// The UDP port.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(out),
            Self::Name { host, port } => write!(out, "{host}:{port}"),
        }
    }
}

/// What seals the records of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    Chacha20Poly1305,
}

impl Cipher {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::Chacha20Poly1305];

    /// Returns its name in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Chacha20Poly1305 => "chacha20-poly1305",
        }
    }
}
