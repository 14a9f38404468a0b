//! `cargo xtask bench`: builds what is measured, and hands over to the bench.

use anyhow::Result;
use clap::{Args, Subcommand};
use weft_bench::{switch, vhost, vpn, wireguard};

use crate::{
    containment, guest, layout, say,
    setup::{self, Need},
    step::{cargo, show},
};

/// The packages whose programs are measured.
const WEFT: &[&str] = &["weftd", "weftctl"];

/// Which bench.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Bench {
    /// Switches side by side between two hosts: kernel bridge, Open vSwitch, bare copiers, weft.
    Switch(switch::Options),
    /// Tunnels side by side between two gateways: WireGuard in userspace, fastd, OpenVPN, VpnCloud, weft.
    Vpn(vpn::Options),
    /// Guests in shared memory side by side: DPDK's testpmd, Open vSwitch with DPDK, weft; real guests on TAPs, too.
    Vhost(vhost::Options),
    /// WireGuard servers with the same clients, a guest's kernel among them: wireguard-go, boringtun-cli, gotatun, weft.
    Wireguard(wireguard::Options),
    /// The forwarding decision alone.
    Forward(Forward),
}

/// What criterion is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct Forward {
    /// Arguments for criterion.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs a bench.
///
/// # Errors
/// When a build or the bench fails.
pub(crate) fn run(bench: Bench) -> Result<()> {
    match bench {
        Bench::Switch(options) => switch(&options),
        Bench::Vpn(options) => vpn(&options),
        Bench::Vhost(options) => vhost(&options),
        Bench::Wireguard(options) => wireguard(&options),
        Bench::Forward(Forward { args }) => show(
            cargo(&["bench", "--locked", "-p", "weft-core", "--bench", "forward", "--"]).args(args),
        ),
    }
}

fn switch(options: &switch::Options) -> Result<()> {
    setup::ensure_for(&[Need::Switches])?;
    containment::ensure_possible()?;
    let with_weft = options.peers().iter().any(|peer| peer.is_weft());
    measure("switch", &options.arguments(), if with_weft { WEFT } else { &[] })
}

fn vpn(options: &vpn::Options) -> Result<()> {
    setup::ensure_for(&[Need::Tunnels])?;
    containment::ensure_possible()?;
    for peer in options.peers() {
        if let Some((krate, program)) = peer.crate_name().zip(peer.program_name()) {
            setup::offer_rival(krate, program);
        }
    }
    measure("vpn", &options.arguments(), if options.with_weft() { WEFT } else { &[] })
}

fn vhost(options: &vhost::Options) -> Result<()> {
    containment::ensure_possible()?;
    setup::offer(Need::SharedMemory);
    let mut arguments = options.arguments();
    if options.with_guests() {
        arguments.extend(image(vhost::SCRIPT, "bench-guest.cpio")?);
    }
    let with_weft = options.peers().iter().any(|peer| peer.is_weft());
    measure("vhost", &arguments, if with_weft { WEFT } else { &[] })
}

fn wireguard(options: &wireguard::Options) -> Result<()> {
    setup::ensure_for(&[Need::Tunnels])?;
    containment::ensure_possible()?;
    for program in options.programs() {
        if let Some(krate) = program.crate_name() {
            setup::offer_rival(krate, program.name());
        }
    }
    let mut arguments = options.arguments();
    if options.with_guest() {
        arguments.extend(image(wireguard::SCRIPT, "bench-wireguard-guest.cpio")?);
    }
    measure("wireguard", &arguments, if options.with_weft() { WEFT } else { &[] })
}

/// Returns the arguments that say what guests boot, with their script in this initramfs.
fn image(script: &str, initrd: &str) -> Result<Vec<String>> {
    setup::ensure_for(&[Need::Guests])?;
    let image = guest::ensure_image()?;
    let initrd = layout::target().join(initrd);
    guest::with_script(&image, script, &initrd)?;
    let paths = [("--kernel", image.join("vmlinuz")), ("--initrd", initrd)];
    let words =
        paths.into_iter().flat_map(|(name, path)| [name.into(), path.display().to_string()]);
    Ok(words.collect())
}

/// Builds the bench and those `packages`, and hands over to it.
fn measure(bench: &str, arguments: &[String], packages: &[&str]) -> Result<()> {
    say::heading("Build");
    let mut build = cargo(&["build", "--release", "--locked", "-p", "weft-bench"]);
    for package in packages {
        build.args(["-p", package]);
    }
    show(&mut build)?;
    say::heading("Measure");
    let target = layout::target();
    let mut command = containment::command(target.join("release/weft-bench"));
    command.arg(bench).args(arguments);
    command.arg("--rivals").arg(layout::rivals().join("bin"));
    show(command.arg("--out").arg(target.join("bench")))
}
