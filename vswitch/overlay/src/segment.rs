//! Segments: broadcast domains that span hosts, by the number that every host knows them by.

use std::fmt;

/// A segment's number: 1 to 16 777 215, the same on every host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(u32);

impl SegmentId {
    /// The highest number.
    pub const MAX: u32 = 0xff_ffff;

    /// Returns the number as an identifier, or `None` for 0 and what is above [`SegmentId::MAX`].
    pub const fn new(id: u32) -> Option<Self> {
        if id >= 1 && id <= Self::MAX { Some(Self(id)) } else { None }
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_24_bits_and_is_not_0() {
        assert_eq!(SegmentId::new(0), None);
        assert_eq!(SegmentId::new(1).map(SegmentId::get), Some(1));
        assert_eq!(SegmentId::new(16_777_215).map(SegmentId::get), Some(16_777_215));
        assert_eq!(SegmentId::new(16_777_216), None);
    }
}
