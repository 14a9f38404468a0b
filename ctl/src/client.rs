//! The client's end of the control socket: one HTTP/1.1 request over a Unix socket, bounded in time and size.

mod stream;

use std::{
    error::Error as _,
    future::Future,
    io::{self, ErrorKind},
    marker::PhantomData,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, runtime::Runtime, time};
use weft_config::api::{self, Changed, ConfigDocument, ErrorBody, SESSION_HEADER};

use crate::{
    failure::{Exit, Failure},
    output::{Format, Output},
    render, session,
};

pub(crate) use self::stream::{Piece, Stream};

/// What RFC 3986 calls unreserved stays as it is; everything else in a name is escaped.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How long and how much a client waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time for the socket to accept.
    pub(crate) connect: Duration,
    /// Time for the whole answer.
    pub(crate) answer: Duration,
    /// Bytes of an answer.
    pub(crate) body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // A full table of 65536 addresses is about 10 MB.
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(30), body: 256 << 20 }
    }
}

/// Whether a request may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Reads,
    Writes,
}

/// Where a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Into the running configuration and the file.
    Written,
    /// Into the running configuration alone.
    Transient,
}

/// A request to the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: Method,
    target: String,
    body: Option<String>,
    if_match: Option<String>,
    sessions: Vec<IpAddr>,
    effect: Effect,
}

impl Request {
    /// Returns a request to read what is at `path`.
    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path, Effect::Reads)
    }

    /// Returns a question that needs a body and changes nothing.
    pub(crate) fn ask(path: &str) -> Self {
        Self::new(Method::POST, path, Effect::Reads)
    }

    /// Returns a request to add something to `path`, or to do something there.
    pub(crate) fn post(path: &str) -> Self {
        Self::new(Method::POST, path, Effect::Writes)
    }

    /// Returns a request to change parts of what is at `path`.
    pub(crate) fn patch(path: &str) -> Self {
        Self::new(Method::PATCH, path, Effect::Writes)
    }

    /// Returns a request to put something at `path`.
    pub(crate) fn put(path: &str) -> Self {
        Self::new(Method::PUT, path, Effect::Writes)
    }

    /// Returns a request to take away what is at `path`.
    pub(crate) fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path, Effect::Writes)
    }

    /// Appends a name to the path.
    pub(crate) fn segment(mut self, name: &str) -> Self {
        self.target.push('/');
        self.target.extend(utf8_percent_encode(name, RESERVED));
        self
    }

    /// Appends a parameter where there is a value.
    pub(crate) fn query(mut self, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(key);
            self.target.push('=');
            self.target.extend(utf8_percent_encode(value, RESERVED));
        }
        self
    }

    /// Says whether the file is written too.
    pub(crate) fn persistence(self, persistence: Persistence) -> Self {
        self.query("transient", (persistence == Persistence::Transient).then_some("true"))
    }

    /// Sends this document along.
    pub(crate) fn body<T: Serialize>(mut self, body: &T) -> Self {
        self.body = Some(render::compact_json(body));
        self
    }

    /// Makes the daemon refuse when its configuration is no longer this revision.
    pub(crate) fn if_match(mut self, revision: &str) -> Self {
        self.if_match = Some(format!("\"{revision}\""));
        self
    }

    fn new(method: Method, path: &str, effect: Effect) -> Self {
        Self {
            method,
            target: path.to_owned(),
            body: None,
            if_match: None,
            sessions: Vec::new(),
            effect,
        }
    }
}

/// What the daemon answered: a document of type `T`.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    body: Bytes,
    kind: PhantomData<T>,
}

impl<T: DeserializeOwned> Answer<T> {
    /// Returns the document.
    pub(crate) fn value(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| garbled(&error.to_string()))
    }

    /// Returns the document as it came, keys unknown here included, laid out for a terminal.
    pub(crate) fn json(&self) -> Result<String, Failure> {
        render::reformat_json(&self.body).map_err(|error| garbled(&error.to_string()))
    }
}

/// A daemon at the other end of a socket.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    limits: Limits,
    /// How whoever sits here is warned before a change that would cut him off.
    guard: Option<Output>,
}

impl Client {
    /// Speaks to the daemon that listens at `socket`.
    pub(crate) fn new(socket: PathBuf, limits: Limits) -> Self {
        Self { socket, limits, guard: None }
    }

    /// Warns people before a change that would cut the session by which they are here.
    pub(crate) fn guarded(self, output: Output) -> Self {
        Self { guard: (output.format == Format::Human).then_some(output), ..self }
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// A failure with [`Exit::Unreachable`] when no answer came, and [`Exit::Failed`] when it was a refusal
    /// or no answer of weftd's.
    pub(crate) fn send<T>(&self, request: Request) -> Result<Answer<T>, Failure> {
        let Some(output) = self.guard.filter(|_| request.effect == Effect::Writes) else {
            return self.send_once(request);
        };
        let guarded = Request { sessions: session::far_ends(), ..request.clone() };
        match self.send_once(guarded) {
            Err(refusal) if refusal.is("cuts-session") => {
                if session::is_wanted(&refusal, output) {
                    self.send_once(request)
                } else {
                    Err(refusal)
                }
            }
            outcome => outcome,
        }
    }

    fn send_once<T>(&self, request: Request) -> Result<Answer<T>, Failure> {
        let effect = request.effect;
        let (status, body) = runtime()?
            .block_on(self.exchange(request))
            .map_err(|failure| doubtful(failure, effect))?;
        if status.is_success() {
            return Ok(Answer { body, kind: PhantomData });
        }
        Err(refusal_of(status, &body))
    }

    /// Sends a request to take something away; with `Missing::Accepted`, what is not there is success.
    pub(crate) fn remove(&self, request: Request, missing: Missing) -> Result<Removed, Failure> {
        match self.send(request) {
            Ok(answer) => Ok(Removed::Was(answer)),
            Err(failure) if missing == Missing::Accepted && failure.is("not-found") => {
                let document: ConfigDocument =
                    self.send::<ConfigDocument>(Request::get("/v1/config"))?.value()?;
                Ok(Removed::WasNot(Changed {
                    changes: Vec::new(),
                    revision: document.revision,
                    written: None,
                    candidate: document.candidate,
                    notes: Vec::new(),
                }))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn exchange(&self, request: Request) -> Result<(StatusCode, Bytes), Failure> {
        let stream = self.connect().await?;
        let conversation = converse(stream, request, self.limits.body);
        match time::timeout(self.limits.answer, conversation).await {
            Ok(answer) => answer,
            Err(_) => Err(self.too_slow()),
        }
    }

    fn too_slow(&self) -> Failure {
        let (socket, patience) = (self.socket.display(), seconds(self.limits.answer));
        Failure::unreachable(
            "timeout",
            format!("weftd at {socket} did not answer within {patience}"),
        )
        .help("`systemctl status weftd` and its log say what it is busy with")
    }

    async fn connect(&self) -> Result<UnixStream, Failure> {
        let timeout = self.limits.connect;
        match time::timeout(timeout, patiently(|| UnixStream::connect(&self.socket))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(no_connection(&self.socket, &error)),
            Err(_) => Err(Failure::unreachable(
                "timeout",
                format!("weftd did not accept a connection at {} within {}", self.socket.display(), seconds(timeout)),
            )
            .help("too many clients wait for it, or it hangs; `systemctl status weftd` and its log tell")),
        }
    }
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("io", format!("the runtime does not start: {error}")))
}

/// Returns what the daemon refused.
fn refusal_of(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<api::Error>(body) {
        Ok(refusal) => Failure::refused(with_advice(refusal.error)),
        Err(_) => {
            let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
            garbled(&format!("status {status}, \"{}\"", render::clean(&start)))
        }
    }
}

/// Whether something that is not there may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// That is success.
    Accepted,
    /// That is an error.
    Refused,
}

/// The outcome of a removal.
pub(crate) enum Removed {
    /// It was there and is gone.
    Was(Answer<Changed>),
    /// It was not there; nothing changed.
    WasNot(Changed),
}

/// Connects again while the listener's queue is full: a Unix socket says so at once instead of waiting.
async fn patiently<F: Future<Output = io::Result<UnixStream>>>(
    connect: impl Fn() -> F,
) -> io::Result<UnixStream> {
    loop {
        match connect().await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

async fn converse(
    stream: UnixStream,
    request: Request,
    limit: usize,
) -> Result<(StatusCode, Bytes), Failure> {
    let (_sender, response) = begin(stream, request).await?;
    let status = response.status();
    Ok((status, read_body(response.into_body(), limit).await?))
}

/// Sends a request and waits for the head of its answer.
async fn begin(
    stream: UnixStream,
    request: Request,
) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), Failure> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let mut head = hyper::Request::builder()
        .method(request.method)
        .uri(request.target)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("weftctl/", env!("CARGO_PKG_VERSION")));
    if request.body.is_some() {
        head = head.header(header::CONTENT_TYPE, "application/json");
    }
    if !request.sessions.is_empty() {
        let sessions: Vec<String> = request.sessions.iter().map(IpAddr::to_string).collect();
        head = head.header(SESSION_HEADER, sessions.join(","));
    }
    if let Some(revision) = request.if_match {
        head = head.header(header::IF_MATCH, revision);
    }
    let request = head
        .body(Full::new(Bytes::from(request.body.unwrap_or_default())))
        .map_err(|error| Failure::usage(format!("this cannot be asked for: {error}")))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    Ok((sender, response))
}

async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(garbled(&format!("more than {limit} bytes")))
        }
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(broken(&error)),
            Err(error) => Err(garbled(&error.to_string())),
        },
    }
}

fn no_connection(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    let elsewhere = "a socket elsewhere is named with --socket PATH or WEFT_SOCKET";
    match error.kind() {
        ErrorKind::NotFound => Failure::unreachable(
            "not-reachable",
            format!("weftd cannot be reached: there is no socket at {path}"),
        )
        .help(format!("is weftd running? `systemctl status weftd` tells; {elsewhere}")),
        ErrorKind::ConnectionRefused => Failure::unreachable(
            "not-reachable",
            format!("weftd cannot be reached: nobody listens at {path}"),
        )
        .help(format!(
            "weftd ended without taking its socket away: `systemctl start weftd`; {elsewhere}"
        )),
        ErrorKind::PermissionDenied => {
            let uid = rustix::process::geteuid().as_raw();
            Failure::unreachable(
                "not-reachable",
                format!("weftd cannot be reached: you may not open {path}"),
            )
            .help(format!(
                "you are uid {uid}; root, the daemon's user and members of group weft may: \
                     `sudo weftctl …`, or `sudo usermod -aG weft YOU` and a new login to read state"
            ))
        }
        _ => Failure::unreachable(
            "not-reachable",
            format!("weftd cannot be reached at {path}: {error}"),
        )
        .help(elsewhere),
    }
}

/// Tells a connection that ended from an answer that is not HTTP.
fn broken(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return garbled(&error.to_string());
    }
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Failure::unreachable(
        "no-answer",
        format!("weftd hung up before it had answered ({error}{cause})"),
    )
    .help("it may have just ended or been restarted: `systemctl status weftd` and its log tell")
}

/// Says what to do next where the daemon did not.
fn with_advice(mut refusal: ErrorBody) -> ErrorBody {
    let advice = match refusal.code.as_str() {
        "not-found" => Some("`weftctl status` shows what there is"),
        "internal" => Some("this is a mistake in weftd: its log says more"),
        _ => None,
    };
    if refusal.help.is_none() {
        refusal.help = advice.map(str::to_owned);
    }
    refusal
}

fn garbled(what: &str) -> Failure {
    Failure::failed("bad-answer", format!("the answer is not one of weftd's: {what}"))
        .help("is this weftd's socket, and are weftctl and weftd of one version? `weftctl --version`, `weftd --version`")
}

/// A write without an answer may have happened: say so.
fn doubtful(mut failure: Failure, effect: Effect) -> Failure {
    let sent = failure.exit == Exit::Unreachable && failure.is_doubtful();
    if effect == Effect::Writes && sent {
        failure.body.message.push_str("; the change may have been made or not");
        failure.body.help = Some(
            "`weftctl config show` says what runs; `systemctl status weftd` and its log say why"
                .to_owned(),
        );
    }
    failure
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

#[cfg(test)]
mod tests;
