//! The replay window: which counters have come. RFC 6479 with a window of 8192, but without a lock: a block of
//! 32 counters and the number of the block that stands there are one atomic, so that whatever the interleaving no
//! counter is taken twice.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How far behind the newest a counter may come.
pub const WINDOW: u64 = 8192;

/// Where counters end: what a block's round has room for, and what no session lives long enough to reach.
pub(crate) const END: u64 = 1 << 45;

/// Counters of one block.
const BITS: u64 = 32;

/// Blocks that have room: twice the window, so that one which is still inside is never the oldest.
const BLOCKS: u64 = 2 * WINDOW / BITS;

/// Why a counter is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// It came before.
    Replayed,
    /// It is behind the window.
    TooOld,
}

/// What a counter that was taken is among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// None came before.
    pub(crate) first: bool,
    /// No higher one came before.
    pub(crate) newest: bool,
}

#[derive(Debug)]
pub(crate) struct Window {
    /// One more than the highest counter; 0 when there is none.
    end: AtomicU64,
    /// The round in the upper half, one bit a counter in the lower.
    blocks: Box<[AtomicU64]>,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self { end: AtomicU64::new(0), blocks: (0..BLOCKS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether `counter`, which is below [`END`], could be taken: asked before the work of authentication.
    pub(crate) fn check(&self, counter: u64) -> Result<(), Stale> {
        if self.is_behind(counter) {
            return Err(Stale::TooOld);
        }
        let (block, round, bit) = self.place(counter);
        updated(block.load(Relaxed), round, bit).map(drop)
    }

    /// Takes `counter`, which is below [`END`] and has been authenticated.
    pub(crate) fn mark(&self, counter: u64) -> Result<Taken, Stale> {
        if self.is_behind(counter) {
            return Err(Stale::TooOld);
        }
        let (block, round, bit) = self.place(counter);
        let mut value = block.load(Relaxed);
        loop {
            let new = updated(value, round, bit)?;
            match block.compare_exchange_weak(value, new, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(other) => value = other,
            }
        }
        let end = counter + 1;
        // A late counter leaves the line alone.
        let before = match self.end.load(Relaxed) {
            before if before >= end => before,
            _ => self.end.fetch_max(end, Relaxed),
        };
        Ok(Taken { first: before == 0, newest: before < end })
    }

    fn is_behind(&self, counter: u64) -> bool {
        self.end.load(Relaxed) > counter + WINDOW
    }

    fn place(&self, counter: u64) -> (&AtomicU64, u32, u32) {
        debug_assert!(counter < END);
        let number = counter / BITS;
        let round = (number / BLOCKS) as u32;
        (&self.blocks[(number % BLOCKS) as usize], round, 1 << (counter % BITS))
    }
}

fn updated(value: u64, round: u32, bit: u32) -> Result<u64, Stale> {
    let (stands, bits) = ((value >> 32) as u32, value as u32);
    let bits = match round.cmp(&stands) {
        Ordering::Equal if bits & bit != 0 => return Err(Stale::Replayed),
        Ordering::Equal => bits | bit,
        Ordering::Greater => bit,
        // The window went on since its end was read.
        Ordering::Less => return Err(Stale::TooOld),
    };
    Ok(u64::from(round) << 32 | u64::from(bits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicU32;

    use super::Stale::{Replayed, TooOld};
    use super::*;

    fn take(window: &Window, counter: u64) -> Result<(), Stale> {
        let checked = window.check(counter);
        let marked = window.mark(counter).map(drop);
        assert_eq!(checked, marked, "alone, both say the same of {counter}");
        marked
    }

    /// The cases of WireGuard's `selftest/counter.c`, for this window.
    #[test]
    fn the_published_cases_hold() {
        const LAST: u64 = END - 1;
        let table: [(u64, Result<(), Stale>); 32] = [
            (0, Ok(())),
            (1, Ok(())),
            (1, Err(Replayed)),
            (9, Ok(())),
            (8, Ok(())),
            (7, Ok(())),
            (7, Err(Replayed)),
            (WINDOW, Ok(())),
            (WINDOW - 1, Ok(())),
            (WINDOW - 1, Err(Replayed)),
            (WINDOW - 2, Ok(())),
            (2, Ok(())),
            (2, Err(Replayed)),
            (WINDOW + 16, Ok(())),
            (3, Err(TooOld)),
            (WINDOW + 16, Err(Replayed)),
            (WINDOW * 4, Ok(())),
            (WINDOW * 4 - (WINDOW - 1), Ok(())),
            (10, Err(TooOld)),
            (WINDOW * 4 - WINDOW - 1, Err(TooOld)),
            (WINDOW * 4 - (WINDOW + 1), Err(TooOld)),
            (WINDOW * 4 - (WINDOW - 2), Ok(())),
            (WINDOW * 4 + 1 - WINDOW, Err(Replayed)),
            (0, Err(TooOld)),
            (LAST, Ok(())),
            (LAST, Err(Replayed)),
            (LAST - 1, Ok(())),
            (LAST - 1, Err(Replayed)),
            (LAST - 2, Ok(())),
            (LAST - (WINDOW - 1), Ok(())),
            (LAST - (WINDOW - 1), Err(Replayed)),
            (0, Err(TooOld)),
        ];
        let window = Window::new();
        for (counter, expected) in table {
            assert_eq!(take(&window, counter), expected, "{counter}");
        }
    }

    #[test]
    fn whole_windows_up_down_and_with_gaps_are_taken_once() {
        let orders: [Vec<u64>; 5] = [
            (1..=WINDOW).collect(),
            (0..WINDOW).collect(),
            (0..WINDOW).rev().collect(),
            (1..=WINDOW).rev().collect(),
            (2..=WINDOW + 1).rev().collect(),
        ];
        for order in orders {
            let window = Window::new();
            for &counter in &order {
                assert_eq!(take(&window, counter), Ok(()), "{counter}");
            }
            for &counter in &order {
                assert_eq!(take(&window, counter), Err(Replayed), "{counter}");
            }
            let below = order.iter().max().and_then(|last| last.checked_sub(WINDOW));
            if let Some(below) = below {
                assert_eq!(take(&window, below), Err(TooOld));
            }
        }
    }

    #[test]
    fn the_first_and_the_newest_are_told_apart() {
        let window = Window::new();
        let taken = |first, newest| Ok(Taken { first, newest });
        assert_eq!(window.mark(5), taken(true, true));
        assert_eq!(window.mark(3), taken(false, false));
        assert_eq!(window.mark(6), taken(false, true));
        assert_eq!(window.mark(100_000), taken(false, true));
        assert_eq!(window.mark(99_000), taken(false, false));
    }

    #[test]
    fn four_threads_take_each_counter_once() {
        const COUNTERS: u64 = 40_000;
        let window = Window::new();
        let taken: Vec<_> = (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        let firsts = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (window, taken, firsts) = (&window, &taken, &firsts);
                scope.spawn(move || {
                    // Forward in steps, each thread with an order of its own inside a step.
                    for step in 0..COUNTERS / 100 {
                        for at in 0..100 {
                            let counter = step * 100 + (at * 37 + thread * 11) % 100;
                            if let Ok(taken_as) = window.mark(counter) {
                                taken[counter as usize].fetch_add(1, Relaxed);
                                firsts.fetch_add(taken_as.first.into(), Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(firsts.load(Relaxed), 1);
        // A thread that is late by a window finds a counter too old, so none need be there; none is there twice.
        assert!(taken.iter().all(|count| count.load(Relaxed) <= 1));
        assert!(taken[COUNTERS as usize - 1].load(Relaxed) == 1);
    }

    proptest! {
        /// Against the definition: a set of what came, and the highest.
        #[test]
        fn it_is_a_set_with_a_limit(
            start in prop_oneof![Just(0), Just(END - 9000), 0..END],
            steps in prop::collection::vec((any::<bool>(), 0..2 * WINDOW, 0..3_u8), 1..400),
        ) {
            let (window, mut seen) = (Window::new(), BTreeSet::new());
            let mut base = start;
            for (forward, by, scale) in steps {
                let by = match scale { 0 => by % 40, 1 => by, _ => by * 50 };
                let counter = if forward { (base + by).min(END - 1) } else { base.saturating_sub(by) };
                base = base.max(counter);
                let expected = match seen.last().copied() {
                    Some(last) if counter + WINDOW <= last => Err(TooOld),
                    _ if !seen.insert(counter) => Err(Replayed),
                    _ => Ok(()),
                };
                prop_assert_eq!(take(&window, counter), expected, "{}", counter);
            }
        }
    }
}
