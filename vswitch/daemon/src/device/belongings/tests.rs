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
    message.header.family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
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
    let all = Belongings::read(&link("eth0", 3), &addresses, &[kernels, local]).0;
    assert_eq!(all.texts(), ["192.0.2.2/24", "192.0.2.3/24"]);
}

#[test]
fn routes_to_gateways_come_before_those_by_them() {
    let by = route(0, vec![RouteAttribute::Oif(3), gateway(1), RouteAttribute::Priority(7)]);
    let mut to = route(32, vec![RouteAttribute::Oif(3)]);
    to.attributes.push(RouteAttribute::Destination(RouteAddress::Inet([192, 0, 2, 1].into())));
    let all = Belongings::read(&link("eth0", 3), &[], &[by, to]).0;
    assert_eq!(all.texts(), ["192.0.2.1/32", "default via 192.0.2.1 metric 7"]);
    assert_eq!(all.gateways(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn what_is_carried_over_names_the_other_device_and_nothing_else_changes() {
    let addresses = [
        address("192.0.2.2", AddressFlags::Permanent | AddressFlags::Noprefixroute, Some("eth0:1")),
        address("192.0.2.3", AddressFlags::Permanent, Some("eth0")),
    ];
    let routes = [
        route(0, vec![RouteAttribute::Oif(3), gateway(1)]),
        route(0, vec![RouteAttribute::MultiPath(vec![hop(3, 1), hop(9, 2)])]),
    ];
    let read = Belongings::read(&link("eth0", 3), &addresses, &routes).0;
    // As it lies in the record.
    let text = serde_json::to_string(&read).unwrap();
    let read: Belongings = serde_json::from_str(&text).unwrap();
    let heir = link("weft0", 5);
    let all: Vec<_> = read.addresses.iter().chain(&read.routes).map(|one| one.on(&heir)).collect();
    let RouteNetlinkMessage::NewAddress(first) = &all[0] else { panic!("{all:?}") };
    assert_eq!(first.header.index, 5);
    assert!(first.attributes.contains(&AddressAttribute::Label("weft0:1".to_owned())), "{first:?}");
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
    let (own, immovable) = Belongings::read(&link("eth0", 3), &[], &[by_object]);
    assert!(own.routes.is_empty());
    let refusal = &immovable[0];
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
