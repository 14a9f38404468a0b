//! What `wg` asks and changes: a device for an adapter, and the same change of the configuration as anybody else's.
//! Secrets that it brings are put into files of the state directory, which the configuration names.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use weft_config::{
    Config, EditError,
    uapi::{Device, DevicePeer, EINVAL, EIO, Plan, Refusal, Secret, Set},
};
use zeroize::Zeroizing;

use super::{
    change::{ChangeError, Permanence},
    state::{Control, Shared},
    wireguard::{Client, Site},
};
use crate::clock;

/// `errno` where an adapter does not run.
const ENODEV: i32 = 19;
/// `errno` while a configuration waits for its confirmation.
const EBUSY: i32 = 16;
/// `errno` where a port is somebody else's.
const EADDRINUSE: i32 = 98;
/// `errno` where the configuration file is not this daemon's to write.
const EROFS: i32 = 30;

/// Says how an adapter is.
pub(crate) async fn device(control: &Shared, adapter: &str) -> Result<Device, Refusal> {
    let control = control.lock().await;
    Ok(control.running_adapter(adapter)?.device(clock::wall()))
}

/// Does what is asked of an adapter, whatever becomes of the client meanwhile: half a change is none.
pub(crate) async fn set(
    control: &Shared,
    adapter: &str,
    set: Set,
    uid: u32,
) -> Result<(), Refusal> {
    let (control, adapter) = (control.clone(), adapter.to_owned());
    let done =
        tokio::spawn(async move { control.lock().await.set_adapter(&adapter, &set, uid).await });
    done.await.unwrap_or_else(|_| Err(failed("the change failed half way")))
}

impl Site {
    fn device(&self, now: Duration) -> Device {
        Device {
            private_key: self.private.clone(),
            listen_port: self.config.listen.port(),
            peers: self.clients.values().map(|client| client.device_peer(now)).collect(),
        }
    }
}

impl Client {
    fn device_peer(&self, now: Duration) -> DevicePeer {
        let status = self.peer.status();
        DevicePeer {
            public_key: self.config.public_key,
            preshared_key: self.preshared.clone(),
            endpoint: status.endpoint,
            last_handshake: status.handshake_age.map(|age| now.saturating_sub(age)),
            rx_bytes: status.received,
            tx_bytes: status.sent,
            persistent_keepalive: self
                .config
                .persistent_keepalive
                .map_or(0, std::num::NonZero::get),
            allowed_ips: self.config.allowed_ips.clone(),
        }
    }
}

impl Control {
    fn running_adapter(&self, adapter: &str) -> Result<&Site, Refusal> {
        self.adapters.get(adapter).ok_or_else(|| Refusal {
            errno: ENODEV,
            what: self
                .adapters
                .trouble(adapter)
                .cloned()
                .unwrap_or_else(|| "it is gone".to_owned()),
        })
    }

    async fn set_adapter(&mut self, adapter: &str, set: &Set, uid: u32) -> Result<(), Refusal> {
        let site = self.running_adapter(adapter)?;
        let mut kept = Kept::new(self.secrets_directory(adapter));
        let clients = site.clients.iter();
        let preshared = clients
            .filter_map(|(name, client)| Some((name.clone(), client.preshared.clone()?)))
            .collect();
        let plan = set.plan(adapter, &site.config, (&site.private, &preshared), |secret| {
            kept.put(secret).map_err(|error| failed(&format!("a secret cannot be kept: {error}")))
        })?;
        let Plan { edit, endpoints } = plan;
        if let Some(edit) = edit {
            self.edit(&edit, Permanence::Written, uid).await.map_err(|error| refusal(&error))?;
            kept.keep();
            self.forget_secrets(adapter);
        }
        let Some(site) = self.adapters.get(adapter) else { return Ok(()) };
        let endpoints: HashMap<_, _> = endpoints.into_iter().collect();
        for client in site.clients.values() {
            if let Some(endpoint) = endpoints.get(&client.config.public_key) {
                client.peer.set_endpoint(Some(*endpoint));
            }
        }
        Ok(())
    }

    fn secrets_directory(&self, adapter: &str) -> PathBuf {
        self.state_dir().join("wireguard").join(adapter)
    }

    /// Removes the files of secrets that neither the running configuration nor the file names any more, nor one that
    /// the file held before.
    fn forget_secrets(&self, adapter: &str) {
        let directory = self.secrets_directory(adapter);
        let Ok(entries) = fs::read_dir(&directory) else { return };
        let Ok(file) = Config::parse(self.file.text()) else { return };
        let mut named = key_files(&self.config);
        named.extend(key_files(&file));
        let mut unnamed: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| !named.contains(path))
            .collect();
        if unnamed.is_empty() {
            return;
        }
        for former in self.formers() {
            let text = self.former(former.number).ok().flatten().map(|former| former.text);
            if let Some(Ok(config)) = text.as_deref().map(Config::parse) {
                let named = key_files(&config);
                unnamed.retain(|path| !named.contains(path));
            }
        }
        for path in unnamed {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a key that nobody uses stays");
            }
        }
    }
}

fn key_files(config: &Config) -> BTreeSet<PathBuf> {
    config.key_files().into_iter().map(|file| PathBuf::from(file.path)).collect()
}

/// Secrets of a request in files, which go again unless the request is granted.
struct Kept {
    directory: PathBuf,
    paths: Vec<PathBuf>,
}

impl Kept {
    fn new(directory: PathBuf) -> Self {
        Self { directory, paths: Vec::new() }
    }

    /// Puts a secret into a new file, on disk when this returns.
    fn put(&mut self, secret: Secret<'_>) -> io::Result<String> {
        let (stem, text) = match secret {
            Secret::Private(key) => ("own.key".to_owned(), key.to_base64()),
            Secret::Preshared(peer, key) => (format!("{peer}.psk"), key.to_base64()),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // Another name than the file has that it takes the place of: the old one is good until the change is made.
        let path = self.directory.join(format!("{:08x}-{stem}", u32::from_le_bytes(random)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        self.paths.push(path.clone());
        let mut line = Zeroizing::new(String::with_capacity(text.len() + 1));
        line.push_str(&text);
        line.push('\n');
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        sync(&self.directory)?;
        path.into_os_string().into_string().map_err(|_| io::ErrorKind::InvalidFilename.into())
    }

    fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for path in &self.paths {
            // One that stays is a key that nobody has; the next change removes it.
            let _ = fs::remove_file(path);
        }
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn failed(what: &str) -> Refusal {
    Refusal { errno: EIO, what: what.to_owned() }
}

/// Says why the configuration was not changed.
fn refusal(error: &ChangeError) -> Refusal {
    let errno = match error {
        ChangeError::File(_) => EROFS,
        ChangeError::Listen(_, error) => error.errno().unwrap_or(EADDRINUSE),
        ChangeError::ConfirmPending(_)
        | ChangeError::Uplink(_)
        | ChangeError::CutsSession { .. } => EBUSY,
        ChangeError::Edit(EditError::Layout { .. })
        | ChangeError::Revision { .. }
        | ChangeError::State(..) => EIO,
        ChangeError::Edit(_)
        | ChangeError::Config(_)
        | ChangeError::Outcome(_)
        | ChangeError::Secrets(_)
        | ChangeError::NothingPending
        | ChangeError::Patience => EINVAL,
    };
    Refusal { errno, what: error.to_string() }
}
