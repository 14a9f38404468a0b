//! The bench of guests in shared memory: DPDK's bare copier, Open vSwitch with DPDK, weft, with one front-end before
//! all of them; real guests, on weft against TAPs at the kernel's bridge; and weft's guests beside one that is hostile.
//!
//! The machine's first core has the front-end, the second the switch.

mod backend;
mod crime;
mod frames;
mod front;
mod guests;
mod neighbours;
mod peer;
mod report;
pub mod rings;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

pub use self::{backend::End, crime::Crime, guests::SCRIPT, peer::Peer};
use self::{
    peer::{Part, missing},
    report::Report,
};
use crate::{
    guest::Image,
    report::{Rival, Samples},
    site::Tools,
    turns::{self, Bench, Turns},
};

const NAME: &str = "vhost";

/// What to measure, and how often.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    turns: Turns,
    /// Only these peers.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…")]
    only: Vec<Peer>,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    parts: Vec<Part>,
}

impl Options {
    /// Returns the peers that are to be measured.
    pub fn peers(&self) -> Vec<Peer> {
        if self.only.is_empty() { Peer::value_variants().to_vec() } else { self.only.clone() }
    }

    /// Tells whether real guests are to be measured.
    pub fn with_guests(&self) -> bool {
        self.parts().contains(&Part::Guests)
    }

    /// Returns the arguments that say the same.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = self.turns.arguments();
        for peer in &self.only {
            arguments.extend(["--only".to_owned(), peer.to_string()]);
        }
        for part in &self.parts {
            arguments.extend(["--parts".to_owned(), part.to_string()]);
        }
        arguments
    }

    fn parts(&self) -> Vec<Part> {
        if self.parts.is_empty() { Part::value_variants().to_vec() } else { self.parts.clone() }
    }
}

/// Measures and writes `vhost.md` and `vhost.json` to `out`.
///
/// # Errors
/// When another bench runs, nothing can be written, or, in the end, when a peer could not be measured.
pub fn bench(options: &Options, image: &Image, tools: &Tools, out: &Path) -> Result<()> {
    let image = image.paths();
    let (absent, here): (Vec<_>, Vec<_>) =
        options.peers().into_iter().partition(|peer| missing(*peer));
    for peer in &absent {
        println!("not on this machine, left out: {}", peer.title());
    }
    let parts = options.parts();
    let todo: Vec<_> = parts
        .iter()
        .filter(|part| **part != Part::Guests || image.is_some())
        .flat_map(|part| here.iter().map(|peer| (*part, *peer)))
        .filter(|(part, peer)| part.has(*peer))
        .collect();
    let with_crimes =
        parts.contains(&Part::Neighbours) && here.contains(&Peer::Weft) && !missing(Peer::Testpmd);
    let crimes = if with_crimes { Crime::value_variants() } else { &[] };
    let (head, runs) = (turns::head(options.turns)?, options.turns.count());
    ensure!(head.cores > 1, "front-end and switch need a core each");
    let mut bench = Bench::begin(out, runs * (todo.len() + crimes.len()))?;
    let mut report = Report {
        head,
        absent: absent.iter().map(|peer| peer.title()).collect(),
        frames: Samples::default(),
        segments: Samples::default(),
        guests: Samples::default(),
        neighbours: Samples::default(),
    };
    let seconds = options.turns.tcp().as_secs();
    for run in 1..=runs {
        for &(part, peer) in &todo {
            let what = format!("run {run} of {runs}, {part}: {}", peer.title());
            let turn = (run, peer);
            match part {
                Part::Frames => bench.note(&mut report.frames, &what, turn, |lab| {
                    frames::measure(lab, tools, peer, seconds)
                }),
                Part::Segments => bench.note(&mut report.segments, &what, turn, |lab| {
                    rings::measure(lab, tools, peer, seconds)
                }),
                Part::Guests => bench.note(&mut report.guests, &what, turn, |lab| {
                    let image = image.context("the guests' image")?;
                    guests::measure(lab, tools, peer, image, seconds)
                }),
                Part::Neighbours => {}
            }
            bench.write(NAME, &report.markdown(), &report)?;
        }
        for &crime in crimes {
            let what = format!("run {run} of {runs}, neighbours: {}", crime.title());
            bench.note(&mut report.neighbours, &what, (run, crime), |lab| {
                neighbours::measure(lab, tools, crime, seconds)
            });
            bench.write(NAME, &report.markdown(), &report)?;
        }
    }
    bench.show(NAME, &report.markdown());
    let failed = report.frames.failed.len()
        + report.segments.failed.len()
        + report.guests.failed.len()
        + report.neighbours.failed.len();
    ensure!(failed == 0, "{failed} attempts failed");
    Ok(())
}
