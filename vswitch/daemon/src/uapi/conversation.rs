//! One client's conversation: requests that end at their empty lines, each with its answer.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use weft_config::uapi::{Refusal, Request, outcome};
use weft_ports::peer::{self, Credentials};
use zeroize::Zeroizing;

use crate::control::{self, Shared};

/// Conversations of one socket at a time.
const CLIENTS: usize = 16;
/// Bytes of a request at most: as many peers as there may be, with a few networks each.
const REQUEST_MAX: usize = 16 << 20;
/// Bytes that are read at once, and room for most requests.
const CHUNK: usize = 16 << 10;
/// How long a client may take for a request, or let the conversation rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes clients, as long as it is polled.
pub(super) async fn listen(control: &Shared, adapter: &str, listener: &UnixListener) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others must finish first.
                tracing::warn!(wireguard = adapter, %error, "cannot take a connection of wg");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(credentials) = peer::credentials(&stream) else { continue };
        if !may(&credentials) {
            let (uid, pid) = (credentials.uid, credentials.pid);
            tracing::warn!(wireguard = adapter, uid, pid, "wg refused: not allowed");
            continue;
        }
        // Beyond the limit a connection is closed at once, which its client sees and says.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (control, adapter) = (control.clone(), adapter.to_owned());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(&control, &adapter, stream, &credentials).await {
                tracing::debug!(wireguard = adapter, %error, "a conversation with wg ended early");
            }
        });
    }
}

/// Root and the daemon's own user may: what they get is secret.
fn may(credentials: &Credentials) -> bool {
    credentials.uid == 0 || credentials.uid == rustix::process::geteuid().as_raw()
}

async fn converse(
    control: &Shared,
    adapter: &str,
    mut stream: UnixStream,
    client: &Credentials,
) -> io::Result<()> {
    let mut buffer = Buffer::default();
    while let Some(end) = tokio::time::timeout(PATIENCE, buffer.request(&mut stream)).await?? {
        let answer = match buffer.text(end) {
            Ok(text) => answer(control, adapter, text, client).await,
            Err(refusal) => Zeroizing::new(outcome(&Err(refusal))),
        };
        buffer.forget(end);
        tokio::time::timeout(PATIENCE, stream.write_all(answer.as_bytes())).await??;
    }
    Ok(())
}

async fn answer(
    control: &Shared,
    adapter: &str,
    text: &str,
    client: &Credentials,
) -> Zeroizing<String> {
    let set = match Request::parse(text) {
        Ok(Request::Get) => {
            return match control::device(control, adapter).await {
                Ok(device) => device.answer(),
                // `wg` reads the number of a get without its sign.
                Err(refusal) => Zeroizing::new(format!("errno={}\n\n", refusal.errno)),
            };
        }
        Ok(Request::Set(set)) => Ok(set),
        Err(refusal) => Err(refusal),
    };
    let done = match set {
        Ok(set) => control::set(control, adapter, set, client.uid).await,
        Err(refusal) => Err(refusal),
    };
    let (uid, pid) = (client.uid, client.pid);
    match &done {
        Ok(()) => tracing::info!(uid, pid, wireguard = adapter, "wg set"),
        Err(refusal) => {
            tracing::warn!(
                uid,
                pid,
                wireguard = adapter,
                errno = refusal.errno,
                why = refusal.what,
                "wg set refused"
            );
        }
    }
    Zeroizing::new(outcome(&done))
}

/// What has come and is not answered yet. It may hold secrets, and is wiped.
#[derive(Default)]
struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    /// Of these it is known that no request ends in them.
    searched: usize,
}

impl Buffer {
    /// Reads until there is a whole request, and returns where it ends; `None` where the client has ended.
    async fn request(&mut self, stream: &mut UnixStream) -> io::Result<Option<usize>> {
        loop {
            if let Some(end) = self.end() {
                return Ok(Some(end));
            }
            if self.bytes.len() >= REQUEST_MAX {
                return Err(io::Error::other("the request is too long"));
            }
            self.make_room();
            let read = stream.read_buf(&mut *self.bytes).await?;
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// Returns the end of the first empty line.
    fn end(&mut self) -> Option<usize> {
        if self.bytes.first() == Some(&b'\n') {
            return Some(1);
        }
        let from = self.searched.saturating_sub(1);
        let found = self.bytes[from..].windows(2).position(|pair| pair == b"\n\n");
        self.searched = self.bytes.len();
        found.map(|at| from + at + 2)
    }

    /// Makes room for a chunk: a vector that grew by itself would leave its old contents behind.
    fn make_room(&mut self) {
        if self.bytes.capacity() - self.bytes.len() >= CHUNK {
            return;
        }
        let mut roomier = Zeroizing::new(Vec::with_capacity((self.bytes.len() + CHUNK) * 2));
        roomier.extend_from_slice(&self.bytes);
        self.bytes = roomier;
    }

    fn text(&self, end: usize) -> Result<&str, Refusal> {
        std::str::from_utf8(&self.bytes[..end]).map_err(|_| Refusal {
            errno: weft_config::uapi::EINVAL,
            what: "a request is not text".to_owned(),
        })
    }

    fn forget(&mut self, end: usize) {
        let rest = Zeroizing::new(self.bytes.split_off(end));
        self.bytes = rest;
        self.searched = 0;
    }
}
