//! The static keys of this host: the one that it is known by, and during a rotation the one before it.

use crate::mac::MacKeys;
use crate::{PrivateKey, PublicKey};

/// One of this host's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Current,
    Previous,
}

pub(super) struct Local {
    pub(super) private: PrivateKey,
    pub(super) public: PublicKey,
    macs: MacKeys,
}

impl Local {
    fn new(private: PrivateKey) -> Self {
        let public = private.public();
        Self { private, public, macs: MacKeys::new(&public) }
    }
}

pub(super) struct Identity {
    current: Local,
    previous: Option<Local>,
}

impl Identity {
    pub(super) fn new(private: PrivateKey, previous: Option<PrivateKey>) -> Self {
        Self { current: Local::new(private), previous: previous.map(Local::new) }
    }

    /// The previous key where there is one, or else the current.
    pub(super) fn key(&self, which: Which) -> &Local {
        match (which, &self.previous) {
            (Which::Previous, Some(previous)) => previous,
            _ => &self.current,
        }
    }

    /// The key to try in this turn, and how many turns every key takes to have been tried.
    pub(super) fn turn(&self, best: Which, turn: u32) -> (Which, u32) {
        match (&self.previous, best, turn % 2) {
            (None, ..) => (Which::Current, 1),
            (_, best, 0) => (best, 2),
            (_, Which::Current, _) => (Which::Previous, 2),
            (_, Which::Previous, _) => (Which::Current, 2),
        }
    }

    /// Which of the keys the mac1 of `message` is for.
    pub(super) fn addressed(&self, message: &[u8]) -> Option<Which> {
        if self.current.macs.knows_us(message) {
            return Some(Which::Current);
        }
        let previous = self.previous.as_ref()?;
        previous.macs.knows_us(message).then_some(Which::Previous)
    }

    pub(super) fn macs(&self, which: Which) -> &MacKeys {
        &self.key(which).macs
    }

    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.current.public == *key
            || self.previous.as_ref().is_some_and(|previous| previous.public == *key)
    }
}
