//! Which devices can be a `netdev` port: those that the host does not use itself. Only looks; the reasons
//! are in words that name what is in the way and how to take it away.

use std::net::{IpAddr, Ipv6Addr};

use weft_vlan::MacAddr;

use super::{
    Refusal, context,
    journal::LinkLocal,
    netlink::Netlink,
    told::{Address, Link, Route},
};

/// Longest device name, `IFNAMSIZ` without its terminator.
const NAME_LIMIT: usize = 15;
/// Kinds of devices that stand on another one and get their frames from it.
const STACKED: [&str; 7] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "hsr"];

/// Checks that a name can be a device's. It also names a file in the journal.
pub(super) fn check_name(device: &str) -> Result<(), Refusal> {
    let reason = if device.is_empty() || device == "." || device == ".." {
        "is no device name"
    } else if device.len() > NAME_LIMIT {
        "is no device name: longer than 15 bytes"
    } else if device.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        "is no device name: it has a slash, a colon or a blank in it"
    } else {
        return Ok(());
    };
    Err(refuse(device, reason.into()))
}

/// Checks that the host does not use a device itself.
/// Returns the kernel's link-local addresses on it, which do not count as use.
pub(super) async fn check_netdev(
    netlink: &Netlink,
    link: &Link,
) -> Result<Vec<LinkLocal>, Refusal> {
    check_free(netlink, link).await?;
    let name = &link.name;
    let addresses =
        netlink.addresses(link.index).await.map_err(context(name, "look at its addresses"))?;
    if let Some(own) = addresses.iter().find(|address| link_local(address, link.mac).is_none()) {
        let own = format!("{}/{}", own.ip, own.prefix);
        let reason = format!(
            "has the address {own}; remove it first: ip address del {own} dev {name}; or adopt it, with its addresses: weftctl uplink adopt {name} --port PORT"
        );
        return Err(refuse(name, reason));
    }
    let routes = netlink.routes(link.index).await.map_err(context(name, "look at its routes"))?;
    if let Some(route) = routes.iter().find(|route| !goes_with_the_link(route)) {
        let destination = describe_destination(route);
        let reason = format!(
            "is the way of the route {destination}; remove it first: ip route del {destination} dev {name}"
        );
        return Err(refuse(name, reason));
    }
    Ok(link_locals(&addresses, link.mac))
}

/// Checks that a device carries Ethernet frames, and none of another device's.
pub(super) async fn check_free(netlink: &Netlink, link: &Link) -> Result<(), Refusal> {
    let name = &link.name;
    if link.loopback {
        return Err(refuse(name, "is the loopback device".into()));
    }
    if !link.ethernet {
        return Err(refuse(name, "carries no Ethernet frames".into()));
    }
    let links = netlink.links().await.map_err(context(name, "look at the devices"))?;
    if let Some(master) = link.master {
        return Err(refuse(name, describe_master(name, master, &links)));
    }
    if let Some(upper) = links.iter().find(|upper| stands_on(upper, link.index)) {
        let kind = upper.kind.as_deref().unwrap_or_default();
        let upper = &upper.name;
        return Err(refuse(
            name,
            format!("carries the {kind} device {upper}; remove it first: ip link del {upper}"),
        ));
    }
    Ok(())
}

/// Tells whether the kernel made an address by itself, for the link alone.
pub(super) fn is_kernels(address: &Address, mac: Option<MacAddr>) -> bool {
    link_local(address, mac).is_some()
}

/// Picks the link-local addresses that the kernel made by itself.
pub(super) fn link_locals(addresses: &[Address], mac: Option<MacAddr>) -> Vec<LinkLocal> {
    addresses.iter().filter_map(|address| link_local(address, mac)).collect()
}

fn refuse(device: &str, reason: String) -> Refusal {
    Refusal::Unsuitable { device: device.into(), reason }
}

fn describe_master(name: &str, index: u32, links: &[Link]) -> String {
    let Some(master) = links.iter().find(|link| link.index == index) else {
        return format!(
            "is a port of the device with index {index}; take it out first: ip link set {name} nomaster"
        );
    };
    match master.kind.as_deref() {
        Some("openvswitch") => {
            format!("is a port of Open vSwitch; take it out first: ovs-vsctl del-port {name}")
        }
        kind => format!(
            "is a port of the {} {}; take it out first: ip link set {name} nomaster",
            kind.unwrap_or("device"),
            master.name
        ),
    }
}

fn stands_on(upper: &Link, index: u32) -> bool {
    upper.lower == Some(index) && upper.kind.as_deref().is_some_and(|kind| STACKED.contains(&kind))
}

fn link_local(address: &Address, mac: Option<MacAddr>) -> Option<LinkLocal> {
    let IpAddr::V6(ip) = address.ip else { return None };
    // Kernels before 6.1 do not say which addresses are theirs; the one made of the MAC address is.
    let by_kernel = address.kernel_link_local || mac.is_some_and(|mac| ip == eui64(mac));
    (ip.is_unicast_link_local() && by_kernel)
        .then_some(LinkLocal { address: ip, prefix: address.prefix })
}

/// The link-local address with a modified EUI-64 of a MAC address. RFC 4291 appendix A.
fn eui64(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let id = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(id))
}

/// Tells whether the kernel made a route with the link-local address or with the device's going up.
pub(super) fn goes_with_the_link(route: &Route) -> bool {
    let IpAddr::V6(destination) = route.destination else { return false };
    route.by_kernel && (destination.is_unicast_link_local() || destination.is_multicast())
}

fn describe_destination(route: &Route) -> String {
    match (route.destination.is_unspecified(), route.prefix) {
        (true, 0) if route.destination.is_ipv6() => "default (IPv6)".into(),
        (true, 0) => "default".into(),
        (_, prefix) => format!("{}/{prefix}", route.destination),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_made_link_local_is_told_from_an_operators() {
        let mac = MacAddr::new([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let table = [
            ("fe80::5054:ff:fe12:3456", false, true),
            ("fe80::5054:ff:fe12:3456", true, true),
            ("fe80::1", false, false),
            ("fe80::1", true, true),
            ("fd00::1", true, false),
            ("169.254.0.1", false, false),
        ];
        for (ip, kernel_link_local, expected) in table {
            let address = Address { ip: ip.parse().unwrap(), prefix: 64, kernel_link_local };
            assert_eq!(
                link_local(&address, Some(mac)).is_some(),
                expected,
                "{ip} {kernel_link_local}"
            );
        }
    }

    #[test]
    fn names_that_no_device_can_have_are_refused() {
        for name in ["", ".", "..", "a/b", "a:1", "a b", "tab\t", "sixteen-bytes-xx"] {
            let refusal = check_name(name).unwrap_err();
            assert!(matches!(refusal, Refusal::Unsuitable { .. }), "{name:?}");
        }
        for name in ["lo", "tap0", "fifteen-bytes-x", "vif1.0", "ö"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
