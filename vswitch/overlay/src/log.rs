//! The log of a segment: which addresses of this host changed, each once, in the order of its last change. A
//! peer that has everything up to a version needs what follows it, whatever was lost before.

use std::collections::BTreeMap;

use weft_vlan::MacAddr;

/// Withdrawn addresses that are remembered until the peers know.
pub(crate) const TOMBS_MAX: usize = 65_536;

/// The order of changes in one segment.
#[derive(Debug, Default)]
pub(crate) struct Log {
    changes: BTreeMap<u64, MacAddr>,
    /// Withdrawn addresses, and where they stand.
    tombs: BTreeMap<MacAddr, u64>,
}

impl Log {
    /// Enters the claim of an address, in the place of its earlier change.
    pub(crate) fn claim(&mut self, mac: MacAddr, before: Option<u64>, version: u64) {
        self.forget(mac, before);
        self.changes.insert(version, mac);
    }

    /// Enters the withdrawal of an address, in the place of its claim.
    pub(crate) fn withdraw(&mut self, mac: MacAddr, before: u64, version: u64) {
        self.forget(mac, Some(before));
        self.changes.insert(version, mac);
        self.tombs.insert(mac, version);
    }

    fn forget(&mut self, mac: MacAddr, before: Option<u64>) {
        for version in before.into_iter().chain(self.tombs.remove(&mac)) {
            self.changes.remove(&version);
        }
    }

    /// Returns the version of the last change, 0 where there is none.
    pub(crate) fn last(&self) -> u64 {
        self.changes.last_key_value().map_or(0, |(&version, _)| version)
    }

    /// Returns the changes behind a version.
    pub(crate) fn since(&self, version: u64) -> impl Iterator<Item = (u64, MacAddr)> {
        self.changes.range(version + 1..).map(|(&version, &mac)| (version, mac))
    }

    /// Returns the number of withdrawals that are remembered.
    pub(crate) fn tombs(&self) -> usize {
        self.tombs.len()
    }

    /// Forgets the withdrawals up to a version.
    pub(crate) fn bury(&mut self, version: u64) {
        let changes = &mut self.changes;
        self.tombs.retain(|_, &mut at| {
            if at <= version {
                changes.remove(&at);
            }
            at > version
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn each_address_stands_where_it_changed_last() {
        let mut log = Log::default();
        assert_eq!(log.last(), 0);
        log.claim(mac(1), None, 1);
        log.claim(mac(2), None, 2);
        log.claim(mac(1), Some(1), 3);
        log.withdraw(mac(2), 2, 4);
        assert_eq!(log.since(0).collect::<Vec<_>>(), [(3, mac(1)), (4, mac(2))]);
        assert_eq!(log.since(3).collect::<Vec<_>>(), [(4, mac(2))]);
        log.claim(mac(2), None, 5);
        assert_eq!((log.last(), log.tombs()), (5, 0));
        assert_eq!(log.since(0).collect::<Vec<_>>(), [(3, mac(1)), (5, mac(2))]);
    }

    #[test]
    fn only_withdrawals_are_buried() {
        let mut log = Log::default();
        log.claim(mac(1), None, 1);
        for (last, version) in [(2, 2), (3, 4)] {
            log.claim(mac(last), None, version);
            log.withdraw(mac(last), version, version + 1);
        }
        log.bury(3);
        assert_eq!(log.since(0).collect::<Vec<_>>(), [(1, mac(1)), (5, mac(3))]);
        assert_eq!(log.tombs(), 1);
    }
}
