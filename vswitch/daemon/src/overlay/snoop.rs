//! Frames that the overlay wants to see, handed over by workers: loop probes, and questions of ARP and neighbour
//! discovery in segments that are answered for. What cannot be handed over is switched like any other frame.

use tokio::sync::mpsc;
use weft_core::PortId;
use weft_overlay::probe::Probe;
use weft_vlan::{Head, VlanId, VlanSet, WireTag};

/// Frames that wait for the overlay at most.
pub(crate) const SNOOPED_MAX: usize = 1024;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const IPV6_NEXT_HEADER: usize = 14 + 6;
const ICMPV6_TYPE: usize = 14 + 40;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// A frame for the overlay.
#[derive(Debug)]
pub(crate) enum Snooped {
    /// May be a loop probe; it goes no further. With the tag that it came with.
    Probe(PortId, Option<WireTag>, Vec<u8>),
    /// A question to all that waits for an answer, or for being sent on with its tag.
    Question(PortId, VlanId, Option<WireTag>, Vec<u8>),
    /// Somebody says who it is; the frame has gone its way.
    Heard(PortId, VlanId, Vec<u8>),
}

/// What is snooped on a port.
#[derive(Clone, Debug)]
pub(crate) struct Snoop {
    /// VLANs whose questions are answered for.
    pub(crate) answering: VlanSet,
    /// Where frames are handed over.
    pub(crate) to: mpsc::Sender<Snooped>,
}

impl Snoop {
    /// Hands a loop probe over; tells whether the frame is one.
    #[inline]
    pub(crate) fn takes_probe(&self, port: PortId, head: &Head) -> bool {
        if !Probe::may_be(head.bytes()) {
            return false;
        }
        // A probe that is lost is sent again within the second.
        let _ = self.to.try_send(Snooped::Probe(port, head.tag(), head.bytes().to_vec()));
        true
    }

    /// Hands a question over that is about to be flooded; tells whether it has been taken.
    #[inline]
    pub(crate) fn takes_question(&self, port: PortId, vlan: VlanId, head: &Head) -> bool {
        self.concerns(vlan, head)
            && self
                .to
                .try_send(Snooped::Question(port, vlan, head.tag(), head.bytes().to_vec()))
                .is_ok()
    }

    /// Shows the overlay a frame that goes to one port.
    #[inline]
    pub(crate) fn shows(&self, port: PortId, vlan: VlanId, head: &Head) {
        if self.concerns(vlan, head) {
            let _ = self.to.try_send(Snooped::Heard(port, vlan, head.bytes().to_vec()));
        }
    }

    fn concerns(&self, vlan: VlanId, head: &Head) -> bool {
        self.answering.contains(vlan) && is_neighbourly(head)
    }
}

/// Tells whether a frame is ARP or neighbour discovery, and whole among the copied bytes.
fn is_neighbourly(head: &Head) -> bool {
    let bytes = head.bytes();
    let is_meant = match head.ethertype() {
        ARP => true,
        IPV6 => {
            bytes.get(IPV6_NEXT_HEADER) == Some(&ICMPV6)
                && matches!(bytes.get(ICMPV6_TYPE), Some(&SOLICITATION | &ADVERTISEMENT))
        }
        _ => false,
    };
    is_meant && head.untagged_len() == bytes.len()
}
