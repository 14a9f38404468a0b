//! By which device, and which neighbour on it, the host reaches an address. rtnetlink(7).

use std::net::IpAddr;

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::NeighbourAttribute,
    route::{RouteAddress, RouteAttribute, RouteMessage},
};
use rtnetlink::packet_core::NLM_F_ACK;
use weft_vlan::MacAddr;

use super::{Devices, gateway::neighbour};

/// The first step from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The device.
    pub(crate) device: String,
    /// The neighbour's MAC address, where it is known.
    pub(crate) mac: Option<MacAddr>,
}

impl Devices {
    /// Returns how the host reaches an address; `None` where it does not.
    pub(crate) async fn way_to(&self, ip: IpAddr) -> Option<Way> {
        let (family, length, destination) = match ip {
            IpAddr::V4(ip) => (AddressFamily::Inet, 32, RouteAddress::Inet(ip)),
            IpAddr::V6(ip) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(ip)),
        };
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        question.header.destination_prefix_length = length;
        question.attributes.push(RouteAttribute::Destination(destination));
        let answers =
            self.netlink.request(RouteNetlinkMessage::GetRoute(question), NLM_F_ACK).await;
        let answers = answers.ok()?;
        let route = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        })?;
        let index = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })?;
        let gateway = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
            RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
            _ => None,
        });
        let device = self.netlink.link_by_index(index).await.ok()??.name;
        Some(Way { device, mac: self.mac_of(index, gateway.unwrap_or(ip)).await })
    }

    async fn mac_of(&self, index: u32, ip: IpAddr) -> Option<MacAddr> {
        let question = RouteNetlinkMessage::GetNeighbour(neighbour(index, ip));
        let answers = self.netlink.request(question, NLM_F_ACK).await.ok()?;
        answers.iter().find_map(|answer| {
            let RouteNetlinkMessage::NewNeighbour(entry) = answer else { return None };
            entry.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr::new)
                }
                _ => None,
            })
        })
    }
}
