//! `cargo xtask`: everything around the code that takes more than one command. See `cargo xtask --help`.

mod bench;
mod containment;
mod demo;
mod fuzz;
mod guest;
mod layout;
mod say;
mod setup;
mod step;
mod test;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Set-up, demo, tests and benches of weft")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the other commands need: Debian packages and cargo's tools.
    Setup,
    /// Build the kernel and initramfs that guests boot, under target/guest, and fetch a newer QEMU beside them.
    GuestImage,
    /// Show virtual machines talking on VLANs of two hosts, and what must not talk not talking.
    Demo(demo::Options),
    /// Tell of each frame that arrives at a device from a sender.
    #[command(hide = true)]
    Hear { device: String, sender: String },
    /// Write what arrives at a device into a capture.
    #[command(hide = true)]
    Record { device: String, file: PathBuf },
    /// Run everything that must hold: checks, tests with real devices and real guests, interleavings.
    Test(test::Options),
    /// Feed the fuzz targets.
    Fuzz(fuzz::Options),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result = containment::complete_path().and_then(|()| run(Cli::parse().command));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::bad(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => {
            setup::ensure_for(setup::ALL)?;
            say::good("everything that the commands need is installed");
            Ok(())
        }
        Command::GuestImage => {
            let dir = guest::ensure_image()?;
            say::good(&format!("guests boot {}/vmlinuz with initrd.cpio beside it", dir.display()));
            if let Some(qemu) = guest::ensure_newer_qemu() {
                say::good(&format!("a newer QEMU is {}", qemu.display()));
            }
            Ok(())
        }
        Command::Demo(options) => demo::run(&options),
        Command::Hear { device, sender } => demo::hear(&device, &sender),
        Command::Record { device, file } => weft_bench::ear::record(&device, &file),
        Command::Test(options) => test::run(options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bench(bench) => bench::run(bench),
    }
}
