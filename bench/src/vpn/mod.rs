//! The bench of tunnels between two gateways: those that people use, kernel VXLAN as what encrypts nothing,
//! weft; over three underlays.

mod endurance;
mod flood;
mod moves;
mod others;
mod peer;
mod report;
mod weft;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

pub use self::peer::Peer;
use self::report::{Endurance, Part, Report};
pub use crate::gateways::Underlay;
use crate::{
    probe::Effort,
    report::{Rival, Samples},
    site::Tools,
    turns::{self, Bench, Turns},
};

const LADDER: &[u32] = &[25_000, 50_000, 100_000, 200_000, 400_000];
const IDLE_PEERS: u16 = 100;
const MANY_PEERS: u16 = 1000;
const SIDE_BY_SIDE: &str = "vpn";
const ALONE: &str = "vpn-weft";

/// What to measure, and how often.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    turns: Turns,
    /// Only these peers.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…")]
    only: Vec<Peer>,
    /// Only over these underlays.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "UNDERLAY,…")]
    underlay: Vec<Underlay>,
    #[command(flatten)]
    alone: Alone,
}

/// What is measured of weft alone, instead of everybody side by side.
#[derive(Clone, Copy, Debug, Args)]
struct Alone {
    /// Instead: what weft's tunnel loses when the keys change under a stream.
    #[arg(long)]
    rekey: bool,
    /// Instead: what weft's tunnel is worth while strangers begin handshakes.
    #[arg(long)]
    flood: bool,
    /// Instead: how fast frames follow a guest that moves to another host.
    #[arg(long)]
    moves: bool,
    /// Instead: what 100 idle peers cost weft.
    #[arg(long)]
    idle: bool,
    /// Instead: how weft starts with 1000 configured peers, and what they cost.
    #[arg(long)]
    many: bool,
}

impl Options {
    /// Returns the peers that are to be measured side by side, in the order of the table.
    pub fn peers(&self) -> Vec<Peer> {
        match (self.alone.any(), self.only.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => Peer::value_variants().to_vec(),
            (false, false) => self.only.clone(),
        }
    }

    /// Tells whether weft is among what is to be measured.
    pub fn with_weft(&self) -> bool {
        self.alone.any() || self.peers().iter().any(|peer| peer.is_weft())
    }

    /// Returns the arguments that say the same.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = self.turns.arguments();
        for peer in &self.only {
            arguments.extend(["--only".to_owned(), peer.to_string()]);
        }
        for underlay in &self.underlay {
            arguments.extend(["--underlay".to_owned(), underlay.to_string()]);
        }
        let Alone { rekey, flood, moves, idle, many } = self.alone;
        let flags = [
            (rekey, "--rekey"),
            (flood, "--flood"),
            (moves, "--moves"),
            (idle, "--idle"),
            (many, "--many"),
        ];
        arguments.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).to_owned()));
        arguments
    }

    fn underlays(&self) -> Vec<Underlay> {
        if self.underlay.is_empty() {
            Underlay::value_variants().to_vec()
        } else {
            self.underlay.clone()
        }
    }
}

impl Alone {
    fn any(self) -> bool {
        self.rekey || self.flood || self.moves || self.idle || self.many
    }
}

/// Measures and writes `vpn.md` and `vpn.json` to `out`, for weft alone `vpn-weft.md` and `vpn-weft.json`.
///
/// # Errors
/// When another bench runs, nothing can be written, or, in the end, when something could not be measured.
pub fn bench(options: &Options, tools: &Tools, out: &Path) -> Result<()> {
    let failed = if options.alone.any() {
        alone(options, tools, out)?
    } else {
        side_by_side(options, tools, out)?
    };
    ensure!(failed == 0, "{failed} attempts failed");
    Ok(())
}

/// Measures all peers over all underlays and returns how many attempts failed.
fn side_by_side(options: &Options, tools: &Tools, out: &Path) -> Result<usize> {
    let (here, absent): (Vec<_>, Vec<_>) = options.peers().into_iter().partition(|peer| {
        // What packages have was installed; of crates, some may not have built.
        peer.crate_name().is_none() || peer.program(tools).is_none_or(|file| file.exists())
    });
    let (underlays, runs) = (options.underlays(), options.turns.count());
    let mut bench = Bench::begin(out, runs * underlays.len() * here.len())?;
    let effort = Effort { tcp: options.turns.tcp(), ladder: LADDER };
    let part = |underlay: &Underlay| Part { underlay: *underlay, samples: Samples::default() };
    let mut report = Report {
        head: turns::head(options.turns)?,
        versions: versions(&here, tools),
        absent: absent.iter().map(|peer| peer.title()).collect(),
        parts: underlays.iter().map(part).collect(),
    };
    for peer in &report.absent {
        println!("not on this machine, left out: {peer}");
    }
    for run in 1..=runs {
        for (at, &underlay) in underlays.iter().enumerate() {
            for &peer in &here {
                let what = format!("run {run} of {runs}, {underlay}: {}", peer.title());
                let samples = &mut report.parts[at].samples;
                bench.take(samples, &what, (run, peer), (tools, effort), |lab| {
                    peer::build(lab, tools, underlay, peer)
                });
                bench.write(SIDE_BY_SIDE, &report.markdown(), &report)?;
            }
        }
    }
    bench.show(SIDE_BY_SIDE, &report.markdown());
    Ok(report.parts.iter().map(|part| part.samples.failed.len()).sum())
}

/// Measures what is asked of weft alone and returns how many attempts failed.
fn alone(options: &Options, tools: &Tools, out: &Path) -> Result<usize> {
    let Alone { rekey, flood, moves, idle, many } = options.alone;
    let wanted = [rekey, flood, moves, idle, many].into_iter().filter(|wanted| *wanted).count();
    let mut bench = Bench::begin(out, wanted)?;
    let head = turns::head(options.turns)?;
    let mut report =
        Endurance { head, rekey: None, flood: None, moves: None, idle: None, many: None };
    if many {
        let what = format!("{MANY_PEERS} configured peers");
        report.many = bench.attempt(&what, |lab| endurance::many(lab, tools, MANY_PEERS)).ok();
    }
    if idle {
        let what = format!("{IDLE_PEERS} idle peers");
        report.idle = bench.attempt(&what, |lab| endurance::idle(lab, tools, IDLE_PEERS)).ok();
    }
    if rekey {
        let what = "a stream across a rekey, which comes after two minutes";
        report.rekey = bench.attempt(what, |lab| endurance::rekey(lab, tools)).ok();
    }
    if flood {
        let what = "a tunnel under a flood of initiations";
        report.flood = bench.attempt(what, |lab| flood::flood(lab, tools)).ok();
    }
    if moves {
        let what = "guests that move from host to host";
        report.moves = bench.attempt(what, |lab| moves::moves(lab, tools)).ok();
    }
    bench.write(ALONE, &report.markdown(), &report)?;
    bench.show(ALONE, &report.markdown());
    let measured = [
        report.rekey.is_some(),
        report.flood.is_some(),
        report.moves.is_some(),
        report.idle.is_some(),
        report.many.is_some(),
    ];
    Ok(wanted - measured.into_iter().filter(|measured| *measured).count())
}

fn versions(peers: &[Peer], tools: &Tools) -> BTreeMap<&'static str, String> {
    let of = |peer: &Peer| Some((peer.program_name()?, peer::version(&peer.program(tools)?)?));
    peers.iter().filter_map(of).collect()
}
