//! What goes wrong, the exit status that says so, and what stands on stderr.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixListener,
    process::Stdio,
    thread,
};

use crate::fake::{Fake, Ran, refusal, run, weftctl};
use serde_json::{Value, json};

/// Runs `weftctl port list` against a server that reads a request, says this and hangs up.
fn against(answer: &[u8], arguments: &[&str]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weftd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let answer = answer.to_vec();
    let server = thread::Builder::new()
        .spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).unwrap();
            // A client that has seen enough may be gone.
            let _ = stream.write_all(&answer);
        })
        .unwrap();
    let ran = run(weftctl().arg("--socket").arg(&path).args(arguments));
    server.join().unwrap();
    ran
}

#[test]
fn no_daemon_is_status_3_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let ran = run(weftctl().arg("--socket").arg(&path).arg("status"));
    assert_eq!((ran.status, ran.stdout.as_str()), (3, ""));
    assert!(ran.stderr.starts_with(&format!(
        "error: weftd cannot be reached: there is no socket at {}",
        path.display()
    )));
    assert!(ran.stderr.contains("systemctl status weftd"), "{}", ran.stderr);

    drop(UnixListener::bind(&path).unwrap());
    let ran = run(weftctl().arg("--socket").arg(&path).arg("status"));
    assert_eq!(ran.status, 3);
    assert!(ran.stderr.contains("nobody listens"), "{}", ran.stderr);
}

#[test]
fn a_daemon_that_hangs_up_is_status_3() {
    let ran = against(b"", &["port", "list"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (3, ""));
    let ran = against(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n[", &["port", "list"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (3, ""));
}

#[test]
fn garbage_is_status_1_and_prints_nothing_on_stdout() {
    let json =
        |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for answer in [
        "\0\x01\x02 hello\r\n\r\n".to_owned(),
        json(""),
        json("{"),
        json("{\"a\": 1}"),
        json("[1]"),
        json("null"),
    ] {
        let ran = against(answer.as_bytes(), &["port", "list"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{answer:?}");
        assert!(
            ran.stderr.starts_with("error: the answer is not one of weftd's"),
            "{}",
            ran.stderr
        );
    }
    let invalid = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n[\"\xff\"]";
    for arguments in [["port", "list"].as_slice(), &["port", "list", "--json"]] {
        let ran = against(invalid, arguments);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    }
}

#[test]
fn refusals_are_status_1_in_words_or_as_json() {
    let says = || {
        vec![(
            "DELETE /v1/vlans/x",
            409,
            refusal("in-use", "vlan x is in use", Some("remove port a first")),
        )]
    };
    let ran = Fake::start(says()).weftctl(&["vlan", "remove", "x"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert_eq!(ran.stderr, "error: vlan x is in use\n  help: remove port a first\n");

    let ran = Fake::start(says()).weftctl(&["--json", "vlan", "remove", "x"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    let document: Value = serde_json::from_str(&ran.stderr).unwrap();
    let error =
        json!({"code": "in-use", "message": "vlan x is in use", "help": "remove port a first"});
    assert_eq!(document, json!({ "error": error }));
}

#[test]
fn unreachable_and_usage_errors_are_json_too() {
    let ran = run(weftctl().args(["--socket", "/nonexistent/s", "--json", "status"]));
    assert_eq!(ran.status, 3);
    let document: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(document["error"]["code"], "not-reachable");
    assert!(document["error"]["help"].is_string());

    let ran = run(weftctl().args(["--json", "port", "lst"]));
    assert_eq!(ran.status, 2);
    let document: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(document["error"]["code"], "usage");
}

#[test]
fn wrong_usage_is_status_2_with_a_suggestion() {
    for (arguments, expected) in [
        (vec!["statsu"], "'status'"),
        (vec!["port", "lst"], "'list'"),
        (vec!["port", "list", "--jsno"], "'--json'"),
        (vec!["port", "add", "a", "--device", "tap0", "--access", "1"], "--type tap makes a TAP"),
        (
            vec!["port", "add", "a", "--type", "netdev", "--device", "tap0"],
            "--access, --trunk or --dot1q-tunnel",
        ),
        (
            vec!["port", "add", "a", "--type", "tap", "--device", "t", "--trunk", ""],
            "an empty list would carry nothing",
        ),
        (vec!["port", "set", "a"], "nothing to change was named"),
        (vec!["port", "set", "a", "--type", "tap"], "a port keeps its type"),
        (vec!["port", "remove", ""], "a value is required"),
        (vec!["vlan", "add", "office", "--id", "4095"], "4095 is not in 1..=4094"),
        (vec!["trace", "--port", "a"], "--frame"),
        (vec!["trace", "--port", "a", "--src", "x", "--dst", "y"], "is not a MAC address"),
        (vec!["completions", "tcsh"], "bash"),
    ] {
        let ran = run(weftctl().args(["--socket", "/nonexistent/s"]).args(&arguments));
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn names_from_the_daemon_cannot_write_on_the_terminal() {
    let name = "\u{1b}]0;owned\u{7}\nweb1\u{202e}";
    let port = json!([{"name": name, "switch": "main", "type": "netdev", "device": name, "vlan": {"access": 10},
        "state": "failed", "reason": name, "rx": {"frames": 0, "bytes": 0, "drops": {name: 1}},
        "tx": {"frames": 0, "bytes": 0, "drops": {}}}]);
    for arguments in
        [["port", "list"].as_slice(), &["drops"], &["--json", "port", "list"], &["--json", "drops"]]
    {
        let ran = Fake::start(vec![("GET /v1/ports", 200, port.to_string())]).weftctl(arguments);
        assert_eq!(ran.status, 0);
        assert!(
            ran.stdout.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
            "{:?}",
            ran.stdout
        );
    }
    let hostile = refusal("not-found", "\u{1b}[2Jgone", Some("\u{9b}31m"));
    let ran = Fake::start(vec![("GET /v1/ports", 404, hostile)]).weftctl(&["port", "list"]);
    assert_eq!(ran.stderr, "error: \\u{1b}[2Jgone\n  help: \\u{9b}31m\n");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let entry = json!({"switch": "main", "vlan": 10, "mac": "52:54:00:12:34:56", "port": "web1", "kind": "dynamic",
        "age-seconds": 0});
    // More than a pipe holds.
    let many = Value::from(vec![entry; 5000]).to_string();
    for arguments in [["fdb", "list"].as_slice(), &["fdb", "list", "--json"]] {
        let fake = Fake::start(vec![("GET /v1/fdb", 200, many.clone())]);
        let mut child = fake
            .command()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
    }
    let mut child = weftctl()
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()),
        (Some(0), "")
    );
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = run(weftctl().args(["completions", "bash"]).stdout(full));
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("cannot be written"), "{}", ran.stderr);
}

#[test]
fn drops_are_followed_until_the_daemon_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weftd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut child = weftctl()
        .arg("--socket")
        .arg(&path)
        .args(["drops", "--follow", "--lines", "7"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = [0; 4096];
    let read = stream.read(&mut head).unwrap();
    assert!(head[..read].starts_with(b"GET /v1/drops?lines=7 HTTP/1.1\r\n"));
    let line = json!({"kind": "drop", "time-ms": 5, "port": "web1", "direction": "rx", "reason": "spoofed",
        "frames": 7, "vlan": 10, "later": "a key that is not known yet"});
    let line = format!("{line}\n");
    write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    // A line is a line, however it comes.
    for piece in line.as_bytes().chunks(50) {
        write!(stream, "{:x}\r\n", piece.len()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert_eq!(words, ["web1", "rx", "spoofed", "×7", "VLAN", "10"]);
    drop((stream, listener));
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3));
}
