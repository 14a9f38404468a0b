//! `weftctl capture` against a daemon that refuses, breaks off, or says something else.

use std::fs;

use crate::fake::{Fake, refusal};
use serde_json::{Value, json};

/// Runs a command against a daemon that answers so; returns what was asked for, the status and what stderr says.
fn capture(arguments: &str, status: u16, answer: &str) -> (Value, i32, String) {
    let fake = Fake::start(vec![("POST /v1/capture", status, answer.to_owned())]);
    let line = format!("capture {arguments}");
    let ran = fake.weftctl(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(ran.stdout, "");
    let seen = fake.seen();
    (seen.first().map(|seen| seen.body.clone()).unwrap_or_default(), ran.status, ran.stderr)
}

#[test]
fn what_is_wanted_is_asked_for() {
    let refused = refusal("too-many-captures", "4 do so already: uid 0 pid 7", Some("wait"));
    for (arguments, body) in [
        ("", json!({"drops": false})),
        (
            "--port a --port b --vlan office --vlan 10",
            json!({"drops": false, "ports": ["a", "b"], "vlans": ["office", "10"]}),
        ),
        (
            "--drops --direction in tcp port 80 or arp",
            json!({"drops": true, "direction": "in", "filter": "tcp port 80 or arp"}),
        ),
        (
            "-s 128 -c 10 --duration 2m -w x.pcapng",
            json!({"drops": false, "snaplen": 128, "count": 10, "duration-seconds": 120}),
        ),
    ] {
        let (seen, status, stderr) = capture(arguments, 409, &refused);
        assert_eq!((seen, status), (body, 1), "{arguments}");
        assert!(stderr.contains("uid 0 pid 7") && stderr.contains("help: wait"), "{stderr}");
    }
}

#[test]
fn a_filter_that_is_none_is_not_even_sent() {
    for (arguments, mark) in
        [("tcp prot 80", "\n      ^^^^\n"), ("host web1.example.net", "^^^"), ("(tcp", "\n  ^\n")]
    {
        let (seen, status, stderr) = capture(arguments, 200, "");
        assert_eq!((seen, status), (Value::Null, 2), "{arguments}");
        assert!(stderr.contains(mark), "{stderr}");
    }
    let (_, status, stderr) = capture("--json tcp and", 200, "");
    let error: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!((&error["error"]["code"], status), (&json!("invalid-filter"), 2));
}

#[test]
fn an_answer_that_is_no_capture_is_a_failure() {
    let (_, status, stderr) = capture("", 200, "<html>this is some other server altogether</html>");
    assert_eq!(status, 1, "{stderr}");
    assert!(stderr.contains("not one of weftd's"), "{stderr}");
    let (_, status, stderr) = capture("", 200, "");
    assert_eq!(status, 3, "{stderr}");
    assert!(stderr.contains("how much was lost is not known"), "{stderr}");
}

#[test]
fn a_refusal_leaves_no_file_behind() {
    let fake = Fake::start(vec![(
        "POST /v1/capture",
        403,
        refusal("not-allowed", "user id 7 may not see frames", None),
    )]);
    let ran = fake.weftctl(&["capture", "-w", "new.pcapng"]);
    assert_eq!(ran.status, 1);
    assert!(!fs::exists(fake.directory.path().join("new.pcapng")).unwrap());
}
