//! IP packets as a router sees them: addresses, lengths, hops, and where the payload begins. RFC 791, RFC 8200. Everything is
//! checked against the bytes that are there; no payload is looked into.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_offload::sum;

use crate::Refusal;

pub(crate) const IPV4_HEADER: usize = 20;
pub(crate) const IPV6_HEADER: usize = 40;
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
/// What a packet of ours may pass.
pub(crate) const HOPS: u8 = 64;

/// Whether a packet is a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is whole.
    Whole,
    /// The part with the headers.
    First,
    /// Another part.
    Later,
}

/// A packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Routers that it may still pass, this one included.
    pub(crate) hops: u8,
    /// What begins at `payload`.
    pub(crate) protocol: u8,
    /// Bytes of all headers of IP.
    pub(crate) payload: usize,
    /// Bytes of the packet; more may follow, which are padding.
    pub(crate) len: usize,
    pub(crate) part: Part,
    /// Whether routers may cut it.
    pub(crate) may_be_cut: bool,
}

impl Packet {
    /// Reads the headers of a packet.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when there are none, or when they lie.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let packet = match bytes.first().map(|first| first >> 4) {
            Some(4) => ipv4(bytes),
            Some(6) => ipv6(bytes),
            _ => None,
        };
        packet.ok_or(Refusal::Malformed)
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// Tells whether a router may answer to it with an error: RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e).
    pub(crate) fn takes_errors(&self, bytes: &[u8]) -> bool {
        let is_error = match (self.protocol, bytes.get(self.payload)) {
            (ICMP, kind) if self.is_ipv4() => !matches!(kind, Some(0 | 8 | 13 | 14)),
            (ICMPV6, kind) if !self.is_ipv4() => kind.is_none_or(|kind| *kind < 128),
            _ => false,
        };
        self.part != Part::Later
            && !is_error
            && is_unicast(self.source)
            && is_unicast(self.destination)
    }
}

/// Tells whether an address can be one host's, wherever it is.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first != 0 && first != 127 && first < 224
        }
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
        }
    }
}

/// Tells whether an address has a meaning on its link alone.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn ipv4(bytes: &[u8]) -> Option<Packet> {
    let header: &[u8; IPV4_HEADER] = bytes.first_chunk()?;
    let payload = usize::from(header[0] & 0xf) * 4;
    let len = usize::from(be16(header, 2));
    let cut = be16(header, 6);
    if payload < IPV4_HEADER
        || len < payload
        || len > bytes.len()
        || sum(&bytes[..payload]) != 0xffff
    {
        return None;
    }
    let part = match (cut & 0x1fff, cut & 0x2000) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    };
    Some(Packet {
        source: ipv4_at(header, 12).into(),
        destination: ipv4_at(header, 16).into(),
        hops: header[8],
        protocol: header[9],
        payload,
        len,
        part,
        may_be_cut: cut & 0x4000 == 0,
    })
}

fn ipv6(bytes: &[u8]) -> Option<Packet> {
    let header: &[u8; IPV6_HEADER] = bytes.first_chunk()?;
    let len = IPV6_HEADER + usize::from(be16(header, 4));
    let packet = bytes.get(..len)?;
    let (mut protocol, mut payload, mut part) = (header[6], IPV6_HEADER, Part::Whole);
    // Where a chain of headers does not end inside the packet, what is left of it is the payload.
    while part != Part::Later {
        let Some(next) = packet.get(payload..).and_then(|rest| rest.first_chunk::<8>()) else {
            break;
        };
        let header_len = match protocol {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => 8 + 8 * usize::from(next[1]),
            44 => {
                part = match (be16(next, 2) & !0b111, next[3] & 1) {
                    (0, 0) => part,
                    (0, _) => Part::First,
                    _ => Part::Later,
                };
                8
            }
            _ => break,
        };
        if payload + header_len > len {
            break;
        }
        protocol = next[0];
        payload += header_len;
    }
    Some(Packet {
        source: ipv6_at(header, 8).into(),
        destination: ipv6_at(header, 24).into(),
        hops: header[7],
        protocol,
        payload,
        len,
        part,
        may_be_cut: false,
    })
}

/// Makes a packet pass a router: one hop less. The packet was read before.
pub(crate) fn pass_router(bytes: &mut [u8]) {
    if bytes[0] >> 4 == 4 {
        let before = be16(bytes, 8);
        bytes[8] = bytes[8].saturating_sub(1);
        let after = be16(bytes, 8);
        adjust(bytes, 10, before, after);
    } else {
        bytes[7] = bytes[7].saturating_sub(1);
    }
}

/// Brings a checksum up to date after one word of what it covers has changed. RFC 1624 §3.
pub(crate) fn adjust(bytes: &mut [u8], at: usize, before: u16, after: u16) {
    let total = u32::from(!be16(bytes, at)) + u32::from(!before) + u32::from(after);
    let folded = (total & 0xffff) + (total >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    put16(bytes, at, !(folded as u16));
}

/// Writes an IPv4 header without options in front of so many bytes of payload.
pub(crate) fn put_ipv4(out: &mut Vec<u8>, addresses: [Ipv4Addr; 2], protocol: u8, payload: usize) {
    let [source, destination] = addresses;
    let len = ((IPV4_HEADER + payload) as u16).to_be_bytes();
    let begin = out.len();
    // Whole and not to be cut: the identification means nothing (RFC 6864 §4).
    out.extend([0x45, 0, len[0], len[1], 0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
    out.extend(source.octets());
    out.extend(destination.octets());
    let checksum = !sum(&out[begin..]);
    put16(out, begin + 10, checksum);
}

/// Writes an IPv6 header in front of so many bytes of payload.
pub(crate) fn put_ipv6(
    out: &mut Vec<u8>,
    addresses: [Ipv6Addr; 2],
    protocol: u8,
    hops: u8,
    payload: usize,
) {
    let [source, destination] = addresses;
    let len = (payload as u16).to_be_bytes();
    out.extend([0x60, 0, 0, 0, len[0], len[1], protocol, hops]);
    out.extend(source.octets());
    out.extend(destination.octets());
}

/// Returns the ICMPv6 checksum of a message whose own field is as it is: zero to make it, and then zero says that one that
/// was received is right. RFC 4443 §2.3.
pub(crate) fn icmpv6_checksum(addresses: [Ipv6Addr; 2], message: &[u8]) -> u16 {
    let [source, destination] = addresses.map(|address| sum(&address.octets()));
    let parts = [source, destination, message.len() as u16, ICMPV6.into(), sum(message)];
    let total: u32 = parts.into_iter().map(u32::from).sum();
    let folded = (total & 0xffff) + (total >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !(folded as u16)
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn ipv4_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

pub(crate) fn ipv6_at(bytes: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::{ip, udp};

    #[test]
    fn lengths_that_lie_are_malformed() {
        let good = udp("10.10.0.201", "10.10.0.5", &[7; 20]);
        let good6 = udp("fd00::1", "fd00::2", &[7; 20]);
        let with = |packet: &[u8], at: usize, byte: u8| {
            let mut packet = packet.to_vec();
            packet[at] = byte;
            packet
        };
        let padded = [&good[..], &[0; 9]].concat();
        let table: [(&str, Vec<u8>, Option<usize>); 12] = [
            ("nothing", vec![], None),
            ("whole", good.clone(), Some(48)),
            ("padded", padded, Some(48)),
            ("cut short", good[..47].to_vec(), None),
            ("shorter than its header", ip::fixed(with(&good, 3, 19)), None),
            ("longer than it is", ip::fixed(with(&good, 3, 49)), None),
            ("header below five words", ip::fixed(with(&good, 0, 0x44)), None),
            ("header beyond the packet", with(&good, 0, 0x4f), None),
            ("checksum", with(&good, 10, 0x55), None),
            ("version five", with(&good, 0, 0x55), None),
            ("IPv6", good6.clone(), Some(68)),
            ("IPv6 longer than it is", with(&good6, 5, 29), None),
        ];
        for (name, bytes, len) in table {
            assert_eq!(Packet::read(&bytes).ok().map(|packet| packet.len), len, "{name}");
        }
    }

    #[test]
    fn a_router_takes_one_hop_and_leaves_the_checksum_right() {
        for hops in 1..=255 {
            let mut packet = udp("10.10.0.201", "10.10.0.5", &[1, 2, 3]);
            packet[8] = hops;
            let mut packet = ip::fixed(packet);
            pass_router(&mut packet);
            assert_eq!(Packet::read(&packet).unwrap().hops, hops - 1);
        }
    }

    #[test]
    fn the_payload_begins_behind_all_headers_of_ip() {
        let mut packet = udp("fd00::1", "fd00::2", &[7; 24]);
        // Destination options of eight bytes, then a fragment header.
        packet[6] = 60;
        packet[40..48].copy_from_slice(&[44, 0, 1, 4, 0, 0, 0, 0]);
        packet[48..56].copy_from_slice(&[UDP, 0, 0, 1, 0, 0, 0, 9]);
        let read = Packet::read(&packet).unwrap();
        assert_eq!((read.protocol, read.payload, read.part), (UDP, 56, Part::First));
        packet[51] = 8;
        assert_eq!(Packet::read(&packet).unwrap().part, Part::Later);
    }
}
