//! WireGuard adapters and their clients: the requests that each command makes, what it prints, and where keys go.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::fake::{Fake, NOTHING, Seen, refusal, run, weftctl};

const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const SECRET: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";

fn changed() -> String {
    let changes = json!([{"kind": "added", "path": "x", "new": "1"}]);
    json!({"changes": changes, "revision": "r2", "written": "/etc/weft/weft.toml"}).to_string()
}

fn adapter() -> Value {
    json!({
        "name": "road", "switch": "main", "vlan": 10, "address": ["10.10.0.1/24", "fd00::1/64"],
        "gateway": ["10.10.0.254"], "listen": "[::]:51820", "mtu": 1420, "public-key": KEY,
        "mac": "02:11:22:33:44:55", "state": "up",
        "rx": {"frames": 120000, "bytes": 7200000, "drops": {"source-not-allowed": 2}},
        "tx": {"frames": 7, "bytes": 420, "drops": {}}, "refused": {"bad-mac": 12},
        "peers": [
            {"name": "old", "public-key": SECRET, "preshared-key": false, "allowed-ips": [],
                "rx-bytes": 0, "tx-bytes": 0},
            {"name": "alice", "public-key": KEY, "preshared-key": true, "endpoint": "192.0.2.9:40000",
                "allowed-ips": ["10.10.0.201/32", "fd00::201/128"], "handshake-age-seconds": 75,
                "persistent-keepalive": 25, "rx-bytes": 1536, "tx-bytes": 148, "drops": {"source-not-allowed": 2}},
        ],
        "problems": ["10.10.0.7/32 is an allowed IP of peer a and of peer b, which comes later: b has it"],
    })
}

fn unable() -> Value {
    let none = json!({"frames": 0, "bytes": 0, "drops": {}});
    json!({"name": "lab", "switch": "main", "vlan": 20, "address": ["10.20.0.1/24"], "listen": "[::]:51821",
        "mtu": 1420, "state": "failed", "reason": "/k has mode 0644", "rx": none, "tx": none, "peers": []})
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
    let told = "added    x: 1\nwritten to /etc/weft/weft.toml\n";
    for (command, line, body) in [
        (
            "wireguard add road --vlan office --address 10.10.0.1/24",
            "POST /v1/wireguard",
            json!({"name": "road", "may-exist": false, "wireguard": {"vlan": "office",
                "address": ["10.10.0.1/24"], "private-key-file": "/etc/weft/road.key"}}),
        ),
        (
            "wireguard add lab --vlan 20 --address 10.20.0.1/24,fd00::1/64 --private-key-file /k --gateway fe80::1,10.20.0.2 \
             --listen [::]:51821 --mtu 1380 --switch lab --may-exist",
            "POST /v1/wireguard",
            json!({"name": "lab", "may-exist": true, "wireguard": {"vlan": 20,
                "address": ["10.20.0.1/24", "fd00::1/64"], "private-key-file": "/k",
                "gateway": ["fe80::1", "10.20.0.2"], "listen": "[::]:51821", "mtu": 1380, "switch": "lab"}}),
        ),
        (
            "wireguard set road --gateway 10.10.0.254 --unset mtu --unset listen",
            "PATCH /v1/wireguard/road",
            json!({"wireguard": {"gateway": "10.10.0.254", "mtu": null, "listen": null}}),
        ),
        ("wireguard remove road", "DELETE /v1/wireguard/road", Value::Null),
        (
            "wireguard peer add road bob --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo= \
             --allowed-ips 10.10.0.202,fd00::/64 --endpoint bob:1 --persistent-keepalive 25 --preshared-key-file /p --may-exist",
            "POST /v1/wireguard/road/peers",
            json!({"name": "bob", "may-exist": true, "peer": {"public-key": KEY,
                "allowed-ips": ["10.10.0.202", "fd00::/64"], "endpoint": "bob:1", "persistent-keepalive": 25,
                "preshared-key-file": "/p"}}),
        ),
        (
            "wireguard peer set road a/b --endpoint bob:1 --unset allowed-ips --unset persistent-keepalive",
            "PATCH /v1/wireguard/road/peers/a%2Fb",
            json!({"peer": {"endpoint": "bob:1", "allowed-ips": null, "persistent-keepalive": null}}),
        ),
        ("wireguard peer remove road bob", "DELETE /v1/wireguard/road/peers/bob", Value::Null),
    ] {
        check(command, line, &changed(), &body, told);
    }
    let noted = json!({"changes": [], "revision": "r", "notes": ["b has it"]}).to_string();
    check(
        "wireguard peer remove road bob --transient",
        "DELETE /v1/wireguard/road/peers/bob?transient=true",
        &noted,
        &Value::Null,
        "nothing changes\nnote: b has it\n",
    );
}

#[test]
fn what_makes_no_sense_is_not_asked_for() {
    let fake = Fake::start(vec![]);
    for (command, expected) in [
        ("wireguard add x --vlan 10", "--address"),
        ("wireguard add x --address 10.0.0.1/24", "--vlan"),
        ("wireguard set x", "nothing to change was named"),
        ("wireguard set x --unset vlan", "invalid value"),
        ("wireguard peer add x y", "--public-key"),
        ("wireguard peer add x y --public-key hSDwCYkwp1R0", "a key is 32 bytes"),
        ("wireguard peer add x y --new --public-key x", "--public-key"),
        ("wireguard peer add x y --public-key x --server h", "--new"),
        ("wireguard peer add x y --new --dns localhost", "--dns"),
        ("wireguard peer set x y", "nothing to change was named"),
        ("wireguard import x", "--vlan"),
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
fn adapters_are_listed_with_what_is_wrong() {
    check(
        "wireguard list",
        "GET /v1/wireguard",
        &json!([adapter(), unable()]).to_string(),
        &Value::Null,
        "\
NAME  STATE   VLAN  ADDRESS                  LISTEN      PEERS  ALIVE    RX  TX  DROPS
road  up        10  10.10.0.1/24 fd00::1/64  [::]:51820      2      1  120k   7      2
lab   failed    20  10.20.0.1/24             [::]:51821      0      0     0   0      0
wireguard road: 10.10.0.7/32 is an allowed IP of peer a and of peer b, which comes later: b has it
wireguard lab is failed: /k has mode 0644
",
    );
    check(
        "wireguard list",
        "GET /v1/wireguard",
        "[]",
        &Value::Null,
        "no WireGuard adapters; `weftctl wireguard add --help` shows how to make one\n",
    );
}

#[test]
fn an_adapter_is_shown_as_wg_shows_one() {
    check(
        "wireguard show road",
        "GET /v1/wireguard/road",
        &adapter().to_string(),
        &Value::Null,
        &format!(
            "\
interface: road
  public key: {KEY}
  listening on: [::]:51820
  vlan: 10 of switch main
  address: 10.10.0.1/24, fd00::1/64
  gateway: 10.10.0.254
  mac: 02:11:22:33:44:55
  mtu: 1420
  state: up
  rx: 120000 frames, 7200000 bytes, 2 dropped
  rx dropped: 2 source-not-allowed
  tx: 7 frames, 420 bytes, 0 dropped
  refused: 12 bad-mac
  problem: 10.10.0.7/32 is an allowed IP of peer a and of peer b, which comes later: b has it

peer: alice
  public key: {KEY}
  preshared key: (hidden)
  endpoint: 192.0.2.9:40000
  allowed ips: 10.10.0.201/32, fd00::201/128
  latest handshake: 1m 15s ago
  transfer: 1.50 KiB received, 148 B sent
  persistent keepalive: every 25s
  dropped: 2 source-not-allowed

peer: old
  public key: {SECRET}
  allowed ips: (none)
"
        ),
    );
    check(
        "--json wireguard show lab",
        "GET /v1/wireguard/lab",
        "{\"name\": \"lab\"}",
        &Value::Null,
        "{\n  \"name\": \"lab\"\n}\n",
    );
}

#[test]
fn the_key_of_an_adapter_that_failed_is_shown_where_it_is_known() {
    for (key, line) in [(json!(KEY), KEY), (Value::Null, "not known")] {
        let mut failed = unable();
        failed["public-key"] = key;
        let fake = Fake::start(vec![("GET /v1/wireguard/lab", 200, failed.to_string())]);
        let shown = fake.weftctl(&["wireguard", "show", "lab"]).stdout;
        assert!(shown.contains(&format!("  public key: {line}\n")), "{shown}");
        assert!(shown.contains("  state: failed: /k has mode 0644\n"), "{shown}");
    }
}

/// A daemon that knows an adapter, and grants one more peer.
fn knowing(adapter: &Value) -> Fake {
    let config = json!({"running": "", "file": "", "revision": "r1"});
    Fake::start(vec![
        ("GET /v1/config", 200, config.to_string()),
        ("GET /v1/wireguard/road", 200, adapter.to_string()),
        ("GET /v1/wireguard", 200, json!([adapter, unable()]).to_string()),
        ("POST /v1/wireguard/road/peers", 200, changed()),
    ])
}

/// Returns the request that adds the peer.
fn asked(fake: &Fake) -> Seen {
    fake.seen().into_iter().find(|seen| seen.line.starts_with("POST")).expect("a POST")
}

#[test]
fn a_new_client_has_its_key_in_its_file_alone() {
    let fake = knowing(&adapter());
    let ran = fake.weftctl(&[
        "wireguard",
        "peer",
        "add",
        "road",
        "bob",
        "--new",
        "--server",
        "vpn.example",
    ]);
    assert_eq!((ran.stderr.as_str(), ran.status), ("", 0));
    assert_eq!(
        ran.stdout,
        "added    x: 1\nwritten to /etc/weft/weft.toml\nthe client's configuration is in bob.conf\n"
    );
    let path = fake.directory.path().join("bob.conf");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let private = text.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    assert_eq!(
        text,
        format!(
            "[Interface]\nPrivateKey = {private}\nAddress = 10.10.0.202/32, fd00::202/128\n\n\
             [Peer]\nPublicKey = {KEY}\nAllowedIPs = 10.10.0.0/24, fd00::/64\nEndpoint = vpn.example:51820\n\
             PersistentKeepalive = 25\n"
        )
    );
    let request = asked(&fake);
    assert_eq!(request.if_match.as_deref(), Some("\"r1\""));
    let key: weft_vpn::PrivateKey = private.parse().unwrap();
    assert_eq!(
        request.body,
        json!({"name": "bob", "may-exist": false, "peer": {"public-key": key.public().to_string(),
            "allowed-ips": ["10.10.0.202/32", "fd00::202/128"]}})
    );

    // A second one does not take the first one's place, and asks for nothing.
    let again = fake.weftctl(&[
        "wireguard",
        "peer",
        "add",
        "road",
        "bob",
        "--new",
        "--server",
        "vpn.example",
    ]);
    assert_eq!(again.status, 1);
    assert!(again.stderr.contains("bob.conf is there already"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(fake.seen().iter().filter(|seen| seen.line.starts_with("POST")).count(), 1);
}

#[test]
fn a_new_client_is_what_was_asked_for() {
    let mut small = adapter();
    small["mtu"] = json!(1380);
    let fake = knowing(&small);
    let ran = fake.weftctl(&[
        "--json",
        "wireguard",
        "peer",
        "add",
        "road",
        "bob",
        "--new",
        "--server",
        "192.0.2.1:7",
        "--out",
        "x.conf",
        "--route",
        "0.0.0.0/0,::/0",
        "--dns",
        "10.10.0.254",
        "--allowed-ips",
        "10.10.0.77,192.168.7.0/24",
        "--preshared-key-file",
        "bob.psk",
        "--persistent-keepalive",
        "5",
    ]);
    assert_eq!((ran.stderr.as_str(), ran.status), ("", 0));
    let text = fs::read_to_string(fake.directory.path().join("x.conf")).unwrap();
    let secret = fs::read_to_string(fake.directory.path().join("bob.psk")).unwrap();
    let private = text.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    assert_eq!(
        text,
        format!(
            "[Interface]\nPrivateKey = {private}\nAddress = 10.10.0.77/32\nDNS = 10.10.0.254\nMTU = 1380\n\n\
             [Peer]\nPublicKey = {KEY}\nPresharedKey = {secret}AllowedIPs = 0.0.0.0/0, ::/0\n\
             Endpoint = 192.0.2.1:7\nPersistentKeepalive = 25\n"
        )
    );
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["file"], "x.conf");
    assert_eq!(told["address"], json!(["10.10.0.77/32"]));
    assert_eq!(told["revision"], "r2");
    for said in [ran.stdout, asked(&fake).body.to_string()] {
        assert!(!said.contains(private) && !said.contains(secret.trim()), "{said}");
    }
    assert_eq!(asked(&fake).body["peer"]["allowed-ips"], json!(["10.10.0.77", "192.168.7.0/24"]));
}

#[test]
fn a_client_that_the_daemon_refuses_leaves_no_files() {
    let config = json!({"running": "", "file": "", "revision": "r1"});
    let fake = Fake::start(vec![
        ("GET /v1/config", 200, config.to_string()),
        ("GET /v1/wireguard/road", 200, adapter().to_string()),
        ("GET /v1/wireguard", 200, json!([adapter()]).to_string()),
        (
            "POST /v1/wireguard/road/peers",
            409,
            refusal("exists", "wireguard road peer bob exists already", None),
        ),
    ]);
    let add = ["wireguard", "peer", "add", "road", "bob", "--new"];
    let ran =
        fake.weftctl(&[&add[..], &["--server", "h", "--preshared-key-file", "p.psk"]].concat());
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("exists already"), "{}", ran.stderr);
    let left: Vec<_> = fs::read_dir(fake.directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(left, ["weftd.sock"]);
    let ran = fake.weftctl(&add);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("--server"), "{}", ran.stderr);

    let mut full = adapter();
    full["address"] = json!(["10.10.0.1/32"]);
    let fake = knowing(&full);
    let ran = fake.weftctl(&[&add[..], &["--server", "h"]].concat());
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("no address is free in 10.10.0.1/32"), "{}", ran.stderr);
    let fake = knowing(&unable());
    let ran = fake.weftctl(&[&add[..], &["--server", "h"]].concat());
    assert!(ran.stderr.contains("has no key that clients could know it by"), "{}", ran.stderr);
}

#[test]
fn keys_outlive_an_answer_that_does_not_say_whether_they_are_in_use() {
    let internal = refusal("internal", "the change failed half way", None);
    for (status, answer, exit) in
        [(NOTHING, String::new(), 3), (200, "{".to_owned(), 1), (500, internal, 1)]
    {
        let config = json!({"running": "", "file": "", "revision": "r1"});
        let fake = Fake::start(vec![
            ("GET /v1/config", 200, config.to_string()),
            ("GET /v1/wireguard/road", 200, adapter().to_string()),
            ("GET /v1/wireguard", 200, json!([adapter()]).to_string()),
            ("POST /v1/wireguard/road/peers", status, answer.clone()),
            ("POST /v1/wireguard", status, answer),
        ]);
        let directory = fake.directory.path().canonicalize().unwrap();
        let add = "wireguard peer add road bob --new --server h --preshared-key-file p.psk";
        let import = "wireguard import wg0.conf --vlan 10 --key-dir .";
        fs::write(
            directory.join("wg0.conf"),
            format!("[Interface]\nAddress = 10.8.0.1/24\nPrivateKey = {SECRET}\n"),
        )
        .unwrap();
        let imported = directory.join("wg0.key").display().to_string();
        for (command, files) in [(add, ["p.psk", "bob.conf"].as_slice()), (import, &[&imported])] {
            let ran = fake.weftctl(&command.split(' ').collect::<Vec<_>>());
            assert_eq!(ran.status, exit, "{}", ran.stderr);
            let kept = format!("; its keys are kept in {}\n", files.join(", "));
            assert!(ran.stderr.contains(&kept), "{kept} in {}", ran.stderr);
            for file in files {
                assert!(fs::read(directory.join(file)).unwrap().len() > 40, "{file}");
            }
        }
    }
}

#[test]
fn keys_that_no_daemon_was_told_of_are_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("[Interface]\nAddress = 10.8.0.1/24\nPrivateKey = {SECRET}\n");
    fs::write(directory.path().join("wg0.conf"), text).unwrap();
    let mut command = weftctl();
    let command = command.current_dir(directory.path()).args(["--socket", "none.sock"]);
    let ran = run(command.args("wireguard import wg0.conf --vlan 10 --key-dir .".split(' ')));
    assert_eq!(ran.status, 3, "{}", ran.stderr);
    assert!(!fs::exists(directory.path().join("wg0.key")).unwrap());
}

#[test]
fn a_wg_quick_file_becomes_an_adapter() {
    let fake = Fake::start(vec![("POST /v1/wireguard", 200, changed())]);
    let text = format!(
        "[Interface]\nAddress = 10.8.0.1/24\nListenPort = 51820\nPrivateKey = {SECRET}\nPostUp = x\n\n\
         # alice\n[Peer]\nPublicKey = {KEY}\nPresharedKey = {SECRET}\nAllowedIPs = 10.8.0.2/32\n"
    );
    let directory = fake.directory.path();
    fs::write(directory.join("wg0.conf"), text).unwrap();
    let import = ["wireguard", "import", "wg0.conf", "--vlan", "10", "--key-dir", "."];
    let ran = fake.weftctl(&import);
    assert_eq!((ran.stderr.as_str(), ran.status), ("", 0));
    let path = |name: &str| directory.canonicalize().unwrap().join(name).display().to_string();
    let (key, psk) = (path("wg0.key"), path("wg0-alice.psk"));
    assert_eq!(
        ran.stdout,
        format!(
            "added    x: 1\nwritten to /etc/weft/weft.toml\na key is in {key}\na key is in {psk}\nnote: PostUp was left out\n"
        )
    );
    assert_eq!(
        asked(&fake).body,
        json!({"name": "wg0", "may-exist": false, "wireguard": {"vlan": 10, "address": ["10.8.0.1/24"],
            "private-key-file": key, "listen": "[::]:51820", "peer": {"alice": {"public-key": KEY,
            "preshared-key-file": psk, "allowed-ips": ["10.8.0.2/32"]}}}})
    );
    for file in [&key, &psk] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(file).unwrap().trim(), SECRET);
    }
    // Nothing is overwritten, and what was begun goes again.
    fs::remove_file(&key).unwrap();
    let ran = fake.weftctl(&import);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("wg0-alice.psk is there already"), "{}", ran.stderr);
    assert!(!fs::exists(&key).unwrap());
    fs::write(directory.join("wg0.conf"), format!("[Interface]\nPrivateKey = {}", &SECRET[1..]))
        .unwrap();
    let ran = fake.weftctl(&import);
    assert!(ran.stderr.contains("wg0.conf, line 2: PrivateKey:"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(&SECRET[1..9]), "{}", ran.stderr);
}
