//! How often something may be done: some times at once, then once an interval. Who has been quiet has the first times
//! again, and no more.

use std::time::Duration;

use weft_core::Timestamp;

/// What is left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    at_once: u32,
    interval: Duration,
    /// When all that may be done at once may be done again.
    rested: Timestamp,
}

impl Allowance {
    /// Allows it `at_once` times, then once each `interval`.
    pub(super) fn new(at_once: u32, interval: Duration) -> Self {
        Self { at_once, interval, rested: Timestamp::default() }
    }

    /// Tells whether it may be done, and takes note that it is.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let rested = self.rested.max(now).after(self.interval);
        let allowed = rested <= now.after(self.interval * self.at_once);
        if allowed {
            self.rested = rested;
        }
        allowed
    }

    /// Tells whether it may be done.
    pub(super) fn is_left(&self, now: Timestamp) -> bool {
        let mut copy = *self;
        copy.take(now)
    }

    /// Returns after which time there is one more again, at the latest.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_done_at_once_comes_back_one_by_one() {
        let mut allowance = Allowance::new(3, Duration::from_secs(10));
        let at = |seconds| Timestamp::default().after(Duration::from_secs(seconds));
        let mut times = |seconds| (0..100).filter(|_| allowance.take(at(seconds))).count();
        assert_eq!(times(1), 3);
        assert_eq!(times(10), 0);
        assert_eq!(times(11), 1);
        assert_eq!(times(31), 2);
        assert_eq!(times(1000), 3);
        assert!(!allowance.is_left(at(1009)));
        assert!(allowance.is_left(at(1010)) && allowance.take(at(1010)));
    }
}
