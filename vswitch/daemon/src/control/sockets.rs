//! The Unix sockets of `stream` and `vhost-user` ports: who listens, who may connect, and that one guest is there at a time.

use std::{
    fs,
    future::ready,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
    task::{JoinHandle, unconstrained},
};
use weft_config::{SocketConfig, SocketMode};
use weft_ports::peer::{self, Credentials};

use super::{allowance::Allowance, lines::Lines};
use crate::{clock, served::is_served};

/// How often a client tries to reach a VMM that does not listen yet.
const RETRY: Duration = Duration::from_millis(250);

/// Guests that a port takes at once, one after the other, and the time after which it takes one more. To take one means to
/// open queues and to plan anew, which a VMM that comes again and again would have the whole switch do.
const GUESTS_AT_ONCE: u32 = 20;
const BETWEEN_GUESTS: Duration = Duration::from_millis(250);
/// Connections that are turned away at a time; more than the kernel lets wait.
const WAITING_AT_MOST: usize = 2048;
/// Messages of VMMs that a port answers without a pause, and how long it takes for one more then. QEMU needs ten for a ring.
const MESSAGES_AT_ONCE: u32 = 1024;
const BETWEEN_MESSAGES: Duration = Duration::from_millis(1);

/// A guest's VMM has connected to a port.
pub(crate) struct Connected {
    /// The port's name.
    pub(super) port: String,
    /// Which of the tasks that have served a port of this name has taken it.
    pub(super) incarnation: u64,
    /// The connection.
    pub(super) stream: OwnedFd,
    /// What may be written about it.
    pub(super) lines: Arc<Lines>,
    /// What may be asked by it.
    pub(super) messages: Arc<Mutex<Allowance>>,
}

/// The task that listens or connects for one port.
pub(super) struct SocketTask {
    incarnation: u64,
    path: PathBuf,
    mode: SocketMode,
    occupied: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("socket {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    #[error("socket {}: it exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    #[error("socket {}: another program listens on it", .0.display())]
    InUse(PathBuf),
    #[error(
        "socket {}: others may write to its directory and could put another in its place: `chmod go-w {}`, or put it \
         into a directory of its own, and make weftd read its file again",
        .0.display(), .1.display()
    )]
    OpenDirectory(PathBuf, PathBuf),
    #[error("there is no {kind} `{name}` on this machine")]
    Unknown { kind: &'static str, name: String },
}

/// Who may be at the other end.
#[derive(Clone, Debug)]
struct Allowed {
    uid: u32,
    gid: Option<u32>,
}

impl Allowed {
    fn admits(&self, peer: &Credentials) -> bool {
        peer.uid == 0
            || peer.uid == self.uid
            || self.gid.is_some_and(|gid| peer.gid == gid || peer.groups.contains(&gid))
    }
}

impl SocketTask {
    /// Begins to serve a port's socket. Connections are handed over one at a time, with the number that tells
    /// this task from earlier and later ones.
    pub(super) fn start(
        port: &str,
        incarnation: u64,
        config: &SocketConfig,
        connected: mpsc::Sender<Connected>,
    ) -> Result<Self, SocketError> {
        let path = PathBuf::from(&config.path);
        let allowed = Allowed {
            uid: match &config.owner {
                Some(name) => lookup("user", "/etc/passwd", name)?,
                None => rustix::process::geteuid().as_raw(),
            },
            gid: config
                .group
                .as_deref()
                .map(|name| lookup("group", "/etc/group", name))
                .transpose()?,
        };
        let (occupied, watch) = watch::channel(false);
        let door = |allowed| Door {
            port: port.to_owned(),
            incarnation,
            allowed,
            occupied: occupied.clone(),
            connected,
            lines: Arc::default(),
            guests: Allowance::new(GUESTS_AT_ONCE, BETWEEN_GUESTS),
            messages: Arc::new(Mutex::new(Allowance::new(MESSAGES_AT_ONCE, BETWEEN_MESSAGES))),
        };
        let task = match config.mode {
            SocketMode::Server => {
                let listener = listen(&path, config, &allowed)?;
                tokio::spawn(door(allowed).serve(listener))
            }
            SocketMode::Client => tokio::spawn(door(allowed).reach(path.clone(), watch)),
        };
        Ok(Self { incarnation, path, mode: config.mode, occupied, task })
    }

    /// Returns the number that tells this task from others.
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Says in words what the port waits for while nobody is connected.
    pub(super) fn reason(&self) -> String {
        let path = self.path.display();
        match self.mode {
            SocketMode::Server => format!("no guest has connected to {path} yet"),
            SocketMode::Client => format!("nobody listens on {path} yet"),
        }
    }

    /// Lets the next guest in.
    pub(super) fn disconnected(&self) {
        self.occupied.send_replace(false);
    }

    /// Stops serving, and takes the socket file away where it is ours.
    pub(super) async fn end(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        if self.mode == SocketMode::Server {
            // What somebody else has put there meanwhile is not ours to take away.
            if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.file_type().is_socket()) {
                let _ = fs::remove_file(&self.path);
            }
        }
    }
}

impl Drop for SocketTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where connections of one port come in.
struct Door {
    port: String,
    incarnation: u64,
    allowed: Allowed,
    occupied: watch::Sender<bool>,
    connected: mpsc::Sender<Connected>,
    lines: Arc<Lines>,
    guests: Allowance,
    messages: Arc<Mutex<Allowance>>,
}

impl Door {
    /// Takes connections; a second one is closed at once while the first lives.
    async fn serve(mut self, listener: UnixListener) {
        loop {
            if !self.guests.is_left(clock::now()) {
                tokio::time::sleep(self.guests.interval()).await;
                // Whoever came meanwhile is turned away, but for the last one: it may be there to stay.
                if let Some(stream) = last_of(&listener).await
                    && !self.hand_over(stream).await
                {
                    return;
                }
                continue;
            }
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(port = self.port, %error, "cannot take a connection");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            if !self.hand_over(stream).await {
                return;
            }
        }
    }

    /// Connects, again and again, whenever nobody is connected.
    async fn reach(mut self, path: PathBuf, mut watch: watch::Receiver<bool>) {
        loop {
            if watch.wait_for(|occupied| !occupied).await.is_err() {
                return;
            }
            // Not through a link: whoever may make one could lead the port anywhere.
            let is_link = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
            if !is_link
                && let Ok(stream) = UnixStream::connect(&path).await
                && !self.hand_over(stream).await
            {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Gives a connection to the control plane; `false` when that is gone.
    async fn hand_over(&mut self, stream: UnixStream) -> bool {
        let (port, lines) = (&self.port, &self.lines);
        match peer::credentials(&stream) {
            Ok(peer) if self.allowed.admits(&peer) => {}
            Ok(Credentials { uid, pid, .. }) => {
                lines.write(|left_out| {
                    tracing::warn!(
                        port,
                        uid,
                        pid,
                        left_out,
                        "connection refused: this user may not"
                    );
                });
                return true;
            }
            Err(error) => {
                lines.write(|left_out| {
                    tracing::warn!(port, %error, left_out, "connection refused: the kernel does not say who it is");
                });
                return true;
            }
        }
        if *self.occupied.borrow() {
            lines.write(|left_out| {
                tracing::warn!(port, left_out, "connection refused: another guest is connected");
            });
            return true;
        }
        if !self.guests.take(clock::now()) {
            lines.write(|left_out| {
                tracing::warn!(port, left_out, "connection refused: guests come and go too fast");
            });
            return true;
        }
        self.occupied.send_replace(true);
        match stream.into_std() {
            Ok(stream) => {
                let connected = Connected {
                    port: port.clone(),
                    incarnation: self.incarnation,
                    stream: stream.into(),
                    lines: lines.clone(),
                    messages: self.messages.clone(),
                };
                self.connected.send(connected).await.is_ok()
            }
            Err(error) => {
                lines.write(|left_out| tracing::warn!(port, %error, left_out, "connection lost"));
                self.occupied.send_replace(false);
                true
            }
        }
    }
}

/// Takes the connections that wait, not for ever, and returns the last one.
async fn last_of(listener: &UnixListener) -> Option<UnixStream> {
    let mut last = None;
    for _ in 0..WAITING_AT_MOST {
        let taken = tokio::select! {
            biased;
            taken = unconstrained(listener.accept()) => taken,
            () = ready(()) => return last,
        };
        match taken {
            Ok((stream, _)) => last = Some(stream),
            Err(_) => return last,
        }
    }
    last
}

/// Binds the socket with its mode and owner. A socket that nobody serves any more is replaced where nobody
/// else could have put it.
fn listen(
    path: &Path,
    config: &SocketConfig,
    allowed: &Allowed,
) -> Result<UnixListener, SocketError> {
    let io_error = |error| SocketError::Io(path.to_owned(), error);
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(io_error)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).map_err(io_error)?;
    }
    // In sticky directories such as /tmp others may create files but not take ours away.
    let mode = fs::metadata(directory).map_err(io_error)?.mode();
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(SocketError::OpenDirectory(path.to_owned(), directory.to_owned()));
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {
            if is_served(path).map_err(io_error)? {
                return Err(SocketError::InUse(path.to_owned()));
            }
            fs::remove_file(path).map_err(io_error)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(error)),
    }
    let listener = UnixListener::bind(path).map_err(io_error)?;
    let default_mode = if allowed.gid.is_some() { 0o660 } else { 0o600 };
    let owner = (config.owner.is_some() || allowed.gid.is_some()).then_some(allowed);
    open_to(path, config.socket_mode.unwrap_or(default_mode), owner)?;
    Ok(listener)
}

/// Gives a socket that was just bound its mode and owner. Whoever the directory belongs to can have put something else
/// in its place: a link is not followed, and nothing but a socket is touched.
fn open_to(path: &Path, mode: u32, owner: Option<&Allowed>) -> Result<(), SocketError> {
    let io_error = |error: Errno| SocketError::Io(path.to_owned(), error.into());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(path, flags, Mode::empty()).map_err(io_error)?;
    let stat = rustix::fs::fstat(&place).map_err(io_error)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    // Before Linux 6.6 the mode of what such a descriptor stands for can be set by this name only.
    let name = format!("/proc/self/fd/{}", place.as_raw_fd());
    rustix::fs::chmod(name, Mode::from_raw_mode(mode)).map_err(io_error)?;
    if let Some(Allowed { uid, gid }) = owner {
        let (uid, gid) = (Some(Uid::from_raw(*uid)), gid.map(Gid::from_raw));
        rustix::fs::chownat(&place, "", uid, gid, AtFlags::EMPTY_PATH).map_err(io_error)?;
    }
    Ok(())
}

/// Returns the number of a user or a group: the third field of its line. A number stands for itself.
fn lookup(kind: &'static str, file: &str, name: &str) -> Result<u32, SocketError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(file).map_err(|error| SocketError::Io(file.into(), error))?;
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .find_map(|rest| rest.split(':').nth(1)?.parse().ok())
        .ok_or_else(|| SocketError::Unknown { kind, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_a_sockets_place_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let [socket, secret, link] =
            ["port.sock", "secret", "link.sock"].map(|name| directory.path().join(name));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        fs::write(&secret, "").unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        for place in [&secret, &link] {
            let refused = open_to(place, 0o666, None);
            assert!(matches!(refused, Err(SocketError::NotASocket(_))), "{place:?}");
            assert_eq!(mode(&secret), 0o600, "{place:?}");
        }
        let own = Allowed {
            uid: rustix::process::geteuid().as_raw(),
            gid: Some(rustix::process::getegid().as_raw()),
        };
        open_to(&socket, 0o662, Some(&own)).unwrap();
        assert_eq!(mode(&socket), 0o662);
    }
}
