//! The keys that a configuration names, read from their files before anything of it is put in force.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::PathBuf,
};

use weft_config::{
    Config, OwnKey, OwnKeys, VpnConfig, WireguardConfig,
    keyfile::{self, KeyFileError},
    limits::KEY_FILE_MAX,
};
use weft_vpn::{PresharedKey, PrivateKey};

/// Why the keys cannot be used. No message says what is in a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    /// A file cannot be read.
    #[error("cannot read the key file {path}: {error}")]
    Read {
        /// Its path.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// A file must not be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A key of this host is used for something else, too.
    #[error(transparent)]
    OwnKey(#[from] OwnKey),
}

impl SecretsError {
    /// Returns what to do next.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Read { path, .. } => {
                format!("`weftctl key generate --out {path}` makes one")
            }
            Self::KeyFile(error) => error.help(),
            Self::OwnKey(OwnKey::Shared { .. }) => {
                "`weftctl key generate --out FILE` makes another one".to_owned()
            }
            Self::OwnKey(_) => {
                "`weftctl key public FILE` on the other host says its key".to_owned()
            }
        }
    }
}

/// The keys that a configuration names, or why a section cannot have its own.
pub(crate) struct Secrets {
    /// Those of `[vpn]`.
    pub(super) vpn: Option<Result<VpnSecrets, SecretsError>>,
    /// Those of `[wireguard.NAME]`.
    pub(super) wireguard: BTreeMap<String, Result<WireguardSecrets, SecretsError>>,
}

/// The keys of `[vpn]`.
pub(crate) struct VpnSecrets {
    pub(super) private: PrivateKey,
    pub(super) previous: Option<PrivateKey>,
    /// By peer.
    pub(super) preshared: BTreeMap<String, PresharedKey>,
}

/// The keys of a WireGuard adapter.
pub(crate) struct WireguardSecrets {
    pub(super) private: PrivateKey,
    /// By peer.
    pub(super) preshared: BTreeMap<String, PresharedKey>,
}

impl Secrets {
    /// Reads all key files that are named. A section whose keys cannot be used does without; others do not suffer.
    pub(super) fn read(config: &Config) -> Self {
        let adapters = config.wireguard.iter();
        let mut secrets = Self {
            vpn: config.vpn.as_ref().map(VpnSecrets::read),
            wireguard: adapters
                .map(|(name, adapter)| (name.clone(), WireguardSecrets::read(adapter)))
                .collect(),
        };
        // Each round takes one section's keys away.
        while let Err(error) = config.check_own_keys(&secrets.own_keys()) {
            match &error {
                OwnKey::Peer { .. } => secrets.vpn = Some(Err(error.into())),
                OwnKey::WireguardPeer { adapter, .. } | OwnKey::Shared { adapter, .. } => {
                    secrets.wireguard.insert(adapter.clone(), Err(error.into()));
                }
            }
        }
        secrets
    }

    /// Refuses keys of which some cannot be used.
    ///
    /// # Errors
    /// The first that cannot, and why.
    pub(super) fn whole(self) -> Result<Self, SecretsError> {
        let adapters = self.wireguard.into_iter().map(|(name, keys)| Ok((name, Ok(keys?))));
        Ok(Self {
            vpn: self.vpn.transpose()?.map(Ok),
            wireguard: adapters.collect::<Result<_, SecretsError>>()?,
        })
    }

    fn own_keys(&self) -> OwnKeys {
        let vpn = self.vpn.iter().flatten();
        let vpn = vpn.flat_map(|keys| [Some(&keys.private), keys.previous.as_ref()]);
        let adapters = self.wireguard.iter();
        OwnKeys {
            vpn: vpn.flatten().map(PrivateKey::public).collect(),
            wireguard: adapters
                .filter_map(|(name, keys)| {
                    Some((name.clone(), keys.as_ref().ok()?.private.public()))
                })
                .collect(),
        }
    }
}

impl VpnSecrets {
    fn read(vpn: &VpnConfig) -> Result<Self, SecretsError> {
        let files = vpn.peers.iter();
        let files = files.map(|(name, peer)| (name, peer.preshared_key_file.as_ref()));
        Ok(Self {
            private: private_key(&vpn.private_key_file)?,
            previous: vpn.previous_private_key_file.as_deref().map(private_key).transpose()?,
            preshared: preshared_keys(files)?,
        })
    }
}

impl WireguardSecrets {
    fn read(adapter: &WireguardConfig) -> Result<Self, SecretsError> {
        let files = adapter.peers.iter();
        let files = files.map(|(name, peer)| (name, peer.preshared_key_file.as_ref()));
        Ok(Self {
            private: private_key(&adapter.private_key_file)?,
            preshared: preshared_keys(files)?,
        })
    }
}

fn private_key(path: &str) -> Result<PrivateKey, SecretsError> {
    Ok(keyfile::private_key(path, &read(path)?)?)
}

/// Reads the preshared keys of peers that have one.
fn preshared_keys<'a>(
    files: impl Iterator<Item = (&'a String, Option<&'a String>)>,
) -> Result<BTreeMap<String, PresharedKey>, SecretsError> {
    files
        .filter_map(|(name, path)| Some((name, path?)))
        .map(|(name, path)| Ok((name.clone(), keyfile::preshared_key(path, &read(path)?)?)))
        .collect()
}

/// Reads a key file, which is judged by the descriptor that it is read from.
fn read(path: &str) -> Result<Vec<u8>, SecretsError> {
    let failed = |error| SecretsError::Read { path: path.to_owned(), error };
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    // Whatever else is there would have everybody wait until somebody writes to it.
    let at_once = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(at_once).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    keyfile::check_access(path, metadata.mode(), credentials.as_deref())?;
    let mut bytes = Vec::new();
    file.take(KEY_FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_key_file_that_is_a_pipe_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("road.key");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = read(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("road.key: it is no regular file"), "{error}");
    }
}
