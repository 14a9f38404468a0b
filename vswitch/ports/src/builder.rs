//! A burst that is put together from frames which lie in memory as plain bytes: what a tunnel has opened. TCP segments
//! that follow each other become one super-frame, a scatter list over their payloads where these lie.

use std::marker::PhantomData;

use weft_core::DropReason;
use weft_offload::{Merge, VnetHeader};
use weft_vlan::{Head, WireTag};

use crate::{
    ARENA, BURST, Burst, Scratch,
    queue::{ARENA_BUDGET, Arrivals, read_head},
};

/// A burst in the making. It and the burst borrow the frames.
pub struct Builder<'b> {
    arrivals: &'b mut Arrivals,
    frames: PhantomData<&'b [u8]>,
    /// What the last frame grows by, until another follows that does not continue it.
    growing: Option<Merge>,
    count: usize,
    bytes: usize,
}

impl Scratch {
    /// Begins a burst of frames that the caller has.
    pub fn builder(&mut self) -> Builder<'_> {
        self.arrivals.clear();
        Builder {
            arrivals: &mut self.arrivals,
            frames: PhantomData,
            growing: None,
            count: 0,
            bytes: 0,
        }
    }
}

impl<'b> Builder<'b> {
    /// Tells whether the burst has what a burst should have at most, [`BURST`] frames or a cache's worth; more can be
    /// added all the same, so that what came in one record need not be divided.
    pub fn is_full(&self) -> bool {
        // A super-frame that grows is let become whole.
        let enough = if self.growing.is_some() { ARENA } else { ARENA_BUDGET };
        self.count >= BURST || self.bytes >= enough
    }

    /// Adds a frame, or makes the last one longer by it. `tag` travels beside it, tags in its bytes are payload then;
    /// `vnet` is what came in front of it.
    pub fn push(&mut self, frame: &'b [u8], tag: Option<WireTag>, vnet: Option<&VnetHeader>) {
        let head = read_head(&frame[..frame.len().min(Head::PREFIX)], frame.len(), tag, vnet);
        self.bytes += frame.len();
        if let Some(payload) = self.follow(&head) {
            let payload = &frame[payload..];
            // SAFETY: the payload can be read for as long as the burst, which borrows it, exists.
            unsafe { self.arrivals.string(payload.as_ptr(), payload.len()) };
            return;
        }
        self.end_growth();
        self.growing = Merge::begin(&head);
        let rest = &frame[head.consumed()..];
        *self.arrivals.next() = head;
        self.count += 1;
        // SAFETY: as above.
        unsafe { self.arrivals.string(rest.as_ptr(), rest.len()) };
    }

    /// Counts frames that do not become part of the burst.
    pub fn refuse(&mut self, reason: DropReason, frames: u64) {
        self.arrivals.refuse(reason, frames);
    }

    /// Returns the burst.
    pub fn finish(mut self) -> Burst<'b> {
        self.end_growth();
        let arrivals: &'b Arrivals = self.arrivals;
        arrivals.burst()
    }

    /// Tells where the payload of a frame begins that continues the last one.
    fn follow(&mut self, head: &Head) -> Option<usize> {
        let growing = self.growing.as_mut()?;
        let headers = growing.take(self.arrivals.last()?, head)?;
        Some(headers + head.in_band_tag_len())
    }

    fn end_growth(&mut self) {
        if let (Some(growing), Some(head)) = (self.growing.take(), self.arrivals.last()) {
            growing.finish(head);
        }
    }
}
