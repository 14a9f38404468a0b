//! Frames of one length between two of DPDK's front-ends, both ways at once: `net_virtio_user` twice in one testpmd,
//! which makes frames (`flowgen`) and counts those that come.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{
    backend::{self, BACK, Backend, EAL, End, Load, TESTPMD, runtime},
    peer::Peer,
};
use crate::{
    clock::{self, wait_until},
    lab::Lab,
    probe::{cpu_seconds, median, wait_for_quiet},
    site::{PATIENCE, Tools},
};

/// Bytes of a small frame, with the four that a wire adds.
const SMALL: u16 = 64;
/// Bytes of a large frame.
const LARGE: u16 = 1500;
/// The line of testpmd that tells how many frames a port received in the last second.
const RATE: &str = "Rx-pps:";
const PORTS: usize = 2;

/// What came through in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Frames {
    /// Frames of 64 bytes received at both ends together, in millions a second.
    pub(super) small_mpps: f64,
    /// The same of 1500 bytes.
    pub(super) large_mpps: f64,
    /// Cores that the switch's process kept busy with the small ones.
    pub(super) cores: f64,
    /// Cores busy with other things just before a figure was taken, the worse of them.
    pub(super) background: f64,
}

impl fmt::Display for Frames {
    /// Writes them on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { small_mpps, large_mpps, cores, .. } = self;
        write!(
            f,
            "{small_mpps:.2} Mpps of 64 bytes, {large_mpps:.2} of 1500, {cores:.2} cores busy"
        )
    }
}

/// Measures a switch with small frames, then with large ones.
///
/// # Errors
/// When something does not come up, or nothing comes through.
pub(super) fn measure(lab: &Lab, tools: &Tools, peer: Peer, seconds: u64) -> Result<Frames> {
    let mut quiet = wait_for_quiet()?;
    let (small_mpps, cores) = exchange(lab, tools, peer, SMALL, seconds)?;
    lab.clear()?;
    quiet = quiet.max(wait_for_quiet()?);
    let (large_mpps, _) = exchange(lab, tools, peer, LARGE, seconds)?;
    Ok(Frames { small_mpps, large_mpps, cores, background: quiet })
}

/// Has frames sent both ways; returns millions a second received, and cores busy in the switch.
fn exchange(lab: &Lab, tools: &Tools, peer: Peer, bytes: u16, seconds: u64) -> Result<(f64, f64)> {
    let backend = backend::start(lab, tools, peer, Load::Frames).context("set up")?;
    let mut command = std::process::Command::new(TESTPMD);
    command.envs(runtime(lab)).args(arguments(&backend, bytes));
    let front = lab.spawn(&command, "front.log")?;
    let rates = || -> Result<Vec<f64>> {
        lab.ensure_running(&backend.process)?;
        lab.ensure_running(&front)?;
        Ok(rates(&front.output()?))
    };
    wait_until("frames at both ends", PATIENCE, || Ok(!rates()?.is_empty()))?;
    let (begin, before) = (clock::now(), cpu_seconds(&backend.process)?);
    let wanted = rates()?.len() + seconds as usize;
    let limit = Duration::from_secs(seconds) + PATIENCE;
    wait_until("figures of testpmd", limit, || Ok(rates()?.len() >= wanted))?;
    let cores = (cpu_seconds(&backend.process)? - before) / begin.elapsed().as_secs_f64();
    let all = rates()?;
    // The first of them had a beginning in it.
    let measured = &all[1..];
    lab.stop(&front);
    let mpps = median(measured).context("testpmd counted nothing")? / 1e6;
    ensure!(mpps > 0.0, "nothing comes through any more");
    Ok((mpps, cores))
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
