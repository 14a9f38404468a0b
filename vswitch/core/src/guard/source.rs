//! The source guard: the only MAC, IP, ARP and ND sources that a port may use. Looks through stacked tags; what
//! cannot be judged because it hides is refused. Judges nothing where the port has no guard.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::{
    ArpPacketSlice, EtherType, LaxIpv4Slice, LaxIpv6Slice, LaxNetSlice, LaxSlicedPacket,
    TransportSlice, ether_type,
};
use weft_vlan::{ETHERNET_HEADER, Head, MacAddr};

use crate::Guards;

/// The allowed sources of a port.
pub(crate) struct Guard {
    macs: Box<[MacAddr]>,
    ips: Box<[IpAddr]>,
}

/// What a frame claims that its port may not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Mac(MacAddr),
    Ip(IpAddr),
    Hidden(&'static str),
}

impl fmt::Display for Lie {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(out, "the port's `macs` do not allow {mac} as a source"),
            Self::Ip(ip) => write!(out, "the port's `ips` do not allow {ip} as a source"),
            Self::Hidden(what) => {
                write!(out, "{what} cannot be read, so the port's guards cannot be kept")
            }
        }
    }
}

const ND_SOLICITATION: u8 = 135;
const ND_ADVERTISEMENT: u8 = 136;
const ND_ROUTER_SOLICITATION: u8 = 133;
const ND_ROUTER_ADVERTISEMENT: u8 = 134;
const ND_REDIRECT: u8 = 137;

impl Guard {
    /// Makes the guard of a port, if it has one.
    pub(crate) fn new(guards: &Guards) -> Option<Self> {
        if guards.macs.is_empty() && guards.ips.is_empty() {
            return None;
        }
        Some(Self { macs: guards.macs.as_slice().into(), ips: guards.ips.as_slice().into() })
    }

    /// Passes a frame whose sources are all allowed.
    pub(crate) fn check(&self, head: &Head) -> Result<(), Lie> {
        self.check_mac(head.source())?;
        let ethertype = EtherType(head.ethertype());
        let packet = LaxSlicedPacket::from_ether_type(ethertype, &head.bytes()[ETHERNET_HEADER..]);
        match &packet.net {
            Some(LaxNetSlice::Arp(arp)) => self.check_arp(arp),
            Some(LaxNetSlice::Ipv4(ip)) => self.check_ipv4(ip, packet.transport.as_ref()),
            Some(LaxNetSlice::Ipv6(ip)) => self.check_ipv6(ip, packet.transport.as_ref()),
            None => match innermost_ethertype(head) {
                ether_type::ARP => Err(Lie::Hidden("an ARP packet")),
                ether_type::IPV4 | ether_type::IPV6 => Err(Lie::Hidden("an IP header")),
                EtherType(0x8100 | 0x88a8 | 0x9100) => {
                    Err(Lie::Hidden("what stands behind so many tags"))
                }
                _ => Ok(()),
            },
        }
    }

    fn check_mac(&self, mac: MacAddr) -> Result<(), Lie> {
        if self.macs.is_empty() || self.macs.contains(&mac) { Ok(()) } else { Err(Lie::Mac(mac)) }
    }

    fn check_ip(&self, ip: IpAddr) -> Result<(), Lie> {
        if self.ips.is_empty() || self.ips.contains(&ip) { Ok(()) } else { Err(Lie::Ip(ip)) }
    }

    fn check_arp(&self, arp: &ArpPacketSlice<'_>) -> Result<(), Lie> {
        let mac = arp.sender_hw_addr().try_into().map_err(|_| Lie::Hidden("the ARP sender"))?;
        self.check_mac(MacAddr::new(mac))?;
        let ip: [u8; 4] =
            arp.sender_protocol_addr().try_into().map_err(|_| Lie::Hidden("the ARP sender"))?;
        // A probe asks before it claims: RFC 5227 §1.1.
        if Ipv4Addr::from(ip).is_unspecified() {
            Ok(())
        } else {
            self.check_ip(Ipv4Addr::from(ip).into())
        }
    }

    fn check_ipv4(
        &self,
        ip: &LaxIpv4Slice<'_>,
        transport: Option<&TransportSlice<'_>>,
    ) -> Result<(), Lie> {
        let source = ip.header().source_addr();
        // A DHCP client has no address yet: RFC 2131 §4.1.
        let asks_for_one = source.is_unspecified()
            && matches!(transport, Some(TransportSlice::Udp(udp)) if udp.source_port() == 68 && udp.destination_port() == 67);
        if asks_for_one { Ok(()) } else { self.check_ip(source.into()) }
    }

    fn check_ipv6(
        &self,
        ip: &LaxIpv6Slice<'_>,
        transport: Option<&TransportSlice<'_>>,
    ) -> Result<(), Lie> {
        let source = ip.header().source_addr();
        let Some(TransportSlice::Icmpv6(icmp)) = transport else {
            // Neighbour discovery must not hide behind headers that go beyond the copied head: RFC 7113.
            if ip.payload().ip_number == etherparse::IpNumber::IPV6_ICMP && !ip.payload().fragmented
                || is_extension(ip.payload().ip_number)
            {
                return Err(Lie::Hidden("what stands behind the IPv6 extension headers"));
            }
            return self.check_ip(source.into());
        };
        // Duplicate address detection and MLD speak before they have an address: RFC 4862 §5.4, RFC 3590.
        if !source.is_unspecified() {
            self.check_ip(source.into())?;
        }
        let kind = icmp.slice().first().copied().unwrap_or_default();
        self.check_nd(kind, icmp.slice())
    }

    /// Judges a neighbour discovery message, RFC 4861 §4: the target of an advertisement, and the link-layer
    /// address that an option gives for the sender or the target.
    fn check_nd(&self, kind: u8, message: &[u8]) -> Result<(), Lie> {
        let options = match kind {
            ND_SOLICITATION | ND_ADVERTISEMENT => 24,
            ND_ROUTER_SOLICITATION => 8,
            ND_ROUTER_ADVERTISEMENT => 16,
            ND_REDIRECT => 40,
            _ => return Ok(()),
        };
        if kind == ND_ADVERTISEMENT {
            let target: [u8; 16] = message
                .get(8..24)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(Lie::Hidden("the ND target"))?;
            self.check_ip(Ipv6Addr::from(target).into())?;
        }
        let mut rest = message.get(options..).unwrap_or_default();
        while let [option, length, ..] = *rest {
            let length = usize::from(length) * 8;
            // Options that overrun the copied head cannot be judged.
            if length == 0 || length > rest.len() {
                return if self.macs.is_empty() {
                    Ok(())
                } else {
                    Err(Lie::Hidden("an ND option"))
                };
            }
            let names_sender = option == 1 || option == 2 && kind == ND_ADVERTISEMENT;
            if names_sender && let Some(mac) = rest[2..].first_chunk::<6>() {
                self.check_mac(MacAddr::new(*mac))?;
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}

fn is_extension(number: etherparse::IpNumber) -> bool {
    use etherparse::IpNumber;
    [
        IpNumber::IPV6_HEADER_HOP_BY_HOP,
        IpNumber::IPV6_ROUTE_HEADER,
        IpNumber::IPV6_DESTINATION_OPTIONS,
        IpNumber::AUTHENTICATION_HEADER,
    ]
    .contains(&number)
}

/// Returns the EtherType behind all tags.
fn innermost_ethertype(head: &Head) -> EtherType {
    let bytes = head.bytes();
    let mut at = ETHERNET_HEADER - 2;
    loop {
        let Some(&[a, b]) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
            return EtherType(0x8100);
        };
        let ethertype = u16::from_be_bytes([a, b]);
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            return EtherType(ethertype);
        }
        at += 4;
    }
}
