//! The switches that are measured, and how each is put between two hosts.
//!
//! ```text
//!  h1 (eth0 10.66.0.1) ──── switch namespace ──── h2 (eth0 10.66.0.2)
//! ```

use std::{fmt, process::Command};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::ovs::{Dress, Ovs};
use crate::{
    clock::wait_until,
    copier::Road,
    lab::{Lab, Namespace, Process, run},
    report::Rival,
    site::{PATIENCE, Site, Tools, namespace_name},
    weft::Weft,
};

const FAR_ADDRESS: &str = "10.66.0.2";
/// What the daemon of a lab is called there.
const NAME: &str = "weft";

/// What may lie between the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// A veth pair, no switch at all.
    Veth,
    /// The kernel's bridge on veths.
    Bridge,
    /// A bare copier between two TAPs, virtio-net headers and all offloads.
    CopierTap,
    /// A bare copier between two veths by packet sockets, virtio-net headers.
    CopierPacket,
    /// Open vSwitch's userspace datapath on veths, as it comes.
    OvsVeth,
    /// The same with `userspace-tso-enable`.
    OvsVethTso,
    /// Open vSwitch's userspace datapath with TAPs, as it comes.
    OvsTap,
    /// The same with `userspace-tso-enable`.
    OvsTapTso,
    /// Open vSwitch's userspace datapath by AF_XDP on veths.
    OvsXdp,
    /// weft on `tap` ports.
    WeftTap,
    /// weft on `netdev` ports, veths.
    WeftNetdev,
    /// weft on `netdev` ports by AF_XDP, veths.
    WeftXdp,
    /// weft on `tap` ports, every frame captured into a file, 256 bytes of it.
    WeftTapCaptured,
    /// weft on `netdev` ports, veths, captured in the same way.
    WeftNetdevCaptured,
}

impl Peer {
    /// Tells whether this is weft.
    pub fn is_weft(self) -> bool {
        matches!(self, Self::WeftTap | Self::WeftNetdev | Self::WeftXdp) || self.is_captured()
    }

    fn is_captured(self) -> bool {
        matches!(self, Self::WeftTapCaptured | Self::WeftNetdevCaptured)
    }
}

impl Rival for Peer {
    fn title(self) -> &'static str {
        match self {
            Self::Veth => "veth, no switch",
            Self::Bridge => "kernel bridge, veth",
            Self::CopierTap => "bare TAP copier, vnet header + TSO/USO",
            Self::CopierPacket => "bare packet-socket copier on veth, vnet header",
            Self::OvsVeth => "OVS userspace, veth",
            Self::OvsVethTso => "OVS userspace, veth, userspace-tso-enable",
            Self::OvsTap => "OVS userspace, internal (TAP)",
            Self::OvsTapTso => "OVS userspace, internal (TAP), userspace-tso-enable",
            Self::OvsXdp => "OVS userspace, AF_XDP on veth",
            Self::WeftTap => "**weft, `tap` ports**",
            Self::WeftNetdev => "**weft, `netdev` ports on veth**",
            Self::WeftXdp => "**weft, `netdev` ports on veth, `io = \"xdp\"`**",
            Self::WeftTapCaptured => "**weft, `tap` ports, all captured**",
            Self::WeftNetdevCaptured => "**weft, `netdev` ports on veth, all captured**",
        }
    }
}

impl fmt::Display for Peer {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// Sets hosts and switch up and waits until they talk.
///
/// # Errors
/// When something of it does not come up.
pub(super) fn build(lab: &Lab, tools: &Tools, peer: Peer) -> Result<Site> {
    let near = lab.namespace(&namespace_name("h1"))?;
    let far = lab.namespace(&namespace_name("h2"))?;
    let middle = lab.namespace(&namespace_name("sw"))?;
    let hosts = [&near, &far];
    let mut processes = put_between(lab, tools, peer, &middle, hosts)?;
    for (host, number) in hosts.into_iter().zip(1..) {
        host.ip(&format!("addr add 10.66.0.{number}/24 dev eth0"))?;
        host.ip("link set eth0 up")?;
    }
    if peer.is_captured() {
        processes.push(capture(lab, tools)?);
    }
    let site = Site { near, far, address: FAR_ADDRESS, processes };
    site.wait_for_answer(lab)?;
    Ok(site)
}

/// Captures every frame of the lab's weft into a file, 256 bytes of each.
fn capture(lab: &Lab, tools: &Tools) -> Result<Process> {
    let mut command = Command::new(&tools.weftctl);
    command.arg("--socket").arg(Weft::socket_of(lab, NAME));
    command.args(["capture", "--snaplen", "256", "-w"]).arg(lab.dir().join("all.pcapng"));
    let process = lab.spawn(&command, "capture.log")?;
    wait_until("a capture", PATIENCE, || {
        Ok(lab.dir().join("all.pcapng").metadata().is_ok_and(|file| file.len() > 0))
    })?;
    Ok(process)
}

/// Gives each host an `eth0`, both at the switch, and returns the switch's processes.
fn put_between(
    lab: &Lab,
    tools: &Tools,
    peer: Peer,
    middle: &Namespace,
    hosts: [&Namespace; 2],
) -> Result<Vec<Process>> {
    let plug_both = || -> Result<()> {
        plug_veth(hosts[0], middle, "p1")?;
        plug_veth(hosts[1], middle, "p2")
    };
    let process = match peer {
        Peer::Veth => {
            let far = hosts[1].name();
            hosts[0].ip(&format!("link add eth0 type veth peer name eth0 netns {far}"))?;
            return Ok(Vec::new());
        }
        Peer::Bridge => {
            middle.ip("link add br0 type bridge")?;
            middle.ip("link set br0 up")?;
            plug_both()?;
            middle.ip("link set p1 master br0")?;
            middle.ip("link set p2 master br0")?;
            return Ok(Vec::new());
        }
        Peer::CopierTap => {
            let process = start_copier(lab, tools, middle, Road::Tap, ["t1", "t2"])?;
            move_taps(middle, hosts)?;
            process
        }
        Peer::CopierPacket => {
            plug_both()?;
            start_copier(lab, tools, middle, Road::Packet, ["p1", "p2"])?
        }
        Peer::OvsVeth | Peer::OvsVethTso => {
            let dress = if peer == Peer::OvsVethTso { Dress::Tso } else { Dress::Default };
            let ovs = Ovs::start(lab, middle, dress)?;
            plug_both()?;
            for (host, port) in hosts.into_iter().zip(["p1", "p2"]) {
                if dress == Dress::Default {
                    take_offloads(host, middle, port)?;
                }
                ovs.add_device(port)?;
            }
            ovs.process
        }
        Peer::OvsXdp => {
            let ovs = Ovs::start(lab, middle, Dress::Default)?;
            plug_both()?;
            for (host, port) in hosts.into_iter().zip(["p1", "p2"]) {
                take_offloads(host, middle, port)?;
                ovs.add_xdp(port)?;
            }
            ovs.process
        }
        Peer::OvsTap | Peer::OvsTapTso => {
            let dress = if peer == Peer::OvsTapTso { Dress::Tso } else { Dress::Default };
            let ovs = Ovs::start(lab, middle, dress)?;
            ovs.add_tap("t1")?;
            ovs.add_tap("t2")?;
            move_taps(middle, hosts)?;
            ovs.process
        }
        Peer::WeftTap | Peer::WeftTapCaptured => {
            let weft = Weft::start(lab, tools, middle, NAME, &tap_ports(2))?;
            move_taps(middle, hosts)?;
            weft.process
        }
        Peer::WeftNetdev | Peer::WeftNetdevCaptured => {
            plug_both()?;
            Weft::start(lab, tools, middle, NAME, &netdev_ports("packet"))?.process
        }
        Peer::WeftXdp => {
            plug_both()?;
            Weft::start(lab, tools, middle, NAME, &netdev_ports("xdp"))?.process
        }
    };
    Ok(vec![process])
}

/// An idle weft with as many `tap` ports as asked for.
///
/// # Errors
/// When the daemon does not become ready.
pub(super) fn idle_weft(lab: &Lab, tools: &Tools, ports: usize) -> Result<Weft> {
    let namespace = lab.namespace(&namespace_name("idle"))?;
    let weft = Weft::start(lab, tools, &namespace, NAME, &tap_ports(ports))?;
    for port in 1..=ports {
        namespace.ip(&format!("link set t{port} up"))?;
    }
    Ok(weft)
}

fn netdev_ports(io: &str) -> String {
    let port = |n| {
        format!(
            "[port.p{n}]\ntype = \"netdev\"\ndevice = \"p{n}\"\nio = \"{io}\"\nvlan = {{ access = 10 }}\n\n"
        )
    };
    (1..=2).map(port).collect()
}

fn tap_ports(count: usize) -> String {
    let port =
        |n| format!("[port.t{n}]\ntype = \"tap\"\ndevice = \"t{n}\"\nvlan = {{ access = 10 }}\n\n");
    (1..=count).map(port).collect()
}

/// Keeps a host from leaving work to a switch that forwards what it cannot finish.
fn take_offloads(host: &Namespace, middle: &Namespace, port: &str) -> Result<()> {
    let off = ["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"];
    run(host.command("ethtool").args(off))?;
    run(middle.command("ethtool").args(["-K", port, "gro", "off"]))?;
    Ok(())
}

fn plug_veth(host: &Namespace, middle: &Namespace, port: &str) -> Result<()> {
    host.ip(&format!("link add eth0 type veth peer name {port} netns {}", middle.name()))?;
    middle.ip(&format!("link set {port} up"))?;
    Ok(())
}

fn move_taps(middle: &Namespace, hosts: [&Namespace; 2]) -> Result<()> {
    for (host, tap) in hosts.into_iter().zip(["t1", "t2"]) {
        wait_until("a TAP of the switch", PATIENCE, || {
            Ok(middle.ip(&format!("link show {tap}")).is_ok())
        })?;
        middle.ip(&format!("link set {tap} down"))?;
        middle.ip(&format!("link set {tap} netns {}", host.name()))?;
        host.ip(&format!("link set {tap} name eth0"))?;
    }
    Ok(())
}

fn start_copier(
    lab: &Lab,
    tools: &Tools,
    middle: &Namespace,
    road: Road,
    devices: [&str; 2],
) -> Result<Process> {
    let mut command = middle.command(&tools.bench);
    let road = match road {
        Road::Tap => "tap",
        Road::Packet => "packet",
    };
    command.args(["copy", road]).args(devices);
    let process = lab.spawn(&command, "copier.log")?;
    lab.wait_for_line(&process, "ready", PATIENCE)?;
    Ok(process)
}
