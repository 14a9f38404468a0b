//! `weftctl config`, `diff` and `apply`: whole configurations, shown, compared and put in force.

use std::time::Duration;

use clap::{Args, Subcommand};
use weft_config::{
    api::{Changed, ConfigDocument, ConfigText},
    duration,
};

use crate::{
    changes::{Told, tell},
    check::Source,
    cli::Transient,
    client::{Client, Persistence, Request},
    failure::Failure,
    output::Output,
    render::clean_lines,
};

pub(crate) const PATH: &str = "/v1/config";

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
#[command(mut_arg("transient", |transient| transient.conflicts_with("confirm")), after_help = "\
Examples:
  weftctl apply candidate.toml --dry-run
  weftctl apply candidate.toml --confirm 60s
  weftctl apply candidate.toml
  ssh gateway cat weft.toml | weftctl apply -

What did not change is not touched: traffic on other ports goes on. The text
becomes that of weftd's configuration file. With a mistake anywhere nothing
changes.
With --confirm the file stays as it is until `weftctl confirm`. Without that word
in time what ran before comes back by itself, so that nobody is locked out.")]
pub(crate) struct Apply {
    /// The file, or - for standard input
    file: String,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    transient: Transient,
}

/// How carefully a configuration is put in force.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Way {
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Take it back unless `weftctl confirm` comes within this time, as in 60s or 5m
    #[arg(long, value_name = "TIME", value_parser = patience, conflicts_with = "dry_run")]
    confirm: Option<Duration>,
}

fn patience(text: &str) -> Result<Duration, &'static str> {
    duration(text).ok_or("a number with its unit: 60s, 5m or 1h")
}

impl Apply {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let source = Source::read(&self.file)?;
        self.way.put(client, output, &source, self.transient.persistence(), |request| request)
    }
}

impl Way {
    /// Tells whether nothing was said about it.
    pub(crate) fn is_plain(self) -> bool {
        !self.dry_run && self.confirm.is_none()
    }

    /// Puts a configuration in force, and says what became of it.
    pub(crate) fn put(
        self,
        client: &Client,
        output: Output,
        source: &Source,
        persistence: Persistence,
        also: impl FnOnce(Request) -> Request,
    ) -> Result<(), Failure> {
        let told = if self.dry_run { Told::DryRun } else { Told::Done(persistence) };
        let body = ConfigText {
            text: source.text.clone(),
            name: Some(source.name.clone()),
            dry_run: self.dry_run,
        };
        let seconds = self.confirm.map(|time| time.as_secs().to_string());
        let request = Request::put(PATH)
            .persistence(persistence)
            .query("confirm-seconds", seconds.as_deref())
            .body(&body);
        let answer = client
            .send::<Changed>(also(request))
            .map_err(|failure| source.explain(failure, output))?;
        let paint = output.paint();
        output.show(&answer, |changed| tell(changed, told, paint))
    }
}
