//! Two real guests, booted by QEMU without KVM: round trips and TCP between them. What each does is [`SCRIPT`]; its
//! console tells what came of it.
//!
//! ```text
//!  guest 1 (eth0 10.66.0.1) ── switch ── guest 2 (eth0 10.66.0.2)
//! ```

use std::{fmt, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::{backend::weft_ports, peer::Peer};
use crate::{
    clock::wait_until,
    guest,
    lab::{Lab, Namespace},
    probe::{median, wait_for_quiet},
    site::{Tools, namespace_name},
    weft::Weft,
};

/// What the guests' initramfs has to run as `/vm.sh`: the second answers, the first asks and tells.
pub const SCRIPT: &str = r#"
role=$(sed 's/.*role=\([0-9]*\).*/\1/' /proc/cmdline)
seconds=$(sed 's/.*seconds=\([0-9]*\).*/\1/' /proc/cmdline)
ip address add 10.66.0.$role/24 dev eth0
ip link set eth0 up
if [ $role = 2 ]; then
    while true; do iperf3 -s >/dev/null; sleep 1; done
fi
until ping -c1 -W1 -q 10.66.0.2 >/dev/null; do true; done
ping -i 0.01 -c 400 10.66.0.2
for direction in "" -R; do
    until iperf3 -c 10.66.0.2 -C cubic -t $seconds -J $direction >/tmp/report 2>&1; do sleep 1; done
    echo "weft-bench: report"
    cat /tmp/report
    echo "weft-bench: end"
done
echo "weft-bench: done"
"#;

const DONE: &str = "weft-bench: done";
const BOOT: Duration = Duration::from_secs(60);
const MEMORY: &str = "384";

/// What was measured between two guests in one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Guests {
    /// Round trip, median, in µs.
    pub(super) ping_us: f64,
    /// One TCP stream, in Gb/s: the mean of both directions, one after the other.
    pub(super) tcp_gbps: f64,
    /// Cores busy with other things just before.
    pub(super) background: f64,
}

impl fmt::Display for Guests {
    /// Writes them on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ping_us, tcp_gbps, .. } = self;
        write!(f, "ping {ping_us:.0} µs, TCP {tcp_gbps:.3} Gb/s")
    }
}

/// Boots two guests on a switch and has them measure.
///
/// # Errors
/// When something does not come up, or the guests do not tell in time.
pub(super) fn measure(
    lab: &Lab,
    tools: &Tools,
    peer: Peer,
    image: (&Path, &Path),
    seconds: u64,
) -> Result<Guests> {
    let background = wait_for_quiet()?;
    let namespace = lab.namespace(&namespace_name("sw"))?;
    let sockets = ["p1", "p2"].map(|port| lab.dir().join(format!("{port}.sock")));
    match peer {
        Peer::Bridge => bridge(&namespace)?,
        Peer::Weft => {
            Weft::start(lab, tools, &namespace, "weft", &weft_ports(&sockets))?;
        }
        Peer::Testpmd | Peer::OvsDpdk => bail!("real guests are not joined by it"),
    }
    let boot = |role: usize| {
        let mut qemu = qemu(&namespace, image, role, seconds);
        let log = lab.dir().join(format!("guest{role}.console"));
        qemu.arg("-serial").arg(format!("file:{}", log.display()));
        if peer == Peer::Bridge {
            qemu.args(["-netdev", &format!("tap,id=net,ifname=t{role},script=no,downscript=no")]);
        } else {
            let object = format!("memory-backend-memfd,id=mem,size={MEMORY}M,share=on");
            qemu.args(["-object", &object, "-numa", "node,memdev=mem"]);
            let socket = sockets[role - 1].display();
            qemu.args(["-chardev", &format!("socket,id=port,path={socket},reconnect=1")]);
            qemu.args(["-netdev", "vhost-user,id=net,chardev=port"]);
        }
        let qemu = lab.spawn(&qemu, &format!("guest{role}.log"))?;
        Ok::<_, anyhow::Error>((qemu, log))
    };
    let (answering, _) = boot(2)?;
    let (asking, console) = boot(1)?;
    let said = || {
        let bytes = fs::read(&console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let limit = BOOT + Duration::from_secs(4 * seconds);
    let told = wait_until("what the guests tell", limit, || {
        lab.ensure_running(&answering)?;
        let text = said();
        if !text.contains(DONE) {
            lab.ensure_running(&asking)?;
        }
        Ok(text.contains(DONE))
    });
    let text = said();
    told.with_context(|| last_words(&text))?;
    let (ping_us, tcp_gbps) = read(&text)?;
    Ok(Guests { ping_us, tcp_gbps, background })
}

/// Makes the kernel's bridge with two TAPs that QEMU opens.
fn bridge(namespace: &Namespace) -> Result<()> {
    namespace.ip("link add br0 type bridge")?;
    namespace.ip("link set br0 up")?;
    for tap in ["t1", "t2"] {
        namespace.ip(&format!("tuntap add {tap} mode tap vnet_hdr"))?;
        namespace.ip(&format!("link set {tap} master br0 up"))?;
    }
    Ok(())
}

fn qemu(namespace: &Namespace, image: (&Path, &Path), role: usize, seconds: u64) -> Command {
    let words = format!("role={role} seconds={seconds}");
    let mut qemu = guest::machine(namespace, image, MEMORY, &words);
    // Without message-signalled interrupts, with which QEMU 7.2 without KVM crashes on vhost-user; on TAPs alike.
    let card = format!("virtio-net-pci,vectors=0,netdev=net,mac=52:54:00:00:00:0{role},romfile=");
    qemu.args(["-device", &card]);
    qemu
}

/// Reads from a console the median round trip in µs, and the mean of the streams in Gb/s.
fn read(console: &str) -> Result<(f64, f64)> {
    let time = |line: &str| line.split_once("time=")?.1.split(' ').next()?.parse::<f64>().ok();
    let times: Vec<_> = console.lines().filter_map(time).collect();
    let ping_us = median(&times).context("the guests' ping measured nothing")? * 1000.0;
    let mut rates = Vec::new();
    for part in console.split("weft-bench: report").skip(1) {
        let (report, _) = part.split_once("weft-bench: end").context("half a report")?;
        let report: Value = serde_json::from_str(report.trim()).context("the guests' iperf3")?;
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
        rates.push(rate.context("the guests' iperf3 reports no rate")? / 1e9);
    }
    ensure!(!rates.is_empty(), "the guests measured no stream");
    Ok((ping_us, rates.iter().sum::<f64>() / rates.len() as f64))
}

fn last_words(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_is_read_with_its_carriage_returns() {
        let report = |rate: u32| {
            format!(
                "weft-bench: report\r\n{{\"end\": {{\"sum_received\":\r\n {{\"bits_per_second\": {rate}}}}}}}\r\n\
                 weft-bench: end\r\n"
            )
        };
        let pings = "64 bytes: icmp_seq=1 ttl=64 time=0.250 ms\r\n64 bytes: time=0.350 ms\r\n";
        let (ping, tcp) =
            read(&(pings.to_owned() + &report(500_000_000) + &report(700_000_000))).unwrap();
        assert!((ping - 300.0).abs() < 1e-6 && (tcp - 0.6).abs() < 1e-9, "{ping} {tcp}");
    }

    #[test]
    fn console_without_streams_is_an_error() {
        assert!(read("64 bytes: time=0.250 ms\r\n").is_err());
    }
}
