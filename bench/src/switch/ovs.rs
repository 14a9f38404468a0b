//! Open vSwitch's userspace datapath, private to one namespace: own database, own sockets, no service.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    clock::wait_until,
    lab::{Lab, Namespace, Process, run},
    site::PATIENCE,
};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// The setting by which super-frames cross the switch.
pub(crate) const TSO: &str = "other_config:userspace-tso-enable=true";

/// Whether segmentation offload crosses the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dress {
    /// As it comes.
    Default,
    /// With `userspace-tso-enable`.
    Tso,
}

/// A running Open vSwitch with an empty bridge.
#[derive(Debug)]
pub(crate) struct Ovs {
    /// The process whose time is the switch's.
    pub process: Process,
    dir: PathBuf,
}

impl Ovs {
    /// Starts database and switch in a namespace.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(super) fn start(lab: &Lab, namespace: &Namespace, dress: Dress) -> Result<Self> {
        let settings: &[&str] = match dress {
            Dress::Default => &[],
            Dress::Tso => &[TSO],
        };
        Self::start_as(lab, namespace, "ovs-vswitchd", settings)
    }

    /// Starts database and switch in a namespace, the switch as this program, with its settings made before.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(crate) fn start_as(
        lab: &Lab,
        namespace: &Namespace,
        program: &str,
        settings: &[&str],
    ) -> Result<Self> {
        let dir = lab.dir().join("ovs");
        fs::create_dir_all(&dir)?;
        let file = |name: &str| dir.join(name).display().to_string();
        run(Command::new("ovsdb-tool").args(["create", &file("conf.db"), SCHEMA]))?;

        let socket = file("db.sock");
        let mut command = namespace.command("ovsdb-server");
        command.arg(file("conf.db"));
        command
            .arg(format!("--remote=punix:{socket}"))
            .arg(format!("--unixctl={}", file("db.ctl")));
        lab.spawn(&private(command, &dir), "ovsdb.log")?;
        wait_until("the socket of ovsdb-server", PATIENCE, || Ok(dir.join("db.sock").exists()))?;

        let mut command = namespace.command(program);
        command.arg(format!("unix:{socket}")).arg(format!("--unixctl={}", file("switch.ctl")));
        let command = private(command, &dir);
        let vsctl = |args: &[&str]| control(&dir, args);
        vsctl(&["--no-wait", "init"])?;
        if !settings.is_empty() {
            vsctl(&[&["--no-wait", "set", "Open_vSwitch", "."], settings].concat())?;
        }
        let process = lab.spawn(&command, "vswitchd.log")?;
        vsctl(&["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"])
            .context("Open vSwitch's bridge")?;
        Ok(Self { process, dir })
    }

    /// Carries out a command of `ovs-vsctl`.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn control(&self, args: &[&str]) -> Result<()> {
        control(&self.dir, args).map(drop)
    }

    /// Adds an existing device.
    ///
    /// # Errors
    /// When the switch refuses it.
    pub(super) fn add_device(&self, device: &str) -> Result<()> {
        control(&self.dir, &["add-port", "br0", device]).map(drop)
    }

    /// Adds an existing device by AF_XDP.
    ///
    /// # Errors
    /// When the switch refuses it, as one does that was built without.
    pub(super) fn add_xdp(&self, device: &str) -> Result<()> {
        let of_type = "type=afxdp";
        control(
            &self.dir,
            &["add-port", "br0", device, "--", "set", "interface", device, of_type],
        )?;
        let error = control(&self.dir, &["get", "interface", device, "error"])?;
        ensure!(error.trim() == "[]", "this Open vSwitch has no AF_XDP port: {}", error.trim());
        Ok(())
    }

    /// Adds a TAP of the switch's own making.
    ///
    /// # Errors
    /// When the switch refuses it.
    pub(super) fn add_tap(&self, device: &str) -> Result<()> {
        control(
            &self.dir,
            &["add-port", "br0", device, "--", "set", "interface", device, "type=internal"],
        )
        .map(drop)
    }
}

fn control(dir: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("ovs-vsctl");
    command
        .arg(format!("--db=unix:{}", dir.join("db.sock").display()))
        .arg("--timeout=10")
        .args(args);
    run(&mut private(command, dir))
}

fn private(mut command: Command, dir: &Path) -> Command {
    // The last is DPDK's, where the switch has it.
    let places = ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "RUNTIME_DIRECTORY"];
    for place in places {
        command.env(place, dir);
    }
    command
}
