//! The flood limiter: a token bucket in one atomic, exact under several workers, without a clock of its own.
//! Kept as the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{Rate, Timestamp};

/// Units of time in a second and in a microsecond: sixteenths of a nanosecond come round after 36 years.
const SECOND: u64 = 1_000_000 * MICROSECOND;
const MICROSECOND: u64 = 16_000;

/// Lets through a second's worth of frames at once, and the rate after that.
pub(crate) struct FloodLimiter {
    rate: Rate,
    /// The time between frames at the rate.
    interval: u64,
    /// The time in which an empty bucket fills.
    burst: u64,
    /// When the bucket will be full again.
    full_at: AtomicU64,
}

impl FloodLimiter {
    pub(crate) fn new(rate: Rate) -> Self {
        let frames = u64::from(rate.per_second.max(1));
        let interval = SECOND.div_ceil(frames);
        Self { rate, interval, burst: interval * frames, full_at: AtomicU64::new(0) }
    }

    /// Returns the rate that it was made for.
    pub(crate) fn rate(&self) -> Rate {
        self.rate
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
        let now = now.as_micros().saturating_mul(MICROSECOND);
        let full_at = full_at.max(now).saturating_add(self.interval);
        (full_at - now <= self.burst).then_some(full_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_lets_its_whole_burst_through() {
        for per_second in [1, 2, 3, 7, 999, 30_000, 777_777] {
            let limiter = FloodLimiter::new(Rate { per_second });
            let now = Timestamp::from_micros(9_000_000);
            let passed = (0..=per_second).filter(|_| limiter.take(now)).count();
            assert_eq!(passed, per_second as usize);
        }
    }

    #[test]
    fn workers_together_get_no_more_than_one_would() {
        let limiter = FloodLimiter::new(Rate { per_second: 1000 });
        let worker =
            || (0..1000).filter(|_| limiter.take(Timestamp::from_micros(7_000_000))).count();
        let passed: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }

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
