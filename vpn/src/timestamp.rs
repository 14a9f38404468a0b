//! TAI64N labels, which order the initiations of a host. <https://cr.yp.to/libtai/tai64.html>

use std::fmt;
use std::time::Duration;

/// A moment of a host's own wall clock, as its initiations carry it. Only its order counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai64n([u8; 12]);

const NANOS: u32 = 1_000_000_000;

/// 1970 in TAI64, with the ten seconds that TAI was ahead then; leap seconds are left out, as WireGuard does.
const EPOCH: u64 = (1 << 62) + 10;

impl Tai64n {
    /// The label of a wall clock that shows `wall` since 1970.
    #[must_use]
    pub fn from_unix(wall: Duration) -> Self {
        Self::new(EPOCH.saturating_add(wall.as_secs()), wall.subsec_nanos())
    }

    /// The label of these bytes, as [`Tai64n::to_bytes`] gave them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// Seconds and nanoseconds, big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        self.0
    }

    /// The next label.
    #[must_use]
    pub(crate) fn next(self) -> Self {
        let (seconds, nanos) = self.parts();
        match nanos + 1 {
            nanos if nanos < NANOS => Self::new(seconds, nanos),
            _ => Self::new(seconds.saturating_add(1), 0),
        }
    }

    /// The label of `delay` later.
    #[must_use]
    pub(crate) fn later(self, delay: Duration) -> Self {
        let (seconds, nanos) = self.parts();
        Self::new(seconds.saturating_add(delay.as_secs()), nanos)
    }

    fn new(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }

    fn parts(self) -> (u64, u32) {
        let [a, b, c, d, e, f, g, h, nanos @ ..] = self.0;
        // What a file or a peer says may have any nanoseconds.
        let nanos = u32::from_be_bytes(nanos).min(NANOS - 1);
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), nanos)
    }
}

/// Seconds since 1970, for people.
impl fmt::Debug for Tai64n {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Seconds since 1970, for people.
impl fmt::Display for Tai64n {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = self.parts();
        let seconds = i128::from(seconds) - i128::from(EPOCH);
        f.pad(&format!("{seconds}.{nanos:09}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::hex;

    #[test]
    fn a_label_is_that_of_its_clock() {
        let wall = Duration::new(1_700_000_000, 123_456_789);
        let label = Tai64n::from_unix(wall);
        assert_eq!(hex(&label.to_bytes()), "400000006553f10a075bcd15");
        assert_eq!(label.to_string(), "1700000000.123456789");
        assert_eq!(Tai64n::from_bytes(label.to_bytes()), label);
    }

    #[test]
    fn labels_are_ordered_as_time_is() {
        let at = |secs, nanos| Tai64n::from_unix(Duration::new(secs, nanos));
        assert!(at(1, 0) < at(1, 1));
        assert!(at(1, NANOS - 1) < at(2, 0));
        assert_eq!(at(1, 5).next(), at(1, 6));
        assert_eq!(at(1, NANOS - 1).next(), at(2, 0));
        assert_eq!(at(1, 5).later(Duration::from_secs(60)), at(61, 5));
        let last = Tai64n::from_bytes([0xff; 12]);
        assert_eq!(last.next().later(Duration::MAX).parts(), (u64::MAX, 0));
    }
}
