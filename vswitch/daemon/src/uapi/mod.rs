//! The sockets of `wg`: one for each WireGuard adapter, where wireguard-tools looks for them. Root and the daemon's own user
//! speak the userspace protocol there; what they change goes the way of every change, and is logged with who made it.

mod conversation;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};

use self::conversation::listen;
use crate::{control::Shared, served::is_served};

/// Where wireguard-tools looks for sockets.
pub(crate) const DIRECTORY: &str = "/var/run/wireguard";

/// The sockets, as the control plane has them.
pub(crate) struct Sockets {
    directory: PathBuf,
    open: BTreeMap<String, Open>,
    troubles: BTreeMap<String, String>,
    new: mpsc::UnboundedSender<Listening>,
}

/// A socket that somebody serves, until this is dropped.
struct Open {
    path: PathBuf,
    /// Device and inode: another one in its place is somebody else's.
    identity: (u64, u64),
    _end: oneshot::Sender<()>,
}

/// A socket that is to be served.
pub(crate) struct Listening {
    adapter: String,
    listener: UnixListener,
    ended: oneshot::Receiver<()>,
}

impl Sockets {
    /// None yet. Also returns where they come out to be served.
    pub(crate) fn new(directory: PathBuf) -> (Self, mpsc::UnboundedReceiver<Listening>) {
        let (new, listening) = mpsc::unbounded_channel();
        let sockets = Self { directory, open: BTreeMap::new(), troubles: BTreeMap::new(), new };
        (sockets, listening)
    }

    /// Has a socket for each of these adapters and for no other.
    pub(crate) fn put(&mut self, adapters: &BTreeSet<String>) {
        self.open.retain(|name, _| adapters.contains(name));
        self.troubles.clear();
        for name in adapters {
            if self.open.contains_key(name) {
                continue;
            }
            let path = self.directory.join(format!("{name}.sock"));
            match bind(&path) {
                Ok((listener, identity)) => {
                    let (end, ended) = oneshot::channel();
                    let listening = Listening { adapter: name.clone(), listener, ended };
                    // Nobody serves any more where the daemon is about to end.
                    let _ = self.new.send(listening);
                    self.open.insert(name.clone(), Open { path, identity, _end: end });
                }
                Err(error) => {
                    let trouble =
                        format!("`wg` cannot reach it: no socket {}: {error}", path.display());
                    tracing::warn!(wireguard = name, trouble);
                    self.troubles.insert(name.clone(), trouble);
                }
            }
        }
    }

    /// Says why an adapter has no socket.
    pub(crate) fn trouble(&self, adapter: &str) -> Option<&String> {
        self.troubles.get(adapter)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // What stays is found to be nobody's at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket that only its owner reaches, in place of one that a killed daemon left.
fn bind(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    own_directory(directory)?;
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::other("something that is no socket is in its place"));
        }
        Ok(_) if is_served(path)? => {
            return Err(io::Error::other("another program serves an interface of this name"));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // Until here the directory alone keeps others away.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((listener, identity(path)?))
}

/// Makes the directory, or takes one that is there from everybody but its owner.
fn own_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let meta = fs::metadata(directory)?;
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own {
        return Err(io::Error::other(format!(
            "{} belongs to user id {}",
            directory.display(),
            meta.uid()
        )));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = fs::symlink_metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

/// Serves sockets as they come.
pub(crate) async fn serve(control: Shared, mut new: mpsc::UnboundedReceiver<Listening>) {
    while let Some(Listening { adapter, listener, ended }) = new.recv().await {
        let control = control.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = listen(&control, &adapter, &listener) => {}
                // Its sender is never used: it is dropped.
                _ = ended => {}
            }
        });
    }
}

#[cfg(test)]
mod tests;
