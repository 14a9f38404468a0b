//! `weftctl completions` and `weftctl man`: what a shell and `man` want to know of the command line.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use serde::Serialize;

use crate::{failure::Failure, output::Output, render::clean};

/// The shell to be served.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl completions bash > /usr/share/bash-completion/completions/weftctl
  weftctl completions zsh > \"${fpath[1]}/_weftctl\"
  weftctl completions fish > ~/.config/fish/completions/weftctl.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Does it.
    pub(crate) fn run(self, mut command: Command, output: Output) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "weftctl", &mut script);
        output.text(&String::from_utf8_lossy(&script))
    }
}

/// Where manual pages go.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weftctl man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// The directory; it is made when it is not there
    directory: PathBuf,
}

#[derive(Serialize)]
struct Written {
    directory: String,
}

impl Man {
    /// Does it.
    pub(crate) fn run(self, command: Command, output: Output) -> Result<(), Failure> {
        let directory = self.directory.display().to_string();
        std::fs::create_dir_all(&self.directory)
            .and_then(|()| clap_mangen::generate_to(command, &self.directory))
            .map_err(|error| {
                Failure::failed(
                    "io",
                    format!("cannot write manual pages into {directory}: {error}"),
                )
            })?;
        output.value(&Written { directory }, |written| {
            format!("manual pages are in {}; start with weftctl.1\n", clean(&written.directory))
        })
    }
}
