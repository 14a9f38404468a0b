//! The switches that are measured, and how each is put between two hosts.
//!
//! ```text
//!  h1 (eth0 10.66.0.1) ──── switch namespace ──── h2 (eth0 10.66.0.2)
//! ```

use std::{fmt, fs, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    clock::wait_until,
    copier::Road,
    lab::{Lab, Namespace, Process, run},
    ovs::{Dress, Ovs},
};

const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const FAR_ADDRESS: &str = "10.66.0.2";

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
    /// weft on `tap` ports.
    WeftTap,
    /// weft on `netdev` ports, veths.
    WeftNetdev,
}

/// Programs of ours that are measured or measure.
#[derive(Clone, Debug)]
pub struct Tools {
    /// This bench's binary, which is also copier, sender and counter.
    pub bench: PathBuf,
    /// The switch daemon.
    pub weftd: PathBuf,
}

/// Two hosts with a switch between them, up and answering.
#[derive(Debug)]
pub struct Site<'l> {
    lab: &'l Lab,
    /// The host that begins.
    pub near: Namespace,
    /// The host that answers.
    pub far: Namespace,
    middle: Namespace,
    switch: Switch,
}

#[derive(Debug)]
enum Switch {
    Kernel,
    Ovs(Ovs),
    Own(Process),
}

impl Peer {
    /// Tells whether this is weft.
    pub fn is_weft(self) -> bool {
        matches!(self, Self::WeftTap | Self::WeftNetdev)
    }

    /// Returns the name in the tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Veth => "veth, no switch",
            Self::Bridge => "kernel bridge, veth",
            Self::CopierTap => "bare TAP copier, vnet header + TSO/USO",
            Self::CopierPacket => "bare packet-socket copier on veth, vnet header",
            Self::OvsVeth => "OVS userspace, veth",
            Self::OvsVethTso => "OVS userspace, veth, userspace-tso-enable",
            Self::OvsTap => "OVS userspace, internal (TAP)",
            Self::OvsTapTso => "OVS userspace, internal (TAP), userspace-tso-enable",
            Self::WeftTap => "**weft, `tap` ports**",
            Self::WeftNetdev => "**weft, `netdev` ports on veth**",
        }
    }
}

impl fmt::Display for Peer {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl<'l> Site<'l> {
    /// Sets hosts and switch up and waits until they talk.
    ///
    /// # Errors
    /// When something of it does not come up.
    pub fn build(lab: &'l Lab, tools: &Tools, peer: Peer) -> Result<Self> {
        let name = |part: &str| format!("weft-bench{}-{part}", std::process::id());
        let near = lab.namespace(&name("h1"))?;
        let far = lab.namespace(&name("h2"))?;
        let middle = lab.namespace(&name("sw"))?;
        let hosts = [&near, &far];
        let switch = match peer {
            Peer::Veth => {
                let far = far.name();
                near.ip(&format!("link add eth0 type veth peer name eth0 netns {far}"))?;
                Switch::Kernel
            }
            Peer::Bridge => {
                middle.ip("link add br0 type bridge")?;
                middle.ip("link set br0 up")?;
                for (host, port) in hosts.into_iter().zip(["p1", "p2"]) {
                    plug_veth(host, &middle, port)?;
                    middle.ip(&format!("link set {port} master br0"))?;
                }
                Switch::Kernel
            }
            Peer::CopierTap => {
                let process = start_copier(lab, tools, &middle, Road::Tap, ["t1", "t2"])?;
                move_taps(&middle, hosts)?;
                Switch::Own(process)
            }
            Peer::CopierPacket => {
                plug_veth(&near, &middle, "p1")?;
                plug_veth(&far, &middle, "p2")?;
                Switch::Own(start_copier(lab, tools, &middle, Road::Packet, ["p1", "p2"])?)
            }
            Peer::OvsVeth | Peer::OvsVethTso => {
                let dress = if peer == Peer::OvsVethTso { Dress::Tso } else { Dress::Default };
                let ovs = Ovs::start(lab, &middle, dress)?;
                for (host, port) in hosts.into_iter().zip(["p1", "p2"]) {
                    plug_veth(host, &middle, port)?;
                    if dress == Dress::Default {
                        // Without TSO support the switch forwards what it cannot finish: hosts must not ask for it.
                        let off = ["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"];
                        run(host.command("ethtool").args(off))?;
                        run(middle.command("ethtool").args(["-K", port, "gro", "off"]))?;
                    }
                    ovs.add_device(port)?;
                }
                Switch::Ovs(ovs)
            }
            Peer::OvsTap | Peer::OvsTapTso => {
                let dress = if peer == Peer::OvsTapTso { Dress::Tso } else { Dress::Default };
                let ovs = Ovs::start(lab, &middle, dress)?;
                ovs.add_tap("t1")?;
                ovs.add_tap("t2")?;
                move_taps(&middle, hosts)?;
                Switch::Ovs(ovs)
            }
            Peer::WeftTap => {
                let process = start_weft(lab, tools, &middle, &tap_ports(2))?;
                move_taps(&middle, hosts)?;
                Switch::Own(process)
            }
            Peer::WeftNetdev => {
                plug_veth(&near, &middle, "p1")?;
                plug_veth(&far, &middle, "p2")?;
                Switch::Own(start_weft(lab, tools, &middle, NETDEV_PORTS)?)
            }
        };
        for (host, number) in hosts.into_iter().zip(1..) {
            host.ip(&format!("addr add 10.66.0.{number}/24 dev eth0"))?;
            host.ip("link set eth0 up")?;
        }
        let site = Self { lab, near, far, middle, switch };
        wait_until("an answer through the switch", PATIENCE, || {
            let mut ping = site.near.command("ping");
            Ok(ping.args(["-c1", "-W1", "-q", FAR_ADDRESS]).output()?.status.success())
        })?;
        Ok(site)
    }

    /// Returns the process of the switch, where it has one.
    pub fn process(&self) -> Option<&Process> {
        match &self.switch {
            Switch::Kernel => None,
            Switch::Ovs(ovs) => Some(ovs.process()),
            Switch::Own(process) => Some(process),
        }
    }

    /// Takes everything down again.
    ///
    /// # Errors
    /// When a namespace cannot be deleted.
    pub fn dismantle(self) -> Result<()> {
        match self.switch {
            Switch::Kernel => {}
            Switch::Ovs(ovs) => ovs.stop(self.lab),
            Switch::Own(process) => self.lab.stop(&process),
        }
        for namespace in [&self.near, &self.far, &self.middle] {
            self.lab.delete(namespace)?;
        }
        Ok(())
    }
}

/// An idle weft with as many `tap` ports as asked for.
///
/// # Errors
/// When the daemon does not become ready.
pub fn idle_weft(lab: &Lab, tools: &Tools, ports: usize) -> Result<(Namespace, Process)> {
    let namespace = lab.namespace(&format!("weft-bench{}-idle", std::process::id()))?;
    let process = start_weft(lab, tools, &namespace, &tap_ports(ports))?;
    for port in 1..=ports {
        namespace.ip(&format!("link set t{port} up"))?;
    }
    Ok((namespace, process))
}

const NETDEV_PORTS: &str = r#"
[port.p1]
type = "netdev"
device = "p1"
vlan = { access = 10 }

[port.p2]
type = "netdev"
device = "p2"
vlan = { access = 10 }
"#;

fn tap_ports(count: usize) -> String {
    let port =
        |n| format!("[port.t{n}]\ntype = \"tap\"\ndevice = \"t{n}\"\nvlan = {{ access = 10 }}\n\n");
    (1..=count).map(port).collect()
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
    wait_for_line(lab, &process, "ready")?;
    Ok(process)
}

fn start_weft(lab: &Lab, tools: &Tools, middle: &Namespace, ports: &str) -> Result<Process> {
    let dir = lab.dir().join("weft");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(dir.join("state"))?;
    let config = dir.join("weft.toml");
    fs::write(&config, format!("[daemon]\nworkers = 1\n\n{ports}"))?;
    let mut command = middle.command(&tools.weftd);
    command.arg("--config").arg(&config).arg("--socket").arg(dir.join("weftd.sock"));
    command.arg("--state-dir").arg(dir.join("state"));
    let process = lab.spawn(&command, "weftd.log")?;
    wait_for_line(lab, &process, "weftd: ready")?;
    Ok(process)
}

pub(crate) fn wait_for_line(lab: &Lab, process: &Process, line: &str) -> Result<()> {
    wait_until(&format!("the line `{line}`"), PATIENCE, || {
        let output = process.output()?;
        if let Some(status) = lab.exited(process)? {
            bail!("it ended with {status}: {}", output.trim_end());
        }
        Ok(output.lines().any(|said| said.trim_end().ends_with(line)))
    })
}
