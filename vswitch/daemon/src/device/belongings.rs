//! What the host has on a device: its addresses, and the routes that lead out by it. rtnetlink(7). Read as the kernel
//! tells them, kept as the messages that make them, for this device or for another one.

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
    /// Sorts out what the kernel told of a device.
    ///
    /// # Errors
    /// One of the routes cannot be made on another device.
    pub(super) fn read(
        link: &Link,
        addresses: &[AddressMessage],
        routes: &[RouteMessage],
    ) -> Result<Self, Immovable> {
        let addresses = addresses.iter().filter_map(|message| address(link, message)).collect();
        let mut by_need: Vec<(bool, Belonging)> = Vec::new();
        for message in routes.iter().filter(|message| is_of_its_owner(message)) {
            by_need.push((needs_another(message), route(link, message)?));
        }
        by_need.sort_by_key(|(needs_another, _)| *needs_another);
        let routes = by_need.into_iter().map(|(_, route)| route).collect();
        Ok(Self { addresses, routes })
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

/// Tells whether somebody put a route there, and not the kernel with an address.
fn is_of_its_owner(message: &RouteMessage) -> bool {
    let header = &message.header;
    header.protocol != RouteProtocol::Kernel
        && header.kind == RouteType::Unicast
        && table(message) != TABLE_LOCAL
        && !header.flags.contains(RouteFlags::Cloned)
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
            let destination = message.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(address) => ip(address),
                _ => None,
            });
            let destination = destination.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
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

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteNextHop;
    use weft_vlan::MacAddr;

    use super::*;

    fn link(name: &str, index: u32) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mtu: 1500,
            up: true,
            running: true,
            ethernet: true,
            loopback: false,
            mac: Some(MacAddr::new([0x52, 0x54, 0, 0x12, 0x34, 0x56])),
            kind: None,
            master: None,
            lower: None,
            address_generation: None,
        }
    }

    fn address(ip: &str, flags: AddressFlags, label: Option<&str>) -> AddressMessage {
        let ip: IpAddr = ip.parse().unwrap();
        let mut message = AddressMessage::default();
        message.header.family =
            if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.index = 3;
        message.header.prefix_len = 24;
        message.attributes.push(AddressAttribute::Address(ip));
        message.attributes.extend(label.map(|label| AddressAttribute::Label(label.to_owned())));
        message.attributes.push(AddressAttribute::Flags(flags));
        message
    }

    fn route(prefix: u8, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = prefix;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.attributes = attributes;
        message
    }

    fn gateway(last: u8) -> RouteAttribute {
        RouteAttribute::Gateway(RouteAddress::Inet([192, 0, 2, last].into()))
    }

    fn hop(index: u32, last: u8) -> RouteNextHop {
        let mut hop = RouteNextHop::default();
        hop.flags = RouteNextHopFlags::Linkdown | RouteNextHopFlags::Onlink;
        hop.interface_index = index;
        hop.attributes.push(gateway(last));
        hop
    }

    #[test]
    fn what_the_kernel_made_by_itself_is_nobodys() {
        let addresses = [
            address("192.0.2.2", AddressFlags::Permanent, None),
            address("fe80::5054:ff:fe12:3456", AddressFlags::Permanent, None),
            address("fd00::77", AddressFlags::Secondary, None),
            address("192.0.2.3", AddressFlags::Secondary, None),
        ];
        let mut kernels = route(24, vec![RouteAttribute::Oif(3)]);
        kernels.header.protocol = RouteProtocol::Kernel;
        let mut local = route(32, vec![RouteAttribute::Oif(3), RouteAttribute::Table(255)]);
        local.header.table = 255;
        let all = Belongings::read(&link("eth0", 3), &addresses, &[kernels, local]).unwrap();
        assert_eq!(all.texts(), ["192.0.2.2/24", "192.0.2.3/24"]);
    }

    #[test]
    fn routes_to_gateways_come_before_those_by_them() {
        let by = route(0, vec![RouteAttribute::Oif(3), gateway(1), RouteAttribute::Priority(7)]);
        let mut to = route(32, vec![RouteAttribute::Oif(3)]);
        to.attributes.push(RouteAttribute::Destination(RouteAddress::Inet([192, 0, 2, 1].into())));
        let all = Belongings::read(&link("eth0", 3), &[], &[by, to]).unwrap();
        assert_eq!(all.texts(), ["192.0.2.1/32", "default via 192.0.2.1 metric 7"]);
        assert_eq!(all.gateways(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_is_carried_over_names_the_other_device_and_nothing_else_changes() {
        let addresses = [
            address(
                "192.0.2.2",
                AddressFlags::Permanent | AddressFlags::Noprefixroute,
                Some("eth0:1"),
            ),
            address("192.0.2.3", AddressFlags::Permanent, Some("eth0")),
        ];
        let routes = [
            route(0, vec![RouteAttribute::Oif(3), gateway(1)]),
            route(0, vec![RouteAttribute::MultiPath(vec![hop(3, 1), hop(9, 2)])]),
        ];
        let read = Belongings::read(&link("eth0", 3), &addresses, &routes).unwrap();
        // As it lies in the record.
        let text = serde_json::to_string(&read).unwrap();
        let read: Belongings = serde_json::from_str(&text).unwrap();
        let heir = link("weft0", 5);
        let all: Vec<_> =
            read.addresses.iter().chain(&read.routes).map(|one| one.on(&heir)).collect();
        let RouteNetlinkMessage::NewAddress(first) = &all[0] else { panic!("{all:?}") };
        assert_eq!(first.header.index, 5);
        assert!(
            first.attributes.contains(&AddressAttribute::Label("weft0:1".to_owned())),
            "{first:?}"
        );
        assert!(first.attributes.contains(&AddressAttribute::Flags(AddressFlags::Noprefixroute)));
        let RouteNetlinkMessage::NewAddress(second) = &all[1] else { panic!("{all:?}") };
        assert!(second.attributes.contains(&AddressAttribute::Label("weft0".to_owned())));
        let RouteNetlinkMessage::NewRoute(single) = &all[2] else { panic!("{all:?}") };
        assert_eq!(single.attributes, [RouteAttribute::Oif(5), gateway(1)]);
        let RouteNetlinkMessage::NewRoute(several) = &all[3] else { panic!("{all:?}") };
        let [RouteAttribute::MultiPath(hops)] = several.attributes.as_slice() else {
            panic!("{several:?}")
        };
        let ways: Vec<_> = hops.iter().map(|hop| (hop.interface_index, hop.flags)).collect();
        assert_eq!(ways, [(5, RouteNextHopFlags::Onlink), (9, RouteNextHopFlags::Onlink)]);
    }

    #[test]
    fn a_route_by_a_nexthop_object_is_immovable() {
        let by_object = route(0, vec![RouteAttribute::Oif(3), RouteAttribute::NhId(7)]);
        let refusal = Belongings::read(&link("eth0", 3), &[], &[by_object]).unwrap_err();
        assert!(refusal.to_string().contains("nexthop object"), "{refusal}");
    }

    #[test]
    fn a_record_that_asks_for_something_else_is_none() {
        let mut text = serde_json::json!({"text": "x", "message": [1, 2, 3]});
        assert!(serde_json::from_value::<Belonging>(text.clone()).is_err());
        // RTM_SETLINK.
        let mut bytes = vec![0_u8; 32];
        bytes[0] = 32;
        bytes[4] = 19;
        text["message"] = bytes.into();
        assert!(serde_json::from_value::<Belonging>(text).is_err());
    }
}
