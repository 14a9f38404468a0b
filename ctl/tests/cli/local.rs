//! Commands that need no daemon: check, completions, man, help.

use std::{fs, process::Command};

use crate::fake::{Fake, Ran, refusal, run, weftctl};
use serde_json::Value;

const WRONG: &str = "[port.web1]\ntype = \"netdev\"\ndevice = \"tap0\"\nvlan = { acces = 10 }\n\n[vlan.office]\nid = 5000\n";

fn check(text: &[u8], options: &[&str]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("weft.toml"), text).unwrap();
    run(weftctl().current_dir(directory.path()).args(["check", "weft.toml"]).args(options))
}

#[test]
fn a_valid_file_is_called_valid() {
    let ran = check(b"[vlan.office]\nid = 10\n", &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "weft.toml is a valid configuration\n");
    let ran = check(b"", &["--json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["valid"], true);
}

#[test]
fn mistakes_are_shown_with_their_lines_and_what_to_write_instead() {
    let ran = check(WRONG.as_bytes(), &[]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    for expected in [
        "weft.toml:4:",
        "vlan = { acces = 10 }",
        "did you mean `access`?",
        "id = 5000",
        "mistakes\n",
    ] {
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains('\x1b'), "no colours outside a terminal");
    let ran = check(WRONG.as_bytes(), &["--color", "always"]);
    assert!(ran.stderr.contains("\x1b["), "{}", ran.stderr);

    let ran = check(WRONG.as_bytes(), &["--json"]);
    let document: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(document["error"]["code"], "invalid-config");
    let message = document["error"]["message"].as_str().unwrap();
    assert!(message.contains("weft.toml:4:") && message.contains("weft.toml:7:"), "{message}");
}

#[test]
fn a_hostile_file_cannot_write_on_the_terminal() {
    let ran =
        check(b"# \x1b]0;owned\x07\n[vlan.office]\nid = \"\x1b[2J\"\n", &["--color", "always"]);
    assert_eq!(ran.status, 1);
    assert!(!ran.stderr.contains("\x1b]") && !ran.stderr.contains("\x1b[2J"), "{:?}", ran.stderr);
}

#[test]
fn what_is_no_text_or_cannot_be_read_is_refused() {
    let ran = check(b"[vlan.office]\nid = \"\xff\"\n", &[]);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("line 2") && ran.stderr.contains("UTF-8"), "{}", ran.stderr);
    for (file, expected) in
        [("/nonexistent.toml", "cannot read"), ("/", "cannot read"), ("/dev/zero", "longer than")]
    {
        let ran = run(weftctl().args(["check", file]));
        assert_eq!(ran.status, 1, "{file}");
        assert!(ran.stderr.contains(expected), "{file}: {}", ran.stderr);
    }
}

#[test]
fn a_refused_configuration_is_shown_with_its_lines() {
    let fake = Fake::start(vec![(
        "PUT /v1/config",
        422,
        refusal("invalid-config", "it has mistakes", None),
    )]);
    fs::write(fake.directory.path().join("new.toml"), WRONG).unwrap();
    let ran = fake.weftctl(&["apply", "new.toml"]);
    assert_eq!(ran.status, 1);
    assert!(ran.stderr.contains("did you mean `access`?"), "{}", ran.stderr);
    // What only the daemon finds wrong is told in its words.
    fs::write(fake.directory.path().join("new.toml"), "").unwrap();
    assert_eq!(fake.weftctl(&["apply", "new.toml"]).stderr, "error: it has mistakes\n");
}

#[test]
fn completions_come_out_and_parse() {
    for (shell, expected) in
        [("bash", "_weftctl()"), ("zsh", "#compdef weftctl"), ("fish", "complete -c weftctl")]
    {
        let ran = run(weftctl().args(["completions", shell]));
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{shell}");
        assert!(ran.stdout.contains(expected) && ran.stdout.contains("dot1q-tunnel"), "{shell}");
    }
    let script = run(weftctl().args(["completions", "bash"])).stdout;
    // A file, as a shell reads it: an argument has its limit.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, script).unwrap();
    let ran = run(Command::new("bash").arg("-n").arg(file.path()));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("share/man1");
    let ran = run(weftctl().arg("man").arg(&place));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    for page in ["weftctl.1", "weftctl-port-add.1", "weftctl-trace.1"] {
        let text = fs::read_to_string(place.join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains("Examples"), "{page}");
    }
    fs::write(directory.path().join("file"), "").unwrap();
    assert_eq!(run(weftctl().arg("man").arg(directory.path().join("file"))).status, 1);
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [
        ["--help"].as_slice(),
        &["-h"],
        &["port", "add", "--help"],
        &["help", "trace"],
        &["--version"],
    ] {
        let ran = run(weftctl().args(arguments));
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.stdout.contains("weftctl"), "{arguments:?}");
    }
}

#[test]
fn no_color_is_respected_unless_told_otherwise() {
    let fake = Fake::start(vec![("GET /v1/ports", 200, "[]".to_owned())]);
    let ran = run(fake.command().env("NO_COLOR", "1").args(["port", "lst"]));
    assert!(!ran.stderr.contains('\x1b'));
    let ran = run(fake.command().args(["port", "lst", "--color=always"]));
    assert!(ran.stderr.contains('\x1b'), "{:?}", ran.stderr);
}
