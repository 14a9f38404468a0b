//! ARP and neighbour discovery: who says what of itself, who asks, and the answer. RFC 826, RFC 4861, and
//! RFC 9161 for what is learned and answered on behalf of others. Frames are untagged; holds no table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_vlan::{ETHERNET_HEADER, MacAddr};

/// Bytes of a frame at least, IEEE 802.3 clause 4A.2.3.2, without the FCS.
const FRAME_MIN: usize = 60;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// Ethernet, IPv4, six and four bytes of address.
const ARP_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const IPV6_HEADER: usize = 40;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_OPTION: u8 = 1;
const TARGET_OPTION: u8 = 2;
const OPTION_UNIT: usize = 8;
/// Flags of an advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Returns the address pair that a frame's sender says it is: of ARP, where the sender equals the Ethernet
/// source, and of a neighbour advertisement, where the option does. Not of a router, whose advertisements say
/// so, nor of an anycast address: an answer in their place would have to know it.
pub fn sender(frame: &[u8]) -> Option<(MacAddr, IpAddr)> {
    let header = Header::read(frame)?;
    match header.ethertype {
        ARP => {
            let arp = Arp::read(header.packet)?;
            let is_fit = arp.sender == header.source && is_host(arp.sender_ip.into());
            is_fit.then_some((arp.sender, arp.sender_ip.into()))
        }
        IPV6 => {
            let nd = Nd::read(header.packet)?;
            let is_fit = nd.kind == ADVERTISEMENT
                && nd.flags & (ROUTER | OVERRIDE) == OVERRIDE
                && nd.link_layer == Some(header.source)
                && is_host(nd.target.into());
            is_fit.then_some((header.source, nd.target.into()))
        }
        _ => None,
    }
    .filter(|(mac, _)| mac.is_source())
}

/// A question that may be answered on behalf of whom it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    asker: MacAddr,
    ips: Ips,
}

/// The asker's address and the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ips {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Question {
    /// Reads an ARP request or a neighbour solicitation that was sent to all. `None` for anything else: probes,
    /// duplicate address detection, gratuitous requests, and where the sender is not the Ethernet source.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let header = Header::read(frame)?;
        let asker = header.source;
        if !header.destination.is_group() || !asker.is_source() {
            return None;
        }
        let ips = match header.ethertype {
            ARP => {
                let arp = Arp::read(header.packet).filter(|arp| arp.operation == REQUEST)?;
                let is_fit = arp.sender == asker && arp.sender_ip != arp.target_ip;
                let asked = Ips::V4(arp.sender_ip, arp.target_ip);
                (is_fit && is_host(arp.sender_ip.into())).then_some(asked)?
            }
            IPV6 => {
                let nd = Nd::read(header.packet).filter(|nd| nd.kind == SOLICITATION)?;
                let is_fit = nd.link_layer == Some(asker) && nd.source != nd.target;
                (is_fit && is_host(nd.source.into())).then_some(Ips::V6(nd.source, nd.target))?
            }
            _ => return None,
        };
        Some(Self { asker, ips })
    }

    /// Returns who asks.
    pub fn asker(&self) -> MacAddr {
        self.asker
    }

    /// Returns the address that is asked for.
    pub fn target(&self) -> IpAddr {
        match self.ips {
            Ips::V4(_, target) => target.into(),
            Ips::V6(_, target) => target.into(),
        }
    }

    /// Makes the answer as the one with this address would give it, untagged.
    pub fn answer(&self, mac: MacAddr) -> Vec<u8> {
        let mut frame = [self.asker.octets(), mac.octets()].concat();
        match self.ips {
            Ips::V4(asker, target) => {
                frame.extend(ARP.to_be_bytes());
                frame.extend(ARP_IPV4);
                frame.extend(REPLY.to_be_bytes());
                frame.extend(mac.octets());
                frame.extend(target.octets());
                frame.extend(self.asker.octets());
                frame.extend(asker.octets());
            }
            Ips::V6(asker, target) => {
                frame.extend(IPV6.to_be_bytes());
                frame.extend(advertisement(asker, target, mac));
            }
        }
        frame.resize(frame.len().max(FRAME_MIN), 0);
        frame
    }
}

/// Makes the IPv6 packet of a solicited advertisement, RFC 4861 §4.4.
fn advertisement(asker: Ipv6Addr, target: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, SOLICITED | OVERRIDE, 0, 0, 0];
    message.extend(target.octets());
    message.extend([TARGET_OPTION, 1]);
    message.extend(mac.octets());
    let len = message.len() as u16;
    let pseudo_header = [&target.octets()[..], &asker.octets(), &[0, 0], &len.to_be_bytes()];
    let pseudo_header = [&pseudo_header.concat()[..], &[0, 0, 0, ICMPV6]].concat();
    let checksum = !sum(&[&pseudo_header[..], &message].concat());
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let [high, low] = len.to_be_bytes();
    let header = [0x60, 0, 0, 0, high, low, ICMPV6, 255];
    [&header[..], &target.octets(), &asker.octets(), &message].concat()
}

/// Sums an even number of bytes, RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let total: u32 = words.sum();
    let folded = (total >> 16) + (total & 0xffff);
    ((folded >> 16) + (folded & 0xffff)) as u16
}

/// Tells whether an address can be a host's own.
fn is_host(ip: IpAddr) -> bool {
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || is_broadcast)
}

struct Header<'a> {
    destination: MacAddr,
    source: MacAddr,
    ethertype: u16,
    packet: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let (header, packet) = frame.split_first_chunk::<ETHERNET_HEADER>()?;
        let &[a, b, c, d, e, f, source @ .., high, low] = header;
        Some(Self {
            destination: MacAddr::new([a, b, c, d, e, f]),
            source: MacAddr::new(source),
            ethertype: u16::from_be_bytes([high, low]),
            packet,
        })
    }
}

struct Arp {
    operation: u16,
    sender: MacAddr,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
}

impl Arp {
    fn read(packet: &[u8]) -> Option<Self> {
        let (&[high, low], rest) = packet.strip_prefix(&ARP_IPV4)?.split_first_chunk()?;
        let (&sender, rest) = rest.split_first_chunk()?;
        let (&sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let &target_ip = rest.get(6..)?.first_chunk::<4>()?;
        let operation = u16::from_be_bytes([high, low]);
        (operation == REQUEST || operation == REPLY).then(|| Self {
            operation,
            sender: MacAddr::new(sender),
            sender_ip: sender_ip.into(),
            target_ip: target_ip.into(),
        })
    }
}

struct Nd {
    kind: u8,
    flags: u8,
    source: Ipv6Addr,
    target: Ipv6Addr,
    /// The option that belongs to the kind.
    link_layer: Option<MacAddr>,
}

impl Nd {
    /// Reads a message that stands behind the IPv6 header and came from the link: RFC 4861 §7.1.
    fn read(packet: &[u8]) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk::<IPV6_HEADER>()?;
        let is_from_link = header[0] >> 4 == 6 && header[6] == ICMPV6 && header[7] == 255;
        let message = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        let (&[kind, code, _, _, flags, ..], behind) = message.split_first_chunk::<8>()?;
        let (&target, mut options) = behind.split_first_chunk::<16>()?;
        let wanted = match kind {
            SOLICITATION => SOURCE_OPTION,
            ADVERTISEMENT => TARGET_OPTION,
            _ => return None,
        };
        let mut link_layer = None;
        while let Some(&[of, units]) = options.first_chunk() {
            let (option, next) = options.split_at_checked(usize::from(units) * OPTION_UNIT)?;
            let mac = option.get(2..)?;
            if of == wanted {
                // Two of them could say two things.
                if link_layer.is_some() {
                    return None;
                }
                link_layer = Some(MacAddr::new(mac.try_into().ok()?));
            }
            options = next;
        }
        let source: &[u8; 16] = header[8..].first_chunk()?;
        (is_from_link && code == 0).then(|| Self {
            kind,
            flags,
            source: Ipv6Addr::from(*source),
            target: Ipv6Addr::from(target),
            link_layer,
        })
    }
}

#[cfg(test)]
mod tests;
