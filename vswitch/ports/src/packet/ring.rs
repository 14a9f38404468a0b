//! The ring in which the kernel lays received frames: TPACKET_V2, one slot a frame. A frame that is larger than
//! its slot leaves its beginning there and waits whole in the socket's queue (PACKET_COPY_THRESH).

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{BURST, egress::VNET, sys};

/// Room for an untagged frame of an MTU of 1500 and the kernel's header.
const SLOT: usize = 2048;
const SLOTS: usize = 2048;
const BLOCK: usize = 64 * 1024;

/// A mapped ring.
pub(super) struct Ring {
    base: *mut u8,
    /// The slot that the kernel fills next, as far as it has been seen.
    next: usize,
    /// Slots before `next` that are in use here.
    held: usize,
    /// Frames taken since the ring was last seen empty.
    since_empty: usize,
    /// Whether so many have come in a row that the ring can have been full.
    was_full: bool,
}

// SAFETY: the mapping belongs to this value alone and may be used from any one thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Sets up the ring of a socket and maps it.
    pub(super) fn map(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        sys::set_option(socket, libc::SOL_PACKET, libc::PACKET_VERSION, version)?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: (SLOTS * SLOT / BLOCK) as u32,
            tp_frame_size: SLOT as u32,
            tp_frame_nr: SLOTS as u32,
        };
        sys::set_option(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                SLOTS * SLOT,
                access,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), next: 0, held: 0, since_empty: 0, was_full: false })
    }

    /// Gives the slots that were taken back to the kernel, which writes other frames into them.
    pub(super) fn release(&mut self) {
        for position in (self.next + SLOTS - self.held)..(self.next + SLOTS) {
            self.status(position % SLOTS).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.held = 0;
    }

    /// Takes the next frame, if there is one. At most [`BURST`] can be taken between releases, or all slots.
    pub(super) fn take(&mut self) -> Option<Slot> {
        const { assert!(BURST < SLOTS) };
        let status = self.status(self.next).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 || self.held == SLOTS {
            self.since_empty = 0;
            return None;
        }
        // SAFETY: `next` is below `SLOTS`; the kernel has filled the slot and leaves it alone until it gets it back.
        // A slot begins with the kernel's header, and with PACKET_VNET_HDR the virtio-net header lies between that
        // and the frame.
        let slot = unsafe {
            let start = self.base.add(self.next * SLOT);
            let header = ptr::read(start.cast::<libc::tpacket2_hdr>());
            let frame = start.add(usize::from(header.tp_mac));
            Slot { status, header, vnet: ptr::read_unaligned(frame.sub(VNET).cast()), frame }
        };
        self.next = (self.next + 1) % SLOTS;
        self.held += 1;
        self.since_empty = self.since_empty.saturating_add(1);
        // Slots that are held here when the ring is seen empty are not free for the kernel.
        self.was_full |= self.since_empty >= SLOTS - BURST;
        Some(slot)
    }

    /// Tells whether the ring can have been full since this was asked last: that takes as many frames in a row,
    /// without its being seen empty, as it has slots.
    pub(super) fn was_full(&mut self) -> bool {
        mem::take(&mut self.was_full)
    }

    fn status(&self, position: usize) -> &AtomicU32 {
        debug_assert!(position < SLOTS);
        // SAFETY: a slot begins with its status, 4 bytes aligned to 2048, which kernel and program only access
        // atomically; the mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.add(position * SLOT).cast()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length; slots in use are borrowed from the ring's owner.
        unsafe { libc::munmap(self.base.cast(), SLOTS * SLOT) };
    }
}

/// What the kernel says of one frame, and where the frame is: in a slot that belongs to this program until the
/// ring's next release.
pub(super) struct Slot {
    status: u32,
    header: libc::tpacket2_hdr,
    vnet: [u8; VNET],
    frame: *const u8,
}

impl Slot {
    /// Returns what the kernel says of the frame.
    pub(super) fn status(&self) -> u32 {
        self.status
    }

    /// Tells whether the kernel has set a bit of the status.
    pub(super) fn says(&self, bit: u32) -> bool {
        self.status & bit != 0
    }

    /// Tells whether the slot holds only the beginning of the frame.
    pub(super) fn is_cut_short(&self) -> bool {
        self.header.tp_snaplen < self.header.tp_len
    }

    /// Returns the whole frame's length, without a stripped tag.
    pub(super) fn frame_len(&self) -> usize {
        self.header.tp_len as usize
    }

    /// Returns the stripped tag's control information and protocol identifier.
    pub(super) fn vlan(&self) -> (u16, u16) {
        (self.header.tp_vlan_tci, self.header.tp_vlan_tpid)
    }

    /// Returns the virtio-net header in front of the frame.
    pub(super) fn vnet_header(&self) -> &[u8; VNET] {
        &self.vnet
    }

    /// Returns where the frame begins.
    pub(super) fn frame(&self) -> *const u8 {
        self.frame
    }
}
