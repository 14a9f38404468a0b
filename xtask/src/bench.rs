//! `cargo xtask bench`: builds what is measured, and hands over to the bench.

use anyhow::Result;
use clap::{Args, Subcommand};
use weft_bench::switch;

use crate::{
    containment, layout, say,
    setup::{self, Need},
    step::{cargo, show},
};

/// Which bench.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Bench {
    /// Switches side by side between two hosts: kernel bridge, Open vSwitch, bare copiers, weft.
    Switch(switch::Options),
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
        Bench::Forward(Forward { args }) => show(
            cargo(&["bench", "--locked", "-p", "weft-core", "--bench", "forward", "--"]).args(args),
        ),
    }
}

fn switch(options: &switch::Options) -> Result<()> {
    setup::ensure_for(&[Need::Bench])?;
    containment::ensure_possible()?;
    let with_weft = options.peers().iter().any(|peer| peer.is_weft());
    measure("switch", &options.arguments(), if with_weft { &["weftd", "weftctl"] } else { &[] })
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
    show(command.arg("--out").arg(target.join("bench")))
}
