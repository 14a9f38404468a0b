//! A daemon of the test's own: takes requests on a Unix socket, notes them, and says what it was told to say.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// `GET /v1/ports?x=y`.
    pub(crate) line: String,
    /// The body; null when it was empty.
    pub(crate) body: Value,
    /// The revision in `If-Match`.
    pub(crate) if_match: Option<String>,
}

/// What to say to a request: its line, a status and a body; [`NOTHING`] hangs up.
pub(crate) type Says = (&'static str, u16, String);

/// The status of an answer that is lost.
pub(crate) const NOTHING: u16 = 0;

/// A daemon that answers in its own thread until the test's process ends.
pub(crate) struct Fake {
    /// Holds the socket; files of the test may lie here too.
    pub(crate) directory: TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Starts a daemon that says this, and 404 to anything else.
    pub(crate) fn start(says: Vec<Says>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("weftd.sock")).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming() {
                    serve(stream.unwrap(), &says, &noted);
                }
            })
            .unwrap();
        Self { directory, seen }
    }

    /// Returns the requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Runs weftctl against this daemon, to its end.
    pub(crate) fn weftctl<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        run(self.command().args(arguments))
    }

    /// Returns weftctl, told of this daemon, in this directory.
    pub(crate) fn command(&self) -> Command {
        let mut command = weftctl();
        command.current_dir(self.directory.path()).env("WEFT_SOCKET", self.socket());
        command
    }

    /// Returns the socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("weftd.sock")
    }
}

fn serve(stream: UnixStream, says: &[Says], seen: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let line = head[0].strip_suffix(" HTTP/1.1").expect("HTTP/1.1").to_owned();
    assert!(header("host").is_some(), "HTTP/1.1 wants a host");
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    assert!(body.is_null() || header("content-type").as_deref() == Some("application/json"));
    seen.lock().unwrap().push(Seen { line: line.clone(), body, if_match: header("if-match") });
    let unknown = (404, refusal("not-found", "the fake does not know this", None));
    let (status, answer) = says
        .iter()
        .find(|(known, ..)| *known == line)
        .map_or(unknown, |(_, status, body)| (*status, body.clone()));
    if status == NOTHING {
        return;
    }
    let length = answer.len();
    let text = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    (&stream).write_all((text + &answer).as_bytes()).unwrap();
}

/// Returns a refusal as weftd writes it.
pub(crate) fn refusal(code: &str, message: &str, help: Option<&str>) -> String {
    serde_json::json!({"error": {"code": code, "message": message, "help": help}}).to_string()
}

/// How weftctl ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit status.
    pub(crate) status: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

/// Returns weftctl without anything from the test's environment that it reads.
pub(crate) fn weftctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weftctl"));
    command
        .env_remove("WEFT_SOCKET")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ran {
        status: status.code().expect("ended by itself"),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
