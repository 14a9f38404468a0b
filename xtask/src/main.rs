//! `cargo xtask`: everything around the code that takes more than one command. See `cargo xtask --help`.

mod containment;
mod guest;
mod layout;
mod say;
mod setup;

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
    /// Build the kernel and initramfs that guests boot, under target/guest.
    GuestImage,
}

fn main() -> Result<()> {
    containment::complete_path()?;
    let cli = Cli::parse();
    match cli.command {
        Command::Setup => {
            setup::ensure_for(setup::ALL)?;
            say::good("everything that the commands need is installed");
            Ok(())
        }
        Command::GuestImage => {
            let dir = guest::ensure_image()?;
            say::good(&format!("guests boot {}/vmlinuz with initrd.cpio beside it", dir.display()));
            Ok(())
        }
    }
}
