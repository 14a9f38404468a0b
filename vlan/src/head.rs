//! The head of a frame: the copied bytes on which everything is decided, and which are delivered.
//! The outermost tag, wherever it stood, travels beside them. The rest of the frame is the ports'
//! business and never seen here.

use std::fmt;

use crate::{BadOffload, MacAddr, Offload, TAG_LEN, Tpid, WireTag};

/// Bytes of a frame that a head holds at most.
pub const HEAD_MAX: usize = 128;
/// Bytes of an Ethernet header: two addresses and an EtherType.
pub const ETHERNET_HEADER: usize = 14;
const ADDRESSES: usize = 12;

/// The copied head of a frame, its outermost tag, its length and its offload metadata.
#[derive(Clone)]
pub struct Head {
    /// Behind what was copied may stand anything.
    bytes: [u8; Self::PREFIX],
    copied: u8,
    removed: u8,
    len: u32,
    tag: Option<WireTag>,
    offload: Result<Offload, BadOffload>,
}

impl Head {
    /// Bytes from a frame's start that [`Head::read`] can use.
    pub const PREFIX: usize = HEAD_MAX + TAG_LEN;

    /// Returns the head of a frame without a byte, which is to be filled in its place.
    pub const fn empty() -> Self {
        Self {
            bytes: [0; Self::PREFIX],
            copied: 0,
            removed: 0,
            len: 0,
            tag: None,
            offload: Ok(Offload::NONE),
        }
    }

    /// Copies the head of a frame that is `len` bytes long and begins with `prefix`, which holds
    /// [`Head::PREFIX`] bytes or the whole frame. `stripped` is a tag that the kernel took off before;
    /// without one, a complete tag behind the addresses is taken off here. The offload metadata is
    /// [`Offload::NONE`] until [`Head::set_offload`].
    pub fn read(prefix: &[u8], len: usize, stripped: Option<WireTag>) -> Self {
        let mut head = Self::empty();
        let copied = prefix.len().min(Self::PREFIX);
        head.bytes[..copied].copy_from_slice(&prefix[..copied]);
        head.settle(copied, len, stripped);
        head
    }

    /// Returns the place for a frame's first bytes, for who puts them there without a copy in between;
    /// [`Head::settle`] has to follow.
    pub fn room(&mut self) -> &mut [u8; Self::PREFIX] {
        &mut self.bytes
    }

    /// Becomes the head of the frame whose first bytes have been put into [`Head::room`], as [`Head::read`] makes it:
    /// `copied` of them, [`Head::PREFIX`] or the whole frame.
    #[inline]
    pub fn settle(&mut self, copied: usize, len: usize, stripped: Option<WireTag>) {
        let copied = copied.min(Self::PREFIX);
        self.len = u32::try_from(len).unwrap_or(u32::MAX);
        self.copied = copied.min(HEAD_MAX) as u8;
        self.removed = 0;
        self.tag = stripped;
        self.offload = Ok(Offload::NONE);
        if copied < ETHERNET_HEADER {
            // Fields that are cut off read as zero.
            self.bytes[copied..ETHERNET_HEADER].fill(0);
        }
        // A tag with nothing behind it, not even an EtherType, is cut short: it stays where it is.
        if stripped.is_none()
            && copied >= ETHERNET_HEADER + TAG_LEN
            && let Some(tag) = WireTag::read(&self.bytes[ADDRESSES..])
        {
            self.take_off(tag, copied);
        }
    }

    /// Closes the gap that the outermost tag leaves.
    fn take_off(&mut self, tag: WireTag, copied: usize) {
        self.bytes.copy_within(ADDRESSES + TAG_LEN..copied, ADDRESSES);
        self.copied = (copied - TAG_LEN) as u8;
        self.removed = TAG_LEN as u8;
        self.len -= TAG_LEN as u32;
        self.tag = Some(tag);
    }

    /// Puts the checked offload metadata, or the finding that it lies, beside the frame.
    pub fn set_offload(&mut self, offload: Result<Offload, BadOffload>) {
        self.offload = offload;
    }

    /// Returns the copied bytes, without the outermost tag.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.copied)]
    }

    /// Returns the copied bytes, to change fields in them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.copied)]
    }

    /// Lets the head stand for a frame that is this many bytes longer at its end.
    pub fn lengthen(&mut self, bytes: usize) {
        self.len = self.len.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Returns the whole frame's length in bytes, without the outermost tag.
    pub fn untagged_len(&self) -> usize {
        self.len as usize
    }

    /// Returns the whole frame's length in bytes as it stood on the wire, the outermost tag included.
    pub fn wire_len(&self) -> usize {
        self.untagged_len() + if self.tag.is_some() { TAG_LEN } else { 0 }
    }

    /// Returns how many bytes of the buffer that [`Head::read`] saw this head stands for; the rest of the
    /// frame begins there.
    pub fn consumed(&self) -> usize {
        usize::from(self.copied) + self.in_band_tag_len()
    }

    /// Returns the bytes of the tag that was taken out of the buffer: 4, or 0 if it had none or the kernel had stripped it.
    pub fn in_band_tag_len(&self) -> usize {
        usize::from(self.removed)
    }

    /// Returns the outermost tag.
    pub fn tag(&self) -> Option<WireTag> {
        self.tag
    }

    /// Returns the offload metadata.
    ///
    /// # Errors
    /// [`BadOffload`] when what came with the frame did not fit it.
    pub fn offload(&self) -> Result<Offload, BadOffload> {
        self.offload
    }

    /// Tells whether the untagged frame has a whole Ethernet header.
    pub fn has_ethernet_header(&self) -> bool {
        usize::from(self.copied) >= ETHERNET_HEADER
    }

    /// Returns the destination address; zero where the frame is too short to have one.
    pub fn destination(&self) -> MacAddr {
        MacAddr::new(*self.bytes.first_chunk().unwrap_or(&[0; 6]))
    }

    /// Returns the source address; zero where the frame is too short to have one.
    pub fn source(&self) -> MacAddr {
        MacAddr::new(*self.bytes[6..].first_chunk().unwrap_or(&[0; 6]))
    }

    /// Returns the EtherType behind the outermost tag; 0 where the frame is too short to have one.
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }

    /// Returns the tag that follows the outermost one, when it is complete and an EtherType behind it.
    pub fn second_tag(&self) -> Option<WireTag> {
        self.bytes().get(ADDRESSES..ETHERNET_HEADER + TAG_LEN).and_then(WireTag::read)
    }

    /// Tells whether the payload behind the outermost tag begins with this TPID, complete or cut short.
    pub fn is_followed_by(&self, tpid: Tpid) -> bool {
        self.has_ethernet_header() && self.ethertype() == tpid.ethertype()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Head")
            .field("destination", &self.destination())
            .field("source", &self.source())
            .field("tag", &self.tag)
            .field("ethertype", &format_args!("{:#06x}", self.ethertype()))
            .field("untagged_len", &self.len)
            .field("offload", &self.offload)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tci;

    fn frame(behind_addresses: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], behind_addresses].concat()
    }

    #[test]
    fn an_in_band_tag_is_taken_off_and_a_stripped_one_stands_beside() {
        let tag = WireTag::new(Tpid::Dot1Q, Tci::from_bits(0xa00a));
        let in_band = frame(&[0x81, 0x00, 0xa0, 0x0a, 0x08, 0x00, 0x45]);
        let head = Head::read(&in_band, in_band.len(), None);
        assert_eq!((head.tag(), head.ethertype(), head.untagged_len()), (Some(tag), 0x0800, 15));
        assert_eq!((head.consumed(), head.in_band_tag_len(), head.wire_len()), (19, 4, 19));

        let bare = frame(&[0x08, 0x00, 0x45]);
        let stripped = Head::read(&bare, bare.len(), Some(tag));
        assert_eq!(stripped.bytes(), head.bytes());
        assert_eq!(
            (stripped.consumed(), stripped.in_band_tag_len(), stripped.wire_len()),
            (15, 0, 19)
        );
    }

    #[test]
    fn a_stripped_tag_leaves_the_next_one_in_the_payload() {
        let bytes = frame(&[0x81, 0x00, 0x00, 0x14, 0x08, 0x00]);
        let outer = WireTag::new(Tpid::Dot1ad, Tci::from_bits(300));
        let head = Head::read(&bytes, bytes.len(), Some(outer));
        assert_eq!(head.tag(), Some(outer));
        assert_eq!(head.second_tag(), Some(WireTag::new(Tpid::Dot1Q, Tci::from_bits(20))));
        assert!(head.is_followed_by(Tpid::Dot1Q));
        let cut = Head::read(&bytes[..16], 16, Some(outer));
        assert_eq!(cut.second_tag(), None);
        assert!(cut.is_followed_by(Tpid::Dot1Q));
    }

    #[test]
    fn a_head_that_is_filled_again_has_nothing_of_the_frame_before() {
        let mut head = Head::empty();
        let mut fill = |frame: &[u8]| {
            let copied = frame.len().min(Head::PREFIX);
            head.room()[..copied].copy_from_slice(&frame[..copied]);
            head.settle(copied, frame.len(), None);
            head.clone()
        };
        let mut long = frame(&[0x81, 0x00, 0xa0, 0x0a, 0x08, 0x00]);
        long.resize(200, 0x5a);
        for len in 0..long.len() {
            fill(&[0xff; 200]).set_offload(Err(BadOffload));
            let again = fill(&long[..len]);
            let prefix = &long[..len.min(Head::PREFIX)];
            let new = Head::read(prefix, len, None);
            assert_eq!(again.bytes(), new.bytes());
            assert_eq!(
                (again.destination(), again.source(), again.ethertype(), again.second_tag()),
                (new.destination(), new.source(), new.ethertype(), new.second_tag())
            );
            assert_eq!(
                (again.tag(), again.wire_len(), again.consumed(), again.offload()),
                (new.tag(), new.wire_len(), new.consumed(), Ok(Offload::NONE))
            );
        }
    }

    #[test]
    fn every_length_is_read_without_a_panic() {
        let mut long = frame(&[0x81, 0x00, 0x00, 0x0a, 0x08, 0x00]);
        long.resize(70_000, 0x5a);
        for len in 0..long.len() {
            let head = Head::read(&long[..len.min(Head::PREFIX)], len, None);
            assert_eq!(head.wire_len(), len);
            assert_eq!(head.tag().is_some(), len >= 18);
            assert!(head.consumed() <= len);
            assert_eq!(head.consumed(), len.min(if len >= 18 { 132 } else { 128 }));
        }
    }
}
