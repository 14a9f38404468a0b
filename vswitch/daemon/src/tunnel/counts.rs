//! What of a peer's is refused, by reason. Counted rarely, by anyone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Counters by reason.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// Counts one for a reason.
    pub(crate) fn bump(&self, reason: &'static str) {
        self.add(reason, 1);
    }

    /// Counts some for a reason.
    pub(crate) fn add(&self, reason: &'static str, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += count;
    }

    /// Sets what somebody else counted for a reason.
    pub(crate) fn set(&self, reason: &'static str, count: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(reason, count);
    }

    /// Returns every reason that occurred.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
