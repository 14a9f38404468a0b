//! `weftctl switch`: the switches of a daemon.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use serde_json::{Map, Value};
use weft_config::api::{AddSwitch, Changed, Switch};

use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Request},
    failure::Failure,
    output::{Output, Paint},
    render::{Grid, duration, number, word, words},
};

const PATH: &str = "/v1/switches";

/// What to do with switches.
#[derive(Debug, Subcommand)]
pub(crate) enum SwitchCommand {
    /// List the switches, their limits and their ports
    #[command(after_help = "Examples:\n  weftctl switch list\n  weftctl --json switch list")]
    List,
    /// Add a switch
    #[command(after_help = "\
Examples:
  weftctl switch add lab
  weftctl switch add lab --mac-ageing 60s --mac-limit 4096 --may-exist

Ports come to it with `weftctl port add NAME … --switch lab`.")]
    Add(SwitchAdd),
    /// Remove a switch that has no ports
    #[command(
        after_help = "Examples:\n  weftctl switch remove lab\n  weftctl switch remove lab --if-exists"
    )]
    Remove(SwitchRemove),
}

/// A switch to be added.
#[derive(Debug, Args)]
pub(crate) struct SwitchAdd {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// How long an address lives without being heard, as in 300s
    #[arg(long, value_name = "TIME")]
    mac_ageing: Option<String>,
    /// Addresses that it remembers at most
    #[arg(long, value_name = "COUNT")]
    mac_limit: Option<u32>,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// A switch to be removed.
#[derive(Debug, Args)]
pub(crate) struct SwitchRemove {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl SwitchCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List => {
                output.show(&client.send(Request::get(PATH))?, |switches| list(switches, paint))
            }
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let mut switch = Map::new();
                switch.extend(
                    add.mac_ageing.map(|time| ("mac-ageing".to_owned(), Value::from(time))),
                );
                switch.extend(
                    add.mac_limit.map(|limit| ("mac-limit".to_owned(), Value::from(limit))),
                );
                let body = AddSwitch { name: add.name, switch, may_exist: add.may_exist.may_exist };
                let answer = client
                    .send::<Changed>(Request::post(PATH).persistence(persistence).body(&body))?;
                output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
            }
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let request = Request::delete(PATH).segment(&remove.name).persistence(persistence);
                let removed = client.remove(request, remove.if_exists.missing())?;
                show_removed(output, &removed, &format!("switch {}", remove.name), persistence)
            }
        }
    }
}

fn list(switches: &Vec<Switch>, paint: Paint) -> String {
    let mut grid = Grid::new(["NAME", "#MACS", "#LIMIT", "AGEING", "PORTS"]);
    for switch in switches {
        grid.row(vec![
            word(&switch.name),
            number(switch.macs as u64),
            number(switch.mac_limit as u64),
            word(&duration(switch.mac_ageing_seconds)),
            words(&switch.ports),
        ]);
    }
    grid.finish(paint)
}
