//! The source guard's view of IPv6: the source address, and neighbour discovery, RFC 4861, behind extension
//! headers, RFC 8200 §4. Judges what a receiver would believe; validates nothing else.

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    ip_number,
};
use weft_vlan::MacAddr;

use super::source::{Guard, Lie, ipv6_at};

/// Message types of ICMPv6.
const MLD_REPORT: u8 = 131;
const MLD_DONE: u8 = 132;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
const MLD2_REPORT: u8 = 143;

/// Options that give a link-layer address, of the source and of the target.
const LINK_LAYER_OPTIONS: [u8; 2] = [1, 2];
const OPTION_UNIT: usize = 8;

const HIDDEN_CHAIN: Lie = Lie::Hidden("what stands behind the IPv6 extension headers");
const HIDDEN_OPTION: Lie = Lie::Hidden("an option of neighbour discovery");

/// Passes an IPv6 packet whose sources are all allowed. `is_cut` tells that the frame goes on behind the bytes
/// that were copied.
pub(super) fn check_ipv6(guard: &Guard, packet: &[u8], is_cut: bool) -> Result<(), Lie> {
    let Ok(header) = Ipv6HeaderSlice::from_slice(packet) else {
        return Err(Lie::Hidden("an IPv6 header"));
    };
    let source = header.source_addr();
    let check_source = || guard.check_ip(source.into());
    let behind = &packet[header.slice().len()..];
    // The length of a jumbogram, 0, says nothing: it ends with its frame.
    let (payload, is_whole) = match usize::from(header.payload_length()) {
        0 => (behind, !is_cut),
        len => (&behind[..len.min(behind.len())], len <= behind.len()),
    };
    // What follows the header of a later fragment is data; the first one is judged.
    let Some(upper) = upper_layer(header.next_header(), payload)? else { return check_source() };
    if upper.number != ip_number::IPV6_ICMP {
        return check_source();
    }
    let Some(&kind) = upper.message.first() else { return Err(HIDDEN_CHAIN) };
    // Duplicate address detection and reports of it come before there is an address: RFC 4862 §5.4, RFC 3590.
    let may_be_unspecified =
        [SOLICITATION, ROUTER_SOLICITATION, MLD_REPORT, MLD_DONE, MLD2_REPORT].contains(&kind);
    if !(source.is_unspecified() && may_be_unspecified) {
        check_source()?;
    }
    let Some(options) = options_of(kind) else { return Ok(()) };
    // Neighbour discovery in fragments could hide from us; receivers should not believe it: RFC 6980.
    if upper.is_fragment {
        return Err(Lie::Hidden("neighbour discovery in fragments"));
    }
    if kind == ADVERTISEMENT {
        let target =
            ipv6_at(upper.message, 8).ok_or(Lie::Hidden("the target of an advertisement"))?;
        guard.check_ip(target.into())?;
    }
    if !guard.guards_macs() {
        return Ok(());
    }
    let options = upper.message.get(options..).filter(|_| is_whole).ok_or(HIDDEN_OPTION)?;
    check_options(guard, options)
}

/// What stands behind the extension headers.
struct Upper<'a> {
    number: IpNumber,
    message: &'a [u8],
    /// Whether it is the first fragment of several.
    is_fragment: bool,
}

/// Finds what stands behind the extension headers; `None` in a fragment that is not the first.
fn upper_layer(mut number: IpNumber, mut rest: &[u8]) -> Result<Option<Upper<'_>>, Lie> {
    let mut is_fragment = false;
    loop {
        let (next, len) = match number {
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_ROUTE | ip_number::IPV6_DEST_OPTIONS => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| HIDDEN_CHAIN)?;
                (header.next_header(), header.slice().len())
            }
            ip_number::AUTH => {
                let header = IpAuthHeaderSlice::from_slice(rest).map_err(|_| HIDDEN_CHAIN)?;
                (header.next_header(), header.slice().len())
            }
            ip_number::IPV6_FRAG => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| HIDDEN_CHAIN)?;
                if header.fragment_offset().value() > 0 {
                    return Ok(None);
                }
                is_fragment |= header.is_fragmenting_payload();
                (header.next_header(), header.slice().len())
            }
            _ => return Ok(Some(Upper { number, message: rest, is_fragment })),
        };
        (number, rest) = (next, &rest[len..]);
    }
}

/// Returns where the options of a neighbour discovery message begin.
fn options_of(kind: u8) -> Option<usize> {
    match kind {
        ROUTER_SOLICITATION => Some(8),
        ROUTER_ADVERTISEMENT => Some(16),
        SOLICITATION | ADVERTISEMENT => Some(24),
        REDIRECT => Some(40),
        _ => None,
    }
}

fn check_options(guard: &Guard, mut options: &[u8]) -> Result<(), Lie> {
    while let [kind, units, ..] = *options {
        let len = usize::from(units) * OPTION_UNIT;
        let Some((option, rest)) = options.split_at_checked(len).filter(|_| len > 0) else {
            return Err(HIDDEN_OPTION);
        };
        if LINK_LAYER_OPTIONS.contains(&kind) {
            let mac =
                option[2..].first_chunk().filter(|_| len == OPTION_UNIT).ok_or(HIDDEN_OPTION)?;
            guard.check_mac(MacAddr::new(*mac))?;
        }
        options = rest;
    }
    Ok(())
}
