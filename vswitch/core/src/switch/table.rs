//! A switch's specification compiled into tables that are indexed, not searched.

use std::{collections::HashMap, sync::Arc};

use weft_vlan::{MacAddr, PortVlan, VlanId, VlanSet};

use super::effects::Effects;
use crate::{
    DropReason, Isolation, PortId, PortKind, PortSpec, Rate, SwitchSpec, Timestamp,
    fdb::Limits,
    guard::{FloodLimiter, Guard},
};

const VLANS: usize = 4096;

/// Everything about a switch that its configuration decides.
pub(super) struct Tables {
    ports: Box<[Option<Box<PortTable>>]>,
    vlans: Box<[Arc<Members>]>,
    statics: HashMap<(VlanId, MacAddr), PortId, foldhash::fast::RandomState>,
}

/// One port.
pub(super) struct PortTable {
    pub(super) vlan: PortVlan,
    pub(super) mtu: u32,
    pub(super) limits: Limits,
    traits: Traits,
    barriers: Traits,
    blocked: VlanSet,
    pub(super) guard: Option<Guard>,
    flood: Option<Arc<FloodLimiter>>,
}

/// What bars the way between some ports, one bit each.
#[derive(Clone, Copy, Default)]
pub(super) struct Traits(u8);

impl Traits {
    /// In the group of isolated ports, which do not talk to each other.
    const ISOLATED: Self = Self(1);
    /// In the group of tunnels, which do not either.
    const TUNNEL: Self = Self(2);
    /// Blocked in some VLAN.
    const BLOCKED: Self = Self(4);
    /// How many sets of groups there are.
    const GROUP_SETS: usize = 4;

    fn of(port: &PortSpec) -> Self {
        let bit = |is_set: bool, bit: Self| if is_set { bit.0 } else { 0 };
        Self(
            bit(port.isolation == Isolation::Isolated, Self::ISOLATED)
                | bit(port.kind == PortKind::Tunnel, Self::TUNNEL)
                | bit(!port.blocked.is_empty(), Self::BLOCKED),
        )
    }

    fn groups(self) -> Self {
        Self(self.0 & (Self::ISOLATED.0 | Self::TUNNEL.0))
    }

    /// Returns the traits of other ports that may bar the way to them.
    fn barriers(self) -> Self {
        Self(self.groups().0 | Self::BLOCKED.0)
    }

    #[inline]
    fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The member set of a VLAN; VLANs with the same members share it.
#[derive(Default)]
pub(super) struct Members {
    pub(super) ports: Box<[PortId]>,
    /// How many of them a port may talk to, by the groups that it is in.
    within_reach: [usize; Traits::GROUP_SETS],
    /// What any of them has.
    traits: Traits,
}

impl Members {
    fn new(ports: &[&PortSpec]) -> Self {
        let within_reach =
            |set: u8| ports.iter().filter(|port| !Traits::of(port).meet(Traits(set))).count();
        Self {
            ports: ports.iter().map(|port| port.id).collect(),
            within_reach: [0, 1, 2, 3].map(within_reach),
            traits: Traits(ports.iter().fold(0, |all, port| all | Traits::of(port).0)),
        }
    }

    /// Tells whether a frame from this member may find its way to another one barred.
    #[inline]
    pub(super) fn has_barrier(&self, from: &PortTable) -> bool {
        from.barriers.meet(self.traits)
    }

    /// Tells why a frame from a member reaches no other member, where that is so.
    pub(super) fn unreachable(&self, from: &PortTable) -> Option<DropReason> {
        let is_empty = |groups: Traits| self.within_reach[usize::from(groups.0)] == 0;
        if self.ports.len() <= 1 {
            Some(DropReason::NoMember)
        } else if !is_empty(from.traits.groups()) {
            None
        } else if from.is_tunnel() && is_empty(Traits::TUNNEL) {
            Some(DropReason::SplitHorizon)
        } else {
            Some(DropReason::Isolated)
        }
    }
}

impl Tables {
    /// Compiles a specification. A port that was there before goes on with the limiter that it had.
    pub(super) fn new(spec: &SwitchSpec, before: Option<&Self>) -> Self {
        let limiter = |port: PortId, rate: Rate| {
            let limiter = before.and_then(|tables| tables.port(port)?.flood.clone());
            limiter
                .filter(|limiter| limiter.rate() == rate)
                .unwrap_or_else(|| Arc::new(FloodLimiter::new(rate)))
        };
        let last = spec.ports.iter().map(|port| port.id.index() + 1).max().unwrap_or(0);
        let mut ports: Vec<Option<Box<PortTable>>> = (0..last).map(|_| None).collect();
        for port in &spec.ports {
            ports[port.id.index()] = Some(Box::new(PortTable {
                vlan: port.vlan.clone(),
                mtu: port.mtu,
                limits: match port.kind {
                    PortKind::Local => Limits::new(spec.ageing, port.mac_limit),
                    PortKind::Tunnel => Limits::new(spec.ageing, port.mac_limit).without_learning(),
                },
                traits: Traits::of(port),
                barriers: Traits::of(port).barriers(),
                blocked: port.blocked.clone(),
                guard: Guard::new(&port.guards),
                flood: port.flood_limit.map(|rate| limiter(port.id, rate)),
            }));
        }
        let statics =
            spec.statics.iter().map(|entry| ((entry.vlan, entry.mac), entry.port)).collect();
        Self { ports: ports.into(), vlans: members(spec), statics }
    }

    #[inline]
    pub(super) fn port(&self, id: PortId) -> Option<&PortTable> {
        self.ports.get(id.index())?.as_deref()
    }

    pub(super) fn members(&self, vlan: VlanId) -> &Members {
        &self.vlans[usize::from(vlan.get())]
    }

    #[inline]
    pub(super) fn static_port(&self, vlan: VlanId, mac: MacAddr) -> Option<PortId> {
        if self.statics.is_empty() { None } else { self.statics.get(&(vlan, mac)).copied() }
    }
}

fn members(spec: &SwitchSpec) -> Box<[Arc<Members>]> {
    let mut shared: HashMap<Vec<PortId>, Arc<Members>, foldhash::fast::RandomState> =
        HashMap::default();
    (0..VLANS as u16)
        .map(|vid| {
            let is_member =
                |vlan: &PortVlan| VlanId::new(vid).is_some_and(|vid| vlan.is_member(vid));
            let members: Vec<&PortSpec> =
                spec.ports.iter().filter(|port| is_member(&port.vlan)).collect();
            let ids = members.iter().map(|port| port.id).collect();
            shared.entry(ids).or_insert_with(|| Arc::new(Members::new(&members))).clone()
        })
        .collect()
}

impl PortTable {
    /// Tells whether other hosts are behind it.
    pub(super) fn is_tunnel(&self) -> bool {
        self.traits.meet(Traits::TUNNEL)
    }

    /// Tells whether nothing enters or leaves the port in a VLAN.
    #[inline]
    pub(super) fn is_blocked(&self, vlan: VlanId) -> bool {
        self.traits.meet(Traits::BLOCKED) && self.blocked.contains(vlan)
    }

    /// Refuses a frame from where it would go round in a loop.
    #[inline]
    pub(super) fn check_loop<E: Effects>(
        &self,
        vlan: VlanId,
        effects: &mut E,
    ) -> Result<(), DropReason> {
        if !self.is_blocked(vlan) {
            return Ok(());
        }
        effects.step("vlan", || format!("blocked in VLAN {vlan}, because a loop was found there"));
        Err(DropReason::LoopBlocked)
    }

    /// Tells why no frame of a VLAN goes from this port to another one, where that is so.
    #[inline]
    pub(super) fn barrier(&self, to: &Self, vlan: VlanId) -> Option<DropReason> {
        // One test for all of it: most ports have no barrier.
        if self.barriers.meet(to.traits) { self.barrier_of(to, vlan) } else { None }
    }

    #[cold]
    fn barrier_of(&self, to: &Self, vlan: VlanId) -> Option<DropReason> {
        let common = Traits(self.traits.0 & to.traits.0);
        if common.meet(Traits::TUNNEL) {
            Some(DropReason::SplitHorizon)
        } else if common.meet(Traits::ISOLATED) {
            Some(DropReason::Isolated)
        } else {
            to.is_blocked(vlan).then_some(DropReason::LoopBlocked)
        }
    }

    /// Charges a frame that is to be flooded against the port's limit.
    #[inline]
    pub(super) fn charge_flood<E: Effects>(
        &self,
        now: Timestamp,
        effects: &mut E,
    ) -> Result<(), DropReason> {
        let Some(limiter) = &self.flood else { return Ok(()) };
        if effects.take(limiter, now) {
            return Ok(());
        }
        effects.step("guard", || "beyond the flood limit of this port".to_owned());
        Err(DropReason::FloodLimited)
    }
}
