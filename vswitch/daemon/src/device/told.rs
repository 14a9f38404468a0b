//! What the kernel tells of devices, addresses and routes: rtnetlink messages read into plain values.
//! rtnetlink(7). Asks for nothing.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage, AddressProtocol},
    link::{
        AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol},
};
use weft_vlan::MacAddr;

/// A device as the kernel describes it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) running: bool,
    pub(super) ethernet: bool,
    pub(super) loopback: bool,
    pub(super) mac: Option<MacAddr>,
    /// "veth", "bridge", "tun"; hardware has none.
    pub(super) kind: Option<String>,
    /// The bridge, bond or such that this is a port of.
    pub(super) master: Option<u32>,
    /// The device of this namespace that this one stands on, or is the other end of.
    pub(super) lower: Option<u32>,
    /// `None` where there is no IPv6.
    pub(super) address_generation: Option<u8>,
}

impl Link {
    /// Reads a link message; `None` for one that says nothing about a device of its own right, like
    /// those of family `AF_BRIDGE`, which tell of a port's bridge attributes.
    pub(super) fn read(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Running),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            loopback: flags.contains(LinkFlags::Loopback),
            mac: None,
            kind: None,
            master: None,
            lower: None,
            address_generation: None,
        };
        let mut lower_elsewhere = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr::new);
                }
                LinkAttribute::Controller(index) if *index != 0 => link.master = Some(*index),
                LinkAttribute::Link(index) if *index != 0 => link.lower = Some(*index),
                LinkAttribute::LinkNetNsId(_) => lower_elsewhere = true,
                LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
                LinkAttribute::AfSpecUnspec(families) => {
                    link.address_generation = address_generation(families);
                }
                _ => {}
            }
        }
        if lower_elsewhere {
            link.lower = None;
        }
        Some(link)
    }
}

fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn address_generation(families: &[AfSpecUnspec]) -> Option<u8> {
    let inet6 = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(attributes) => Some(attributes),
        _ => None,
    })?;
    inet6.iter().find_map(|attribute| match attribute {
        AfSpecInet6::AddrGenMode(mode) => Some(u8::from(mode)),
        _ => None,
    })
}

/// An address of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    /// Made by the kernel for the link alone, as far as it says so: kernels before 6.1 do not.
    pub(super) kernel_link_local: bool,
}

impl Address {
    pub(super) fn read(message: &AddressMessage) -> Option<Self> {
        let mut ip = None;
        let mut protocol = None;
        for attribute in &message.attributes {
            match attribute {
                // Of a point-to-point pair the local address is ours.
                AddressAttribute::Local(local) => ip = Some(*local),
                AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
                AddressAttribute::Protocol(value) => protocol = Some(*value),
                _ => {}
            }
        }
        Some(Self {
            ip: ip?,
            prefix: message.header.prefix_len,
            kernel_link_local: protocol == Some(AddressProtocol::LinkLocal),
        })
    }
}

/// A route by a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) destination: IpAddr,
    pub(super) prefix: u8,
    /// Made by the kernel itself, with an address or with the device's going up.
    pub(super) by_kernel: bool,
}

impl Route {
    pub(super) fn read(message: &RouteMessage) -> Self {
        let any = match message.header.address_family {
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => IpAddr::V4([0; 4].into()),
        };
        let destination = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
            _ => None,
        });
        Self {
            destination: destination.unwrap_or(any),
            prefix: message.header.destination_prefix_length,
            by_kernel: message.header.protocol == RouteProtocol::Kernel,
        }
    }
}
