//! The two AEADs that a session may use, how much each may carry under one key, and which of them two hosts take.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::aead::{AES_256_GCM, Algorithm, CHACHA20_POLY1305, Nonce};

use crate::window;

/// How records are sealed; the handshake that makes their keys uses the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// Where the CPU has instructions for it.
    Aes256Gcm,
    /// Everywhere else.
    ChaCha20Poly1305,
}

/// What is no suite's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no cipher \"{0}\", only aes-256-gcm and chacha20-poly1305")]
pub struct UnknownSuite(String);

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    pub(crate) fn noise(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "Noise_IKpsk2_25519_AESGCM_BLAKE2s",
            Self::ChaCha20Poly1305 => "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
        }
    }

    pub(crate) fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// The nonce of a counter, Noise rev. 34 §12.3 and §12.4.
    pub(crate) fn nonce(self, counter: u64) -> Nonce {
        let counter = match self {
            Self::Aes256Gcm => counter.to_be_bytes(),
            Self::ChaCha20Poly1305 => counter.to_le_bytes(),
        };
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Records under one key after which another is made.
    pub(crate) fn rekey_after(self) -> u64 {
        match self {
            Self::Aes256Gcm => 1 << 26,
            Self::ChaCha20Poly1305 => window::END / 2,
        }
    }

    /// Records under one key after which there are no more: RFC 9001 appendix B. WireGuard's 2^64 - 2^13 for
    /// ChaCha20-Poly1305 (paper §6.1) is out of reach in the time that a session has, and so is less.
    pub(crate) fn stop_at(self) -> u64 {
        match self {
            Self::Aes256Gcm => 1 << 28,
            Self::ChaCha20Poly1305 => window::END,
        }
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 0,
            Self::ChaCha20Poly1305 => 1,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.byte() == byte)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        let suite = Self::ALL.into_iter().find(|suite| suite.name() == text);
        suite.ok_or_else(|| UnknownSuite(text.to_owned()))
    }
}

/// The suites that a host allows with a peer, the best first; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suites {
    first: Suite,
    second: Option<Suite>,
}

impl Suites {
    /// Takes a list, the best first; what is named again counts where it stood first. `None` for an empty list.
    pub fn new(list: impl IntoIterator<Item = Suite>) -> Option<Self> {
        let mut list = list.into_iter();
        let first = list.next()?;
        Some(Self { first, second: list.find(|&suite| suite != first) })
    }

    /// The best.
    #[must_use]
    pub fn first(self) -> Suite {
        self.first
    }

    /// All of them, the best first.
    pub fn iter(self) -> impl Iterator<Item = Suite> {
        [Some(self.first), self.second].into_iter().flatten()
    }

    /// Whether `suite` is among them.
    #[must_use]
    pub fn allows(self, suite: Suite) -> bool {
        self.iter().any(|allowed| allowed == suite)
    }

    /// The suite that both ends take, whoever of them asks: the only one in both lists, or the one that both have
    /// first, or that which the end with the higher static key (`decides`) has first.
    pub(crate) fn agreed(self, other: Self, decides: Decides) -> Option<Suite> {
        let (leading, following) = match decides {
            Decides::Ours => (self, other),
            Decides::Theirs => (other, self),
        };
        leading.iter().find(|&suite| following.allows(suite))
    }
}

impl Default for Suites {
    fn default() -> Self {
        Self { first: Suite::Aes256Gcm, second: Some(Suite::ChaCha20Poly1305) }
    }
}

/// Whose order of suites decides where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decides {
    Ours,
    Theirs,
}

#[cfg(test)]
mod tests {
    use super::Suite::{Aes256Gcm as Aes, ChaCha20Poly1305 as ChaCha};
    use super::*;

    fn suites(list: &[Suite]) -> Suites {
        Suites::new(list.iter().copied()).unwrap()
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse(), Ok(suite));
            assert_eq!(Suite::from_byte(suite.byte()), Some(suite));
        }
        assert!("aes-128-gcm".parse::<Suite>().is_err());
        assert_eq!(Suite::from_byte(2), None);
    }

    #[test]
    fn a_list_keeps_its_order_and_forgets_what_is_said_twice() {
        assert_eq!(Suites::new([]), None);
        assert_eq!(suites(&[Aes, Aes]), suites(&[Aes]));
        assert_eq!(suites(&[ChaCha, ChaCha, Aes]).iter().collect::<Vec<_>>(), [ChaCha, Aes]);
        assert!(!suites(&[Aes]).allows(ChaCha));
    }

    #[test]
    fn both_ends_agree_whoever_asks() {
        let table: [(&[Suite], &[Suite], Option<Suite>); 6] = [
            (&[Aes, ChaCha], &[Aes, ChaCha], Some(Aes)),
            (&[ChaCha, Aes], &[ChaCha, Aes], Some(ChaCha)),
            (&[Aes, ChaCha], &[ChaCha], Some(ChaCha)),
            (&[Aes], &[ChaCha, Aes], Some(Aes)),
            (&[Aes], &[ChaCha], None),
            (&[Aes, ChaCha], &[ChaCha, Aes], Some(Aes)),
        ];
        for (higher, lower, agreed) in table {
            let (higher, lower) = (suites(higher), suites(lower));
            assert_eq!(higher.agreed(lower, Decides::Ours), agreed);
            assert_eq!(lower.agreed(higher, Decides::Theirs), agreed);
        }
    }

    /// Noise rev. 34 §12: a big-endian counter for AESGCM, a little-endian one for ChaChaPoly.
    #[test]
    fn nonces_are_those_of_noise() {
        let nonce = |suite: Suite| *suite.nonce(0x0102).as_ref();
        assert_eq!(nonce(Aes), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(nonce(ChaCha), [0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
