//! `weftctl confirm` and `rollback`: the word that keeps a configuration, and the ways back to earlier ones.

use clap::Args;
use weft_config::api::{Changed, ConfigDocument, Former, FormerConfig};

use crate::{
    changes::{Told, tell},
    check::Source,
    client::{Client, Persistence, Request},
    config::{PATH, Way},
    failure::Failure,
    output::{Output, Paint},
    render::{Grid, duration, number, word, word_or_dash},
};

const HISTORY: &str = "/v1/config/history";

/// There is nothing to choose.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl apply candidate.toml --confirm 60s
  weftctl confirm

The text of the candidate becomes that of weftd's configuration file.
`weftctl rollback` takes the candidate back at once.")]
pub(crate) struct Confirm {}

impl Confirm {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        end(client, output, Request::post("/v1/config/confirm"))
    }
}

/// Where to go back to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl rollback --list
  weftctl rollback --dry-run
  weftctl rollback
  weftctl rollback 17 --confirm 60s

weftd keeps the last ten texts that its configuration file held. Without a number
it is the last one; while a candidate waits for `weftctl confirm`, that candidate is
taken back instead. Going back is a change like any other: `weftctl rollback` once
more undoes it.")]
pub(crate) struct Rollback {
    /// Which one, as --list numbers them; the last one when absent
    #[arg(conflicts_with = "list")]
    number: Option<u64>,
    /// List what there is to go back to
    #[arg(long, conflicts_with_all = ["dry_run", "confirm"])]
    list: bool,
    #[command(flatten)]
    way: Way,
}

impl Rollback {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let formers = || client.send::<Vec<Former>>(Request::get(HISTORY));
        if self.list {
            let paint = output.paint();
            return output.show(&formers()?, |formers| list(formers, paint));
        }
        // What is compared and changed is what was looked at.
        let running = client.send::<ConfigDocument>(Request::get(PATH))?.value()?;
        if running.candidate.is_some() && self.number.is_none() && self.way.is_plain() {
            let request = Request::post("/v1/config/take-back").if_match(&running.revision);
            return end(client, output, request);
        }
        let number = match self.number {
            Some(number) => number,
            None => {
                let last = formers()?.value()?.first().map(|former| former.number);
                last.ok_or_else(|| {
                    Failure::failed("not-found", "there is no earlier configuration to go back to")
                        .help("weftd keeps one at each change that it writes to its file")
                })?
            }
        };
        let request = Request::get(HISTORY).segment(&number.to_string());
        let former = client.send::<FormerConfig>(request)?.value()?;
        let source = Source { name: format!("configuration {number}"), text: former.text };
        self.way.put(client, output, &source, Persistence::Written, |request| {
            request.if_match(&running.revision)
        })
    }
}

/// Ends the time of a candidate.
fn end(client: &Client, output: Output, request: Request) -> Result<(), Failure> {
    let answer = client.send::<Changed>(request)?;
    let paint = output.paint();
    output.show(&answer, |changed| tell(changed, Told::Done(Persistence::Written), paint))
}

fn list(formers: &[Former], paint: Paint) -> String {
    if formers.is_empty() {
        return "nothing to go back to yet: weftd keeps a configuration when it writes the next\n"
            .to_owned();
    }
    let mut grid = Grid::new(["#NUMBER", "REPLACED", "BY UID"]);
    for former in formers {
        let uid = former.uid.map(|uid| uid.to_string());
        grid.row(vec![
            number(former.number),
            word(&format!("{} ago", duration(former.age_seconds))),
            word_or_dash(uid.as_deref()),
        ]);
    }
    grid.finish(paint)
}
