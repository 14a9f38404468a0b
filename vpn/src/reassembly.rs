//! Puts the fragments of one peer's bundles together again. What it keeps, spare buffers included, is bounded
//! whatever comes; the oldest of the peer's own bundles makes room. Each byte is copied once. A bundle with two texts
//! for one place is dropped, in the spirit of RFC 5722. Fragments are authenticated before they come here.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    time::Duration,
};

use crate::fragment::{BundleId, Header, MalformedFragment, Shape};

/// The most bytes that incomplete bundles and spare buffers of one peer take.
pub const REASSEMBLY_BOUND: usize = 256 * 1024;
/// How long the rest of a bundle may take: its fragments are sent together, and no guest waits longer.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Buffers are multiples of this, so that those of one kind of frame fit the next ones.
const BLOCK: usize = 2048;

/// The bundles of one peer that are not complete.
#[derive(Debug, Default)]
pub struct Reassembly {
    /// By age, the oldest first.
    pending: VecDeque<Pending>,
    spare: Vec<Box<[u8]>>,
    /// The bytes of all buffers above.
    held: usize,
    /// When a fragment came last.
    used: Duration,
    losses: Losses,
}

#[derive(Debug)]
struct Pending {
    id: BundleId,
    shape: Shape,
    /// A bit for each piece that is there.
    arrived: u128,
    /// The marks of all of them.
    marks: u8,
    since: Duration,
    buffer: Box<[u8]>,
}

/// A complete bundle. Given back by [`Reassembly::recycle`], its memory serves the next one.
#[derive(Debug)]
pub struct Reassembled {
    buffer: Box<[u8]>,
    len: usize,
    marks: u8,
}

impl Reassembled {
    /// Returns every mark that one of its fragments came with.
    pub fn marks(&self) -> u8 {
        self.marks
    }
}

impl Deref for Reassembled {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Reassembled {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

/// Why a fragment was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum FragmentError {
    /// It is no fragment; nothing else changed.
    #[error(transparent)]
    Malformed(#[from] MalformedFragment),
    /// The same piece is there; nothing changed.
    #[error("fragment came twice")]
    Duplicate,
    /// Other bytes are there in its place: the bundle is dropped.
    #[error("fragment overlaps another one with other bytes")]
    Overlap,
    /// Earlier fragments say another length or number of pieces: the bundle is dropped.
    #[error("fragment contradicts an earlier one about its bundle")]
    Contradiction,
}

impl FragmentError {
    /// Returns the name that counters show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(_) => "fragment-malformed",
            Self::Duplicate => "fragment-duplicate",
            Self::Overlap => "fragment-overlap",
            Self::Contradiction => "fragment-contradiction",
        }
    }
}

/// How many bundles were given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Made room for a newer bundle of the same peer.
    pub evicted: u64,
    /// Not complete within [`REASSEMBLY_TIMEOUT`].
    pub expired: u64,
}

impl Reassembly {
    /// Takes the payload of a fragment record; returns the bundle that it completes. `marks` are bits that mean
    /// nothing here: what the datagram came with beside its bytes.
    ///
    /// # Errors
    /// When the fragment is not kept, with the reason.
    pub fn insert(
        &mut self,
        now: Duration,
        payload: &[u8],
        marks: u8,
    ) -> Result<Option<Reassembled>, FragmentError> {
        let (header, piece, bytes) = Header::read(payload)?;
        self.expire(now);
        self.used = now;
        // What came last is what most fragments belong to.
        let at = match self.pending.iter().rposition(|pending| pending.id == header.id) {
            Some(at) => at,
            None => self.begin(now, header),
        };
        let bit = 1_u128 << header.index;
        let pending = &mut self.pending[at];
        if pending.shape != header.shape {
            self.discard(at);
            return Err(FragmentError::Contradiction);
        }
        if pending.arrived & bit != 0 {
            if pending.buffer[piece] == *bytes {
                return Err(FragmentError::Duplicate);
            }
            self.discard(at);
            return Err(FragmentError::Overlap);
        }
        pending.buffer[piece].copy_from_slice(bytes);
        pending.arrived |= bit;
        pending.marks |= marks;
        if pending.arrived.count_ones() < u32::from(header.shape.count()) {
            return Ok(None);
        }
        Ok(self.pending.remove(at).map(|Pending { buffer, shape, marks, .. }| {
            self.held -= buffer.len();
            Reassembled { buffer, len: shape.len(), marks }
        }))
    }

    /// Takes the memory of a bundle that was dealt with.
    pub fn recycle(&mut self, bundle: Reassembled) {
        if self.held + bundle.buffer.len() <= REASSEMBLY_BOUND {
            self.held += bundle.buffer.len();
            self.spare.push(bundle.buffer);
        }
    }

    /// Gives up what has waited too long, and spare memory when nothing came for as long.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.expire(now);
        if now >= self.used + REASSEMBLY_TIMEOUT {
            self.free_spare(0);
        }
    }

    /// Returns when [`Reassembly::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let first = self.pending.front().map(|pending| pending.since);
        let spare = (!self.spare.is_empty()).then_some(self.used);
        [first, spare].into_iter().flatten().min().map(|since| since + REASSEMBLY_TIMEOUT)
    }

    /// Returns how many bytes the incomplete bundles and spare buffers take; at most [`REASSEMBLY_BOUND`].
    pub fn held(&self) -> usize {
        self.held
    }

    /// Returns how many bundles were given up.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    fn expire(&mut self, now: Duration) {
        while let Some(oldest) = self.pending.front()
            && now >= oldest.since + REASSEMBLY_TIMEOUT
        {
            self.discard(0);
            self.losses.expired += 1;
        }
    }

    /// Makes room for a bundle; returns where it stands.
    fn begin(&mut self, now: Duration, Header { id, shape, .. }: Header) -> usize {
        let buffer = self.buffer(shape.len().next_multiple_of(BLOCK));
        self.pending.push_back(Pending { id, shape, arrived: 0, marks: 0, since: now, buffer });
        self.pending.len() - 1
    }

    /// Returns a buffer of `len` bytes. What is left in it does not matter: every byte is written before it is read.
    fn buffer(&mut self, len: usize) -> Box<[u8]> {
        loop {
            if let Some(at) = self.spare.iter().rposition(|spare| spare.len() == len) {
                return self.spare.swap_remove(at);
            }
            self.free_spare(REASSEMBLY_BOUND - len);
            if self.held + len <= REASSEMBLY_BOUND {
                self.held += len;
                return vec![0; len].into();
            }
            self.discard(0);
            self.losses.evicted += 1;
        }
    }

    /// Frees spare buffers until no more than `most` bytes are held or none is left.
    fn free_spare(&mut self, most: usize) {
        let mut freed = 0;
        while self.held > most
            && let Some(spare) = self.spare.get(freed)
        {
            self.held -= spare.len();
            freed += 1;
        }
        self.spare.drain(..freed);
    }

    /// Drops a bundle; its buffer becomes a spare one.
    fn discard(&mut self, at: usize) {
        self.spare.extend(self.pending.remove(at).map(|pending| pending.buffer));
    }
}

#[cfg(test)]
mod tests;
