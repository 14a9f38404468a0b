//! The one clock of the daemon. Everything else is told the time.

use std::{sync::OnceLock, time::Instant};

use weft_core::Timestamp;

/// Returns the time since the daemon first asked for it.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Timestamp {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    // Entries stamped at the origin itself would look like never stamped ones.
    Timestamp::from_micros(elapsed.as_micros() as u64 + 1_000_000)
}
