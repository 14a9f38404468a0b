//! Packets for tests, put together by hand.

use std::net::IpAddr;

use weft_offload::sum;

/// Repairs of packets that were changed.
pub(crate) mod ip {
    use weft_offload::sum;

    /// Makes an IPv4 header's checksum right again, as far as there is a header.
    pub(crate) fn fixed(mut packet: Vec<u8>) -> Vec<u8> {
        let end = (usize::from(packet[0] & 0xf) * 4).min(packet.len());
        packet[10..12].fill(0);
        let checksum = !sum(&packet[..end]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }
}

/// Makes a packet with this payload; `checksum_at` is where its checksum stands, with a pseudo header or without.
pub(crate) fn packet(
    from: &str,
    to: &str,
    protocol: u8,
    payload: &[u8],
    checksum_at: Option<usize>,
) -> Vec<u8> {
    let len = (payload.len() as u16).to_be_bytes();
    let (mut bytes, pseudo) = match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = (payload.len() as u16 + 20).to_be_bytes();
            let addresses = [from.octets(), to.octets()].concat();
            let header = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            (ip::fixed([&header[..], &addresses].concat()), addresses)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            let header = [0x60, 0, 0, 0, len[0], len[1], protocol, 64];
            ([&header[..], &addresses].concat(), addresses)
        }
        _ => panic!("{from} and {to} are of two families"),
    };
    let begin = bytes.len();
    bytes.extend(payload);
    if let Some(at) = checksum_at {
        let pseudo =
            if protocol == 1 { vec![] } else { [&pseudo[..], &len, &[0, protocol]].concat() };
        let mut covered = [&pseudo[..], payload].concat();
        let field = pseudo.len() + at;
        covered[field..field + 2].fill(0);
        let checksum = !sum(&covered);
        bytes[begin + at..][..2].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

/// Makes a datagram.
pub(crate) fn udp(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u16 + 8).to_be_bytes();
    packet(from, to, 17, &[&[0x30, 0x39, 0, 53, len[0], len[1], 0, 0], payload].concat(), Some(6))
}

/// Makes a segment; options are filled up to whole words.
pub(crate) fn tcp(from: &str, to: &str, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let words = 5 + options.len() as u8 / 4;
    let header = [0x30, 0x39, 0, 80, 0, 0, 0, 9, 0, 0, 0, 1, words << 4, flags, 1, 0, 0, 0, 0, 0];
    packet(from, to, 6, &[&header[..], &options, payload].concat(), Some(16))
}

/// Makes an echo request, or another message of this type.
pub(crate) fn echo(from: &str, to: &str, kind: u8, payload: &[u8]) -> Vec<u8> {
    let protocol = if from.contains(':') { 58 } else { 1 };
    let message = [&[kind, 0, 0, 0, 0x12, 0x34, 0, 1], payload].concat();
    packet(from, to, protocol, &message, Some(2))
}
