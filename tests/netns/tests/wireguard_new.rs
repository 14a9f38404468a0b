//! A client that `weftctl` makes: its key is in its own file and in the QR code on a terminal, and nowhere else.
//!
//! ```text
//!   weftctl wireguard peer add --new ── weftd: [wireguard.road], its log, its files
//!                  └── alice.conf, and the QR code of it
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use weft_netns::{ClientKey, Daemon, Lab, on_terminal, watch::contains};

/// Everything is logged that ever is.
const WRAPPER: [&str; 2] = ["env", "WEFT_LOG=trace,boringtun=off"];
const ADD: &str = "wireguard peer add road --new --server 192.0.2.1";

fn start(lab: &Lab) -> Daemon {
    let key = ClientKey::in_lab(lab, "road.key");
    let text = format!(
        "[wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\", \"fd10::1/64\"]\n\
         listen = \"127.0.0.1:51820\"\nprivate-key-file = \"{}\"\n",
        key.file().display()
    );
    Daemon::start_by(lab, "weftd", &text, &WRAPPER)
}

/// Makes the arguments that make a client of this name, whose secret and configuration are in files of its own.
fn arguments(lab: &Lab, name: &str) -> (Vec<String>, PathBuf, PathBuf) {
    let [conf, psk] = ["conf", "psk"].map(|end| lab.path(&format!("{name}.{end}")));
    let own = ["--out", conf.to_str().unwrap(), "--preshared-key-file", psk.to_str().unwrap()];
    let words = ADD.split(' ').map(str::to_owned);
    let mut arguments: Vec<_> = words.chain(own.map(str::to_owned)).collect();
    arguments.insert(4, name.to_owned());
    (arguments, conf, psk)
}

/// Returns the values of a key's lines in a configuration.
fn value<'t>(text: &'t str, key: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    line.unwrap_or_else(|| panic!("{key} is missing"))
}

fn is_drawn(line: &str) -> bool {
    !line.is_empty() && line.chars().all(|c| matches!(c, '█' | '▀' | '▄' | ' '))
}

/// Reads the QR code in a terminal's lines, as a phone does: what is drawn is light, two rows a line.
fn read_code(text: &str) -> String {
    const SIZE: usize = 4;
    let lines: Vec<Vec<char>> =
        text.lines().filter(|line| is_drawn(line)).map(|line| line.chars().collect()).collect();
    let (width, height) = (lines.iter().map(Vec::len).max().unwrap_or(0), 2 * lines.len());
    let is_dark = |x: usize, y: usize| {
        let (x, y) = (x / SIZE, y / SIZE);
        let halves = if y.is_multiple_of(2) { ['█', '▀'] } else { ['█', '▄'] };
        !lines[y / 2].get(x).is_some_and(|c| halves.contains(c))
    };
    let mut image = rqrr::PreparedImage::prepare_from_bitmap(SIZE * width, SIZE * height, is_dark);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one QR code in\n{text}");
    grids[0].decode().expect("the QR code can be read").1
}

/// Asserts that nothing under a directory has these words but the files that may.
fn assert_nowhere_else(directory: &Path, words: &str, may: &[&Path]) {
    for entry in fs::read_dir(directory).expect("the lab is our own") {
        let path = entry.expect("the lab is our own").path();
        if path.is_dir() {
            assert_nowhere_else(&path, words, may);
        } else if path.is_file() && !may.contains(&&*path) {
            let bytes = fs::read(&path).expect("the lab is our own");
            assert!(!contains(&bytes, words.as_bytes()), "a secret is in {}", path.display());
        }
    }
}

#[test]
fn a_clients_key_is_in_its_file_and_on_the_screen_alone() {
    let lab = Lab::new();
    let daemon = start(&lab);
    let ctl = daemon.ctl();
    let mut said = Vec::new();
    let mut made = Vec::new();
    for (name, option, on_screen) in
        [("alice", None, true), ("bob", None, false), ("carol", Some("--json"), true)]
    {
        let (arguments, conf, psk) = arguments(&lab, name);
        let arguments: Vec<_> =
            option.into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let text = if on_screen {
            let shown = on_terminal(ctl.command(&arguments));
            assert!(shown.status.success(), "{}", shown.text);
            shown.text
        } else {
            let output = ctl.output(&arguments);
            assert_eq!(output.code, Some(0), "{}", output.stderr);
            output.stdout + &output.stderr
        };
        let written = fs::read_to_string(&conf).expect("the client has a configuration");
        if name == "alice" {
            assert_eq!(read_code(&text).trim_end(), written.trim_end());
        } else {
            assert!(!text.contains(['█', '▀', '▄']), "{text}");
        }
        said.push(text);
        made.push((written, conf, psk));
    }
    let _: serde_json::Value = serde_json::from_str(&said[2]).expect("JSON and nothing else");
    said.extend([
        daemon.log(),
        daemon.config(),
        ctl.run("wireguard show road"),
        ctl.run("--json wireguard show road"),
        String::from_utf8_lossy(&daemon.wg("show road dump").stdout).into_owned(),
    ]);
    assert!(said[3].contains("wireguard"), "the log says what happens");
    for (written, conf, psk) in &made {
        let (private, secret) = (value(written, "PrivateKey"), value(written, "PresharedKey"));
        for text in &said[..7] {
            assert!(!text.contains(private) && !text.contains(secret), "a secret in\n{text}");
        }
        // `wg` is told what it asks for: the secret that both ends have.
        assert!(!said[7].contains(private));
        assert_nowhere_else(lab.directory(), private, &[conf]);
        assert_nowhere_else(lab.directory(), secret, &[conf, psk]);
    }
}
