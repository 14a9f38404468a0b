//! The tables of a bench of guests in shared memory, and what is aimed at there.

use serde::Serialize;

use super::{
    crime::Crime,
    frames::Frames,
    guests::Guests,
    neighbours::{self, Beside},
    peer::Peer,
    rings::Segments,
};
use crate::report::{Aim, Column, Compare, Head, Rival, Samples, aims_table};

/// Everything measured in one bench.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    /// Where and when.
    #[serde(flatten)]
    pub(super) head: Head,
    /// Who should have been measured, and is not on this machine.
    pub(super) absent: Vec<&'static str>,
    pub(super) frames: Samples<Peer, Frames>,
    pub(super) segments: Samples<Peer, Segments>,
    pub(super) guests: Samples<Peer, Guests>,
    pub(super) neighbours: Samples<Crime, Beside>,
}

const FRAMES: &[Column<Frames>] = &[
    Column { head: "64 bytes, Mpps", metric: |frames| Some(frames.small.mpps), digits: 2 },
    Column { head: "1500 bytes, Mpps", metric: |frames| Some(frames.large.mpps), digits: 2 },
    Column { head: "64 bytes, cores far apart", metric: |frames| frames.small.far_mpps, digits: 2 },
    Column { head: "1500 bytes, far", metric: |frames| frames.large.far_mpps, digits: 2 },
    Column { head: "core to core and back, ns", metric: |frames| frames.small.apart_ns, digits: 0 },
    Column { head: "cores busy", metric: |frames| Some(frames.cores), digits: 2 },
];

const SEGMENTS: &[Column<Segments>] = &[
    Column { head: "64 KiB TCP frames, Gb/s", metric: |segments| Some(segments.gbps), digits: 1 },
    Column { head: "cores busy", metric: |segments| Some(segments.cores), digits: 2 },
];

const GUESTS: &[Column<Guests>] = &[
    Column { head: "ping µs", metric: |guests| Some(guests.ping_us), digits: 0 },
    Column {
        head: "TCP Gb/s, mean of both ways",
        metric: |guests| Some(guests.tcp_gbps),
        digits: 3,
    },
];

const FRAME_AIMS: &[Aim<Peer, Frames>] = &[
    Aim {
        what: "64 bytes / OVS with DPDK",
        peer: Peer::Weft,
        metric: |frames| Some(frames.small.mpps),
        against: &[Peer::OvsDpdk],
        compare: Compare::AtLeast(1.15),
    },
    Aim {
        what: "64 bytes / bare copier",
        peer: Peer::Weft,
        metric: |frames| Some(frames.small.mpps),
        against: &[Peer::Testpmd],
        compare: Compare::AtLeast(0.75),
    },
    Aim {
        what: "1500 bytes / OVS with DPDK",
        peer: Peer::Weft,
        metric: |frames| Some(frames.large.mpps),
        against: &[Peer::OvsDpdk],
        compare: Compare::AtLeast(1.15),
    },
    Aim {
        what: "1500 bytes / bare copier",
        peer: Peer::Weft,
        metric: |frames| Some(frames.large.mpps),
        against: &[Peer::Testpmd],
        compare: Compare::AtLeast(0.75),
    },
];

/// More than this is asked of nobody: four fifths of it are the 40 Gb/s that are wanted.
const ENOUGH_GBPS: f64 = 50.0;

const SEGMENT_AIMS: &[Aim<Peer, Segments>] = &[Aim {
    what: "64 KiB TCP frames / bare copier, what is above 50 Gb/s not counted",
    peer: Peer::Weft,
    metric: |segments| Some(segments.gbps.min(ENOUGH_GBPS)),
    against: &[Peer::Testpmd],
    compare: Compare::AtLeast(0.8),
}];

const GUEST_AIMS: &[Aim<Peer, Guests>] = &[
    Aim {
        what: "guests, TCP / kernel bridge, TAP",
        peer: Peer::Weft,
        metric: |guests| Some(guests.tcp_gbps),
        against: &[Peer::Bridge],
        compare: Compare::AtLeast(1.0),
    },
    Aim {
        what: "guests, round trip / kernel bridge, TAP",
        peer: Peer::Weft,
        metric: |guests| Some(guests.ping_us),
        against: &[Peer::Bridge],
        compare: Compare::AtMost(1.0),
    },
];

impl Report {
    /// Writes all tables as markdown.
    pub(super) fn markdown(&self) -> String {
        let Self { head, absent, frames, segments, guests, neighbours } = self;
        let runs = [frames.runs(), segments.runs(), guests.runs(), neighbours.runs()];
        let runs = runs.into_iter().max().unwrap_or(0);
        let mut text = head.markdown(runs);
        if !absent.is_empty() {
            text += &format!("Not on this machine: {}.\n\n", absent.join(", "));
        }
        let rows = [
            frames.aims(FRAME_AIMS),
            segments.aims(SEGMENT_AIMS),
            guests.aims(GUEST_AIMS),
            neighbours::aims(neighbours),
        ];
        let tables = [
            part("two `net_virtio_user`, both ways", frames, FRAMES),
            part("ring to ring, one way", segments, SEGMENTS),
            part("two QEMU guests (TCG)", guests, GUESTS),
            part("beside two `net_virtio_user`, 64 bytes", neighbours, neighbours::COLUMNS),
        ];
        text += &tables.concat();
        text += aims_table(&rows.concat()).trim_start_matches('\n');
        text + &[frames.failures(), segments.failures(), guests.failures(), neighbours.failures()]
            .concat()
    }
}

/// Writes a table, where there is something to stand in it.
fn part<P: Rival, F>(kind: &str, samples: &Samples<P, F>, columns: &[Column<F>]) -> String {
    if samples.taken.is_empty() {
        return String::new();
    }
    samples.table(kind, columns) + "\n"
}
