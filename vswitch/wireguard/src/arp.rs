//! ARP for IPv4 on Ethernet: who asks, who answers, what is announced. RFC 826, RFC 5227. Frames are untagged; holds no table.

use std::net::Ipv4Addr;

use weft_vlan::MacAddr;

use crate::packet::{be16, ipv4_at};

pub(crate) const ETHERTYPE: u16 = 0x0806;
/// Bytes of a frame at least, IEEE 802.3 clause 4A.2.3.2, without the FCS.
const FRAME_MIN: usize = 60;
const LEN: usize = 28;
/// Ethernet, IPv4, six and four bytes of address.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// What a frame says or asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) is_request: bool,
    pub(crate) sender: MacAddr,
    /// Unspecified in a probe.
    pub(crate) sender_ip: Ipv4Addr,
    pub(crate) target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads what follows the Ethernet header.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LEN).filter(|bytes| bytes[..6] == ETHERNET_IPV4)?;
        let is_request = match be16(bytes, 6) {
            REQUEST => true,
            REPLY => false,
            _ => return None,
        };
        let mut sender = [0; 6];
        sender.copy_from_slice(&bytes[8..14]);
        Some(Self {
            is_request,
            sender: MacAddr::new(sender),
            sender_ip: ipv4_at(bytes, 14),
            target_ip: ipv4_at(bytes, 24),
        })
    }
}

/// Writes the frame in which `mac` asks for an address, of all or of the one that is thought to have it.
pub(crate) fn put_request(
    out: &mut Vec<u8>,
    mac: MacAddr,
    ip: Ipv4Addr,
    asked: Ipv4Addr,
    of: MacAddr,
) {
    put(out, of, mac, REQUEST, (mac, ip), (MacAddr::new([0; 6]), asked));
}

/// Writes the frame in which `mac` answers to `asker` that it has `ip`.
pub(crate) fn put_reply(out: &mut Vec<u8>, mac: MacAddr, ip: Ipv4Addr, asker: (MacAddr, Ipv4Addr)) {
    put(out, asker.0, mac, REPLY, (mac, ip), asker);
}

/// Writes the frame in which `mac` tells all that it has `ip`: an announcement of RFC 5227 §2.3.
pub(crate) fn put_announcement(out: &mut Vec<u8>, mac: MacAddr, ip: Ipv4Addr) {
    put(out, MacAddr::BROADCAST, mac, REQUEST, (mac, ip), (MacAddr::new([0; 6]), ip));
}

fn put(
    out: &mut Vec<u8>,
    to: MacAddr,
    from: MacAddr,
    operation: u16,
    sender: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
) {
    let begin = out.len();
    out.extend(to.octets());
    out.extend(from.octets());
    out.extend(ETHERTYPE.to_be_bytes());
    out.extend(ETHERNET_IPV4);
    out.extend(operation.to_be_bytes());
    for (mac, ip) in [sender, target] {
        out.extend(mac.octets());
        out.extend(ip.octets());
    }
    out.resize(begin + FRAME_MIN, 0);
}
