//! `weftctl` as a user runs it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{binaries::binary, eventually, until_some};

/// A `weftctl` that talks to one daemon.
#[derive(Clone, Debug)]
pub struct Ctl {
    socket: PathBuf,
}

/// What a run of `weftctl` said, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
}

impl Ctl {
    /// Makes one for the daemon at this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Returns the command for these arguments, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("weftctl"));
        command
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .env_remove("WEFT_SOCKET");
        command
    }

    /// Runs it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn output(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("weftctl can be started");
        Output {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }

    /// Runs a command line, split at blanks, that must succeed, and returns what it printed.
    ///
    /// # Panics
    /// When it does not exit with 0.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        let output = self.line(line);
        assert_eq!(output.code, Some(0), "weftctl {line}\n{}{}", output.stdout, output.stderr);
        output.stdout
    }

    /// Runs a command line, split at blanks, that must fail with this exit code, and returns its errors.
    ///
    /// # Panics
    /// When it ends otherwise.
    #[track_caller]
    pub fn refused(&self, code: i32, line: &str) -> String {
        let output = self.line(line);
        assert_eq!(output.code, Some(code), "weftctl {line}\n{}{}", output.stdout, output.stderr);
        output.stderr
    }

    /// Runs a command line, split at blanks.
    #[track_caller]
    pub fn line(&self, line: &str) -> Output {
        self.output(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command line with `--json` that must succeed, and returns the document.
    ///
    /// # Panics
    /// When it fails or prints anything but one document.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let text = self.run(&format!("--json {line}"));
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("weftctl --json {line}: {error}:\n{text}"))
    }

    /// Returns one port as `port list --json` shows it.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn port(&self, name: &str) -> Value {
        let ports = self.json("port list");
        let port = ports.as_array().into_iter().flatten().find(|port| port["name"] == name);
        port.unwrap_or_else(|| panic!("no port {name} in {ports}")).clone()
    }

    /// Waits until a port is in this state and returns it.
    ///
    /// # Panics
    /// When it never is.
    #[track_caller]
    pub fn wait_for_state(&self, name: &str, state: &str) -> Value {
        let mut last = Value::Null;
        let port = eventually(|| {
            last = self.port(name);
            (last["state"] == state).then(|| last.clone())
        });
        port.unwrap_or_else(|| panic!("port {name} is not {state} but {last}"))
    }

    /// Returns how often a port dropped for a reason; `direction` is `rx` or `tx`.
    #[track_caller]
    pub fn drops(&self, port: &str, direction: &str, reason: &str) -> u64 {
        self.port(port)[direction]["drops"][reason].as_u64().unwrap_or(0)
    }

    /// Waits until a port has dropped this often for a reason.
    ///
    /// # Panics
    /// When it never has.
    #[track_caller]
    pub fn wait_for_drops(&self, port: &str, direction: &str, reason: &str, at_least: u64) {
        until_some(&format!("{at_least} drops {direction} {reason} at {port}"), || {
            (self.drops(port, direction, reason) >= at_least).then_some(())
        });
    }

    /// Returns where an address is known: the port, with the entry's kind.
    #[track_caller]
    pub fn fdb(&self, vlan: u16, mac: &str) -> Option<(String, String)> {
        let entries = self.json(&format!("fdb list --vlan {vlan}"));
        let entry = entries.as_array()?.iter().find(|entry| entry["mac"] == mac)?;
        Some((entry["port"].as_str()?.to_owned(), entry["kind"].as_str()?.to_owned()))
    }
}
