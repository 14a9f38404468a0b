//! The bench of switches: every peer once a run, run after run, so that what drifts hits all alike.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rustix::fs::{FlockOperation, flock};

use crate::{
    lab::{Lab, Lifetime, run},
    peer::{Peer, Site, Tools, idle_weft},
    probe,
    report::{Report, Sample},
};

const IDLE_PORTS: usize = 8;

/// What to measure, and how often.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How often each peer is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// One run with shorter streams.
    #[arg(long)]
    pub quick: bool,
    /// Only these peers.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEER,…")]
    pub only: Vec<Peer>,
}

impl Options {
    /// Returns the peers that are to be measured, in the order of the table.
    pub fn peers(&self) -> Vec<Peer> {
        if self.only.is_empty() { Peer::value_variants().to_vec() } else { self.only.clone() }
    }
}

/// Measures and writes `switch.md` and `switch.json` to `out`.
///
/// # Errors
/// When another bench runs, or a peer cannot be set up or measured.
pub fn bench(options: &Options, tools: &Tools, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let lock = fs::File::create(out.join("lock")).context("the lock of the bench")?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another bench runs here; two at once measure each other");
    }
    let scratch = out.join("scratch");
    if scratch.exists() {
        // Of a bench that was killed; the lock says that none runs.
        fs::remove_dir_all(&scratch)?;
    }
    let lab = Lab::new(&scratch, Lifetime::Run)?;
    lab.end_on_signal()?;

    let peers = options.peers();
    let runs = if options.quick { 1 } else { usize::from(options.runs) };
    let tcp = Duration::from_secs(if options.quick { 2 } else { 5 });
    let mut report = Report {
        date: run(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?.trim().to_owned(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        cores: thread::available_parallelism()?.get(),
        tcp_seconds: tcp.as_secs(),
        samples: Vec::new(),
        idle: None,
    };
    for run in 1..=runs {
        for peer in &peers {
            println!("run {run} of {runs}: {}", peer.title());
            let site = Site::build(&lab, tools, *peer)
                .with_context(|| format!("set up {}", peer.title()))?;
            let figures = probe::measure(&lab, tools, &site, tcp)
                .with_context(|| format!("measure {}", peer.title()))?;
            site.dismantle()?;
            println!(
                "    ping {:.0} µs, TCP {:.2} and {:.2} Gb/s, {:.0} kpps of {:.0} delivered",
                figures.ping_us,
                figures.tcp1_gbps,
                figures.tcp4_gbps,
                figures.flood_kpps,
                figures.offered_kpps
            );
            report.samples.push(Sample { run, peer: *peer, figures });
        }
    }
    if peers.iter().any(|peer| peer.is_weft()) {
        println!("idle weft with {IDLE_PORTS} ports");
        let (namespace, process) = idle_weft(&lab, tools, IDLE_PORTS)?;
        report.idle = Some(probe::watch_idle(&process, IDLE_PORTS, Duration::from_secs(10))?);
        lab.stop(&process);
        lab.delete(&namespace)?;
    }

    let text = report.markdown();
    println!("\n{text}");
    write(out.join("switch.md"), &text)?;
    write(out.join("switch.json"), &serde_json::to_string_pretty(&report)?)
}

fn write(path: PathBuf, text: &str) -> Result<()> {
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}
