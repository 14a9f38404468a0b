//! Frames built and read back, by `pnet`'s packet types, with VLAN tags put on by hand.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use pnet::packet::{
    ip::IpNextHeaderProtocol,
    ipv4::{self, Ipv4Packet, MutableIpv4Packet},
    ipv6::{Ipv6Packet, MutableIpv6Packet},
    tcp::MutableTcpPacket,
    udp::MutableUdpPacket,
    util,
};

/// A MAC address as it stands on the wire.
pub type Mac = [u8; 6];

/// ff:ff:ff:ff:ff:ff.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// The EtherType for experiments, IEEE 802-2014 clause 9.2.3: what these tests' own frames carry.
pub const EXPERIMENT: u16 = 0x88b5;
/// TPID of a customer tag.
pub const DOT1Q: u16 = 0x8100;
/// TPID of a service tag.
pub const DOT1AD: u16 = 0x88a8;
/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// Returns the locally administered address 02:00:00:00:00:NN.
pub const fn mac(last: u8) -> Mac {
    [2, 0, 0, 0, 0, last]
}

/// Returns an address as text.
pub fn mac_text(mac: Mac) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    destination: Mac,
    source: Mac,
    tags: Vec<u8>,
    ethertype: u16,
    payload: Vec<u8>,
}

impl Frame {
    /// Makes a frame of 60 bytes of the experimental EtherType.
    pub fn new(source: Mac, destination: Mac) -> Self {
        Self { destination, source, tags: Vec::new(), ethertype: EXPERIMENT, payload: vec![0; 46] }
    }

    /// Puts an 802.1Q tag with this VID behind the tags that are there.
    pub fn tag(self, vid: u16) -> Self {
        self.tag_with(DOT1Q, vid)
    }

    /// Puts a tag with any TPID and TCI behind the tags that are there.
    pub fn tag_with(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.extend(tpid.to_be_bytes());
        self.tags.extend(tci.to_be_bytes());
        self
    }

    /// Takes all tags off.
    pub fn untagged(mut self) -> Self {
        self.tags.clear();
        self
    }

    /// Sets what the frame carries.
    pub fn payload(mut self, ethertype: u16, payload: &[u8]) -> Self {
        self.ethertype = ethertype;
        self.payload = payload.to_vec();
        self
    }

    /// Carries a text, padded to 46 bytes.
    pub fn text(self, text: &str) -> Self {
        let mut payload = text.as_bytes().to_vec();
        payload.resize(payload.len().max(46), 0);
        self.payload(EXPERIMENT, &payload)
    }

    /// Makes the frame this long without its tags, by padding or cutting the payload.
    pub fn len(mut self, len: usize) -> Self {
        self.payload.resize(len.saturating_sub(14), 0x5a);
        self
    }

    /// Carries an IP packet.
    pub fn ip(self, source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Self {
        let (ethertype, packet) = ip_packet(source, destination, protocol, payload);
        self.payload(ethertype, &packet)
    }

    /// Carries a UDP datagram to port 4000.
    pub fn udp(self, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Self {
        let [source, destination] = [source, destination].map(|address| (address, 4000).into());
        self.datagram(source, destination, payload)
    }

    /// Carries a UDP datagram.
    pub fn datagram(self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        let mut datagram = vec![0; 8 + payload.len()];
        datagram[8..].copy_from_slice(payload);
        if let Some(mut udp) = MutableUdpPacket::new(&mut datagram) {
            udp.set_source(source.port());
            udp.set_destination(destination.port());
            udp.set_length(8 + payload.len() as u16);
        }
        let (source, destination) = (source.ip(), destination.ip());
        let sum = transport_checksum(source, destination, UDP, &datagram, 3);
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.ip(source, destination, UDP, &datagram)
    }

    /// Carries a TCP segment.
    pub fn tcp(self, source: IpAddr, destination: IpAddr, segment: &Segment<'_>) -> Self {
        let header = 20 + segment.options.len();
        let mut bytes = vec![0; header + segment.payload.len()];
        bytes[20..header].copy_from_slice(segment.options);
        bytes[header..].copy_from_slice(segment.payload);
        if let Some(mut tcp) = MutableTcpPacket::new(&mut bytes) {
            tcp.set_source(segment.ports.0);
            tcp.set_destination(segment.ports.1);
            tcp.set_sequence(segment.sequence);
            tcp.set_acknowledgement(segment.acknowledgement);
            tcp.set_data_offset((header / 4) as u8);
            tcp.set_flags(segment.flags);
            tcp.set_window(u16::MAX);
        }
        let sum = transport_checksum(source, destination, TCP, &bytes, 8);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        self.ip(source, destination, TCP, &bytes)
    }

    /// Carries an ARP packet: 1 asks, 2 answers.
    pub fn arp(self, operation: u8, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4])) -> Self {
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        let packet = [&head[..], &sender.0, &sender.1, &target.0, &target.1, &[0; 18]].concat();
        self.payload(ARP, &packet)
    }

    /// Carries a neighbour solicitation (with a source link-layer address) or advertisement (with a target one).
    pub fn neighbour(
        self,
        kind: Neighbour,
        source: IpAddr,
        destination: IpAddr,
        target: IpAddr,
        link: Mac,
    ) -> Self {
        let IpAddr::V6(target) = target else { panic!("neighbour discovery is IPv6") };
        let (kind, flags, option) = match kind {
            Neighbour::Solicitation => (135, 0, 1),
            Neighbour::Advertisement => (136, 0x60, 2),
        };
        let head = [kind, 0, 0, 0, flags, 0, 0, 0];
        let mut message = [&head[..], &target.octets(), &[option, 1], &link].concat();
        let sum = transport_checksum(source, destination, ICMPV6, &message, 1);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.ip(source, destination, ICMPV6, &message)
    }

    /// Carries what a router says of a packet that is larger than the next link's MTU.
    pub fn too_big(self, router: IpAddr, to: IpAddr, mtu: u16, packet: &[u8]) -> Self {
        let (kind, code, protocol) = match router {
            IpAddr::V4(_) => (3, 4, ICMP),
            IpAddr::V6(_) => (2, 0, ICMPV6),
        };
        let quoted = &packet[..packet.len().min(500)];
        let [high, low] = mtu.to_be_bytes();
        let mut message = [&[kind, code, 0, 0, 0, 0, high, low], quoted].concat();
        let sum = match router {
            IpAddr::V4(_) => util::checksum(&message, 1),
            IpAddr::V6(_) => transport_checksum(router, to, ICMPV6, &message, 1),
        };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.ip(router, to, protocol, &message)
    }

    /// Returns the frame as it stands on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let ethertype = self.ethertype.to_be_bytes();
        [&self.destination[..], &self.source, &self.tags, &ethertype, &self.payload].concat()
    }
}

/// Which half of neighbour discovery.
#[derive(Clone, Copy, Debug)]
pub enum Neighbour {
    /// Who has this address?
    Solicitation,
    /// I have it.
    Advertisement,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Source and destination port.
    pub ports: (u16, u16),
    /// Number of the first byte.
    pub sequence: u32,
    /// Number of the next byte expected.
    pub acknowledgement: u32,
    /// The flags, FIN lowest.
    pub flags: u8,
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
    /// What it carries.
    pub payload: &'a [u8],
}

fn ip_packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> (u16, Vec<u8>) {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut packet = vec![0; 20 + payload.len()];
            packet[20..].copy_from_slice(payload);
            if let Some(mut ip) = MutableIpv4Packet::new(&mut packet) {
                ip.set_version(4);
                ip.set_header_length(5);
                ip.set_total_length(20 + payload.len() as u16);
                ip.set_ttl(64);
                ip.set_next_level_protocol(IpNextHeaderProtocol::new(protocol));
                ip.set_source(source);
                ip.set_destination(destination);
                let sum = ipv4::checksum(&ip.to_immutable());
                ip.set_checksum(sum);
            }
            (IPV4, packet)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0; 40 + payload.len()];
            packet[40..].copy_from_slice(payload);
            if let Some(mut ip) = MutableIpv6Packet::new(&mut packet) {
                ip.set_version(6);
                ip.set_payload_length(payload.len() as u16);
                ip.set_next_header(IpNextHeaderProtocol::new(protocol));
                ip.set_hop_limit(255);
                ip.set_source(source);
                ip.set_destination(destination);
            }
            (IPV6, packet)
        }
        _ => panic!("both addresses are of one family"),
    }
}

fn transport_checksum(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    data: &[u8],
    skip_word: usize,
) -> u16 {
    let protocol = IpNextHeaderProtocol::new(protocol);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            util::ipv4_checksum(data, skip_word, &[], &source, &destination, protocol)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            util::ipv6_checksum(data, skip_word, &[], &source, &destination, protocol)
        }
        _ => panic!("both addresses are of one family"),
    }
}

/// An IP packet read back from a frame.
#[derive(Clone, Debug)]
pub struct Ip {
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: u8,
    /// That, without padding.
    pub payload: Vec<u8>,
}

/// Returns the EtherType behind all tags, and what follows it.
pub fn behind_tags(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut at = 12;
    loop {
        let ethertype = u16::from_be_bytes(*frame.get(at..)?.first_chunk()?);
        if !matches!(ethertype, DOT1Q | DOT1AD) {
            return Some((ethertype, &frame[at + 2..]));
        }
        at += 4;
    }
}

/// Reads the IP packet of a frame and verifies each checksum in it; `None` where the frame carries no IP.
///
/// # Panics
/// When a length or a checksum is wrong.
#[track_caller]
pub fn verified_ip(frame: &[u8]) -> Option<Ip> {
    let (ethertype, packet) = behind_tags(frame)?;
    let ip = match ethertype {
        IPV4 => {
            let ip = Ipv4Packet::new(packet).expect("a whole IPv4 header");
            assert_eq!(
                ipv4::checksum(&ip),
                ip.get_checksum(),
                "IPv4 header checksum of {}",
                describe(frame)
            );
            let header = usize::from(ip.get_header_length()) * 4;
            let payload = packet
                .get(header..usize::from(ip.get_total_length()))
                .expect("a whole IPv4 packet");
            Ip {
                source: ip.get_source().into(),
                destination: ip.get_destination().into(),
                protocol: ip.get_next_level_protocol().0,
                payload: payload.to_vec(),
            }
        }
        IPV6 => {
            let ip = Ipv6Packet::new(packet).expect("a whole IPv6 header");
            let payload = packet
                .get(40..40 + usize::from(ip.get_payload_length()))
                .expect("a whole IPv6 packet");
            Ip {
                source: ip.get_source().into(),
                destination: ip.get_destination().into(),
                protocol: ip.get_next_header().0,
                payload: payload.to_vec(),
            }
        }
        _ => return None,
    };
    let field = match ip.protocol {
        TCP => 8,
        UDP => 3,
        ICMPV6 => 1,
        _ => return Some(ip),
    };
    let stands = u16::from_be_bytes([ip.payload[2 * field], ip.payload[2 * field + 1]]);
    let right = transport_checksum(ip.source, ip.destination, ip.protocol, &ip.payload, field);
    // One's complement has two zeros, and both verify; in UDP one of them means that there is no checksum.
    assert!(ip.protocol != UDP || stands != 0, "no checksum in {}", describe(frame));
    assert_eq!(
        stands % 0xffff,
        right % 0xffff,
        "checksum of protocol {} in {}",
        ip.protocol,
        describe(frame)
    );
    Some(ip)
}

/// Returns a frame's length and first bytes in words.
pub fn describe(frame: &[u8]) -> String {
    let mut text = format!("{} bytes ", frame.len());
    for (index, byte) in frame.iter().take(48).enumerate() {
        if matches!(index, 6 | 12 | 14 | 16 | 18 | 20 | 22) {
            text.push(' ');
        }
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_reads_back_with_right_checksums() {
        let addresses: [(IpAddr, IpAddr); 2] = [
            ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
            ([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 2].into()),
        ];
        for (source, destination) in addresses {
            let segment = Segment {
                ports: (1, 2),
                sequence: 3,
                acknowledgement: 4,
                flags: 0x18,
                options: &[],
                payload: b"odd",
            };
            for frame in [
                Frame::new(mac(1), mac(2)).tag(10).udp(source, destination, b"datagram"),
                Frame::new(mac(1), mac(2)).tcp(source, destination, &segment),
            ] {
                let ip = verified_ip(&frame.bytes()).unwrap();
                assert_eq!((ip.source, ip.destination), (source, destination));
            }
        }
    }

    #[test]
    #[should_panic(expected = "checksum")]
    fn a_wrong_checksum_is_found() {
        let frame =
            Frame::new(mac(1), mac(2)).udp([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), b"datagram");
        let mut bytes = frame.bytes();
        *bytes.last_mut().unwrap() ^= 1;
        verified_ip(&bytes);
    }
}
