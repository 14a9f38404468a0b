//! The bench of switches: the kernel's, Open vSwitch, bare copiers, weft.

pub(crate) mod ovs;
mod peer;
mod report;

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

pub use self::peer::Peer;
use self::report::{IdlePorts, Report};
use crate::{
    probe::{self, Effort},
    report::{Rival, Samples},
    site::Tools,
    turns::{self, Bench, Turns},
};

const IDLE_PORTS: usize = 8;
const IDLE: Duration = Duration::from_secs(10);
const NAME: &str = "switch";

/// What to measure, and how often.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    turns: Turns,
    /// Only these peers.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…")]
    only: Vec<Peer>,
}

impl Options {
    /// Returns the peers that are to be measured, in the order of the table.
    pub fn peers(&self) -> Vec<Peer> {
        if self.only.is_empty() { Peer::value_variants().to_vec() } else { self.only.clone() }
    }

    /// Returns the arguments that say the same.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = self.turns.arguments();
        for peer in &self.only {
            arguments.extend(["--only".to_owned(), peer.to_string()]);
        }
        arguments
    }
}

/// Measures and writes `switch.md` and `switch.json` to `out`.
///
/// # Errors
/// When another bench runs, nothing can be written, or, in the end, when a peer could not be measured.
pub fn bench(options: &Options, tools: &Tools, out: &Path) -> Result<()> {
    let (peers, runs) = (options.peers(), options.turns.count());
    let with_idle = peers.iter().any(|peer| peer.is_weft());
    let mut bench = Bench::begin(out, runs * peers.len() + usize::from(with_idle))?;
    let effort = Effort { tcp: options.turns.tcp(), ladder: &[] };
    let head = turns::head(options.turns)?;
    let mut report = Report { head, samples: Samples::default(), idle: None };
    for run in 1..=runs {
        for &peer in &peers {
            let what = format!("run {run} of {runs}: {}", peer.title());
            bench.take(&mut report.samples, &what, (run, peer), (tools, effort), |lab| {
                peer::build(lab, tools, peer)
            });
            bench.write(NAME, &report.markdown(), &report)?;
        }
    }
    let mut failed = report.samples.failed.len();
    if with_idle {
        let idle = bench.attempt(&format!("idle weft with {IDLE_PORTS} ports"), |lab| {
            let weft = peer::idle_weft(lab, tools, IDLE_PORTS)?;
            probe::watch_idle(&weft.process, IDLE)
        });
        failed += usize::from(idle.is_err());
        report.idle = idle.ok().map(|idle| IdlePorts { ports: IDLE_PORTS, idle });
        bench.write(NAME, &report.markdown(), &report)?;
    }
    bench.show(NAME, &report.markdown());
    ensure!(failed == 0, "{failed} attempts failed");
    Ok(())
}
