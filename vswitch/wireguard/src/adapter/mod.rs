//! The IP adapter on a VLAN: a router whose one side is Ethernet and whose other sides are peers. RFC 1812, RFC 4861. Where
//! both sides have a network of an address, the longer prefix has it, and the VLAN where they are equal; the ways out of the
//! VLAN are the VLAN's, whatever peers are allowed.

mod from_peer;
mod from_vlan;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;
use weft_vlan::{ETHERNET_HEADER, MacAddr};

use crate::{
    AllowedIps, Outbox, PeerId, Refusal, To, arp,
    icmp::{self, Pace, Trouble},
    nd,
    neighbours::{Neighbours, Waiting},
    packet::{Packet, TCP, UDP, is_link_local},
};

/// Paces of errors to each kind of side.
const PACES: usize = 32;

/// What an adapter is told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterConfig {
    /// Its own address in the VLAN.
    pub mac: MacAddr,
    /// Its own IP addresses, each with the network that it is in.
    pub addresses: Vec<IpNet>,
    /// The VLAN's way out for IPv4.
    pub gateway_v4: Option<Ipv4Addr>,
    /// The VLAN's way out for IPv6.
    pub gateway_v6: Option<Ipv6Addr>,
    /// Bytes of the largest packet to a peer.
    pub mtu: u16,
    /// Bytes of the largest packet into the VLAN.
    pub vlan_mtu: u16,
}

impl AdapterConfig {
    /// Makes the MAC address of the adapter with this public key: locally administered, and the same each time.
    pub fn mac_of(key: &[u8; 32]) -> MacAddr {
        let [a, b, c, d, e, f, ..] = *key;
        MacAddr::new([a & 0xfc | 0x02, b, c, d, e, f])
    }
}

/// Where a packet goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Into the VLAN: an Ethernet header has been written in front of the packet, which has so many bytes.
    Vlan(usize),
    /// To a peer: so many bytes behind the Ethernet header.
    Peer(PeerId, usize),
    /// Nowhere: it was answered, or waits.
    Done,
}

/// An IP adapter on a VLAN.
#[derive(Debug)]
pub struct Adapter {
    config: AdapterConfig,
    link_local: Ipv6Addr,
    neighbours: Neighbours,
    /// Of peers and of neighbours, by their numbers: those who share one are few.
    paces: [[Pace; PACES]; 2],
    /// Packets that were taken and got nowhere after all.
    lost: BTreeMap<(PeerId, Refusal), u64>,
}

/// Who sent a packet, and so hears of what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Vlan(MacAddr),
    Peer(PeerId),
}

/// What an address stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Own,
    Peer(PeerId),
    /// In the VLAN, by this neighbour.
    Vlan(IpAddr),
    /// More than one host.
    Group,
    None,
}

impl Adapter {
    /// Makes an adapter that knows no neighbour yet.
    pub fn new(config: AdapterConfig) -> Self {
        let link_local = nd::link_local(config.mac);
        Self {
            config,
            link_local,
            neighbours: Neighbours::default(),
            paces: Default::default(),
            lost: BTreeMap::new(),
        }
    }

    /// Returns what it was told of itself.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Sends packets of so many bytes into the VLAN at most from here on.
    pub fn set_vlan_mtu(&mut self, mtu: u16) {
        self.config.vlan_mtu = mtu;
    }

    /// Tells the VLAN which addresses the adapter has.
    pub fn announce(&self, out: &mut Outbox) {
        for network in &self.config.addresses {
            self.announce_one(network.addr(), out);
        }
    }

    /// Tells the VLAN that a peer's addresses are to be found here. Only single ones are told: of larger networks the
    /// adapter answers for those that are asked for.
    pub fn announce_peer<'n>(
        &self,
        networks: impl IntoIterator<Item = &'n IpNet>,
        allowed: &AllowedIps,
        out: &mut Outbox,
    ) {
        const AT_ONCE: usize = 64;
        let single = networks.into_iter().filter(|network| {
            network.prefix_len() == network.max_prefix_len()
                && self.stands_for(network.addr(), allowed)
        });
        for network in single.take(AT_ONCE) {
            self.announce_one(network.addr(), out);
        }
    }

    /// Tells whoever sent a packet into the VLAN's side, `frame`, that the peer it is for cannot be reached.
    pub fn peer_unreachable(&mut self, now: Duration, frame: &[u8], out: &mut Outbox) {
        if let Some((header, bytes)) = frame.split_first_chunk::<ETHERNET_HEADER>() {
            let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *header;
            self.complain_of(now, Side::Vlan(MacAddr::new([a, b, c, d, e, f])), bytes, out);
        }
    }

    /// Tells a peer that the peer its packet is for cannot be reached.
    pub fn other_unreachable(
        &mut self,
        now: Duration,
        from: PeerId,
        packet: &[u8],
        out: &mut Outbox,
    ) {
        self.complain_of(now, Side::Peer(from), packet, out);
    }

    /// Does what is due: asks again for neighbours, gives up on those that do not answer.
    pub fn tick(&mut self, now: Duration, out: &mut Outbox) {
        let mut neighbours = std::mem::take(&mut self.neighbours);
        let mut unanswered: Vec<Waiting> = Vec::new();
        neighbours.tick(now, |ip| self.ask(ip, None, out), |waiting| unanswered.push(waiting));
        self.neighbours = neighbours;
        for Waiting { packet: bytes, peer } in unanswered {
            *self.lost.entry((peer, Refusal::Unreachable)).or_default() += 1;
            self.complain_of(now, Side::Peer(peer), &bytes, out);
        }
    }

    /// Returns whose packets waited for a neighbour and got nowhere since this was asked last, why, and how many.
    pub fn take_lost(&mut self) -> impl Iterator<Item = (PeerId, Refusal, u64)> + use<> {
        let lost = std::mem::take(&mut self.lost);
        lost.into_iter().map(|((peer, refusal), packets)| (peer, refusal, packets))
    }

    fn announce_one(&self, address: IpAddr, out: &mut Outbox) {
        out.put(To::Vlan, |out| match address {
            IpAddr::V4(address) => arp::put_announcement(out, self.config.mac, address),
            IpAddr::V6(address) => nd::put_announcement(out, self.config.mac, address),
        });
    }

    /// Asks for an address, of all or of the one that had it.
    fn ask(&self, ip: IpAddr, of: Option<MacAddr>, out: &mut Outbox) {
        let mac = self.config.mac;
        match ip {
            IpAddr::V4(asked) => {
                let IpAddr::V4(own) = self.own_near(ip).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
                else {
                    return;
                };
                let of = of.unwrap_or(MacAddr::BROADCAST);
                out.put(To::Vlan, |out| arp::put_request(out, mac, own, asked, of));
            }
            IpAddr::V6(asked) => {
                let own = match self.own_near(ip) {
                    Some(IpAddr::V6(own)) => own,
                    _ => self.link_local,
                };
                out.put(To::Vlan, |out| nd::put_solicitation(out, mac, own, asked, of));
            }
        }
    }

    /// Returns the own address in the network that an address is in, or else the first one of its family.
    fn own_near(&self, ip: IpAddr) -> Option<IpAddr> {
        if ip.is_ipv6() && is_link_local(ip) {
            return Some(self.link_local.into());
        }
        let family = || {
            let addresses = self.config.addresses.iter();
            addresses.filter(|network| network.addr().is_ipv4() == ip.is_ipv4())
        };
        let near = family().filter(|network| network.contains(&ip));
        let own = near.max_by_key(|network| network.prefix_len()).or_else(|| family().next());
        own.map(IpNet::addr)
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        ip == IpAddr::V6(self.link_local)
            || self.config.addresses.iter().any(|network| network.addr() == ip)
    }

    fn is_gateway(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.config.gateway_v4 == Some(ip),
            IpAddr::V6(ip) => self.config.gateway_v6 == Some(ip),
        }
    }

    /// Returns the longest of the VLAN's networks that an address is in.
    fn network_of(&self, ip: IpAddr) -> Option<&IpNet> {
        let networks = self.config.addresses.iter().filter(|network| network.contains(&ip));
        networks.max_by_key(|network| network.prefix_len())
    }

    /// Tells whether an address of the VLAN's is a peer's, so that the adapter answers for it.
    fn stands_for(&self, ip: IpAddr, allowed: &AllowedIps) -> bool {
        match (self.network_of(ip), allowed.longest(ip)) {
            (Some(network), Some((_, len))) => {
                len > network.prefix_len() && !self.is_own(ip) && !self.is_gateway(ip)
            }
            _ => false,
        }
    }

    fn route(&self, to: IpAddr, allowed: &AllowedIps) -> Route {
        if self.is_own(to) {
            return Route::Own;
        }
        if self.is_gateway(to) {
            return Route::Vlan(to);
        }
        let network = self.network_of(to);
        let gateway = match to {
            IpAddr::V4(_) => self.config.gateway_v4.map(IpAddr::from),
            IpAddr::V6(_) => self.config.gateway_v6.map(IpAddr::from),
        };
        let vlan = match (network, gateway) {
            (Some(network), _) => Some((network.prefix_len(), to)),
            (None, Some(gateway)) => Some((0, gateway)),
            (None, None) => None,
        };
        match (vlan, allowed.longest(to)) {
            (Some((vlan, _)), Some((peer, len))) if len > vlan => Route::Peer(peer),
            (None, Some((peer, _))) => Route::Peer(peer),
            (Some(_), _) if network.is_some_and(|network| is_broadcast(network, to)) => {
                Route::Group
            }
            (Some((_, neighbour)), _) => Route::Vlan(neighbour),
            (None, None) => Route::None,
        }
    }

    /// Returns the bytes of the largest packet that crosses between the VLAN and a peer.
    fn through_mtu(&self) -> u16 {
        self.config.mtu.min(self.config.vlan_mtu)
    }

    /// Serves a packet that is for the adapter itself.
    fn serve(
        &mut self,
        now: Duration,
        side: Side,
        bytes: &[u8],
        packet: &Packet,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        if icmp::is_echo_request(bytes, packet) {
            // What came in as long as this cannot go back so.
            if matches!(side, Side::Peer(_)) && packet.len > usize::from(self.config.mtu) {
                self.complain(now, side, Trouble::TooBig(self.config.mtu), bytes, packet, out);
                return Err(Refusal::TooBig);
            }
            self.put_to(side, packet.is_ipv4(), out, |out| {
                icmp::put_echo_reply(out, bytes, packet);
            });
            return Ok(Onward::Done);
        }
        if matches!(packet.protocol, UDP | TCP) {
            self.complain(now, side, Trouble::NoPort, bytes, packet, out);
        }
        Err(Refusal::NotServed)
    }

    fn complain_of(&mut self, now: Duration, side: Side, bytes: &[u8], out: &mut Outbox) {
        if let Ok(packet) = Packet::read(bytes) {
            self.complain(now, side, Trouble::NoHost, bytes, &packet, out);
        }
    }

    /// Tells whoever sent a packet what is wrong with it, where that may be told.
    fn complain(
        &mut self,
        now: Duration,
        side: Side,
        trouble: Trouble,
        bytes: &[u8],
        packet: &Packet,
        out: &mut Outbox,
    ) {
        let Some(own) = self.own_near(packet.source) else { return };
        if packet.takes_errors(bytes) && self.pace(side).admits(now) {
            self.put_to(side, packet.is_ipv4(), out, |out| {
                icmp::put_error(out, own, trouble, bytes, packet);
            });
        }
    }

    fn pace(&mut self, side: Side) -> &mut Pace {
        let [of_peers, of_neighbours] = &mut self.paces;
        match side {
            Side::Peer(peer) => &mut of_peers[peer.number() as usize % PACES],
            Side::Vlan(mac) => &mut of_neighbours[usize::from(mac.octets()[5]) % PACES],
        }
    }

    /// Sends a packet back to where another came from.
    fn put_to(
        &self,
        side: Side,
        is_ipv4: bool,
        out: &mut Outbox,
        packet: impl FnOnce(&mut Vec<u8>),
    ) {
        match side {
            Side::Peer(peer) => out.put(To::Peer(peer), packet),
            Side::Vlan(mac) => out.put(To::Vlan, |out| {
                out.extend(self.header(mac, is_ipv4));
                packet(out);
            }),
        }
    }

    /// Makes the Ethernet header of a frame from here.
    fn header(&self, to: MacAddr, is_ipv4: bool) -> [u8; ETHERNET_HEADER] {
        let mut header = [0; ETHERNET_HEADER];
        header[..6].copy_from_slice(&to.octets());
        header[6..12].copy_from_slice(&self.config.mac.octets());
        header[12..].copy_from_slice(&if is_ipv4 { [0x08, 0x00] } else { [0x86, 0xdd] });
        header
    }
}

/// Tells whether an address means all hosts of its network, or none: RFC 1122 §3.2.1.3.
fn is_broadcast(network: &IpNet, ip: IpAddr) -> bool {
    network.addr().is_ipv4()
        && network.prefix_len() < 31
        && (ip == network.broadcast() || ip == network.network())
}
