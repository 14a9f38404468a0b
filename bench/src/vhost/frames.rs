//! Frames of one length between two of DPDK's front-ends, both ways at once: `net_virtio_user` twice in one testpmd,
//! which makes frames (`flowgen`) and counts those that come.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{
    backend::{self, BACK, Backend, EAL, End, FRONT, Load, TESTPMD, runtime},
    peer::Peer,
};
use crate::{
    apart::{self, Watch},
    clock::{self, wait_until},
    lab::{Lab, Process},
    probe::{cpu_seconds, median, wait_for_quiet},
    site::{PATIENCE, Tools},
};

/// Bytes of a small frame, with the four that a wire adds.
pub(super) const SMALL: u16 = 64;
/// Bytes of a large frame.
const LARGE: u16 = 1500;
/// The line of testpmd that tells how many frames a port received in the last second.
const RATE: &str = "Rx-pps:";
const PORTS: usize = 2;

/// How much longer a measurement may last when the cores do not stay near each other.
const LUCK: Duration = Duration::from_secs(20);

/// What came through in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Frames {
    /// Frames of 64 bytes received at both ends together.
    pub(super) small: Rate,
    /// The same of 1500 bytes.
    pub(super) large: Rate,
    /// Cores that the switch's process kept busy with the small ones.
    pub(super) cores: f64,
    /// Cores busy with other things just before a figure was taken, the worse of them.
    pub(super) background: f64,
}

/// How many frames came, in millions a second: the median of the seconds in which both cores were near each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Rate {
    /// Where the cores never were near, of all seconds.
    pub(super) mpps: f64,
    /// The median of the other seconds, where there were some of either kind.
    pub(super) far_mpps: Option<f64>,
    /// From core to core and back in the seconds that count, in ns; where that could be seen.
    pub(super) apart_ns: Option<f64>,
    /// Seconds that count.
    pub(super) seconds: usize,
}

/// What was seen in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Second {
    frames: f64,
    apart_ns: Option<f64>,
}

/// Seconds that had begun before anybody looked.
const BEGUN: usize = 1;

impl Second {
    /// Tells whether the cores were near each other, as far as is known.
    fn is_near(&self) -> bool {
        self.apart_ns.is_none_or(apart::is_near)
    }
}

impl fmt::Display for Frames {
    /// Writes them on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { small, large, cores, .. } = self;
        write!(f, "{small} of 64 bytes, {large} of 1500, {cores:.2} cores busy")
    }
}

impl fmt::Display for Rate {
    /// Writes it with what it was taken of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mpps, far_mpps, apart_ns, .. } = self;
        write!(f, "{mpps:.2} Mpps")?;
        if let Some(ns) = apart_ns {
            write!(f, " (cores {ns:.0} ns apart")?;
            far_mpps.map_or(Ok(()), |far| write!(f, "; {far:.2} when they were far"))?;
            write!(f, ")")?;
        }
        Ok(())
    }
}

impl Rate {
    /// Returns what these seconds come to; `None` without any.
    pub(super) fn of(seconds: &[Second]) -> Option<Self> {
        let (near, far): (Vec<_>, Vec<_>) = seconds.iter().copied().partition(Second::is_near);
        let (counted, left_out) = if near.is_empty() { (far, near) } else { (near, far) };
        let mpps = |seconds: &[Second]| {
            median(&seconds.iter().map(|second| second.frames / 1e6).collect::<Vec<_>>())
        };
        let apart: Vec<_> = counted.iter().filter_map(|second| second.apart_ns).collect();
        Some(Self {
            mpps: mpps(&counted)?,
            far_mpps: mpps(&left_out),
            apart_ns: median(&apart),
            seconds: counted.len(),
        })
    }
}

/// Measures a switch with small frames, then with large ones.
///
/// # Errors
/// When something does not come up, or nothing comes through.
pub(super) fn measure(lab: &Lab, tools: &Tools, peer: Peer, seconds: u64) -> Result<Frames> {
    let mut quiet = wait_for_quiet()?;
    let (small, cores) = exchange(lab, tools, peer, SMALL, seconds)?;
    lab.clear()?;
    quiet = quiet.max(wait_for_quiet()?);
    let (large, _) = exchange(lab, tools, peer, LARGE, seconds)?;
    Ok(Frames { small, large, cores, background: quiet })
}

/// Has frames sent both ways; returns how many were received, and cores busy in the switch.
fn exchange(lab: &Lab, tools: &Tools, peer: Peer, bytes: u16, seconds: u64) -> Result<(Rate, f64)> {
    let backend = backend::start(lab, tools, peer, Load::Frames).context("set up")?;
    let front = Front::start(lab, &backend, bytes)?;
    let mut watch = Watch::start(lab, tools, [FRONT, BACK])?;
    let (begin, before) = (clock::now(), cpu_seconds(&backend.process)?);
    let seen = front.watch(lab, &mut watch, seconds as usize)?;
    let cores = (cpu_seconds(&backend.process)? - before) / begin.elapsed().as_secs_f64();
    lab.ensure_running(&backend.process)?;
    watch.stop(lab);
    lab.stop(&front.process);
    let rate = Rate::of(&seen).context("testpmd counted nothing")?;
    ensure!(rate.mpps > 0.0, "nothing comes through any more");
    Ok((rate, cores))
}

/// testpmd with both front-ends, frames coming at either.
pub(super) struct Front {
    process: Process,
}

impl Front {
    /// Starts it and waits until frames come.
    pub(super) fn start(lab: &Lab, backend: &Backend, bytes: u16) -> Result<Self> {
        let mut command = std::process::Command::new(TESTPMD);
        command.envs(runtime(lab)).args(arguments(backend, bytes));
        let front = Self { process: lab.spawn(&command, "front.log")? };
        wait_until("frames at both ends", PATIENCE, || {
            lab.ensure_running(&backend.process)?;
            Ok(!front.rates(lab)?.is_empty())
        })?;
        Ok(front)
    }

    fn rates(&self, lab: &Lab) -> Result<Vec<f64>> {
        lab.ensure_running(&self.process)?;
        Ok(rates(&self.process.output()?))
    }

    /// Returns what is seen in the seconds to come, until so many of them count or luck has run out.
    pub(super) fn watch(
        &self,
        lab: &Lab,
        watch: &mut Watch,
        seconds: usize,
    ) -> Result<Vec<Second>> {
        let mut known = self.rates(lab)?.len();
        let mut seen: Vec<Second> = Vec::new();
        let (begin, limit) = (clock::now(), Duration::from_secs(seconds as u64) + LUCK);
        wait_until("figures of testpmd", limit + PATIENCE, || {
            let rates = self.rates(lab)?;
            if rates.len() > known {
                let apart_ns = watch.since_last()?;
                seen.extend(rates[known..].iter().map(|&frames| Second { frames, apart_ns }));
                known = rates.len();
            }
            let near = seen.iter().skip(BEGUN).filter(|second| second.is_near()).count();
            Ok(near >= seconds || begin.elapsed() >= limit)
        })?;
        Ok(seen.split_off(BEGUN.min(seen.len())))
    }
}

fn arguments(backend: &Backend, bytes: u16) -> Vec<String> {
    // The core that is not the main one works.
    let mut arguments: Vec<String> =
        ["-l", "0,1", "--main-lcore", BACK, "-m", "1024"].map(str::to_owned).to_vec();
    arguments.extend(EAL.iter().map(|argument| (*argument).to_owned()));
    arguments.push("--file-prefix=weft-bench-front".to_owned());
    let server = match backend.front {
        End::Connects => "",
        End::Listens => ",server=1",
    };
    for (number, socket) in backend.sockets.iter().enumerate() {
        let (mac, socket) = (mac(number), socket.display());
        arguments.push("--vdev".to_owned());
        arguments.push(format!("net_virtio_user{number},path={socket},mac={mac}{server}"));
    }
    arguments.push("--".to_owned());
    let flowgen = ["--forward-mode=flowgen", "--auto-start", "--stats-period=1", "--no-mlockall"];
    arguments.extend(flowgen.map(str::to_owned));
    arguments.push(format!("--txpkts={bytes}"));
    arguments.push("--total-num-mbufs=32768".to_owned());
    for number in 0..PORTS {
        arguments.push(format!("--eth-peer={number},{}", mac(PORTS - 1 - number)));
    }
    arguments
}

fn mac(number: usize) -> String {
    format!("02:00:00:00:00:{:02x}", number + 1)
}

/// Reads what testpmd displayed each second: frames received, both ports together, from when both received any.
fn rates(output: &str) -> Vec<f64> {
    let rate = |line: &str| line.trim().strip_prefix(RATE)?.split_whitespace().next()?.parse().ok();
    let ports: Vec<f64> = output.lines().filter_map(rate).collect();
    let seconds = ports.chunks_exact(PORTS);
    seconds.skip_while(|ports| ports.contains(&0.0)).map(|ports| ports.iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_count_in_which_the_cores_are_near() {
        let second = |mpps: f64, apart_ns| Second { frames: mpps * 1e6, apart_ns };
        let (near, far) = (Some(110.0), Some(430.0));
        let rate = |seconds: &[Second]| {
            Rate::of(seconds).map(|rate| (rate.mpps, rate.far_mpps, rate.apart_ns, rate.seconds))
        };
        let mixed = [second(14.0, near), second(10.0, far), second(9.0, far), second(13.0, near)];
        assert_eq!(rate(&mixed), Some((13.5, Some(9.5), near, 2)));
        assert_eq!(rate(&mixed[1..3]), Some((9.5, None, far, 2)), "they never were near");
        assert_eq!(rate(&[second(9.0, None), second(8.0, None)]), Some((8.5, None, None, 2)));
        assert_eq!(rate(&[]), None);
    }

    #[test]
    fn rates_begin_where_both_ports_receive() {
        let second = |a: u32, b: u32| {
            format!(
                "  Rx-pps:      {a}          Rx-bps:   8\n  Tx-pps:      9          Tx-bps:   8\n\
                 ####\n  Rx-pps:      {b}          Rx-bps:   8\n"
            )
        };
        let text = [second(0, 0), second(5, 0), second(5, 6), second(7, 8)].concat();
        assert_eq!(rates(&text), [11.0, 15.0]);
        assert_eq!(rates(&(text + "  Rx-pps:      9")), [11.0, 15.0], "half a second is none");
    }
}
