//! The tables of a bench of switches, and what is aimed at there.

use serde::Serialize;

use super::peer::Peer;
use crate::{
    probe::Idle,
    report::{
        Aim, CPU, CPU_SMALL, Column, Compare, FLOOD, Head, PING, Samples, TCP, aims_table, row,
        verdict,
    },
};

/// Everything measured in one bench.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// Where and when.
    #[serde(flatten)]
    pub head: Head,
    /// The figures.
    #[serde(flatten)]
    pub samples: Samples<Peer>,
    /// An idle weft, where one was measured.
    pub idle: Option<IdlePorts>,
}

/// An idle weft and the ports that it has.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct IdlePorts {
    /// The number of ports.
    pub ports: usize,
    /// What it uses.
    #[serde(flatten)]
    pub idle: Idle,
}

const COLUMNS: &[Column] = &[
    Column::PING,
    Column::TCP,
    Column::TCP4,
    Column { head: "18-byte UDP delivered, kpps", metric: FLOOD, digits: 0 },
    Column { head: "switch CPU µs each", metric: CPU_SMALL, digits: 2 },
    Column { head: "switch CPU s per GB", metric: CPU, digits: 2 },
];

const AIMS: &[Aim<Peer>] = &[
    Aim {
        what: "`tap`, TCP 1 stream / bare TAP copier",
        peer: Peer::WeftTap,
        metric: TCP,
        against: &[Peer::CopierTap],
        compare: Compare::AtLeast(0.9),
    },
    Aim {
        what: "`tap`, TCP 1 stream / OVS TAP with TSO",
        peer: Peer::WeftTap,
        metric: TCP,
        against: &[Peer::OvsTapTso],
        compare: Compare::AtLeast(1.2),
    },
    Aim {
        what: "`tap`, TCP 1 stream / kernel bridge",
        peer: Peer::WeftTap,
        metric: TCP,
        against: &[Peer::Bridge],
        compare: Compare::AtLeast(0.8),
    },
    Aim {
        what: "`netdev`, TCP 1 stream / bare packet-socket copier",
        peer: Peer::WeftNetdev,
        metric: TCP,
        against: &[Peer::CopierPacket],
        compare: Compare::AtLeast(0.9),
    },
    Aim {
        what: "`netdev`, TCP 1 stream / OVS veth with TSO",
        peer: Peer::WeftNetdev,
        metric: TCP,
        against: &[Peer::OvsVethTso],
        compare: Compare::AtLeast(1.5),
    },
    Aim {
        what: "`tap`, 18-byte UDP delivered / the better OVS TAP",
        peer: Peer::WeftTap,
        metric: FLOOD,
        against: &[Peer::OvsTap, Peer::OvsTapTso],
        compare: Compare::AtLeast(1.3),
    },
    Aim {
        what: "`netdev`, 18-byte UDP delivered / the better OVS veth",
        peer: Peer::WeftNetdev,
        metric: FLOOD,
        against: &[Peer::OvsVeth, Peer::OvsVethTso],
        compare: Compare::AtLeast(1.3),
    },
    Aim {
        what: "`tap`, round trip − bare TAP copier",
        peer: Peer::WeftTap,
        metric: PING,
        against: &[Peer::CopierTap],
        compare: Compare::AtMostAbove(10.0),
    },
    Aim {
        what: "`netdev`, round trip − bare packet-socket copier",
        peer: Peer::WeftNetdev,
        metric: PING,
        against: &[Peer::CopierPacket],
        compare: Compare::AtMostAbove(10.0),
    },
    Aim {
        what: "`xdp`, 18-byte UDP delivered / OVS AF_XDP",
        peer: Peer::WeftXdp,
        metric: FLOOD,
        against: &[Peer::OvsXdp],
        compare: Compare::AtLeast(1.0),
    },
    Aim {
        what: "`xdp`, switch CPU per 18-byte datagram / OVS AF_XDP",
        peer: Peer::WeftXdp,
        metric: CPU_SMALL,
        against: &[Peer::OvsXdp],
        compare: Compare::AtMost(1.0),
    },
    Aim {
        what: "`xdp`, round trip − OVS AF_XDP",
        peer: Peer::WeftXdp,
        metric: PING,
        against: &[Peer::OvsXdp],
        compare: Compare::AtMostAbove(0.0),
    },
    Aim {
        what: "`tap`, TCP 1 stream, all captured / not",
        peer: Peer::WeftTapCaptured,
        metric: TCP,
        against: &[Peer::WeftTap],
        compare: Compare::AtLeast(0.8),
    },
    Aim {
        what: "`tap`, 18-byte UDP delivered, all captured / not",
        peer: Peer::WeftTapCaptured,
        metric: FLOOD,
        against: &[Peer::WeftTap],
        compare: Compare::AtLeast(0.8),
    },
    Aim {
        what: "`netdev`, TCP 1 stream, all captured / not",
        peer: Peer::WeftNetdevCaptured,
        metric: TCP,
        against: &[Peer::WeftNetdev],
        compare: Compare::AtLeast(0.8),
    },
    Aim {
        what: "`netdev`, 18-byte UDP delivered, all captured / not",
        peer: Peer::WeftNetdevCaptured,
        metric: FLOOD,
        against: &[Peer::WeftNetdev],
        compare: Compare::AtLeast(0.8),
    },
];

const IDLE_CPU_PERCENT: f64 = 1.0;
const IDLE_RESIDENT_MIB: f64 = 64.0;

impl Report {
    /// Writes both tables as markdown.
    pub(super) fn markdown(&self) -> String {
        let mut rows = self.samples.aims(AIMS);
        if let Some(idle) = self.idle {
            rows.push_str(&idle_rows(idle));
        }
        [
            self.head.markdown(self.samples.runs()),
            self.samples.table("switch", COLUMNS),
            aims_table(&rows),
            self.samples.failures(),
        ]
        .join("")
    }
}

fn idle_rows(IdlePorts { ports, idle: Idle { cpu_percent, resident_mib } }: IdlePorts) -> String {
    let processor = row(
        &format!("idle daemon, {ports} ports, processor"),
        &format!("{cpu_percent:.2} % of a core"),
        &format!("< {IDLE_CPU_PERCENT} %"),
        &verdict(cpu_percent < IDLE_CPU_PERCENT, || {
            format!("{:.1} % over", cpu_percent - IDLE_CPU_PERCENT)
        }),
    );
    let memory = row(
        &format!("idle daemon, {ports} ports, resident"),
        &format!("{resident_mib:.1} MiB"),
        &format!("< {IDLE_RESIDENT_MIB} MiB"),
        &verdict(resident_mib < IDLE_RESIDENT_MIB, || {
            format!("{:.0} MiB over", resident_mib - IDLE_RESIDENT_MIB)
        }),
    );
    processor + &memory
}
