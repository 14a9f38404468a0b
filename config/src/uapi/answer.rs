//! What a client is told.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use ipnet::IpNet;
use weft_vpn::{PresharedKey, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::Refusal;

/// Bytes of the lines about a device, and of those about a peer without its allowed IPs, at most.
const LINES: usize = 512;
/// Bytes of the line of an allowed IP at most.
const ALLOWED_IP: usize = 64;

/// A device as `get=1` tells of it. `wg` derives the public key from the private one, and writes both keys out for
/// `wg showconf`.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its private key.
    pub private_key: PrivateKey,
    /// The UDP port where datagrams come in.
    pub listen_port: u16,
    /// Its peers.
    pub peers: Vec<DevicePeer>,
}

/// A peer as `get=1` tells of it.
#[derive(Clone, Debug)]
pub struct DevicePeer {
    /// Who it is.
    pub public_key: PublicKey,
    /// The secret that is shared with it alone.
    pub preshared_key: Option<PresharedKey>,
    /// Where it was heard last, or where it is expected.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was, since 1970; `None` for never.
    pub last_handshake: Option<Duration>,
    /// Bytes from it.
    pub rx_bytes: u64,
    /// Bytes to it.
    pub tx_bytes: u64,
    /// Seconds between keepalives; 0 for none.
    pub persistent_keepalive: u16,
    /// The networks behind it.
    pub allowed_ips: Vec<IpNet>,
}

impl Device {
    /// Writes the answer to `get=1`.
    #[must_use]
    pub fn answer(&self) -> Zeroizing<String> {
        let networks: usize = self.peers.iter().map(|peer| peer.allowed_ips.len()).sum();
        // As long as it will ever be: a string that grows leaves its old contents behind.
        let room = LINES * (self.peers.len() + 1) + ALLOWED_IP * networks;
        let mut text = Zeroizing::new(String::with_capacity(room));
        hex_line(&mut text, "private_key", self.private_key.as_bytes());
        line(&mut text, format_args!("listen_port={}", self.listen_port));
        for peer in &self.peers {
            peer.write(&mut text);
        }
        text.push_str("errno=0\n\n");
        text
    }
}

impl DevicePeer {
    fn write(&self, text: &mut String) {
        hex_line(text, "public_key", self.public_key.as_bytes());
        if let Some(key) = &self.preshared_key {
            hex_line(text, "preshared_key", key.as_bytes());
        }
        if let Some(endpoint) = self.endpoint {
            // Where IPv4 comes in by an IPv6 socket, it is still IPv4.
            let endpoint = SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port());
            line(text, format_args!("endpoint={endpoint}"));
        }
        let handshake = self.last_handshake.unwrap_or_default();
        line(text, format_args!("last_handshake_time_sec={}", handshake.as_secs()));
        line(text, format_args!("last_handshake_time_nsec={}", handshake.subsec_nanos()));
        line(text, format_args!("tx_bytes={}", self.tx_bytes));
        line(text, format_args!("rx_bytes={}", self.rx_bytes));
        let keepalive = self.persistent_keepalive;
        line(text, format_args!("persistent_keepalive_interval={keepalive}"));
        for network in &self.allowed_ips {
            line(text, format_args!("allowed_ip={network}"));
        }
        line(text, format_args!("protocol_version=1"));
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{content}");
}

fn hex_line(text: &mut String, key: &str, bytes: &[u8; 32]) {
    text.push_str(key);
    text.push('=');
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text.push('\n');
}

/// Writes the answer to `set=1`. The number is negative where it is an error: `wg` reads it as a return value.
#[must_use]
pub fn outcome(result: &Result<(), Refusal>) -> String {
    match result {
        Ok(()) => "errno=0\n\n".to_owned(),
        Err(refusal) => format!("errno=-{}\n\n", refusal.errno),
    }
}
