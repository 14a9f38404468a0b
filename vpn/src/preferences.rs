//! Which suites a host allows, told to the peer inside a session; it counts at the next handshake.
//!
//! A payload of kind control: type (5 wants an answer, 6 is one), three zeros, then one byte a suite, the best first.
//! Bytes of suites that a later version has are passed over.

use crate::{Suite, Suites};

const ASK: u8 = 5;
const ANSWER: u8 = 6;

/// One host's word on suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preferences {
    pub(crate) wanted: Reply,
    pub(crate) suites: Suites,
}

/// Whether the other end is to say its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Wanted,
    Given,
}

impl Preferences {
    pub(crate) fn write(self) -> Vec<u8> {
        let kind = match self.wanted {
            Reply::Wanted => ASK,
            Reply::Given => ANSWER,
        };
        [kind, 0, 0, 0].into_iter().chain(self.suites.iter().map(Suite::byte)).collect()
    }

    /// Reads a control payload; `None` if it is something else, or names no suite that is known.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (wanted, suites) = match payload {
            [ASK, 0, 0, 0, suites @ ..] => (Reply::Wanted, suites),
            [ANSWER, 0, 0, 0, suites @ ..] => (Reply::Given, suites),
            _ => return None,
        };
        let suites = Suites::new(suites.iter().filter_map(|&byte| Suite::from_byte(byte)))?;
        Some(Self { wanted, suites })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_as_they_are_written() {
        for wanted in [Reply::Wanted, Reply::Given] {
            for list in [&[Suite::Aes256Gcm][..], &[Suite::ChaCha20Poly1305, Suite::Aes256Gcm]] {
                let suites = Suites::new(list.iter().copied()).unwrap();
                let preferences = Preferences { wanted, suites };
                assert_eq!(Preferences::read(&preferences.write()), Some(preferences));
            }
        }
    }

    #[test]
    fn suites_of_later_versions_are_passed_over() {
        let read = Preferences::read(&[5, 0, 0, 0, 9, 1, 200]).unwrap();
        assert_eq!(read.suites.iter().collect::<Vec<_>>(), [Suite::ChaCha20Poly1305]);
        for other in [&[][..], &[5, 0, 0, 0], &[5, 0, 0, 0, 9], &[5, 0, 0, 1, 0], &[1, 0, 0, 0, 0]]
        {
            assert_eq!(Preferences::read(other), None);
        }
    }
}
