//! The switches' side: two ports whose rings they serve, on the second core.
//!
//! ```text
//!  front-end ── p1.sock ─ switch ─ p2.sock ── front-end
//! ```

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::peer::Peer;
use crate::{
    clock::wait_until,
    lab::{Lab, Process, run},
    site::{PATIENCE, Tools, namespace_name},
    switch::ovs::{self, Ovs},
    weft::Weft,
};

/// The core of the front-end.
pub(super) const FRONT: &str = "0";
/// The core of the switch.
pub(super) const BACK: &str = "1";
pub(super) const TESTPMD: &str = "/usr/bin/dpdk-testpmd";
pub(super) const OVS: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

/// Whether super-frames cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// As it comes.
    Frames,
    /// With what a switch has to be told for them.
    SuperFrames,
}

/// A switch that waits for its front-ends.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) process: Process,
    pub(super) sockets: [PathBuf; 2],
    pub(super) front: End,
}

/// What the front-end does at the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It connects to the switch.
    Connects,
    /// It waits for the switch.
    Listens,
}

/// Starts a switch with two ports in VLAN 10, where it knows VLANs.
///
/// # Errors
/// When it does not come up.
pub(super) fn start(lab: &Lab, tools: &Tools, peer: Peer, load: Load) -> Result<Backend> {
    let namespace = lab.namespace(&namespace_name("sw"))?;
    let sockets = ["p1", "p2"].map(|port| lab.dir().join(format!("{port}.sock")));
    let front = if peer == Peer::OvsDpdk { End::Listens } else { End::Connects };
    let process = match peer {
        Peer::Testpmd => {
            let mut command = namespace.command(TESTPMD);
            command.envs(runtime(lab));
            command.args(["-l", "0,1", "--main-lcore", FRONT]).args(EAL).args(["-m", "512"]);
            command.arg("--file-prefix=weft-bench-back");
            // The second has what is yet to be done with a frame go along with it.
            let dress = match load {
                Load::Frames => "",
                Load::SuperFrames => ",tso=1,legacy-ol-flags=1",
            };
            for (number, socket) in sockets.iter().enumerate() {
                let device = format!("net_vhost{number},iface={}{dress}", socket.display());
                command.arg("--vdev").arg(device);
            }
            command.args(["--", "--forward-mode=io", "--auto-start", "--stats-period=60"]);
            command.args(["--total-num-mbufs=16384", "--no-mlockall"]);
            lab.spawn(&command, "testpmd.log")?
        }
        Peer::OvsDpdk => {
            let extra = format!("other_config:dpdk-extra={} --legacy-mem -m 2560", EAL.join(" "));
            let mut settings = vec![
                "other_config:dpdk-init=true",
                "other_config:dpdk-lcore-mask=0x1",
                "other_config:pmd-cpu-mask=0x2",
                &extra,
            ];
            if load == Load::SuperFrames {
                settings.push(ovs::TSO);
            }
            let ovs = Ovs::start_as(lab, &namespace, OVS, &settings)?;
            for (port, socket) in ["p1", "p2"].into_iter().zip(&sockets) {
                let path = format!("options:vhost-server-path={}", socket.display());
                let add = ["add-port", "br0", port, "tag=10", "--", "set", "interface", port];
                ovs.control(&[&add[..], &["type=dpdkvhostuserclient", &path]].concat())?;
            }
            ovs.process
        }
        Peer::Weft => {
            let weft = Weft::start(lab, tools, &namespace, "weft", &weft_ports(&sockets))?;
            keep_on(BACK, &weft.process)?;
            weft.process
        }
        Peer::Bridge => bail!("a bridge has no rings"),
    };
    if front == End::Connects {
        wait_until("the sockets of the switch", PATIENCE, || {
            lab.ensure_running(&process)?;
            Ok(sockets.iter().all(|socket| socket.exists()))
        })
        .with_context(|| process.output().unwrap_or_default())?;
    }
    Ok(Backend { process, sockets, front })
}

/// Has all threads of a process stay on a core.
pub(super) fn keep_on(core: &str, process: &Process) -> Result<()> {
    let pid = process.pid.to_string();
    run(Command::new("taskset").args(["-a", "-c", "-p", core, &pid])).map(drop)
}

/// What all of DPDK's programs are told: neither cards nor hugepages.
pub(super) const EAL: &[&str] = &["--no-pci", "--no-huge"];

/// Returns the variables that have DPDK's programs leave their files in the lab.
pub(super) fn runtime(lab: &Lab) -> [(&'static str, PathBuf); 1] {
    [("RUNTIME_DIRECTORY", lab.dir().to_owned())]
}

/// Returns the configuration of ports at these sockets.
pub(super) fn weft_ports(sockets: &[PathBuf; 2]) -> String {
    let port = |(socket, number): (&PathBuf, u8)| {
        format!(
            "[port.p{number}]\ntype = \"vhost-user\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\n",
            socket.display()
        )
    };
    sockets.iter().zip(1..).map(port).collect()
}
