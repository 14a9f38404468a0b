//! What neighbours have of somebody hostile at the same switch: two of DPDK's front-ends exchange small frames, for some
//! seconds alone, for some beside him, and so on in turns.
//!
//! ```text
//!  testpmd ── p1.sock ─┐
//!          ── p2.sock ─┼ weftd, one worker, VLAN 10
//!  culprit ── bad.sock ┘
//! ```
//!
//! The culprit has the front-end's core, a small part of it; whatever the switch does for him it does on its own.

use std::{fmt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{
    backend::{BACK, Backend, End, FRONT, keep_on, weft_ports},
    crime::{Crime, Trace},
    frames::{Front, Rate, SMALL},
};
use crate::{
    apart::Watch,
    lab::Lab,
    probe::{cpu_seconds, wait_for_quiet},
    report::{Aim, Column, Compare, Samples, row, verdict},
    site::{Tools, namespace_name},
    weft::Weft,
};

/// How often they are alone, and beside him.
const TURNS: usize = 2;
/// Seconds of a turn, at least.
const SECONDS: usize = 2;
/// Of what they have alone, beside him.
const WANTED: f64 = 0.95;

/// What came through in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Beside {
    /// The neighbours' frames of 64 bytes while he was not there.
    alone: Rate,
    /// The same beside him.
    beside: Rate,
    /// Cores busy with other things just before.
    background: f64,
}

impl Beside {
    fn share(&self) -> f64 {
        self.beside.mpps / self.alone.mpps
    }
}

impl fmt::Display for Beside {
    /// Writes it on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alone, beside, .. } = self;
        write!(f, "{beside} beside {alone}: {:.3}", self.share())
    }
}

pub(super) const COLUMNS: &[Column<Beside>] = &[
    Column { head: "neighbours alone, Mpps", metric: |beside| Some(beside.alone.mpps), digits: 2 },
    Column { head: "beside it", metric: |beside| Some(beside.beside.mpps), digits: 2 },
    Column { head: "share", metric: |beside| Some(beside.share()), digits: 3 },
    Column {
        head: "core to core and back, ns",
        metric: |beside| beside.beside.apart_ns,
        digits: 0,
    },
];

/// A guest may be busy. What it sends may cost no more than others' frames do.
const CHAINS: Aim<Crime, Beside> = Aim {
    what: "neighbours beside frames in 1024 pieces / beside frames in one",
    peer: Crime::Chains,
    metric: |beside| Some(beside.share()),
    against: &[Crime::Frames],
    compare: Compare::AtLeast(WANTED),
};

/// Writes what is aimed at as rows.
pub(super) fn aims(samples: &Samples<Crime, Beside>) -> String {
    let broken = |crime: &Crime| !matches!(crime, Crime::Frames | Crime::Chains);
    let taken = samples.taken.iter().filter(|sample| broken(&sample.peer));
    let Some(least) = taken.map(|sample| sample.figures.share()).reduce(f64::min) else {
        return samples.aims(&[CHAINS]);
    };
    let met = verdict(least >= WANTED, || format!("{:.0} % short", (1.0 - least / WANTED) * 100.0));
    let what = "neighbours beside somebody hostile / alone, the least of all";
    row(what, &format!("{least:.3}"), &format!("≥ {WANTED}"), &met) + &samples.aims(&[CHAINS])
}

/// Measures what neighbours have of a crime.
///
/// # Errors
/// When something does not come up, nothing comes through, or the switch saw no crime.
pub(super) fn measure(lab: &Lab, tools: &Tools, crime: Crime, seconds: u64) -> Result<Beside> {
    let background = wait_for_quiet()?;
    let sockets = ["p1", "p2"].map(|port| lab.dir().join(format!("{port}.sock")));
    let bad = lab.dir().join("bad.sock");
    let config = format!(
        "{}[port.bad]\ntype = \"vhost-user\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
        weft_ports(&sockets),
        bad.display()
    );
    let namespace = lab.namespace(&namespace_name("sw"))?;
    let weft = Weft::start(lab, tools, &namespace, "weft", &config)?;
    keep_on(BACK, &weft.process)?;
    let backend = Backend { process: weft.process.clone(), sockets, front: End::Connects };
    let front = Front::start(lab, &backend, SMALL)?;
    let mut watch = Watch::start(lab, tools, [FRONT, BACK])?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let seconds = (seconds as usize / TURNS).max(SECONDS);
    for _ in 0..TURNS {
        alone.extend(front.watch(lab, &mut watch, seconds)?);
        let culprit = lab.spawn(&commit(tools, crime, &bad), "crime.log")?;
        let before = cpu_seconds(&culprit)?;
        beside.extend(front.watch(lab, &mut watch, seconds)?);
        lab.ensure_running(&culprit).context("the culprit")?;
        ensure!(cpu_seconds(&culprit)? > before, "the culprit did nothing");
        lab.stop(&culprit);
    }
    lab.ensure_running(&weft.process)?;
    if let Trace::Drops(reason) = crime.trace() {
        ensure!(drops(&weft, reason)? > 0, "the switch saw nothing of it");
    }
    let rate = |seconds: &[_]| Rate::of(seconds).context("testpmd counted nothing");
    Ok(Beside { alone: rate(&alone)?, beside: rate(&beside)?, background })
}

fn commit(tools: &Tools, crime: Crime, socket: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", FRONT]).arg(&tools.bench).args(["crime", &crime.to_string()]).arg(socket);
    command
}

/// Returns how many frames of the culprit were dropped for a reason.
fn drops(weft: &Weft, reason: &str) -> Result<u64> {
    let ports = weft.ask(&["port", "list"])?;
    let ports = ports.as_array().context("a list of ports")?;
    let bad = ports.iter().find(|port| port["name"] == "bad").context("the culprit's port")?;
    Ok(bad["rx"]["drops"][reason].as_u64().unwrap_or(0))
}
