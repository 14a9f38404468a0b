//! The command line: what every command shares, and which command is meant.

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{
    Arg, ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
    value_parser,
};
use weft_config::api::{Error as Refusal, ErrorBody};

use crate::{
    bugreport::Bugreport,
    capture::Capture,
    check::Check,
    client::{Client, Limits, Missing, Persistence},
    config::{Apply, ConfigCommand, Diff},
    doctor::Doctor,
    drops::Drops,
    events::Events,
    failure::{Exit, Failure},
    fdb::FdbCommand,
    key::KeyCommand,
    output::{ColorChoice, Format, Output},
    peer::PeerCommand,
    port::PortCommand,
    render,
    rollback::{Confirm, Rollback},
    segment::SegmentCommand,
    shell::{Completions, Man},
    status::Status,
    switch::SwitchCommand,
    top::Top,
    trace::Trace,
    uplink::UplinkCommand,
    vlan::VlanCommand,
    wireguard::WireguardCommand,
};

/// Where weftd listens unless told otherwise.
const DEFAULT_SOCKET: &str = "/run/weft/weftd.sock";
/// The id of the argument that names the daemon's socket.
const CONTROL: &str = "control";
const GLOBAL: &str = "Global options";

/// Controls a weft switch daemon: VLANs, ports, addresses, configuration
#[derive(Debug, Parser)]
#[command(
    name = "weftctl",
    version,
    max_term_width = 100,
    disable_help_flag = true,
    after_help = "\
Examples:
  weftctl status
  weftctl vlan add office --id 10
  weftctl port add web1 --type netdev --device tap0 --access office
  weftctl port add host --type tap --device weft0 --trunk 10,20 --native 10
  weftctl trace --port web1 --src 52:54:00:12:34:56 --dst ff:ff:ff:ff:ff:ff

A change is written back to weftd's configuration file, comments kept, unless it
is --transient.
Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 weftd not reachable."
)]
struct Cli {
    /// The daemon's socket
    #[arg(id = CONTROL, long = "socket", value_name = "PATH", env = "WEFT_SOCKET", default_value = DEFAULT_SOCKET,
        help_heading = GLOBAL)]
    socket: PathBuf,
    /// Print one JSON document, and errors as JSON too
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = GLOBAL)]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show switches, VLANs, ports, peers, addresses and problems on one screen
    #[command(
        after_help = "Examples:\n  weftctl status\n  watch weftctl status\n  weftctl --json status"
    )]
    Status(Status),
    /// List, show, add, change and remove ports
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl port list
  weftctl port add web1 --type netdev --device tap0 --access 10
  weftctl port set web1 --access 20"
    )]
    Port(PortCommand),
    /// List, name and unname VLANs
    #[command(
        subcommand,
        after_help = "Examples:\n  weftctl vlan list\n  weftctl vlan add office --id 10"
    )]
    Vlan(VlanCommand),
    /// List, add and remove switches
    #[command(
        subcommand,
        after_help = "Examples:\n  weftctl switch list\n  weftctl switch add lab"
    )]
    Switch(SwitchCommand),
    /// List learned addresses, add and remove static ones, forget learned ones
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl fdb list --vlan office
  weftctl fdb add 52:54:00:12:34:56 --vlan 10 --port web1"
    )]
    Fdb(FdbCommand),
    /// Let the host itself go on by a tap port while its NIC is a port of the switch
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl port add host --type tap --device weft0 --access 10
  weftctl uplink adopt eth0 --port host
  weftctl uplink list
  weftctl uplink release eth0"
    )]
    Uplink(UplinkCommand),
    /// List, add and remove segments: broadcast domains that span hosts
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl segment list
  weftctl segment add office --id 5010 --vlan 10"
    )]
    Segment(SegmentCommand),
    /// List, show, add, change, ping and remove peers: hosts at the other ends of tunnels
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl peer list
  weftctl peer set berlin --segments office,voice
  weftctl peer ping berlin"
    )]
    Peer(PeerCommand),
    /// Let stock WireGuard clients into a VLAN: adapters and their peers
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl wireguard add road --vlan office --address 10.10.0.1/24
  weftctl wireguard peer add road alice --new --server vpn.example.net
  weftctl wireguard show road"
    )]
    Wireguard(WireguardCommand),
    /// Make keys, and say which public key belongs to a private one; needs no weftd
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl key generate --out /etc/weft/vpn.key
  weftctl key public /etc/weft/vpn.key"
    )]
    Key(KeyCommand),
    /// Say what would happen to a frame, step by step
    Trace(Trace),
    /// Show dropped frames by port, direction and reason, or as they are dropped
    Drops(Drops),
    /// Write frames as they pass ports, and why they are dropped, for Wireshark and tcpdump
    Capture(Capture),
    /// Watch the rates of ports and peers
    Top(Top),
    /// Show what happens: ports and peers that come and go, addresses that move, changes
    Events(Events),
    /// Look for the usual traps, and say the ways out
    Doctor(Doctor),
    /// Print what a report of a fault needs, and nothing that names anybody
    Bugreport(Bugreport),
    /// Check a configuration file; needs no weftd
    Check(Check),
    /// Show how the running configuration differs from a file
    Diff(Diff),
    /// Make a file's text the configuration, as a whole or not at all
    Apply(Apply),
    /// Keep what was applied with --confirm
    Confirm(Confirm),
    /// Go back to what the configuration was before
    Rollback(Rollback),
    /// Show the configuration
    #[command(subcommand, after_help = "Examples:\n  weftctl config show")]
    Config(ConfigCommand),
    /// Print completions for a shell
    Completions(Completions),
    /// Write manual pages into a directory
    Man(Man),
}

/// A command line that can be run.
#[derive(Debug)]
pub(crate) struct Invocation {
    cli: Cli,
}

impl Invocation {
    /// Returns how to print.
    pub(crate) fn output(&self) -> Output {
        Output::new(if self.cli.json { Format::Json } else { Format::Human }, self.cli.color)
    }

    /// Does what is asked.
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        let client = Client::new(self.cli.socket, Limits::default()).guarded(output);
        match self.cli.command {
            Command::Status(status) => status.run(&client, output),
            Command::Port(command) => command.run(&client, output),
            Command::Vlan(command) => command.run(&client, output),
            Command::Switch(command) => command.run(&client, output),
            Command::Fdb(command) => command.run(&client, output),
            Command::Uplink(command) => command.run(&client, output),
            Command::Segment(command) => command.run(&client, output),
            Command::Peer(command) => command.run(&client, output),
            Command::Wireguard(command) => command.run(&client, output),
            Command::Key(command) => command.run(output),
            Command::Trace(trace) => trace.run(&client, output),
            Command::Drops(drops) => drops.run(&client, output),
            Command::Capture(capture) => capture.run(&client, output),
            Command::Top(top) => top.run(&client, output),
            Command::Events(events) => events.run(&client, output),
            Command::Bugreport(report) => report.run(&client, output),
            Command::Doctor(doctor) => doctor.run(&client, output),
            Command::Check(check) => check.run(output),
            Command::Diff(diff) => diff.run(&client, output),
            Command::Apply(apply) => apply.run(&client, output),
            Command::Confirm(confirm) => confirm.run(&client, output),
            Command::Rollback(rollback) => rollback.run(&client, output),
            Command::Config(command) => command.run(&client, output),
            Command::Completions(completions) => completions.run(command(), output),
            Command::Man(man) => man.run(command(), output),
        }
    }
}

/// A command line that cannot be run, or asks for help.
#[derive(Debug)]
pub(crate) struct Usage {
    error: clap::Error,
    format: Format,
}

impl Usage {
    /// Prints the help that was asked for, or what is wrong.
    pub(crate) fn report(self) -> ExitCode {
        if self.error.use_stderr() && self.format == Format::Json {
            let text = self.error.to_string();
            let (message, help) = text.split_once("\n\n").unwrap_or((&text, ""));
            let body = ErrorBody {
                code: "usage".to_owned(),
                message: message.trim_start_matches("error: ").trim().to_owned(),
                help: Some(help.trim().to_owned()).filter(|help| !help.is_empty()),
            };
            // Nobody is left to tell when stderr is gone; the status still says it.
            let _ = std::io::stderr()
                .lock()
                .write_all(render::json(&Refusal { error: body }).as_bytes());
        } else {
            // A closed pipe behind --help is a reader who has seen enough.
            let _ = self.error.print();
        }
        if self.error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS }
    }
}

/// Reads a command line.
///
/// # Errors
/// Returns what is to be printed instead of running it.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let format = if arguments.iter().any(|argument| argument == "--json") {
        Format::Json
    } else {
        Format::Human
    };
    let color = if format == Format::Json {
        clap::ColorChoice::Never
    } else {
        early_color(&arguments).into()
    };
    let matches = command().color(color).try_get_matches_from(arguments);
    let invocation = matches.and_then(|matches| {
        let mut cli = Cli::from_arg_matches(&matches)?;
        if let Some(socket) = named_socket(&matches) {
            cli.socket.clone_from(socket);
        }
        Ok(Invocation { cli })
    });
    invocation.map_err(|error| Usage { error: explain(error), format })
}

/// Returns the whole command line's grammar.
fn command() -> clap::Command {
    let mut command = Cli::command().arg(help_flag());
    for subcommand in command.get_subcommands_mut() {
        complete(subcommand);
    }
    command
}

/// Returns the flag for help, the same with `-h` and `--help`: one screen, with examples.
fn help_flag() -> Arg {
    Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::HelpShort)
        .help_heading(GLOBAL)
        .help("Print this help")
}

/// Gives a command its help, and lets the daemon's socket be named behind it too, except where `--socket` is the port's.
fn complete(command: &mut clap::Command) {
    *command = std::mem::take(command).disable_help_flag(true).arg(help_flag());
    let taken = command.get_arguments().any(|argument| argument.get_long() == Some("socket"));
    if !taken {
        let socket = Arg::new(CONTROL)
            .long("socket")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help_heading(GLOBAL)
            .help("The daemon's socket");
        *command = std::mem::take(command).arg(socket);
    }
    for subcommand in command.get_subcommands_mut() {
        complete(subcommand);
    }
}

/// Returns the daemon's socket that was named behind a command, the last one first.
fn named_socket(matches: &ArgMatches) -> Option<&PathBuf> {
    let (_, inner) = matches.subcommand()?;
    named_socket(inner).or_else(|| inner.try_get_one(CONTROL).ok().flatten())
}

/// Finds `--color` before the command line is read: mistakes in it are coloured too.
fn early_color(arguments: &[OsString]) -> ColorChoice {
    let mut chosen = ColorChoice::Auto;
    for (at, argument) in arguments.iter().enumerate() {
        let value = match argument.to_str() {
            Some("--color") => arguments.get(at + 1).and_then(|value| value.to_str()),
            Some(argument) => argument.strip_prefix("--color="),
            None => None,
        };
        match value {
            Some("always") => chosen = ColorChoice::Always,
            Some("never") => chosen = ColorChoice::Never,
            _ => {}
        }
    }
    chosen
}

/// Adds to clap's words what a user of weft needs to know.
fn explain(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
        && missing.iter().any(|argument| argument.starts_with("--type"))
    {
        let tip = "--type netdev attaches a device that exists (a VM's TAP, a veth, a NIC);\n       --type tap makes a \
                   TAP for the host; --type vhost-user shares a guest's memory;\n       --type stream is a socket for QEMU's \
                   -netdev stream";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && argument == "--type"
        && let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage)
        && usage.to_string().contains("port set")
    {
        let tip = "a port keeps its type: `weftctl port remove` it, and `weftctl port add` it with the other";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

/// Makes adding idempotent.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct MayExist {
    /// Succeed when an equal one is there already
    #[arg(long)]
    pub(crate) may_exist: bool,
}

/// Makes removing idempotent.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct IfExists {
    /// Succeed when it is not there
    #[arg(long)]
    if_exists: bool,
}

impl IfExists {
    /// Returns what it means that something is not there.
    pub(crate) fn missing(self) -> Missing {
        if self.if_exists { Missing::Accepted } else { Missing::Refused }
    }
}

/// Leaves the file alone.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Transient {
    /// Change the running switch only, not the configuration file
    #[arg(long)]
    transient: bool,
}

impl Transient {
    /// Returns where the change goes.
    pub(crate) fn persistence(self) -> Persistence {
        if self.transient { Persistence::Transient } else { Persistence::Written }
    }
}

#[cfg(test)]
mod tests;
