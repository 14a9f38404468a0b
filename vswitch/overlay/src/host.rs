//! Names of hosts and ports, chosen by the caller.

use std::fmt;

/// A host's public key: what decides between equal sequences, and who a loop probe is from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey([u8; 32]);

impl HostKey {
    /// Wraps the bytes of a public key.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Returns the bytes.
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// A peer, by a number of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// A port of this host's switch, by a number of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPort(pub u16);
