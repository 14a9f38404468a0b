//! Where a frame leaves, and with which tags. IEEE 802.1Q-2022 clause 8.6.2 and 6.9.2.

use weft_vlan::{
    ETHERNET_HEADER, Head, Native, Offload, PortVlan, Priority, TAG_LEN, Tags, Tci, Tpid, VlanId,
    VlanSet, WireTag,
};

use super::{
    ingress::{Beside, Classified},
    table::{Members, PortTable, Tables},
};
use crate::{DropReason, PortId};

/// The outcome of a decision. Names the ports; copies nothing.
#[derive(Clone, Copy)]
pub struct Egress<'a> {
    tables: &'a Tables,
    head: &'a Head,
    frame: Classified,
    to: To<'a>,
}

#[derive(Clone, Copy)]
enum To<'a> {
    Port(PortId, &'a PortTable),
    Members { ports: &'a [PortId], except: PortId, from: &'a PortTable },
}

impl<'a> Egress<'a> {
    pub(super) fn to_port(
        tables: &'a Tables,
        head: &'a Head,
        frame: Classified,
        port: PortId,
        table: &'a PortTable,
    ) -> Self {
        Self { tables, head, frame, to: To::Port(port, table) }
    }

    pub(super) fn to_members(
        tables: &'a Tables,
        head: &'a Head,
        frame: Classified,
        members: &'a Members,
        ingress: PortId,
        from: &'a PortTable,
    ) -> Self {
        let to = To::Members { ports: &members.ports, except: ingress, from };
        Self { tables, head, frame, to }
    }

    /// Returns the VLAN that the frame belongs to.
    pub fn vlan(&self) -> VlanId {
        self.frame.vlan
    }

    /// Returns the priority that the frame has.
    pub fn priority(&self) -> Priority {
        self.frame.priority
    }

    /// Tells whether the frame goes to every other member of its VLAN.
    pub fn is_flood(&self) -> bool {
        matches!(self.to, To::Members { .. })
    }

    /// Returns every port that shall get the frame, with the tags to put on it or the reason why it does not leave there.
    #[inline]
    pub fn copies(&self) -> impl Iterator<Item = (PortId, Result<Tags, DropReason>)> + '_ {
        let (only, ports, except, from) = match self.to {
            To::Port(port, table) => (Some((port, table)), &[][..], port, table),
            To::Members { ports, except, from } => (None, ports, except, from),
        };
        Copies { egress: self, only, ports: ports.iter(), except, from }
    }

    #[inline]
    fn emit(&self, port: &PortTable) -> Result<Tags, DropReason> {
        let payload = match self.frame.beside {
            Beside::Payload => self.head.tag(),
            Beside::Own => None,
        };
        let vlan = match &port.vlan {
            PortVlan::Access(_) => None,
            PortVlan::Dot1qTunnel { customer: None, .. } => None,
            PortVlan::Dot1qTunnel { customer: Some(customer), .. } => {
                if !is_customer(customer, payload.or_else(|| self.head.second_tag())) {
                    return Err(DropReason::CustomerVlanNotMember);
                }
                None
            }
            PortVlan::Trunk { native: Some(Native::Untagged(native)), tpid, .. }
                if *native == self.frame.vlan =>
            {
                if payload.map_or_else(|| self.head.is_followed_by(*tpid), |tag| tag.tpid == *tpid)
                {
                    return Err(DropReason::AmbiguousTag);
                }
                None
            }
            PortVlan::Trunk { tpid, .. } => {
                Some(WireTag::new(*tpid, Tci::new(self.frame.vlan, self.frame.priority)))
            }
        };
        let tags = Tags { vlan, payload };
        if excessive_len(self.head, tags.wire_len() / TAG_LEN, port.mtu).is_some() {
            return Err(DropReason::Oversize);
        }
        Ok(tags)
    }
}

struct Copies<'a> {
    egress: &'a Egress<'a>,
    only: Option<(PortId, &'a PortTable)>,
    ports: std::slice::Iter<'a, PortId>,
    except: PortId,
    from: &'a PortTable,
}

impl Iterator for Copies<'_> {
    type Item = (PortId, Result<Tags, DropReason>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some((port, table)) = self.only.take() {
            return Some((port, self.egress.emit(table)));
        }
        loop {
            let port = *self.ports.next()?;
            let Some(table) = self.egress.tables.port(port) else { continue };
            if port == self.except {
                continue;
            }
            match self.from.barrier(table, self.egress.frame.vlan) {
                None => return Some((port, self.egress.emit(table))),
                Some(DropReason::LoopBlocked) => return Some((port, Err(DropReason::LoopBlocked))),
                Some(_) => {}
            }
        }
    }
}

/// Tells whether a customer's own tag, the outermost, names one of the VLANs that the port carries.
pub(super) fn is_customer(customer: &VlanSet, own: Option<WireTag>) -> bool {
    own.filter(|tag| tag.tpid == Tpid::Dot1Q)
        .and_then(|tag| VlanId::new(tag.tci.vid()))
        .is_some_and(|vlan| customer.contains(vlan))
}

/// Tags of a frame that its MTU does not count.
const FREE_TAGS: usize = 2;

/// Returns the bytes behind which a frame is too long for this MTU: its own without tags, of which two are free
/// at most; of a super-frame, those of its largest segment. `beside` tags are not in the head's length.
#[inline]
pub(super) fn excessive_len(head: &Head, beside: usize, mtu: u32) -> Option<usize> {
    let max = mtu as usize + ETHERNET_HEADER;
    let len = match head.offload() {
        Ok(Offload { gso: Some(gso), .. }) => {
            head.untagged_len().min(usize::from(gso.header_len) + usize::from(gso.size))
        }
        _ => head.untagged_len(),
    };
    if len <= max {
        return None;
    }
    let behind_addresses = head.bytes().get(ETHERNET_HEADER - 2..).unwrap_or_default();
    let free = behind_addresses
        .chunks(TAG_LEN)
        .take(FREE_TAGS - beside)
        .take_while(|bytes| WireTag::read(bytes).is_some())
        .count();
    let len = len - free * TAG_LEN;
    (len > max).then_some(len)
}
