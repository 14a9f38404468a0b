//! What a router answers to packets that it cannot forward, and to whoever asks whether it is there. RFC 792, RFC 1812 §4.3,
//! RFC 4443. Bounded in how often: whoever asks for errors without end uses up his own.

use std::{net::IpAddr, time::Duration};

use weft_offload::sum;

use crate::packet::{
    HOPS, ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, Packet, Part, adjust, be16, icmpv6_checksum,
    put_ipv4, put_ipv6, put16,
};

/// Bytes of an IPv4 error at most, RFC 1812 §4.3.2.3.
const IPV4_MOST: usize = 576;
/// Bytes of an IPv6 error at most, RFC 4443 §2.4 (c).
const IPV6_MOST: usize = 1280;
const HEADER: usize = 8;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody knows the way.
    NoRoute,
    /// The host does not answer.
    NoHost,
    /// It is for the adapter, and nobody is at that port.
    NoPort,
    /// It is larger than this.
    TooBig(u16),
    /// It has passed too many routers.
    Expired,
}

impl Trouble {
    /// Type, code and the second word of the header.
    fn of_ipv4(self) -> (u8, u8, u32) {
        match self {
            Self::NoRoute => (3, 0, 0),
            Self::NoHost => (3, 1, 0),
            Self::NoPort => (3, 3, 0),
            Self::TooBig(mtu) => (3, 4, mtu.into()),
            Self::Expired => (11, 0, 0),
        }
    }

    fn of_ipv6(self) -> (u8, u8, u32) {
        match self {
            Self::NoRoute => (1, 0, 0),
            Self::NoHost => (1, 3, 0),
            Self::NoPort => (1, 4, 0),
            Self::TooBig(mtu) => (2, 0, mtu.into()),
            Self::Expired => (3, 0, 0),
        }
    }
}

/// Writes the packet that says what is wrong with another. `from` is of the same family.
pub(crate) fn put_error(
    out: &mut Vec<u8>,
    from: IpAddr,
    trouble: Trouble,
    bytes: &[u8],
    packet: &Packet,
) {
    match (from, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let (kind, code, word) = trouble.of_ipv4();
            let quoted = &bytes[..packet.len.min(IPV4_MOST - IPV4_HEADER - HEADER)];
            put_ipv4(out, [from, to], ICMP, HEADER + quoted.len());
            let begin = out.len();
            put_message(out, kind, code, word, quoted);
            let checksum = !sum(&out[begin..]);
            put16(out, begin + 2, checksum);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let (kind, code, word) = trouble.of_ipv6();
            let quoted = &bytes[..packet.len.min(IPV6_MOST - IPV6_HEADER - HEADER)];
            put_ipv6(out, [from, to], ICMPV6, HOPS, HEADER + quoted.len());
            let begin = out.len();
            put_message(out, kind, code, word, quoted);
            let checksum = icmpv6_checksum([from, to], &out[begin..]);
            put16(out, begin + 2, checksum);
        }
        _ => {}
    }
}

fn put_message(out: &mut Vec<u8>, kind: u8, code: u8, word: u32, quoted: &[u8]) {
    out.extend([kind, code, 0, 0]);
    out.extend(word.to_be_bytes());
    out.extend(quoted);
}

/// Tells whether a packet asks whether its destination is there.
pub(crate) fn is_echo_request(bytes: &[u8], packet: &Packet) -> bool {
    let (protocol, kind) =
        if packet.is_ipv4() { (ICMP, ECHO_REQUEST) } else { (ICMPV6, ECHO_REQUEST_V6) };
    packet.part == Part::Whole
        && packet.protocol == protocol
        && packet.len >= packet.payload + HEADER
        && bytes[packet.payload..][..2] == [kind, 0]
}

/// Writes the answer to an echo request: the same message, of the other type, the other way.
pub(crate) fn put_echo_reply(out: &mut Vec<u8>, bytes: &[u8], packet: &Packet) {
    let message = &bytes[packet.payload..packet.len];
    let kinds = match (packet.destination, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            put_ipv4(out, [from, to], ICMP, message.len());
            [ECHO_REQUEST, ECHO_REPLY]
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            put_ipv6(out, [from, to], ICMPV6, HOPS, message.len());
            [ECHO_REQUEST_V6, ECHO_REPLY_V6]
        }
        _ => return,
    };
    let begin = out.len();
    out.extend(message);
    let reply = &mut out[begin..];
    let before = be16(reply, 0);
    reply[0] = kinds[1];
    let after = be16(reply, 0);
    adjust(reply, 2, before, after);
}

/// How often errors are sent to one side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// When everything that was sent will have been paid for.
    paid: Duration,
}

impl Pace {
    const EACH: Duration = Duration::from_millis(1);
    const AT_ONCE: u32 = 50;

    /// Tells whether one may be sent now; if so, it counts.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        let paid = self.paid.max(now) + Self::EACH;
        if paid > now + Self::EACH * Self::AT_ONCE {
            return false;
        }
        self.paid = paid;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::udp;

    #[test]
    fn errors_quote_what_fits() {
        let trouble = Trouble::TooBig(1420);
        for (from, source, len, expected) in [
            ("10.10.0.1", "10.10.0.5", 10, 28 + 38),
            ("10.10.0.1", "10.10.0.5", 3000, 576),
            ("fd00::1", "fd00::5", 10, 48 + 58),
            ("fd00::1", "fd00::5", 3000, 1280),
        ] {
            let to = if source.contains(':') { "fd00::201" } else { "10.10.0.201" };
            let packet = udp(source, to, &vec![7; len]);
            let read = Packet::read(&packet).unwrap();
            let mut out = vec![];
            put_error(&mut out, from.parse().unwrap(), trouble, &packet, &read);
            let error = Packet::read(&out).unwrap();
            assert_eq!((error.len, out.len()), (expected, expected));
            assert_eq!(error.destination, source.parse::<IpAddr>().unwrap());
            let quoted = &out[error.payload + 8..];
            assert_eq!(quoted, &packet[..quoted.len()]);
            assert!(!error.takes_errors(&out), "an error about an error");
        }
    }

    #[test]
    fn errors_come_in_a_burst_and_then_at_their_pace() {
        let mut pace = Pace::default();
        let now = Duration::from_secs(9);
        assert_eq!((0..200).filter(|_| pace.admits(now)).count(), 50);
        assert_eq!((0..200).filter(|_| pace.admits(now + Pace::EACH * 3)).count(), 3);
    }
}
