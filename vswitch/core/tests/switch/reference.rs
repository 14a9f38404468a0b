//! A switch as one would write it down from the contract: lists that are searched, frames as vectors of bytes.
//! Shares no decision with the fast one.

use weft_core::{
    DropReason, DropReason::*, EntryKind, Isolation, PortId, PortKind, PortSpec, SwitchSpec,
    Timestamp,
};
use weft_vlan::{MacAddr, Native, PortVlan, VlanId};

use crate::common::{Outcome, Tag};

const TICK: u64 = 1 << 16;

/// A frame as it was sent, with the tags that stand in front taken apart.
struct Parsed {
    destination: MacAddr,
    source: MacAddr,
    tags: Vec<Tag>,
    rest: Vec<u8>,
}

struct Learned {
    vlan: u16,
    mac: MacAddr,
    port: PortId,
    kind: EntryKind,
    /// In units of 2^16 microseconds.
    heard: u64,
}

pub(crate) struct Reference {
    pub(crate) spec: SwitchSpec,
    learned: Vec<Learned>,
    pub(crate) frozen: Vec<(VlanId, MacAddr)>,
    /// Tokens that a port has spent: when, on the microsecond.
    spent: Vec<(PortId, u64)>,
}

impl Reference {
    pub(crate) fn new(spec: SwitchSpec) -> Self {
        Self { spec, learned: Vec::new(), frozen: Vec::new(), spent: Vec::new() }
    }

    pub(crate) fn forward(&mut self, now: Timestamp, ingress: PortId, frame: &[u8]) -> Outcome {
        let port = self.port(ingress).ok_or(PortDown)?.clone();
        let tpid = port.vlan.tpid().ethertype();
        let parsed = parse(frame).ok_or(Malformed)?;
        let is_customer_port = matches!(port.vlan, PortVlan::Dot1qTunnel { .. });
        let outer = parsed.tags.first().copied();
        let own = outer.filter(|tag| tag.0 == tpid);
        let begins_with_tag = |bytes: &[u8]| bytes.starts_with(&tpid.to_be_bytes());
        if outer.is_none() && begins_with_tag(&parsed.rest) {
            return Err(Malformed);
        }
        let behind = parsed.tags.get(1).map_or(begins_with_tag(&parsed.rest), |tag| tag.0 == tpid);
        if !is_customer_port && own.is_some_and(|tag| tag.1 & 0xfff == 0) && behind {
            return Err(Malformed);
        }
        let octets = parsed.source.octets();
        if octets[0] % 2 == 1 || octets == [0; 6] {
            return Err(BadSource);
        }
        let to = parsed.destination.octets();
        if to[..5] == [0x01, 0x80, 0xc2, 0, 0] && to[5] < 16 {
            return Err(ReservedAddress);
        }
        if !port.guards.macs.is_empty() && !port.guards.macs.contains(&parsed.source) {
            return Err(Spoofed);
        }
        let is_group = to[0] % 2 == 1;
        if is_group {
            self.spend(now, &port)?;
        }
        let (vlan, priority, payload) = classify(&port, &parsed, own)?;
        if is_in(vlan, &port.blocked) {
            return Err(LoopBlocked);
        }
        if too_long(frame, port.mtu) {
            return Err(Oversize);
        }
        self.learn(now, &port, vlan, parsed.source)?;
        let targets = match self.find(now, vlan, parsed.destination).filter(|_| !is_group) {
            Some(at) if at == ingress => return Err(SamePort),
            Some(at) => match self.apart(&port, at) {
                Some(reason) => return Err(reason),
                None if is_in(vlan, &self.port(at).unwrap().blocked) => return Err(LoopBlocked),
                None => vec![at],
            },
            None => {
                if !is_group {
                    self.spend(now, &port)?;
                }
                self.others(&port, vlan)?
            }
        };
        let emit = |to: PortId| (to, self.emit(to, vlan, priority, &parsed, &payload));
        let mut copies: Vec<_> = targets.into_iter().map(emit).collect();
        copies.sort_by_key(|copy| copy.0);
        Ok(copies)
    }

    fn port(&self, id: PortId) -> Option<&PortSpec> {
        self.spec.ports.iter().find(|port| port.id == id)
    }

    /// Takes a peer's word for an address; `false` where it counts for nothing.
    pub(crate) fn install(&mut self, now: Timestamp, vlan: u16, mac: MacAddr, id: PortId) -> bool {
        let octets = mac.octets();
        let is_station = octets[0] & 1 == 0 && octets != [0; 6];
        let Some(port) = self.port(id).cloned() else { return false };
        if !is_station || port.kind != PortKind::Tunnel || !self.is_member(id, vlan) {
            return false;
        }
        self.enter(now, &port, vlan, mac, EntryKind::Remote);
        true
    }

    /// Takes a peer's word back.
    pub(crate) fn withdraw(&mut self, vlan: u16, mac: MacAddr, port: PortId) -> bool {
        let before = self.learned.len();
        self.learned.retain(|entry| {
            (entry.vlan, entry.mac, entry.port, entry.kind) != (vlan, mac, port, EntryKind::Remote)
        });
        self.learned.len() < before
    }

    /// Forgets what has aged out.
    pub(crate) fn sweep(&mut self, now: Timestamp) {
        let ageing = self.spec.ageing;
        self.learned.retain(|entry| entry.is_live(now, ageing));
    }

    fn apart(&self, port: &PortSpec, other: PortId) -> Option<DropReason> {
        let other = self.port(other)?;
        if port.kind == PortKind::Tunnel && other.kind == PortKind::Tunnel {
            return Some(SplitHorizon);
        }
        let both = [port.isolation, other.isolation];
        (both == [Isolation::Isolated, Isolation::Isolated]).then_some(Isolated)
    }

    /// Spends a token; there are as many as the rate, and each comes back when its turn of the second is over.
    fn spend(&mut self, now: Timestamp, port: &PortSpec) -> Result<(), DropReason> {
        let Some(rate) = port.flood_limit else { return Ok(()) };
        let interval = 1_000_000 / u64::from(rate.per_second);
        assert_eq!(1_000_000 % u64::from(rate.per_second), 0, "exact rates alone");
        // Tokens still missing are those whose turns, one after the other, end after now.
        let mut missing_until = 0;
        for (_, at) in self.spent.iter().filter(|spent| spent.0 == port.id) {
            missing_until = missing_until.max(*at) + interval;
        }
        let missing = missing_until.saturating_sub(now.as_micros()).div_ceil(interval);
        let debt = missing_until.saturating_sub(now.as_micros());
        if debt + interval > interval * u64::from(rate.per_second) {
            assert!(missing >= u64::from(rate.per_second));
            return Err(FloodLimited);
        }
        self.spent.push((port.id, now.as_micros()));
        Ok(())
    }

    fn learn(
        &mut self,
        now: Timestamp,
        port: &PortSpec,
        vlan: u16,
        mac: MacAddr,
    ) -> Result<(), DropReason> {
        let fixed = |entry: &&weft_core::StaticEntry| entry.vlan.get() == vlan && entry.mac == mac;
        if let Some(entry) = self.spec.statics.iter().find(fixed) {
            return if entry.port == port.id { Ok(()) } else { Err(StaticElsewhere) };
        }
        if port.kind == PortKind::Tunnel {
            return Ok(());
        }
        let tick = now.as_micros() / TICK;
        let refresh = 16.min(ticks(self.spec.ageing) / 4);
        let known = self.learned.iter().find(|entry| entry.vlan == vlan && entry.mac == mac);
        let here = known.filter(|entry| entry.port == port.id);
        let is_fresh = here.is_some_and(|entry| tick - entry.heard < refresh);
        let is_frozen = self.frozen.iter().any(|&(frozen, of)| (frozen.get(), of) == (vlan, mac));
        if !is_fresh && (here.is_some() || !is_frozen) {
            self.enter(now, port, vlan, mac, EntryKind::Learned);
        }
        Ok(())
    }

    fn enter(&mut self, now: Timestamp, port: &PortSpec, vlan: u16, mac: MacAddr, kind: EntryKind) {
        let is_same = |entry: &Learned| entry.vlan == vlan && entry.mac == mac;
        self.learned.retain(|entry| !is_same(entry) || entry.port != port.id);
        while self.learned.iter().filter(|entry| entry.port == port.id).count()
            >= port.mac_limit.unwrap_or(usize::MAX)
        {
            let oldest = self.learned.iter().position(|entry| entry.port == port.id).unwrap();
            self.learned.remove(oldest);
        }
        self.learned.retain(|entry| !is_same(entry));
        let heard = now.as_micros() / TICK;
        self.learned.push(Learned { vlan, mac, port: port.id, kind, heard });
    }

    fn find(&self, now: Timestamp, vlan: u16, mac: MacAddr) -> Option<PortId> {
        let fixed =
            self.spec.statics.iter().find(|entry| entry.vlan.get() == vlan && entry.mac == mac);
        let learned = self.learned.iter().find(|entry| {
            (entry.vlan, entry.mac) == (vlan, mac) && entry.is_live(now, self.spec.ageing)
        });
        let at = fixed.map(|entry| entry.port).or(learned.map(|entry| entry.port))?;
        self.is_member(at, vlan).then_some(at)
    }

    fn is_member(&self, id: PortId, vlan: u16) -> bool {
        self.port(id)
            .is_some_and(|port| port.vlan.members().iter().any(|member| member.get() == vlan))
    }

    fn others(&self, port: &PortSpec, vlan: u16) -> Result<Vec<PortId>, DropReason> {
        let ids = self.spec.ports.iter().map(|port| port.id);
        let members: Vec<PortId> =
            ids.filter(|&id| id != port.id && self.is_member(id, vlan)).collect();
        if members.is_empty() {
            return Err(NoMember);
        }
        let reasons: Vec<_> = members.iter().map(|&member| self.apart(port, member)).collect();
        if reasons.contains(&None) {
            return Ok(members.into_iter().filter(|&to| self.apart(port, to).is_none()).collect());
        }
        Err(if reasons.contains(&Some(Isolated)) { Isolated } else { SplitHorizon })
    }

    fn emit(
        &self,
        to: PortId,
        vlan: u16,
        priority: u16,
        frame: &Parsed,
        payload: &[Tag],
    ) -> Result<Vec<u8>, DropReason> {
        let port = self.port(to).unwrap();
        if is_in(vlan, &port.blocked) {
            return Err(LoopBlocked);
        }
        let tpid = port.vlan.tpid().ethertype();
        let mut tags = payload.to_vec();
        match &port.vlan {
            PortVlan::Access(_) => {}
            PortVlan::Dot1qTunnel { customer, .. } => {
                let own = payload.first().filter(|tag| tag.0 == 0x8100).map(|tag| tag.1 & 0xfff);
                if let Some(customer) = customer
                    && !own.is_some_and(|own| customer.iter().any(|member| member.get() == own))
                {
                    return Err(CustomerVlanNotMember);
                }
            }
            PortVlan::Trunk { native: Some(Native::Untagged(native)), .. }
                if native.get() == vlan =>
            {
                let first = payload.first().map(|tag| tag.0.to_be_bytes().to_vec());
                if first.unwrap_or(frame.rest.clone()).starts_with(&tpid.to_be_bytes()) {
                    return Err(AmbiguousTag);
                }
            }
            PortVlan::Trunk { .. } => tags.insert(0, (tpid, priority << 12 | vlan)),
        }
        let out = crate::common::frame(frame.destination, frame.source, &tags, &frame.rest);
        if too_long(&out, port.mtu) { Err(Oversize) } else { Ok(out) }
    }
}

impl Learned {
    fn is_live(&self, now: Timestamp, ageing: std::time::Duration) -> bool {
        self.kind == EntryKind::Remote || now.as_micros() / TICK - self.heard < ticks(ageing)
    }
}

fn is_in(vlan: u16, set: &weft_vlan::VlanSet) -> bool {
    set.iter().any(|member| member.get() == vlan)
}

fn ticks(span: std::time::Duration) -> u64 {
    (span.as_micros() as u64).div_ceil(TICK)
}

/// The VLAN, PCP and DEI as four bits, and the tags that are payload.
fn classify(
    port: &PortSpec,
    frame: &Parsed,
    own: Option<Tag>,
) -> Result<(u16, u16, Vec<Tag>), DropReason> {
    let vid = own.map_or(0, |tag| tag.1 & 0xfff);
    let priority = own.map_or(0, |tag| tag.1 >> 12);
    let payload = || frame.tags[usize::from(own.is_some())..].to_vec();
    match &port.vlan {
        PortVlan::Dot1qTunnel { vlan, customer } => match customer {
            Some(customer) if !customer.iter().any(|member| member.get() == vid) => {
                Err(CustomerVlanNotMember)
            }
            _ => Ok((vlan.get(), priority, frame.tags.clone())),
        },
        _ if vid == 4095 => Err(VlanReserved),
        PortVlan::Access(vlan) if vid == 0 => Ok((vlan.get(), priority, payload())),
        PortVlan::Access(_) => Err(TaggedOnAccess),
        PortVlan::Trunk { native: Some(native), .. } if vid == 0 => {
            Ok((native.vlan().get(), priority, payload()))
        }
        PortVlan::Trunk { .. } if vid == 0 => Err(NoNativeVlan),
        PortVlan::Trunk { members, .. } => {
            let is_member = members.iter().any(|member| member.get() == vid);
            if is_member { Ok((vid, priority, payload())) } else { Err(VlanNotMember) }
        }
    }
}

/// Takes the whole tags apart that stand one behind the other; an EtherType must follow each.
fn parse(frame: &[u8]) -> Option<Parsed> {
    let mut rest = frame.get(12..)?.to_vec();
    let mut tags = Vec::new();
    while rest.len() >= 6 && (rest[..2] == [0x81, 0x00] || rest[..2] == [0x88, 0xa8]) {
        tags.push((u16::from_be_bytes([rest[0], rest[1]]), u16::from_be_bytes([rest[2], rest[3]])));
        rest.drain(..4);
    }
    if rest.len() < 2 {
        return None;
    }
    let mac = |bytes: &[u8]| MacAddr::new(bytes.try_into().unwrap());
    Some(Parsed { destination: mac(&frame[..6]), source: mac(&frame[6..12]), tags, rest })
}

fn too_long(frame: &[u8], mtu: u32) -> bool {
    let tags = parse(frame).map_or(0, |parsed| parsed.tags.len());
    frame.len() - tags.min(2) * 4 > mtu as usize + 14
}
