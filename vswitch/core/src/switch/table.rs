//! A switch's specification compiled into tables that are indexed, not searched.

use std::{collections::HashMap, sync::Arc};

use weft_vlan::{MacAddr, PortVlan, VlanId};

use super::effects::Effects;
use crate::{
    DropReason, Isolation, PortId, Rate, SwitchSpec, Timestamp,
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
    pub(super) isolation: Isolation,
    pub(super) guard: Option<Guard>,
    flood: Option<Arc<FloodLimiter>>,
}

/// The member set of a VLAN; VLANs with the same members share it.
#[derive(Default)]
pub(super) struct Members {
    pub(super) ports: Box<[PortId]>,
    /// How many of them are not isolated.
    pub(super) open: usize,
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
                limits: Limits::new(spec.ageing, port.mac_limit),
                isolation: port.isolation,
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
            let ports: Vec<PortId> = spec
                .ports
                .iter()
                .filter(|port| is_member(&port.vlan))
                .map(|port| port.id)
                .collect();
            let open = || {
                spec.ports
                    .iter()
                    .filter(|port| is_member(&port.vlan) && port.isolation == Isolation::Open)
                    .count()
            };
            match shared.get(&ports) {
                Some(members) => members.clone(),
                None => {
                    let members = Arc::new(Members { ports: ports.clone().into(), open: open() });
                    shared.insert(ports, members.clone());
                    members
                }
            }
        })
        .collect()
}

impl PortTable {
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
