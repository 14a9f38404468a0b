//! The memory in which frames lie: chunks of one size, each in the kernel's hands or in ours. The first ones are for
//! what is received, the others for what is sent.

use std::{io, os::fd::BorrowedFd, ptr};

use crate::{OpenError, sys};

/// What the kernel keeps free in front of each received frame: `XDP_PACKET_HEADROOM`.
const HEADROOM: u32 = 256;
/// An Ethernet header and two tags.
const FRAMING: u32 = 14 + 8;

/// The size of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk(u32);

impl Chunk {
    const SMALL: Self = Self(2048);
    const LARGE: Self = Self(4096);

    /// Returns the smallest chunk that the frames of a device fit.
    ///
    /// # Errors
    /// [`OpenError::LongFrames`] when they fit none.
    pub(super) fn for_mtu(mtu: u32) -> Result<Self, OpenError> {
        let most = |chunk: Self| chunk.0 - HEADROOM - FRAMING;
        [Self::SMALL, Self::LARGE]
            .into_iter()
            .find(|&chunk| mtu <= most(chunk))
            .ok_or(OpenError::LongFrames { mtu, most: most(Self::LARGE) })
    }
}

/// The mapped memory of one socket.
pub(super) struct Memory {
    base: *mut u8,
    chunks: u32,
    chunk: Chunk,
}

// SAFETY: the mapping belongs to this value, and whoever has a chunk's address has the chunk alone.
unsafe impl Send for Memory {}
// SAFETY: as above; what is shared by reference are addresses.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps this many chunks.
    pub(super) fn map(chunks: u32, chunk: Chunk) -> io::Result<Self> {
        let len = chunks as usize * chunk.0 as usize;
        // Shared, so that a child process of weftd's cannot make the kernel and us see different pages.
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), chunks, chunk })
    }

    /// Makes it the memory of a socket.
    pub(super) fn register(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let registration = libc::xdp_umem_reg {
            addr: self.base as u64,
            len: self.len() as u64,
            chunk_size: self.chunk.0,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        sys::set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, registration)
    }

    /// Returns the room in a chunk.
    pub(super) fn room(&self) -> usize {
        self.chunk.0 as usize
    }

    /// Returns the address, as sockets count, of a chunk.
    pub(super) fn address(&self, chunk: u32) -> u64 {
        u64::from(chunk) * u64::from(self.chunk.0)
    }

    /// Returns the address of the chunk in which this address lies.
    pub(super) fn chunk_of(&self, address: u64) -> u64 {
        address & !u64::from(self.chunk.0 - 1)
    }

    /// Returns where `len` bytes at an address are; `None` when they are not all in this memory.
    pub(super) fn at(&self, address: u64, len: usize) -> Option<*mut u8> {
        let begin = usize::try_from(address).ok()?;
        let inside = begin.checked_add(len)? <= self.len();
        // SAFETY: the bytes are inside the mapping.
        inside.then(|| unsafe { self.base.add(begin) })
    }

    fn len(&self) -> usize {
        self.chunks as usize * self.chunk.0 as usize
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length; frames in it are borrowed from queues, which hold
        // this value.
        unsafe { libc::munmap(self.base.cast(), self.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_room_for_the_device_s_longest_frame_with_two_tags() {
        let size = |mtu| Chunk::for_mtu(mtu).map(|chunk| chunk.0).ok();
        for (mtu, expected) in [
            (68, Some(2048)),
            (1508, Some(2048)),
            (1770, Some(2048)),
            (1771, Some(4096)),
            (3818, Some(4096)),
            (3819, None),
            (u32::MAX, None),
        ] {
            assert_eq!(size(mtu), expected, "{mtu}");
        }
    }

    #[test]
    fn addresses_outside_are_nowhere() {
        let memory = Memory::map(4, Chunk::SMALL).unwrap();
        assert!(memory.at(0, 8192).is_some() && memory.at(8192, 0).is_some());
        for (address, len) in [(0, 8193), (8191, 2), (u64::MAX, 1), (1, usize::MAX)] {
            assert_eq!(memory.at(address, len), None, "{address} {len}");
        }
        assert_eq!((memory.address(3), memory.chunk_of(4096 + 256)), (6144, 4096));
    }
}
