//! The control socket: bound where nobody else listens, served with limits on everything that a client could hold.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{extract::DefaultBodyLimit, middleware};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tower::ServiceExt;
use weft_ports::peer;

use super::{
    access::{Access, Client, guard},
    routes::{self, BODY_LIMIT},
};
use crate::{control::Shared, served::is_served};

/// Connections of clients that may change things, at a time.
const WRITERS: usize = 128;
/// Connections of clients that may only look, at a time; they cannot keep the others out.
const READERS: usize = 64;
/// Connections of clients that are only told that they may not, at a time.
const STRANGERS: usize = 8;
/// How long a client may take to say what it wants, or to let a connection idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection may last, but for one that is told of what happens: also ends a body that never comes.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// Another daemon is there.
    #[error("another weftd listens on {}; give this one another --socket", .0.display())]
    InUse(PathBuf),
    /// Something else stands in its place.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

/// Binds the control socket, in place of one that a killed daemon left. Everyone may connect, for a reasoned
/// refusal at least; what one may do is decided by the peer's credentials.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, BindError> {
    use std::os::unix::fs::FileTypeExt;
    let io_error = |error| BindError::Io(path.to_owned(), error);
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(io_error)?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) if is_served(path).map_err(io_error)? => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) => fs::remove_file(path).map_err(io_error)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(error)),
    }
    let listener = UnixListener::bind(path).map_err(io_error)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(io_error)?;
    Ok(listener)
}

/// Serves the control API for as long as it is polled.
pub(crate) async fn serve(listener: UnixListener, control: Shared) {
    let router = routes::router(control)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(guard));
    let [writers, readers, strangers] =
        [WRITERS, READERS, STRANGERS].map(|limit| Arc::new(Semaphore::new(limit)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others must finish first.
                tracing::warn!(%error, "cannot take a control connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(credentials) = peer::credentials(&stream) else { continue };
        let client = Client::new(credentials);
        let pool = match client.access {
            Access::Write => &writers,
            Access::Read => &readers,
            Access::None => &strangers,
        };
        // Beyond the limit a connection is closed at once, which its client sees and says.
        let Ok(permit) = pool.clone().try_acquire_owned() else { continue };
        let router = router.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let lasting = client.lasting.clone();
            let mut conversation = std::pin::pin!(converse(stream, client, router));
            let in_time = tokio::time::timeout(CONNECTION_TIMEOUT, &mut conversation).await;
            if in_time.is_err() && lasting.has_begun() {
                conversation.await;
            }
        });
    }
}

async fn converse(stream: UnixStream, client: Client, router: axum::Router) {
    // The client goes with each request: routes of its own for each connection would cost far more memory.
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(client.clone());
        router.clone().oneshot(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "control connection ended early");
    }
}
