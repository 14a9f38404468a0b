//! The switch of the demo: a daemon with a configuration file, and `weftctl` to talk to it.

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

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Weft {
    pub(crate) config: PathBuf,
    pub(crate) socket: PathBuf,
    weftctl: PathBuf,
}

impl Weft {
    /// Starts `weftd` in a namespace and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it refuses its configuration or does not become ready.
    pub(crate) fn start(lab: &Lab, namespace: &Namespace, config: &str) -> Result<Self> {
        let programs = layout::target().join("release");
        let file = |name: &str| lab.dir().join(name);
        let (path, socket) = (file("weft.toml"), file("weftd.sock"));
        fs::write(&path, config)?;
        let mut daemon = namespace.command(programs.join("weftd"));
        daemon.arg("--config").arg(&path).arg("--socket").arg(&socket);
        daemon.arg("--state-dir").arg(file("state"));
        let process = lab.spawn(&daemon, "weftd.log")?;
        wait_until("weftd ready", PATIENCE, || {
            let output = process.output()?;
            if let Some(status) = lab.exited(&process)? {
                bail!("weftd ended with {status}: {}", output.trim_end());
            }
            Ok(output.lines().any(|line| line == "weftd: ready"))
        })?;
        Ok(Self { config: path, socket, weftctl: programs.join("weftctl") })
    }

    /// Runs `weftctl` as a user would, and shows command and answer.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn show(&self, args: &[&str]) -> Result<()> {
        say::note(&format!("$ weftctl {}", args.join(" ")));
        let output = run(&mut self.ctl(&["--color", "never"], args))?;
        say::quote(&output);
        Ok(())
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
            Ok(names.iter().all(|name| port(&last, name).is_some_and(|port| port["state"] == "up")))
        });
        up.with_context(|| format!("ports are {last}"))
    }

    /// Returns how often a port dropped what came in, for one reason.
    ///
    /// # Errors
    /// When the daemon does not answer or has no such port.
    pub(crate) fn rx_drops(&self, name: &str, reason: &str) -> Result<u64> {
        let ports = self.ask(&["port", "list"])?;
        let port = port(&ports, name).with_context(|| format!("weftd lists no port {name}"))?;
        ensure!(port["rx"]["drops"].is_object(), "port {name} has no rx.drops: {port}");
        Ok(port["rx"]["drops"][reason].as_u64().unwrap_or(0))
    }

    fn ctl(&self, globals: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new(&self.weftctl);
        command.arg("--socket").arg(&self.socket).args(globals).args(args);
        command
    }

    /// Returns the command line that a person types.
    pub(crate) fn command_line(&self) -> String {
        format!("{} --socket {}", shorter(&self.weftctl), self.socket.display())
    }
}

fn port<'v>(list: &'v Value, name: &str) -> Option<&'v Value> {
    list.as_array()?.iter().find(|port| port["name"] == name)
}

/// The path as seen from where the person is, when that is shorter.
pub(crate) fn shorter(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
