//! The keys that a configuration names, read from their files before anything of it is put in force.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use weft_config::{
    OwnKey, VpnConfig,
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
    /// A peer has this host's own key.
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
            Self::OwnKey(_) => {
                "`weftctl key public FILE` on the other host says its key".to_owned()
            }
        }
    }
}

/// The keys of `[vpn]`.
pub(crate) struct Secrets {
    pub(super) private: PrivateKey,
    pub(super) previous: Option<PrivateKey>,
    /// By peer.
    pub(super) preshared: BTreeMap<String, PresharedKey>,
}

impl Secrets {
    /// Reads all key files that are named.
    ///
    /// # Errors
    /// The first that cannot be used, and why.
    pub(super) fn read(vpn: &VpnConfig) -> Result<Self, SecretsError> {
        let private_key = |path: &String| -> Result<PrivateKey, SecretsError> {
            Ok(keyfile::private_key(path, &read(path)?)?)
        };
        let private = private_key(&vpn.private_key_file)?;
        let previous = vpn.previous_private_key_file.as_ref().map(private_key).transpose()?;
        let mut preshared = BTreeMap::new();
        for (name, peer) in &vpn.peers {
            if let Some(path) = &peer.preshared_key_file {
                preshared.insert(name.clone(), keyfile::preshared_key(path, &read(path)?)?);
            }
        }
        let own: Vec<_> = [Some(&private), previous.as_ref()]
            .into_iter()
            .flatten()
            .map(PrivateKey::public)
            .collect();
        vpn.check_own_keys(&own)?;
        Ok(Self { private, previous, preshared })
    }
}

/// Reads a key file, which is judged by the descriptor that it is read from.
fn read(path: &str) -> Result<Vec<u8>, SecretsError> {
    let failed = |error| SecretsError::Read { path: path.to_owned(), error };
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    keyfile::check_access(path, mode, credentials.as_deref())?;
    let mut bytes = Vec::new();
    file.take(KEY_FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
