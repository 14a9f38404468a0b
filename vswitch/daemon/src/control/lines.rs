//! How many lines in the log are owed to what comes by a port's socket. A guest or its VMM can do over and over what is
//! worth a line: the first ones are written, then one now and then, which says how many were not.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use weft_core::Timestamp;

use super::allowance::Allowance;
use crate::clock;

/// Lines that are written at once.
const AT_ONCE: u32 = 10;
/// The time after which one more may be written.
const INTERVAL: Duration = Duration::from_secs(60);

/// The lines of one port.
#[derive(Debug)]
pub(super) struct Lines {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    allowance: Allowance,
    left_out: u64,
}

impl Default for Lines {
    fn default() -> Self {
        let allowance = Allowance::new(AT_ONCE, INTERVAL);
        Self { state: Mutex::new(State { allowance, left_out: 0 }) }
    }
}

impl Lines {
    /// Has a line written, if it still may be. It is told how many have not been since the last one, if any.
    pub(super) fn write(&self, line: impl FnOnce(Option<u64>)) {
        if let Some(left_out) = self.take(clock::now()) {
            line((left_out > 0).then_some(left_out));
        }
    }

    /// Tells whether a line may be written, and how many have not been since the last one.
    fn take(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.allowance.take(now) {
            state.left_out += 1;
            return None;
        }
        Some(mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_are_written_then_one_an_interval_with_the_number_of_those_that_were_not() {
        let lines = Lines::default();
        let at = |seconds: u64| Timestamp::from_micros(1_000_000 + seconds * 1_000_000);
        for line in 0..AT_ONCE {
            assert_eq!(lines.take(at(0)), Some(0), "line {line}");
        }
        for _ in 0..1000 {
            assert_eq!(lines.take(at(59)), None);
        }
        assert_eq!(lines.take(at(60)), Some(1000));
        assert_eq!(lines.take(at(60)), None);
        assert_eq!(lines.take(at(119)), None);
        assert_eq!(lines.take(at(120)), Some(2));
        // Who has been quiet has the first lines again, and no more.
        let written = (0..100).filter(|_| lines.take(at(100_000)).is_some()).count();
        assert_eq!(written, AT_ONCE as usize);
    }
}
