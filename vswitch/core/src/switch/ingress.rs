//! What a frame is when it arrives: admitted or not, and in which VLAN. IEEE 802.1Q-2022 clause 6.9.1 and 8.6.1.

use weft_vlan::{ETHERNET_HEADER, Head, PortVlan, Priority, VlanId};

use super::{
    effects::{Effects, Live},
    egress::{excessive_len, is_customer},
    table::PortTable,
};
use crate::{DropReason, Timestamp};

/// A frame that belongs to a VLAN. The order of the fields keeps a reason for a drop, which shares their place in a
/// result, from cutting one of them in two: that would cost a stalled load on every frame.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Classified {
    pub(super) priority: Priority,
    /// What the tag beside the head is.
    pub(super) beside: Beside,
    pub(super) vlan: VlanId,
}

/// What the tag beside a head is to the VLAN that the frame belongs to, where there is one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// The VLAN's own, replaced when the frame leaves.
    Own,
    /// Payload, which goes back in front when the frame leaves.
    Payload,
}

/// Passes a frame through the checks in their order and puts it in its VLAN.
#[inline(always)]
pub(super) fn admit<E: Effects>(
    now: Timestamp,
    port: &PortTable,
    head: &Head,
    effects: &mut E,
) -> Result<Classified, DropReason> {
    check_form(port, head, effects)?;
    if !head.source().is_source() {
        effects.step("ingress", || format!("{} cannot be the source of a frame", head.source()));
        return Err(DropReason::BadSource);
    }
    if head.destination().is_reserved() {
        effects.step("ingress", || {
            format!("{} is for the neighbour alone: bridges never forward it", head.destination())
        });
        return Err(DropReason::ReservedAddress);
    }
    effects.step("ingress", || {
        format!("from {} to {}, {} bytes", head.source(), head.destination(), head.wire_len())
    });
    if let Some(guard) = &port.guard
        && let Err(lie) = guard.check(head)
    {
        effects.step("guard", || lie.to_string());
        return Err(DropReason::Spoofed);
    }
    if head.destination().is_group() {
        port.charge_flood(now, effects)?;
    }
    classify(port, head, effects)
}

/// Returns the VLAN that a frame belongs to, if it is a frame and belongs to one.
pub(super) fn vlan_of(port: &PortTable, head: &Head) -> Option<VlanId> {
    let effects = &mut Live::default();
    check_form(port, head, effects).ok()?;
    classify(port, head, effects).ok().map(|frame| frame.vlan)
}

/// Refuses what is no frame: too short, a tag cut short, a priority tag in front of another tag.
#[inline(always)]
fn check_form<E: Effects>(
    port: &PortTable,
    head: &Head,
    effects: &mut E,
) -> Result<(), DropReason> {
    let tpid = port.vlan.tpid();
    let own_tag = head.tag().filter(|tag| tag.tpid == tpid);
    let text = if !head.has_ethernet_header() {
        "shorter than an Ethernet header"
    } else if head.tag().is_none() && head.is_followed_by(tpid) {
        "its VLAN tag is cut short"
    } else if own_tag.is_some_and(|tag| tag.tci.vid() == 0)
        && !matches!(port.vlan, PortVlan::Dot1qTunnel { .. })
        && head.is_followed_by(tpid)
    {
        "a priority tag (VID 0) stands in front of another tag"
    } else {
        return Ok(());
    };
    effects.step("ingress", || text.to_owned());
    Err(DropReason::Malformed)
}

#[inline(always)]
fn classify<E: Effects>(
    port: &PortTable,
    head: &Head,
    effects: &mut E,
) -> Result<Classified, DropReason> {
    let tpid = port.vlan.tpid();
    let own_tag = head.tag().filter(|tag| tag.tpid == tpid);
    let beside = if own_tag.is_some() { Beside::Own } else { Beside::Payload };
    let priority = own_tag.map_or(Priority::BEST_EFFORT, |tag| tag.tci.priority());
    let vid = own_tag.map_or(0, |tag| tag.tci.vid());
    match &port.vlan {
        PortVlan::Dot1qTunnel { vlan, customer } => {
            if let Some(customer) = customer
                && !is_customer(customer, head.tag())
            {
                effects.step("vlan", || {
                    format!("customer VLAN {vid} is not carried here, only {customer}")
                });
                return Err(DropReason::CustomerVlanNotMember);
            }
            effects.step("vlan", || {
                format!("dot1q-tunnel port: in VLAN {vlan}, its own tags are payload")
            });
            Ok(Classified { vlan: *vlan, priority, beside: Beside::Payload })
        }
        PortVlan::Access(_) | PortVlan::Trunk { .. } if vid == 4095 => {
            effects.step("vlan", || "VID 4095 is reserved".to_owned());
            Err(DropReason::VlanReserved)
        }
        PortVlan::Access(vlan) => {
            if vid != 0 {
                effects.step("vlan", || {
                    format!("access port of VLAN {vlan}, but the frame has a tag with VID {vid}")
                });
                return Err(DropReason::TaggedOnAccess);
            }
            effects.step("vlan", || format!("access port: in VLAN {vlan}"));
            Ok(Classified { vlan: *vlan, priority, beside })
        }
        PortVlan::Trunk { members, native, .. } => {
            let vlan = match (VlanId::new(vid), native) {
                (Some(vlan), _) if members.contains(vlan) => vlan,
                (Some(vlan), _) => {
                    effects.step("vlan", || {
                        format!("VLAN {vlan} is not on this trunk, only {members}")
                    });
                    return Err(DropReason::VlanNotMember);
                }
                (None, Some(native)) => native.vlan(),
                (None, None) => {
                    effects
                        .step("vlan", || "untagged, and this trunk has no native VLAN".to_owned());
                    return Err(DropReason::NoNativeVlan);
                }
            };
            effects.step("vlan", || format!("trunk port: in VLAN {vlan}"));
            Ok(Classified { vlan, priority, beside })
        }
    }
}

/// Refuses metadata that lies, and frames that are longer than the MTU allows.
#[inline(always)]
pub(super) fn check_size<E: Effects>(
    port: &PortTable,
    head: &Head,
    effects: &mut E,
) -> Result<(), DropReason> {
    if head.offload().is_err() {
        effects.step("size", || "its virtio-net metadata does not fit it".to_owned());
        return Err(DropReason::BadOffload);
    }
    if let Some(len) = excessive_len(head, usize::from(head.tag().is_some()), port.mtu) {
        effects.step("size", || {
            let max = port.mtu as usize + ETHERNET_HEADER;
            format!("{len} bytes without tags, but the MTU of {} allows {max}", port.mtu)
        });
        return Err(DropReason::Oversize);
    }
    Ok(())
}
