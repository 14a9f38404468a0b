//! The bench of WireGuard servers: the same client against each of them, both ways.

mod client;
pub mod crowd;
mod idle;
mod report;
mod server;

use std::path::Path;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

pub use self::{
    client::{Client, SCRIPT},
    server::Server,
};
use self::{
    report::{Alone, Part, Report},
    server::Direction,
};
pub use crate::userspace::Program;
use crate::{
    guest::Image,
    probe::Effort,
    report::{Rival, Samples},
    site::Tools,
    turns::{self, Bench, Turns},
};

const PEERS: u16 = 1000;
const SIDE_BY_SIDE: &str = "wireguard";
const ALONE: &str = "wireguard-weft";

/// What to measure, and how often.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    turns: Turns,
    /// Only these servers.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SERVER,…")]
    only: Vec<Server>,
    /// Only with these clients.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CLIENT,…")]
    client: Vec<Client>,
    /// Instead: what 1000 idle clients cost weft.
    #[arg(long)]
    idle: bool,
}

impl Options {
    /// Returns the programs that are needed, of servers and clients.
    pub fn programs(&self) -> Vec<Program> {
        if self.idle {
            return Vec::new();
        }
        let servers = self.servers().into_iter().filter_map(Server::program);
        let clients = self.clients().into_iter().filter_map(Client::program);
        let mut programs: Vec<_> = servers.chain(clients).collect();
        programs.sort_unstable();
        programs.dedup();
        programs
    }

    /// Tells whether a guest is among the clients.
    pub fn with_guest(&self) -> bool {
        !self.idle && self.clients().contains(&Client::Kernel)
    }

    /// Tells whether weft is among what is to be measured.
    pub fn with_weft(&self) -> bool {
        self.idle || self.servers().contains(&Server::Weft)
    }

    /// Returns the arguments that say the same.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = self.turns.arguments();
        for server in &self.only {
            arguments.extend(["--only".to_owned(), server.to_string()]);
        }
        for client in &self.client {
            arguments.extend(["--client".to_owned(), client.to_string()]);
        }
        if self.idle {
            arguments.push("--idle".to_owned());
        }
        arguments
    }

    fn servers(&self) -> Vec<Server> {
        if self.only.is_empty() { Server::value_variants().to_vec() } else { self.only.clone() }
    }

    fn clients(&self) -> Vec<Client> {
        if self.client.is_empty() { Client::value_variants().to_vec() } else { self.client.clone() }
    }
}

/// Measures and writes `wireguard.md` and `wireguard.json` to `out`, for weft alone `wireguard-weft.md` and
/// `wireguard-weft.json`.
///
/// # Errors
/// When another bench runs, nothing can be written, or, in the end, when something could not be measured.
pub fn bench(options: &Options, image: &Image, tools: &Tools, out: &Path) -> Result<()> {
    let failed = if options.idle {
        alone(options, tools, out)?
    } else {
        side_by_side(options, image, tools, out)?
    };
    ensure!(failed == 0, "{failed} attempts failed");
    Ok(())
}

/// Measures all servers with all clients both ways and returns how many attempts failed.
fn side_by_side(options: &Options, image: &Image, tools: &Tools, out: &Path) -> Result<usize> {
    // What packages have was installed; of crates, some may not have built.
    let is_here =
        |program: &Program| program.crate_name().is_none() || program.path(tools).exists();
    let absent = options.programs().into_iter().filter(|program| !is_here(program));
    let absent: Vec<_> = absent.map(Program::name).collect();
    for program in &absent {
        println!("not on this machine, left out: {program}");
    }
    let servers = options.servers();
    let servers: Vec<_> =
        servers.into_iter().filter(|server| server.program().is_none_or(|p| is_here(&p))).collect();
    let clients = options.clients().into_iter().filter(|client| match client {
        Client::Program(program) => is_here(program),
        Client::Kernel => image.paths().is_some(),
    });
    let ways: Vec<_> = clients
        .flat_map(|client| [(client, Direction::ToServer), (client, Direction::ToClient)])
        .collect();

    let runs = options.turns.count();
    let mut bench = Bench::begin(out, runs * ways.len() * servers.len())?;
    let effort = Effort { tcp: options.turns.tcp(), ladder: &[] };
    let part = |&(client, direction): &(Client, Direction)| {
        let what = match direction {
            Direction::ToServer => format!("{} to the server", client.name()),
            Direction::ToClient => format!("the server to {}", client.name()),
        };
        Part { what, samples: Samples::default() }
    };
    let parts = ways.iter().map(part).collect();
    let mut report = Report { head: turns::head(options.turns)?, absent, parts };
    for run in 1..=runs {
        for (at, &way) in ways.iter().enumerate() {
            for &server in &servers {
                let part = &mut report.parts[at];
                let what = format!("run {run} of {runs}, {}: {}", part.what, server.title());
                let build = |lab: &_| server::build(lab, (tools, image), way, server);
                bench.take(&mut part.samples, &what, (run, server), (tools, effort), build);
                bench.write(SIDE_BY_SIDE, &report.markdown(), &report)?;
            }
        }
    }
    bench.show(SIDE_BY_SIDE, &report.markdown());
    Ok(report.parts.iter().map(|part| part.samples.failed.len()).sum())
}

/// Measures what is asked of weft alone and returns how many attempts failed.
fn alone(options: &Options, tools: &Tools, out: &Path) -> Result<usize> {
    let mut bench = Bench::begin(out, 1)?;
    let what = format!("{PEERS} clients that are connected and idle");
    let idle = bench.attempt(&what, |lab| idle::idle(lab, tools, PEERS)).ok();
    let report = Alone { head: turns::head(options.turns)?, idle };
    bench.write(ALONE, &report.markdown(), &report)?;
    bench.show(ALONE, &report.markdown());
    Ok(usize::from(report.idle.is_none()))
}
