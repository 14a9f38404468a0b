//! A demo that was left up: how to look around in it, and how to end it.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use weft_bench::lab::{Lab, Leftovers};

use super::{
    machine::Machine,
    stage::{DESK, WEB2_ADDRESS},
    weft::{Weft, shorter},
};
use crate::{containment, layout, say};

/// What is known of a kept demo.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Kept {
    pub(crate) leftovers: Leftovers,
    /// The consoles of the machines, by name.
    pub(crate) consoles: Vec<(String, PathBuf)>,
}

impl Kept {
    /// Remembers it for later commands.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        let path = place();
        fs::write(&path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("write {}", path.display()))
    }

    /// Returns the demo that was kept, if one was.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn load() -> Result<Option<Self>> {
        let path = place();
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?))
    }

    /// Ends it.
    ///
    /// # Errors
    /// When something of it resists.
    pub(crate) fn end(&self) -> Result<()> {
        self.leftovers.end()?;
        fs::remove_file(place()).context("forget the kept demo")?;
        say::good("the kept demo is gone: processes, namespaces, files");
        Ok(())
    }

    /// Returns the console of a machine.
    ///
    /// # Errors
    /// When there is no such machine.
    pub(crate) fn console(&self, name: &str) -> Result<&PathBuf> {
        let Some((_, socket)) = self.consoles.iter().find(|(machine, _)| machine == name) else {
            let names: Vec<_> = self.consoles.iter().map(|(machine, _)| machine.as_str()).collect();
            bail!("the kept demo has no machine {name}; it has: {}", names.join(", "));
        };
        Ok(socket)
    }
}

/// Leaves everything up and says how to look around.
///
/// # Errors
/// When it cannot be remembered.
pub(crate) fn keep(lab: Lab, wefts: [&Weft; 2], machines: &[Machine]) -> Result<()> {
    let consoles =
        machines.iter().map(|machine| (machine.plan.name.to_owned(), machine.socket.clone()));
    let kept = Kept { consoles: consoles.collect(), leftovers: lab.keep() };
    kept.save()?;
    // In a user namespace, the names of the network namespaces are known inside only.
    let enter = match kept.leftovers.processes.first() {
        Some((pid, _)) if containment::in_user_namespace() => {
            format!("nsenter --preserve-credentials --user --mount --target {pid} ")
        }
        _ => String::new(),
    };
    say::heading("Everything stays up");
    say::note("look at the switches and change them:");
    for weft in wefts {
        say::quote(&format!("{} status", weft.command_line()));
    }
    say::note("be on desk:");
    say::quote(&format!("{enter}ip netns exec {DESK} ping {WEB2_ADDRESS}"));
    say::note("be on a machine:");
    for (machine, _) in &kept.consoles {
        say::quote(&format!("cargo xtask demo --shell {machine}"));
    }
    say::note("read the logs, the configurations and what was recorded on the wire:");
    say::quote(&format!("ls -R {}", shorter(&kept.leftovers.dir)));
    say::note("end it:");
    say::quote("cargo xtask demo --end");
    Ok(())
}

fn place() -> PathBuf {
    layout::target().join("demo.json")
}
