//! Hosts in memory, on a clock that jumps from one thing to the next.

mod load;
mod net;
mod renewal;
mod start;
mod trust;

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
