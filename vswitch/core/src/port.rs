//! What names a port and a moment inside the core.

use std::{fmt, time::Duration};

/// The number of a port, unique in a daemon while the port exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u16);

impl PortId {
    /// Ports that one daemon can have.
    pub const LIMIT: usize = 4096;

    /// The lowest id.
    pub const FIRST: Self = Self(0);

    /// Makes the id of an index below [`PortId::LIMIT`].
    pub const fn new(index: u16) -> Option<Self> {
        if (index as usize) < Self::LIMIT { Some(Self(index)) } else { None }
    }

    /// Makes the id that twelve bits of an entry stand for.
    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits % Self::LIMIT as u16)
    }

    /// Returns the index into tables of ports.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for PortId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "P{}", self.0)
    }
}

/// A moment on a clock that never goes back: microseconds since an origin that the caller chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Makes the moment this many microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the moment `duration` later.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}
