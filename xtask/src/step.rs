//! Steps with a heading each, their durations, and the list of them at the end. Stops at the first failure.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::say;

/// A run of steps.
#[derive(Debug)]
pub(crate) struct Steps {
    begin: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self { begin: say::now(), done: Vec::new() }
    }

    /// Takes one step. After a failure, prints what was done so far.
    ///
    /// # Errors
    /// What the step fails with.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        say::heading(name);
        let begin = say::now();
        let result = work();
        self.done.push((name.to_owned(), begin.elapsed()));
        if result.is_err() {
            self.list();
            say::bad(name);
        }
        result.with_context(|| name.to_owned())
    }

    /// Prints one line for each step, and the total.
    pub(crate) fn finish(self) {
        self.list();
        say::good(&format!("all steps passed in {}", say::duration(self.begin.elapsed())));
    }

    fn list(&self) {
        say::heading("Steps");
        for (name, length) in &self.done {
            println!("   {:>12}  {name}", say::duration(*length));
        }
    }
}

/// Runs a command with its output shown.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start {program}"))?;
    ensure!(status.success(), "{program} failed: {status}");
    Ok(())
}

/// Prepares cargo, at the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args).current_dir(crate::layout::root());
    command
}
