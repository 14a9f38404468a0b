//! The one clock of the daemon. Everything else is told the time.

use std::{
    fs, io,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};
use weft_core::Timestamp;

/// Returns the time since the daemon first asked for it.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Timestamp {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    // Entries stamped at the origin itself would look like never stamped ones.
    Timestamp::from_micros(elapsed.as_micros() as u64 + 1_000_000)
}

/// Returns the same as [`now`], as a length of time.
pub(crate) fn elapsed() -> Duration {
    Duration::from_micros(now().as_micros())
}

/// Returns what the clock that people read shows, since 1970.
#[allow(clippy::disallowed_methods)]
pub(crate) fn wall() -> Duration {
    // Before 1970 is as good as 1970: it is corrected by what was marked.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time since the machine was started, sleep included: the same for every daemon until it is started anew.
pub(crate) fn since_boot() -> Duration {
    // The kernel's are never negative.
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}

/// Returns the name of this start of the machine.
pub(crate) fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
