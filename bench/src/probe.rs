//! What is measured between two hosts, one figure at a time on a machine that is otherwise quiet.

use std::{fmt, fs, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::{
    clock::{self, wait_until},
    lab::{Lab, Process, run},
    report::{row, verdict},
    site::{PATIENCE, Site, Tools},
    udp::{self, Count, Rate},
};

const PINGS: &str = "500";
const FLOOD: Duration = Duration::from_secs(2);
const RUNG: Duration = Duration::from_secs(1);
const UDP_PORT: &str = "9000";
const QUIET_LIMIT: Duration = Duration::from_secs(25);
const QUIET_LOOK: Duration = Duration::from_millis(300);
/// Cores that may be busy with other things when a measurement begins.
const QUIET: f64 = 0.2;

/// How much is asked of a site.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How long a TCP stream lasts.
    pub tcp: Duration,
    /// Rates at which small datagrams are offered after the flood, rising, in datagrams a second.
    pub ladder: &'static [u32],
}

/// The figures of one peer in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Figures {
    /// Round trip, median, in µs.
    pub ping_us: f64,
    /// TCP, one stream, in Gb/s.
    pub tcp1_gbps: f64,
    /// TCP, four streams, in Gb/s.
    pub tcp4_gbps: f64,
    /// Datagrams of 18 bytes delivered under flood, in thousands a second.
    pub flood_kpps: f64,
    /// Datagrams of 18 bytes sent during the flood, in thousands a second.
    pub offered_kpps: f64,
    /// The same at the best rate of a ladder, the flood among them; where one was climbed.
    pub best_kpps: Option<f64>,
    /// Processor seconds of the processes between the hosts for a GB of one TCP stream.
    pub cpu_s_per_gb: Option<f64>,
    /// Processor µs of the processes between the hosts for each datagram of the flood that was delivered.
    pub cpu_us_per_datagram: Option<f64>,
    /// Cores busy with other things just before a figure was taken, the worst of them.
    pub background: f64,
}

impl fmt::Display for Figures {
    /// Writes them on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ping_us, tcp1_gbps, tcp4_gbps, flood_kpps, offered_kpps, .. } = self;
        write!(
            f,
            "ping {ping_us:.0} µs, TCP {tcp1_gbps:.2} and {tcp4_gbps:.2} Gb/s, {flood_kpps:.0} kpps of \
             {offered_kpps:.0} delivered"
        )?;
        if let Some(best) = self.best_kpps {
            write!(f, ", {best:.0} at best")?;
        }
        if let Some(cpu) = self.cpu_s_per_gb {
            write!(f, ", {cpu:.2} CPU s per GB")?;
        }
        if let Some(cpu) = self.cpu_us_per_datagram {
            write!(f, ", {cpu:.2} CPU µs per datagram")?;
        }
        Ok(())
    }
}

/// The figures of an idle daemon.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Idle {
    /// Processor time, in percent of a core.
    pub cpu_percent: f64,
    /// Resident memory, in MiB.
    pub resident_mib: f64,
}

/// A daemon with peers that are up and idle.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct IdlePeers {
    /// The number of peers.
    pub peers: usize,
    /// What the daemon uses.
    #[serde(flatten)]
    pub idle: Idle,
}

impl IdlePeers {
    /// Writes it, `what` in words, as a row of a table of aims.
    pub(crate) fn row(&self, what: &str) -> String {
        const PERCENT: f64 = 1.0;
        let Idle { cpu_percent, resident_mib } = self.idle;
        row(
            &format!("{what}, processor ({resident_mib:.0} MiB resident)"),
            &format!("{cpu_percent:.2} % of a core"),
            &format!("< {PERCENT} %"),
            &verdict(cpu_percent < PERCENT, || format!("{:.1} % over", cpu_percent - PERCENT)),
        )
    }
}

/// Takes all figures of a site.
///
/// # Errors
/// When a probe fails.
pub fn measure(lab: &Lab, tools: &Tools, site: &Site, effort: Effort) -> Result<Figures> {
    let mut background = 0.0_f64;
    let mut quiet = || -> Result<()> {
        background = background.max(wait_for_quiet()?);
        Ok(())
    };
    quiet()?;
    let ping_us = ping(site)?;
    quiet()?;
    let before = time_of(&site.processes)?;
    let (tcp1_gbps, bytes) = stream(lab, site, 1, effort.tcp)?;
    let cpu_s_per_gb = (time_of(&site.processes)? - before) / (bytes / 1e9);
    quiet()?;
    let (tcp4_gbps, _) = stream(lab, site, 4, effort.tcp)?;
    quiet()?;
    let before = time_of(&site.processes)?;
    let flood = datagrams(lab, tools, site, Rate::Flood, FLOOD)?;
    let delivered = flood.delivered_kpps * 1e3 * FLOOD.as_secs_f64();
    let cpu_us_per_datagram = (time_of(&site.processes)? - before) * 1e6 / delivered;
    let best_kpps = match effort.ladder {
        [] => None,
        ladder => Some(climb(lab, tools, site, ladder)?.max(flood.delivered_kpps)),
    };
    Ok(Figures {
        ping_us,
        tcp1_gbps,
        tcp4_gbps,
        flood_kpps: flood.delivered_kpps,
        offered_kpps: flood.offered_kpps,
        best_kpps,
        cpu_s_per_gb: (!site.processes.is_empty()).then_some(cpu_s_per_gb),
        cpu_us_per_datagram: (!site.processes.is_empty()).then_some(cpu_us_per_datagram),
        background,
    })
}

/// Watches an idle daemon for `length`.
///
/// # Errors
/// When the process is gone.
pub fn watch_idle(process: &Process, length: Duration) -> Result<Idle> {
    let (begin, before) = (clock::now(), cpu_seconds(process)?);
    std::thread::sleep(length);
    let used = cpu_seconds(process)? - before;
    let cpu_percent = used / begin.elapsed().as_secs_f64() * 100.0;
    Ok(Idle { cpu_percent, resident_mib: resident_mib(process)? })
}

/// Returns the resident memory of a process, in MiB.
///
/// # Errors
/// When the process is gone.
pub fn resident_mib(process: &Process) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid))?;
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = resident.trim().trim_end_matches(" kB").parse().context("VmRSS")?;
    Ok(kib / 1024.0)
}

fn ping(site: &Site) -> Result<f64> {
    let args = ["-i", "0.002", "-c", PINGS, "-W", "1", site.address];
    let output = run(site.near.command("ping").args(args))?;
    let time = |line: &str| line.split_once("time=")?.1.split(' ').next()?.parse::<f64>().ok();
    let times: Vec<_> = output.lines().filter_map(time).collect();
    median(&times).map(|ms| ms * 1000.0).context("ping measured nothing")
}

pub(crate) fn stream(
    lab: &Lab,
    site: &Site,
    streams: usize,
    length: Duration,
) -> Result<(f64, f64)> {
    let mut server = site.far.command("iperf3");
    let server =
        lab.spawn(server.args(["-s", "-1", "-p", "5201", "--forceflush"]), "iperf3-server.log")?;
    wait_until("iperf3 listening", Duration::from_secs(5), || {
        Ok(server.output()?.contains("listening"))
    })?;
    let (streams, seconds) = (streams.to_string(), length.as_secs().to_string());
    let mut client = site.near.command("iperf3");
    client.args([
        "-c",
        site.address,
        "-p",
        "5201",
        "-C",
        "cubic",
        "-P",
        &streams,
        "-t",
        &seconds,
        "-J",
    ]);
    let client = lab.spawn(&client, "iperf3-client.log")?;
    let output = lab.finish(&client, length + Duration::from_secs(10)).context("iperf3")?;
    lab.stop(&server);
    let report: Value = serde_json::from_str(&output).context("iperf3's report")?;
    let received = &report["end"]["sum_received"];
    let field =
        |name: &str| received[name].as_f64().with_context(|| format!("iperf3 reports no {name}"));
    Ok((field("bits_per_second")? / 1e9, field("bytes")?))
}

/// What became of small datagrams, in thousands a second.
struct Delivery {
    delivered_kpps: f64,
    offered_kpps: f64,
}

fn datagrams(
    lab: &Lab,
    tools: &Tools,
    site: &Site,
    rate: Rate,
    length: Duration,
) -> Result<Delivery> {
    let mut counter = site.far.command(&tools.bench);
    let limit = length + Duration::from_secs(5);
    counter.args(["count", "--port", UDP_PORT, "--seconds", &limit.as_secs().to_string()]);
    let counter = lab.spawn(&counter, "count.log")?;
    lab.wait_for_line(&counter, udp::LISTENING, PATIENCE)?;
    let mut sender = site.near.command(&tools.bench);
    let to = format!("{}:{UDP_PORT}", site.address);
    sender.args(["blast", "--to", &to, "--seconds", &length.as_secs().to_string()]);
    if let Rate::PerSecond(rate) = rate {
        sender.args(["--rate", &rate.to_string()]);
    }
    let sent: Count = udp::report(&lab.finish(&lab.spawn(&sender, "blast.log")?, limit)?)?;
    let received: Count = udp::report(&lab.finish(&counter, limit)?)?;
    let per_second = |count: Count| count.datagrams as f64 / length.as_secs_f64() / 1e3;
    Ok(Delivery { delivered_kpps: per_second(received), offered_kpps: per_second(sent) })
}

/// Offers more and more until most is lost or the sender cannot follow, and returns the most that was
/// delivered.
fn climb(lab: &Lab, tools: &Tools, site: &Site, ladder: &[u32]) -> Result<f64> {
    let mut best = 0.0_f64;
    for &rate in ladder {
        let rung = datagrams(lab, tools, site, Rate::PerSecond(rate), RUNG)?;
        best = best.max(rung.delivered_kpps);
        let follows = rung.offered_kpps > 0.85 * f64::from(rate) / 1e3;
        if !follows || rung.delivered_kpps < 0.6 * rung.offered_kpps {
            break;
        }
    }
    Ok(best)
}

/// Waits until little else runs, not for ever, and returns how many cores were busy in the end.
pub(crate) fn wait_for_quiet() -> Result<f64> {
    let begin = clock::now();
    loop {
        let before = machine_seconds()?;
        std::thread::sleep(QUIET_LOOK);
        let busy = (machine_seconds()? - before) / QUIET_LOOK.as_secs_f64();
        if busy < QUIET || begin.elapsed() > QUIET_LIMIT {
            return Ok(busy);
        }
    }
}

/// Processor seconds of everything since boot: user, nice, system, interrupts, stolen.
fn machine_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<f64> =
        line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| fields.get(*at)).sum();
    Ok(busy / ticks_per_second())
}

fn time_of(processes: &[Process]) -> Result<f64> {
    processes.iter().map(cpu_seconds).sum()
}

/// Processor seconds of a process with its threads since it began.
pub(crate) fn cpu_seconds(process: &Process) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid))
        .context("what is measured is gone")?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
    let ticks: f64 =
        fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / ticks_per_second())
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Returns the middle value, of two the mean.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<_> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}
