//! Addresses and networks of WireGuard adapters and their peers.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::{Spanned, de::DeValue};

use super::super::{
    port::as_set,
    report::Report,
    table::{Field, refuse},
};
use crate::{limits::ALLOWED_IPS_MAX, names::quoted};

/// Reads an address of the adapter with its network's prefix length.
pub(super) fn address(
    field: &Field<'_, '_>,
    value: &Spanned<DeValue<'_>>,
    report: &mut Report,
) -> Option<IpNet> {
    const WANTED: &str = "an address with its prefix length";
    let Some(text) = value.get_ref().as_str() else {
        refuse(field.place, field.key, value, WANTED, report);
        return None;
    };
    let Ok(address) = text.parse::<IpNet>() else {
        let draft = refuse(field.place, field.key, value, WANTED, report);
        if let Ok(bare) = text.parse::<IpAddr>() {
            let length = if bare.is_ipv4() { 24 } else { 64 };
            draft.help(format!("write the length of the VLAN's network: \"{bare}/{length}\""));
        }
        return None;
    };
    let wrong = not_a_host(address.addr()).or_else(|| not_in_network(address, address.addr()));
    if let Some(wrong) = wrong {
        report
            .add(
                value.span(),
                format!("{}: `{}` has {text}, which is {wrong}", field.place, field.key),
            )
            .note(wrong)
            .help("write the adapter's own address in its VLAN, for example \"10.10.0.1/24\"");
        return None;
    }
    Some(address)
}

/// Reads a way out of the VLAN, which is a neighbour in it.
pub(super) fn gateway(
    field: &Field<'_, '_>,
    value: &Spanned<DeValue<'_>>,
    addresses: &[IpNet],
    report: &mut Report,
) -> Option<IpAddr> {
    const WANTED: &str = "an address, or one for IPv4 and one for IPv6 in a list";
    let address = value.get_ref().as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let Some(address) = address else {
        refuse(field.place, field.key, value, WANTED, report);
        return None;
    };
    let near = addresses.iter().find(|network| network.contains(&address));
    let link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let wrong = if let Some(wrong) = not_a_host(address) {
        Some(wrong)
    } else if addresses.iter().any(|network| network.addr() == address) {
        Some("the adapter's own address")
    } else if let Some(network) = near {
        not_in_network(*network, address)
    } else if link_local || addresses.is_empty() {
        // A mistake in `address` is reported there.
        None
    } else {
        Some("in no network of `address`")
    };
    if let Some(wrong) = wrong {
        report
            .add(value.span(), format!("{}: `gateway` {address} is {wrong}", field.place))
            .note(wrong)
            .help("write the address of the VLAN's router, a neighbour in the VLAN");
        return None;
    }
    Some(address)
}

/// Reads the networks behind a peer, each in its one spelling.
pub(super) fn allowed_ips(
    field: &Field<'_, '_>,
    own: &[IpNet],
    report: &mut Report,
) -> Option<Vec<IpNet>> {
    let list = field.list("a list of networks", report)?;
    if let Some(excess) = list.get(ALLOWED_IPS_MAX) {
        let message = format!(
            "{}: `allowed-ips` has {} networks; {ALLOWED_IPS_MAX} are allowed",
            field.place,
            list.len()
        );
        report.add(excess.span(), message).note("one too many");
        return None;
    }
    let mut networks = Some(Vec::new());
    for value in list {
        match (allowed_ip(field, value, own, report), &mut networks) {
            (Some(network), Some(networks)) => networks.push(network),
            _ => networks = None,
        }
    }
    if let Some(networks) = &mut networks {
        as_set(networks);
    }
    networks
}

fn allowed_ip(
    field: &Field<'_, '_>,
    value: &Spanned<DeValue<'_>>,
    own: &[IpNet],
    report: &mut Report,
) -> Option<IpNet> {
    const WANTED: &str = "a network, as in \"10.10.0.201/32\"";
    let Some(text) = value.get_ref().as_str() else {
        refuse(field.place, field.key, value, WANTED, report);
        return None;
    };
    // As `wg` has it: a bare address is that one alone, bits behind the prefix count for nothing.
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let Ok(network) = parsed.map(|network| network.trunc()) else {
        refuse(field.place, field.key, value, WANTED, report);
        return None;
    };
    let is_host = network.prefix_len() == network.max_prefix_len();
    if is_host && own.iter().any(|own| own.addr() == network.addr()) {
        let message = format!("{}: `allowed-ips` has {}", field.place, quoted(text));
        report
            .add(value.span(), format!("{message}, which is the adapter's own address"))
            .note("the adapter's own")
            .help("write the client's address");
        return None;
    }
    Some(network)
}

/// Says why no host has an address.
fn not_a_host(address: IpAddr) -> Option<&'static str> {
    match address {
        ip if ip.is_multicast() => Some("a multicast address"),
        ip if ip.is_unspecified() => Some("the unspecified address"),
        ip if ip.is_loopback() => Some("a loopback address"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("an IPv4-mapped one"),
        _ => None,
    }
}

/// Says why no host in a network has one of its addresses. A network of one or two has no others.
fn not_in_network(network: IpNet, address: IpAddr) -> Option<&'static str> {
    if network.max_prefix_len() - network.prefix_len() < 2 {
        return None;
    }
    if network.network() == address {
        return Some("the network's own address");
    }
    (address.is_ipv4() && network.broadcast() == address)
        .then_some("the network's broadcast address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_addresses_are_no_hosts() {
        let wrong = |text: &str| {
            let network: IpNet = text.parse().unwrap();
            not_a_host(network.addr()).or_else(|| not_in_network(network, network.addr()))
        };
        #[rustfmt::skip]
        let table = [
            ("10.0.0.1/24", None),
            ("10.0.0.0/24", Some("the network's own address")),
            ("10.0.0.255/24", Some("the network's broadcast address")),
            ("10.0.0.0/31", None),
            ("10.0.0.1/31", None),
            ("10.0.0.0/32", None),
            ("0.0.0.0/0", Some("the unspecified address")),
            ("127.0.0.1/8", Some("a loopback address")),
            ("224.0.0.1/24", Some("a multicast address")),
            ("fd00::1/64", None),
            ("fd00::/64", Some("the network's own address")),
            ("fd00::ffff:ffff:ffff:ffff/64", None),
            ("fd00::/127", None),
            ("::1/128", Some("a loopback address")),
            ("ff02::1/64", Some("a multicast address")),
            ("::ffff:10.0.0.1/120", Some("an IPv4-mapped one")),
        ];
        for (text, expected) in table {
            assert_eq!(wrong(text), expected, "{text}");
        }
    }
}
