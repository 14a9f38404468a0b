//! `weft-bench`: the benches themselves, and the copier, sender and counter that they start in their
//! namespaces.

use std::{
    net::{SocketAddr, SocketAddrV4},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use weft_bench::{
    apart,
    copier::{self, Road},
    guest::Image,
    site::Tools,
    storm, switch,
    udp::{self, Rate},
    vhost::{self, End},
    vpn, wireguard,
};

#[derive(Debug, Parser)]
#[command(name = "weft-bench", about = "Measurements side by side")]
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
        #[command(flatten)]
        places: Places,
    },
    /// Measure tunnels between two gateways.
    Vpn {
        #[command(flatten)]
        options: vpn::Options,
        #[command(flatten)]
        places: Places,
    },
    /// Measure what joins guests by their memory.
    Vhost {
        #[command(flatten)]
        options: vhost::Options,
        #[command(flatten)]
        image: Image,
        #[command(flatten)]
        places: Places,
    },
    /// Send TCP super-frames from ring to ring.
    #[command(hide = true)]
    Rings {
        a: PathBuf,
        b: PathBuf,
        /// Wait at the sockets for the switch.
        #[arg(long)]
        listen: bool,
        #[arg(long)]
        seconds: u64,
    },
    /// Be a hostile guest or front-end at a switch's socket.
    #[command(hide = true)]
    Crime { crime: vhost::Crime, socket: PathBuf },
    /// Measure WireGuard servers with the same clients.
    Wireguard {
        #[command(flatten)]
        options: wireguard::Options,
        #[command(flatten)]
        image: Image,
        #[command(flatten)]
        places: Places,
    },
    /// Tell how far two cores are from each other.
    #[command(hide = true)]
    Apart { near: usize, far: usize },
    /// Copy frames between two devices.
    #[command(hide = true)]
    Copy { road: Road, a: String, b: String },
    /// Send small datagrams, as fast as possible or so many a second.
    #[command(hide = true)]
    Blast {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        seconds: u64,
        #[arg(long)]
        rate: Option<u32>,
    },
    /// Send one payload in the name of many addresses.
    #[command(hide = true)]
    Storm {
        #[arg(long)]
        to: SocketAddrV4,
        /// Of the datagram, in hexadecimal digits.
        #[arg(long)]
        payload: String,
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        seconds: u64,
    },
    /// Be many WireGuard clients that are connected and idle.
    #[command(hide = true)]
    Crowd {
        #[arg(long)]
        to: SocketAddr,
        /// The server's public key.
        #[arg(long)]
        server: String,
        /// A file of private keys, a line each.
        #[arg(long)]
        keys: PathBuf,
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
    /// Note which datagrams arrive.
    #[command(hide = true)]
    Track {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        seconds: u64,
    },
}

/// Where things lie.
#[derive(Debug, Args)]
struct Places {
    /// Where the tables go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Where `weftd` and `weftctl` lie; beside this program when not given.
    #[arg(long)]
    weft: Option<PathBuf>,
    /// Where rivals lie that no package has.
    #[arg(long, default_value = "target/rivals/bin")]
    rivals: PathBuf,
}

impl Places {
    fn tools(&self) -> Result<Tools> {
        let bench = std::env::current_exe().context("this program's own path")?;
        let program = |name: &str| match &self.weft {
            Some(dir) => dir.join(name),
            None => bench.with_file_name(name),
        };
        let (weftd, weftctl) = (program("weftd"), program("weftctl"));
        Ok(Tools { weftd, weftctl, bench, rivals: self.rivals.clone() })
    }
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
    let duration = Duration::from_secs;
    match command {
        Command::Switch { options, places } => {
            switch::bench(&options, &places.tools()?, &places.out)
        }
        Command::Vpn { options, places } => vpn::bench(&options, &places.tools()?, &places.out),
        Command::Vhost { options, image, places } => {
            vhost::bench(&options, &image, &places.tools()?, &places.out)
        }
        Command::Rings { a, b, listen, seconds } => {
            let end = if listen { End::Listens } else { End::Connects };
            print(&vhost::rings::send(&[a, b], end, duration(seconds))?)
        }
        Command::Crime { crime, socket } => match crime.commit(&socket)? {},
        Command::Wireguard { options, image, places } => {
            wireguard::bench(&options, &image, &places.tools()?, &places.out)
        }
        Command::Apart { near, far } => apart::watch([near, far]),
        Command::Copy { road, a, b } => copier::copy(road, &a, &b),
        Command::Blast { to, seconds, rate } => {
            let rate = rate.map_or(Rate::Flood, Rate::PerSecond);
            print(&udp::blast(to, rate, duration(seconds))?)
        }
        Command::Storm { to, payload, rate, seconds } => {
            print(&storm::storm(to, &from_hex(&payload)?, rate, duration(seconds))?)
        }
        Command::Crowd { to, server, keys, seconds } => {
            wireguard::crowd::crowd(to, &server, &keys, duration(seconds))
        }
        Command::Count { port, seconds } => print(&udp::count(port, duration(seconds))?),
        Command::Track { port, seconds } => print(&udp::track(port, duration(seconds))?),
    }
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    ensure!(
        text.is_ascii() && text.len().is_multiple_of(2),
        "two hexadecimal digits for each byte"
    );
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).context("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn print(report: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
