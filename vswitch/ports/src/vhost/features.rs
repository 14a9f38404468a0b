//! What is offered to front-ends and drivers, and what was taken of it. virtio 1.2 §5.1.3, §6; QEMU
//! `docs/interop/vhost-user.rst`.
//!
//! Not offered: packed rings (split rings are what every front-end has), an IOMMU in the guest
//! (`ACCESS_PLATFORM`: each address would have to be asked for over the socket), UFO (a frame that Linux itself no longer
//! sends and that cannot be cut later), RSS and hash reports (the worker chooses the ring), the control queue (every
//! front-end answers that itself), and of the protocol: post-copy migration, cross-endian drivers, in-band kicks,
//! requests from this end, device state in the stream (a switch's port has none).

use weft_offload::VnetHeader;
use weft_vlan::{Ecn, Gso, GsoKind, Offload};

const CSUM: u32 = 0;
const GUEST_CSUM: u32 = 1;
const MTU: u32 = 3;
const GUEST_TSO4: u32 = 7;
const GUEST_TSO6: u32 = 8;
const GUEST_ECN: u32 = 9;
const HOST_TSO4: u32 = 11;
const HOST_TSO6: u32 = 12;
const HOST_ECN: u32 = 13;
const MRG_RXBUF: u32 = 15;
const GUEST_ANNOUNCE: u32 = 21;
const MQ: u32 = 22;
const LOG_ALL: u32 = 26;
const ANY_LAYOUT: u32 = 27;
const INDIRECT_DESC: u32 = 28;
const EVENT_IDX: u32 = 29;
const PROTOCOL_FEATURES: u32 = 30;
const VERSION_1: u32 = 32;
const IN_ORDER: u32 = 35;
const GUEST_USO4: u32 = 54;
const GUEST_USO6: u32 = 55;
const HOST_USO: u32 = 56;

const fn bits(numbers: &[u32]) -> u64 {
    let (mut bits, mut position) = (0, 0);
    while position < numbers.len() {
        bits |= 1 << numbers[position];
        position += 1;
    }
    bits
}

/// What virtio has and a port offers.
pub const OFFERED: u64 = bits(&[
    CSUM,
    GUEST_CSUM,
    MTU,
    GUEST_TSO4,
    GUEST_TSO6,
    GUEST_ECN,
    HOST_TSO4,
    HOST_TSO6,
    HOST_ECN,
    MRG_RXBUF,
    GUEST_ANNOUNCE,
    MQ,
    LOG_ALL,
    ANY_LAYOUT,
    INDIRECT_DESC,
    EVENT_IDX,
    PROTOCOL_FEATURES,
    VERSION_1,
    IN_ORDER,
    GUEST_USO4,
    GUEST_USO6,
    HOST_USO,
]);

/// What the protocol has and a port offers: MQ, LOG_SHMFD, RARP, REPLY_ACK, NET_MTU, INFLIGHT_SHMFD,
/// CONFIGURE_MEM_SLOTS, STATUS.
pub const PROTOCOL_OFFERED: u64 = bits(&[0, 1, 2, REPLY_ACK, 4, 12, 15, 16]);
const REPLY_ACK: u32 = 3;

/// Bytes of the longest header in front of a frame.
pub(super) const HEADER_MAX: usize = 12;

/// What a front-end took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    bits: u64,
}

impl Features {
    /// Takes what was offered; `None` when something else is wanted.
    pub(super) fn accept(bits: u64) -> Option<Self> {
        (bits & !OFFERED == 0).then_some(Self { bits })
    }

    fn has(self, bit: u32) -> bool {
        self.bits & (1 << bit) != 0
    }

    /// Tells whether rings begin disabled.
    pub(super) fn has_protocol(self) -> bool {
        self.has(PROTOCOL_FEATURES)
    }

    /// Tells whether writes to memory are to be noted.
    pub(super) fn logs(self) -> bool {
        self.has(LOG_ALL)
    }

    /// Tells whether indices say when to notify.
    pub(super) fn has_event_index(self) -> bool {
        self.has(EVENT_IDX)
    }

    /// Tells whether a frame may fill several buffers.
    pub(super) fn merges(self) -> bool {
        self.has(MRG_RXBUF)
    }

    /// Returns the bytes of the header in front of each frame. virtio 1.2 §5.1.6: without VERSION_1 the count of
    /// buffers is there only when frames may fill several.
    pub(super) fn header_len(self) -> usize {
        if self.has(VERSION_1) || self.merges() { HEADER_MAX } else { VnetHeader::LEN }
    }

    /// Tells whether the driver takes a frame with this work left undone.
    pub(super) fn takes(self, offload: Offload, ip: Ip) -> bool {
        let by_kind = |Gso { kind, .. }: Gso| match kind {
            GsoKind::Tcp4 { ecn } => self.has(GUEST_TSO4) && self.takes_ecn(ecn),
            GsoKind::Tcp6 { ecn } => self.has(GUEST_TSO6) && self.takes_ecn(ecn),
            GsoKind::Udp => self.has(if ip == Ip::V6 { GUEST_USO6 } else { GUEST_USO4 }),
        };
        (offload.csum.is_none() || self.has(GUEST_CSUM)) && offload.gso.is_none_or(by_kind)
    }

    fn takes_ecn(self, ecn: Ecn) -> bool {
        ecn == Ecn::Unmarked || self.has(GUEST_ECN)
    }
}

/// Which Internet protocol a super-frame is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ip {
    V4,
    V6,
}

/// Tells whether requests may ask what became of them.
pub(super) fn may_ask(protocol: u64) -> bool {
    protocol & (1 << REPLY_ACK) != 0
}

#[cfg(test)]
mod tests {
    use weft_vlan::Csum;

    use super::*;

    #[test]
    fn work_is_left_to_a_driver_that_takes_this_very_kind() {
        let tcp4 = |ecn| Some(GsoKind::Tcp4 { ecn });
        let tcp6 = |ecn| Some(GsoKind::Tcp6 { ecn });
        let (plain, marked) = (Ecn::Unmarked, Ecn::Marked);
        let cases = [
            // kind, of, what the driver has to take for it
            (None, Ip::V4, vec![GUEST_CSUM]),
            (tcp4(plain), Ip::V4, vec![GUEST_CSUM, GUEST_TSO4]),
            (tcp4(marked), Ip::V4, vec![GUEST_CSUM, GUEST_TSO4, GUEST_ECN]),
            (tcp6(plain), Ip::V6, vec![GUEST_CSUM, GUEST_TSO6]),
            (tcp6(marked), Ip::V6, vec![GUEST_CSUM, GUEST_TSO6, GUEST_ECN]),
            (Some(GsoKind::Udp), Ip::V4, vec![GUEST_CSUM, GUEST_USO4]),
            (Some(GsoKind::Udp), Ip::V6, vec![GUEST_CSUM, GUEST_USO6]),
        ];
        for (kind, ip, needed) in cases {
            let gso = kind.map(|kind| Gso { kind, size: 1000, header_len: 54 });
            let offload = Offload { csum: Some(Csum { start: 34, offset: 16 }), gso };
            let takes = |bits| Features::accept(bits).unwrap().takes(offload, ip);
            assert!(takes(bits(&needed)), "{kind:?} {ip:?}");
            for &missing in &needed {
                assert!(!takes(OFFERED & !(1 << missing)), "{kind:?} {ip:?} without {missing}");
            }
        }
        assert!(Features::default().takes(Offload::NONE, Ip::V4));
    }
}
