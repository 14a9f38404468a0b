//! `wg` of wireguard-tools drives an adapter by the socket where it looks for one, and the configuration file has it all.
//!
//! ```text
//!   wg ── /var/run/wireguard/road.sock ── weftd: [wireguard.road] in VLAN 10 ── weft.toml
//! ```

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Output};

use serde_json::{Value, json};
use weft_netns::{Daemon, Lab};

const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
const SECRET: &str = "YGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";

/// Writes a key file as `weftctl key` would.
fn key_file(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.path(name);
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn start(lab: &Lab) -> Daemon {
    let key = key_file(lab, "road.key");
    let text = format!(
        "# the road\n[wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\"]\nlisten = \"0.0.0.0:51820\"\n\
         private-key-file = {key:?}\n\n[wireguard.road.peer.alice] # hers\npublic-key = \"{ALICE}\"\n\
         allowed-ips = [\"10.10.0.201/32\"]\n"
    );
    Daemon::start(lab, "weftd", &text)
}

/// Runs `wg`, which must succeed, and returns what it says.
#[track_caller]
fn wg(daemon: &Daemon, line: &str) -> String {
    let Output { status, stdout, stderr } = daemon.wg(line);
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "wg {line}: {said}{}", String::from_utf8_lossy(&stderr));
    said
}

/// Returns what weftctl knows of the adapter's peers: name, allowed IPs, endpoint, keepalive, whether there is a secret.
fn peers(daemon: &Daemon) -> Value {
    let adapter = daemon.ctl().json("wireguard show road");
    let peers = adapter["peers"].as_array().expect("an adapter has peers").iter();
    peers
        .map(|peer| {
            json!([
                peer["name"],
                peer["allowed-ips"],
                peer["endpoint"],
                peer["persistent-keepalive"],
                peer["preshared-key"]
            ])
        })
        .collect()
}

#[test]
fn wg_shows_what_weftctl_shows() {
    let lab = Lab::new();
    let daemon = start(&lab);
    assert_eq!(wg(&daemon, "show interfaces").trim(), "road");
    let told = daemon.ctl().json("wireguard show road");
    assert_eq!(wg(&daemon, "show road public-key").trim(), told["public-key"]);
    assert_eq!(wg(&daemon, "show road listen-port").trim(), "51820");
    assert_eq!(wg(&daemon, "show road allowed-ips").trim(), format!("{ALICE}\t10.10.0.201/32"));
    let all = wg(&daemon, "show");
    for line in ["interface: road", "private key: (hidden)", &format!("peer: {ALICE}")] {
        assert!(all.contains(line), "{line}: {all}");
    }
    let directory = daemon.config_path().with_file_name("run").join("wireguard");
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("road.sock"))), (0o700, 0o600));
}

#[test]
fn what_wg_sets_is_in_force_and_in_the_file() {
    let lab = Lab::new();
    let mut daemon = start(&lab);
    let secret = key_file(&lab, "bob.psk");
    let from = daemon.log_len();
    wg(
        &daemon,
        &format!(
            "set road peer {BOB} allowed-ips 10.10.0.202/32,192.168.7.0/24 endpoint 192.0.2.7:7 \
             persistent-keepalive 25 preshared-key {}",
            secret.display()
        ),
    );
    daemon.wait_for_log(from, "wg set");
    let both = json!([
        ["alice", ["10.10.0.201/32"], null, null, false],
        ["wg-de9edb7d", ["10.10.0.202/32", "192.168.7.0/24"], "192.0.2.7:7", 25, true],
    ]);
    assert_eq!(peers(&daemon), both);
    let text = daemon.config();
    assert!(text.contains("# the road\n") && text.contains("alice] # hers\n"), "{text}");
    assert!(!text.contains(SECRET) && !daemon.log().contains(SECRET), "a secret is told");

    // It outlives the daemon.
    daemon.terminate();
    daemon.restart();
    assert_eq!(peers(&daemon), both);
    assert_eq!(wg(&daemon, "show road preshared-keys").lines().count(), 2);
    assert!(wg(&daemon, "show road preshared-keys").contains(SECRET));

    // A network goes to whom it is given, and says so.
    wg(&daemon, &format!("set road peer {ALICE} allowed-ips 10.10.0.202/32"));
    wg(&daemon, &format!("set road peer {BOB} persistent-keepalive off preshared-key /dev/null"));
    assert_eq!(
        peers(&daemon),
        json!([
            ["alice", ["10.10.0.202/32"], null, null, false],
            ["wg-de9edb7d", ["192.168.7.0/24"], "192.0.2.7:7", null, false],
        ])
    );
    wg(&daemon, &format!("set road listen-port 51821 peer {BOB} remove"));
    assert_eq!(peers(&daemon), json!([["alice", ["10.10.0.202/32"], null, null, false]]));
    assert!(daemon.config().contains("listen = \"0.0.0.0:51821\""), "{}", daemon.config());
}

#[test]
fn a_device_is_synchronised_with_a_file() {
    let lab = Lab::new();
    let daemon = start(&lab);
    let before = daemon.config();
    // What it writes out it reads in again, and that changes nothing.
    let file = lab.path("road.conf");
    fs::write(&file, wg(&daemon, "showconf road")).unwrap();
    wg(&daemon, &format!("syncconf road {}", file.display()));
    wg(&daemon, &format!("setconf road {}", file.display()));
    assert_eq!(daemon.config(), before);

    let text = format!(
        "[Interface]\nPrivateKey = {SECRET}\nListenPort = 51820\n[Peer]\nPublicKey = {BOB}\nAllowedIPs = 10.10.0.9/32\n"
    );
    fs::write(&file, text).unwrap();
    wg(&daemon, &format!("syncconf road {}", file.display()));
    assert_eq!(peers(&daemon), json!([["wg-de9edb7d", ["10.10.0.9/32"], null, null, false]]));
    fs::write(&file, format!("[Peer]\nPublicKey = {ALICE}\n")).unwrap();
    wg(&daemon, &format!("addconf road {}", file.display()));
    assert_eq!(
        peers(&daemon),
        json!([
            ["wg-8520f009", [], null, null, false],
            ["wg-de9edb7d", ["10.10.0.9/32"], null, null, false],
        ])
    );
}

#[test]
fn what_cannot_be_set_is_refused_and_changes_nothing() {
    let lab = Lab::new();
    let daemon = start(&lab);
    let before = daemon.config();
    for (line, why) in [
        ("set road fwmark 7".to_owned(), "Operation not supported"),
        (format!("set road peer {BOB} allowed-ips 10.10.0.1/32"), "Invalid argument"),
        // A private key that is taken away.
        ("set road private-key /dev/null".to_owned(), "Operation not supported"),
    ] {
        let Output { status, stderr, .. } = daemon.wg(&line);
        let said = String::from_utf8_lossy(&stderr);
        assert!(!status.success() && said.contains(why), "{line}: {said}");
        assert_eq!(daemon.config(), before, "{line}");
    }
    // What weftctl changes, wg sees; an adapter that is gone is gone from both.
    daemon.ctl().run("wireguard peer remove road alice");
    assert_eq!(wg(&daemon, "show road peers"), "");
    daemon.ctl().run("wireguard remove road");
    assert_eq!(wg(&daemon, "show interfaces").trim(), "");
}

#[test]
fn strangers_are_not_heard() {
    let lab = Lab::new();
    let daemon = start(&lab);
    // Whatever becomes of the modes.
    let run = daemon.config_path().with_file_name("run");
    for (path, mode) in [("", 0o755), ("wireguard", 0o755), ("wireguard/road.sock", 0o666)] {
        fs::set_permissions(run.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let from = daemon.log_len();
    let show = "show road private-key";
    let Output { status, stdout, .. } =
        daemon.wg_as(&["setpriv", "--reuid=65534", "--clear-groups"], show);
    assert_eq!((status.success(), stdout), (false, Vec::new()));
    daemon.wait_for_log(from, "wg refused: not allowed");
    assert_eq!(wg(&daemon, show).trim(), SECRET);
}
