//! What happens to tunnels, and what the overlay is told of it.

use std::time::Duration;

use weft_config::api::Happening;
use weft_core::Scope;
use weft_overlay::{HostKey, Owner, probe::ProbeEvent};
use weft_vpn::{PeerId, PeerState};

use super::{FROZEN, Happened, TROUBLES};
use crate::{
    clock,
    control::{
        names::Whose,
        state::{Control, Port},
    },
    overlay::Order,
    tunnel::News,
};

impl Control {
    /// Tells the overlay what is in force.
    pub(in crate::control) fn tell_overlay(&self) {
        let order = match &self.tunnels.running {
            None => Order::Rest,
            Some(running) => {
                let Some(socket) = running.sockets.first().cloned() else { return };
                let own = HostKey::new(*running.own.as_bytes());
                Order::Act(Box::new(self.scene(own)), socket)
            }
        };
        // The overlay's task ends with the daemon.
        let _ = self.tunnels.orders.send(order);
    }

    /// Blocks a port in the VLAN of a segment behind which a loop was found, or lets it in again.
    fn loop_found(&mut self, event: ProbeEvent) {
        let (at, segment, blocks) = match event {
            ProbeEvent::Blocked { port, segment, .. } => (port, segment, true),
            ProbeEvent::Unblocked { port, segment } => (port, segment, false),
        };
        let mut segments = self.config.segments.values();
        let Some(vlan) = segments.find(|it| it.id.get() == segment.get()).map(|it| it.vlan) else {
            return;
        };
        let is_meant = |port: &Port| port.id.index() == usize::from(at.0);
        let Some((name, port)) = self.ports.iter_mut().find(|(_, port)| is_meant(port)) else {
            return;
        };
        if blocks {
            port.blocked.insert(vlan);
            let scope = Scope { vlan: Some(vlan), port: Some(port.id) };
            if let Some(switch) = self.switches.get(&port.config.switch) {
                // What was heard there came round the loop.
                switch.fdb.flush(clock::now(), Duration::MAX, scope);
            }
        } else {
            port.blocked.remove(vlan);
        }
        let (port, vlan) = (name.clone(), vlan.get());
        self.events.tell(match blocks {
            true => Happening::LoopBlocked { port, vlan },
            false => Happening::LoopGone { port, vlan },
        });
        self.put_in_force();
    }

    /// Takes in what happened to a tunnel.
    pub(in crate::control) async fn tunnel_happened(&mut self, happened: Happened) {
        match happened {
            Happened::Told(News::Stamps(stamps)) => {
                let directory = self.tunnels.state_dir.clone();
                let written = tokio::task::spawn_blocking(move || stamps.write(&directory)).await;
                if let Ok(Err(error)) = written {
                    tracing::warn!(%error, "cannot keep the timestamps of handshakes");
                }
            }
            Happened::Told(News::State(id, state)) => {
                let orders = self.tunnels.orders.clone();
                let events = self.events.clone();
                let Some((name, tunnel)) = self.tunnels.find(id) else { return };
                tunnel.state = state;
                match state {
                    PeerState::Up => {
                        let _ = orders.send(Order::Up(id));
                        tunnel.troubles.clear();
                    }
                    PeerState::Handshaking => tracing::debug!(peer = name, "handshake"),
                    PeerState::Down(_) => _ = orders.send(Order::Down(id)),
                }
                let reason = match state {
                    PeerState::Up => None,
                    PeerState::Handshaking if tunnel.told != Some(None) => return,
                    PeerState::Handshaking => Some("no session any more: a handshake is tried"),
                    PeerState::Down(reason) => Some(reason.as_str()),
                };
                if tunnel.told.replace(reason) != Some(reason) {
                    let peer = name.clone();
                    events.tell(match reason {
                        None => Happening::PeerUp { peer },
                        Some(reason) => Happening::PeerDown { peer, reason: reason.to_owned() },
                    });
                }
            }
            Happened::Told(News::Trouble(id, text)) => {
                let Some((name, tunnel)) = self.tunnels.find(id) else { return };
                let known = tunnel.troubles.iter().position(|known| *known == text);
                match known {
                    // Whoever repeats it does not fill the log.
                    Some(at) => _ = tunnel.troubles.remove(at),
                    None => tracing::warn!(peer = name, "{text}"),
                }
                tunnel.troubles.push(text);
                if tunnel.troubles.len() > TROUBLES {
                    tunnel.troubles.remove(0);
                }
            }
            Happened::Told(News::Compared(id, mismatches)) => {
                let Some((name, tunnel)) = self.tunnels.find(id) else { return };
                for text in mismatches.iter().filter(|text| !tunnel.mismatches.contains(text)) {
                    tracing::warn!(peer = name, "{text}");
                }
                tunnel.mismatches = mismatches;
            }
            Happened::Told(News::Frozen(segment, mac, owner)) => {
                let place = match owner {
                    Owner::Here => Some("on this host".to_owned()),
                    Owner::Peer(peer) => {
                        self.tunnels.find(PeerId(peer.0)).map(|(name, _)| format!("at peer {name}"))
                    }
                };
                let stays = place.unwrap_or_else(|| "at a peer".to_owned());
                self.events.tell(Happening::MacFrozen {
                    segment: segment.get(),
                    mac: mac.to_string(),
                    stays: stays.clone(),
                });
                if self.tunnels.frozen.len() < FROZEN {
                    self.tunnels.frozen.insert((segment, mac), stays);
                }
            }
            Happened::Told(News::Thawed(segment, mac)) => {
                let (segment_number, address) = (segment.get(), mac.to_string());
                self.events.tell(Happening::MacThawed { segment: segment_number, mac: address });
                self.tunnels.frozen.remove(&(segment, mac));
            }
            Happened::Told(News::Unanswered(id)) => {
                let happened = self.tunnels.news.clone();
                let Some((name, tunnel)) = self.tunnels.find(id) else { return };
                tunnel.asking.ask(
                    Whose::Peer(name.clone()),
                    tunnel.config.endpoint.as_ref(),
                    &happened,
                );
            }
            Happened::Loop(event) => self.loop_found(event),
            Happened::Resolved(resolved) => match resolved.whose() {
                Whose::Peer(_) => self.tunnels.resolved(resolved),
                Whose::Client { .. } => self.client_resolved(resolved),
            },
        }
    }
}
