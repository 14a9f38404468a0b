//! How a frame leaves for a device: a front that is built anew, with metadata, addresses, tags and the rest of
//! the copied head, and behind it the bytes of the frame where they lie.

use std::ptr;

use weft_core::DropReason;
use weft_offload::VnetHeader;
use weft_vlan::{HEAD_MAX, Head, TAG_LEN, Tags};
use zerocopy::IntoBytes;

use crate::queue::{ARENA, ARENA_BUDGET, CACHE_LINE, LARGEST_FRAME};

/// Bytes of the virtio-net header in front of each frame. virtio 1.2 §5.1.6, without `num_buffers`.
pub(crate) const VNET: usize = size_of::<VnetHeader>();
/// Bytes that are read of a frame with its header at most.
pub(crate) const ROOM: usize = VNET + LARGEST_FRAME;
const _: () = assert!(ARENA_BUDGET - CACHE_LINE + ROOM <= ARENA);
const ADDRESSES: usize = 12;

/// The built front of one frame.
pub(crate) struct Front {
    bytes: [u8; VNET + HEAD_MAX + 2 * TAG_LEN],
    len: usize,
}

impl Front {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; VNET + HEAD_MAX + 2 * TAG_LEN], len: 0 }
    }

    /// Builds the front of a frame that leaves with these tags.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`] when what came with the frame did not fit it.
    pub(crate) fn build(&mut self, head: &Head, tags: Tags) -> Result<(), DropReason> {
        let offload = head.offload().map_err(|_| DropReason::BadOffload)?;
        self.put(0, VnetHeader::announce(offload, tags.wire_len()).as_bytes());
        self.len = VNET;
        self.len += put_head(&mut self.bytes[VNET..], head, tags);
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes a head with these tags behind its addresses; returns the bytes written. `into` has room for
/// [`HEAD_MAX`] and the tags.
pub(crate) fn put_head(into: &mut [u8], head: &Head, tags: Tags) -> usize {
    let (addresses, behind) = head.bytes().split_at(head.bytes().len().min(ADDRESSES));
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        into[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(addresses);
    for tag in tags.iter() {
        put(&tag.to_bytes());
    }
    put(behind);
    at
}

/// Appends a frame in one piece.
pub(crate) fn append(to: &mut Vec<u8>, head: &Head, rest: &[libc::iovec], tags: Tags) {
    let mut front = [0; HEAD_MAX + 2 * TAG_LEN];
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
