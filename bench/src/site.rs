//! Two hosts with something between them that is to be measured.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use crate::{
    clock::wait_until,
    lab::{Lab, Namespace, Process},
};

/// How long anything may take to come up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
const LINES_OF_A_LOG: usize = 4;

/// Programs that are measured or measure.
#[derive(Clone, Debug)]
pub struct Tools {
    /// This bench's binary, which is also copier, sender and counter.
    pub bench: PathBuf,
    /// The switch daemon.
    pub weftd: PathBuf,
    /// Its command line.
    pub weftctl: PathBuf,
    /// Where rivals lie that no package has.
    pub rivals: PathBuf,
}

/// Two hosts that reach each other.
#[derive(Debug)]
pub struct Site {
    /// The host that begins.
    pub near: Namespace,
    /// The host that answers.
    pub far: Namespace,
    /// Where the far host answers.
    pub address: &'static str,
    /// The processes between them: their time counts.
    pub processes: Vec<Process>,
}

impl Site {
    /// Waits until the far host answers.
    ///
    /// # Errors
    /// When it does not, with the last words of the processes between.
    pub fn wait_for_answer(&self, lab: &Lab) -> Result<()> {
        let answered = wait_until("an answer of the far host", PATIENCE, || {
            for process in &self.processes {
                lab.ensure_running(process)?;
            }
            let mut ping = self.near.command("ping");
            Ok(ping.args(["-c1", "-W1", "-q", self.address]).output()?.status.success())
        });
        answered.with_context(|| self.last_words())
    }

    fn last_words(&self) -> String {
        let mut words = String::from("no way from host to host");
        for process in &self.processes {
            let output = process.output().unwrap_or_default();
            let lines: Vec<_> = output.lines().collect();
            let last = lines[lines.len().saturating_sub(LINES_OF_A_LOG)..].join(" / ");
            let name = process.log.file_stem().unwrap_or_default().to_string_lossy();
            words
                .push_str(&format!("; {name}: {}", if last.is_empty() { "silent" } else { &last }));
        }
        words
    }
}

/// Returns the name of a namespace of this run.
pub(crate) fn namespace_name(part: &str) -> String {
    format!("weft-bench{}-{part}", std::process::id())
}
