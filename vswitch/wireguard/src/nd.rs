//! Neighbour discovery for IPv6: who asks, who answers, what is announced. RFC 4861 §4.3, §4.4, §7. Frames are untagged;
//! holds no table.

use std::net::{IpAddr, Ipv6Addr};

use weft_vlan::MacAddr;

use crate::packet::{ICMPV6, Packet, Part, icmpv6_checksum, ipv6_at, put_ipv6, put16};

pub(crate) const ETHERTYPE: u16 = 0x86dd;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_OPTION: u8 = 1;
const TARGET_OPTION: u8 = 2;
const OPTIONS_AT: usize = 24;
const OPTION_UNIT: usize = 8;
/// No router has forwarded it: RFC 4861 §7.1.
const HOPS: u8 = 255;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a packet says or asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nd {
    pub(crate) is_solicitation: bool,
    /// Unspecified in duplicate address detection.
    pub(crate) source: Ipv6Addr,
    pub(crate) target: Ipv6Addr,
    /// The option that goes with its kind: the source's address or the target's.
    pub(crate) link_layer: Option<MacAddr>,
    /// Of an advertisement: it replaces what was known before.
    pub(crate) overrides: bool,
}

impl Nd {
    /// Tells whether a packet is a message of neighbour discovery between neighbours, right or not.
    pub(crate) fn is_one(bytes: &[u8], packet: &Packet) -> bool {
        packet.protocol == ICMPV6
            && !packet.is_ipv4()
            && packet.part != Part::Later
            && matches!(bytes.get(packet.payload), Some(133..=137))
    }

    /// Reads a solicitation or an advertisement; `None` where a rule of RFC 4861 §7.1 is broken.
    pub(crate) fn read(bytes: &[u8], packet: &Packet) -> Option<Self> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source, packet.destination)
        else {
            return None;
        };
        let message = bytes.get(packet.payload..packet.len)?;
        let (kind, fixed) = (*message.first()?, message.get(..OPTIONS_AT)?);
        let target = ipv6_at(fixed, 8);
        let is_right = packet.hops == HOPS
            && packet.part == Part::Whole
            && fixed[1] == 0
            && icmpv6_checksum([source, destination], message) == 0
            && !target.is_multicast();
        if !is_right || !matches!(kind, SOLICITATION | ADVERTISEMENT) {
            return None;
        }
        let is_solicitation = kind == SOLICITATION;
        let wanted = if is_solicitation { SOURCE_OPTION } else { TARGET_OPTION };
        let link_layer = option(&message[OPTIONS_AT..], wanted)?;
        if is_solicitation && source.is_unspecified() && link_layer.is_some() {
            return None;
        }
        let overrides = !is_solicitation && fixed[4] & OVERRIDE != 0;
        Some(Self { is_solicitation, source, target, link_layer, overrides })
    }
}

/// Returns the link-layer address in an option of this kind, if there is one; `None` where the options are not well formed.
#[expect(clippy::option_option, reason = "malformed, absent and present are three things")]
fn option(mut options: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    let mut found = None;
    while !options.is_empty() {
        let (kind, units) = (options[0], usize::from(*options.get(1)?));
        let (this, rest) = options.split_at_checked(units * OPTION_UNIT).filter(|_| units > 0)?;
        if kind == wanted && units == 1 {
            let mut mac = [0; 6];
            mac.copy_from_slice(&this[2..8]);
            found = Some(MacAddr::new(mac));
        }
        options = rest;
    }
    Some(found)
}

/// Whether the address that is advertised is the adapter's own, or that of somebody whom it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its own.
    Own,
    /// A peer's: RFC 4861 §7.2.8 has a proxy not insist.
    Proxy,
}

/// Writes the frame in which `mac` asks for an address, of all who could have it or of the one that is thought to.
pub(crate) fn put_solicitation(
    out: &mut Vec<u8>,
    mac: MacAddr,
    ip: Ipv6Addr,
    asked: Ipv6Addr,
    of: Option<MacAddr>,
) {
    let (to, to_ip) = match of {
        Some(mac) => (mac, asked),
        None => (group_mac(solicited_node(asked)), solicited_node(asked)),
    };
    put(out, [mac, to], [ip, to_ip], [SOLICITATION, 0], asked, SOURCE_OPTION);
}

/// Writes the frame in which `mac` answers to `asker` that it has `ip`; to all, where the asker has no address yet.
pub(crate) fn put_answer(
    out: &mut Vec<u8>,
    mac: MacAddr,
    ip: Ipv6Addr,
    standing: Standing,
    asker: (MacAddr, Ipv6Addr),
) {
    let insists = if standing == Standing::Own { OVERRIDE } else { 0 };
    let (to, to_ip, solicited) = if asker.1.is_unspecified() {
        (group_mac(ALL_NODES), ALL_NODES, 0)
    } else {
        (asker.0, asker.1, SOLICITED)
    };
    let flags = ROUTER | solicited | insists;
    put(out, [mac, to], [ip, to_ip], [ADVERTISEMENT, flags], ip, TARGET_OPTION);
}

/// Writes the frame in which `mac` tells all that it has `ip`, RFC 4861 §7.2.6.
pub(crate) fn put_announcement(out: &mut Vec<u8>, mac: MacAddr, ip: Ipv6Addr) {
    let flags = ROUTER | OVERRIDE;
    let to = [mac, group_mac(ALL_NODES)];
    put(out, to, [ip, ALL_NODES], [ADVERTISEMENT, flags], ip, TARGET_OPTION);
}

fn put(
    out: &mut Vec<u8>,
    [from, to]: [MacAddr; 2],
    ips: [Ipv6Addr; 2],
    [kind, flags]: [u8; 2],
    target: Ipv6Addr,
    option: u8,
) {
    out.extend(to.octets());
    out.extend(from.octets());
    out.extend(ETHERTYPE.to_be_bytes());
    put_ipv6(out, ips, ICMPV6, HOPS, OPTIONS_AT + OPTION_UNIT);
    let begin = out.len();
    out.extend([kind, 0, 0, 0, flags, 0, 0, 0]);
    out.extend(target.octets());
    out.extend([option, 1]);
    out.extend(from.octets());
    let checksum = icmpv6_checksum(ips, &out[begin..]);
    put16(out, begin + 2, checksum);
}

/// Returns the group that whoever has this address listens to, RFC 4291 §2.7.1.
fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Returns the Ethernet address of a group, RFC 2464 §7.
fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr::new([0x33, 0x33, a, b, c, d])
}

/// Returns the address that has a meaning on the link alone, made of a MAC address: RFC 4291 appendix A.
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
