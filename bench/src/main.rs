//! `weft-bench`: the bench itself, and the copier, sender and counter that it starts in its namespaces.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use weft_bench::{
    copier::{self, Road},
    peer::Tools,
    switch, udp,
};

#[derive(Debug, Parser)]
#[command(name = "weft-bench", about = "Measurements of switches, side by side")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure switches between two hosts.
    Switch {
        #[command(flatten)]
        options: switch::Options,
        /// Where the tables go.
        #[arg(long, default_value = "target/bench")]
        out: PathBuf,
        /// The daemon to measure; the one beside this program when not given.
        #[arg(long)]
        weftd: Option<PathBuf>,
    },
    /// Copy frames between two devices.
    #[command(hide = true)]
    Copy { road: Road, a: String, b: String },
    /// Send small datagrams as fast as possible.
    #[command(hide = true)]
    Blast {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        seconds: u64,
    },
    /// Count datagrams.
    #[command(hide = true)]
    Count {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Switch { options, out, weftd } => {
            let bench = std::env::current_exe().context("this program's own path")?;
            let weftd = weftd.unwrap_or_else(|| bench.with_file_name("weftd"));
            switch::bench(&options, &Tools { bench, weftd }, &out)
        }
        Command::Copy { road, a, b } => copier::copy(road, &a, &b),
        Command::Blast { to, seconds } => print(udp::blast(to, Duration::from_secs(seconds))?),
        Command::Count { port, seconds } => print(udp::count(port, Duration::from_secs(seconds))?),
    }
}

fn print(count: udp::Count) -> Result<()> {
    println!("{}", serde_json::to_string(&count)?);
    Ok(())
}
