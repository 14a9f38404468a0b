//! What of the handshakes must outlive the daemon, `STATE/handshakes.json`: the mark that this host's timestamps stay
//! below, and the greatest timestamp of each peer. Lost, it costs the protection against replayed initiations, not the
//! tunnel.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use weft_vpn::{PublicKey, Tai64n};

use crate::replace::replace;

/// How often it is written at most.
const PAUSE: Duration = Duration::from_secs(1);
const FILE: &str = "handshakes.json";

/// The timestamps, in the form of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(crate) struct Stamps {
    mark: Option<[u8; 12]>,
    /// By public key.
    greatest: BTreeMap<String, [u8; 12]>,
    #[serde(skip)]
    changed: bool,
    #[serde(skip)]
    written: Duration,
}

impl Stamps {
    /// Reads the file; none is as good as an empty one.
    ///
    /// # Errors
    /// When it is there and cannot be used.
    pub(crate) fn load(directory: &Path) -> io::Result<Self> {
        match fs::read(directory.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file as a whole.
    ///
    /// # Errors
    /// What the file system says; then the file is what it was.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        replace(&directory.join(FILE), &serde_json::to_vec(self)?, |_| Ok(()))
    }

    /// Returns the mark of the start before.
    pub(crate) fn mark(&self) -> Option<Tai64n> {
        self.mark.map(Tai64n::from_bytes)
    }

    pub(super) fn greatest(&self, key: &PublicKey) -> Option<Tai64n> {
        self.greatest.get(&key.to_string()).copied().map(Tai64n::from_bytes)
    }

    pub(super) fn set_mark(&mut self, mark: Tai64n) {
        self.mark = Some(mark.to_bytes());
        self.changed = true;
    }

    pub(super) fn set_greatest(&mut self, key: &PublicKey, timestamp: Option<Tai64n>) {
        match timestamp {
            Some(timestamp) => {
                self.greatest.insert(key.to_string(), timestamp.to_bytes());
            }
            None => {
                self.greatest.remove(&key.to_string());
            }
        }
        self.changed = true;
    }

    /// Returns what is to be written, if it has changed and was not written just before.
    pub(super) fn due(&mut self, now: Duration, at_once: bool) -> Option<Self> {
        let due = self.changed && (at_once || now >= self.written + PAUSE);
        due.then(|| {
            self.changed = false;
            self.written = now;
            self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PublicKey {
        weft_vpn::PrivateKey::generate(&mut |out: &mut [u8]| getrandom::fill(out).unwrap()).public()
    }

    fn at(seconds: u64) -> Tai64n {
        Tai64n::from_unix(Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_written_is_read_and_nothing_lies_about() {
        let directory = tempfile::tempdir().unwrap();
        let (known, forgotten) = (key(), key());
        let mut stamps = Stamps::default();
        stamps.set_mark(at(60));
        for peer in [&known, &forgotten] {
            stamps.set_greatest(peer, Some(at(7)));
        }
        stamps.set_greatest(&forgotten, None);
        // What a writer that was killed left is in nobody's way.
        fs::write(directory.path().join(".handshakes.json.new"), "{").unwrap();
        for _ in 0..2 {
            stamps.write(directory.path()).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let read = Stamps::load(directory.path()).unwrap();
        assert_eq!(read.mark(), Some(at(60)));
        assert_eq!((read.greatest(&known), read.greatest(&forgotten)), (Some(at(7)), None));
    }

    #[test]
    fn a_file_that_is_spoilt_is_an_error_and_none_is_not() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Stamps::load(directory.path()).unwrap().mark(), None);
        fs::write(directory.path().join(FILE), "{").unwrap();
        Stamps::load(directory.path()).unwrap_err();
    }

    #[test]
    fn it_is_due_once_for_each_change_and_not_more_often_than_it_may() {
        let mut stamps = Stamps::default();
        assert!(stamps.due(PAUSE, true).is_none(), "nothing changed");
        stamps.set_mark(at(60));
        assert!(stamps.due(PAUSE, false).is_some());
        stamps.set_mark(at(120));
        assert!(stamps.due(PAUSE, false).is_none(), "it was written just before");
        assert!(stamps.due(PAUSE * 2, false).is_some());
        assert!(stamps.due(PAUSE * 4, false).is_none());
    }
}
