//! Explicit congestion notification through a tunnel. RFC 6040, normal mode: the outer header begins with the inner
//! codepoint, and what the way did to it is carried inside where it ends.

use crate::layers::{self, IpVersion, be16, put16};

/// The two bits of an IP header. RFC 3168 §5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codepoint {
    /// The sender does not take part.
    #[default]
    NotEct,
    /// ECN-capable, ECT(1).
    Ect1,
    /// ECN-capable, ECT(0).
    Ect0,
    /// Congestion was experienced.
    Ce,
}

impl Codepoint {
    /// Reads the lower two bits of a type of service or traffic class.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// Returns the two bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }
}

/// Congestion was experienced by a frame whose sender would not understand it: it is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCapable;

/// Returns what stands in the IP header of a frame, which is what the outer header is to begin with. A frame
/// without one does not take part.
pub fn of(frame: &[u8]) -> Codepoint {
    field(frame).map_or(Codepoint::NotEct, |(_, codepoint)| codepoint)
}

/// Carries what stands in the outer header into a frame that leaves the tunnel. RFC 6040 §4.2.
///
/// # Errors
/// [`NotCapable`] when the frame is to be dropped.
pub fn leave(frame: &mut [u8], outer: Codepoint) -> Result<(), NotCapable> {
    use Codepoint::{Ce, Ect0, Ect1, NotEct};
    // Frames without IP went out as not capable, so that nobody had a right to mark them.
    let Some((place, inner)) = field(frame) else { return Ok(()) };
    match (inner, outer) {
        (NotEct, Ce) => return Err(NotCapable),
        (Ect0 | Ect1, Ce) => put(frame, place, Ce),
        (Ect0, Ect1) => put(frame, place, Ect1),
        _ => {}
    }
    Ok(())
}

/// Finds the codepoint; returns where IP begins, and which, with it.
fn field(frame: &[u8]) -> Option<((IpVersion, usize), Codepoint)> {
    let (version, l3) = layers::ip(frame)?;
    let header = match version {
        IpVersion::V4 => frame.get(l3..l3 + 20)?,
        IpVersion::V6 => frame.get(l3..l3 + layers::IPV6_HEADER)?,
    };
    let (number, bits) = match version {
        IpVersion::V4 => (4, header[1]),
        IpVersion::V6 => (6, header[1] >> 4),
    };
    (header[0] >> 4 == number).then_some(((version, l3), Codepoint::from_bits(bits)))
}

fn put(frame: &mut [u8], (version, l3): (IpVersion, usize), codepoint: Codepoint) {
    match version {
        IpVersion::V4 => {
            let Some(before) = be16(frame, l3) else { return };
            let after = before & !0b11 | u16::from(codepoint.bits());
            put16(frame, l3, after);
            // RFC 1624 §3.
            let Some(checksum) = be16(frame, l3 + 10) else { return };
            let total = u64::from(!checksum) + u64::from(!before) + u64::from(after);
            put16(frame, l3 + 10, !crate::checksum::fold(total));
        }
        IpVersion::V6 => frame[l3 + 1] = frame[l3 + 1] & !0b11_0000 | codepoint.bits() << 4,
    }
}

#[cfg(test)]
mod tests {
    use Codepoint::{Ce, Ect0, Ect1, NotEct};
    use etherparse::{NetSlice, SlicedPacket};
    use proptest::prelude::*;

    use super::*;
    use crate::super_frame::super_frames;

    const ALL: [Codepoint; 4] = [NotEct, Ect1, Ect0, Ce];

    /// RFC 6040, figure 4: rows by the inner codepoint, columns Not-ECT, ECT(0), ECT(1), CE of the outer one.
    const FIGURE: [(Codepoint, [Option<Codepoint>; 4]); 4] = [
        (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
        (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
        (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
        (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
    ];

    fn seen(frame: &[u8]) -> u8 {
        match SlicedPacket::from_ethernet(frame).unwrap().net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                header.ecn.value()
            }
            NetSlice::Ipv6(ip) => ip.header().traffic_class() & 0b11,
            NetSlice::Arp(_) => panic!(),
        }
    }

    proptest! {
        #[test]
        fn what_the_way_did_is_carried_inside_as_the_rfc_says(frame in super_frames()) {
            for (inner, row) in FIGURE {
                for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
                    let mut bytes = frame.bytes();
                    let (version, l3) = layers::ip(&bytes).unwrap();
                    put(&mut bytes, (version, l3), inner);
                    prop_assert_eq!(seen(&bytes), inner.bits());
                    prop_assert_eq!(of(&bytes), inner);
                    let before = bytes.clone();
                    match expected {
                        Some(codepoint) => {
                            prop_assert_eq!(leave(&mut bytes, outer), Ok(()));
                            prop_assert_eq!(seen(&bytes), codepoint.bits());
                        }
                        None => prop_assert_eq!(leave(&mut bytes, outer), Err(NotCapable)),
                    }
                    if expected.is_none() || expected == Some(inner) {
                        prop_assert_eq!(bytes, before);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_ip_is_left_alone() {
        let arp = [&[0xff; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        let cut_short = [&[0xff; 12][..], &[0x08, 0x00, 0x45, 0x03], &[0; 17]].concat();
        let other_version = [&[0xff; 12][..], &[0x08, 0x00, 0x63, 0xff], &[0; 60]].concat();
        for frame in [&arp[..], &cut_short, &other_version, &[], &[0; 13]] {
            assert_eq!(of(frame), NotEct);
            for outer in ALL {
                let mut bytes = frame.to_vec();
                assert_eq!(leave(&mut bytes, outer), Ok(()));
                assert_eq!(bytes, frame);
            }
        }
    }

    #[test]
    fn codepoints_are_their_bits() {
        for (bits, codepoint) in [(0, NotEct), (1, Ect1), (2, Ect0), (3, Ce)] {
            assert_eq!((Codepoint::from_bits(bits | 0xfc), codepoint.bits()), (codepoint, bits));
        }
    }
}
