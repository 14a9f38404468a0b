//! `weftctl fdb`: the forwarding database, which port each address was last heard from.

use clap::{Args, Subcommand};
use weft_config::api::{AddFdb, Changed, FdbEntry, FdbKind, Flushed};
use weft_vlan::MacAddr;

use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Request},
    failure::Failure,
    output::{Output, Paint},
    render::{Grid, duration, number, word},
    vlan::VlanRef,
};

const PATH: &str = "/v1/fdb";

/// What to do with forwarding entries.
#[derive(Debug, Subcommand)]
pub(crate) enum FdbCommand {
    /// List the addresses and the ports they were heard from
    #[command(after_help = "\
Examples:
  weftctl fdb list
  weftctl fdb list --vlan office
  weftctl --json fdb list --port web1")]
    List(FdbFilter),
    /// Tie an address to a port
    #[command(after_help = "\
Examples:
  weftctl fdb add 52:54:00:12:34:56 --vlan 10 --port web1

Frames from that address are then dropped on any other port (static-elsewhere).")]
    Add(FdbAdd),
    /// Remove a static entry
    #[command(after_help = "\
Examples:
  weftctl fdb remove 52:54:00:12:34:56 --vlan 10
  weftctl fdb remove 52:54:00:12:34:56 --vlan office --if-exists")]
    Remove(FdbRemove),
    /// Forget learned addresses; static entries stay
    #[command(after_help = "\
Examples:
  weftctl fdb flush
  weftctl fdb flush --port web1 --vlan 10

The addresses are learned again from the next frames; until then frames to them
are flooded.")]
    Flush(FdbFilter),
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct FdbFilter {
    /// Only this VLAN, by ID or name
    #[arg(long, value_name = "VLAN")]
    vlan: Option<VlanRef>,
    /// Only this port
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Only this switch
    #[arg(long, value_name = "SWITCH")]
    switch: Option<String>,
}

impl FdbFilter {
    fn narrow(&self, request: Request) -> Request {
        request
            .query("vlan", self.vlan.as_ref().map(VlanRef::to_text).as_deref())
            .query("port", self.port.as_deref())
            .query("switch", self.switch.as_deref())
    }
}

/// An entry to be added.
#[derive(Debug, Args)]
pub(crate) struct FdbAdd {
    /// The address
    mac: MacAddr,
    /// Its VLAN, by ID or name
    #[arg(long, value_name = "VLAN")]
    vlan: VlanRef,
    /// Its port
    #[arg(long, value_name = "PORT")]
    port: String,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// An entry to be removed.
#[derive(Debug, Args)]
pub(crate) struct FdbRemove {
    /// The address
    mac: MacAddr,
    /// Its VLAN, by ID or name
    #[arg(long, value_name = "VLAN")]
    vlan: VlanRef,
    /// Its switch, where several know the VLAN
    #[arg(long, value_name = "SWITCH")]
    switch: Option<String>,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl FdbCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List(filter) => output
                .show(&client.send(filter.narrow(Request::get(PATH)))?, |entries| {
                    list(entries, paint)
                }),
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let body = AddFdb {
                    mac: add.mac.to_string(),
                    vlan: add.vlan.to_value(),
                    port: add.port,
                    may_exist: add.may_exist.may_exist,
                };
                let answer = client
                    .send::<Changed>(Request::post(PATH).persistence(persistence).body(&body))?;
                output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
            }
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let vlan = remove.vlan.to_text();
                let request = Request::delete(PATH)
                    .query("vlan", Some(&vlan))
                    .query("mac", Some(&remove.mac.to_string()))
                    .query("switch", remove.switch.as_deref())
                    .persistence(persistence);
                let removed = client.remove(request, remove.if_exists.missing())?;
                show_removed(
                    output,
                    &removed,
                    &format!("a static entry {} in VLAN {vlan}", remove.mac),
                    persistence,
                )
            }
            Self::Flush(filter) => {
                let answer =
                    client.send::<Flushed>(filter.narrow(Request::post("/v1/fdb/flush")))?;
                output.show(&answer, |flushed| match flushed.flushed {
                    1 => "1 address forgotten\n".to_owned(),
                    count => format!("{count} addresses forgotten\n"),
                })
            }
        }
    }
}

fn list(entries: &Vec<FdbEntry>, paint: Paint) -> String {
    if entries.is_empty() {
        return "no addresses\n".to_owned();
    }
    let mut grid = Grid::new(["SWITCH", "#VLAN", "MAC", "PORT", "KIND", "AGE"]);
    for entry in entries {
        grid.row(vec![
            word(&entry.switch),
            number(entry.vlan.into()),
            word(&entry.mac),
            word(&entry.port),
            word(&kind(entry)),
            word(&age(entry).unwrap_or_else(|| "-".to_owned())),
        ]);
    }
    grid.finish(paint)
}

/// Says where an entry comes from.
fn kind(entry: &FdbEntry) -> String {
    match entry.kind {
        FdbKind::Dynamic => "dynamic".to_owned(),
        FdbKind::Static => "static".to_owned(),
        FdbKind::Remote => format!("remote {}", entry.peer.as_deref().unwrap_or("unknown")),
    }
}

/// Says how long ago an address was heard, where that matters.
fn age(entry: &FdbEntry) -> Option<String> {
    (entry.kind != FdbKind::Static).then(|| duration(entry.age_seconds))
}

/// Says where an entry comes from and, where that matters, when it was last heard.
pub(crate) fn origin(entry: &FdbEntry) -> String {
    let age = age(entry).map_or_else(String::new, |age| format!(", heard {age} ago"));
    kind(entry) + &age
}
