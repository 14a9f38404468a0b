//! How a frame leaves for a device: a front that is built anew, with metadata, addresses, tags and the rest of
//! the copied head, and behind it the bytes of the frame where they lie.

use std::ptr;

use weft_core::DropReason;
use weft_offload::VnetHeader;
use weft_vlan::{HEAD_MAX, Head, TAG_LEN, Tags};
use zerocopy::IntoBytes;

use crate::{
    copy::copy_short,
    queue::{ARENA, ARENA_BUDGET, CACHE_LINE, LARGEST_FRAME},
};

/// Bytes of the virtio-net header in front of each frame. virtio 1.2 §5.1.6, without `num_buffers`.
pub(crate) const VNET: usize = size_of::<VnetHeader>();
/// Bytes that are read of a frame with its header at most.
pub(crate) const ROOM: usize = VNET + LARGEST_FRAME;
const _: () = assert!(ARENA_BUDGET - CACHE_LINE + ROOM <= ARENA);
const ADDRESSES: usize = 12;

/// The built front of one frame.
pub(crate) struct Front {
    bytes: [u8; VNET + FRONT_MAX],
    len: usize,
}

impl Front {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; VNET + FRONT_MAX], len: 0 }
    }

    /// Builds the front of a frame that leaves with these tags.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] when what came with the frame did not fit it.
    pub(crate) fn build(&mut self, head: &Head, tags: Tags) -> Result<(), DropReason> {
        let offload = head.offload().map_err(|_| DropReason::BadOffload)?;
        let (header, front) = self.bytes.split_at_mut(VNET);
        header.copy_from_slice(VnetHeader::announce(offload, tags.wire_len()).as_bytes());
        // SAFETY: behind the header there is room for the longest head and the most tags.
        self.len = VNET + unsafe { write_head(front.as_mut_ptr(), head, tags) };
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Bytes that [`put_head`] writes at most.
pub(crate) const FRONT_MAX: usize = HEAD_MAX + 2 * TAG_LEN;

/// Writes a head with these tags behind its addresses; returns the bytes written.
pub(crate) fn put_head(into: &mut [u8; FRONT_MAX], head: &Head, tags: Tags) -> usize {
    // SAFETY: there is room for the longest head and the most tags.
    unsafe { write_head(into.as_mut_ptr(), head, tags) }
}

/// Writes a head with these tags behind its addresses; returns the bytes written.
///
/// # Safety
/// There is room for the head's bytes and the tags.
#[inline]
pub(crate) unsafe fn write_head(into: *mut u8, head: &Head, tags: Tags) -> usize {
    let bytes = head.bytes();
    let pushed = tags.wire_len();
    if pushed == 0 {
        // SAFETY: the caller says that there is room; it is no head's.
        unsafe { copy_short(bytes.as_ptr(), into, bytes.len()) };
        return bytes.len();
    }
    let (addresses, behind) = bytes.split_at(bytes.len().min(ADDRESSES));
    // SAFETY: as above; the tags stand between the addresses and what is behind them.
    unsafe {
        copy_short(addresses.as_ptr(), into, addresses.len());
        let mut at = into.add(addresses.len());
        for tag in tags.iter() {
            at.cast::<[u8; TAG_LEN]>().write(tag.to_bytes());
            at = at.add(TAG_LEN);
        }
        copy_short(behind.as_ptr(), at, behind.len());
    }
    bytes.len() + pushed
}

/// Appends a frame in one piece.
pub(crate) fn append(to: &mut Vec<u8>, head: &Head, rest: &[libc::iovec], tags: Tags) {
    let mut front = [0; FRONT_MAX];
    let len = put_head(&mut front, head, tags);
    to.extend_from_slice(&front[..len]);
    for piece in rest {
        let begin = to.len();
        to.reserve(piece.iov_len);
        // SAFETY: the pieces are a burst's scatter list, which can be read while the caller borrows the burst, and
        // the vector has room for so many bytes more, all of which are written.
        unsafe {
            ptr::copy_nonoverlapping(
                piece.iov_base.cast(),
                to.as_mut_ptr().add(begin),
                piece.iov_len,
            );
            to.set_len(begin + piece.iov_len);
        }
    }
}
