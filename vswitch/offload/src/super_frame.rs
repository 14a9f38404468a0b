//! Super-frames for tests, put together by hand, and the properties that make their shapes up.

use proptest::prelude::*;
use weft_vlan::Head;

use crate::VnetHeader;

/// A super-frame as a guest would send it, with its pseudo header's sum in place.
#[derive(Clone, Debug)]
pub(crate) struct SuperFrame {
    /// TPID and TCI, outermost first.
    pub(crate) tags: Vec<[u16; 2]>,
    pub(crate) ip: Ip,
    pub(crate) l4: L4,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Ip {
    /// Words of options and the identification.
    V4 { options: usize, id: u16 },
    /// Destination options of this many units of eight bytes, where there are any.
    V6 { extensions: Vec<u8> },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum L4 {
    /// Words of options, sequence number, flags.
    Tcp {
        options: usize,
        sequence: u32,
        flags: u8,
    },
    Udp,
}

impl SuperFrame {
    pub(crate) fn l3(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    pub(crate) fn l4(&self) -> usize {
        self.l3()
            + match &self.ip {
                Ip::V4 { options, .. } => 20 + 4 * options,
                Ip::V6 { extensions } => {
                    40 + extensions.iter().map(|&units| 8 + 8 * usize::from(units)).sum::<usize>()
                }
            }
    }

    pub(crate) fn header_len(&self) -> usize {
        self.l4()
            + match self.l4 {
                L4::Tcp { options, .. } => 20 + 4 * options,
                L4::Udp => 8,
            }
    }

    pub(crate) fn csum_offset(&self) -> usize {
        match self.l4 {
            L4::Tcp { .. } => 16,
            L4::Udp => 6,
        }
    }

    /// The virtio-net header that goes with it, `size` bytes of payload in a segment.
    pub(crate) fn vnet(&self, size: u16) -> VnetHeader {
        let gso_type = match (&self.ip, self.l4) {
            (Ip::V4 { .. }, L4::Tcp { .. }) => VnetHeader::GSO_TCPV4,
            (Ip::V6 { .. }, L4::Tcp { .. }) => VnetHeader::GSO_TCPV6,
            (_, L4::Udp) => VnetHeader::GSO_UDP_L4,
        };
        VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type,
            hdr_len: (self.header_len() as u16).into(),
            gso_size: size.into(),
            csum_start: (self.l4() as u16).into(),
            csum_offset: (self.csum_offset() as u16).into(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for tag in &self.tags {
            bytes.extend(tag.iter().flat_map(|half| half.to_be_bytes()));
        }
        let protocol = match self.l4 {
            L4::Tcp { .. } => 6,
            L4::Udp => 17,
        };
        let l4_len = (self.header_len() - self.l4() + self.payload.len()) as u16;
        let mut pseudo = vec![0, protocol];
        pseudo.extend(l4_len.to_be_bytes());
        match &self.ip {
            Ip::V4 { options, id } => {
                let total = (20 + 4 * *options as u16 + l4_len).to_be_bytes();
                let [id_high, id_low] = id.to_be_bytes();
                bytes.extend([
                    0x08,
                    0x00,
                    0x45 + *options as u8,
                    0x02,
                    total[0],
                    total[1],
                    id_high,
                    id_low,
                ]);
                bytes.extend([0x40, 0, 64, protocol, 0, 0, 10, 1, 2, 3, 10, 4, 5, 6]);
                bytes.extend(std::iter::repeat_n(1, 4 * options));
                pseudo.extend([10, 1, 2, 3, 10, 4, 5, 6]);
            }
            Ip::V6 { extensions } => {
                let payload = ((self.l4() - self.l3() - 40) as u16 + l4_len).to_be_bytes();
                let first = if extensions.is_empty() { protocol } else { 60 };
                let addresses: Vec<u8> = (0x20..0x40).collect();
                bytes.extend([0x86, 0xdd, 0x60, 0x20, 0, 7, payload[0], payload[1], first, 64]);
                bytes.extend(&addresses);
                for (at, &units) in extensions.iter().enumerate() {
                    let next = if at + 1 == extensions.len() { protocol } else { 60 };
                    // PadN over the whole header.
                    let pad = 4 + 8 * units;
                    bytes.extend([next, units, 1, pad]);
                    bytes.extend(std::iter::repeat_n(0, pad.into()));
                }
                pseudo.extend(addresses);
            }
        }
        let l4 = bytes.len();
        match self.l4 {
            L4::Tcp { options, sequence, flags } => {
                bytes.extend([0x30, 0x39, 0, 80]);
                bytes.extend(sequence.to_be_bytes());
                bytes.extend([0, 0, 0, 9, (5 + options as u8) << 4, flags, 1, 0, 0, 0, 0, 0]);
                bytes.extend(std::iter::repeat_n(1, 4 * options));
            }
            L4::Udp => {
                bytes.extend([0x30, 0x39, 0, 53]);
                bytes.extend(l4_len.to_be_bytes());
                bytes.extend([0, 0]);
            }
        }
        assert_eq!((l4, bytes.len()), (self.l4(), self.header_len()));
        let at = l4 + self.csum_offset();
        bytes[at..at + 2].copy_from_slice(&naive_sum(&pseudo).to_be_bytes());
        if matches!(self.ip, Ip::V4 { .. }) {
            let checksum = !naive_sum(&bytes[self.l3()..l4]);
            bytes[self.l3() + 10..][..2].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes.extend(&self.payload);
        bytes
    }
}

/// The head of a frame that lies in a buffer whole.
pub(crate) fn head_of(bytes: &[u8]) -> Head {
    Head::read(&bytes[..bytes.len().min(Head::PREFIX)], bytes.len(), None)
}

pub(crate) fn naive_sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0u32, |total, pair| {
        let total = total + (u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        (total >> 16) + (total & 0xffff)
    }) as u16
}

pub(crate) fn super_frames() -> impl Strategy<Value = SuperFrame> {
    let tag = prop_oneof![Just(0x8100), Just(0x88a8)]
        .prop_flat_map(|tpid| any::<u16>().prop_map(move |tci| [tpid, tci]));
    let ip = prop_oneof![
        (0..=4usize, any::<u16>()).prop_map(|(options, id)| Ip::V4 { options, id }),
        proptest::collection::vec(0..=1u8, 0..=2).prop_map(|extensions| Ip::V6 { extensions }),
    ];
    let l4 =
        prop_oneof![
            (0..=3usize, any::<u32>(), any::<u8>())
                .prop_map(|(options, sequence, flags)| L4::Tcp { options, sequence, flags }),
            Just(L4::Udp),
        ];
    let payload = prop_oneof![0..4000usize, 60_000..65_000usize].prop_flat_map(|len| {
        any::<u8>().prop_map(move |seed| (0..len).map(|at| (at * 7) as u8 ^ seed).collect())
    });
    (proptest::collection::vec(tag, 0..=2), ip, l4, payload)
        .prop_map(|(tags, ip, l4, payload)| SuperFrame { tags, ip, l4, payload })
}
