//! The tables of a bench of WireGuard servers, and what is aimed at there.

use serde::Serialize;

use super::{crowd::KEEPALIVE, server::Server};
use crate::{
    probe::IdlePeers,
    report::{Aim, CPU, Column, Compare, Head, Metric, PING, Samples, TCP, TCP4, aims_table},
};

/// Everything measured in one bench.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// Where and when.
    #[serde(flatten)]
    pub(super) head: Head,
    /// Which programs should have been there, and are not on this machine.
    pub(super) absent: Vec<&'static str>,
    /// The figures, by client and direction.
    pub(super) parts: Vec<Part>,
}

/// The figures with one client, one way.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Part {
    pub(super) what: String,
    #[serde(flatten)]
    pub(super) samples: Samples<Server>,
}

/// What was measured of weft alone.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Alone {
    /// Where and when.
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) idle: Option<IdlePeers>,
}

const COLUMNS: &[Column] = &[
    Column::PING,
    Column::TCP,
    Column::TCP4,
    Column::FLOOD,
    Column { head: "CPU s per GB, the server", metric: CPU, digits: 2 },
];

const OTHERS: &[Server] = &[Server::WireguardGo, Server::Boringtun, Server::Gotatun];

const AIMS: &[Aim<Server>] = &[
    aim("CPU s per GB / boringtun's", CPU, &[Server::Boringtun], Compare::AtMost(0.5)),
    aim("TCP 1 stream / the best other server", TCP, OTHERS, Compare::AtLeast(1.0)),
    aim("TCP 4 streams / the best other server", TCP4, OTHERS, Compare::AtLeast(1.0)),
    aim("round trip / the best other server", PING, OTHERS, Compare::AtMost(1.0)),
];

const fn aim(
    what: &'static str,
    metric: Metric,
    against: &'static [Server],
    compare: Compare,
) -> Aim<Server> {
    Aim { what, peer: Server::Weft, metric, against, compare }
}

impl Report {
    /// Writes all tables as markdown.
    pub(super) fn markdown(&self) -> String {
        let runs = self.parts.iter().map(|part| part.samples.runs()).max().unwrap_or(0);
        let mut text = self.head.markdown(runs);
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
            format!("### {}\n\n", self.what),
            self.samples.table("server", COLUMNS),
            aims_table(&self.samples.aims(AIMS)),
            self.samples.failures(),
        ]
        .join("")
    }
}

impl Alone {
    /// Writes what was measured as a table of aims.
    pub(super) fn markdown(&self) -> String {
        let Head { date, kernel, cores, .. } = &self.head;
        let what = |idle: &IdlePeers| {
            let every = KEEPALIVE.as_secs();
            idle.row(&format!("{} connected clients, a keepalive each {every} s", idle.peers))
        };
        let rows = self.idle.as_ref().map(what).unwrap_or_default();
        format!("{date}, Linux {kernel}, {cores} cores; weft alone.\n") + &aims_table(&rows)
    }
}
