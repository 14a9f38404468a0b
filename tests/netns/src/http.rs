//! The control socket without a client library: bytes in, bytes out.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::Value;

use crate::PATIENCE;

/// An answer of the control API.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The head, status line included.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// Returns the body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends one request and returns the answer.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn request(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    let answer = converse(socket, format!("{head}\r\n{body}").as_bytes(), Ending::ByDaemon);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{head}"));
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Response { status, head: head.to_owned(), body }
}

/// Writes bytes to the socket, says that no more will come, and returns all that comes back.
///
/// # Panics
/// When the socket takes no connection, or the daemon keeps it open for too long.
#[track_caller]
pub fn exchange(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    converse(socket, bytes, Ending::ByClient)
}

/// Who ends a conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    ByClient,
    ByDaemon,
}

#[track_caller]
fn converse(socket: &Path, bytes: &[u8], ending: Ending) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("the control socket takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    // A daemon may hang up on nonsense before it has read all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if ending == Ending::ByClient {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    match stream.read_to_end(&mut answer) {
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ) =>
        {
            panic!("the daemon neither answers nor hangs up")
        }
        _ => answer,
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk has a size");
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}
