//! `weftctl peer ping`: questions through a tunnel, one request to weftd each.

use std::{thread, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};
use serde::Serialize;
use weft_config::api::{Ping, PingRequest};

use super::{PATH, show::milliseconds};
use crate::{
    client::{Client, Request},
    failure::Failure,
    output::{Format, Output},
    render::clean,
};

/// Questions to a peer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl peer ping berlin
  weftctl peer ping berlin --count 10 --interval 0.2
  weftctl peer ping berlin --size 1400

The answer comes from the other weftd, through the tunnel: it says that keys, path
and size are good. Exit status 1 when none came.")]
pub(crate) struct PeerPing {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// How many questions
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Seconds from an answer to the next question
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    interval: Duration,
    /// Seconds to wait for an answer, at most 10
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_wait)]
    timeout: Duration,
    /// Bytes of the datagram that carries the question; as few as it takes when absent
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=65_507))]
    size: Option<u32>,
}

/// What came of them.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary<'a> {
    peer: &'a str,
    sent: usize,
    received: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<Spread>,
    pings: Vec<Ping>,
}

#[derive(Clone, Copy, Serialize)]
struct Spread {
    least: f64,
    mean: f64,
    most: f64,
}

impl PeerPing {
    /// Does it.
    pub(super) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let body = PingRequest {
            size: self.size,
            timeout_ms: u32::try_from(self.timeout.as_millis()).ok(),
        };
        let mut pings: Vec<Ping> = Vec::new();
        for number in 1..=self.count {
            if number > 1 {
                thread::sleep(self.interval);
            }
            let request = Request::ask(PATH).segment(&self.name).segment("ping").body(&body);
            let ping = client.send::<Ping>(request)?.value()?;
            if output.format == Format::Human {
                output.text(&told(&self.name, number, &ping))?;
            }
            pings.push(ping);
        }
        let summary = Summary::new(&self.name, pings);
        output.value(&summary, Summary::told)?;
        if summary.received > 0 {
            return Ok(());
        }
        Err(Failure::failed("no-answer", format!("peer {} did not answer", clean(&self.name)))
            .help(format!("`weftctl peer show {}` says what is known of it", clean(&self.name))))
    }
}

fn told(peer: &str, number: u32, ping: &Ping) -> String {
    let from = ping.endpoint.as_deref().map(|at| format!(" at {}", clean(at))).unwrap_or_default();
    let size = ping.size.map(|size| format!(", {size} bytes")).unwrap_or_default();
    match (ping.rtt_ms, &ping.reason) {
        (Some(rtt), _) => {
            format!("{}{from}: answer {number}{size}, {}\n", clean(peer), milliseconds(rtt))
        }
        (None, Some(reason)) => {
            format!("{}{from}: no answer {number}{size}: {}\n", clean(peer), clean(reason))
        }
        (None, None) => format!("{}{from}: no answer {number}{size}\n", clean(peer)),
    }
}

impl<'a> Summary<'a> {
    fn new(peer: &'a str, pings: Vec<Ping>) -> Self {
        let times: Vec<f64> = pings.iter().filter_map(|ping| ping.rtt_ms).collect();
        let spread = (!times.is_empty()).then(|| Spread {
            least: times.iter().copied().fold(f64::INFINITY, f64::min),
            mean: times.iter().sum::<f64>() / times.len() as f64,
            most: times.iter().copied().fold(0.0, f64::max),
        });
        Self { peer, sent: pings.len(), received: times.len(), rtt_ms: spread, pings }
    }

    fn told(&self) -> String {
        let mut text = format!("{} asked, {} answered", self.sent, self.received);
        if let Some(Spread { least, mean, most }) = self.rtt_ms {
            let [least, mean, most] = [least, mean, most].map(milliseconds);
            text.push_str(&format!("; least {least}, mean {mean}, most {most}"));
        }
        text + "\n"
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    const LONGEST: f64 = 86_400.0;
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=LONGEST).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number of seconds is wanted, as in 0.2".to_owned()),
    }
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let shortest = Duration::from_millis(1);
    parse_seconds(text)
        .ok()
        .filter(|time| (shortest..=Duration::from_secs(10)).contains(time))
        .ok_or_else(|| "a number of seconds up to 10 is wanted, as in 0.2".to_owned())
}
