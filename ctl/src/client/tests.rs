use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    thread,
    time::Instant,
};

use serde_json::Value;

use super::*;

const SHORT: Limits =
    Limits { connect: Duration::from_millis(200), answer: Duration::from_millis(200), body: 1000 };

/// A directory with a socket's path in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weftd.sock");
    (directory, path)
}

/// Asks a server that says `answer` to the first client after its request, and hangs up.
fn ask_one_that_says(answer: &[u8], request: Request) -> Result<Answer<Value>, Failure> {
    let (_directory, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    let answer = answer.to_vec();
    let server = thread::Builder::new()
        .spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).unwrap();
            // The client may have hung up already: that is its right.
            let _ = stream.write_all(&answer);
        })
        .unwrap();
    let answer = Client::new(path, Limits { body: 1000, ..Limits::default() }).send(request);
    server.join().unwrap();
    answer
}

fn refusal(outcome: Result<Answer<Value>, Failure>) -> (Exit, String, String) {
    let failure = outcome.expect_err("this must fail");
    (failure.exit, failure.body.code, failure.body.message)
}

#[expect(clippy::disallowed_methods, reason = "a test measures that a timeout is kept")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_daemon_that_never_answers_is_given_up() {
    let (_directory, path) = place();
    let _listener = UnixListener::bind(&path).unwrap();
    let began = now();
    let outcome = Client::new(path, SHORT).send(Request::get("/v1/status"));
    let (exit, code, message) = refusal(outcome);
    assert_eq!((exit, code.as_str()), (Exit::Unreachable, "timeout"));
    assert!(message.ends_with("did not answer within 0.2 s"), "{message}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_daemon_that_never_accepts_is_given_up() {
    let (_directory, path) = place();
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // A queue of no length holds one.
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (exit, code, message) = refusal(Client::new(path, SHORT).send(Request::get("/v1/status")));
    assert_eq!((exit, code.as_str()), (Exit::Unreachable, "timeout"));
    assert!(message.contains("did not accept"), "{message}");
}

#[test]
fn a_write_without_an_answer_is_called_doubtful_and_a_read_is_not() {
    for (request, doubtful) in [
        (Request::post("/v1/vlans"), true),
        (Request::delete("/v1/vlans").segment("x"), true),
        (Request::get("/v1/vlans"), false),
        (Request::ask("/v1/trace"), false),
    ] {
        let (exit, code, message) = refusal(ask_one_that_says(b"", request));
        assert_eq!((exit, code.as_str()), (Exit::Unreachable, "no-answer"));
        assert_eq!(message.contains("may have been made or not"), doubtful, "{message}");
    }
}

#[test]
fn a_connection_that_is_refused_changed_nothing() {
    let (_directory, path) = place();
    let (exit, code, message) = refusal(Client::new(path, SHORT).send(Request::post("/v1/vlans")));
    assert_eq!((exit, code.as_str()), (Exit::Unreachable, "not-reachable"));
    assert!(!message.contains("may have been made"), "{message}");
}

#[test]
fn an_answer_that_ends_early_is_no_answer() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":";
    let (exit, code, _) = refusal(ask_one_that_says(cut, Request::get("/v1/status")));
    assert_eq!((exit, code.as_str()), (Exit::Unreachable, "no-answer"));
}

#[test]
fn what_is_not_http_is_no_answer_of_weftds() {
    for garbage in
        [b"SSH-2.0-OpenSSH_9.2\r\n\r\n".as_slice(), b"\0\xff\xfe\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"]
    {
        let (exit, code, _) = refusal(ask_one_that_says(garbage, Request::get("/v1/status")));
        assert_eq!((exit, code.as_str()), (Exit::Failed, "bad-answer"), "{garbage:?}");
    }
}

#[test]
fn an_answer_longer_than_the_limit_is_not_read() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n{:1001}", "");
    let (exit, code, message) =
        refusal(ask_one_that_says(long.as_bytes(), Request::get("/v1/status")));
    assert_eq!((exit, code.as_str()), (Exit::Failed, "bad-answer"));
    assert!(message.contains("more than 1000 bytes"), "{message}");
}

#[test]
fn an_error_that_is_not_weftds_is_quoted_harmlessly() {
    let answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 9\r\n\r\n\x1b[2Joops\n";
    let (exit, code, message) = refusal(ask_one_that_says(answer, Request::get("/v1/status")));
    assert_eq!((exit, code.as_str()), (Exit::Failed, "bad-answer"));
    assert!(message.contains(r#"502 Bad Gateway, "\u{1b}[2Joops\n""#), "{message}");
}

#[test]
fn a_socket_that_may_not_be_opened_names_who_may() {
    let error = io::Error::from(ErrorKind::PermissionDenied);
    let failure = no_connection(Path::new("/run/weft/weftd.sock"), &error);
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(failure.exit, Exit::Unreachable);
    let help = failure.body.help.unwrap();
    assert!(help.contains(&format!("uid {uid}")) && help.contains("group weft"), "{help}");
}

#[test]
fn names_cannot_leave_their_place_in_the_target() {
    let request =
        Request::delete("/v1/ports").segment("../a?b#c d/é%").query("transient", Some("a&b=c"));
    assert_eq!(request.target, "/v1/ports/..%2Fa%3Fb%23c%20d%2F%C3%A9%25?transient=a%26b%3Dc");
    let request = Request::get("/v1/fdb")
        .query("vlan", None)
        .query("port", Some("a"))
        .query("switch", Some("b"));
    assert_eq!(request.target, "/v1/fdb?port=a&switch=b");
}
