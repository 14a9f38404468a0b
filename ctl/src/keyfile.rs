//! Files with secrets, opened and made as the user who runs this; whether a key file may be used is judged as weftd
//! judges it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use weft_config::{
    Config, OwnKeys,
    keyfile::{self, Content, KeyFile, KeyFileError, Owner},
    limits::KEY_FILE_MAX,
};
use weft_vpn::PublicKey;
use zeroize::Zeroizing;

use crate::{failure::Failure, render::clean};

/// Where systemd puts what a unit is given.
const CREDENTIALS: &str = "/run/credentials";

/// What came of looking at a configuration's key files.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What weftd would refuse, each with what to do next.
    pub(crate) mistakes: Vec<String>,
    /// What could not be looked at.
    pub(crate) notes: Vec<String>,
}

/// Why a key file was not read.
enum Unread {
    /// It is not there yet, or not for this user to read: weftd may find it good.
    Unknown(&'static str),
    /// It cannot be used.
    Refused(KeyFileError),
    /// The system says something else.
    Failed(io::Error),
}

/// Looks at every key file that a configuration names.
pub(crate) fn look(config: &Config) -> Findings {
    let mut findings = Findings::default();
    let mut own = OwnKeys::default();
    for file in config.key_files() {
        match examine(&file) {
            Ok(None) => {}
            Ok(Some((Owner::Vpn, key))) => own.vpn.push(key),
            Ok(Some((Owner::Wireguard(name), key))) => {
                own.wireguard.insert(name, key);
            }
            Err(Unread::Unknown(why)) => {
                findings.notes.push(format!("{}: {} {why}", file.place, file.path));
            }
            Err(Unread::Refused(error)) => {
                let mistake = format!("{}: {error}\n  help: {}", file.place, error.help());
                findings.mistakes.push(mistake);
            }
            Err(Unread::Failed(error)) => findings.mistakes.push(format!(
                "{}: {}: {error}\n  help: {}",
                file.place,
                file.path,
                advice(&file)
            )),
        }
    }
    if let Err(own) = config.check_own_keys(&own) {
        findings.mistakes.push(own.to_string());
    }
    findings
}

fn advice(file: &KeyFile<'_>) -> String {
    let command = match file.content {
        Content::Private(_) => "generate",
        Content::Preshared => "psk",
    };
    format!("`weftctl key {command} --out {}` makes one", file.path)
}

/// Reads the key out of a file; of a private one, returns the public one and whose it is.
fn examine(file: &KeyFile<'_>) -> Result<Option<(Owner, PublicKey)>, Unread> {
    let is_credential = Path::new(file.path).starts_with(CREDENTIALS);
    let unread = |error: io::Error| match error.kind() {
        ErrorKind::PermissionDenied => Unread::Unknown("is not for you to look at: not checked"),
        ErrorKind::NotFound if is_credential => {
            Unread::Unknown("is there only while weftd runs: not checked")
        }
        _ => Unread::Failed(error),
    };
    let metadata = fs::metadata(file.path).map_err(unread)?;
    keyfile::check_access(
        file.path,
        metadata.permissions().mode(),
        credentials_directory(file.path).as_deref(),
    )
    .map_err(Unread::Refused)?;
    let bytes = File::open(file.path).and_then(read).map_err(unread)?;
    match &file.content {
        Content::Private(owner) => {
            keyfile::private_key(file.path, &bytes).map(|key| Some((owner.clone(), key.public())))
        }
        Content::Preshared => keyfile::preshared_key(file.path, &bytes).map(|_| None),
    }
    .map_err(Unread::Refused)
}

/// Returns the directory whose files a group may read: that of weftd's unit, which is not known here by name.
fn credentials_directory(path: &str) -> Option<PathBuf> {
    let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    own.or_else(|| {
        let unit = Path::new(path).strip_prefix(CREDENTIALS).ok()?.components().next()?;
        Some(Path::new(CREDENTIALS).join(unit))
    })
}

/// Reads what may be a key: no more than one can have, into memory that is wiped.
pub(crate) fn read(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = KEY_FILE_MAX + 1;
    // As long as it will ever be: a vector that grows leaves its old contents behind.
    let mut bytes = Zeroizing::new(vec![0; limit]);
    let mut source = source.take(limit as u64);
    let mut length = 0;
    while length < limit {
        match source.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Writes a secret into a new file that only its owner can open, with a line's end behind it, and returns its name.
pub(crate) fn put_new(path: &Path, secret: &str) -> Result<String, Failure> {
    let name = clean(&path.to_string_lossy());
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::failed("exists", format!("{name} is there already"))
            .help("a key is not overwritten: name another file, or move that one away first"),
        _ => Failure::failed("io", format!("{name} cannot be made: {error}")),
    })?;
    let mut line = Zeroizing::new(String::with_capacity(secret.len() + 1));
    line.push_str(secret);
    line.push('\n');
    let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a key is none; where even this fails, its length gives it away.
        let _ = fs::remove_file(path);
        Failure::failed("io", format!("{name} cannot be written: {error}"))
    })?;
    Ok(path.to_string_lossy().into_owned())
}

/// Files of secrets that were made for a request, and go again when it is refused.
#[derive(Debug, Default)]
pub(crate) struct NewFiles {
    paths: Vec<PathBuf>,
}

impl NewFiles {
    /// Writes a secret into a new file, and returns its name.
    pub(crate) fn put(&mut self, path: &Path, secret: &str) -> Result<String, Failure> {
        let name = put_new(path, secret)?;
        self.paths.push(path.to_owned());
        Ok(name)
    }

    /// Keeps the files unless what came of the request says that nobody has use for them.
    ///
    /// # Errors
    /// What came of the request; where the daemon may have done it, with the names of the files.
    pub(crate) fn settle<T>(mut self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let outcome = outcome.map_err(|mut failure| {
            if failure.is_doubtful() && !self.paths.is_empty() {
                let names = self.paths.iter().map(|path| clean(&path.to_string_lossy()));
                let names = names.collect::<Vec<_>>().join(", ");
                failure.body.message.push_str(&format!("; its keys are kept in {names}"));
            } else {
                self.remove();
            }
            failure
        });
        self.paths.clear();
        outcome
    }

    fn remove(&self) {
        for path in &self.paths {
            // One that stays holds a key that nobody knows.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        self.remove();
    }
}
