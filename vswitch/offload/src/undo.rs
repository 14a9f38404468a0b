//! Takes a finished TCP segment for one whose checksum is still to be made: so that it can be merged with others, and need
//! not be read again where it goes. Only a right checksum is undone.

use weft_vlan::{Csum, Offload};

use crate::{
    VnetHeader,
    checksum::{fold, sum},
    layers::{IPV6_HEADER, IpVersion, Layers, TCP, be16, put16},
};

/// Verifies the checksum of an untagged frame that carries TCP, whole, and leaves the pseudo header's sum in its place;
/// returns what to say of the frame then. `None` where it is none, or is wrong, and the frame is as it was.
pub fn undo_checksum(frame: &mut [u8]) -> Option<VnetHeader> {
    let layers = Layers::find(frame).filter(|layers| layers.protocol == TCP)?;
    let Layers { version, l3, l4, .. } = layers;
    let (addresses, end) = match version {
        IpVersion::V4 => (l3 + 12..l3 + 20, l3 + usize::from(be16(frame, l3 + 2)?)),
        IpVersion::V6 => (l3 + 8..l3 + 40, l3 + IPV6_HEADER + usize::from(be16(frame, l3 + 4)?)),
    };
    // The checksum of an Ethernet frame's padding would be taken for the segment's.
    if end != frame.len() || layers.headers_end(frame).is_none() {
        return None;
    }
    let len = (frame.len() - l4) as u64;
    let pseudo = u64::from(sum(frame.get(addresses)?)) + u64::from(TCP) + len;
    if fold(pseudo + u64::from(sum(&frame[l4..]))) != u16::MAX {
        return None;
    }
    put16(frame, layers.checksum_at(), fold(pseudo));
    let csum = Csum { start: l4 as u16, offset: (layers.checksum_at() - l4) as u16 };
    Some(VnetHeader::announce(Offload { csum: Some(csum), gso: None }, 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Segments, finish_checksum,
        super_frame::{head_of, super_frames},
    };

    proptest! {
        #[test]
        fn what_is_undone_is_finished_to_the_same_bytes(frame in super_frames(), size in 1..2000u16) {
            let frame = crate::super_frame::SuperFrame { tags: vec![], ..frame };
            let bytes = frame.bytes();
            let vnet = frame.vnet(size);
            let Ok(offload) = vnet.check(&head_of(&bytes)) else { return Ok(()) };
            let Some(gso) = offload.gso else { return Ok(()) };
            let mut segments = Segments::new(&bytes, gso, 0).unwrap();
            let mut out = Vec::new();
            for _ in 0..3 {
                out.clear();
                if segments.next_into(&mut out).is_none() {
                    break;
                }
                let mut undone = out.clone();
                match undo_checksum(&mut undone) {
                    Some(said) => {
                        let offload = said.check(&head_of(&undone)).unwrap();
                        finish_checksum(&mut undone, offload.csum.unwrap(), 0).unwrap();
                        prop_assert_eq!(&undone, &out);
                    }
                    None => prop_assert!(matches!(frame.l4, crate::super_frame::L4::Udp)),
                }
                let mut wrong = out.clone();
                *wrong.last_mut().unwrap() ^= 1;
                let before = wrong.clone();
                prop_assert_eq!(undo_checksum(&mut wrong), None);
                prop_assert_eq!(wrong, before);
                let mut padded = [&out[..], &[0]].concat();
                prop_assert_eq!(undo_checksum(&mut padded), None);
            }
        }

        #[test]
        fn nothing_makes_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), is_v4: bool) {
            if bytes.len() > 24 {
                bytes[12..15].copy_from_slice(if is_v4 { &[8, 0, 0x45] } else { &[0x86, 0xdd, 0x60] });
                bytes[if is_v4 { 23 } else { 20 }] = TCP;
            }
            let _ = undo_checksum(&mut bytes);
        }
    }
}
