//! Peers, their ports, and segments.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use weft_config::{
    Endpoint, PeerConfig, SegmentConfig,
    api::{
        Direction, Peer as PeerView, PeerState, Port as PortView, PortState,
        Segment as SegmentView, Vpn,
    },
    vlan_json,
};
use weft_core::EntryKind;
use weft_vpn::{DownReason, PeerState as TunnelState};

use super::{ViewError, port::sum};
use crate::{
    clock,
    control::{
        state::Control,
        tunnels::{TUNNEL_MTU, Tunnel, TunnelPort},
    },
    tunnel::{PeerReport, Report},
};

/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

impl Control {
    /// Returns every peer, by name.
    pub(crate) fn view_peers(&self, report: Option<&Report>) -> Vec<PeerView> {
        let configured = self.config.vpn.iter().flat_map(|vpn| &vpn.peers);
        configured.map(|(name, config)| self.peer_view(name, config, report)).collect()
    }

    /// Returns one peer.
    pub(crate) fn view_peer(
        &self,
        name: &str,
        report: Option<&Report>,
    ) -> Result<PeerView, ViewError> {
        let config = self.config.vpn.as_ref().and_then(|vpn| vpn.peers.get(name));
        let config = config.ok_or_else(|| self.no_peer(name))?;
        Ok(self.peer_view(name, config, report))
    }

    fn peer_view(&self, name: &str, config: &PeerConfig, report: Option<&Report>) -> PeerView {
        let mut view = PeerView {
            name: name.to_owned(),
            public_key: config.public_key.to_string(),
            endpoint: config.endpoint.as_ref().map(ToString::to_string),
            state: PeerState::Down,
            reason: None,
            handshake_age_seconds: None,
            rtt_ms: None,
            path_mtu: None,
            cipher: None,
            rx: Direction::default(),
            tx: Direction::default(),
            refused: BTreeMap::new(),
            segments: config.segments.clone(),
            problems: Vec::new(),
        };
        let Some(tunnel) = self.tunnels.peer(name) else {
            view.reason = Some(self.why_no_tunnels());
            return view;
        };
        let blocks = || tunnel.ports.iter().flat_map(|port| port.counters.blocks());
        view.rx = sum(blocks().map(|block| &block.rx));
        view.tx = sum(blocks().map(|block| &block.tx));
        let refused = tunnel.peer.counts.all().into_iter();
        view.refused = refused.map(|(reason, count)| (reason.to_owned(), count)).collect();
        view.problems = tunnel.problems().cloned().collect();
        (view.state, view.reason) = tunnel.state_in_words();
        if let Some(report) = report.and_then(|report| report.peers.get(&tunnel.peer.id())) {
            tell(&mut view, report);
        }
        view
    }

    /// Returns every segment, by name.
    pub(crate) fn view_segments(&self) -> Vec<SegmentView> {
        let view = |(name, config): (&String, &SegmentConfig)| {
            let peers = self.config.vpn.iter().flat_map(|vpn| &vpn.peers);
            let carry = peers.filter(|(_, peer)| peer.segments.contains(name));
            let is_remote = |entry: &weft_core::Entry| {
                entry.kind == EntryKind::Remote && entry.vlan == config.vlan
            };
            SegmentView {
                name: name.clone(),
                id: config.id.get(),
                switch: config.switch.clone(),
                vlan: config.vlan.get(),
                answer_arp: config.answer_arp,
                peers: carry.map(|(peer, _)| peer.clone()).collect(),
                remote_macs: self
                    .entries(&config.switch)
                    .iter()
                    .filter(|entry| is_remote(entry))
                    .count(),
                problems: self.segment_problems(config).collect(),
            }
        };
        self.config.segments.iter().map(view).collect()
    }

    /// Returns this host's end of its tunnels.
    pub(super) fn view_vpn(&self, report: Option<&Report>) -> Option<Vpn> {
        let (listen, public_key) = self.tunnels.end()?;
        let mut refused: BTreeMap<String, u64> = BTreeMap::new();
        for (reason, count) in report.into_iter().flat_map(|report| &report.refusals) {
            refused.insert(reason.as_str().to_owned(), *count);
        }
        let (flooded, stray) = self.tunnels.lost();
        let lost = [("flooded", flooded), ("unknown-session", stray)];
        let lost = lost.into_iter().filter(|&(_, count)| count > 0);
        refused.extend(lost.map(|(reason, count)| (reason.to_owned(), count)));
        Some(Vpn { listen: listen.to_string(), public_key: public_key.to_string(), refused })
    }

    /// Says what is wrong in a segment.
    fn segment_problems(&self, segment: &SegmentConfig) -> impl Iterator<Item = String> {
        self.loops(segment).chain(self.tunnels.frozen(segment.id.get()))
    }

    /// Says behind which ports a segment comes back to this host.
    fn loops(&self, segment: &SegmentConfig) -> impl Iterator<Item = String> {
        let vlan = segment.vlan;
        let blocked = self.ports.iter().filter(move |(_, port)| {
            port.config.switch == segment.switch && port.blocked.contains(vlan)
        });
        blocked.map(move |(name, _)| {
            format!(
                "port {name} leads to a host that has this segment by a tunnel, too: it is blocked in VLAN {vlan} so \
                 that no frame goes round, and tried again after 30 s without a sign of it"
            )
        })
    }

    /// Says what is wrong with tunnels.
    pub(super) fn tunnel_problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.tunnels.trouble.iter().cloned().collect();
        for (name, segment) in &self.config.segments {
            let troubles = self.segment_problems(segment);
            problems.extend(troubles.map(|what| format!("segment {name}: {what}")));
        }
        for (name, tunnel) in self.tunnels.peers() {
            problems.extend(tunnel.problems().map(|problem| format!("peer {name}: {problem}")));
            // A peer that is not there yet is no trouble; one that was asked for long may be misspelt.
            if let TunnelState::Down(DownReason::NoAnswer | DownReason::HeldBehind) = tunnel.state
                && let (_, Some(reason)) = tunnel.state_in_words()
            {
                problems.push(format!("peer {name}: {reason}"));
            }
        }
        problems
    }
}

impl Tunnel {
    fn state_in_words(&self) -> (PeerState, Option<String>) {
        match (self.state, &self.config.endpoint) {
            (TunnelState::Up, _) => (PeerState::Up, None),
            (TunnelState::Handshaking, _) => {
                (PeerState::Handshaking, Some("no answer to the handshake yet".to_owned()))
            }
            (TunnelState::Down(DownReason::Waiting), Some(Endpoint::Name { host, .. })) => {
                (PeerState::Down, Some(format!("no address is known of the name {host}")))
            }
            (TunnelState::Down(reason), _) => (PeerState::Down, Some(reason.as_str().to_owned())),
        }
    }
}

impl TunnelPort {
    /// Returns it as one of the switch's ports.
    pub(super) fn view(&self, tunnel: &Tunnel) -> PortView {
        let (state, reason) = match tunnel.state_in_words() {
            (PeerState::Up, _) => (PortState::Up, None),
            (_, reason) => (PortState::Waiting, reason),
        };
        PortView {
            name: self.name.clone(),
            switch: self.switch.clone(),
            kind: "tunnel".to_owned(),
            device: None,
            socket: None,
            vm: None,
            vlan: vlan_json(&self.vlan()),
            mtu: Some(TUNNEL_MTU),
            state,
            reason,
            rx: sum(self.counters.blocks().map(|block| &block.rx)),
            tx: sum(self.counters.blocks().map(|block| &block.tx)),
        }
    }
}

/// Adds what the keeper knows to the view of a peer.
fn tell(view: &mut PeerView, report: &PeerReport) {
    let status = &report.status;
    if let Some(address) = status.endpoint {
        view.endpoint = Some(address.to_string());
    }
    let Some(session) = &status.session else { return };
    view.cipher = Some(session.suite().name().to_owned());
    let age = status.handshake.map(|at| clock::elapsed().saturating_sub(at));
    view.handshake_age_seconds = age.map(|age| age.as_secs());
    view.rtt_ms = report.round_trip.map(milliseconds);
    view.path_mtu = status.endpoint.zip(report.path).map(|(to, payload)| packet(to, payload));
}

/// Returns the bytes of the IP packet that carries a datagram's payload.
fn packet(to: SocketAddr, payload: u16) -> u32 {
    let header = if to.ip().to_canonical().is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
    header + UDP_HEADER + u32::from(payload)
}

/// Returns a time in milliseconds, to a microsecond.
pub(in crate::control) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
