//! One UDP payload again and again, in the name of many addresses: what strangers can throw at a port.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};

use crate::{
    sys,
    udp::{self, Count, Rate},
};

/// The network that all senders seem to be in; /16.
pub const SENDERS: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 0);

/// IPv4 and UDP, without options.
const HEADERS: usize = 28;
const SENDER: std::ops::Range<usize> = 12..16;
const SENDER_PORT: std::ops::Range<usize> = 20..22;
const LEAST_PORT: u16 = 1024;

/// Sends `payload` for `length`, each time from another address. Needs a raw socket.
///
/// # Errors
/// When there is no such socket or it fails.
pub fn storm(to: SocketAddrV4, payload: &[u8], rate: u32, length: Duration) -> Result<Count> {
    let raw =
        socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))
            .context("open a raw socket")?;
    connect(&raw, &to).context("connect")?;
    let (rate, packet) = (Rate::PerSecond(rate), packet(to, payload)?);
    let mut batch = sys::Batch::new(rate.batch(), packet.len());
    batch.datagrams().for_each(|bytes| bytes.copy_from_slice(&packet));
    udp::keep(rate, length, |before| {
        for (bytes, number) in batch.datagrams().zip(before..) {
            let [high, low] = (number as u16).to_be_bytes();
            let [a, b, ..] = SENDERS.octets();
            bytes[SENDER].copy_from_slice(&[a, b, high, low]);
            let port = LEAST_PORT + (number >> 16) as u16 % (u16::MAX - LEAST_PORT);
            bytes[SENDER_PORT].copy_from_slice(&port.to_be_bytes());
        }
        batch.send(&raw)
    })
}

/// Returns the packet, without a sender and checksums: the kernel makes that of IP, UDP over IPv4 needs none.
fn packet(to: SocketAddrV4, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(HEADERS + payload.len()).context("a payload that UDP can carry")?;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0]);
    packet.extend(to.ip().octets());
    packet.extend([0, 0]);
    packet.extend(to.port().to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    Ok(packet)
}
