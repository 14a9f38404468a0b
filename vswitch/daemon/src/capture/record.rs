//! How a frame stands in a ring: a head of fixed length and the frame's first bytes.

use weft_capture::Way;
use weft_core::{DropReason, PortId};
use weft_vlan::VlanId;

/// Bytes in front of the frame's.
pub(super) const HEAD: usize = 36;
const NO_REASON: u8 = u8::MAX;
const _: () = assert!(DropReason::COUNT < NO_REASON as usize);

/// What is said of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    /// Where it was.
    pub(super) port: PortId,
    /// Which way it went there.
    pub(super) way: Way,
    /// Why it went no further.
    pub(super) reason: Option<DropReason>,
    /// The VLAN that it belongs to, where that is known.
    pub(super) vlan: Option<VlanId>,
    /// Bytes that it had, tags included.
    pub(super) len: u32,
    /// How many frames this stands for: of several, no bytes are known.
    pub(super) frames: u64,
}

/// Writes a record whose bytes are put into `room` by `fill`, which returns how many there were.
pub(super) fn put(
    out: &mut Vec<u8>,
    about: &About,
    room: usize,
    fill: impl FnOnce(&mut [u8]) -> usize,
) {
    out.clear();
    out.resize(HEAD + room, 0);
    let filled = fill(&mut out[HEAD..]).min(room);
    out.truncate(HEAD + filled);
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&((HEAD + filled) as u32).to_ne_bytes());
    head[4..8].copy_from_slice(&about.len.to_ne_bytes());
    head[8..16].copy_from_slice(&about.time.to_ne_bytes());
    head[16..24].copy_from_slice(&about.frames.to_ne_bytes());
    head[24..26].copy_from_slice(&(about.port.index() as u16).to_ne_bytes());
    head[26..28].copy_from_slice(&about.vlan.map_or(0, VlanId::get).to_ne_bytes());
    head[28] = match about.way {
        Way::In => 0,
        Way::Out => 1,
    };
    head[29] = about.reason.map_or(NO_REASON, |reason| reason as u8);
    out[..HEAD].copy_from_slice(&head);
}

/// Returns how long the record is that begins here; `None` before its length is there.
pub(super) fn len(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?) as usize)
}

/// Returns when the record that begins here was written.
pub(super) fn time(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(8..)?.first_chunk()?))
}

/// Reads a whole record.
pub(super) fn read(record: &[u8]) -> Option<(About, &[u8])> {
    let (head, bytes) = record.split_first_chunk::<HEAD>()?;
    let number = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let about = About {
        time: time(head)?,
        port: PortId::new(number(24))?,
        way: if head[28] == 0 { Way::In } else { Way::Out },
        reason: DropReason::ALL.get(usize::from(head[29])).copied(),
        vlan: VlanId::new(number(26)),
        len: u32::from_ne_bytes(*head[4..].first_chunk()?),
        frames: u64::from_ne_bytes(*head[16..].first_chunk()?),
    };
    Some((about, bytes))
}
