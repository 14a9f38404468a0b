//! Moderation: where full-size frames come one by one and fast, a worker lets some gather before it looks again, as a
//! NIC does with its interrupts. Being woken costs more than a frame, and segments of a stream that are taken together
//! go on as one super-frame.

use std::time::Duration;

use weft_core::Timestamp;

/// How long frames gather.
pub(super) const PAUSE: Duration = Duration::from_micros(50);
/// Bytes from which on a frame belongs to a stream; questions and acknowledgements are shorter, and never begin a pause.
const LARGE: u64 = 1000;
/// Bytes of a turn that are worth a turn already.
const PLENTY: u64 = 16 * 1024;
/// Turns with large frames that are further apart have nothing to gather.
const CLOSE: Duration = Duration::from_micros(100);
/// Turns with large frames that go without a pause after one that brought no more than one frame.
const WITHOUT: u32 = 64;

/// What a turn brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// What came, before segments became super-frames.
    frames: usize,
    bytes: u64,
    /// Bytes of the longest frame.
    longest: u64,
}

impl Turn {
    /// Counts what came in a burst.
    pub(super) fn came(&mut self, frames: usize) {
        self.frames += frames;
    }

    /// Counts the bytes of a frame.
    pub(super) fn add(&mut self, len: u64) {
        self.bytes += len;
        self.longest = self.longest.max(len);
    }
}

/// When a worker pauses.
#[derive(Debug, Default)]
pub(super) struct Moderation {
    large_at: Timestamp,
    paused: bool,
    /// Turns with large frames that go without a pause.
    without: u32,
}

impl Moderation {
    /// Takes note of a turn that began at `now`; tells whether the next one is to wait.
    pub(super) fn pauses(&mut self, now: Timestamp, turn: Turn) -> bool {
        // A reply comes alone, however long one waits for more.
        if std::mem::take(&mut self.paused) && turn.frames < 2 {
            self.without = WITHOUT;
        }
        if turn.longest < LARGE {
            return false;
        }
        let is_close = now < self.large_at.after(CLOSE);
        self.large_at = now;
        if !is_close || turn.bytes > PLENTY {
            return false;
        }
        if self.without > 0 {
            self.without -= 1;
            return false;
        }
        self.paused = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of so many frames of so many bytes, a number of µs after one another; returns how many were followed by
    /// a pause.
    fn pauses(turns: u32, every: u64, frames: usize, len: u64) -> usize {
        let mut moderation = Moderation::default();
        let mut turn = Turn::default();
        turn.came(frames);
        (0..frames).for_each(|_| turn.add(len));
        let paused = |number: &u32| {
            let now = Timestamp::default().after(Duration::from_secs(1));
            moderation.pauses(now.after(Duration::from_micros(every) * *number), turn)
        };
        (0..turns).filter(paused).count()
    }

    #[test]
    fn frames_of_a_stream_gather() {
        assert_eq!(pauses(1000, 60, 4, 1500), 999);
        assert_eq!(pauses(1000, 60, 2, 1000), 999);
    }

    #[test]
    fn what_comes_seldom_is_taken_at_once() {
        assert_eq!(pauses(1000, 100, 4, 1500), 0);
    }

    #[test]
    fn small_frames_are_taken_at_once() {
        assert_eq!(pauses(1000, 10, 8, 999), 0);
    }

    #[test]
    fn super_frames_are_taken_at_once() {
        assert_eq!(pauses(1000, 20, 1, 64_000), 0);
        assert_eq!(pauses(1000, 20, 64, 1500), 0);
    }

    #[test]
    fn long_replies_that_come_alone_rarely_wait() {
        // The first turn is close to none, the second pauses in vain, and so does one of each 65 from there on.
        assert_eq!(pauses(2 + 65 * 10, 60, 1, 1500), 11);
        assert_eq!(pauses(2 + 65 * 10, 60, 1, 8000), 11);
    }

    #[test]
    fn a_pause_that_brings_nothing_is_in_vain() {
        let mut moderation = Moderation::default();
        let mut stream = Turn::default();
        stream.came(4);
        stream.add(6000);
        let at =
            |micros: u64| Timestamp::default().after(Duration::from_micros(1_000_000 + micros));
        assert!(!moderation.pauses(at(0), stream));
        assert!(moderation.pauses(at(50), stream));
        assert!(!moderation.pauses(at(100), Turn::default()));
        assert!(!moderation.pauses(at(110), stream));
    }
}
