//! One switch: classify, learn, look up, name the egress. IEEE 802.1Q-2022 clauses 6.9 and 8.6.
//! Immutable but for the forwarding database and the flood limiters; a change of configuration is a new one.

mod effects;
mod egress;
mod ingress;
mod table;

use std::sync::Arc;

use weft_vlan::{Head, MacAddr, VlanId};

use self::{
    effects::{Effects, Heard, Live, Told},
    table::{Members, PortTable, Tables},
};
pub use self::{
    effects::{Step, Trace},
    egress::Egress,
};
use crate::{DropReason, Fdb, PortId, SwitchSpec, Timestamp};

/// A set of ports with one forwarding database.
pub struct Switch {
    tables: Tables,
    fdb: Arc<Fdb>,
}

/// Decides on the frames of a burst. What the one before has asked of the forwarding database is not asked again.
pub struct Forwarding<'a> {
    switch: &'a Switch,
    now: Timestamp,
    ingress: PortId,
    live: Live,
}

impl<'a> Forwarding<'a> {
    /// Decides where the next frame goes, and learns its source.
    ///
    /// # Errors
    /// The reason why it goes nowhere.
    #[inline]
    pub fn forward<'b>(&mut self, head: &'b Head) -> Result<Egress<'b>, DropReason>
    where
        'a: 'b,
    {
        self.switch.decide(self.now, self.ingress, head, &mut self.live)
    }
}

/// Where a destination is.
enum Found {
    At(PortId),
    Unknown,
}

impl Switch {
    /// Compiles a specification. The forwarding database outlives it.
    pub fn new(spec: &SwitchSpec, fdb: Arc<Fdb>) -> Self {
        Self { tables: Tables::new(spec, None), fdb }
    }

    /// Compiles the specification that takes this one's place. What a port has used up of its flood limit stays
    /// used up, unless the limit itself is another one.
    pub fn successor(&self, spec: &SwitchSpec, fdb: Arc<Fdb>) -> Self {
        Self { tables: Tables::new(spec, Some(&self.tables)), fdb }
    }

    /// Forgets what was learned in VLANs that its port no longer carries. Meant for when nobody forwards by an
    /// earlier specification any more.
    pub fn forget_left_vlans(&self) {
        self.fdb.retain(|vlan, port| {
            self.tables.port(port).is_some_and(|table| table.vlan.is_member(vlan))
        });
    }

    /// Decides where a frame goes, and learns its source.
    ///
    /// # Errors
    /// The reason why it goes nowhere.
    #[inline]
    pub fn forward<'a>(
        &'a self,
        now: Timestamp,
        ingress: PortId,
        head: &'a Head,
    ) -> Result<Egress<'a>, DropReason> {
        self.burst(now, ingress).forward(head)
    }

    /// Begins to decide on the frames of a burst, which came by one port at one moment.
    #[inline]
    pub fn burst(&self, now: Timestamp, ingress: PortId) -> Forwarding<'_> {
        Forwarding { switch: self, now, ingress, live: Live::default() }
    }

    /// Returns the VLAN that a frame from a port belongs to, if it belongs to one, whatever else becomes of it.
    pub fn vlan_of(&self, ingress: PortId, head: &Head) -> Option<VlanId> {
        ingress::vlan_of(self.tables.port(ingress)?, head)
    }

    /// Says what would happen to a frame, step by step; nothing is learned, counted or used up.
    pub fn trace(&self, now: Timestamp, ingress: PortId, head: &Head) -> Trace {
        let mut told = Told::default();
        let outcome = self.decide(now, ingress, head, &mut told);
        told.into_trace(outcome)
    }

    /// Enters an address on another host's word, at the port of the tunnel to it, in place of whatever was known of
    /// it. `false` when that port is no tunnel that carries the VLAN, or has no room for it.
    ///
    /// Neither age nor a flush takes the entry away: [`Fdb::withdraw`] does, whatever makes room for others, and a
    /// frame from the address on a local port.
    pub fn install(&self, now: Timestamp, vlan: VlanId, mac: MacAddr, port: PortId) -> bool {
        let is_tunnel = |table: &&PortTable| table.is_tunnel() && table.vlan.is_member(vlan);
        let Some(table) = self.tables.port(port).filter(is_tunnel) else { return false };
        mac.is_source() && self.fdb.install(now, &table.limits, vlan, mac, port)
    }

    #[inline(always)]
    fn decide<'a, E: Effects>(
        &'a self,
        now: Timestamp,
        ingress: PortId,
        head: &'a Head,
        effects: &mut E,
    ) -> Result<Egress<'a>, DropReason> {
        let port = self.tables.port(ingress).ok_or(DropReason::PortDown)?;
        let frame = ingress::admit(now, port, head, effects)?;
        port.check_loop(frame.vlan, effects)?;
        ingress::check_size(port, head, effects)?;
        let heard = Heard { fdb: &self.fdb, now, limits: &port.limits };
        self.learn(&heard, ingress, head.source(), frame.vlan, effects)?;
        let to = self.find(&heard, ingress, port, head.destination(), frame.vlan, effects)?;
        let members = match to {
            Found::At(to) => {
                return Ok(Egress::to_port(&self.tables, head, frame, to));
            }
            Found::Unknown => self.tables.members(frame.vlan),
        };
        if !head.destination().is_group() {
            port.charge_flood(now, effects)?;
        }
        self.check_members(port, members, effects)?;
        Ok(Egress::to_members(&self.tables, head, frame, members, ingress))
    }

    #[inline(always)]
    fn learn<E: Effects>(
        &self,
        heard: &Heard<'_>,
        ingress: PortId,
        source: MacAddr,
        vlan: VlanId,
        effects: &mut E,
    ) -> Result<(), DropReason> {
        match self.tables.static_port(vlan, source) {
            Some(at) if at == ingress => {
                effects.step("learn", || format!("{source} is static on this port"));
            }
            Some(_) => {
                effects
                    .step("learn", || format!("{source} is static on another port of VLAN {vlan}"));
                return Err(DropReason::StaticElsewhere);
            }
            None => effects.learn(heard, vlan, source, ingress),
        }
        Ok(())
    }

    #[inline(always)]
    fn find<E: Effects>(
        &self,
        heard: &Heard<'_>,
        ingress: PortId,
        port: &PortTable,
        destination: MacAddr,
        vlan: VlanId,
        effects: &mut E,
    ) -> Result<Found, DropReason> {
        if destination.is_group() {
            effects.step("lookup", || {
                format!("{destination} is a group: every other member of VLAN {vlan}")
            });
            return Ok(Found::Unknown);
        }
        let known = self
            .tables
            .static_port(vlan, destination)
            .or_else(|| effects.look_up(heard, vlan, destination))
            // What was learned before the port left the VLAN counts for nothing.
            .and_then(|at| {
                Some((at, self.tables.port(at).filter(|table| table.vlan.is_member(vlan))?))
            });
        let Some((at, table)) = known else {
            effects.step("lookup", || {
                format!("{destination} is unknown in VLAN {vlan}: every other member gets it")
            });
            return Ok(Found::Unknown);
        };
        if at == ingress {
            effects.step("lookup", || {
                format!("{destination} is on the port where the frame came from")
            });
            return Err(DropReason::SamePort);
        }
        if let Some(reason) = port.barrier(table, vlan) {
            effects.step("lookup", || match reason {
                DropReason::SplitHorizon => {
                    format!("{destination} is behind a tunnel, and the frame came by one")
                }
                DropReason::LoopBlocked => format!(
                    "{destination} is on a port that is blocked in VLAN {vlan}, because of a loop"
                ),
                _ => format!("{destination} is on an isolated port, and this one is isolated too"),
            });
            return Err(reason);
        }
        effects.step("lookup", || {
            let place = if table.is_tunnel() { "behind one tunnel" } else { "on one port" };
            format!("{destination} is known in VLAN {vlan}, {place}")
        });
        Ok(Found::At(at))
    }

    #[inline(always)]
    fn check_members<E: Effects>(
        &self,
        port: &PortTable,
        members: &Members,
        effects: &mut E,
    ) -> Result<(), DropReason> {
        let Some(reason) = members.unreachable(port) else { return Ok(()) };
        effects.step("flood", || {
            let text = match reason {
                DropReason::NoMember => "no other port is in this VLAN",
                DropReason::SplitHorizon => {
                    "every other port in this VLAN is a tunnel, and the frame came by one"
                }
                _ => "every other port in this VLAN is isolated, as this one is",
            };
            text.to_owned()
        });
        Err(reason)
    }
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Switch").field("fdb", &self.fdb).finish_non_exhaustive()
    }
}
