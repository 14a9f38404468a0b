//! Each command, the request that it makes, and what it prints for the answer.

use crate::fake::{Fake, Says, refusal};
use serde_json::{Value, json};

fn changed(changes: Value) -> String {
    json!({"changes": changes, "revision": "r2", "written": "/etc/weft/weft.toml"}).to_string()
}

fn added(path: &str) -> String {
    changed(json!([{"kind": "added", "path": path, "new": "{ id = 10 }"}]))
}

fn removed(path: &str) -> String {
    changed(json!([{"kind": "removed", "path": path, "old": "{ id = 10 }"}]))
}

fn configuration() -> String {
    let running = "[vlan.office]\nid = 10\n[port.host]\ntype = \"tap\"\nvlan = { trunk = [\"office\", 20], native = 20 }\n";
    json!({"running": running, "file": "# the file\n", "path": "/etc/weft/weft.toml", "revision": "r1"}).to_string()
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

#[test]
fn changes_are_asked_for_and_told() {
    let add = "added    x: { id = 10 }\nwritten to /etc/weft/weft.toml\n";
    let gone = "removed  x: { id = 10 }\nwritten to /etc/weft/weft.toml\n";
    let transient = "added    x: { id = 10 }\nrunning, not written to the file: a restart or reload of weftd takes it back\n";
    for (command, line, body) in [
        (
            "vlan add office --id 10",
            "POST /v1/vlans",
            json!({"name": "office", "id": 10, "may-exist": false}),
        ),
        (
            "vlan add office --id 10 --may-exist",
            "POST /v1/vlans",
            json!({"name": "office", "id": 10, "may-exist": true}),
        ),
        (
            "switch add lab --mac-ageing 60s --mac-limit 10",
            "POST /v1/switches",
            json!({"name": "lab", "switch": {"mac-ageing": "60s", "mac-limit": 10}, "may-exist": false}),
        ),
        (
            "fdb add 52:54:00:12:34:AB --vlan office --port web1",
            "POST /v1/fdb",
            json!({"mac": "52:54:00:12:34:ab", "vlan": "office", "port": "web1", "may-exist": false}),
        ),
        (
            "port add web1 --type netdev --device tap0 --access 10",
            "POST /v1/ports",
            json!({"name": "web1", "may-exist": false,
                "port": {"type": "netdev", "device": "tap0", "vlan": {"access": 10}}}),
        ),
        (
            "port set web1 --access office --mtu 9000 --unset mac-limit",
            "PATCH /v1/ports/web1",
            json!({"port": {"vlan": {"access": "office"}, "mtu": 9000, "mac-limit": null}}),
        ),
    ] {
        check(command, line, &added("x"), &body, add);
    }
    for (command, line) in [
        ("vlan remove office", "DELETE /v1/vlans/office"),
        ("switch remove lab", "DELETE /v1/switches/lab"),
        ("port remove web1", "DELETE /v1/ports/web1"),
        ("port remove a/b", "DELETE /v1/ports/a%2Fb"),
        (
            "fdb remove 52:54:00:12:34:56 --vlan 10",
            "DELETE /v1/fdb?vlan=10&mac=52%3A54%3A00%3A12%3A34%3A56",
        ),
        (
            "fdb remove 52:54:00:12:34:56 --vlan office --switch lab",
            "DELETE /v1/fdb?vlan=office&mac=52%3A54%3A00%3A12%3A34%3A56&switch=lab",
        ),
    ] {
        check(command, line, &removed("x"), &Value::Null, gone);
    }
    check(
        "vlan add office --id 10 --transient",
        "POST /v1/vlans?transient=true",
        &added("x"),
        &json!({"name": "office", "id": 10, "may-exist": false}),
        transient,
    );
}

#[test]
fn a_change_in_two_values_and_in_several_lines_is_told_in_words() {
    let changes = json!([
        {"kind": "changed", "path": "port.a.mtu", "old": "1500", "new": "9000"},
        {"kind": "added", "path": "port.b", "new": "type = \"tap\"\nvlan = 1\n"},
    ]);
    let told = "changed  port.a.mtu: 1500 -> 9000\nadded    port.b\n    + type = \"tap\"\n    + vlan = 1\n\
                written to /etc/weft/weft.toml\n";
    check(
        "port set a --mtu 9000",
        "PATCH /v1/ports/a",
        &changed(changes),
        &json!({"port": {"mtu": 9000}}),
        told,
    );
}

#[test]
fn part_of_a_vlan_mode_is_merged_under_the_revision_that_was_read() {
    for (command, vlan) in [
        (
            vec!["port", "set", "host", "--native", "office"],
            json!({"trunk": ["office", 20], "native": "office"}),
        ),
        (vec!["port", "set", "host", "--trunk", "all"], json!({"trunk": "all", "native": 20})),
        (vec!["port", "set", "host", "--unset", "native"], json!({"trunk": ["office", 20]})),
    ] {
        let fake = Fake::start(vec![
            ("GET /v1/config", 200, configuration()),
            ("PATCH /v1/ports/host", 200, added("x")),
        ]);
        let ran = fake.weftctl(&command);
        assert_eq!((ran.stderr.as_str(), ran.status), ("", 0), "{command:?}");
        let seen = fake.seen();
        assert_eq!(seen[1].body, json!({"port": {"vlan": vlan}}), "{command:?}");
        assert_eq!(seen[1].if_match.as_deref(), Some("\"r1\""), "{command:?}");
    }
}

#[test]
fn removing_what_is_not_there_succeeds_with_if_exists_only() {
    let says = || -> Vec<Says> {
        vec![
            ("GET /v1/config", 200, configuration()),
            ("DELETE /v1/ports/web1", 404, refusal("not-found", "there is no port web1", None)),
            (
                "DELETE /v1/vlans/office",
                409,
                refusal("in-use", "vlan office is in use by port web1", None),
            ),
        ]
    };
    let ran = Fake::start(says()).weftctl(&["port", "remove", "web1"]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.stderr,
        "error: there is no port web1\n  help: `weftctl status` shows what there is\n"
    );
    let ran = Fake::start(says()).weftctl(&["port", "remove", "web1", "--if-exists"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "port web1 is not there; nothing changes\n"));
    let ran = Fake::start(says()).weftctl(&["port", "remove", "web1", "--if-exists", "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&ran.stdout).unwrap(),
        json!({"changes": [], "revision": "r1"})
    );
    // Any other refusal stays one.
    let ran = Fake::start(says()).weftctl(&["vlan", "remove", "office", "--if-exists"]);
    assert_eq!(ran.status, 1);
}

#[test]
fn lists_are_tables_for_people() {
    check(
        "fdb list --vlan office --port web1",
        "GET /v1/fdb?vlan=office&port=web1",
        &json!([
            {"switch": "main", "vlan": 10, "mac": "52:54:00:12:34:56", "port": "web1", "kind": "static", "age-seconds": 0},
            {"switch": "main", "vlan": 100, "mac": "52:54:00:12:34:57", "port": "web1", "kind": "dynamic", "age-seconds": 75},
        ])
        .to_string(),
        &Value::Null,
        "SWITCH  VLAN  MAC                PORT  KIND     AGE\n\
         main      10  52:54:00:12:34:56  web1  static   -\n\
         main     100  52:54:00:12:34:57  web1  dynamic  1m 15s\n",
    );
    check(
        "fdb flush --port web1",
        "POST /v1/fdb/flush?port=web1",
        r#"{"flushed": 2}"#,
        &Value::Null,
        "2 addresses forgotten\n",
    );
    check(
        "vlan list",
        "GET /v1/vlans",
        &json!([{"switch": "main", "vlan": 10, "name": "office", "untagged": ["a", "b"], "tagged": [], "macs": 3}]).to_string(),
        &Value::Null,
        "VLAN  NAME    SWITCH  UNTAGGED  TAGGED  MACS\n  10  office  main    a b       -          3\n",
    );
    check(
        "switch list",
        "GET /v1/switches",
        &json!([{"name": "main", "mac-ageing-seconds": 300, "mac-limit": 65536, "macs": 3, "ports": ["a", "b"]}]).to_string(),
        &Value::Null,
        "NAME  MACS  LIMIT  AGEING  PORTS\nmain     3  65536  5m      a b\n",
    );
    check(
        "config show",
        "GET /v1/config",
        &configuration(),
        &Value::Null,
        "[vlan.office]\nid = 10\n[port.host]\ntype = \"tap\"\nvlan = { trunk = [\"office\", 20], native = 20 }\n",
    );
}

fn port(name: &str, state: &str, reason: Option<&str>) -> Value {
    let mut port = json!({
        "name": name, "switch": "main", "type": "netdev", "device": "tap0", "vlan": {"access": 10}, "mtu": 1500,
        "state": state,
        "rx": {"frames": 120000, "bytes": 7200000, "drops": {"tagged-on-access": 3, "spoofed": 2}},
        "tx": {"frames": 7, "bytes": 420, "drops": {"port-down": 1}},
    });
    if let Some(reason) = reason {
        port["reason"] = reason.into();
    }
    port
}

#[test]
fn ports_show_their_state_with_its_reason_and_their_drops() {
    let ports = json!([
        port("web1", "up", None),
        port("web2", "waiting", Some("device tap0 does not exist"))
    ]);
    check(
        "port list",
        "GET /v1/ports",
        &ports.to_string(),
        &Value::Null,
        "NAME  TYPE    DEVICE  VLAN       STATE      RX  TX  DROPS\n\
         web1  netdev  tap0    access 10  up       120k   7      6\n\
         web2  netdev  tap0    access 10  waiting  120k   7      6\n\
         web2 is waiting: device tap0 does not exist\n",
    );
    check(
        "drops",
        "GET /v1/ports",
        &json!([port("web1", "up", None)]).to_string(),
        &Value::Null,
        "PORT  DIR  REASON            FRAMES\n\
         web1  rx   spoofed                2\n\
         web1  rx   tagged-on-access       3\n\
         web1  tx   port-down              1\n",
    );
}

#[test]
fn a_port_shows_its_drops_by_reason_and_its_addresses() {
    let entry = json!({"switch": "main", "vlan": 10, "mac": "52:54:00:12:34:56", "port": "web1", "kind": "dynamic",
        "age-seconds": 75});
    let fake = Fake::start(vec![
        ("GET /v1/ports/web1", 200, port("web1", "up", None).to_string()),
        ("GET /v1/fdb?port=web1", 200, Value::from(vec![entry; 20]).to_string()),
    ]);
    let ran = fake.weftctl(&["port", "show", "web1"]);
    for expected in [
        "port web1\n  switch   main\n  type     netdev\n  device   tap0\n  vlan     access 10\n",
        "  rx       120000 frames, 7200000 bytes, 5 dropped\n           2 spoofed\n           3 tagged-on-access\n",
        "  address  52:54:00:12:34:56 in VLAN 10, dynamic, heard 1m 15s ago\n",
        "           and 4 more: weftctl fdb list --port web1\n",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}: {}", ran.stdout);
    }
}

#[test]
fn status_is_one_screen_of_eighty_columns() {
    let status = json!({
        "version": "0.1.0", "pid": 7, "uptime-seconds": 3700, "workers": 1, "config": "/etc/weft/weft.toml",
        "revision": "r1",
        "switches": [{"name": "main", "mac-ageing-seconds": 300, "mac-limit": 65536, "macs": 5, "ports": ["web1", "web2"]}],
        "vlans": [{"switch": "main", "vlan": 10, "name": "office", "untagged": ["web1", "web2"], "tagged": [], "macs": 5}],
        "ports": [port("web1", "up", None), port("web2", "down", Some("it is disabled in the configuration"))],
        "macs": (0..5).map(|i| json!({"switch": "main", "vlan": 10, "mac": format!("52:54:00:00:00:0{i}"),
            "port": "web1", "kind": "dynamic", "age-seconds": i})).collect::<Vec<_>>(),
        "problems": ["port web3: device nosuch does not exist"],
    });
    let screen = "\
weftd 0.1.0  pid 7, up 1h 1m, 1 worker, /etc/weft/weft.toml

SWITCH  PORTS  MACS  LIMIT  AGEING
main        2     5  65536  5m

VLAN  NAME    SWITCH  UNTAGGED   TAGGED  MACS
  10  office  main    web1 web2  -          5

PORT  TYPE    DEVICE  VLAN       STATE    RX  DROP  TX  DROP
web1  netdev  tap0    access 10  up     120k     5   7     1
web2  netdev  tap0    access 10  down   120k     5   7     1

PORT  VLAN  ADDRESSES
web1    10  52:54:00:00:00:00 52:54:00:00:00:01 52:54:00:00:00:02 +2

problems
  port web3: device nosuch does not exist
web2 is down: it is disabled in the configuration
";
    check("status", "GET /v1/status", &status.to_string(), &Value::Null, screen);
}

#[test]
fn a_trace_tells_each_step_and_the_verdict_in_words() {
    let steps = json!([{"stage": "vlan", "text": "access port: in VLAN 10"}, {"stage": "verdict", "text": "x"}]);
    let frame =
        json!({"port": "web1", "source": "52:54:00:00:00:01", "destination": "ff:ff:ff:ff:ff:ff"});
    let table = "STAGE  WHAT HAPPENS\nvlan   access port: in VLAN 10\n\n";
    let command = "trace --port web1 --src 52:54:00:00:00:01 --dst ff:ff:ff:ff:ff:ff";
    for (answer, verdict) in [
        (
            json!({"verdict": "flood", "vlan": 10, "steps": steps,
                "egress": [{"port": "a", "tagged": false}, {"port": "b", "tagged": true, "vid": 10}]}),
            "flooded in VLAN 10 to a (untagged), b (tagged 10)\n",
        ),
        (
            json!({"verdict": "forward", "vlan": 10, "steps": steps, "egress": [{"port": "a", "tagged": false}]}),
            "forwarded in VLAN 10 to a (untagged)\n",
        ),
        (
            json!({"verdict": "drop", "reason": "spoofed", "steps": steps, "egress": []}),
            "dropped at port web1: spoofed\n",
        ),
    ] {
        check(
            command,
            "POST /v1/trace",
            &answer.to_string(),
            &frame,
            &(table.to_owned() + verdict),
        );
    }
}

#[test]
fn a_traced_frame_is_described_or_given_and_a_vlan_name_becomes_its_vid() {
    let vlans = json!([{"switch": "main", "vlan": 10, "name": "office", "untagged": [], "tagged": [], "macs": 0}]);
    let traced = json!({"verdict": "drop", "reason": "x", "steps": [], "egress": []});
    for (arguments, body) in [
        (
            "--src 52:54:00:00:00:01 --dst ff:ff:ff:ff:ff:ff --tag office --pcp 3 --ethertype 0x0806 --length 100",
            json!({"port": "p", "source": "52:54:00:00:00:01", "destination": "ff:ff:ff:ff:ff:ff", "tag": 10, "pcp": 3,
                "ethertype": 0x806, "length": 100}),
        ),
        (
            "--src 52:54:00:00:00:01 --dst ff:ff:ff:ff:ff:ff --tag 4095",
            json!({"port": "p", "source": "52:54:00:00:00:01", "destination": "ff:ff:ff:ff:ff:ff", "tag": 4095}),
        ),
        ("--frame FF:FF:ff:ff:ff:ff:52:54", json!({"port": "p", "frame": "ffffffffffff5254"})),
    ] {
        let fake = Fake::start(vec![
            ("GET /v1/vlans", 200, vlans.to_string()),
            ("POST /v1/trace", 200, traced.to_string()),
        ]);
        let ran = fake
            .weftctl(&format!("trace --port p {arguments}").split_whitespace().collect::<Vec<_>>());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments}");
        assert_eq!(fake.seen().last().unwrap().body, body, "{arguments}");
    }
}

#[test]
fn files_are_read_by_weftctl_and_sent_as_text() {
    let text = "[vlan.office]\nid = 10\n";
    let told = "added    vlan.office: { id = 10 }\n";
    for (arguments, line, dry_run, rest) in [
        ("apply new.toml", "PUT /v1/config", false, "written to /etc/weft/weft.toml\n"),
        (
            "apply new.toml --dry-run",
            "PUT /v1/config",
            true,
            "nothing was changed: this was a dry run\n",
        ),
        ("diff new.toml", "POST /v1/config/diff", true, ""),
    ] {
        let fake = Fake::start(vec![(line, 200, added("vlan.office"))]);
        std::fs::write(fake.directory.path().join("new.toml"), text).unwrap();
        let ran = fake.weftctl(&arguments.split_whitespace().collect::<Vec<_>>());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments}");
        assert_eq!(ran.stdout, format!("{told}{rest}"), "{arguments}");
        assert_eq!(
            fake.seen()[0].body,
            json!({"text": text, "name": "new.toml", "dry-run": dry_run}),
            "{arguments}"
        );
    }
    let fake = Fake::start(vec![("PUT /v1/config", 200, added("vlan.office"))]);
    std::fs::write(fake.directory.path().join("new.toml"), text).unwrap();
    let input = std::fs::File::open(fake.directory.path().join("new.toml")).unwrap();
    let ran = crate::fake::run(fake.command().args(["apply", "-"]).stdin(input));
    assert_eq!(ran.status, 0);
    assert_eq!(
        fake.seen()[0].body,
        json!({"text": text, "name": "standard input", "dry-run": false})
    );
}

#[test]
fn diff_without_a_file_compares_with_the_daemons_own() {
    let fake = Fake::start(vec![
        ("GET /v1/config", 200, configuration()),
        ("POST /v1/config/diff", 200, json!({"changes": [], "revision": "r1"}).to_string()),
    ]);
    let ran = fake.weftctl(&["diff"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "no difference\n"));
    assert_eq!(fake.seen()[1].body["text"], "# the file\n");
}

#[test]
fn documents_are_printed_as_they_came_with_json() {
    let document = r#"[{"name":"web1","zeta":1,"alpha":{"later":"key"}}]"#;
    let fake = Fake::start(vec![("GET /v1/ports", 200, document.to_owned())]);
    let ran = fake.weftctl(&["port", "list", "--json"]);
    let compact: String = ran.stdout.split_whitespace().collect();
    assert_eq!((ran.status, compact.as_str()), (0, document));
}
