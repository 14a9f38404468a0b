//! What the host has on a device: its addresses, and the routes that lead out by it. rtnetlink(7). Read as the kernel
//! tells them, kept as the messages that make them, for this device or for another one.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags,
        RouteProtocol, RouteType,
    },
};
use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use serde::{Deserialize, Serialize};

use super::{
    suitable,
    told::{Address, Link},
};
use crate::clock;

/// `RT_TABLE_LOCAL`: what the kernel keeps there goes with the addresses.
const TABLE_LOCAL: u32 = 255;
/// Of an address's flags those that its owner chose.
const CHOSEN: AddressFlags = AddressFlags::Homeaddress
    .union(AddressFlags::Managetempaddr)
    .union(AddressFlags::Noprefixroute)
    .union(AddressFlags::Mcautojoin);
/// The index of no device, in place of the one's that has it.
const NOWHERE: u32 = 0;
/// Longest name of a device or label of an address, `IFNAMSIZ` without its terminator.
const NAME_LIMIT: usize = 15;
/// Ticks of a second in a route's times: `USER_HZ`.
const USER_HZ: u32 = 100;

/// An address or a route.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Belonging {
    /// As `ip` shows it; tells it from others of its device.
    pub(super) text: String,
    /// The request that makes it, of no device.
    #[serde(with = "wire")]
    message: RouteNetlinkMessage,
}

/// All that a device has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Belongings {
    /// The primary address of a network before its secondary ones.
    pub(super) addresses: Vec<Belonging>,
    /// Routes to gateways before those by them.
    pub(super) routes: Vec<Belonging>,
}

/// A route that cannot be made on another device.
#[derive(Debug, thiserror::Error)]
#[error("the route {0} goes by a nexthop object, which names the device itself")]
pub(super) struct Immovable(String);

impl Belongings {
    /// Sorts out what the kernel told of a device; returns what cannot be made on another one, too.
    pub(super) fn read(
        link: &Link,
        addresses: &[AddressMessage],
        routes: &[RouteMessage],
    ) -> (Self, Vec<Immovable>) {
        let implied: Vec<(IpAddr, u8)> = addresses.iter().filter_map(implied_network).collect();
        let addresses = addresses.iter().filter_map(|message| address(link, message)).collect();
        let mut by_need: Vec<(bool, Belonging)> = Vec::new();
        let mut immovable = Vec::new();
        for message in routes.iter().filter(|message| is_of_its_owner(message, &implied)) {
            match own_routes(link, message) {
                Ok(own) => by_need.extend(own.map(|own| (needs_another(message), own))),
                Err(other) => immovable.push(other),
            }
        }
        by_need.sort_by_key(|(needs_another, _)| *needs_another);
        let routes = by_need.into_iter().map(|(_, route)| route).collect();
        (Self { addresses, routes }, immovable)
    }

    /// Returns these and those of `others` that are none of these.
    pub(super) fn and(mut self, others: Self) -> Self {
        for (own, others) in
            [(&mut self.addresses, others.addresses), (&mut self.routes, others.routes)]
        {
            let new: Vec<Belonging> = others
                .into_iter()
                .filter(|other| !own.iter().any(|own| own.text == other.text))
                .collect();
            own.extend(new);
        }
        self
    }

    /// Returns these but those that are called so.
    pub(super) fn without(mut self, texts: &[String]) -> Self {
        for own in [&mut self.addresses, &mut self.routes] {
            own.retain(|own| !texts.contains(&own.text));
        }
        self
    }

    /// Returns them as they are now that were written down at a second since the machine's start.
    pub(super) fn aged(mut self, written: u64) -> Self {
        let passed = clock::since_boot().as_secs().saturating_sub(written);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        for own in [&mut self.addresses, &mut self.routes] {
            own.retain_mut(|own| own.outlives(passed));
        }
        self
    }

    /// Returns what they are called.
    pub(super) fn texts(&self) -> Vec<String> {
        self.addresses.iter().chain(&self.routes).map(|own| own.text.clone()).collect()
    }

    /// Returns the gateways of the default routes; of all routes, where there is none.
    pub(super) fn gateways(&self) -> Vec<IpAddr> {
        let routes = || {
            self.routes.iter().filter_map(|route| match &route.message {
                RouteNetlinkMessage::NewRoute(message) => Some(message),
                _ => None,
            })
        };
        let mut found: Vec<IpAddr> = routes()
            .filter(|route| route.header.destination_prefix_length == 0)
            .flat_map(gateways)
            .collect();
        if found.is_empty() {
            found = routes().flat_map(gateways).collect();
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Belonging {
    /// Takes so many seconds off its life; tells whether any is left.
    fn outlives(&mut self, passed: u32) -> bool {
        let age = |left: &mut u32| {
            if *left != u32::MAX {
                *left = left.saturating_sub(passed);
            }
            *left > 0
        };
        match &mut self.message {
            RouteNetlinkMessage::NewAddress(message) => {
                message.attributes.iter_mut().all(|attribute| match attribute {
                    AddressAttribute::CacheInfo(times) => {
                        age(&mut times.ifa_preferred);
                        age(&mut times.ifa_valid)
                    }
                    _ => true,
                })
            }
            RouteNetlinkMessage::NewRoute(message) => {
                message.attributes.iter_mut().all(|attribute| match attribute {
                    RouteAttribute::Expires(left) => age(left),
                    _ => true,
                })
            }
            _ => true,
        }
    }

    /// Returns the request that makes it on a device.
    pub(super) fn on(&self, link: &Link) -> RouteNetlinkMessage {
        let mut message = self.message.clone();
        match &mut message {
            RouteNetlinkMessage::NewAddress(message) => {
                message.header.index = link.index;
                for attribute in &mut message.attributes {
                    if let AddressAttribute::Label(alias) = attribute {
                        let label = format!("{}{alias}", link.name);
                        *alias = if label.len() <= NAME_LIMIT { label } else { link.name.clone() };
                    }
                }
            }
            RouteNetlinkMessage::NewRoute(message) => lead_by(message, NOWHERE, link.index),
            _ => {}
        }
        message
    }
}

/// Makes a route that leads by one device, or in part does, lead by another one.
fn lead_by(message: &mut RouteMessage, former: u32, index: u32) {
    for attribute in &mut message.attributes {
        match attribute {
            RouteAttribute::Oif(own) if *own == former => *own = index,
            RouteAttribute::MultiPath(hops) => {
                for hop in hops.iter_mut().filter(|hop| hop.interface_index == former) {
                    hop.interface_index = index;
                }
            }
            _ => {}
        }
    }
}

/// Reads an address, unless it comes and goes with the device itself.
fn address(link: &Link, message: &AddressMessage) -> Option<Belonging> {
    let read = Address::read(message)?;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let mut attributes = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::TargetNetNsId(_) => {}
            AddressAttribute::Label(label) => {
                let alias = label.strip_prefix(&link.name).unwrap_or_default();
                attributes.push(AddressAttribute::Label(alias.to_owned()));
            }
            other => attributes.push(other.clone()),
        }
    }
    let is_ipv6 = message.header.family == AddressFamily::Inet6;
    // IPv6's temporary addresses follow those that they are made of.
    let is_temporary = is_ipv6 && flags.contains(AddressFlags::Secondary);
    if is_temporary || suitable::is_kernels(&read, link.mac) {
        return None;
    }
    let mut flags = flags & CHOSEN;
    if is_ipv6 {
        // It was nobody else's a moment ago.
        flags |= AddressFlags::Nodad;
    }
    attributes.push(AddressAttribute::Flags(flags));
    let mut own = AddressMessage::default();
    own.header = message.header.clone();
    own.header.index = NOWHERE;
    own.header.flags = AddressHeaderFlags::empty();
    own.attributes = attributes;
    Some(Belonging {
        text: format!("{}/{}", read.ip, read.prefix),
        message: RouteNetlinkMessage::NewAddress(own),
    })
}

/// Returns the network that the kernel makes a route to along with an address.
fn implied_network(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    if flags.is_some_and(|flags| flags.contains(AddressFlags::Noprefixroute)) {
        return None;
    }
    // Of a point-to-point pair it is the other end's.
    let far = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    let prefix = message.header.prefix_len;
    Some((network(far?, prefix), prefix))
}

fn network(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    }
}

/// Tells whether somebody put a route there, and not the kernel with an address. Network managers say that theirs are
/// the kernel's.
fn is_of_its_owner(message: &RouteMessage, implied: &[(IpAddr, u8)]) -> bool {
    let header = &message.header;
    let is_implied = header.protocol == RouteProtocol::Kernel
        && destination(message).is_none_or(|ip| {
            let is_of_the_link = ip.is_ipv6()
                && (ip.is_multicast()
                    || network(ip, 10) == IpAddr::V6(0xfe80_u128.wrapping_shl(112).into()));
            is_of_the_link || implied.contains(&(ip, header.destination_prefix_length))
        });
    !is_implied
        && header.kind == RouteType::Unicast
        && table(message) != TABLE_LOCAL
        && !header.flags.contains(RouteFlags::Cloned)
}

fn destination(message: &RouteMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    })
}

/// Returns a route as what is made and removed as one: IPv6 takes the hops of a multipath route one by one, and those by
/// other devices are not this one's.
fn own_routes(
    link: &Link,
    message: &RouteMessage,
) -> Result<impl Iterator<Item = Belonging>, Immovable> {
    let hops = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops)
            if message.header.address_family == AddressFamily::Inet6 =>
        {
            Some(hops)
        }
        _ => None,
    });
    let own = match hops {
        None => vec![route(link, message)?],
        Some(hops) => {
            let own = hops.iter().filter(|hop| hop.interface_index == link.index);
            let single = own.map(|hop| {
                let mut single = message.clone();
                single.attributes.retain(|own| !matches!(own, RouteAttribute::MultiPath(_)));
                single.attributes.push(RouteAttribute::Oif(link.index));
                single.attributes.extend(hop.attributes.iter().cloned());
                route(link, &single)
            });
            single.collect::<Result<_, _>>()?
        }
    };
    Ok(own.into_iter())
}

fn route(link: &Link, message: &RouteMessage) -> Result<Belonging, Immovable> {
    let text = route_text(message);
    let mut own = RouteMessage::default();
    own.header = message.header.clone();
    own.header.flags &= RouteFlags::Onlink;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::NhId(_) => return Err(Immovable(text)),
            RouteAttribute::CacheInfo(times) if times.expires > 0 => {
                own.attributes.push(RouteAttribute::Expires(times.expires.div_ceil(USER_HZ)));
            }
            RouteAttribute::CacheInfo(_) | RouteAttribute::Uid(_) => {}
            RouteAttribute::MultiPath(hops) => {
                let mut hops = hops.clone();
                for hop in &mut hops {
                    hop.flags &= RouteNextHopFlags::Onlink;
                }
                own.attributes.push(RouteAttribute::MultiPath(hops));
            }
            other => own.attributes.push(other.clone()),
        }
    }
    lead_by(&mut own, link.index, NOWHERE);
    Ok(Belonging { text, message: RouteNetlinkMessage::NewRoute(own) })
}

/// Returns a route in the words of `ip route`.
fn route_text(message: &RouteMessage) -> String {
    let header = &message.header;
    let mut text = match header.address_family {
        _ if header.destination_prefix_length > 0 => {
            let destination =
                destination(message).map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
            format!("{destination}/{}", header.destination_prefix_length)
        }
        AddressFamily::Inet6 => "default (IPv6)".to_owned(),
        _ => "default".to_owned(),
    };
    for gateway in gateways(message) {
        text += &format!(" via {gateway}");
    }
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::PrefSource(address) => {
                text += &ip(address).map(|ip| format!(" src {ip}")).unwrap_or_default();
            }
            RouteAttribute::Priority(metric) => text += &format!(" metric {metric}"),
            _ => {}
        }
    }
    match table(message) {
        main if main == u32::from(RouteHeader::RT_TABLE_MAIN) => {}
        other => text += &format!(" table {other}"),
    }
    text
}

fn table(message: &RouteMessage) -> u32 {
    let long = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or_else(|| message.header.table.into())
}

/// Tells whether a route can be made only once its gateway can be reached.
fn needs_another(message: &RouteMessage) -> bool {
    message.attributes.iter().any(|attribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
        )
    })
}

fn gateways(message: &RouteMessage) -> Vec<IpAddr> {
    let own = |attributes: &[RouteAttribute]| -> Vec<IpAddr> {
        let gateways = attributes.iter().filter_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip(address),
            _ => None,
        });
        gateways.collect()
    };
    let hops = message.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => {
            hops.iter().flat_map(|hop| own(&hop.attributes)).collect()
        }
        _ => Vec::new(),
    });
    own(&message.attributes).into_iter().chain(hops).collect()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// A request as its bytes.
mod wire {
    use serde::{Deserializer, Serializer, de::Error};

    use super::*;

    pub(super) fn serialize<S: Serializer>(
        message: &RouteNetlinkMessage,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let payload = NetlinkPayload::InnerMessage(message.clone());
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RouteNetlinkMessage, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes)
            .map(|message| message.payload)
        {
            Ok(NetlinkPayload::InnerMessage(
                message @ (RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::NewRoute(_)),
            )) => Ok(message),
            _ => Err(D::Error::custom("not a request for an address or a route")),
        }
    }
}
