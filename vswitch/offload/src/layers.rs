//! Where the headers of a frame lie: behind stacked tags, IPv4 (RFC 791 §3.1) or IPv6 with its extension
//! headers (RFC 8200 §4), and the layer 4 behind them. Judges only what finishing a frame depends on;
//! addresses and lengths inside IP are not looked at.

use weft_vlan::{GsoKind, TAG_LEN, Tpid};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

pub(crate) const IPV6_HEADER: usize = 40;
pub(crate) const UDP_HEADER: usize = 8;

/// Flags of TCP. RFC 9293 §3.1, RFC 3168 §6.1.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const CWR: u8 = 0x80;

/// The headers of a frame that carries a whole IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) version: IpVersion,
    /// First byte of the IP header, from the frame's start.
    pub(crate) l3: usize,
    /// First byte behind the IP header, its options and extension headers.
    pub(crate) l4: usize,
    /// What begins at `l4`.
    pub(crate) protocol: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpVersion {
    V4,
    V6,
}

impl Layers {
    /// Finds the headers in the first bytes of a frame. `None` where there is no IP, where its header does not end
    /// inside `bytes`, and for a fragment: no single fragment has a checksum to finish or a payload to cut.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let layers = match ip(bytes)? {
            (IpVersion::V4, l3) => ipv4(bytes, l3)?,
            (IpVersion::V6, l3) => ipv6(bytes, l3)?,
        };
        (layers.l4 <= bytes.len()).then_some(layers)
    }

    /// Tells whether super-frames of this kind have these headers.
    pub(crate) fn carry(&self, kind: GsoKind) -> bool {
        matches!(
            (kind, self.version, self.protocol),
            (GsoKind::Tcp4 { .. }, IpVersion::V4, TCP)
                | (GsoKind::Tcp6 { .. }, IpVersion::V6, TCP)
                | (GsoKind::Udp, _, UDP)
        )
    }

    /// Returns where the checksum of TCP, or else UDP, stands.
    pub(crate) fn checksum_at(&self) -> usize {
        self.l4 + if self.protocol == TCP { 16 } else { 6 }
    }

    /// Returns the end of the TCP or UDP header; `None` for other protocols and where it is not inside `bytes`.
    pub(crate) fn headers_end(&self, bytes: &[u8]) -> Option<usize> {
        let len = match self.protocol {
            TCP => usize::from(bytes.get(self.l4 + 12)? >> 4) * 4,
            UDP => UDP_HEADER,
            _ => return None,
        };
        let end = self.l4 + len;
        (end <= bytes.len() && (self.protocol != TCP || len >= 20)).then_some(end)
    }
}

/// Returns where IP begins according to the EtherType behind all tags, and which; nothing of it need be there.
pub(crate) fn ip(bytes: &[u8]) -> Option<(IpVersion, usize)> {
    let mut at = 12;
    while Tpid::from_ethertype(be16(bytes, at)?).is_some() {
        at += TAG_LEN;
    }
    match be16(bytes, at)? {
        0x0800 => Some((IpVersion::V4, at + 2)),
        0x86dd => Some((IpVersion::V6, at + 2)),
        _ => None,
    }
}

fn ipv4(bytes: &[u8], l3: usize) -> Option<Layers> {
    let header: &[u8; 20] = bytes.get(l3..)?.first_chunk()?;
    let len = usize::from(header[0] & 0xf) * 4;
    let more_or_offset = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[0] >> 4 != 4 || len < header.len() || more_or_offset != 0 {
        return None;
    }
    Some(Layers { version: IpVersion::V4, l3, l4: l3 + len, protocol: header[9] })
}

fn ipv6(bytes: &[u8], l3: usize) -> Option<Layers> {
    let header: &[u8; IPV6_HEADER] = bytes.get(l3..)?.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let mut protocol = header[6];
    let mut l4 = l3 + IPV6_HEADER;
    loop {
        let len = match protocol {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => 8 + 8 * usize::from(*bytes.get(l4 + 1)?),
            // Authentication: in units of four (RFC 4302 §2.2).
            51 => 8 + 4 * usize::from(*bytes.get(l4 + 1)?),
            // An atomic fragment (RFC 6946) is a whole packet.
            44 if be16(bytes, l4 + 2)? & !0b110 == 0 => 8,
            44 => return None,
            _ => return Some(Layers { version: IpVersion::V6, l3, l4, protocol }),
        };
        protocol = *bytes.get(l4)?;
        l4 += len;
    }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(behind_addresses: &[&[u8]]) -> Vec<u8> {
        [&[0; 12][..], &behind_addresses.concat()].concat()
    }

    const V4: &[u8] = &[0x08, 0x00];
    const V6: &[u8] = &[0x86, 0xdd];

    fn v4(first: u8, fragment: u16, protocol: u8) -> Vec<u8> {
        let [high, low] = fragment.to_be_bytes();
        vec![first, 0, 0, 0, 0, 0, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    }

    fn v6(next: u8) -> Vec<u8> {
        let mut header = vec![0; 40];
        header[0] = 0x60;
        header[6] = next;
        header
    }

    #[test]
    fn headers_are_found_behind_tags_options_and_extensions() {
        let at = |version, l3, l4, protocol| Some(Layers { version, l3, l4, protocol });
        let tag: &[u8] = &[0x81, 0x00, 0, 10];
        let service: &[u8] = &[0x88, 0xa8, 0, 10];
        let table: &[(&str, Vec<u8>, Option<Layers>)] = &[
            ("plain", frame(&[V4, &v4(0x45, 0, 6)]), at(IpVersion::V4, 14, 34, 6)),
            ("don't fragment", frame(&[V4, &v4(0x45, 0x4000, 6)]), at(IpVersion::V4, 14, 34, 6)),
            ("one tag", frame(&[tag, V4, &v4(0x45, 0, 17)]), at(IpVersion::V4, 18, 38, 17)),
            ("three tags", frame(&[service, tag, tag, V6, &v6(58)]), at(IpVersion::V6, 26, 66, 58)),
            ("IPv4 options", frame(&[V4, &v4(0x46, 0, 6), &[0; 4]]), at(IpVersion::V4, 14, 38, 6)),
            ("options cut short", frame(&[V4, &v4(0x46, 0, 6), &[0; 3]]), None),
            ("IHL below five", frame(&[V4, &v4(0x44, 0, 6)]), None),
            ("IPv6 in an IPv4 frame", frame(&[V4, &v4(0x65, 0, 6)]), None),
            ("first fragment", frame(&[V4, &v4(0x45, 0x2000, 6)]), None),
            ("later fragment", frame(&[V4, &v4(0x45, 1, 6)]), None),
            ("IPv6", frame(&[V6, &v6(6)]), at(IpVersion::V6, 14, 54, 6)),
            ("IPv4 in an IPv6 frame", frame(&[V6, &v4(0x45, 0, 6), &[0; 20]]), None),
            (
                "two extensions",
                frame(&[V6, &v6(0), &[60, 0, 0, 0, 0, 0, 0, 0], &[17, 1], &[0; 14]]),
                at(IpVersion::V6, 14, 78, 17),
            ),
            (
                "authentication",
                frame(&[V6, &v6(51), &[6, 4], &[0; 22]]),
                at(IpVersion::V6, 14, 78, 6),
            ),
            ("extension cut short", frame(&[V6, &v6(0), &[6, 1, 0, 0, 0, 0, 0, 0]]), None),
            ("extension missing", frame(&[V6, &v6(0)]), None),
            (
                "atomic fragment",
                frame(&[V6, &v6(44), &[6, 0, 0, 0, 1, 2, 3, 4]]),
                at(IpVersion::V6, 14, 62, 6),
            ),
            ("IPv6 first fragment", frame(&[V6, &v6(44), &[6, 0, 0, 1, 0, 0, 0, 0]]), None),
            ("IPv6 later fragment", frame(&[V6, &v6(44), &[6, 0, 0, 8, 0, 0, 0, 0]]), None),
            ("ARP", frame(&[&[0x08, 0x06], &[0; 28]]), None),
            ("a tag cut short", frame(&[&[0x81, 0x00, 0]]), None),
            ("no EtherType", frame(&[&[0x08]]), None),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(Layers::find(bytes), *expected, "{name}");
        }
    }

    #[test]
    fn a_tcp_header_ends_where_its_data_offset_says() {
        let layers = |protocol| Layers { version: IpVersion::V4, l3: 14, l4: 34, protocol };
        let mut bytes = vec![0; 60];
        for (offset, end) in [(4, None), (5, Some(54)), (6, Some(58)), (7, None)] {
            bytes[46] = offset << 4;
            assert_eq!(layers(TCP).headers_end(&bytes), end);
        }
        assert_eq!(layers(TCP).headers_end(&bytes[..46]), None);
        assert_eq!(layers(UDP).headers_end(&bytes[..42]), Some(42));
        assert_eq!(layers(UDP).headers_end(&bytes[..41]), None);
        assert_eq!(layers(ICMPV6).headers_end(&bytes), None);
    }
}
