//! How a port maps frames to VLANs: access, trunk, dot1q-tunnel. IEEE 802.1Q-2022 clauses 6.9 and 8.6.2.

use crate::{Tpid, VlanId, VlanSet};

/// The VLAN mode of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortVlan {
    /// Untagged and priority-tagged frames belong to one VLAN, its PVID; other tags are refused.
    Access(VlanId),
    /// Tagged frames of the member VLANs, and untagged ones where there is a native VLAN.
    Trunk {
        /// The VLANs that may enter and leave.
        members: VlanSet,
        /// The VLAN of untagged frames; always a member.
        native: Option<Native>,
        /// What announces this port's tags.
        tpid: Tpid,
    },
    /// Whatever the customer sends travels as payload of one VLAN.
    Dot1qTunnel {
        /// The service VLAN.
        vlan: VlanId,
        /// The customer VLANs that may enter and leave; `None` for all, and untagged frames too.
        customer: Option<VlanSet>,
    },
}

/// The native VLAN of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// Untagged frames belong to it, and its frames leave untagged.
    Untagged(VlanId),
    /// Untagged frames belong to it; its frames leave tagged all the same.
    Tagged(VlanId),
}

impl Native {
    /// Returns the VLAN.
    pub const fn vlan(self) -> VlanId {
        match self {
            Self::Untagged(vlan) | Self::Tagged(vlan) => vlan,
        }
    }
}

impl PortVlan {
    /// Returns what announces a tag on this port; a tag of another protocol is payload.
    pub const fn tpid(&self) -> Tpid {
        match self {
            Self::Trunk { tpid, .. } => *tpid,
            Self::Access(_) | Self::Dot1qTunnel { .. } => Tpid::Dot1Q,
        }
    }

    /// Tells whether the port is a member of a VLAN.
    pub fn is_member(&self, vlan: VlanId) -> bool {
        match self {
            Self::Access(own) | Self::Dot1qTunnel { vlan: own, .. } => *own == vlan,
            Self::Trunk { members, .. } => members.contains(vlan),
        }
    }

    /// Returns the VLANs that the port is a member of, in ascending order.
    pub fn members(&self) -> VlanSet {
        match self {
            Self::Access(vlan) | Self::Dot1qTunnel { vlan, .. } => [*vlan].into_iter().collect(),
            Self::Trunk { members, .. } => members.clone(),
        }
    }
}
