//! Frames, bytes and drops of a port. One block per worker and port, written by that worker alone,
//! read by anyone; no read-modify-write is needed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::DropReason;

/// What one worker counted on one port.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames that came from the port.
    pub rx: DirectionCounters,
    /// Frames that went to the port.
    pub tx: DirectionCounters,
}

/// One direction of a port.
#[derive(Debug, Default)]
pub struct DirectionCounters {
    frames: AtomicU64,
    bytes: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
}

impl DirectionCounters {
    /// Counts frames and their bytes.
    pub fn add(&self, frames: u64, bytes: u64) {
        bump(&self.frames, frames);
        bump(&self.bytes, bytes);
    }

    /// Counts drops for one reason.
    pub fn drop(&self, reason: DropReason, frames: u64) {
        bump(&self.drops[reason as usize], frames);
    }

    /// Returns the frames counted.
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Returns the bytes counted.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Returns the drops counted for one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Relaxed)
    }
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}
