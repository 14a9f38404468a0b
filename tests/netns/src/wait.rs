//! Waiting for a condition with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a condition may take before the test fails; far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(15);

const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `condition` holds that takes long by its nature.
///
/// # Panics
/// When it does not within `patience`.
#[track_caller]
pub fn until_within(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let found = eventually_within(patience, || condition().then_some(()));
    assert!(found.is_some(), "waited {patience:?} in vain: {what}");
}

/// Waits until `probe` finds something and returns it.
///
/// # Panics
/// When it finds nothing within [`PATIENCE`].
#[track_caller]
pub fn until_some<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually(probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// Waits until `probe` finds something, for [`PATIENCE`] at most.
pub fn eventually<T>(probe: impl FnMut() -> Option<T>) -> Option<T> {
    eventually_within(PATIENCE, probe)
}

fn eventually_within<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = probe();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        thread::sleep(PAUSE);
    }
}
