//! What of the handshakes must outlive the daemon, `STATE/handshakes.json`: the mark that this host's timestamps stay
//! below, and the greatest timestamp of each peer. Lost, it costs the protection against replayed initiations, not the
//! tunnel.

use std::{collections::BTreeMap, fs, io, io::Write, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use weft_vpn::{PublicKey, Tai64n};

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

    /// Writes the file, the old one or the new one.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut file = NamedTempFile::with_prefix_in(".handshakes.", directory)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.as_file().sync_data()?;
        file.persist(directory.join(FILE))?;
        Ok(())
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
