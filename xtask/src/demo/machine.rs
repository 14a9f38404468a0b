//! A virtual machine of the demo: QEMU with one network card, and a shell on its serial console.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use weft_bench::{
    clock::wait_until,
    lab::{Lab, Process},
};

use super::console::{Console, Outcome};
use crate::{guest, say};

/// A machine's memory in MiB.
const MEMORY: &str = "384";
const UP: &str = "the guest is up";
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// Where KVM works, the trial takes a second.
const TRIAL_LIMIT: Duration = Duration::from_secs(6);

/// What a machine is called, and how it is connected.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) address: &'static str,
    pub(crate) mac: &'static str,
    /// QEMU's `-device` without the back-end.
    pub(crate) card: &'static str,
    /// QEMU's `-netdev`.
    pub(crate) netdev: String,
    /// The socket by which the switch gets at the machine's memory, where it does.
    pub(crate) shares_memory_by: Option<PathBuf>,
}

/// A machine that was started.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) plan: Plan,
    process: Process,
    log: PathBuf,
    pub(crate) socket: PathBuf,
}

/// How QEMU runs a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    /// QEMU's own interpreter: works everywhere.
    Tcg,
}

impl Accelerator {
    /// Tries KVM with the guests' own kernel: a device that is there may still not run it.
    pub(crate) fn probe(image: &Path) -> Self {
        let usable = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        if !usable {
            return Self::Tcg;
        }
        let mut trial = Command::new("timeout");
        trial.args(["--signal=KILL", &TRIAL_LIMIT.as_secs().to_string(), "qemu-system-x86_64"]);
        trial.args(["-accel", "kvm", "-M", "q35", "-m", "256", "-nodefaults", "-no-user-config"]);
        trial.args([
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
            "-append",
            "console=ttyS0 panic=-1",
        ]);
        trial.arg("-kernel").arg(image.join("vmlinuz")).stdin(std::process::Stdio::null());
        // Without a file system the kernel comes as far as this panic, and then ends.
        let booted = trial.output().is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).contains("Unable to mount root fs")
        });
        if booted { Self::Kvm } else { Self::Tcg }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Kvm => "the guests run on KVM",
            Self::Tcg => "KVM does not run a guest here: QEMU interprets them (TCG)",
        }
    }
}

impl Machine {
    /// Starts a machine; `qemu` is the command that runs QEMU where the machine belongs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn boot(
        lab: &Lab,
        mut qemu: Command,
        image: &Path,
        accelerator: Accelerator,
        plan: Plan,
    ) -> Result<Self> {
        let Plan { name, address, mac, card, netdev, shares_memory_by } = &plan;
        let file = |extension: &str| lab.dir().join(format!("{name}.{extension}"));
        let (initrd, socket, log) = (file("initrd"), file("console"), file("boot.log"));
        guest::with_script(image, &script(name, address), &initrd)?;
        qemu.args(["-name", name, "-accel", accelerator.name(), "-M", "q35", "-cpu", "max"]);
        qemu.args([
            "-m",
            MEMORY,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        qemu.arg("-kernel").arg(image.join("vmlinuz")).arg("-initrd").arg(&initrd);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1"]);
        let (listen, copy) = (socket.display(), log.display());
        let console = format!("socket,id=console,path={listen},server=on,wait=off,logfile={copy}");
        qemu.args(["-chardev", &console, "-serial", "chardev:console"]);
        if let Some(socket) = shares_memory_by {
            let object = format!("memory-backend-memfd,id=mem,size={MEMORY}M,share=on");
            qemu.args(["-object", &object, "-numa", "node,memdev=mem"]);
            let socket = format!("socket,id=shared,path={},reconnect=1", socket.display());
            qemu.args(["-chardev", &socket]);
        }
        // The empty romfile: nothing boots from the network, and the file is in a package of its own.
        qemu.args(["-netdev", netdev, "-device", &format!("{card},netdev=net,mac={mac},romfile=")]);
        let process = lab.spawn(&qemu, &format!("{name}.qemu.log"))?;
        Ok(Self { plan, process, log, socket })
    }

    /// Waits until the machine's shell is there, and opens its console.
    ///
    /// # Errors
    /// When QEMU ends, or the machine takes too long.
    pub(crate) fn wait(&self, lab: &Lab) -> Result<Console> {
        let name = self.plan.name;
        let said = || fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        wait_until(&format!("{name} up"), BOOT_LIMIT, || {
            if let Some(status) = lab.exited(&self.process)? {
                bail!("QEMU of {name} ended with {status}: {}", self.process.output()?.trim_end());
            }
            Ok(said().is_ok_and(|text| text.contains(UP)))
        })
        .with_context(|| said().unwrap_or_default())?;
        Console::connect(&self.socket)
    }
}

/// What the guest does: take its address, then be a shell without echo on the console.
fn script(name: &str, address: &str) -> String {
    format!(
        "hostname {name}\n\
         ip address add {address}/24 dev eth0\n\
         ip link set eth0 up\n\
         stty -echo\n\
         echo {UP}\n\
         export PS1=\n\
         while true; do setsid -c /bin/dash; done\n"
    )
}

impl Outcome {
    /// Says on the screen what a command of a guest came to, when that matters.
    pub(crate) fn quote(&self) {
        say::quote(&self.output);
    }
}
