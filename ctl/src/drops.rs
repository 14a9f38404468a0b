//! `weftctl drops`: frames that the switch did not pass on, by port, direction and reason.

use std::{collections::BTreeMap, thread, time::Duration};

use clap::Args;
use serde::Serialize;
use weft_config::api::{Direction, Port};

use crate::{
    client::{Client, Request},
    failure::Failure,
    output::{Format, Output, Paint},
    render::{Grid, compact_json, number, word},
};

/// Whether to go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl drops
  weftctl drops --follow
  weftctl --json drops

rx is what came from a port and was dropped, tx what should have left by it.
`weftctl trace` tells what a reason means for a frame like those that are missing.
As JSON, --follow prints one document a line.")]
pub(crate) struct Drops {
    /// Go on, and print what was added each second until interrupted
    #[arg(long)]
    follow: bool,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Counter {
    port: String,
    direction: &'static str,
    reason: String,
    frames: u64,
}

type Counters = BTreeMap<(String, &'static str, String), u64>;

impl Drops {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let first = read(client)?;
        if !self.follow {
            return output.value(&listed(&first), |drops| table(drops, output.paint()));
        }
        let mut before = first;
        loop {
            thread::sleep(Duration::from_secs(1));
            let after = read(client)?;
            let added = listed(&added(&before, &after));
            if !added.is_empty() {
                output.text(&match output.format {
                    Format::Json => compact_json(&added) + "\n",
                    Format::Human => increments(&added),
                })?;
            }
            before = after;
        }
    }
}

fn read(client: &Client) -> Result<Counters, Failure> {
    let ports: Vec<Port> = client.send::<Vec<Port>>(Request::get("/v1/ports"))?.value()?;
    let mut counters = Counters::new();
    for port in ports {
        let mut note = |direction, counts: Direction| {
            let drops = counts.drops.into_iter().filter(|(_, frames)| *frames > 0);
            counters.extend(
                drops.map(|(reason, frames)| ((port.name.clone(), direction, reason), frames)),
            );
        };
        note("rx", port.rx);
        note("tx", port.tx);
    }
    Ok(counters)
}

/// Returns what came to the counters; one that is smaller than before began anew.
fn added(before: &Counters, after: &Counters) -> Counters {
    let increment = |(key, &now): (&(String, &'static str, String), &u64)| {
        let then = before.get(key).copied().filter(|&then| then <= now).unwrap_or(0);
        (now > then).then(|| (key.clone(), now - then))
    };
    after.iter().filter_map(increment).collect()
}

fn listed(counters: &Counters) -> Vec<Counter> {
    let counter =
        |((port, direction, reason), &frames): (&(String, &'static str, String), &u64)| Counter {
            port: port.clone(),
            direction,
            reason: reason.clone(),
            frames,
        };
    counters.iter().map(counter).collect()
}

fn table(drops: &Vec<Counter>, paint: Paint) -> String {
    if drops.is_empty() {
        return "no drops\n".to_owned();
    }
    let mut grid = Grid::new(["PORT", "DIR", "REASON", "#FRAMES"]);
    for drop in drops {
        grid.row(vec![
            word(&drop.port),
            word(drop.direction),
            word(&drop.reason),
            number(drop.frames),
        ]);
    }
    grid.finish(paint)
}

fn increments(drops: &[Counter]) -> String {
    use crate::render::clean;
    drops
        .iter()
        .map(|drop| {
            format!(
                "{:<15}  {}  {:<24}  +{}\n",
                clean(&drop.port),
                drop.direction,
                clean(&drop.reason),
                drop.frames
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(of: &[(&str, u64)]) -> Counters {
        of.iter()
            .map(|(reason, frames)| (("p".to_owned(), "rx", (*reason).to_owned()), *frames))
            .collect()
    }

    #[test]
    fn only_what_was_added_is_told() {
        let before = counters(&[("spoofed", 5), ("oversize", 7), ("isolated", 9)]);
        let after = counters(&[("spoofed", 8), ("oversize", 7), ("isolated", 2), ("no-member", 1)]);
        assert_eq!(
            added(&before, &after),
            counters(&[("spoofed", 3), ("isolated", 2), ("no-member", 1)])
        );
    }
}
