//! WireGuard in userspace: whatever program, its keys and peers come by `wg` over its socket.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    clock::wait_until,
    gateways::{DEVICE, End},
    lab::{Lab, Process, run},
    site::{PATIENCE, Tools},
};

/// Where all of them listen.
pub(crate) const PORT: u16 = 51820;

/// A program that is WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// wireguard-go.
    WireguardGo,
    /// boringtun.
    Boringtun,
    /// GotaTun.
    Gotatun,
}

impl fmt::Display for Program {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// A key pair, the private part in a file.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) file: PathBuf,
    pub(crate) public: String,
}

/// Whom a gateway may talk to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Other<'a> {
    pub(crate) public_key: &'a str,
    pub(crate) allowed: &'a str,
    /// Where it is to be found; one that is not said is waited for.
    pub(crate) endpoint: Option<&'a str>,
}

impl Program {
    /// Returns what it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli",
            Self::Gotatun => "gotatun",
        }
    }

    /// Returns the crate that has it, where no package has.
    pub const fn crate_name(self) -> Option<&'static str> {
        match self {
            Self::WireguardGo => None,
            Self::Boringtun => Some("boringtun-cli"),
            Self::Gotatun => Some("gotatun-cli"),
        }
    }

    /// Returns it as a path, or a name for the search path.
    pub(crate) fn path(self, tools: &Tools) -> PathBuf {
        match self.crate_name() {
            Some(_) => tools.rivals.join(self.name()),
            None => self.name().into(),
        }
    }

    /// How it stays in the foreground, with the rights that it was started with; more threads than one slow
    /// boringtun down.
    const fn args(self) -> &'static [&'static str] {
        match self {
            Self::WireguardGo => &["-f"],
            Self::Boringtun => &["-f", "--disable-drop-privileges", "-t", "1"],
            Self::Gotatun => &["-f", "--disable-drop-privileges"],
        }
    }

    /// Starts it on a gateway and waits until `wg` reaches it.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(self, lab: &Lab, tools: &Tools, end: &End) -> Result<Process> {
        // Its socket lies under /run, by the device's name; each daemon gets a /run of its own.
        let mut command = end.namespace.command("sh");
        command.args(["-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]);
        command.arg(self.path(tools)).args(self.args()).arg(DEVICE);
        command.env("WG_PROCESS_FOREGROUND", "1");
        let process = lab.spawn(&command, &format!("{}.log", end.name))?;
        wait_until("the socket for `wg`", PATIENCE, || {
            lab.ensure_running(&process)?;
            Ok(wg(&process, &["show", DEVICE]).is_ok())
        })?;
        Ok(process)
    }
}

impl Key {
    /// Makes one by `wg`.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn generate(lab: &Lab, name: &str) -> Result<Self> {
        let file = lab.dir().join(format!("{name}.key"));
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077 && wg genkey > \"$1\" && wg pubkey < \"$1\"", "sh"]);
        let public = run(command.arg(&file))?.trim().to_owned();
        Ok(Self { file, public })
    }
}

/// Tells a daemon its key and its peer.
///
/// # Errors
/// When `wg` fails.
pub(crate) fn introduce(daemon: &Process, own: &Path, other: Other<'_>) -> Result<()> {
    let (port, own) = (PORT.to_string(), own.display().to_string());
    let ours = ["set", DEVICE, "listen-port", &port, "private-key", &own];
    let theirs = ["peer", other.public_key, "allowed-ips", other.allowed];
    let mut args = [&ours[..], &theirs].concat();
    if let Some(endpoint) = other.endpoint {
        args.extend(["endpoint", endpoint]);
    }
    wg(daemon, &args).map(drop)
}

/// Runs `wg` where the daemon has its network and its socket.
fn wg(daemon: &Process, args: &[&str]) -> Result<String> {
    let mut command = Command::new("nsenter");
    command.args(["--target", &daemon.pid.to_string(), "--mount", "--net", "wg"]).args(args);
    run(&mut command)
}
