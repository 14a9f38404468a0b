//! `weftctl status`: everything that runs, on one screen.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::Args;
use weft_config::api::{FdbEntry, Port, Status as Report, Switch};

use crate::{
    changes::waiting,
    client::{Client, Request},
    failure::Failure,
    output::{Output, Paint},
    peer,
    port::{dropped, reasons, vm_name},
    render::{Grid, clean, duration, number, state, vlan_mode, word, word_or_dash, words},
    vlan, wireguard,
};

/// Addresses of a port and VLAN on the screen; `weftctl fdb list` has them all.
const MACS_SHOWN: usize = 3;
/// Addresses of a port that the daemon tells at most: there may be more.
const MACS_TOLD: usize = 16;

/// There is nothing to choose.
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        output.show(&client.send(Request::get("/v1/status"))?, |report| screen(report, paint))
    }
}

fn screen(report: &Report, paint: Paint) -> String {
    let mut text = heading(report, paint);
    text.push_str(&paint.notice(&waiting(report.candidate)));
    let _ = write!(text, "\n{}", switches(&report.switches, paint));
    if !report.vlans.is_empty() {
        let _ = write!(text, "\n{}", vlan::list(&report.vlans, paint));
    }
    if report.ports.is_empty() {
        text.push_str("\nno ports; `weftctl port add --help` shows how to attach one\n");
    } else {
        let _ = write!(text, "\n{}", ports(report, paint));
    }
    if !report.peers.is_empty() {
        let _ = write!(text, "\n{}", peer::table(&report.peers, paint));
    }
    if let Some(vpn) = &report.vpn {
        text.push_str(&peer::own_end(vpn));
    }
    if !report.wireguard.is_empty() {
        let _ = write!(text, "\n{}", wireguard::table(&report.wireguard, paint));
    }
    let macs = addresses(&report.macs, paint);
    if !macs.is_empty() {
        let _ = write!(text, "\n{macs}");
    }
    text.push('\n');
    text.push_str(&health(report, paint));
    text
}

fn heading(report: &Report, paint: Paint) -> String {
    let workers = if report.workers == 1 {
        "1 worker".to_owned()
    } else {
        format!("{} workers", report.workers)
    };
    let config = report.config.as_deref().map_or_else(|| "no configuration file".to_owned(), clean);
    format!(
        "{}  pid {}, up {}, {workers}, {config}\n",
        paint.title(&format!("weftd {}", clean(&report.version))),
        report.pid,
        duration(report.uptime_seconds),
    )
}

fn switches(switches: &[Switch], paint: Paint) -> String {
    let mut grid = Grid::new(["SWITCH", "#PORTS", "#MACS", "#LIMIT", "AGEING"]);
    for switch in switches {
        grid.row(vec![
            word(&switch.name),
            number(switch.ports.len() as u64),
            number(switch.macs as u64),
            number(switch.mac_limit as u64),
            word(&duration(switch.mac_ageing_seconds)),
        ]);
    }
    grid.finish(paint)
}

fn ports(report: &Report, paint: Paint) -> String {
    let shows_switch = report.switches.len() > 1;
    let mut heads = vec![
        "PORT", "VM", "SWITCH", "TYPE", "DEVICE", "VLAN", "STATE", "#RX", "#DROP", "#TX", "#DROP",
    ];
    let shows_vm = report.ports.iter().any(|port| port.vm.is_some());
    heads.retain(|head| shows_switch || *head != "SWITCH");
    heads.retain(|head| shows_vm || *head != "VM");
    let mut grid = Grid::new(heads);
    for port in &report.ports {
        let mut cells = vec![word(&port.name)];
        if shows_vm {
            cells.push(word_or_dash(port.vm.as_ref().map(vm_name).as_deref()));
        }
        if shows_switch {
            cells.push(word(&port.switch));
        }
        cells.extend([
            word(&port.kind),
            word_or_dash(attachment(port)),
            word(&vlan_mode(&port.vlan)),
            state(port.state),
            number(port.rx.frames),
            number(dropped(&port.rx)),
            number(port.tx.frames),
            number(dropped(&port.tx)),
        ]);
        grid.row(cells);
    }
    grid.finish(paint)
}

/// Returns the device, or the last part of the socket's path: the whole is in `port list`.
fn attachment(port: &Port) -> Option<&str> {
    let socket = || port.socket.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path));
    port.device.as_deref().or_else(socket)
}

fn addresses(macs: &[FdbEntry], paint: Paint) -> String {
    let mut by_port: BTreeMap<(&str, &str, u16), Vec<&FdbEntry>> = BTreeMap::new();
    for entry in macs {
        by_port.entry((&entry.switch, &entry.port, entry.vlan)).or_default().push(entry);
    }
    if by_port.is_empty() {
        return String::new();
    }
    let mut grid = Grid::new(["PORT", "#VLAN", "ADDRESSES"]);
    for ((_, port, vlan), entries) in by_port {
        let mut shown: Vec<String> =
            entries.iter().take(MACS_SHOWN).map(|entry| entry.mac.clone()).collect();
        let told = macs.iter().filter(|entry| entry.port == port).count();
        if told >= MACS_TOLD {
            shown.push("and more".to_owned());
        } else if entries.len() > MACS_SHOWN {
            shown.push(format!("+{}", entries.len() - MACS_SHOWN));
        }
        grid.row(vec![word(port), number(vlan.into()), words(&shown)]);
    }
    grid.finish(paint)
}

/// Says what is wrong, then why ports are down that are meant to be; what the daemon told stands only once.
fn health(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    if report.problems.is_empty() {
        let _ = writeln!(text, "{}", paint.good("no problems"));
    } else {
        let _ = writeln!(text, "{}", paint.notice("problems"));
    }
    for problem in &report.problems {
        let _ = writeln!(text, "  {}", clean(problem));
    }
    let told = |port: &&Port| {
        let reason = port.reason.as_deref().unwrap_or_default();
        report
            .problems
            .iter()
            .any(|problem| problem.contains(reason) && problem.contains(&port.name))
    };
    let untold: Vec<Port> = report.ports.iter().filter(|port| !told(port)).cloned().collect();
    text + &reasons(&untold) + &peer_health(report)
}

/// Says why peers and adapters are not up and what is wrong with them and the segments, unless the daemon told it already.
fn peer_health(report: &Report) -> String {
    let told = |line: &str| report.problems.iter().any(|problem| problem.contains(line));
    let mut peers = report.peers.clone();
    for peer in &mut peers {
        peer.problems.retain(|problem| !told(problem));
        peer.reason = peer.reason.take().filter(|reason| !told(reason));
    }
    let mut adapters = report.wireguard.clone();
    for adapter in &mut adapters {
        adapter.problems.retain(|problem| !told(problem));
        adapter.reason = adapter.reason.take().filter(|reason| !told(reason));
    }
    let mut text = peer::reasons(&peers) + &wireguard::problems(&adapters);
    for segment in &report.segments {
        for problem in segment.problems.iter().filter(|problem| !told(problem)) {
            let _ = writeln!(text, "segment {}: {}", clean(&segment.name), clean(problem));
        }
    }
    text
}
