//! Tells a checksum that its sender left undone where nothing came with the frame that says so: a sender on the same
//! machine leaves the pseudo header's sum in its place (RFC 9293 §3.1, RFC 768).

use weft_vlan::{Csum, Head};

use crate::{
    checksum::{fold, sum},
    layers::{IPV6_HEADER, IpVersion, Layers, TCP, UDP, be16},
};

/// Finds an undone checksum of TCP or UDP. One in 65536 finished checksums looks like that, and is found too: to finish it
/// again gives the same checksum.
pub fn find_undone(head: &Head) -> Option<Csum> {
    let bytes = head.bytes();
    let layers = Layers::find(bytes)?;
    let Layers { version, l3, l4, protocol } = layers;
    if !matches!(protocol, TCP | UDP) {
        return None;
    }
    let at = layers.checksum_at();
    let found = be16(bytes, at)?;
    let (addresses, end) = match version {
        IpVersion::V4 => (l3 + 12..l3 + 20, l3 + usize::from(be16(bytes, l3 + 2)?)),
        IpVersion::V6 => (l3 + 8..l3 + 40, l3 + IPV6_HEADER + usize::from(be16(bytes, l3 + 4)?)),
    };
    // What covers the checksum of a frame goes to the frame's end: padding would be taken for payload.
    if end != head.untagged_len() || at + 2 > end {
        return None;
    }
    let len = end.checked_sub(l4)? as u64;
    let pseudo = u64::from(sum(bytes.get(addresses)?)) + u64::from(protocol) + len;
    (fold(pseudo) == found).then_some(Csum { start: l4 as u16, offset: (at - l4) as u16 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_vlan::{ETHERNET_HEADER, Head};

    use super::*;
    use crate::{
        Segments, finish_checksum,
        layers::put16,
        super_frame::{SuperFrame, head_of, super_frames},
        undo_checksum,
    };

    fn first_segment(frame: &SuperFrame, size: u16) -> Option<Vec<u8>> {
        let bytes = frame.bytes();
        let gso = frame.vnet(size).check(&head_of(&bytes)).ok()?.gso?;
        let mut out = Vec::new();
        Segments::new(&bytes, gso, 0).ok()?.next_into(&mut out)?;
        Some(out)
    }

    proptest! {
        #[test]
        fn what_is_undone_is_found_and_what_is_finished_stays_right(frame in super_frames(), size in 1..2000u16) {
            let frame = SuperFrame { tags: vec![], ..frame };
            let Some(finished) = first_segment(&frame, size) else { return Ok(()) };
            let mut again = finished.clone();
            if let Some(csum) = find_undone(&head_of(&again)) {
                finish_checksum(&mut again, csum, 0).unwrap();
            }
            prop_assert_eq!(&again, &finished);
            let mut undone = finished.clone();
            if undo_checksum(&mut undone).is_some() {
                let csum = find_undone(&head_of(&undone)).expect("it is found");
                finish_checksum(&mut undone, csum, 0).unwrap();
                prop_assert_eq!(&undone, &finished);
                let padded = [&undone[..], &[0]].concat();
                prop_assert_eq!(find_undone(&head_of(&padded)), None);
            }
        }

        #[test]
        fn a_finished_checksum_that_looks_undone_stays_what_it_is(payload: [u8; 8], ports: [u8; 4]) {
            let mut frame = vec![0; ETHERNET_HEADER];
            frame[12..].copy_from_slice(&[0x08, 0x00]);
            frame.extend([0x45, 0, 0, 38, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            frame.extend(ports);
            frame.extend([0, 18, 0, 0]);
            frame.extend(payload);
            frame.extend([0, 0]);
            let l4 = ETHERNET_HEADER + 20;
            let pseudo = u64::from(sum(&frame[ETHERNET_HEADER + 12..l4])) + u64::from(UDP) + 18;
            // The last word makes the sum the one whose complement is the pseudo header's.
            let others = u64::from(sum(&frame[l4..]));
            let wanted = u64::from(!fold(pseudo)) + 2 * 0xffff - u64::from(fold(pseudo + others));
            let last = frame.len() - 2;
            put16(&mut frame, last, fold(wanted));
            put16(&mut frame, l4 + 6, fold(pseudo));
            let Some(csum) = find_undone(&head_of(&frame)) else {
                return Err(TestCaseError::fail("it looks undone"));
            };
            let finished = frame.clone();
            finish_checksum(&mut frame, csum, 0).unwrap();
            prop_assert_eq!(frame, finished);
        }

        #[test]
        fn nothing_makes_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..140), is_v4: bool) {
            if bytes.len() > 24 {
                bytes[12..15].copy_from_slice(if is_v4 { &[8, 0, 0x45] } else { &[0x86, 0xdd, 0x60] });
                bytes[if is_v4 { 23 } else { 20 }] = TCP;
            }
            let _ = find_undone(&Head::read(&bytes[..bytes.len().min(Head::PREFIX)], bytes.len(), None));
        }
    }
}
