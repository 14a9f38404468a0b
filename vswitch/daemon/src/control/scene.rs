//! What the overlay is told of the control plane's state, with every plan.

use std::{collections::BTreeMap, sync::Arc};

use weft_config::{PeerConfig, PortType};
use weft_core::PortId;
use weft_overlay::{Answering, HostKey, PeerSpec, SegmentId};
use weft_vlan::{MacAddr, VlanId, VlanSet};

use super::{
    state::{Control, Link, Port},
    tunnels::Tunnel,
};
use crate::overlay::{Probed, Scene, ScenePeer, ScenePort, SceneSegment, Snoop};

impl Control {
    /// Describes peers, segments and ports to the overlay of the host with this key.
    pub(super) fn scene(&self, own: HostKey) -> Scene {
        let switches: BTreeMap<&str, usize> =
            self.switches.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let segments = self.config.segments.values().filter_map(|segment| {
            let switch = self.switches.get(&segment.switch)?;
            let scene = SceneSegment {
                switch: *switches.get(segment.switch.as_str())?,
                vlan: segment.vlan,
                compiled: switch.compiled.clone(),
                fdb: switch.fdb.clone(),
                ageing: self.config.switches.get(&segment.switch)?.mac_ageing,
                answering: if segment.answer_arp { Answering::On } else { Answering::Off },
                statics: self.statics_in(&segment.switch, segment.vlan),
            };
            Some((SegmentId::new(segment.id.get())?, scene))
        });
        let ports = self.ports.values().filter_map(|port| {
            let switch = *switches.get(port.config.switch.as_str())?;
            Some((port.id, port.scene(switch)))
        });
        let peers =
            self.tunnels.peers().map(|(_, tunnel)| (tunnel.peer.id(), self.scene_of(tunnel)));
        Scene { own, peers: peers.collect(), segments: segments.collect(), ports: ports.collect() }
    }

    fn statics_in(&self, switch: &str, vlan: VlanId) -> Vec<(MacAddr, PortId)> {
        let entries = self.config.fdb.iter();
        let here = entries.filter(|entry| entry.switch == switch && entry.vlan == vlan);
        here.filter_map(|entry| Some((entry.mac, self.ports.get(&entry.port)?.id))).collect()
    }

    fn scene_of(&self, tunnel: &Tunnel) -> ScenePeer {
        let ports = tunnel.ports.iter();
        let ports = ports
            .flat_map(|port| port.segments.iter().map(|&(segment, _)| (segment, port.id)))
            .collect();
        let spec = PeerSpec {
            key: HostKey::new(*tunnel.config.public_key.as_bytes()),
            segments: self.names_of(&tunnel.config),
            mac_limit: self.config.switches.values().map(|it| it.mac_limit).max().unwrap_or(0),
        };
        ScenePeer { peer: tunnel.peer.clone(), spec, ports }
    }

    fn names_of(&self, config: &PeerConfig) -> Vec<(SegmentId, String)> {
        let named = config.segments.iter().filter_map(|name| {
            let segment = self.config.segments.get(name)?;
            Some((SegmentId::new(segment.id.get())?, name.clone()))
        });
        named.collect()
    }

    /// Returns what the overlay wants to see of a switch's frames; nothing where no segment is on it.
    pub(super) fn snoop_on(&self, switch: &str) -> Option<Arc<Snoop>> {
        let to = self.tunnels.snooped()?;
        let mut segments =
            self.config.segments.values().filter(|segment| segment.switch == switch).peekable();
        segments.peek()?;
        let answered = segments.filter(|segment| segment.answer_arp);
        let answering = answered.map(|segment| segment.vlan).collect::<VlanSet>();
        Some(Arc::new(Snoop { answering, to }))
    }
}

impl Port {
    fn scene(&self, switch: usize) -> ScenePort {
        let egress = match &self.link {
            Link::Open(open) => Some(open.egress.clone()),
            _ => None,
        };
        let probed = match self.config.kind {
            PortType::Netdev { .. } => Probed::Yes,
            _ => Probed::No,
        };
        ScenePort { switch, vlan: self.config.vlan.clone(), egress, probed }
    }
}
