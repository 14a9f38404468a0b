//! `weftctl config`, `diff` and `apply`: whole configurations, shown, compared and put in force.

use clap::{Args, Subcommand};
use weft_config::api::{Changed, ConfigDocument, ConfigText};

use crate::{
    changes::{Told, tell},
    check::Source,
    cli::Transient,
    client::{Client, Request},
    failure::Failure,
    output::Output,
    render::clean_lines,
};

const PATH: &str = "/v1/config";

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the running configuration as TOML
    #[command(after_help = "\
Examples:
  weftctl config show
  weftctl config show > candidate.toml
  weftctl --json config show

As JSON it comes with the file's text and path and the revision.")]
    Show,
}

impl ConfigCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Show => {
                let answer = client.send::<ConfigDocument>(Request::get(PATH))?;
                output.show(&answer, |document| {
                    let mut text = clean_lines(&document.running);
                    if !text.is_empty() && !text.ends_with('\n') {
                        text.push('\n');
                    }
                    text
                })
            }
        }
    }
}

/// What to compare.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl diff
  weftctl diff candidate.toml

It shows what would change if the file were applied. Without FILE that is weftd's
own file: a difference means that the file was edited, or that transient changes
are running.")]
pub(crate) struct Diff {
    /// The file, or - for standard input; weftd's configuration file when absent
    file: Option<String>,
}

impl Diff {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let source = match &self.file {
            Some(file) => Source::read(file)?,
            None => {
                let document: ConfigDocument =
                    client.send::<ConfigDocument>(Request::get(PATH))?.value()?;
                Source {
                    name: document.path.unwrap_or_else(|| "the file".to_owned()),
                    text: document.file,
                }
            }
        };
        let body = ConfigText {
            text: source.text.clone(),
            name: Some(source.name.clone()),
            dry_run: true,
        };
        let answer = client
            .send::<Changed>(Request::ask("/v1/config/diff").body(&body))
            .map_err(|failure| source.explain(failure, output))?;
        let paint = output.paint();
        output.show(&answer, |changed| tell(changed, Told::Difference, paint))
    }
}

/// What to put in force.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl apply candidate.toml --dry-run
  weftctl apply candidate.toml
  ssh gateway cat weft.toml | weftctl apply -

What did not change is not touched: traffic on other ports goes on. The text
becomes that of weftd's configuration file. With a mistake anywhere nothing
changes.")]
pub(crate) struct Apply {
    /// The file, or - for standard input
    file: String,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    transient: Transient,
}

impl Apply {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let source = Source::read(&self.file)?;
        let persistence = self.transient.persistence();
        let told = if self.dry_run { Told::DryRun } else { Told::Done(persistence) };
        let body = ConfigText {
            text: source.text.clone(),
            name: Some(source.name.clone()),
            dry_run: self.dry_run,
        };
        let answer = client
            .send::<Changed>(Request::put(PATH).persistence(persistence).body(&body))
            .map_err(|failure| source.explain(failure, output))?;
        let paint = output.paint();
        output.show(&answer, |changed| tell(changed, told, paint))
    }
}
