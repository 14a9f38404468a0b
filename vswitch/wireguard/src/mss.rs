//! Keeps TCP from sending segments that the tunnel does not carry: lowers the maximum segment size that a SYN announces.
//! RFC 9293 §3.7.1.

use crate::packet::{IPV4_HEADER, IPV6_HEADER, Packet, Part, TCP, adjust, be16};

const HEADER: usize = 20;
const SYN: u8 = 0x02;
const END: u8 = 0;
const NOTHING: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// What is meant where nothing is said, RFC 9293 §3.7.1; lower is not gone.
const LEAST: u16 = 536;

/// Lowers what a SYN announces to what fits into packets of `mtu` bytes. A SYN without the option is left as it is: what is
/// meant then is small enough.
pub(crate) fn clamp(bytes: &mut [u8], packet: &Packet, mtu: u16) {
    if packet.protocol != TCP || packet.part != Part::Whole {
        return;
    }
    let ip = if packet.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
    let most = mtu.saturating_sub((ip + HEADER) as u16).max(LEAST);
    let Some(tcp) = bytes.get_mut(packet.payload..packet.len) else { return };
    if tcp.len() < HEADER || tcp[13] & SYN == 0 {
        return;
    }
    let end = (usize::from(tcp[12] >> 4) * 4).min(tcp.len());
    let mut at = HEADER;
    while at < end {
        let len = match (tcp[at], tcp.get(at + 1)) {
            (END, _) => return,
            (NOTHING, _) => 1,
            (_, Some(&len)) if len >= 2 && at + usize::from(len) <= end => usize::from(len),
            _ => return,
        };
        if tcp[at] == MAXIMUM_SEGMENT_SIZE && len == 4 {
            let said = be16(tcp, at + 2);
            if said > most {
                lower(tcp, at + 2, most);
            }
            return;
        }
        at += len;
    }
}

/// Writes a value that may stand across two words of what the checksum covers.
fn lower(tcp: &mut [u8], at: usize, value: u16) {
    for (at, byte) in (at..).zip(value.to_be_bytes()) {
        let word = at & !1;
        let before = be16(tcp, word);
        tcp[at] = byte;
        let after = be16(tcp, word);
        adjust(tcp, 16, before, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::tcp;

    #[test]
    fn a_syn_announces_no_more_than_the_tunnel_carries() {
        let size = |value: u16| [&[2, 4][..], &value.to_be_bytes()].concat();
        let shifted = |value: u16| [&[1][..], &size(value), &[1, 1, 1]].concat();
        #[rustfmt::skip]
        let table = [
            ("IPv4",             "10.10.0.5", SYN, size(1460),    size(1380)),
            ("IPv6",             "fd00::5",   SYN, size(1440),    size(1360)),
            ("SYN and ACK",      "10.10.0.5", 0x12, size(1460),   size(1380)),
            ("small already",    "10.10.0.5", SYN, size(1380),    size(1380)),
            ("across two words", "10.10.0.5", SYN, shifted(1460), shifted(1380)),
            ("no SYN",           "10.10.0.5", 0x10, size(1460),   size(1460)),
            ("no option",        "10.10.0.5", SYN, vec![],        vec![]),
            ("behind the end",   "10.10.0.5", SYN, [&[0; 4][..], &size(1460)].concat(), [&[0; 4][..], &size(1460)].concat()),
            ("length zero",      "10.10.0.5", SYN, vec![9, 0, 2, 4, 5, 0xb4, 0, 0], vec![9, 0, 2, 4, 5, 0xb4, 0, 0]),
            ("cut short",        "10.10.0.5", SYN, vec![1, 1, 2, 4], vec![1, 1, 2, 4]),
        ];
        for (name, to, flags, before, after) in table {
            let from = if to.contains(':') { "fd00::9" } else { "10.10.0.9" };
            let mut packet = tcp(from, to, flags, &before, b"x");
            let expected = tcp(from, to, flags, &after, b"x");
            let read = Packet::read(&packet).unwrap();
            clamp(&mut packet, &read, 1420);
            assert_eq!(packet, expected, "{name}");
        }
    }
}
