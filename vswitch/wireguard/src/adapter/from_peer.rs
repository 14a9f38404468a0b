//! Packets from peers: for the VLAN, for other peers, for the adapter itself.

use std::{net::IpAddr, time::Duration};

use weft_vlan::{ETHERNET_HEADER, MacAddr};

use super::{Adapter, Onward, Route, Side};
use crate::{
    AllowedIps, Outbox, PeerId, Refusal, To, fragment,
    icmp::Trouble,
    mss,
    neighbours::{Found, Waiting},
    packet::{Packet, is_link_local, is_unicast, pass_router},
};

impl Adapter {
    /// Makes sure that a packet is from an address that the peer may use: cryptokey routing, WireGuard paper §2.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_source(
        &self,
        peer: PeerId,
        packet: &[u8],
        allowed: &AllowedIps,
    ) -> Result<(), Refusal> {
        self.may_come_from(peer, &Packet::read(packet)?, allowed)
    }

    /// Takes a packet that a peer's record brought, behind room for an Ethernet header, and says where it goes on to.
    ///
    /// # Errors
    /// Why it goes nowhere. The peer is told where that is usual; not of a source address that it may not have.
    pub fn forward_packet(
        &mut self,
        now: Duration,
        peer: PeerId,
        room: &mut [u8],
        allowed: &AllowedIps,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        let (header, bytes) =
            room.split_first_chunk_mut::<ETHERNET_HEADER>().ok_or(Refusal::Malformed)?;
        let packet = Packet::read(bytes)?;
        self.may_come_from(peer, &packet, allowed)?;
        if !is_unicast(packet.destination) {
            return Err(Refusal::Multicast);
        }
        let side = Side::Peer(peer);
        let route = self.route(packet.destination, allowed);
        match route {
            Route::Own => return self.serve(now, side, bytes, &packet, out),
            Route::Group => return Err(Refusal::Multicast),
            _ if is_link_local(packet.destination) => return Err(Refusal::NoRoute),
            _ => {}
        }
        if packet.hops <= 1 {
            self.complain(now, side, Trouble::Expired, bytes, &packet, out);
            return Err(Refusal::Expired);
        }
        match route {
            Route::Peer(other) if other != peer => {
                let mtu = self.config.mtu;
                if packet.len > usize::from(mtu) {
                    self.check_cuttable(now, side, mtu, bytes, &packet, out)?;
                    pass_router(bytes);
                    return cut(bytes, &packet, mtu, |piece| {
                        out.put(To::Peer(other), |out| {
                            piece.iter().for_each(|part| out.extend(*part));
                        });
                    });
                }
                pass_router(bytes);
                mss::clamp(bytes, &packet, mtu);
                Ok(Onward::Peer(other, packet.len))
            }
            Route::Vlan(neighbour) => {
                let mtu = self.config.vlan_mtu;
                if packet.len > usize::from(mtu) {
                    self.check_cuttable(now, side, mtu, bytes, &packet, out)?;
                    return self.cut_into_vlan(now, peer, neighbour, bytes, &packet, out);
                }
                pass_router(bytes);
                mss::clamp(bytes, &packet, self.through_mtu());
                let Some(mac) = self.find_neighbour(now, neighbour, out) else {
                    let whole = &bytes[..packet.len];
                    return self.wait_for(now, peer, neighbour, whole, &packet, out);
                };
                *header = self.header(mac, packet.is_ipv4());
                Ok(Onward::Vlan(packet.len))
            }
            _ => {
                self.complain(now, side, Trouble::NoRoute, bytes, &packet, out);
                Err(Refusal::NoRoute)
            }
        }
    }

    fn may_come_from(
        &self,
        peer: PeerId,
        packet: &Packet,
        allowed: &AllowedIps,
    ) -> Result<(), Refusal> {
        if allowed.find(packet.source) != Some(peer) {
            return Err(Refusal::NotAllowed);
        }
        if !is_unicast(packet.source) || self.is_own(packet.source) {
            return Err(Refusal::BadSource);
        }
        Ok(())
    }

    /// Tells the peer that its packet is too big, if it may not be cut.
    fn check_cuttable(
        &mut self,
        now: Duration,
        side: Side,
        mtu: u16,
        bytes: &[u8],
        packet: &Packet,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        if packet.may_be_cut {
            return Ok(());
        }
        self.complain(now, side, Trouble::TooBig(mtu), bytes, packet, out);
        Err(Refusal::TooBig)
    }

    /// Cuts a packet for the VLAN; its pieces leave as what the adapter says itself.
    fn cut_into_vlan(
        &mut self,
        now: Duration,
        peer: PeerId,
        neighbour: IpAddr,
        bytes: &mut [u8],
        packet: &Packet,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        let mtu = self.config.vlan_mtu;
        pass_router(bytes);
        if let Some(mac) = self.find_neighbour(now, neighbour, out) {
            let header = self.header(mac, packet.is_ipv4());
            return cut(bytes, packet, mtu, |piece| {
                out.put(To::Vlan, |out| {
                    out.extend(header);
                    piece.iter().for_each(|part| out.extend(*part));
                });
            });
        }
        let mut pieces = Vec::new();
        cut(bytes, packet, mtu, |piece| pieces.push(piece.concat()))?;
        for piece in pieces {
            self.wait_for(now, peer, neighbour, &piece, packet, out)?;
        }
        Ok(Onward::Done)
    }

    /// Returns who has an address, as far as that is known; asks again where it is time to.
    fn find_neighbour(
        &mut self,
        now: Duration,
        neighbour: IpAddr,
        out: &mut Outbox,
    ) -> Option<MacAddr> {
        match self.neighbours.find(now, neighbour) {
            Found::At(mac) => Some(mac),
            Found::Confirm(mac) => {
                self.ask(neighbour, Some(mac), out);
                Some(mac)
            }
            Found::Missing => None,
        }
    }

    /// Has a packet, or a piece of one, wait for who has an address.
    fn wait_for(
        &mut self,
        now: Duration,
        peer: PeerId,
        neighbour: IpAddr,
        bytes: &[u8],
        packet: &Packet,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        let waiting = Waiting { packet: bytes.to_vec(), peer };
        let waits = self.neighbours.wait(now, neighbour, waiting);
        for displaced in self.neighbours.displaced() {
            *self.lost.entry((displaced, Refusal::QueueFull)).or_default() += 1;
        }
        match waits {
            Ok(true) => self.ask(neighbour, None, out),
            Ok(false) => {}
            Err(refusal) => {
                if refusal == Refusal::Unreachable {
                    let packet = Packet { len: bytes.len(), ..*packet };
                    self.complain(now, Side::Peer(peer), Trouble::NoHost, bytes, &packet, out);
                }
                return Err(refusal);
            }
        }
        Ok(Onward::Done)
    }
}

/// Hands out the pieces of a packet, each in two parts.
fn cut(
    bytes: &[u8],
    packet: &Packet,
    mtu: u16,
    mut each: impl FnMut([&[u8]; 2]),
) -> Result<Onward, Refusal> {
    let cut = fragment::cut(bytes, packet, mtu.into(), |header, piece| each([header, piece]));
    if cut { Ok(Onward::Done) } else { Err(Refusal::TooBig) }
}
