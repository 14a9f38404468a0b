//! Segments and peers: the requests that each command makes, and what it prints for the answers.

use serde_json::{Value, json};

use crate::fake::{Fake, refusal};

const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

fn changed() -> String {
    let changes = json!([{"kind": "added", "path": "x", "new": "1"}]);
    json!({"changes": changes, "revision": "r2", "written": "/etc/weft/weft.toml"}).to_string()
}

/// Runs a command against a daemon that knows one request, and checks the request's body and the output.
#[track_caller]
fn check(command: &str, line: &'static str, answer: &str, body: &Value, stdout: &str) {
    let fake = Fake::start(vec![(line, 200, answer.to_owned())]);
    let ran = fake.weftctl(&command.split_whitespace().collect::<Vec<_>>());
    let seen = fake.seen();
    assert_eq!(seen.iter().map(|seen| seen.line.as_str()).collect::<Vec<_>>(), [line], "{command}");
    assert_eq!(seen[0].body, *body, "{command}");
    assert_eq!((ran.stderr.as_str(), ran.status), ("", 0), "{command}");
    assert_eq!(ran.stdout, stdout, "{command}");
}

fn peer(name: &str, state: &str) -> Value {
    json!({
        "name": name, "public-key": KEY, "endpoint": "192.0.2.1:51900", "state": state,
        "handshake-age-seconds": 75, "rtt-ms": 0.4321, "path-mtu": 1420, "cipher": "aes-256-gcm",
        "rx": {"frames": 120000, "bytes": 7200000, "drops": {"bad-offload": 2, "split-horizon": 3}},
        "tx": {"frames": 7, "bytes": 420, "drops": {"no-session": 1}},
        "refused": {"bad-mac": 12, "replayed": 4}, "segments": ["office", "voice"], "problems": [],
    })
}

fn lonely() -> Value {
    let none = json!({"frames": 0, "bytes": 0, "drops": {}});
    json!({"name": "oslo", "public-key": KEY, "state": "down", "reason": "oslo.example does not resolve",
        "rx": none, "tx": none, "segments": [], "problems": ["segment office has id 5010 here and 5011 there"]})
}

#[test]
fn changes_are_asked_for_and_told() {
    let told = "added    x: 1\nwritten to /etc/weft/weft.toml\n";
    let transient = "added    x: 1\nrunning, not written to the file: a restart or reload of weftd takes it back\n";
    for (command, line, body) in [
        (
            "segment add office --id 5010 --vlan 10",
            "POST /v1/segments",
            json!({"name": "office", "segment": {"id": 5010, "vlan": 10}, "may-exist": false}),
        ),
        (
            "segment add lab --id 16777215 --vlan office --switch lab --answer-arp --may-exist",
            "POST /v1/segments",
            json!({"name": "lab", "may-exist": true,
                "segment": {"id": 16_777_215, "vlan": "office", "switch": "lab", "answer-arp": true}}),
        ),
        ("segment remove office", "DELETE /v1/segments/office", Value::Null),
        (
            "peer add berlin --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
            "POST /v1/peers",
            json!({"name": "berlin", "peer": {"public-key": KEY}, "may-exist": false}),
        ),
        (
            "peer add berlin --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo= --endpoint [2001:db8::1]:1 \
             --preshared-key-file /k --ciphers chacha20-poly1305,aes-256-gcm --segments office,voice --may-exist",
            "POST /v1/peers",
            json!({"name": "berlin", "may-exist": true, "peer": {"public-key": KEY, "endpoint": "[2001:db8::1]:1",
                "preshared-key-file": "/k", "ciphers": ["chacha20-poly1305", "aes-256-gcm"],
                "segments": ["office", "voice"]}}),
        ),
        (
            "peer set berlin --endpoint berlin:1 --unset ciphers --unset preshared-key-file",
            "PATCH /v1/peers/berlin",
            json!({"peer": {"endpoint": "berlin:1", "ciphers": null, "preshared-key-file": null}}),
        ),
        (
            "peer set a/b --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo= --segments office",
            "PATCH /v1/peers/a%2Fb",
            json!({"peer": {"public-key": KEY, "segments": ["office"]}}),
        ),
        ("peer remove berlin", "DELETE /v1/peers/berlin", Value::Null),
    ] {
        check(command, line, &changed(), &body, told);
    }
    check(
        "peer remove berlin --transient",
        "DELETE /v1/peers/berlin?transient=true",
        &changed(),
        &Value::Null,
        transient,
    );
}

#[test]
fn what_makes_no_sense_is_not_asked_for() {
    let fake = Fake::start(vec![]);
    for (command, expected) in [
        ("segment add x --id 0 --vlan 10", "--id"),
        ("segment add x --id 16777216 --vlan 10", "--id"),
        ("segment add x --id 5", "--vlan"),
        ("peer add x", "--public-key"),
        ("peer add x --public-key hSDwCYkwp1R0", "a key is 32 bytes"),
        ("peer set x --public-key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "a key of zeros"),
        ("peer set x", "nothing to change was named"),
        ("peer set x --ciphers rot13", "aes-256-gcm"),
        ("peer set x --unset public-key", "invalid value"),
        ("peer ping x --count 0", "--count"),
        ("peer ping x --timeout 11", "up to 10"),
        ("peer ping x --interval=-1", "--interval"),
    ] {
        let ran = fake.weftctl(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{command}");
        assert!(ran.stderr.contains(expected), "{command}: {}", ran.stderr);
        // It may be a private key that was typed.
        assert!(!ran.stderr.contains("hSDwCYkwp1R0"), "{command}: {}", ran.stderr);
    }
    assert_eq!(fake.seen(), []);
}

#[test]
fn removing_what_is_not_there_succeeds_with_if_exists_only() {
    for (command, line) in [
        ("peer remove berlin", "DELETE /v1/peers/berlin"),
        ("segment remove office", "DELETE /v1/segments/office"),
    ] {
        let fake = Fake::start(vec![
            (
                "GET /v1/config",
                200,
                json!({"running": "", "file": "", "revision": "r1"}).to_string(),
            ),
            (line, 404, refusal("not-found", "it is not there", None)),
        ]);
        let arguments: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(fake.weftctl(&arguments).status, 1, "{command}");
        let ran = fake.weftctl(&[arguments.as_slice(), &["--if-exists"]].concat());
        assert_eq!(ran.status, 0, "{command}: {}", ran.stderr);
        assert!(ran.stdout.ends_with("is not there; nothing changes\n"), "{}", ran.stdout);
    }
    let in_use = refusal("in-use", "segment office is in use by peer berlin", None);
    let fake = Fake::start(vec![("DELETE /v1/segments/office", 409, in_use)]);
    let ran = fake.weftctl(&["segment", "remove", "office", "--if-exists"]);
    assert_eq!(
        (ran.status, ran.stderr.as_str()),
        (1, "error: segment office is in use by peer berlin\n")
    );
}

#[test]
fn lists_are_tables_with_what_is_wrong_below() {
    check(
        "peer list",
        "GET /v1/peers",
        &json!([peer("berlin", "up"), lonely()]).to_string(),
        &Value::Null,
        "NAME    STATE  ENDPOINT         HANDSHAKE      RTT   MTU    RX  TX  DROPS  SEGMENTS\n\
         berlin  up     192.0.2.1:51900  1m 15s     0.43 ms  1420  120k   7      6  office voice\n\
         oslo    down   -                -                -     -     0   0      0  -\n\
         oslo is down: oslo.example does not resolve\n\
         oslo: segment office has id 5010 here and 5011 there\n",
    );
    check(
        "segment list",
        "GET /v1/segments",
        &json!([
            {"name": "office", "id": 5010, "switch": "main", "vlan": 10, "answer-arp": false, "peers": ["berlin", "oslo"],
                "remote-macs": 3, "problems": ["port eth1 is blocked in VLAN 10: it sees a peer's loop probe"]},
            {"name": "lab", "id": 16_777_215, "switch": "lab", "vlan": 10, "answer-arp": true, "peers": [], "remote-macs": 0},
        ])
        .to_string(),
        &Value::Null,
        "NAME          ID  VLAN  SWITCH  PEERS        REMOTE MACS\n\
         office      5010    10  main    berlin oslo            3\n\
         lab     16777215    10  lab     -                      0\n\
         office: port eth1 is blocked in VLAN 10: it sees a peer's loop probe\n",
    );
    check(
        "peer list",
        "GET /v1/peers",
        "[]",
        &Value::Null,
        "no peers; `weftctl peer add --help` shows how to add one\n",
    );
}

#[test]
fn a_peer_shows_its_session_its_path_and_its_counters() {
    check(
        "peer show berlin",
        "GET /v1/peers/berlin",
        &peer("berlin", "up").to_string(),
        &Value::Null,
        &format!(
            "peer berlin\n  public key {KEY}\n  endpoint   192.0.2.1:51900\n  state      up\n  \
             session    1m 15s old, aes-256-gcm\n  path       0.43 ms there and back, packets of 1420 bytes\n  \
             segments   office voice\n  rx         120000 frames, 7200000 bytes, 5 dropped\n             2 bad-offload\n             \
             3 split-horizon\n  tx         7 frames, 420 bytes, 1 dropped\n             1 no-session\n  \
             refused    12 bad-mac\n             4 replayed\n"
        ),
    );
    check(
        "peer show oslo",
        "GET /v1/peers/oslo",
        &lonely().to_string(),
        &Value::Null,
        &format!(
            "peer oslo\n  public key {KEY}\n  endpoint   not known: it is waited for\n  \
             state      down: oslo.example does not resolve\n  segments   none\n  \
             rx         0 frames, 0 bytes, 0 dropped\n  tx         0 frames, 0 bytes, 0 dropped\n  \
             problem    segment office has id 5010 here and 5011 there\n"
        ),
    );
}

#[test]
fn a_ping_asks_as_often_as_it_is_told_and_sums_up() {
    let answer = json!({"endpoint": "192.0.2.1:51900", "size": 100, "rtt-ms": 12.34}).to_string();
    let fake = Fake::start(vec![("POST /v1/peers/berlin/ping", 200, answer)]);
    let arguments = ["peer", "ping", "berlin", "--count", "2", "--interval", "0", "--size", "100"];
    let ran = fake.weftctl(&arguments);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "berlin at 192.0.2.1:51900: answer 1, 100 bytes, 12.3 ms\n\
         berlin at 192.0.2.1:51900: answer 2, 100 bytes, 12.3 ms\n\
         2 asked, 2 answered; least 12.3 ms, mean 12.3 ms, most 12.3 ms\n"
    );
    let asked: Vec<Value> = fake.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(asked, vec![json!({"size": 100, "timeout-ms": 1000}); 2]);
    let ran = fake.weftctl(&[&arguments[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["sent"], &told["received"]), (&json!(2), &json!(2)));
    assert_eq!(told["rtt-ms"]["mean"], 12.34);
    assert_eq!(told["pings"][1]["rtt-ms"], 12.34);
}

#[test]
fn a_ping_without_an_answer_fails_and_says_why() {
    let answer = json!({"reason": "there is no session"}).to_string();
    let fake = Fake::start(vec![("POST /v1/peers/berlin/ping", 200, answer)]);
    let arguments = ["peer", "ping", "berlin", "--count", "1", "--timeout", "0.25"];
    let ran = fake.weftctl(&arguments);
    assert_eq!(ran.status, 1);
    assert_eq!(ran.stdout, "berlin: no answer 1: there is no session\n1 asked, 0 answered\n");
    assert_eq!(
        ran.stderr,
        "error: peer berlin did not answer\n  help: `weftctl peer show berlin` says what is known of it\n"
    );
    assert_eq!(fake.seen()[0].body, json!({"timeout-ms": 250}));
    let ran = fake.weftctl(&[&arguments[..], &["--json"]].concat());
    assert_eq!(ran.status, 1);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["received"], 0);
    assert_eq!(serde_json::from_str::<Value>(&ran.stderr).unwrap()["error"]["code"], "no-answer");
    assert_eq!(fake.weftctl(&["peer", "ping", "oslo"]).status, 1);
}

#[test]
fn a_reset_says_what_it_took_away() {
    for (answer, told) in [
        (
            json!({"sessions": 2, "timestamp": true}),
            "2 sessions were ended, its clock was forgotten",
        ),
        (json!({"sessions": 1, "timestamp": false}), "a session was ended"),
        (json!({"sessions": 0, "timestamp": false}), "there was no session"),
    ] {
        check(
            "peer reset berlin",
            "POST /v1/peers/berlin/reset",
            &answer.to_string(),
            &Value::Null,
            &format!("peer berlin: {told}; it begins anew\n"),
        );
    }
}

#[test]
fn status_shows_peers_and_what_is_wrong_with_them_once() {
    let status = json!({
        "version": "0.1.0", "pid": 7, "uptime-seconds": 0, "workers": 1, "revision": "r1", "switches": [], "vlans": [],
        "ports": [], "macs": [], "peers": [peer("berlin", "up"), peer("a", "handshaking"), lonely()],
        "vpn": {"listen": "[::]:51900", "public-key": "key0", "refused": {"unknown-session": 12, "malformed": 3}},
        "segments": [{"name": "office", "id": 1, "switch": "main", "vlan": 10, "answer-arp": false, "peers": [],
            "remote-macs": 0, "problems": ["52:54:00:12:34:56 is frozen"]}],
        "problems": ["peer oslo: oslo.example does not resolve"],
    });
    let fake = Fake::start(vec![("GET /v1/status", 200, status.to_string())]);
    let ran = fake.weftctl(&["status"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    for expected in [
        "PEER    STATE        ENDPOINT             RTT   MTU    RX  DROP  TX  DROP\n\
         berlin  up           192.0.2.1:51900  0.43 ms  1420  120k     5   7     1\n\
         a       handshaking  192.0.2.1:51900  0.43 ms  1420  120k     5   7     1\n\
         oslo    down         -                      -     -     0     0   0     0\n\
         tunnels at [::]:51900 as key0\n\
         refused of nobody: 3 malformed, 12 unknown-session\n",
        "problems\n  peer oslo: oslo.example does not resolve\n\
         oslo: segment office has id 5010 here and 5011 there\nsegment office: 52:54:00:12:34:56 is frozen\n",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}:\n{}", ran.stdout);
    }
    assert_eq!(ran.stdout.matches("does not resolve").count(), 1, "{}", ran.stdout);
}
