//! The tables of a bench side by side: medians per peer, and ratios against what is aimed at.

use std::fmt::Write as _;

use serde::Serialize;

use crate::probe::{Figures, median};

/// One of those that are measured side by side. They stand in the tables in their order.
pub trait Rival: Copy + Ord + Serialize + 'static {
    /// Returns the name in the tables.
    fn title(self) -> &'static str;
}

/// Where and when a bench ran.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    /// When it began, in UTC.
    pub date: String,
    /// The kernel's release.
    pub kernel: String,
    /// Processor cores.
    pub cores: usize,
    /// Seconds of each TCP stream.
    pub tcp_seconds: u64,
}

/// What became of each attempt, in the order in which they were made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Samples<P, F = Figures> {
    /// The figures.
    pub taken: Vec<Sample<P, F>>,
    /// Those who gave none.
    pub failed: Vec<Failure<P>>,
}

/// The figures of one peer in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sample<P, F = Figures> {
    /// The run, from 1.
    pub run: usize,
    /// The peer.
    pub peer: P,
    /// What was measured.
    #[serde(flatten)]
    pub figures: F,
}

/// Why a peer has no figures in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure<P> {
    /// The run, from 1.
    pub run: usize,
    /// The peer.
    pub peer: P,
    /// What went wrong.
    pub reason: String,
}

/// A figure by name, of [`Figures`] where nothing else is said.
pub type Metric<F = Figures> = fn(&F) -> Option<f64>;

/// Round trip, median.
pub const PING: Metric = |figures| Some(figures.ping_us);
/// TCP, one stream.
pub const TCP: Metric = |figures| Some(figures.tcp1_gbps);
/// TCP, four streams.
pub const TCP4: Metric = |figures| Some(figures.tcp4_gbps);
/// Small datagrams delivered under flood.
pub const FLOOD: Metric = |figures| Some(figures.flood_kpps);
/// The same at the best rate of a ladder.
pub const BEST: Metric = |figures| figures.best_kpps;
/// Processor seconds for a GB.
pub const CPU: Metric = |figures| figures.cpu_s_per_gb;
/// Processor time of what is between the hosts, for each small datagram.
pub const CPU_SMALL: Metric = |figures| figures.cpu_us_per_datagram;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column<F = Figures> {
    /// What stands above it.
    pub head: &'static str,
    /// What stands in it, as the median over the runs.
    pub metric: Metric<F>,
    /// Digits behind the point.
    pub digits: usize,
}

impl Column {
    pub(crate) const PING: Self = Self { head: "ping µs", metric: PING, digits: 0 };
    pub(crate) const TCP: Self = Self { head: "TCP 1 stream Gb/s", metric: TCP, digits: 2 };
    pub(crate) const TCP4: Self = Self { head: "TCP 4", metric: TCP4, digits: 2 };
    pub(crate) const FLOOD: Self =
        Self { head: "18-byte UDP delivered under flood, kpps", metric: FLOOD, digits: 0 };
}

/// One aim: a metric of one peer set against the best of others in the same run.
#[derive(Clone, Copy, Debug)]
pub struct Aim<P: 'static, F = Figures> {
    /// It in words.
    pub what: &'static str,
    /// Whose aim it is.
    pub peer: P,
    /// What is compared.
    pub metric: Metric<F>,
    /// Who it is compared with.
    pub against: &'static [P],
    /// How.
    pub compare: Compare,
}

/// What is wanted of a comparison.
#[derive(Clone, Copy, Debug)]
pub enum Compare {
    /// The metric over the highest of the others, at least this.
    AtLeast(f64),
    /// The metric over the lowest of the others, at most this.
    AtMost(f64),
    /// The metric less the lowest of the others, at most this many µs.
    AtMostAbove(f64),
}

impl Head {
    /// Writes it as the line above the tables.
    pub fn markdown(&self, runs: usize) -> String {
        let Self { date, kernel, cores, tcp_seconds } = self;
        format!(
            "{date}, Linux {kernel}, {cores} cores; medians of {runs} runs, the peers taking turns; TCP for \
             {tcp_seconds} s each.\n\n"
        )
    }
}

impl<P, F> Default for Samples<P, F> {
    fn default() -> Self {
        Self { taken: Vec::new(), failed: Vec::new() }
    }
}

impl<P: Rival, F> Samples<P, F> {
    /// Returns the number of runs.
    pub fn runs(&self) -> usize {
        let failed = self.failed.iter().map(|failure| failure.run);
        self.taken.iter().map(|sample| sample.run).chain(failed).max().unwrap_or(0)
    }

    /// Writes the medians as a table whose first column is called `kind`.
    pub fn table(&self, kind: &str, columns: &[Column<F>]) -> String {
        let mut text = format!("| {kind} |");
        for column in columns {
            // Writing to a `String` cannot fail.
            let _ = write!(text, " {} |", column.head);
        }
        text.push_str("\n| --- |");
        text.push_str(&" --- |".repeat(columns.len()));
        text.push('\n');
        for peer in self.peers() {
            let _ = write!(text, "| {} |", peer.title());
            for Column { metric, digits, .. } in columns {
                let values: Vec<_> =
                    self.of(peer).filter_map(|sample| metric(&sample.figures)).collect();
                let _ = match median(&values) {
                    Some(median) => write!(text, " {median:.digits$} |"),
                    None => write!(text, " – |"),
                };
            }
            text.push('\n');
        }
        text
    }

    /// Writes a row for each aim whose parties were measured.
    pub fn aims(&self, aims: &[Aim<P, F>]) -> String {
        let mut rows = String::new();
        for aim in aims {
            let Some(measured) = self.measured(aim) else { continue };
            let (measured, wanted, verdict) = match aim.compare {
                Compare::AtLeast(wanted) => (
                    format!("{measured:.2}"),
                    format!("≥ {wanted}"),
                    verdict(measured >= wanted, || {
                        format!("{:.0} % short", (1.0 - measured / wanted) * 100.0)
                    }),
                ),
                Compare::AtMost(wanted) => (
                    format!("{measured:.2}"),
                    format!("≤ {}", (wanted * 1000.0).round() / 1000.0),
                    verdict(measured <= wanted, || {
                        format!("{:.0} % over", (measured / wanted - 1.0) * 100.0)
                    }),
                ),
                Compare::AtMostAbove(wanted) => (
                    format!("{measured:+.0} µs"),
                    format!("≤ +{wanted:.0} µs"),
                    verdict(measured <= wanted, || format!("{:.0} µs over", measured - wanted)),
                ),
            };
            rows.push_str(&row(aim.what, &measured, &wanted, &verdict));
        }
        rows
    }

    /// Writes what gave no figures, as a list; nothing when all did.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for Failure { run, peer, reason } in &self.failed {
            let _ = writeln!(text, "- run {run}, {}: {}", peer.title(), one_line(reason));
        }
        if text.is_empty() { text } else { format!("\nNot measured:\n\n{text}") }
    }

    fn peers(&self) -> Vec<P> {
        let mut peers: Vec<_> = self.taken.iter().map(|sample| sample.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn of(&self, peer: P) -> impl Iterator<Item = &Sample<P, F>> {
        self.taken.iter().filter(move |sample| sample.peer == peer)
    }

    /// The median over the runs of what each run measured: what drifts between runs cancels out in one.
    fn measured(&self, aim: &Aim<P, F>) -> Option<f64> {
        let of_run = |sample: &Sample<P, F>| {
            let ours = (aim.metric)(&sample.figures)?;
            let theirs = self.taken.iter().filter(|other| other.run == sample.run);
            let theirs = theirs.filter(|other| aim.against.contains(&other.peer));
            let theirs = theirs.filter_map(|other| (aim.metric)(&other.figures));
            match aim.compare {
                Compare::AtLeast(_) => Some(ours / theirs.reduce(f64::max)?),
                Compare::AtMost(_) => Some(ours / theirs.reduce(f64::min)?),
                Compare::AtMostAbove(_) => Some(ours - theirs.reduce(f64::min)?),
            }
        };
        let values: Vec<_> = self.of(aim.peer).filter_map(of_run).collect();
        median(&values)
    }
}

/// Puts the head of a table of aims above its rows; nothing above none.
pub fn aims_table(rows: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "\n| aim (medians over the runs) | measured | wanted | |\n| --- | --- | --- | --- |\n{rows}"
    )
}

/// One row of a table of aims.
pub(crate) fn row(what: &str, measured: &str, wanted: &str, verdict: &str) -> String {
    format!("| {what} | {measured} | {wanted} | {verdict} |\n")
}

/// Puts a reason on one line, and ends it where it goes on and on.
pub(crate) fn one_line(reason: &str) -> String {
    const ENOUGH: usize = 500;
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

/// `met`, or the distance.
pub(crate) fn verdict(met: bool, distance: impl FnOnce() -> String) -> String {
    if met { "met".to_owned() } else { distance() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    enum Who {
        Slow,
        Fast,
        Ours,
    }

    impl Rival for Who {
        fn title(self) -> &'static str {
            match self {
                Self::Slow => "slow",
                Self::Fast => "fast",
                Self::Ours => "ours",
            }
        }
    }

    const OTHERS: &[Who] = &[Who::Slow, Who::Fast];

    fn aim(metric: Metric, compare: Compare) -> Aim<Who> {
        Aim { what: "ours", peer: Who::Ours, metric, against: OTHERS, compare }
    }

    fn sample(run: usize, peer: Who, ping_us: f64, tcp1_gbps: f64) -> Sample<Who> {
        let figures = Figures {
            ping_us,
            tcp1_gbps,
            tcp4_gbps: tcp1_gbps,
            flood_kpps: 100.0,
            offered_kpps: 200.0,
            best_kpps: None,
            cpu_s_per_gb: Some(1.0 / tcp1_gbps),
            cpu_us_per_datagram: None,
            background: 0.0,
        };
        Sample { run, peer, figures }
    }

    fn samples(taken: Vec<Sample<Who>>) -> Samples<Who> {
        Samples { taken, failed: Vec::new() }
    }

    #[test]
    fn ratio_is_taken_within_a_run_before_the_median() {
        // The machine halves its speed in the second run: the ratios do not notice.
        let samples = samples(vec![
            sample(1, Who::Fast, 70.0, 20.0),
            sample(1, Who::Ours, 75.0, 19.0),
            sample(2, Who::Fast, 140.0, 10.0),
            sample(2, Who::Ours, 145.0, 9.5),
        ]);
        let rows =
            samples.aims(&[aim(TCP, Compare::AtLeast(0.9)), aim(PING, Compare::AtMostAbove(10.0))]);
        assert_eq!(rows, "| ours | 0.95 | ≥ 0.9 | met |\n| ours | +5 µs | ≤ +10 µs | met |\n");
    }

    #[test]
    fn missed_aim_states_its_distance_to_the_better_rival() {
        let samples = samples(vec![
            sample(1, Who::Slow, 110.0, 1.0),
            sample(1, Who::Fast, 90.0, 4.0),
            sample(1, Who::Ours, 180.0, 8.0),
        ]);
        let rows = samples.aims(&[
            aim(TCP, Compare::AtLeast(2.5)),
            aim(PING, Compare::AtMost(1.0)),
            aim(CPU, Compare::AtMost(1.0 / 6.0)),
            aim(PING, Compare::AtMostAbove(10.0)),
        ]);
        assert_eq!(
            rows,
            "| ours | 2.00 | ≥ 2.5 | 20 % short |\n\
             | ours | 2.00 | ≤ 1 | 100 % over |\n\
             | ours | 0.50 | ≤ 0.167 | 200 % over |\n\
             | ours | +90 µs | ≤ +10 µs | 80 µs over |\n"
        );
    }

    #[test]
    fn aims_without_their_rival_are_left_out() {
        let samples = samples(vec![sample(1, Who::Ours, 75.0, 15.0)]);
        assert_eq!(aims_table(&samples.aims(&[aim(TCP, Compare::AtLeast(2.0))])), "");
    }

    #[test]
    fn table_has_medians_and_a_dash_where_nothing_was_measured() {
        let samples = samples(vec![
            sample(1, Who::Ours, 70.0, 1.0),
            sample(2, Who::Ours, 90.0, 3.0),
            sample(1, Who::Slow, 10.0, 1.0),
        ]);
        let columns = [
            Column { head: "ping", metric: PING, digits: 0 },
            Column { head: "TCP", metric: TCP, digits: 2 },
            Column { head: "best", metric: BEST, digits: 0 },
        ];
        assert_eq!(
            samples.table("who", &columns),
            "| who | ping | TCP | best |\n\
             | --- | --- | --- | --- |\n\
             | slow | 10 | 1.00 | – |\n\
             | ours | 80 | 2.00 | – |\n"
        );
    }

    #[test]
    fn failed_attempts_are_listed_and_count_as_runs() {
        let reason = "set up: it ended:\n  no key".to_owned();
        let failed = vec![Failure { run: 2, peer: Who::Ours, reason }];
        let samples = Samples { taken: vec![sample(1, Who::Ours, 70.0, 1.0)], failed };
        assert_eq!(samples.runs(), 2);
        assert_eq!(
            samples.failures(),
            "\nNot measured:\n\n- run 2, ours: set up: it ended: no key\n"
        );
    }
}
