//! Key files, judged from what is known of them: the daemon and `weftctl check` open them, and ask here whether
//! they may be used and what is in them. Reads no file; no message says what was in one.

use std::path::{Component, Path};

use weft_vpn::{KeyError, PresharedKey, PrivateKey};

use crate::{limits::KEY_FILE_MAX, model::Config};

/// The bits of `st_mode` that say what kind of file it is, and those of a regular one.
const KIND: (u32, u32) = (0o170_000, 0o100_000);

/// Who has a private key of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `[vpn]`.
    Vpn,
    /// The WireGuard adapter with this name.
    Wireguard(String),
}

/// What is in a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A private key of this host.
    Private(Owner),
    /// A secret shared with one peer.
    Preshared,
}

/// A key file that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile<'c> {
    /// Who names it: ``peer berlin: `preshared-key-file` ``.
    pub place: String,
    /// Its path.
    pub path: &'c str,
    /// What is in it.
    pub content: Content,
}

impl Config {
    /// Returns every key file, this host's own keys first.
    pub fn key_files(&self) -> Vec<KeyFile<'_>> {
        let vpn = self.vpn.iter().flat_map(|vpn| {
            let previous = vpn.previous_private_key_file.as_deref();
            [
                Some((Owner::Vpn, "private-key-file", vpn.private_key_file.as_str())),
                previous.map(|path| (Owner::Vpn, "previous-private-key-file", path)),
            ]
        });
        let adapters = self.wireguard.iter().map(|(name, adapter)| {
            let owner = Owner::Wireguard(name.clone());
            Some((owner, "private-key-file", adapter.private_key_file.as_str()))
        });
        let own = vpn.chain(adapters).flatten().map(|(owner, key, path)| KeyFile {
            place: match &owner {
                Owner::Vpn => format!("vpn: `{key}`"),
                Owner::Wireguard(name) => format!("wireguard {name}: `{key}`"),
            },
            path,
            content: Content::Private(owner),
        });
        let peers = self.vpn.iter().flat_map(|vpn| &vpn.peers);
        let peers = peers
            .filter_map(|(name, peer)| shared(format!("peer {name}"), &peer.preshared_key_file));
        let clients = self.wireguard.iter().flat_map(|(adapter, config)| {
            config.peers.iter().filter_map(move |(name, peer)| {
                shared(format!("wireguard {adapter} peer {name}"), &peer.preshared_key_file)
            })
        });
        own.chain(peers).chain(clients).collect()
    }
}

fn shared(place: String, path: &Option<String>) -> Option<KeyFile<'_>> {
    let place = format!("{place}: `preshared-key-file`");
    Some(KeyFile { place, path: path.as_deref()?, content: Content::Preshared })
}

/// Why a key file is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// A directory, a device, a pipe.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// Its path.
        path: String,
    },
    /// Others than its owner may do something with it.
    #[error("{path} has mode {mode:04o}: others than its owner may open it")]
    Open {
        /// Its path.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// It is too long.
    #[error("{path} is longer than a key can be")]
    TooLong {
        /// Its path.
        path: String,
    },
    /// What is in it is no key.
    #[error("{path} has no key in it: {error}")]
    NoKey {
        /// Its path.
        path: String,
        /// Why not.
        error: KeyError,
    },
    /// What is in it is no text.
    #[error("{path} has no key in it: it is not text")]
    NotText {
        /// Its path.
        path: String,
    },
}

impl KeyFileError {
    /// Returns what to do next.
    pub fn help(&self) -> String {
        match self {
            Self::NotAFile { .. } => "write the path of a file with a key in it".to_owned(),
            Self::Open { path, .. } => format!(
                "`chmod 600 {path}`; if others may have read it, make a new key: `weftctl key generate`"
            ),
            Self::TooLong { .. } | Self::NoKey { .. } | Self::NotText { .. } => {
                "`weftctl key generate --out FILE` and `weftctl key psk --out FILE` make such files"
                    .to_owned()
            }
        }
    }
}

/// Checks that a key file is a regular one that nobody but its owner can open.
///
/// `mode` is its `st_mode`. In systemd's credentials directory (`$CREDENTIALS_DIRECTORY`, where there is one) the group
/// may read it too, as systemd has it.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_access(
    path: &str,
    mode: u32,
    credentials_directory: Option<&Path>,
) -> Result<(), KeyFileError> {
    let (mask, regular) = KIND;
    if mode & mask != regular {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    let is_credential = credentials_directory.is_some_and(|directory| is_inside(path, directory));
    let forbidden = if is_credential { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(KeyFileError::Open { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}

/// Tells whether a path leads into a directory, going by the path alone.
fn is_inside(path: &str, directory: &Path) -> bool {
    let path = Path::new(path);
    directory.is_absolute()
        && path.starts_with(directory)
        && path.components().all(|part| part != Component::ParentDir)
}

/// Reads a private key out of a file's bytes.
///
/// # Errors
/// Says why there is none in them, and not what is.
pub fn private_key(path: &str, bytes: &[u8]) -> Result<PrivateKey, KeyFileError> {
    let key = PrivateKey::from_base64(text(path, bytes)?);
    key.map_err(|error| KeyFileError::NoKey { path: path.to_owned(), error })
}

/// Reads a preshared key out of a file's bytes.
///
/// # Errors
/// Says why there is none in them, and not what is.
pub fn preshared_key(path: &str, bytes: &[u8]) -> Result<PresharedKey, KeyFileError> {
    let key = PresharedKey::from_base64(text(path, bytes)?);
    key.map_err(|error| KeyFileError::NoKey { path: path.to_owned(), error })
}

fn text<'b>(path: &str, bytes: &'b [u8]) -> Result<&'b str, KeyFileError> {
    if bytes.len() > KEY_FILE_MAX {
        return Err(KeyFileError::TooLong { path: path.to_owned() });
    }
    std::str::from_utf8(bytes).map_err(|_| KeyFileError::NotText { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

    #[test]
    fn only_its_owner_may_open_a_key_file() {
        let credentials = Some(Path::new("/run/credentials/weftd.service"));
        let inside = "/run/credentials/weftd.service/vpn.key";
        #[rustfmt::skip]
        let table = [
            ("/etc/weft/vpn.key", 0o100_600, None,        true),
            ("/etc/weft/vpn.key", 0o100_400, None,        true),
            ("/etc/weft/vpn.key", 0o100_700, None,        true),
            ("/etc/weft/vpn.key", 0o100_640, None,        false),
            ("/etc/weft/vpn.key", 0o100_440, None,        false),
            ("/etc/weft/vpn.key", 0o100_604, None,        false),
            ("/etc/weft/vpn.key", 0o100_620, None,        false),
            ("/etc/weft/vpn.key", 0o100_601, None,        false),
            ("/etc/weft/vpn.key", 0o100_440, credentials, false),
            (inside,              0o100_440, credentials, true),
            (inside,              0o100_440, None,        false),
            (inside,              0o100_460, credentials, false),
            (inside,              0o100_444, credentials, false),
            ("/run/credentials/weftd.service/../x", 0o100_440, credentials, false),
            ("/run/credentials/weftd.service2/x",   0o100_440, credentials, false),
            ("/etc/weft/vpn.key", 0o100_440, Some(Path::new("")), false),
            // A directory, a pipe, a device, a socket.
            ("/etc/weft/vpn.key", 0o040_600, None,        false),
            ("/etc/weft/vpn.key", 0o010_600, None,        false),
            ("/etc/weft/vpn.key", 0o020_600, None,        false),
            ("/etc/weft/vpn.key", 0o140_600, None,        false),
        ];
        for (path, mode, directory, expected) in table {
            let checked = check_access(path, mode, directory);
            assert_eq!(checked.is_ok(), expected, "{path} {mode:o} {directory:?}: {checked:?}");
        }
        assert_eq!(
            check_access("/k", 0o100_644, None).unwrap_err().to_string(),
            "/k has mode 0644: others than its owner may open it"
        );
    }

    #[test]
    fn a_key_is_read_and_never_quoted() {
        let key = private_key("/k", format!("{KEY}\n").as_bytes()).unwrap();
        assert_eq!(key.public().to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
        assert_eq!(*preshared_key("/k", KEY.as_bytes()).unwrap().to_base64(), KEY);
        let twice = format!("{KEY}\n{KEY}\n");
        let long = " ".repeat(KEY_FILE_MAX + 1);
        let cut = &KEY[..43];
        for bytes in [twice.as_bytes(), long.as_bytes(), cut.as_bytes(), b"", b"\xff\xfe"] {
            for error in
                [private_key("/k", bytes).err().unwrap(), preshared_key("/k", bytes).err().unwrap()]
            {
                let told = format!("{error} {}", error.help());
                assert!(told.starts_with("/k "), "{told}");
                assert!(!told.contains(&KEY[..8]), "{told}");
            }
        }
    }
}
