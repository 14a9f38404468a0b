//! The flood limiter: a token bucket in one atomic, exact under several workers, without a clock of its own.
//! Kept as the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{Rate, Timestamp};

const SECOND: u64 = 1_000_000_000;

/// Lets through a second's worth of frames at once, and the rate after that.
pub(crate) struct FloodLimiter {
    /// Nanoseconds between frames at the rate.
    interval: u64,
    /// When the bucket will be full again, in nanoseconds.
    full_at: AtomicU64,
}

impl FloodLimiter {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            interval: SECOND.div_ceil(u64::from(rate.per_second.max(1))),
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes a token; `false` when there is none.
    pub(crate) fn take(&self, now: Timestamp) -> bool {
        self.full_at
            .fetch_update(Relaxed, Relaxed, |full_at| self.after_one_more(now, full_at))
            .is_ok()
    }

    /// Tells whether [`FloodLimiter::take`] would succeed.
    pub(crate) fn would_allow(&self, now: Timestamp) -> bool {
        self.after_one_more(now, self.full_at.load(Relaxed)).is_some()
    }

    fn after_one_more(&self, now: Timestamp, full_at: u64) -> Option<u64> {
        let now = now.as_micros().saturating_mul(1000);
        let full_at = full_at.max(now) + self.interval;
        (full_at - now <= SECOND.max(self.interval)).then_some(full_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_a_second_passes_and_then_the_rate() {
        let limiter = FloodLimiter::new(Rate { per_second: 100 });
        let at = |millis: u64| Timestamp::from_micros(5_000_000 + millis * 1000);
        assert_eq!((0..1000).filter(|_| limiter.take(at(0))).count(), 100);
        assert!(!limiter.would_allow(at(9)));
        assert!(limiter.would_allow(at(10)));
        assert_eq!((0..1000).filter(|_| limiter.take(at(500))).count(), 50);
        assert_eq!((0..1000).filter(|_| limiter.take(at(60_000))).count(), 100);
    }
}
