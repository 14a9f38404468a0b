//! The tables of a bench of tunnels, and what is aimed at there.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    endurance::{ManyPeers, Rekey},
    flood::Flood,
    moves::Moves,
    peer::{ENCRYPTED, Peer},
};
use crate::{
    gateways::Underlay,
    probe::IdlePeers,
    report::{
        Aim, BEST, CPU, Column, Compare, FLOOD, Head, Metric, PING, Samples, TCP, TCP4, aims_table,
    },
};

/// Everything measured side by side in one bench.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// Where and when.
    #[serde(flatten)]
    pub(super) head: Head,
    /// What the programs call their versions.
    pub(super) versions: BTreeMap<&'static str, String>,
    /// Who should have been measured, and is not on this machine.
    pub(super) absent: Vec<&'static str>,
    /// The figures, by underlay.
    pub(super) parts: Vec<Part>,
}

/// The figures over one underlay.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Part {
    pub(super) underlay: Underlay,
    #[serde(flatten)]
    pub(super) samples: Samples<Peer>,
}

/// What was measured of weft alone.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Endurance {
    /// Where and when.
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) rekey: Option<Rekey>,
    pub(super) flood: Option<Flood>,
    pub(super) moves: Option<Moves>,
    pub(super) idle: Option<IdlePeers>,
    pub(super) many: Option<ManyPeers>,
}

const COLUMNS: &[Column] = &[
    Column::PING,
    Column::TCP,
    Column::TCP4,
    Column::FLOOD,
    Column { head: "at the best rate", metric: BEST, digits: 0 },
    Column { head: "CPU s per GB, both ends", metric: CPU, digits: 2 },
];

/// What is wanted of weft against the best of the encrypted rivals.
const fn aims(underlay: Underlay) -> [Aim<Peer>; 5] {
    let streams = Compare::AtLeast(if matches!(underlay, Underlay::Veth) { 8.0 } else { 4.0 });
    [
        aim("TCP 1 stream / the best encrypted peer", TCP, streams),
        aim("TCP 4 streams / the best encrypted peer", TCP4, streams),
        aim(
            "18-byte UDP delivered under flood / the best encrypted peer",
            FLOOD,
            Compare::AtLeast(1.5),
        ),
        aim("round trip / the best encrypted peer", PING, Compare::AtMost(1.0)),
        aim("CPU s per GB / the best encrypted peer", CPU, Compare::AtMost(1.0 / 6.0)),
    ]
}

const fn aim(what: &'static str, metric: Metric, compare: Compare) -> Aim<Peer> {
    Aim { what, peer: Peer::WeftAes, metric, against: ENCRYPTED, compare }
}

impl Report {
    /// Writes all tables as markdown.
    pub(super) fn markdown(&self) -> String {
        let runs = self.parts.iter().map(|part| part.samples.runs()).max().unwrap_or(0);
        let mut text = self.head.markdown(runs);
        let versions: Vec<_> =
            self.versions.iter().map(|(peer, version)| format!("{peer} {version}")).collect();
        if !versions.is_empty() {
            text += &format!("Versions: {}.\n\n", versions.join(", "));
        }
        if !self.absent.is_empty() {
            text += &format!("Not on this machine: {}.\n\n", self.absent.join(", "));
        }
        let parts: Vec<_> = self.parts.iter().map(Part::markdown).collect();
        text + &parts.join("\n")
    }
}

impl Part {
    fn markdown(&self) -> String {
        [
            format!("### {}\n\n", self.underlay.title()),
            self.samples.table("tunnel", COLUMNS),
            aims_table(&self.samples.aims(&aims(self.underlay))),
            self.samples.failures(),
        ]
        .join("")
    }
}

impl Endurance {
    /// Writes what was measured as a table of aims.
    pub(super) fn markdown(&self) -> String {
        let rows = [
            self.rekey.as_ref().map(Rekey::rows),
            self.flood.as_ref().map(Flood::rows),
            self.moves.as_ref().map(Moves::rows),
            self.idle.as_ref().map(|idle| idle.row(&format!("{} idle peers", idle.peers))),
            self.many.as_ref().map(ManyPeers::rows),
        ];
        let Head { date, kernel, cores, .. } = &self.head;
        let head = format!("{date}, Linux {kernel}, {cores} cores; weft alone.\n");
        head + &aims_table(&rows.into_iter().flatten().collect::<String>())
    }
}
