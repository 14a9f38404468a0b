//! What a client asks. A request ends at its first empty line.

use std::net::SocketAddr;

use ipnet::IpNet;
use weft_vpn::{KeyError, PresharedKey, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::Refusal;
use crate::names::quoted;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `get=1`.
    Get,
    /// `set=1`.
    Set(Set),
}

/// Changes of a device and its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Another private key; `Some(None)` takes it away.
    pub private_key: Option<Option<PrivateKey>>,
    /// Another UDP port; 0 is whichever.
    pub listen_port: Option<u16>,
    /// Another mark on what it sends; 0 for none.
    pub fwmark: Option<u32>,
    /// Whether peers that are not named go.
    pub replace_peers: bool,
    /// Its peers, in the order of the request; one may come up again.
    pub peers: Vec<SetPeer>,
}

/// Changes of one peer, which is made where it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPeer {
    /// Who it is.
    pub public_key: PublicKey,
    /// Whether it goes.
    pub remove: bool,
    /// Whether it is left out where it is not there.
    pub update_only: bool,
    /// Another preshared key; `Some(None)` takes it away.
    pub preshared_key: Option<Option<PresharedKey>>,
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0 for none.
    pub persistent_keepalive: Option<u16>,
    /// Whether allowed IPs that are not named go.
    pub replace_allowed_ips: bool,
    /// Allowed IPs, in the order of the request.
    pub allowed_ips: Vec<AllowedIp>,
}

/// A change of a peer's allowed IPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIp {
    /// It gets this one, whoever had it.
    Add(IpNet),
    /// This one goes, if it is its own.
    Remove(IpNet),
}

impl SetPeer {
    fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

impl Request {
    /// Reads a request, up to its empty line.
    ///
    /// # Errors
    /// Says which line is not one of the protocol's.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut lines = text.lines().take_while(|line| !line.is_empty());
        match lines.next() {
            Some("get=1") => match lines.next() {
                None => Ok(Self::Get),
                Some(_) => Err(Refusal::invalid("get=1 takes nothing")),
            },
            Some("set=1") => set(lines).map(Self::Set),
            _ => Err(Refusal::invalid("a request begins with get=1 or set=1")),
        }
    }
}

fn set<'t>(lines: impl Iterator<Item = &'t str>) -> Result<Set, Refusal> {
    let mut set = Set::default();
    for line in lines {
        let Some((key, value)) = line.split_once('=') else {
            return Err(Refusal::invalid("a line is not key=value"));
        };
        if key == "public_key" {
            set.peers.push(SetPeer::new(public_key(value)?));
            continue;
        }
        let known = match set.peers.last_mut() {
            Some(peer) => peer_line(peer, key, value)?,
            None => device_line(&mut set, key, value)?,
        };
        if !known {
            return Err(Refusal::invalid(format!("{} is not a key here", quoted(key))));
        }
    }
    Ok(set)
}

/// Reads a line about the device; false for a key that it does not have.
fn device_line(set: &mut Set, key: &str, value: &str) -> Result<bool, Refusal> {
    match key {
        "private_key" => {
            set.private_key = Some(or_none(PrivateKey::from_bytes(&*hex(key, value)?), key)?);
        }
        "listen_port" => set.listen_port = Some(number(key, value)?),
        "fwmark" => set.fwmark = Some(mark(value)?),
        "replace_peers" => set.replace_peers = yes(key, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads a line about a peer; false for a key that it does not have.
fn peer_line(peer: &mut SetPeer, key: &str, value: &str) -> Result<bool, Refusal> {
    match key {
        "remove" => peer.remove = yes(key, value)?,
        "update_only" => peer.update_only = yes(key, value)?,
        "preshared_key" => {
            peer.preshared_key = Some(or_none(PresharedKey::from_bytes(&*hex(key, value)?), key)?);
        }
        "endpoint" => {
            let endpoint = value.parse::<SocketAddr>().ok();
            let usable =
                |to: &SocketAddr| to.port() != 0 && !to.ip().to_canonical().is_unspecified();
            let Some(endpoint) = endpoint.filter(usable) else {
                return Err(Refusal::invalid("endpoint is not an address with a port"));
            };
            peer.endpoint = Some(endpoint);
        }
        "persistent_keepalive_interval" => {
            peer.persistent_keepalive = Some(number(key, value)?);
        }
        "replace_allowed_ips" => peer.replace_allowed_ips = yes(key, value)?,
        "allowed_ip" => peer.allowed_ips.push(allowed_ip(value)?),
        "protocol_version" if value == "1" => {}
        "protocol_version" => return Err(Refusal::invalid("protocol_version is not 1")),
        _ => return Ok(false),
    }
    Ok(true)
}

fn public_key(value: &str) -> Result<PublicKey, Refusal> {
    PublicKey::new(*hex("public_key", value)?)
        .map_err(|error| Refusal::invalid(format!("public_key: {error}")))
}

/// Returns a secret; zeros mean that there is to be none.
fn or_none<K>(key: Result<K, KeyError>, name: &str) -> Result<Option<K>, Refusal> {
    match key {
        Ok(key) => Ok(Some(key)),
        Err(KeyError::AllZero) => Ok(None),
        Err(error) => Err(Refusal::invalid(format!("{name}: {error}"))),
    }
}

/// Reads 32 bytes in hexadecimal.
fn hex(key: &str, text: &str) -> Result<Zeroizing<[u8; 32]>, Refusal> {
    let mut bytes = Zeroizing::new([0; 32]);
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    let is_whole = text.len() == 64
        && bytes.iter_mut().zip(pairs).all(|(byte, pair)| {
            let [high, low] = pair else { return false };
            let read = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low);
            *byte = read.unwrap_or_default();
            read.is_some()
        });
    if is_whole {
        Ok(bytes)
    } else {
        Err(Refusal::invalid(format!("{key} is not 64 hexadecimal digits")))
    }
}

fn number(key: &str, value: &str) -> Result<u16, Refusal> {
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(|| Refusal::invalid(format!("{key} is not a number from 0 to 65535")))
}

/// Reads a mark, in decimal or, with `0x`, in hexadecimal.
fn mark(value: &str) -> Result<u32, Refusal> {
    let parsed = match value.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
        None if !value.starts_with('+') => value.parse().ok(),
        _ => None,
    };
    parsed.ok_or_else(|| Refusal::invalid("fwmark is not a number of 32 bits"))
}

fn yes(key: &str, value: &str) -> Result<bool, Refusal> {
    if value == "true" { Ok(true) } else { Err(Refusal::invalid(format!("{key} takes only true"))) }
}

fn allowed_ip(value: &str) -> Result<AllowedIp, Refusal> {
    let (removes, text) = value.strip_prefix('-').map_or((false, value), |text| (true, text));
    let network: IpNet = text
        .parse()
        .map_err(|_| Refusal::invalid("allowed_ip is not an address with a prefix length"))?;
    let network = network.trunc();
    Ok(if removes { AllowedIp::Remove(network) } else { AllowedIp::Add(network) })
}
