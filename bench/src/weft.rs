//! weft itself: a daemon of a lab with a configuration, and questions to it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    lab::{Lab, Namespace, Process, run},
    site::{PATIENCE, Tools},
};

/// A running `weftd`.
#[derive(Clone, Debug)]
pub struct Weft {
    /// The daemon.
    pub process: Process,
    socket: PathBuf,
    weftctl: PathBuf,
}

impl Weft {
    /// Starts a daemon in a namespace and waits until it is ready. `name` sets it apart from others of the
    /// lab, `config` is its file less the daemon's own table.
    ///
    /// # Errors
    /// When it does not become ready, with what it said.
    pub fn start(
        lab: &Lab,
        tools: &Tools,
        namespace: &Namespace,
        name: &str,
        config: &str,
    ) -> Result<Self> {
        let dir = lab.dir().join(name);
        fs::create_dir_all(dir.join("state"))?;
        let file = dir.join("weft.toml");
        fs::write(&file, format!("[daemon]\nworkers = 1\n\n{config}"))?;
        let socket = Self::socket_of(lab, name);
        let mut command = namespace.command(&tools.weftd);
        command.arg("--config").arg(&file).arg("--socket").arg(&socket);
        command.arg("--state-dir").arg(dir.join("state"));
        let process = lab.spawn(&command, &format!("{name}.log"))?;
        lab.wait_for_line(&process, "weftd: ready", PATIENCE)?;
        Ok(Self { process, socket, weftctl: tools.weftctl.clone() })
    }

    /// Returns where the daemon of this name listens.
    pub fn socket_of(lab: &Lab, name: &str) -> PathBuf {
        lab.dir().join(name).join("weftd.sock")
    }

    /// Asks with `weftctl --json` and returns the answer.
    ///
    /// # Errors
    /// When it fails, or answers something else than JSON.
    pub fn ask(&self, args: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.weftctl);
        let answer = run(command.arg("--socket").arg(&self.socket).arg("--json").args(args))?;
        serde_json::from_str(&answer).with_context(|| format!("weftctl's answer: {answer}"))
    }
}
