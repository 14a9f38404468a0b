//! `weftctl events`: what happened, and what happens from now on.

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use weft_config::api::{Event, Events as Told};

use crate::{
    client::{Client, Request},
    failure::Failure,
    output::{Format, Output},
    render::{clean, compact_json},
};

const PATH: &str = "/v1/events";
/// How long the daemon is let wait for the next one; shorter than an answer is waited for.
const PATIENCE: &str = "20";

/// Whether to go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl events
  weftctl events --recent
  weftctl --json events | jq -c 'select(.event == \"port-down\")'

weftd knows the last thousand since it was started; its numbers begin anew with it. As
JSON it is one document a line, with --recent one for all.")]
pub(crate) struct Events {
    /// Print what happened until now, and end
    #[arg(long)]
    recent: bool,
}

impl Events {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let first = client.send::<Told>(Request::get(PATH))?;
        if self.recent {
            return output.show(&first, |told| told.events.iter().map(line).collect());
        }
        let mut told = first.value()?;
        loop {
            output.text(&lines(&told, output.format))?;
            let last = told.last.to_string();
            let next = Request::get(PATH)
                .query("after", Some(&last))
                .query("wait-seconds", Some(PATIENCE));
            told = client.send::<Told>(next)?.value()?;
        }
    }
}

fn lines(told: &Told, format: Format) -> String {
    let events = told.events.iter();
    match format {
        Format::Json => events.map(|event| compact_json(event) + "\n").collect(),
        Format::Human => {
            let lost = match told.lost {
                0 => String::new(),
                lost => format!("… {lost} events are not known any more\n"),
            };
            lost + &events.map(line).collect::<String>()
        }
    }
}

fn line(event: &Event) -> String {
    format!("{}  {}\n", time(event.time_ms), clean(&event.happening.to_string()))
}

/// Returns a time of day and its date as this machine's clock shows them.
fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|it| Timestamp::from_millisecond(it).ok());
    time.map_or_else(
        || "-".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}
