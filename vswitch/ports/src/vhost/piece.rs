//! Parts of buffers where they lie in a guest's memory, and how they come into the cache before they are needed: what
//! another processor has written last takes as long to come as a small frame takes to be switched.

use crate::queue::CACHE_LINE;

/// Buffers that are found before their turn comes, so that their bytes are on the way meanwhile.
pub(super) const AHEAD: usize = 16;

/// A part of a buffer, in one piece of memory.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) begin: *mut u8,
    pub(super) len: usize,
    /// Its address in the guest.
    pub(super) guest: u64,
}

/// What is about to be done with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Piece {
    /// Has the piece's first bytes brought into the cache: a header, and a small frame.
    #[inline]
    pub(super) fn fetch(&self, access: Access) {
        fetch(self.begin, access);
        fetch(self.begin.wrapping_add(CACHE_LINE.min(self.len)), access);
    }
}

/// Has a line of memory brought into the cache.
#[inline]
pub(super) fn fetch(line: *mut u8, access: Access) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: hints, which touch nothing and may name any address.
    unsafe {
        use std::arch::{
            asm,
            x86_64::{_MM_HINT_T0, _mm_prefetch},
        };
        match access {
            Access::Read => _mm_prefetch::<_MM_HINT_T0>(line.cast()),
            // The compiler takes the other instruction for what every processor has, and a line that is only shared has
            // to be asked for again. Those that do not know this one do nothing.
            Access::Write => {
                asm!("prefetchw [{}]", in(reg) line, options(readonly, nostack, preserves_flags));
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (line, access);
}
