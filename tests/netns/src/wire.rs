//! What a Nic and a stream guest have in common: frames go in, frames come out, in order.

use std::time::Instant;

use crate::{PATIENCE, frame};

/// An end that sends frames to the switch and receives from it.
pub trait Wire {
    /// Sends a frame.
    ///
    /// # Panics
    /// When the other end is gone.
    fn send(&mut self, frame: &[u8]);

    /// Returns the next frame that arrives before the deadline.
    fn receive(&mut self, deadline: Instant) -> Option<Vec<u8>>;

    /// Returns the first frame that is wanted; those before it are dropped.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    #[track_caller]
    fn expect(&mut self, what: &str, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Some(frame) = self.receive(deadline) {
            if wanted(&frame) {
                return frame;
            }
            seen.push(frame);
        }
        let seen: Vec<_> = seen.iter().map(|frame| frame::describe(frame)).collect();
        panic!("no {what} arrived, but {seen:#?}")
    }

    /// Expects exactly this frame; those before it are dropped.
    #[track_caller]
    fn expect_frame(&mut self, frame: &[u8]) {
        self.expect(&frame::describe(frame), &|got| got == frame);
    }

    /// Returns what arrived before this marker, without the marker: the proof that nothing came is that the
    /// marker, sent later over the same way, comes first.
    #[track_caller]
    fn before_marker(&mut self, marker: &[u8]) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        while let Some(frame) = self.receive(deadline) {
            if frame == marker {
                return before;
            }
            before.push(frame);
        }
        let seen: Vec<_> = before.iter().map(|frame| frame::describe(frame)).collect();
        panic!("the marker {} never arrived, but {seen:#?}", frame::describe(marker))
    }

    /// Expects nothing before this marker.
    #[track_caller]
    fn expect_nothing_before(&mut self, marker: &[u8]) {
        let before = self.before_marker(marker);
        let before: Vec<_> = before.iter().map(|frame| frame::describe(frame)).collect();
        assert!(before.is_empty(), "arrived although it must not: {before:#?}");
    }
}
