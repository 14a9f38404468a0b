//! Keys: made, read and checked without a daemon, and never shown where nobody asked for them.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Stdio,
};

use serde_json::Value;
use weft_vpn::{PresharedKey, PrivateKey};

use crate::fake::{Ran, run, weftctl};

/// RFC 7748 §6.1.
const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const OTHER: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

fn key(directory: &Path, arguments: &[&str]) -> Ran {
    run(weftctl().current_dir(directory).arg("key").args(arguments))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn put(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_is_made_for_its_owner_alone_and_its_public_key_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let ran = key(at, &["generate", "--out", "vpn.key"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(mode(&at.join("vpn.key")), 0o600);
    let text = fs::read_to_string(at.join("vpn.key")).unwrap();
    let private = PrivateKey::from_base64(&text).unwrap();
    assert_eq!(text, format!("{}\n", *private.to_base64()));
    assert_eq!(ran.stdout, format!("{}\n", private.public()));
    assert_eq!(key(at, &["public", "vpn.key"]).stdout, ran.stdout);
}

#[test]
fn keys_differ_and_go_to_stdout_where_no_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let [one, other] = [(); 2].map(|()| key(at, &["generate"]));
    assert_eq!((one.status, one.stderr.as_str()), (0, ""));
    assert_ne!(
        PrivateKey::from_base64(&one.stdout).unwrap(),
        PrivateKey::from_base64(&other.stdout).unwrap()
    );
    let [one, other] = [(); 2].map(|()| key(at, &["psk"]));
    assert_ne!(
        PresharedKey::from_base64(&one.stdout).unwrap(),
        PresharedKey::from_base64(&other.stdout).unwrap()
    );
    let ran = key(at, &["psk", "--out", "berlin.psk"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "written to berlin.psk\n"));
    assert_eq!(mode(&at.join("berlin.psk")), 0o600);
    PresharedKey::from_base64(&fs::read_to_string(at.join("berlin.psk")).unwrap()).unwrap();

    let ran = key(at, &["generate", "--json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let private = PrivateKey::from_base64(told["private-key"].as_str().unwrap()).unwrap();
    assert_eq!(told["public-key"], private.public().to_string());
    let ran = key(at, &["generate", "--json", "--out", "b.key"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["file"], "b.key");
    assert_eq!(told.get("private-key"), None);
}

#[test]
fn a_key_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(&at.join("there"), "old\n", 0o600);
    symlink("nowhere", at.join("link")).unwrap();
    for (command, file) in
        [("generate", "there"), ("psk", "there"), ("generate", "link"), ("generate", ".")]
    {
        let ran = key(at, &[command, "--out", file]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{command} {file}");
        assert!(ran.stderr.contains("is there already"), "{command} {file}: {}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(at.join("there")).unwrap(), "old\n");
    assert!(!at.join("nowhere").exists());
    assert_eq!(key(at, &["generate", "--out", "no/such/place"]).status, 1);
    assert_eq!(key(at, &["generate", "--out", "there", "--json"]).status, 1);
}

#[test]
fn a_public_key_comes_from_a_file_or_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(&at.join("vpn.key"), &format!("{PRIVATE}\n"), 0o600);
    assert_eq!(key(at, &["public", "vpn.key"]).stdout, format!("{PUBLIC}\n"));
    for arguments in [&["key", "public"][..], &["key", "public", "-"]] {
        let mut child =
            weftctl().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(PRIVATE.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        assert_eq!(String::from_utf8(out.stdout).unwrap(), format!("{PUBLIC}\n"));
    }
    let told = key(at, &["public", "vpn.key", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["public-key"], PUBLIC);
}

#[test]
fn what_is_no_key_is_refused_and_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let cut = &PRIVATE[..43];
    let twice = format!("{PRIVATE}{PRIVATE}");
    let long = "A".repeat(100_000);
    for text in [cut, &twice, &long, "", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        put(&at.join("vpn.key"), text, 0o600);
        let ran = key(at, &["public", "vpn.key"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{text}");
        assert!(ran.stderr.contains("vpn.key"), "{}", ran.stderr);
        assert!(!ran.stderr.contains(&PRIVATE[..8]) && !ran.stderr.contains("AAAA"));
    }
    assert!(key(at, &["public", "none"]).stderr.contains("cannot read none"));
    assert_eq!(key(at, &["public", "."]).status, 1);
}

/// Checks a configuration with `[vpn]` whose key files are in `directory`, after `keys` of the host's own end.
fn check(directory: &Path, keys: &str, peer: &str, options: &[&str]) -> Ran {
    let at = directory.display();
    let text = format!(
        "[vpn]\nprivate-key-file = \"{at}/vpn.key\"\n{keys}[vpn.peer.berlin]\npublic-key = \"{OTHER}\"\n{peer}"
    );
    fs::write(directory.join("weft.toml"), text).unwrap();
    run(weftctl()
        .current_dir(directory)
        .env_remove("CREDENTIALS_DIRECTORY")
        .args(["check", "weft.toml"])
        .args(options))
}

#[test]
fn check_looks_at_the_key_files_as_weftd_does() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let file = at.join("vpn.key");
    let named = file.display();

    let ran = check(at, "", "", &[]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert_eq!(
        ran.stderr,
        format!(
            "error: weft.toml: vpn: `private-key-file`: {named}: No such file or directory (os error 2)\n  \
             help: `weftctl key generate --out {named}` makes one\n"
        )
    );

    put(&file, PRIVATE, 0o600);
    let ran = check(at, "", "", &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "weft.toml is a valid configuration\n");
    let ran = check(at, "", "", &["--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&ran.stdout).unwrap(),
        serde_json::json!({"file": "weft.toml", "valid": true})
    );

    for bits in [0o640, 0o604, 0o660] {
        put(&file, PRIVATE, bits);
        let ran = check(at, "", "", &[]);
        assert_eq!(ran.status, 1, "{bits:o}");
        let expected = format!("vpn: `private-key-file`: {named} has mode {bits:04o}");
        assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("chmod 600 {named}")), "{}", ran.stderr);
    }

    put(&file, &PRIVATE[..40], 0o600);
    let ran = check(at, "", "", &["--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.status, &error["error"]["code"]), (1, &"key-file".into()));
    assert!(!ran.stderr.contains(&PRIVATE[..8]), "{}", ran.stderr);

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(check(at, "", "", &[]).stderr.contains("is not a regular file"));
}

#[test]
fn check_names_every_key_file_that_is_wrong_and_an_own_key_as_a_peer_s() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(&at.join("vpn.key"), PRIVATE, 0o600);
    put(&at.join("old.key"), PRIVATE, 0o644);
    put(&at.join("psk"), "no key", 0o600);
    let previous = format!("previous-private-key-file = \"{}/old.key\"\n", at.display());
    let psk = format!("preshared-key-file = \"{}/psk\"\n", at.display());
    let own = format!("{psk}[vpn.peer.self]\npublic-key = \"{PUBLIC}\"\n");
    let ran = check(at, &previous, &own, &[]);
    assert_eq!(ran.status, 1);
    for expected in [
        "weft.toml: vpn: `previous-private-key-file`: ",
        "old.key has mode 0644",
        "weft.toml: peer berlin: `preshared-key-file`: ",
        "psk has no key in it",
        "weft.toml: peer self: `public-key` is this host's own key",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
    // An earlier own key counts too.
    fs::remove_file(at.join("psk")).unwrap();
    put(&at.join("old.key"), PRIVATE, 0o600);
    put(&at.join("vpn.key"), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", 0o600);
    let own = format!("[vpn.peer.self]\npublic-key = \"{PUBLIC}\"\n");
    let ran = check(at, &previous, &own, &[]);
    assert!(ran.stderr.contains("peer self: `public-key` is this host's own"), "{}", ran.stderr);
}

#[test]
fn credentials_of_systemd_are_judged_by_its_rules() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    put(&at.join("vpn.key"), PRIVATE, 0o440);
    assert_eq!(check(at, "", "", &[]).status, 1);
    let ran = run(weftctl()
        .current_dir(at)
        .env("CREDENTIALS_DIRECTORY", at)
        .args(["check", "weft.toml"]));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let text = "[vpn]\nprivate-key-file = \"/run/credentials/none.service/vpn.key\"\n";
    fs::write(at.join("weft.toml"), text).unwrap();
    let ran = run(weftctl().current_dir(at).args(["check", "weft.toml"]));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with("note: vpn: `private-key-file`: /run/credentials/none.service"));
}
