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
    Port(PortId),
    Members {
        ports: &'a [PortId],
        except: PortId,
        /// Whether there may be one that it may not go to.
        has_barrier: bool,
    },
}

impl<'a> Egress<'a> {
    pub(super) fn to_port(
        tables: &'a Tables,
        head: &'a Head,
        frame: Classified,
        port: PortId,
    ) -> Self {
        Self { tables, head, frame, to: To::Port(port) }
    }

    pub(super) fn to_members(
        tables: &'a Tables,
        head: &'a Head,
        frame: Classified,
        members: &'a Members,
        ingress: PortId,
    ) -> Self {
        let has_barrier = tables.port(ingress).is_some_and(|from| members.has_barrier(from));
        let to = To::Members { ports: &members.ports, except: ingress, has_barrier };
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
        let (ports, except, has_barrier) = match &self.to {
            To::Port(port) => (std::slice::from_ref(port), None, false),
            To::Members { ports, except, has_barrier } => (*ports, Some(*except), *has_barrier),
        };
        Copies { egress: self, ports: ports.iter(), except, has_barrier }
    }

    /// Tells why the frame, which is flooded, shall not go to a member, where that is so.
    #[cold]
    fn barrier(&self, except: Option<PortId>, member: &PortTable) -> Option<DropReason> {
        self.tables.port(except?)?.barrier(member, self.frame.vlan)
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
    ports: std::slice::Iter<'a, PortId>,
    except: Option<PortId>,
    has_barrier: bool,
}

impl Iterator for Copies<'_> {
    type Item = (PortId, Result<Tags, DropReason>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let port = *self.ports.next()?;
            let Some(table) = self.egress.tables.port(port) else { continue };
            if Some(port) == self.except {
                continue;
            }
            let barrier =
                if self.has_barrier { self.egress.barrier(self.except, table) } else { None };
            match barrier {
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
