//! `weftctl port`: the ports of the switches, attached, changed and removed while traffic flows.

mod flags;
mod guest;

use std::fmt::Write as _;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::{Map, Value};
use weft_config::api::{
    AddPort, Changed, ConfigDocument, Direction, FdbEntry, Port, PortState, SetPort, Vm,
};

use self::{
    flags::{PortFlags, PortKey, Typed},
    guest::GuestSide,
};
use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Request},
    failure::Failure,
    fdb::origin,
    output::{Format, Output, Paint},
    render::{Grid, clean, number, state, state_word, vlan_mode, word, word_or_dash},
};

const PATH: &str = "/v1/ports";
/// Addresses in the description of a port.
const ADDRESSES_SHOWN: usize = 16;

/// What to do with ports.
#[derive(Debug, Subcommand)]
pub(crate) enum PortCommand {
    /// List the ports with their VLANs, states and counters
    #[command(after_help = "Examples:\n  weftctl port list\n  weftctl --json port list")]
    List,
    /// Show everything about a port: state, counters, drops by reason, addresses
    #[command(
        after_help = "Examples:\n  weftctl port show web1\n  weftctl --json port show web1\n  \
        weftctl port show db1 --qemu\n  \
        weftctl port show db1 --libvirt"
    )]
    Show(PortShow),
    /// Attach a port, live
    #[command(
        override_usage = "weftctl [--socket PATH] port add NAME --type TYPE [--device DEVICE | --socket PATH]\n           \
            (--access VLAN | --trunk LIST [--native VLAN [--native-tagged]] |\n            \
            --dot1q-tunnel VLAN [--customer LIST]) [OPTIONS]",
        after_help = "\
Examples:
  weftctl port add web1 --type netdev --device tap0 --access office
  weftctl port add host --type tap --device weft0 --trunk 10,20,100-199 --native 10
  weftctl port add db1 --type vhost-user --socket /run/weft/db1/db1.sock --access 20
  weftctl port add dev1 --type stream --socket /run/weft/dev1.sock --access 20
  weftctl port add cust --type netdev --device eth1 --dot1q-tunnel 300 --customer 10,12

VLAN is an ID or a name; LIST is like 10,20,100-199,office or all.
Here --socket is the port's; the daemon's goes before `port`, or into WEFT_SOCKET."
    )]
    Add(Box<PortAdd>),
    /// Change a port, live: only what is named changes
    #[command(
        override_usage = "weftctl [--socket PATH] port set NAME [OPTIONS] [--unset KEY]...",
        after_help = "\
Examples:
  weftctl port set web1 --access 20
  weftctl port set host --native 20
  weftctl port set web1 --mtu 9000 --unset mac-limit
  weftctl port set web1 --disabled --transient

A trunk keeps its native VLAN when only --trunk is given, and the other way
round. --mac and --ip replace the whole list. Here --socket is the port's; the
daemon's goes before `port`, or into WEFT_SOCKET."
    )]
    Set(Box<PortSet>),
    /// Remove a port; the device is left as it was before
    #[command(
        after_help = "Examples:\n  weftctl port remove web1\n  weftctl port remove web1 --if-exists"
    )]
    Remove(PortRemove),
}

/// A port to be shown.
#[derive(Debug, Args)]
pub(crate) struct PortShow {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// Show QEMU's arguments for the guest of a port with a socket
    #[arg(long, conflicts_with = "libvirt")]
    qemu: bool,
    /// Show libvirt's XML for the guest of a vhost-user port
    #[arg(long)]
    libvirt: bool,
}

/// A port to be added.
#[derive(Debug, Args)]
pub(crate) struct PortAdd {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    kind: Typed,
    #[command(flatten)]
    flags: PortFlags,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// A port to be changed.
#[derive(Debug, Args)]
pub(crate) struct PortSet {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    flags: PortFlags,
    /// Take a key away, so that its default counts
    #[arg(long, value_name = "KEY")]
    unset: Vec<PortKey>,
    #[command(flatten)]
    transient: Transient,
}

/// A port to be removed.
#[derive(Debug, Args)]
pub(crate) struct PortRemove {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl PortCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List => {
                output.show(&client.send(Request::get(PATH))?, |ports| list(ports, paint))
            }
            Self::Show(show) => show.run(client, output),
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let body = AddPort {
                    name: add.name,
                    port: add.flags.new_port(add.kind)?,
                    may_exist: add.may_exist.may_exist,
                };
                let answer = client
                    .send::<Changed>(Request::post(PATH).persistence(persistence).body(&body))?;
                output.show(&answer, |changed| {
                    tell(changed, Told::Done(persistence), paint) + &guests_side(&body)
                })
            }
            Self::Set(set) => set.run(client, output),
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let request = Request::delete(PATH).segment(&remove.name).persistence(persistence);
                let removed = client.remove(request, remove.if_exists.missing())?;
                show_removed(output, &removed, &format!("port {}", remove.name), persistence)
            }
        }
    }
}

impl PortShow {
    fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        if self.qemu || self.libvirt {
            let document = client.send::<ConfigDocument>(Request::get("/v1/config"))?.value()?;
            let side = GuestSide::of(&self.name, &current(&document, &self.name)?)?;
            return if self.qemu {
                output.value(&side.qemu(), guest::QemuArguments::words)
            } else {
                output.value(&side.libvirt()?, guest::LibvirtXml::words)
            };
        }
        let port = client.send::<Port>(Request::get(PATH).segment(&self.name))?;
        let addresses = match output.format {
            Format::Json => Vec::new(),
            Format::Human => client
                .send::<Vec<FdbEntry>>(Request::get("/v1/fdb").query("port", Some(&self.name)))?
                .value()?,
        };
        let paint = output.paint();
        output.show(&port, |port| describe(port, &addresses, paint))
    }
}

impl PortSet {
    fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let mut request = Request::patch(PATH).segment(&self.name);
        let mut port = self.flags.keys();
        port.extend(
            self.unset.iter().filter_map(PortKey::top).map(|key| (key.to_owned(), Value::Null)),
        );
        if self.flags.vlan.needs_current()
            || self.unset.iter().any(|key| key.within_vlan().is_some())
        {
            let document: ConfigDocument =
                client.send::<ConfigDocument>(Request::get("/v1/config"))?.value()?;
            // What is merged here is true of this revision only.
            request = request.if_match(&document.revision);
            let mut vlan =
                self.flags.vlan.merged(&self.name, current_vlan(&document, &self.name)?)?;
            for key in self.unset.iter().filter_map(PortKey::within_vlan) {
                vlan.remove(key);
            }
            port.insert("vlan".to_owned(), Value::Object(vlan));
        } else if let Some(vlan) = self.flags.vlan.replacing() {
            port.insert("vlan".to_owned(), Value::Object(vlan));
        }
        if port.is_empty() {
            return Err(Failure::usage(format!(
                "port {}: nothing to change was named",
                clean(&self.name)
            ))
            .help("`weftctl port set --help` lists what can be changed, with examples"));
        }
        let persistence = self.transient.persistence();
        let answer =
            client.send::<Changed>(request.persistence(persistence).body(&SetPort { port }))?;
        let paint = output.paint();
        output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
    }
}

/// Says what the guest of a new vhost-user port needs.
fn guests_side(added: &AddPort) -> String {
    match GuestSide::of(&added.name, &added.port) {
        Ok(side) if side.is_shared() => format!(
            "QEMU's arguments for the guest, with its own memory's size (libvirt's XML: weftctl port show {} --libvirt):\n{}",
            clean(&added.name),
            side.qemu().words()
        ),
        _ => String::new(),
    }
}

/// Returns a port's VLAN mode as it is written in the running configuration, names and all.
fn current_vlan(document: &ConfigDocument, name: &str) -> Result<Map<String, Value>, Failure> {
    match current(document, name)?.remove("vlan") {
        Some(Value::Object(vlan)) => Ok(vlan),
        _ => Ok(Map::new()),
    }
}

/// Returns a port as it is written in the running configuration.
fn current(document: &ConfigDocument, name: &str) -> Result<Map<String, Value>, Failure> {
    let running: Value = toml::from_str(&document.running).map_err(|error| {
        Failure::failed(
            "bad-answer",
            format!("the running configuration cannot be read here: {}", error.message()),
        )
        .help("are weftctl and weftd of one version? `weftctl --version`, `weftd --version`")
    })?;
    match running.get("port").and_then(|ports| ports.get(name)) {
        Some(Value::Object(port)) => Ok(port.clone()),
        _ => Err(Failure::failed("not-found", format!("there is no port `{}`", clean(name)))
            .help("`weftctl port list` shows the ports")),
    }
}

fn list(ports: &Vec<Port>, paint: Paint) -> String {
    if ports.is_empty() {
        return "no ports; `weftctl port add --help` shows how to attach one\n".to_owned();
    }
    let shows_switch = ports.iter().any(|port| port.switch != "main");
    let mut heads =
        vec!["NAME", "VM", "SWITCH", "TYPE", "DEVICE", "VLAN", "STATE", "#RX", "#TX", "#DROPS"];
    let shows_vm = ports.iter().any(|port| port.vm.is_some());
    heads.retain(|head| shows_switch || *head != "SWITCH");
    heads.retain(|head| shows_vm || *head != "VM");
    let mut grid = Grid::new(heads);
    for port in ports {
        let mut cells = vec![word(&port.name)];
        if shows_vm {
            cells.push(word_or_dash(port.vm.as_ref().map(vm_name).as_deref()));
        }
        if shows_switch {
            cells.push(word(&port.switch));
        }
        cells.extend([
            word(&port.kind),
            word_or_dash(port.device.as_deref().or(port.socket.as_deref())),
            word(&vlan_mode(&port.vlan)),
            state(port.state),
            number(port.rx.frames),
            number(port.tx.frames),
            number(dropped(&port.rx) + dropped(&port.tx)),
        ]);
        grid.row(cells);
    }
    grid.finish(paint) + &reasons(ports)
}

/// Returns what a machine is called: as its command line does, else by its program and process.
pub(crate) fn vm_name(vm: &Vm) -> String {
    vm.name.clone().unwrap_or_else(|| format!("{} {}", vm.program, vm.pid))
}

/// Returns a line for each port that is not up and says why.
pub(crate) fn reasons(ports: &[Port]) -> String {
    let mut text = String::new();
    for port in ports.iter().filter(|port| port.state != PortState::Up) {
        if let Some(reason) = &port.reason {
            let _ = writeln!(
                text,
                "{} is {}: {}",
                clean(&port.name),
                state_word(port.state),
                clean(reason)
            );
        }
    }
    text
}

/// Returns the frames dropped in one direction.
pub(crate) fn dropped(direction: &Direction) -> u64 {
    direction.drops.values().fold(0, |sum, frames| sum.saturating_add(*frames))
}

fn describe(port: &Port, addresses: &[FdbEntry], paint: Paint) -> String {
    let mut text = format!("{}\n", paint.title(&format!("port {}", clean(&port.name))));
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "  {key:<8} {}", clean(value));
    };
    line("switch", &port.switch);
    line("type", &port.kind);
    for (key, value) in [("device", &port.device), ("socket", &port.socket)] {
        if let Some(value) = value {
            line(key, value);
        }
    }
    line("vlan", &vlan_mode(&port.vlan));
    if let Some(mtu) = port.mtu {
        line("mtu", &mtu.to_string());
    }
    match &port.reason {
        Some(reason) => line("state", &format!("{}: {reason}", state_word(port.state))),
        None => line("state", state_word(port.state)),
    }
    for (key, direction) in [("rx", &port.rx), ("tx", &port.tx)] {
        let drops = dropped(direction);
        line(
            key,
            &format!("{} frames, {} bytes, {drops} dropped", direction.frames, direction.bytes),
        );
        for (reason, frames) in &direction.drops {
            line("", &format!("{frames} {reason}"));
        }
    }
    for entry in addresses.iter().take(ADDRESSES_SHOWN) {
        line("address", &format!("{} in VLAN {}, {}", entry.mac, entry.vlan, origin(entry)));
    }
    if addresses.len() > ADDRESSES_SHOWN {
        let rest = addresses.len() - ADDRESSES_SHOWN;
        line("", &format!("and {rest} more: weftctl fdb list --port {}", port.name));
    }
    text
}
