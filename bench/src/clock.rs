//! Real time for measurements and waits. The one module here that reads the clock.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Returns the time of now.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until `ready` says yes.
///
/// # Errors
/// Whatever `ready` fails with, or that `what` did not come about within `limit`.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let begin = now();
    loop {
        if ready()? {
            return Ok(());
        }
        if begin.elapsed() >= limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}
