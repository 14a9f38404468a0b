//! `weftctl drops`: frames that the switch did not pass on, by port, direction and reason.

use std::{collections::BTreeMap, net::IpAddr};

use clap::Args;
use serde::Serialize;
use weft_config::api::{Direction, DropNews, Port};

use crate::{
    client::{Client, Piece, Request},
    failure::Failure,
    output::{Format, Output, Paint},
    render::{Fraction, Grid, clean, clock, compact_json, count, number, word},
};

/// Whether to go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl drops
  weftctl drops --follow
  weftctl --json drops --follow | jq -c 'select(.reason == \"spoofed\")'

rx is what came from a port and was dropped, tx what should have left by it.
--follow prints drops as they happen: when, how many, port, reason, VLAN, from whom to
whom. Like ones of a second become one line; what there are too many lines for is
counted, and said. As JSON it is one document a line.
`weftctl trace` tells what a reason means for a frame like those that are missing,
`weftctl capture --drops` shows the frames themselves.")]
pub(crate) struct Drops {
    /// Go on, and print drops as they happen until interrupted
    #[arg(long)]
    follow: bool,
    /// With --follow: lines a second at most
    #[arg(long, value_name = "LINES", default_value = "20", requires = "follow",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
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
        if self.follow {
            return follow(client, output, self.lines);
        }
        output.value(&listed(&read(client)?), |drops| table(drops, output.paint()))
    }
}

/// Prints drops as they happen, until the user has seen enough.
fn follow(client: &Client, output: Output, lines: u16) -> Result<(), Failure> {
    let request = Request::get("/v1/drops").query("lines", Some(&lines.to_string()));
    let mut stream = client.stream(request)?;
    let mut rest = Vec::new();
    loop {
        match stream.next()? {
            Piece::Bytes(bytes) => rest.extend_from_slice(&bytes),
            Piece::Interrupted => return Ok(()),
            Piece::End => {
                return Err(Failure::unreachable(
                    "no-answer",
                    "weftd has ended, and nothing follows",
                ));
            }
        }
        let Some(end) = rest.iter().rposition(|&byte| byte == b'\n') else { continue };
        let mut text = String::new();
        for line in rest[..end].split(|&byte| byte == b'\n') {
            let news: DropNews = serde_json::from_slice(line).map_err(|error| {
                Failure::failed("bad-answer", format!("this is no line of weftd's: {error}"))
            })?;
            text += &match output.format {
                Format::Json => compact_json(&news) + "\n",
                Format::Human => told(&news),
            };
        }
        rest.drain(..=end);
        output.text(&text)?;
    }
}

fn told(news: &DropNews) -> String {
    let drop = match news {
        DropNews::Drop(drop) => drop,
        DropNews::LeftOut { time_ms, frames } => {
            return format!(
                "{}  … {} more drops in this second, of which there is no line; `weftctl drops` counts all\n",
                clock(time_ms.saturating_mul(1_000_000), Fraction::Milliseconds),
                count(*frames),
            );
        }
    };
    let vlan = drop.vlan.map_or_else(|| "-".to_owned(), |vlan| format!("VLAN {vlan}"));
    let from_to = |from: Option<&str>, to: Option<&str>| match (from, to) {
        (Some(from), Some(to)) => format!("  {} > {}", clean(from), clean(to)),
        _ => String::new(),
    };
    let ip = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string());
    let (source, destination) = (ip(drop.source_ip), ip(drop.destination_ip));
    let protocol = match (drop.ethertype, &source) {
        (Some(0x0806), _) => "  ARP".to_owned(),
        (Some(ethertype), None) => format!("  {ethertype:#06x}"),
        _ => String::new(),
    };
    format!(
        "{}  {:<15}  {}  {:<24}  ×{:<6}  {vlan:<9}{}{protocol}{}\n",
        clock(drop.time_ms.saturating_mul(1_000_000), Fraction::Milliseconds),
        clean(&drop.port),
        clean(&drop.direction),
        clean(&drop.reason),
        count(drop.frames),
        from_to(drop.source.as_deref(), drop.destination.as_deref()),
        from_to(source.as_deref(), destination.as_deref()),
    )
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

#[cfg(test)]
mod tests {
    use weft_config::api::Drop;

    use super::*;

    #[test]
    fn a_drop_is_told_with_whom_it_was_between() {
        let drop = Drop {
            time_ms: 0,
            port: "web\u{1b}1".to_owned(),
            direction: "rx".to_owned(),
            reason: "spoofed".to_owned(),
            frames: 3,
            vlan: Some(10),
            source: Some("02:00:00:00:00:01".to_owned()),
            destination: Some("02:00:00:00:00:02".to_owned()),
            source_ip: Some([10, 0, 0, 1].into()),
            destination_ip: Some([10, 0, 0, 2].into()),
            ethertype: Some(0x0800),
        };
        let words = |news: &DropNews| {
            let line = told(news);
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            words(&DropNews::Drop(drop.clone())),
            "web\\u{1b}1 rx spoofed ×3 VLAN 10 02:00:00:00:00:01 > 02:00:00:00:00:02 10.0.0.1 > 10.0.0.2"
        );
        let bare = Drop { vlan: None, source_ip: None, ethertype: Some(0x88cc), ..drop };
        assert!(
            words(&DropNews::Drop(bare))
                .ends_with("×3 - 02:00:00:00:00:01 > 02:00:00:00:00:02 0x88cc")
        );
        assert!(words(&DropNews::LeftOut { time_ms: 0, frames: 7 }).contains("7 more drops"));
    }
}
