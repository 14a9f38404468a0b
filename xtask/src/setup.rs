//! What the other commands need of the machine: Debian packages, cargo's tools. Installs what is missing when
//! root, otherwise says how.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use weft_bench::lab::run;

use crate::{
    containment::is_root,
    layout::{self, find_program},
    say,
};

/// Who needs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Building the guests' image.
    GuestImage,
    /// Real machines in namespaces: the demo, the tests.
    Guests,
    /// The tests with what people start guests by.
    Hypervisors,
    /// The bench of switches.
    Switches,
    /// The bench of tunnels.
    Tunnels,
    /// The bench of guests in shared memory.
    SharedMemory,
    /// The checks around the tests.
    Checks,
    /// Fuzzing.
    Fuzz,
}

pub(crate) const ALL: &[Need] = &[
    Need::GuestImage,
    Need::Guests,
    Need::Hypervisors,
    Need::Switches,
    Need::Tunnels,
    Need::SharedMemory,
    Need::Checks,
    Need::Fuzz,
];

const NETWORKED: &[Need] =
    &[Need::GuestImage, Need::Guests, Need::Switches, Need::Tunnels, Need::SharedMemory];

/// A program, the Debian package that has it, and who needs it.
const PROGRAMS: &[(&str, &str, &[Need])] = &[
    ("ip", "iproute2", NETWORKED),
    ("ping", "iputils-ping", NETWORKED),
    ("iperf3", "iperf3", NETWORKED),
    ("ethtool", "ethtool", NETWORKED),
    ("tcpdump", "tcpdump", &[Need::GuestImage, Need::Guests]),
    ("depmod", "kmod", &[Need::GuestImage]),
    ("xz", "xz-utils", &[Need::GuestImage]),
    ("tshark", "tshark", &[Need::Guests]),
    ("socat", "socat", &[Need::Guests]),
    ("tmux", "tmux", &[Need::Guests]),
    ("sysctl", "procps", &[Need::Guests]),
    ("qemu-system-x86_64", "qemu-system-x86", &[Need::Guests]),
    ("libvirtd", "libvirt-daemon", &[Need::Hypervisors]),
    (LIBVIRT_QEMU, "libvirt-daemon-driver-qemu", &[Need::Hypervisors]),
    ("virsh", "libvirt-clients", &[Need::Hypervisors]),
    ("ovs-vswitchd", "openvswitch-switch", &[Need::Switches, Need::SharedMemory]),
    (OVS_DPDK, "openvswitch-switch-dpdk", &[Need::SharedMemory]),
    ("dpdk-testpmd", "dpdk-dev", &[Need::SharedMemory]),
    ("wg", "wireguard-tools", &[Need::Guests, Need::Tunnels]),
    ("wireguard-go", "wireguard-go", &[Need::Guests, Need::Tunnels]),
    ("fastd", "fastd", &[Need::Tunnels]),
    ("openvpn", "openvpn", &[Need::Tunnels]),
    ("openssl", "openssl", &[Need::Tunnels]),
];

/// Outside of the search path, in which it goes by the name of the one without DPDK.
const OVS_DPDK: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

/// What libvirtd loads to start QEMU.
const LIBVIRT_QEMU: &str =
    "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so";

/// A cargo subcommand, what installs it, and who needs it.
const TOOLS: &[(&str, &[&str], &[Need])] = &[
    ("fmt", &["rustup", "component", "add", "rustfmt"], &[Need::Checks]),
    ("clippy", &["rustup", "component", "add", "clippy"], &[Need::Checks]),
    ("nextest", &["cargo", "install", "--locked", "cargo-nextest"], &[Need::Checks]),
    ("deny", &["cargo", "install", "--locked", "cargo-deny"], &[Need::Checks]),
    ("fuzz", &["cargo", "install", "--locked", "cargo-fuzz"], &[Need::Fuzz]),
];

/// Makes sure that everything is there that `needs` name.
///
/// # Errors
/// When something is missing and cannot be installed, with the command that would.
pub(crate) fn ensure_for(needs: &[Need]) -> Result<()> {
    let wanted = |of: &[Need]| of.iter().any(|need| needs.contains(need));
    let missing: BTreeSet<_> = PROGRAMS
        .iter()
        .filter(|(program, _, of)| wanted(of) && find_program(program).is_none())
        .map(|(_, package, _)| *package)
        .collect();
    if !missing.is_empty() {
        install_packages(&missing.into_iter().collect::<Vec<_>>())?;
    }
    for (tool, installer, of) in TOOLS {
        if wanted(of) && !has_tool(tool) {
            install_tool(tool, installer)?;
        }
    }
    Ok(())
}

/// Does what [`ensure_for`] does where that is possible, and goes on otherwise: the benches leave out who is missing.
pub(crate) fn offer(need: Need) {
    if let Err(error) = ensure_for(&[need]) {
        say::bad(&format!("the bench goes on without what is missing: {error:#}"));
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    ensure!(
        find_program("apt-get").is_some(),
        "missing: {list}; this machine has no apt-get to install them"
    );
    if !is_root() {
        bail!(
            "missing Debian packages: {list}\n\
             install them with: sudo apt-get install --no-install-recommends {list}"
        );
    }
    say::note(&format!("installing Debian packages: {list}"));
    let _services = ServicesStayDown::begin()?;
    let has_candidates = packages.iter().all(|package| has_candidate(package));
    if !has_candidates || apt_get(&install_args(packages)).is_err() {
        // Lists that are missing or old name packages that are not there.
        update_lists()?;
        apt_get(&install_args(packages))?;
    }
    if packages.contains(&"openvswitch-switch") && Path::new("/run/systemd/system").exists() {
        // The bench starts its own; the package's services would come up with the next boot.
        run(Command::new("systemctl").args(["disable", "--quiet", "openvswitch-switch.service"]))?;
    }
    Ok(())
}

/// Fetches the lists of packages; for root only.
///
/// # Errors
/// When apt fails.
pub(crate) fn update_lists() -> Result<()> {
    say::note("fetching the lists of packages");
    apt_get(&["update"])
}

fn install_args<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    [&["install", "-y", "--no-install-recommends"], packages].concat()
}

fn has_candidate(package: &str) -> bool {
    run(Command::new("apt-cache").args(["show", "--no-all-versions", package])).is_ok()
}

fn apt_get(args: &[&str]) -> Result<()> {
    run(Command::new("apt-get").arg("-q").args(args).env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(())
}

fn has_tool(tool: &str) -> bool {
    let probe = Command::new("cargo").args([tool, "--version"]).stderr(Stdio::null()).output();
    probe.is_ok_and(|output| output.status.success())
}

fn install_tool(tool: &str, installer: &[&str]) -> Result<()> {
    let line = installer.join(" ");
    say::note(&format!("cargo {tool} is missing: {line} (this may take minutes)"));
    let status = Command::new(installer[0]).args(&installer[1..]).status();
    ensure!(
        status.is_ok_and(|status| status.success()),
        "cargo {tool} is missing; install it with: {line}"
    );
    Ok(())
}

/// Installs a program that a crate has, for the benches. Not every rival builds on every machine: the bench
/// goes on without one that does not.
pub(crate) fn offer_rival(krate: &str, program: &str) {
    if ensure_rival(krate, program).is_err() {
        say::bad(&format!("{krate} does not build here: the bench goes on without it"));
    }
}

/// Installs a program that a crate has, where it is not yet.
///
/// # Errors
/// When it does not build.
pub(crate) fn ensure_rival(krate: &str, program: &str) -> Result<()> {
    let dir = layout::rivals();
    if dir.join("bin").join(program).exists() {
        return Ok(());
    }
    say::note(&format!("building {krate} (this may take minutes)"));
    let mut install = Command::new("cargo");
    install.args(["install", "--locked", krate]).arg("--root").arg(&dir);
    let status = install.arg("--target-dir").arg(dir.join("build")).status();
    let built = status.is_ok_and(|status| status.success());
    ensure!(built, "{krate} cannot be installed: `cargo install --locked {krate}` says why");
    Ok(())
}

/// While it lives, packages that are installed start no service: Debian asks `policy-rc.d`.
struct ServicesStayDown {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl ServicesStayDown {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        let write = || {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
        };
        write().with_context(|| format!("write {POLICY}"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for ServicesStayDown {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            say::bad(&format!(
                "{POLICY} could not be removed ({error}): no service starts until it is gone"
            ));
        }
    }
}
