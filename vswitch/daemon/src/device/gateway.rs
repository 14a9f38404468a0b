//! Whether the gateways of the host's routes answer, asked by the kernel's own ARP and neighbour discovery: an entry of
//! the neighbour table is taken away and asked for again. rtnetlink(7), arp(7).

use std::{net::IpAddr, time::Duration};

use futures_util::future::join_all;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE};
use rustix::io::Errno;
use tokio::time::{sleep, timeout};

use super::{
    Devices, Refusal,
    netlink::{Failure, Netlink},
};

/// How often it is looked for an answer.
const INTERVAL: Duration = Duration::from_millis(20);

/// The gateways of the host's routes by a device.
pub(crate) struct Gateways {
    netlink: Netlink,
    ips: Vec<IpAddr>,
}

impl Devices {
    /// Returns the gateways of the default routes by a device; of all routes by it, where there is no default route.
    ///
    /// # Errors
    ///
    /// The device is missing, or the kernel said no.
    pub(crate) async fn gateways(&self, device: &str) -> Result<Gateways, Refusal> {
        let link = self.find(device).await?;
        let ips = self.belongings(&link).await?.0.gateways();
        Ok(Gateways { netlink: self.netlink.clone(), ips })
    }
}

impl Gateways {
    pub(crate) fn is_empty(&self) -> bool {
        self.ips.is_empty()
    }

    /// Tells for IPv4 and IPv6 whether there is one.
    pub(crate) fn families(&self) -> [bool; 2] {
        [self.ips.iter().any(IpAddr::is_ipv4), self.ips.iter().any(IpAddr::is_ipv6)]
    }

    /// Keeps those that answer by a device; returns the others.
    pub(crate) async fn keep_answering(&mut self, device: &str, patience: Duration) -> Vec<IpAddr> {
        let ask = async |ip| {
            let answers = timeout(patience, self.netlink.answers(device, ip)).await;
            (ip, matches!(answers, Ok(Ok(()))))
        };
        let asked = join_all(self.ips.iter().copied().map(ask)).await;
        let (answering, silent): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(_, answers)| *answers);
        self.ips = answering.into_iter().map(|(ip, _)| ip).collect();
        silent.into_iter().map(|(ip, _)| ip).collect()
    }
}

impl Netlink {
    /// Has the kernel ask for a neighbour anew, again and again, until it answers.
    async fn answers(&self, device: &str, ip: IpAddr) -> Result<(), Failure> {
        let gone = || Failure::own(Errno::NODEV, "the device is gone");
        let link = self.link_by_name(device).await?.ok_or_else(gone)?;
        let entry = neighbour(link.index, ip);
        match self.state(&entry).await {
            // Whoever wrote it down does not want it asked for.
            Some(NeighbourState::Permanent | NeighbourState::Noarp) => return Ok(()),
            Some(_) => {
                // It may have gone by itself.
                let _ = self.tell(RouteNetlinkMessage::DelNeighbour(entry.clone()), 0).await;
            }
            None => {}
        }
        let mut wanted = entry.clone();
        wanted.header.flags = NeighbourFlags::Use;
        loop {
            self.tell(RouteNetlinkMessage::NewNeighbour(wanted.clone()), NLM_F_CREATE).await?;
            let mut state = Some(NeighbourState::Incomplete);
            while !matches!(state, Some(NeighbourState::Failed) | None) {
                sleep(INTERVAL).await;
                state = self.state(&entry).await;
                if state == Some(NeighbourState::Reachable) {
                    return Ok(());
                }
            }
        }
    }

    async fn state(&self, entry: &NeighbourMessage) -> Option<NeighbourState> {
        let answers =
            self.request(RouteNetlinkMessage::GetNeighbour(entry.clone()), NLM_F_ACK).await.ok()?;
        answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) => Some(message.header.state),
            _ => None,
        })
    }
}

/// Returns the question after a neighbour.
pub(super) fn neighbour(index: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    let (family, address) = match ip {
        IpAddr::V4(ip) => (AddressFamily::Inet, NeighbourAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, NeighbourAddress::Inet6(ip)),
    };
    message.header.family = family;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}
