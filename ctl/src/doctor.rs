//! `weftctl doctor`: the usual traps, which of them this host is in, and the ways out.

mod reasons;

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use weft_config::{
    Config,
    api::{Events, Happening, PeerState, Port, Status, Uplink},
};

use crate::{
    client::{Client, Request},
    failure::Failure,
    keyfile,
    output::{Output, Paint},
    render::clean_lines,
};

/// When this was written: a clock before it is wrong.
const NOT_BEFORE: Timestamp = Timestamp::constant(1_764_000_000, 0);
/// Moves of one address among the events that are known, from which on it flaps.
const FLAPPING: usize = 5;

/// There is nothing to choose.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl doctor
  weftctl --json doctor

Looks at the host, at weftd and at what it has counted since it started. A problem
keeps frames from passing, a hint is worth a look. Exit status 1 where there is a
problem.")]
pub(crate) struct Doctor {}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Grade {
    /// Frames do not pass that should.
    Problem,
    /// It is worth a look.
    Hint,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Finding {
    grade: Grade,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

#[derive(Serialize)]
struct Diagnosis {
    findings: Vec<Finding>,
    problems: usize,
    /// What was looked at.
    looked_at: String,
}

impl Finding {
    fn problem(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { grade: Grade::Problem, what: what.into(), cure: Some(cure.into()) }
    }

    fn hint(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { grade: Grade::Hint, ..Self::problem(what, cure) }
    }

    /// Something that says itself what to do.
    fn told(what: &str) -> Self {
        Self { grade: Grade::Problem, what: what.to_owned(), cure: None }
    }
}

impl Doctor {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let status: Status = client.send(Request::get("/v1/status"))?.value()?;
        let uplinks: Vec<Uplink> = client.send(Request::get("/v1/uplinks"))?.value()?;
        let events: Events = client.send(Request::get("/v1/events"))?.value()?;
        let mut findings = host(Timestamp::now(), std::path::Path::new("/dev/net/tun").exists());
        findings.extend(daemon(&status));
        findings.extend(mtus(&status));
        findings.extend(status.ports.iter().flat_map(drops));
        findings.extend(flapping(&events));
        findings.extend(uplinks.iter().filter_map(uplink));
        findings.extend(status.config.as_deref().into_iter().flat_map(key_files));
        findings.sort();
        findings.dedup();
        let problems = findings.iter().filter(|one| one.grade == Grade::Problem).count();
        let looked_at = format!(
            "{} ports, {} VLANs, {} peers, {} events",
            status.ports.len(),
            status.vlans.len(),
            status.peers.len(),
            events.events.len()
        );
        let diagnosis = Diagnosis { findings, problems, looked_at };
        output.value(&diagnosis, |diagnosis| told(diagnosis, output.paint()))?;
        match problems {
            0 => Ok(()),
            1 => Err(Failure::failed("problems", "there is a problem")),
            several => Err(Failure::failed("problems", format!("there are {several} problems"))),
        }
    }
}

fn told(diagnosis: &Diagnosis, paint: Paint) -> String {
    let mut text = String::new();
    for Finding { grade, what, cure } in &diagnosis.findings {
        let grade = match grade {
            Grade::Problem => paint.bad("problem:"),
            Grade::Hint => paint.notice("hint:"),
        };
        text += &format!("{grade} {}\n", clean_lines(what));
        if let Some(cure) = cure {
            text += &format!("  cure: {}\n", clean_lines(cure));
        }
    }
    if diagnosis.findings.is_empty() {
        text += &format!("{}\n", paint.good("nothing is wrong"));
    }
    text + &format!("looked at {}\n", diagnosis.looked_at)
}

fn host(now: Timestamp, has_tun: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if now < NOT_BEFORE {
        findings.push(Finding::problem(
            format!("the clock says {now}"),
            "set it: peers and WireGuard clients refuse handshakes that look older than earlier ones",
        ));
    }
    if !has_tun {
        findings.push(Finding::problem(
            "there is no /dev/net/tun: no tap port can be made, and QEMU has no TAPs",
            "modprobe tun; in a container, pass the device in",
        ));
    }
    findings
}

/// What the daemon says is wrong, and what it need not know.
fn daemon(status: &Status) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        status.problems.iter().map(|problem| Finding::told(problem)).collect();
    let own = env!("CARGO_PKG_VERSION");
    if status.version != own {
        findings.push(Finding::hint(
            format!("weftd is version {}, weftctl {own}", status.version),
            "systemctl restart weft, if it was upgraded",
        ));
    }
    if let Some(candidate) = status.candidate {
        findings.push(Finding::hint(
            format!(
                "a configuration is taken back in {} s unless it is confirmed",
                candidate.seconds_left
            ),
            "weftctl confirm, or weftctl rollback",
        ));
    }
    let down = status.peers.iter().filter(|peer| peer.state != PeerState::Up);
    findings.extend(down.map(|peer| {
        let reason = peer.reason.as_deref().unwrap_or("there is no session");
        Finding::problem(
            format!("peer {}: {reason}", peer.name),
            "do both ends name each other's public key, and do datagrams arrive there? tcpdump -n udp port 51900",
        )
    }));
    findings
}

/// Ports of one VLAN that take frames of different lengths.
fn mtus(status: &Status) -> Vec<Finding> {
    let by_name: BTreeMap<&str, &Port> =
        status.ports.iter().map(|port| (port.name.as_str(), port)).collect();
    let mut findings = BTreeSet::new();
    for vlan in &status.vlans {
        let members = vlan.untagged.iter().chain(&vlan.tagged);
        let ports: Vec<(&Port, u32)> = members
            .filter_map(|name| by_name.get(name.as_str()))
            .filter_map(|port| Some((*port, port.mtu?)))
            .collect();
        let Some((large, most)) = ports.iter().max_by_key(|(_, mtu)| mtu) else { continue };
        for (small, mtu) in ports.iter().filter(|(_, mtu)| mtu < most) {
            let dropped = small.tx.drops.get("oversize").copied().unwrap_or(0);
            let what = format!(
                "VLAN {}: port {} takes {most} bytes, port {} only {mtu}",
                vlan.vlan, large.name, small.name
            );
            let cure = format!(
                "give all hosts of the VLAN one MTU: weftctl port set {} --mtu {most}, and its device with it",
                small.name
            );
            findings.insert(match dropped {
                0 => Finding::hint(what, cure),
                frames => Finding::problem(format!("{what}: {frames} frames were too long"), cure),
            });
        }
    }
    findings.into_iter().collect()
}

/// What a port drops, where that means that something is set wrongly.
fn drops(port: &Port) -> Vec<Finding> {
    let directions = [("rx", &port.rx), ("tx", &port.tx)];
    let drops = directions.into_iter().flat_map(|(way, direction)| {
        direction.drops.iter().map(move |(reason, frames)| (way, reason, *frames))
    });
    drops
        .filter(|(_, _, frames)| *frames > 0)
        .filter_map(|(way, reason, frames)| {
            let (grade, cure) = reasons::cure(way, reason)?;
            let what = format!("port {} has dropped {frames} frames {way} {reason}", port.name);
            Some(Finding { grade, what, cure: Some(cure.to_owned()) })
        })
        .collect()
}

/// Addresses that move to and fro.
fn flapping(events: &Events) -> Vec<Finding> {
    let mut moves: BTreeMap<(&str, u16, &str), (usize, BTreeSet<&str>)> = BTreeMap::new();
    for event in &events.events {
        if let Happening::MacMoved { switch, vlan, mac, port } = &event.happening {
            let (count, ports) = moves.entry((switch, *vlan, mac)).or_default();
            *count += 1;
            ports.insert(port);
        }
    }
    let flapping = moves.into_iter().filter(|(_, (count, _))| *count >= FLAPPING);
    flapping
        .map(|((switch, vlan, mac), (count, ports))| {
            let ports: Vec<&str> = ports.into_iter().collect();
            Finding::problem(
                format!(
                    "{mac} in VLAN {vlan} of switch {switch} has moved {count} times, between {}",
                    ports.join(" and ")
                ),
                "two machines have one address, or there is a loop behind those ports: unplug one of them",
            )
        })
        .collect()
}

fn uplink(uplink: &Uplink) -> Option<Finding> {
    let reason = uplink.reason.as_deref().filter(|_| !uplink.adopted)?;
    Some(Finding::problem(
        format!(
            "uplink {}: its addresses are not with port {}: {reason}",
            uplink.device, uplink.port
        ),
        "weftctl uplink list, weftctl port list",
    ))
}

/// Key files that the configuration names and that cannot be used, where the configuration can be read.
fn key_files(path: &str) -> Vec<Finding> {
    let config = std::fs::read_to_string(path).ok().and_then(|text| Config::parse(&text).ok());
    let mistakes = config.map(|config| keyfile::look(&config).mistakes);
    mistakes.into_iter().flatten().map(|mistake| Finding::told(&mistake.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use weft_config::api::{Direction, Event, PortState, Vlan};

    use super::*;

    fn port(name: &str, mtu: u32, drops: &[(&str, u64)]) -> Port {
        let drops = drops.iter().map(|(reason, frames)| ((*reason).to_owned(), *frames)).collect();
        Port {
            name: name.to_owned(),
            switch: "main".to_owned(),
            kind: "tap".to_owned(),
            device: None,
            socket: None,
            vm: None,
            vlan: serde_json::json!({"access": 10}),
            mtu: Some(mtu),
            state: PortState::Up,
            reason: None,
            rx: Direction::default(),
            tx: Direction { drops, ..Direction::default() },
        }
    }

    fn status(ports: Vec<Port>) -> Status {
        let names = ports.iter().map(|port| port.name.clone()).collect();
        let vlan = Vlan {
            switch: "main".to_owned(),
            vlan: 10,
            name: None,
            untagged: names,
            tagged: Vec::new(),
            macs: 0,
        };
        let text = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "pid": 1, "uptime-seconds": 1, "workers": 1, "revision": "r",
            "switches": [], "vlans": [vlan], "ports": ports, "segments": [], "peers": [], "wireguard": [], "macs": [],
            "problems": []
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_clock_of_before_this_was_written_is_wrong() {
        assert_eq!(host(NOT_BEFORE, true), []);
        assert_eq!(host(Timestamp::UNIX_EPOCH, true).len(), 1);
        assert_eq!(host(NOT_BEFORE, false).len(), 1);
    }

    #[test]
    fn different_mtus_are_a_hint_until_frames_were_too_long() {
        let all = |drops| mtus(&status(vec![port("a", 9000, &[]), port("b", 1500, drops)]));
        assert_eq!(all(&[]).iter().map(|one| one.grade).collect::<Vec<_>>(), [Grade::Hint]);
        let problem = &all(&[("oversize", 3)])[0];
        assert_eq!(problem.grade, Grade::Problem);
        assert!(problem.what.contains("3 frames"), "{problem:?}");
        assert_eq!(mtus(&status(vec![port("a", 1500, &[]), port("b", 1500, &[])])), []);
    }

    #[test]
    fn an_address_flaps_from_the_fifth_move_on() {
        let events = |times: u64| Events {
            events: (0..times)
                .map(|number| Event {
                    number,
                    time_ms: 0,
                    happening: Happening::MacMoved {
                        switch: "main".to_owned(),
                        vlan: 10,
                        mac: "52:54:00:00:00:01".to_owned(),
                        port: ["a", "b"][number as usize % 2].to_owned(),
                    },
                })
                .collect(),
            last: times,
            lost: 0,
        };
        assert_eq!(flapping(&events(4)), []);
        let found = flapping(&events(5));
        assert!(found[0].what.contains("5 times, between a and b"), "{found:?}");
    }

    #[test]
    fn what_traffic_brings_about_by_itself_is_no_finding() {
        let quiet = [("no-member", 9), ("same-port", 9), ("split-horizon", 9)];
        assert_eq!(drops(&port("a", 1500, &quiet)), []);
        let found = drops(&port("a", 1500, &[("ambiguous-tag", 2)]));
        assert!(found[0].what.contains("2 frames tx ambiguous-tag"), "{found:?}");
    }
}
