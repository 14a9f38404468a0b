//! Frames from the VLAN: questions about addresses, and packets for peers.

use std::{net::IpAddr, time::Duration};

use weft_vlan::{ETHERNET_HEADER, MacAddr};

use super::{Adapter, Onward, Route, Side};
use crate::{
    AllowedIps, Outbox, Refusal, To,
    arp::{self, Arp},
    fragment,
    icmp::Trouble,
    mss,
    nd::{self, Nd, Standing},
    neighbours::{Heard, Waiting},
    packet::{Packet, be16, is_link_local, is_unicast, pass_router},
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

impl Adapter {
    /// Takes an untagged frame with finished checksums, and says which peer its packet goes to, if it goes on; the packet has
    /// passed a router then. Of a super-frame, whose TCP or UDP checksum may stay undone, `largest` is the longest packet
    /// that it will be cut into.
    ///
    /// # Errors
    /// Why it goes nowhere. Who sent it is told where that is usual.
    pub fn forward_frame(
        &mut self,
        now: Duration,
        frame: &mut [u8],
        largest: Option<usize>,
        allowed: &AllowedIps,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        let (header, bytes) =
            frame.split_first_chunk_mut::<ETHERNET_HEADER>().ok_or(Refusal::Malformed)?;
        let [destination, source] = [0, 6].map(|at| {
            let mut mac = [0; 6];
            mac.copy_from_slice(&header[at..at + 6]);
            MacAddr::new(mac)
        });
        let ethertype = be16(header, 12);
        if source == self.config.mac || !source.is_source() {
            return Err(Refusal::BadSource);
        }
        let is_ours = destination == self.config.mac;
        if !is_ours && !destination.is_group() {
            return Err(Refusal::NotForUs);
        }
        if ethertype == arp::ETHERTYPE {
            let arp = Arp::read(bytes).ok_or(Refusal::Malformed)?;
            return self.take_arp(now, source, arp, allowed, out);
        }
        if !matches!(ethertype, IPV4 | IPV6) || !is_ours && ethertype == IPV4 {
            return Err(Refusal::NotForUs);
        }
        let packet = Packet::read(bytes)?;
        if packet.is_ipv4() != (ethertype == IPV4) {
            return Err(Refusal::Malformed);
        }
        if Nd::is_one(bytes, &packet) {
            return self.take_nd(now, source, bytes, &packet, allowed, out);
        }
        if !is_ours {
            return Err(Refusal::NotForUs);
        }
        self.forward_to_peer(now, source, bytes, &packet, largest, allowed, out)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what a packet is, and what is known when it comes"
    )]
    fn forward_to_peer(
        &mut self,
        now: Duration,
        source: MacAddr,
        bytes: &mut [u8],
        packet: &Packet,
        largest: Option<usize>,
        allowed: &AllowedIps,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        let side = Side::Vlan(source);
        if !is_unicast(packet.source)
            || self.is_own(packet.source)
            || matches!(self.route(packet.source, allowed), Route::Peer(_))
        {
            return Err(Refusal::BadSource);
        }
        if !is_unicast(packet.destination) {
            return Err(Refusal::Multicast);
        }
        let peer = match self.route(packet.destination, allowed) {
            Route::Own => return self.serve(now, side, bytes, packet, out),
            Route::Group => return Err(Refusal::Multicast),
            _ if is_link_local(packet.source) || is_link_local(packet.destination) => {
                return Err(Refusal::NoRoute);
            }
            // The VLAN's hosts reach each other, and the gateway, without the adapter.
            Route::Vlan(_) | Route::None => {
                self.complain(now, side, Trouble::NoRoute, bytes, packet, out);
                return Err(Refusal::NoRoute);
            }
            Route::Peer(peer) => peer,
        };
        if packet.hops <= 1 {
            self.complain(now, side, Trouble::Expired, bytes, packet, out);
            return Err(Refusal::Expired);
        }
        let mtu = self.config.mtu;
        if largest.unwrap_or(packet.len) > usize::from(mtu) {
            if largest.is_none() && packet.may_be_cut {
                pass_router(bytes);
                let cut = fragment::cut(bytes, packet, mtu.into(), |header, piece| {
                    out.put(To::Peer(peer), |out| {
                        out.extend(header);
                        out.extend(piece);
                    });
                });
                return if cut { Ok(Onward::Done) } else { Err(Refusal::TooBig) };
            }
            self.complain(now, side, Trouble::TooBig(mtu), bytes, packet, out);
            return Err(Refusal::TooBig);
        }
        pass_router(bytes);
        mss::clamp(bytes, packet, self.through_mtu());
        Ok(Onward::Peer(peer, packet.len))
    }

    fn take_arp(
        &mut self,
        now: Duration,
        source: MacAddr,
        arp: Arp,
        allowed: &AllowedIps,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        let (sender, target) = (IpAddr::V4(arp.sender_ip), IpAddr::V4(arp.target_ip));
        let is_probe = arp.sender_ip.is_unspecified();
        let is_ours = self.is_own(target) || self.stands_for(target, allowed);
        self.check_sender(source, arp.sender, sender, is_probe, allowed)?;
        let is_asked = arp.is_request && is_ours && sender != target;
        if is_asked {
            let asker = (arp.sender, arp.sender_ip);
            out.put(To::Vlan, |out| arp::put_reply(out, self.config.mac, arp.target_ip, asker));
        }
        if !is_probe {
            let how = if is_asked { Heard::Question } else { Heard::Statement };
            self.take_neighbour(now, sender, source, how, out);
        }
        if is_ours || !arp.is_request { Ok(Onward::Done) } else { Err(Refusal::NotForUs) }
    }

    fn take_nd(
        &mut self,
        now: Duration,
        source: MacAddr,
        bytes: &[u8],
        packet: &Packet,
        allowed: &AllowedIps,
        out: &mut Outbox,
    ) -> Result<Onward, Refusal> {
        if !matches!(bytes[packet.payload], 135 | 136) {
            return Err(Refusal::NotForUs);
        }
        let nd = Nd::read(bytes, packet).ok_or(Refusal::Malformed)?;
        let target = IpAddr::V6(nd.target);
        if !nd.is_solicitation {
            let sender = nd.link_layer.unwrap_or(source);
            self.check_sender(source, sender, target, false, allowed)?;
            let how = if nd.overrides { Heard::Statement } else { Heard::Hint };
            self.take_neighbour(now, target, source, how, out);
            return Ok(Onward::Done);
        }
        let is_probe = nd.source.is_unspecified();
        let asker = nd.link_layer.unwrap_or(source);
        self.check_sender(source, asker, nd.source.into(), is_probe, allowed)?;
        let standing = match self.is_own(target) {
            true => Standing::Own,
            false if self.stands_for(target, allowed) => Standing::Proxy,
            false => return Err(Refusal::NotForUs),
        };
        out.put(To::Vlan, |out| {
            nd::put_answer(out, self.config.mac, nd.target, standing, (asker, nd.source));
        });
        if !is_probe {
            self.take_neighbour(now, nd.source.into(), source, Heard::Question, out);
        }
        Ok(Onward::Done)
    }

    /// Checks what somebody in the VLAN says of its own addresses.
    fn check_sender(
        &self,
        source: MacAddr,
        sender: MacAddr,
        ip: IpAddr,
        is_probe: bool,
        allowed: &AllowedIps,
    ) -> Result<(), Refusal> {
        let is_fit = sender == source
            && (is_probe || is_unicast(ip) && !self.is_own(ip) && !self.stands_for(ip, allowed));
        if is_fit { Ok(()) } else { Err(Refusal::BadSource) }
    }

    /// Notes a neighbour, and sends what has waited for it.
    fn take_neighbour(
        &mut self,
        now: Duration,
        ip: IpAddr,
        mac: MacAddr,
        how: Heard,
        out: &mut Outbox,
    ) {
        if self.network_of(ip).is_none() && !is_link_local(ip) {
            return;
        }
        for Waiting { packet, .. } in self.neighbours.heard(now, ip, mac, how) {
            let is_ipv4 = packet[0] >> 4 == 4;
            out.put(To::Vlan, |out| {
                out.extend(self.header(mac, is_ipv4));
                out.extend(packet);
            });
        }
    }
}
