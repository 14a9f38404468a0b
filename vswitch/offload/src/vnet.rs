//! The virtio-net header. virtio 1.2 §5.1.6. What a sender wrote into it is rebuilt from the copied head of the
//! frame, never believed: whoever gets the result may act on it.

use weft_vlan::{BadOffload, Csum, Ecn, Gso, GsoKind, Head, Offload};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U16};

use crate::layers::{ICMPV6, IpVersion, Layers, TCP, UDP, UDP_HEADER};

/// The ten bytes in front of a frame, as a driver, a TAP device or a packet socket writes them. All of them
/// are used little-endian: what VIRTIO_F_VERSION_1 says, and what the kernel's devices do on such a machine.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct VnetHeader {
    /// [`VnetHeader::NEEDS_CSUM`], [`VnetHeader::DATA_VALID`].
    pub flags: u8,
    /// What is cut: one of the `GSO_` values, with or without [`VnetHeader::GSO_ECN`].
    pub gso_type: u8,
    /// Bytes of all headers; a hint.
    pub hdr_len: U16,
    /// Bytes of layer-4 payload in a segment.
    pub gso_size: U16,
    /// First byte that the checksum covers, from the buffer's start.
    pub csum_start: U16,
    /// Where the checksum goes, from `csum_start`.
    pub csum_offset: U16,
}

impl VnetHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// The checksum is unfinished.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum was verified.
    pub const DATA_VALID: u8 = 2;

    /// A frame as it is.
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// UDP to be fragmented by IP (UFO).
    pub const GSO_UDP: u8 = 3;
    /// TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP, each segment a datagram (USO).
    pub const GSO_UDP_L4: u8 = 5;
    /// The TCP segment carries CWR.
    pub const GSO_ECN: u8 = 0x80;

    /// Segments that one frame may stand for.
    pub const MAX_SEGMENTS: usize = 512;

    /// Rebuilds the offload metadata of a frame. A super-frame that fits one segment is a plain frame.
    ///
    /// # Errors
    /// [`BadOffload`] when the header does not fit the frame.
    #[inline]
    pub fn check(&self, head: &Head) -> Result<Offload, BadOffload> {
        if self.flags & Self::NEEDS_CSUM == 0 && self.gso_type == Self::GSO_NONE {
            return Ok(Offload::NONE);
        }
        self.rebuild(head).ok_or(BadOffload)
    }

    /// Makes the header for a frame that leaves with `pushed` bytes of tags in front of what `offload` counts.
    pub fn announce(offload: Offload, pushed: usize) -> Self {
        let mut header = Self::default();
        // Counts from a head of at most 128 bytes and two tags more: no sum comes near the limit.
        let moved = |position: u16| U16::new(position.saturating_add(pushed as u16));
        if let Some(csum) = offload.csum {
            header.flags = Self::NEEDS_CSUM;
            header.csum_start = moved(csum.start);
            header.csum_offset = U16::new(csum.offset);
        }
        if let Some(gso) = offload.gso {
            header.gso_type = match gso.kind {
                GsoKind::Tcp4 { ecn } => Self::GSO_TCPV4 | ecn_bit(ecn),
                GsoKind::Tcp6 { ecn } => Self::GSO_TCPV6 | ecn_bit(ecn),
                GsoKind::Udp => Self::GSO_UDP_L4,
            };
            header.gso_size = U16::new(gso.size);
            header.hdr_len = moved(gso.header_len);
        }
        header
    }

    fn rebuild(&self, head: &Head) -> Option<Offload> {
        if self.flags & Self::NEEDS_CSUM == 0 {
            return None;
        }
        let layers = Layers::find(head.bytes())?;
        let csum = self.csum(head, &layers)?;
        let gso = match self.gso_type {
            Self::GSO_NONE => None,
            _ => self.gso(head, &layers, csum)?,
        };
        Some(Offload { csum: Some(csum), gso })
    }

    fn csum(&self, head: &Head, layers: &Layers) -> Option<Csum> {
        let start = usize::from(self.csum_start.get()).checked_sub(head.in_band_tag_len())?;
        let offset = usize::from(self.csum_offset.get());
        // Two bytes will be written behind every check of the frame's content. In a protocol that is known
        // they are its checksum: elsewhere they could forge the address in a neighbour advertisement.
        let fits = match layers.protocol {
            TCP => start == layers.l4 && offset == 16,
            ICMPV6 => start == layers.l4 && offset == 2,
            // A tunnel over UDP leaves the checksum of the inner packet.
            UDP => start == layers.l4 && offset == 6 || start >= layers.l4 + UDP_HEADER,
            _ => start >= layers.l4,
        };
        (fits && start + offset + 2 <= head.untagged_len()).then_some(())?;
        Some(Csum { start: u16::try_from(start).ok()?, offset: self.csum_offset.get() })
    }

    fn gso(&self, head: &Head, layers: &Layers, csum: Csum) -> Option<Option<Gso>> {
        let ecn = if self.gso_type & Self::GSO_ECN == 0 { Ecn::Unmarked } else { Ecn::Marked };
        let kind = match (self.gso_type & !Self::GSO_ECN, layers.version, layers.protocol) {
            (Self::GSO_TCPV4, IpVersion::V4, TCP) => GsoKind::Tcp4 { ecn },
            (Self::GSO_TCPV6, IpVersion::V6, TCP) => GsoKind::Tcp6 { ecn },
            (Self::GSO_UDP_L4, _, UDP) if ecn == Ecn::Unmarked => GsoKind::Udp,
            _ => return None,
        };
        let header_len = layers.headers_end(head.bytes())?;
        let size = usize::from(self.gso_size.get());
        let payload = head.untagged_len().checked_sub(header_len)?;
        if usize::from(csum.start) != layers.l4 || size == 0 {
            return None;
        }
        if payload <= size {
            return Some(None);
        }
        let segment = header_len - layers.l3 + size;
        if payload.div_ceil(size) > Self::MAX_SEGMENTS || segment > usize::from(u16::MAX) {
            return None;
        }
        Some(Some(Gso {
            kind,
            size: self.gso_size.get(),
            header_len: u16::try_from(header_len).ok()?,
        }))
    }
}

fn ecn_bit(ecn: Ecn) -> u8 {
    match ecn {
        Ecn::Marked => VnetHeader::GSO_ECN,
        Ecn::Unmarked => 0,
    }
}

#[cfg(test)]
mod tests;
