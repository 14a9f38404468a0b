//! What every sending queue of a device does with tags.

use weft_ports::Transmit;
use weft_vlan::{Tags, Tpid};

use super::{Raw, Source, frame, tag};

/// Sends frames with every set of tags, and makes sure that they arrive at the far end with these, outermost first.
pub(crate) fn put_tags_on(tx: &mut dyn Transmit, far: &Raw) {
    let mut source = Source::new();
    let (vlan, payload) = (tag(Tpid::Dot1ad, 0x612c), tag(Tpid::Dot1Q, 7));
    for (tags, expected) in [
        (Tags::NONE, &[][..]),
        (Tags { vlan: Some(vlan), payload: None }, &[vlan]),
        (Tags { vlan: None, payload: Some(payload) }, &[payload]),
        (Tags { vlan: Some(vlan), payload: Some(payload) }, &[vlan, payload]),
    ] {
        for len in [60, 128, 129, 400, 1506] {
            let tally = source.send(tx, &frame(&[], len, 3), tags);
            assert_eq!(
                (tally.frames, tally.bytes),
                (1, (len + tags.wire_len()) as u64),
                "{tags:?} {len}"
            );
            assert_eq!(far.receive(), frame(expected, len + tags.wire_len(), 3), "{tags:?} {len}");
        }
    }
}
