//! What the overlay acts on: peers, segments and ports of one moment. A change is a new scene.

use std::{collections::BTreeMap, sync::Arc};

use weft_core::{Fdb, PortId, Switch};
use weft_overlay::{Answering, HostKey, PeerSpec, SegmentId};
use weft_vlan::{MacAddr, Native, PortVlan, Priority, Tags, Tci, VlanId, WireTag};
use weft_vpn::PeerId;

use crate::{plane::Egress, tunnel::Peer};

/// The overlay's surroundings.
pub(crate) struct Scene {
    /// This host's public key.
    pub(crate) own: HostKey,
    /// The peers.
    pub(crate) peers: BTreeMap<PeerId, ScenePeer>,
    /// The segments of this host.
    pub(crate) segments: BTreeMap<SegmentId, SceneSegment>,
    /// Ports of stations, by their number.
    pub(crate) ports: BTreeMap<PortId, ScenePort>,
}

/// A peer.
pub(crate) struct ScenePeer {
    /// How it is sent to.
    pub(crate) peer: Arc<Peer>,
    /// What it may carry and claim.
    pub(crate) spec: PeerSpec,
    /// Its port on the switch of each segment.
    pub(crate) ports: BTreeMap<SegmentId, PortId>,
}

/// A segment of this host.
pub(crate) struct SceneSegment {
    /// The switch, by its place in the order of their names.
    pub(crate) switch: usize,
    /// What it is called here.
    pub(crate) vlan: VlanId,
    /// Where addresses are entered.
    pub(crate) compiled: Arc<Switch>,
    /// Where addresses are.
    pub(crate) fdb: Arc<Fdb>,
    /// How long an address lives without being heard.
    pub(crate) ageing: std::time::Duration,
    /// Whether ARP and ND are answered.
    pub(crate) answering: Answering,
    /// Addresses that are configured to be here.
    pub(crate) statics: Vec<(MacAddr, PortId)>,
}

/// A port of stations.
pub(crate) struct ScenePort {
    /// The switch, by its place in the order of their names.
    pub(crate) switch: usize,
    /// How it maps frames to VLANs.
    pub(crate) vlan: PortVlan,
    /// Where frames go, while it is open.
    pub(crate) egress: Option<Arc<Egress>>,
    /// Whether a LAN may be behind it, on which a loop can close.
    pub(crate) probed: Probed,
}

/// Whether a port sends loop probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// It does.
    Yes,
    /// A guest or this host itself is behind it.
    No,
}

impl ScenePort {
    /// Returns the VLAN of a frame that came with this tag.
    pub(super) fn vlan_of(&self, tag: Option<WireTag>) -> Option<VlanId> {
        let own = tag.filter(|tag| tag.tpid == self.vlan.tpid() && tag.tci.vid() != 0);
        match (&self.vlan, own) {
            (PortVlan::Access(vlan), None) => Some(*vlan),
            (PortVlan::Trunk { native, .. }, None) => native.map(Native::vlan),
            (PortVlan::Trunk { .. }, Some(tag)) => VlanId::new(tag.tci.vid()),
            (PortVlan::Dot1qTunnel { vlan, .. }, _) => Some(*vlan),
            (PortVlan::Access(_), Some(_)) => None,
        }
    }

    /// Returns the tags with which a frame of a VLAN leaves.
    pub(super) fn tags(&self, vlan: VlanId) -> Tags {
        let tag = |tpid| WireTag::new(tpid, Tci::new(vlan, Priority::BEST_EFFORT));
        match &self.vlan {
            PortVlan::Trunk { native: Some(Native::Untagged(native)), .. } if *native == vlan => {
                Tags::NONE
            }
            PortVlan::Trunk { tpid, .. } => Tags { vlan: Some(tag(*tpid)), payload: None },
            PortVlan::Access(_) | PortVlan::Dot1qTunnel { .. } => Tags::NONE,
        }
    }
}

impl Scene {
    /// Returns the segment that a VLAN of a switch is.
    pub(super) fn segment_at(&self, switch: usize, vlan: VlanId) -> Option<SegmentId> {
        let mut segments = self.segments.iter();
        segments.find(|(_, it)| (it.switch, it.vlan) == (switch, vlan)).map(|(&id, _)| id)
    }
}
