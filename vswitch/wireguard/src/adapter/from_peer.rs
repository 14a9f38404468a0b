//! Packets from peers: for the VLAN, for other peers, for the adapter itself.

use std::time::Duration;

use weft_vlan::ETHERNET_HEADER;

use super::{Adapter, Onward, Route, Side};
use crate::{
    AllowedIps, Outbox, PeerId, Refusal,
    icmp::Trouble,
    mss,
    neighbours::{Found, Waiting},
    packet::{Packet, is_link_local, is_unicast, pass_router},
};

impl Adapter {
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
        if allowed.find(packet.source) != Some(peer) {
            return Err(Refusal::NotAllowed);
        }
        if !is_unicast(packet.source) || self.is_own(packet.source) {
            return Err(Refusal::BadSource);
        }
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
        let mtu = match route {
            Route::Vlan(_) => self.config.vlan_mtu,
            _ => self.config.mtu,
        };
        if packet.len > usize::from(mtu) {
            self.complain(now, side, Trouble::TooBig(mtu), bytes, &packet, out);
            return Err(Refusal::TooBig);
        }
        let neighbour = match route {
            Route::Peer(other) if other != peer => {
                pass_router(bytes);
                mss::clamp(bytes, &packet, self.config.mtu);
                return Ok(Onward::Peer(other, packet.len));
            }
            Route::Vlan(neighbour) => neighbour,
            _ => {
                self.complain(now, side, Trouble::NoRoute, bytes, &packet, out);
                return Err(Refusal::NoRoute);
            }
        };
        pass_router(bytes);
        mss::clamp(bytes, &packet, self.config.mtu);
        let mac = match self.neighbours.find(now, neighbour) {
            Found::At(mac) => mac,
            Found::Confirm(mac) => {
                self.ask(neighbour, Some(mac), out);
                mac
            }
            Found::Missing => {
                let waiting = Waiting { packet: bytes[..packet.len].to_vec(), peer };
                match self.neighbours.wait(now, neighbour, waiting) {
                    Ok(true) => self.ask(neighbour, None, out),
                    Ok(false) => {}
                    Err(refusal) => {
                        if refusal == Refusal::Unreachable {
                            self.complain(now, side, Trouble::NoHost, bytes, &packet, out);
                        }
                        return Err(refusal);
                    }
                }
                return Ok(Onward::Done);
            }
        };
        *header = self.header(mac, packet.is_ipv4());
        Ok(Onward::Vlan(packet.len))
    }
}
