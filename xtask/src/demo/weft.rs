//! A host of the demo: a namespace, a daemon in it with a directory of its own, and `weftctl` to talk to it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use weft_bench::{
    clock::wait_until,
    lab::{Lab, Namespace, run},
};

use crate::{layout, say};

const PATIENCE: Duration = Duration::from_secs(20);

/// A host with its weft.
#[derive(Debug)]
pub(crate) struct Weft {
    pub(crate) host: &'static str,
    pub(crate) namespace: Namespace,
    dir: PathBuf,
    weftctl: PathBuf,
}

impl Weft {
    /// Makes a host's namespace and directory. No daemon runs yet.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub(crate) fn new(lab: &Lab, host: &'static str, namespace: &str) -> Result<Self> {
        let dir = lab.dir().join(host);
        fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        let weftctl = programs().join("weftctl");
        Ok(Self { host, namespace: lab.namespace(namespace)?, dir, weftctl })
    }

    /// Returns the path of a file of this host.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the path of the configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.file("weft.toml")
    }

    /// Starts `weftd` with this configuration and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it refuses its configuration or does not become ready.
    pub(crate) fn start(&self, lab: &Lab, config: &str) -> Result<()> {
        fs::write(self.config(), config)?;
        let mut daemon = self.namespace.command(programs().join("weftd"));
        daemon.arg("--config").arg(self.config()).arg("--socket").arg(self.socket());
        daemon.arg("--state-dir").arg(self.file("state"));
        let process = lab.spawn(&daemon, &format!("{}/weftd.log", self.host))?;
        wait_until("weftd ready", PATIENCE, || {
            let output = process.output()?;
            if let Some(status) = lab.exited(&process)? {
                bail!("weftd ended with {status}: {}", output.trim_end());
            }
            Ok(output.lines().any(|line| line == "weftd: ready"))
        })
    }

    /// Runs `weftctl` as a user of this host would, in its directory, shows command and answer, and returns the answer.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn show(&self, args: &[&str]) -> Result<String> {
        say::note(&format!("{}$ weftctl {}", self.host, args.join(" ")));
        let output = run(&mut self.ctl(&["--color", "never"], args))?;
        say::quote(&output);
        Ok(output)
    }

    /// Runs `weftctl --json` and returns its answer.
    ///
    /// # Errors
    /// When it fails or says something else.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Value> {
        let output = run(&mut self.ctl(&["--json"], args))?;
        serde_json::from_str(&output).with_context(|| format!("weftctl {} --json", args.join(" ")))
    }

    /// Waits until all these ports are up.
    ///
    /// # Errors
    /// When one does not come up, with its state and reason.
    pub(crate) fn wait_for_ports(&self, names: &[&str]) -> Result<()> {
        let mut last = Value::Null;
        let up = wait_until("ports up", PATIENCE, || {
            last = self.ask(&["port", "list"])?;
            Ok(names
                .iter()
                .all(|name| named(&last, name).is_some_and(|port| port["state"] == "up")))
        });
        up.with_context(|| format!("ports are {last}"))
    }

    /// Waits until there is a session with a peer.
    ///
    /// # Errors
    /// When there is none, with the peer's state and reason.
    pub(crate) fn wait_for_peer(&self, name: &str) -> Result<()> {
        let mut last = Value::Null;
        let up = wait_until("peer up", PATIENCE, || {
            last = self.ask(&["peer", "list"])?;
            Ok(named(&last, name).is_some_and(|peer| peer["state"] == "up"))
        });
        up.with_context(|| format!("peers of {} are {last}", self.host))
    }

    /// Returns how often a port dropped what came in, for one reason.
    ///
    /// # Errors
    /// When the daemon does not answer or has no such port.
    pub(crate) fn rx_drops(&self, name: &str, reason: &str) -> Result<u64> {
        let ports = self.ask(&["port", "list"])?;
        let port = named(&ports, name).with_context(|| format!("weftd lists no port {name}"))?;
        ensure!(port["rx"]["drops"].is_object(), "port {name} has no rx.drops: {port}");
        Ok(port["rx"]["drops"][reason].as_u64().unwrap_or(0))
    }

    fn ctl(&self, globals: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(&self.weftctl);
        command.current_dir(&self.dir).arg("--socket").arg(self.socket()).args(globals).args(args);
        command
    }

    fn socket(&self) -> PathBuf {
        self.file("weftd.sock")
    }

    /// Returns the command line that a person types.
    pub(crate) fn command_line(&self) -> String {
        format!("{} --socket {}", shorter(&self.weftctl), self.socket().display())
    }
}

fn programs() -> PathBuf {
    layout::target().join("release")
}

fn named<'v>(list: &'v Value, name: &str) -> Option<&'v Value> {
    list.as_array()?.iter().find(|entry| entry["name"] == name)
}

/// The path as seen from where the person is, when that is shorter.
pub(crate) fn shorter(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
