//! Who may do what: decided by the peer's credentials, which the kernel vouches for.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    extract::{FromRequestParts, Request},
    http::{Method, request::Parts},
    middleware::Next,
    response::Response,
};
use weft_ports::peer::Credentials;

use super::error::{ApiError, Forbidden};

/// The group whose members may read.
const READERS: &str = "weft";

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Nothing.
    None,
    /// Look at state, never at frames or secrets.
    Read,
    /// Change things.
    Write,
}

/// A client as the kernel describes it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) credentials: Credentials,
    pub(super) access: Access,
    pub(super) lasting: Lasting,
}

/// Whether an answer may take as long as its client listens.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting(Arc<AtomicBool>);

impl Lasting {
    /// Lets the answer last.
    pub(super) fn begin(&self) {
        self.0.store(true, Relaxed);
    }

    /// Tells whether the answer lasts.
    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Client {
    pub(super) fn new(credentials: Credentials) -> Self {
        let own = rustix::process::geteuid().as_raw();
        let access = if credentials.uid == 0 || credentials.uid == own {
            Access::Write
        } else if readers()
            .is_some_and(|gid| credentials.gid == gid || credentials.groups.contains(&gid))
        {
            Access::Read
        } else {
            Access::None
        };
        Self { credentials, access, lasting: Lasting::default() }
    }
}

/// Returns the number of the readers' group. Looked up each time: it may be made while the daemon runs.
fn readers() -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find_map(|line| line.strip_prefix(READERS)?.strip_prefix(':'))?;
    line.split(':').nth(1)?.parse().ok()
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal("the client is not known"))
    }
}

/// Returns what a client wants to do, as far as it may not.
fn refused(path: &str, needed: Access) -> Forbidden {
    match needed {
        _ if path == "/v1/capture" => Forbidden::SeeFrames,
        Access::Write => Forbidden::Change,
        _ => Forbidden::Look,
    }
}

/// Requests that look without changing although they carry a body.
const READING_POSTS: &[&str] = &["/v1/trace", "/v1/config/diff"];

/// Lets a request through when its client may make it, and logs every change with who made it.
pub(super) async fn guard(
    client: Client,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let reads = method == Method::GET
        || method == Method::HEAD
        || method == Method::POST && READING_POSTS.contains(&path.as_str());
    let needed = if reads { Access::Read } else { Access::Write };
    let (uid, pid) = (client.credentials.uid, client.credentials.pid);
    if client.access < needed {
        tracing::warn!(uid, pid, %method, path, "refused: not allowed");
        return Err(ApiError::not_allowed(uid, refused(&path, needed)));
    }
    let response = next.run(request).await;
    if needed == Access::Write {
        tracing::info!(uid, pid, %method, path, outcome = response.status().as_u16(), "control request");
    }
    Ok(response)
}
