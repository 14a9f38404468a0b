//! Frames, ports and switches in few words.

use std::{sync::Arc, time::Duration};

use weft_core::{
    DropReason, Egress, Fdb, Guards, Isolation, PortId, PortKind, PortSpec, StaticEntry, Switch,
    SwitchSpec, Timestamp,
};
use weft_vlan::{Head, MacAddr, Native, PortVlan, Tags, Tpid, VlanId, VlanSet};

pub(crate) const AGEING: Duration = Duration::from_secs(300);
pub(crate) const BROADCAST: MacAddr = MacAddr::BROADCAST;

pub(crate) fn port(index: u16) -> PortId {
    PortId::new(index).unwrap()
}

pub(crate) fn vlan(vid: u16) -> VlanId {
    VlanId::new(vid).unwrap()
}

pub(crate) fn vlans(vids: &[u16]) -> VlanSet {
    vids.iter().map(|&vid| vlan(vid)).collect()
}

pub(crate) fn host(number: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | number)
}

pub(crate) fn seconds(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000 + seconds * 1_000_000)
}

/// TPID and TCI of a tag.
pub(crate) type Tag = (u16, u16);

/// A customer tag.
pub(crate) fn q(tci: u16) -> Tag {
    (0x8100, tci)
}

/// A service tag.
pub(crate) fn ad(tci: u16) -> Tag {
    (0x88a8, tci)
}

/// A frame with these tags and this payload behind them, EtherType first.
pub(crate) fn frame(
    destination: MacAddr,
    source: MacAddr,
    tags: &[Tag],
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [destination.octets(), source.octets()].concat();
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// An EtherType that nobody parses, and some bytes.
pub(crate) const PAYLOAD: &[u8] = &[0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8];

pub(crate) fn head(frame: &[u8]) -> Head {
    Head::read(&frame[..frame.len().min(Head::PREFIX)], frame.len(), None)
}

/// The frame that leaves with these tags.
pub(crate) fn tagged(head: &Head, tags: Tags) -> Vec<u8> {
    let (addresses, rest) = head.bytes().split_at(12);
    let tags: Vec<u8> = tags.iter().flat_map(weft_vlan::WireTag::to_bytes).collect();
    [addresses, &tags, rest].concat()
}

pub(crate) fn access(vid: u16) -> PortVlan {
    PortVlan::Access(vlan(vid))
}

pub(crate) fn trunk(members: &[u16]) -> PortVlan {
    PortVlan::Trunk { members: vlans(members), native: None, tpid: Tpid::Dot1Q }
}

pub(crate) fn native(members: &[u16], native: u16) -> PortVlan {
    let native = Some(Native::Untagged(vlan(native)));
    PortVlan::Trunk { members: vlans(members), native, tpid: Tpid::Dot1Q }
}

pub(crate) fn native_tagged(members: &[u16], native: u16) -> PortVlan {
    let native = Some(Native::Tagged(vlan(native)));
    PortVlan::Trunk { members: vlans(members), native, tpid: Tpid::Dot1Q }
}

pub(crate) fn service(members: &[u16], native: Option<u16>) -> PortVlan {
    let native = native.map(|vid| Native::Untagged(vlan(vid)));
    PortVlan::Trunk { members: vlans(members), native, tpid: Tpid::Dot1ad }
}

pub(crate) fn tunnel(vid: u16, customer: Option<&[u16]>) -> PortVlan {
    PortVlan::Dot1qTunnel { vlan: vlan(vid), customer: customer.map(vlans) }
}

pub(crate) fn spec(id: PortId, vlan: PortVlan) -> PortSpec {
    PortSpec {
        id,
        kind: PortKind::Local,
        vlan,
        blocked: VlanSet::new(),
        mtu: 1500,
        mac_limit: None,
        guards: Guards::default(),
        isolation: Isolation::Open,
        flood_limit: None,
    }
}

pub(crate) fn switch_spec(ports: Vec<PortSpec>, statics: Vec<StaticEntry>) -> SwitchSpec {
    SwitchSpec { ageing: AGEING, mac_limit: 1024, ports, statics }
}

pub(crate) fn switch(ports: Vec<PortSpec>) -> Switch {
    switch_with(ports, Vec::new())
}

pub(crate) fn switch_with(ports: Vec<PortSpec>, statics: Vec<StaticEntry>) -> Switch {
    Switch::new(&switch_spec(ports, statics), fdb())
}

pub(crate) fn fdb() -> Arc<Fdb> {
    Arc::new(Fdb::new(1024, [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321]))
}

/// What leaves, by port, or why nothing does.
pub(crate) type Outcome = Result<Vec<(PortId, Result<Vec<u8>, DropReason>)>, DropReason>;

pub(crate) fn outcome(head: &Head, decision: Result<Egress<'_>, DropReason>) -> Outcome {
    let egress = decision?;
    let mut copies: Vec<_> =
        egress.copies().map(|(to, tags)| (to, tags.map(|tags| tagged(head, tags)))).collect();
    copies.sort_by_key(|copy| copy.0);
    Ok(copies)
}

/// Forwards a frame; the trace of it before must have said the same.
pub(crate) fn forward(switch: &Switch, now: Timestamp, ingress: PortId, head: &Head) -> Outcome {
    let traced = switch.trace(now, ingress, head);
    let decision = switch.forward(now, ingress, head);
    assert_eq!(traced.reason, decision.as_ref().err().copied(), "{traced:?}");
    assert!(!traced.steps.is_empty() || traced.reason == Some(DropReason::PortDown));
    if let Ok(egress) = &decision {
        assert_eq!(traced.egress, egress.copies().collect::<Vec<_>>());
        assert_eq!((traced.vlan, traced.is_flood), (Some(egress.vlan()), egress.is_flood()));
    }
    outcome(head, decision)
}

/// The ports that a frame went to.
pub(crate) fn ports_of(outcome: Outcome) -> Result<Vec<PortId>, DropReason> {
    Ok(outcome?.into_iter().filter(|(_, copy)| copy.is_ok()).map(|(to, _)| to).collect())
}
