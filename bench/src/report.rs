//! The tables of a bench of switches: medians per peer, and ratios against what is aimed at.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    peer::Peer,
    probe::{Figures, Idle, median},
};

/// Everything measured in one bench.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// When it began, in UTC.
    pub date: String,
    /// The kernel's release.
    pub kernel: String,
    /// Processor cores.
    pub cores: usize,
    /// Seconds of each TCP stream.
    pub tcp_seconds: u64,
    /// The figures, in the order in which they were taken.
    pub samples: Vec<Sample>,
    /// An idle weft, where one was measured.
    pub idle: Option<Idle>,
}

/// The figures of one peer in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sample {
    /// The run, from 1.
    pub run: usize,
    /// The peer.
    pub peer: Peer,
    /// What was measured.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A figure of [`Figures`] by name.
type Metric = fn(&Figures) -> f64;

const PING: Metric = |figures| figures.ping_us;
const TCP: Metric = |figures| figures.tcp1_gbps;
const FLOOD: Metric = |figures| figures.flood_kpps;

/// One aim: a metric of one peer set against others of the same run.
struct Aim {
    what: &'static str,
    peer: Peer,
    metric: Metric,
    against: &'static [Peer],
    compare: Compare,
}

enum Compare {
    /// The metric over the best of the others, at least this.
    AtLeast(f64),
    /// The metric less the best of the others, at most this many µs.
    AtMostAbove(f64),
}

const AIMS: &[Aim] = &[
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
];

const IDLE_CPU_PERCENT: f64 = 1.0;
const IDLE_RESIDENT_MIB: f64 = 64.0;

impl Report {
    /// Writes both tables as markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let runs = self.samples.iter().map(|sample| sample.run).max().unwrap_or(0);
        let Self { date, kernel, cores, tcp_seconds, .. } = self;
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{date}, Linux {kernel}, {cores} cores; medians of {runs} runs, the peers taking turns; TCP for \
             {tcp_seconds} s each.\n"
        );
        text.push_str(
            "| switch | ping µs | TCP 1 stream Gb/s | TCP 4 | 18-byte UDP delivered, kpps | switch CPU s per GB |\n\
             | --- | --- | --- | --- | --- | --- |\n",
        );
        for peer in self.peers() {
            let figure = |metric: Metric| {
                let values: Vec<_> = self.of(peer).map(|sample| metric(&sample.figures)).collect();
                median(&values).unwrap_or(f64::NAN)
            };
            let cpu: Vec<_> =
                self.of(peer).filter_map(|sample| sample.figures.cpu_s_per_gb).collect();
            let cpu = median(&cpu).map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.2}"));
            let tcp4 = figure(|figures| figures.tcp4_gbps);
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.2} | {tcp4:.2} | {:.0} | {cpu} |",
                peer.title(),
                figure(PING),
                figure(TCP),
                figure(FLOOD),
            );
        }
        let aims = self.aims();
        if !aims.is_empty() {
            text.push_str(
                "\n| aim (medians over the runs) | measured | wanted | |\n| --- | --- | --- | --- |\n",
            );
            text.push_str(&aims);
        }
        text
    }

    fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<_> = self.samples.iter().map(|sample| sample.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn of(&self, peer: Peer) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.peer == peer)
    }

    fn aims(&self) -> String {
        let mut rows = String::new();
        for aim in AIMS {
            let Some(measured) = self.measured(aim) else { continue };
            let _ = match aim.compare {
                Compare::AtLeast(wanted) => {
                    let verdict = verdict(measured >= wanted, || {
                        format!("{:.0} % short", (1.0 - measured / wanted) * 100.0)
                    });
                    writeln!(rows, "| {} | {measured:.2} | ≥ {wanted} | {verdict} |", aim.what)
                }
                Compare::AtMostAbove(wanted) => {
                    let verdict =
                        verdict(measured <= wanted, || format!("{:.0} µs over", measured - wanted));
                    writeln!(
                        rows,
                        "| {} | {measured:+.0} µs | ≤ +{wanted:.0} µs | {verdict} |",
                        aim.what
                    )
                }
            };
        }
        if let Some(Idle { ports, cpu_percent, resident_mib }) = self.idle {
            let cpu = verdict(cpu_percent < IDLE_CPU_PERCENT, || {
                format!("{:.1} % over", cpu_percent - IDLE_CPU_PERCENT)
            });
            let _ = writeln!(
                rows,
                "| idle daemon, {ports} ports, processor | {cpu_percent:.2} % of a core | < {IDLE_CPU_PERCENT} % | {cpu} |"
            );
            let memory = verdict(resident_mib < IDLE_RESIDENT_MIB, || {
                format!("{:.0} MiB over", resident_mib - IDLE_RESIDENT_MIB)
            });
            let _ = writeln!(
                rows,
                "| idle daemon, {ports} ports, resident | {resident_mib:.1} MiB | < {IDLE_RESIDENT_MIB} MiB | {memory} |"
            );
        }
        rows
    }

    /// The median over the runs of what each run measured: what drifts between runs cancels out in one.
    fn measured(&self, aim: &Aim) -> Option<f64> {
        let of_run = |sample: &Sample| {
            let ours = (aim.metric)(&sample.figures);
            let theirs = self.samples.iter().filter(|other| other.run == sample.run);
            let theirs = theirs.filter(|other| aim.against.contains(&other.peer));
            let theirs = theirs.map(|other| (aim.metric)(&other.figures));
            match aim.compare {
                Compare::AtLeast(_) => Some(ours / theirs.reduce(f64::max)?),
                Compare::AtMostAbove(_) => Some(ours - theirs.reduce(f64::min)?),
            }
        };
        let values: Vec<_> = self.of(aim.peer).filter_map(of_run).collect();
        median(&values)
    }
}

fn verdict(met: bool, distance: impl FnOnce() -> String) -> String {
    if met { "met".to_owned() } else { distance() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(run: usize, peer: Peer, ping_us: f64, tcp1_gbps: f64, flood_kpps: f64) -> Sample {
        let figures = Figures {
            ping_us,
            tcp1_gbps,
            tcp4_gbps: tcp1_gbps,
            flood_kpps,
            offered_kpps: flood_kpps,
            cpu_s_per_gb: None,
            background: 0.0,
        };
        Sample { run, peer, figures }
    }

    fn report(samples: Vec<Sample>) -> Report {
        Report {
            date: "2026-01-01 00:00 UTC".to_owned(),
            kernel: "6.1".to_owned(),
            cores: 2,
            tcp_seconds: 5,
            samples,
            idle: None,
        }
    }

    #[test]
    fn ratio_is_taken_within_a_run_before_the_median() {
        // The machine halves its speed in the second run: the ratios do not notice.
        let report = report(vec![
            sample(1, Peer::CopierTap, 70.0, 20.0, 200.0),
            sample(1, Peer::WeftTap, 75.0, 19.0, 200.0),
            sample(2, Peer::CopierTap, 140.0, 10.0, 100.0),
            sample(2, Peer::WeftTap, 145.0, 9.5, 100.0),
        ]);
        let text = report.markdown();
        assert!(
            text.contains("| `tap`, TCP 1 stream / bare TAP copier | 0.95 | ≥ 0.9 | met |"),
            "{text}"
        );
        assert!(
            text.contains("| `tap`, round trip − bare TAP copier | +5 µs | ≤ +10 µs | met |"),
            "{text}"
        );
    }

    #[test]
    fn missed_aim_states_its_distance_to_the_better_rival() {
        let report = report(vec![
            sample(1, Peer::OvsTap, 110.0, 1.0, 100.0),
            sample(1, Peer::OvsTapTso, 110.0, 15.0, 200.0),
            sample(1, Peer::WeftTap, 75.0, 15.0, 208.0),
        ]);
        let text = report.markdown();
        assert!(text.contains("OVS TAP with TSO | 1.00 | ≥ 1.2 | 17 % short |"), "{text}");
        assert!(text.contains("the better OVS TAP | 1.04 | ≥ 1.3 | 20 % short |"), "{text}");
    }

    #[test]
    fn aims_without_their_rival_are_left_out() {
        let text = report(vec![sample(1, Peer::WeftTap, 75.0, 15.0, 208.0)]).markdown();
        assert!(!text.contains("wanted"), "{text}");
    }
}
