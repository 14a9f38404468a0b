//! The source guard: the only MAC, IP, ARP and ND sources that a port may use. Looks through stacked tags; what
//! cannot be judged because it hides is refused. Judges nothing where the port has no guard.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::{ArpPacketSlice, Ipv4HeaderSlice, UdpHeaderSlice, ether_type, ip_number};
use weft_vlan::{ETHERNET_HEADER, Head, MacAddr, TAG_LEN, Tpid};

use super::nd;
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

const ARP_REQUEST: u16 = 1;
const DHCP_CLIENT: u16 = 68;
const DHCP_SERVER: u16 = 67;
/// An EtherType field up to here is the length of an LLC frame, IEEE 802.3 clause 3.2.6.
const LLC_LENGTH_MAX: u16 = 1500;
/// LLC and SNAP headers in front of an EtherType, RFC 1042.
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];

impl Guard {
    /// Makes the guard of a port, if it has one.
    pub(crate) fn new(guards: &Guards) -> Option<Self> {
        if guards.macs.is_empty() && guards.ips.is_empty() {
            return None;
        }
        let (mut macs, mut ips) = (guards.macs.clone(), guards.ips.clone());
        macs.sort_unstable();
        ips.sort_unstable();
        Some(Self { macs: macs.into(), ips: ips.into() })
    }

    /// Passes a frame whose sources are all allowed.
    pub(crate) fn check(&self, head: &Head) -> Result<(), Lie> {
        self.check_mac(head.source())?;
        let (ethertype, packet) = behind_tags(head)?;
        match etherparse::EtherType(ethertype) {
            ether_type::ARP => self.check_arp(packet),
            ether_type::IPV4 => self.check_ipv4(packet),
            ether_type::IPV6 => {
                let is_cut = head.bytes().len() < head.untagged_len();
                nd::check_ipv6(self, packet, is_cut)
            }
            _ => Ok(()),
        }
    }

    /// Tells whether the port's link-layer addresses are restricted.
    pub(super) fn guards_macs(&self) -> bool {
        !self.macs.is_empty()
    }

    pub(super) fn check_mac(&self, mac: MacAddr) -> Result<(), Lie> {
        let is_allowed = self.macs.is_empty() || self.macs.binary_search(&mac).is_ok();
        if is_allowed { Ok(()) } else { Err(Lie::Mac(mac)) }
    }

    pub(super) fn check_ip(&self, ip: IpAddr) -> Result<(), Lie> {
        let is_allowed = self.ips.is_empty() || self.ips.binary_search(&ip).is_ok();
        if is_allowed { Ok(()) } else { Err(Lie::Ip(ip)) }
    }

    fn check_arp(&self, packet: &[u8]) -> Result<(), Lie> {
        let hidden = Lie::Hidden("the sender of an ARP packet");
        let Ok(arp) = ArpPacketSlice::from_slice(packet) else { return Err(hidden) };
        let (Some(mac), Some(ip), ether_type::IPV4) = (
            exactly::<6>(arp.sender_hw_addr()),
            exactly::<4>(arp.sender_protocol_addr()),
            arp.proto_addr_type(),
        ) else {
            return Err(hidden);
        };
        self.check_mac(MacAddr::new(mac))?;
        // A probe asks before it claims: RFC 5227 §1.1.
        let is_probe = Ipv4Addr::from(ip).is_unspecified() && arp.operation().0 == ARP_REQUEST;
        if is_probe { Ok(()) } else { self.check_ip(Ipv4Addr::from(ip).into()) }
    }

    fn check_ipv4(&self, packet: &[u8]) -> Result<(), Lie> {
        let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else {
            return Err(Lie::Hidden("an IPv4 header"));
        };
        let source = header.source_addr();
        let is_dhcp = || {
            let udp = UdpHeaderSlice::from_slice(&packet[header.slice().len()..]);
            header.protocol() == ip_number::UDP
                && !header.is_fragmenting_payload()
                && udp.is_ok_and(|udp| {
                    (udp.source_port(), udp.destination_port()) == (DHCP_CLIENT, DHCP_SERVER)
                })
        };
        // A client that asks for an address has none yet: RFC 2131 §4.1.
        if source.is_unspecified() && is_dhcp() { Ok(()) } else { self.check_ip(source.into()) }
    }
}

/// Returns the EtherType behind all tags, and behind LLC and SNAP, and what follows it.
fn behind_tags(head: &Head) -> Result<(u16, &[u8]), Lie> {
    let mut rest = head.bytes().get(ETHERNET_HEADER - 2..).unwrap_or_default();
    loop {
        let Some((&ethertype, packet)) = rest.split_first_chunk() else {
            // A frame that ends among its tags claims nothing more.
            let is_cut = head.bytes().len() < head.untagged_len();
            return if is_cut {
                Err(Lie::Hidden("what stands behind its tags"))
            } else {
                Ok((0, &[]))
            };
        };
        let ethertype = u16::from_be_bytes(ethertype);
        rest = match packet.strip_prefix(&SNAP) {
            Some(behind_snap) if ethertype <= LLC_LENGTH_MAX => behind_snap,
            _ if Tpid::from_ethertype(ethertype).is_some() => {
                rest.get(TAG_LEN..).unwrap_or_default()
            }
            _ => return Ok((ethertype, packet)),
        };
    }
}

fn exactly<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Returns the address in the sixteen bytes at `at`.
pub(super) fn ipv6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let bytes: &[u8; 16] = bytes.get(at..)?.first_chunk()?;
    Some(Ipv6Addr::from(*bytes))
}
