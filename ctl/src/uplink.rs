//! `weftctl uplink`: NICs of the host's that become ports, without the host losing its network.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use weft_config::api::{AdoptUplink, Changed, Uplink};

use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Persistence, Request},
    failure::Failure,
    output::{Output, Paint},
    render::{Grid, clean, word, words},
};

const PATH: &str = "/v1/uplinks";

/// What to do with uplinks.
#[derive(Debug, Subcommand)]
pub(crate) enum UplinkCommand {
    /// List the uplinks, and where their addresses are
    #[command(after_help = "Examples:\n  weftctl uplink list\n  weftctl --json uplink list")]
    List,
    /// Make a NIC a port, and carry its addresses and routes over to a tap port
    #[command(after_help = "\
Examples:
  weftctl port add host --type tap --device weft0 --access 10
  weftctl uplink adopt eth0 --port host

The NIC becomes a port in the VLANs of --port, whose device gets the NIC's
addresses, routes, MAC address and MTU: the host goes on by it, connections stay.
Its gateways are asked before and after; when none answers after it, everything is
taken back. weftd gives the NIC its addresses back when it ends, and takes what a
network manager gives the NIC later. Firewall rules that name the NIC see the tap
port's device instead.")]
    Adopt(UplinkAdopt),
    /// Give a NIC its addresses and routes back; it is no port any more
    #[command(
        after_help = "Examples:\n  weftctl uplink release eth0\n  weftctl uplink release eth0 --if-exists"
    )]
    Release(UplinkRelease),
}

/// A NIC to be adopted.
#[derive(Debug, Args)]
pub(crate) struct UplinkAdopt {
    /// The NIC
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    device: String,
    /// The tap port whose device gets its addresses and routes
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    port: String,
    /// What the NIC's own port is called; as the NIC when absent
    #[arg(long = "as", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Ask no gateway whether the host is still reached
    #[arg(long)]
    unchecked: bool,
    #[command(flatten)]
    may_exist: MayExist,
}

/// A NIC to be released.
#[derive(Debug, Args)]
pub(crate) struct UplinkRelease {
    /// The NIC
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    device: String,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl UplinkCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List => {
                output.show(&client.send(Request::get(PATH))?, |uplinks| list(uplinks, paint))
            }
            Self::Adopt(UplinkAdopt { device, port, name, unchecked, may_exist }) => {
                let may_exist = may_exist.may_exist;
                let body = AdoptUplink { device, port, name, unchecked, may_exist };
                let answer = client.send::<Changed>(Request::post(PATH).body(&body))?;
                output
                    .show(&answer, |changed| tell(changed, Told::Done(Persistence::Written), paint))
            }
            Self::Release(release) => {
                let persistence = release.transient.persistence();
                let request =
                    Request::delete(PATH).segment(&release.device).persistence(persistence);
                let removed = client.remove(request, release.if_exists.missing())?;
                show_removed(output, &removed, &format!("uplink {}", release.device), persistence)
            }
        }
    }
}

fn list(uplinks: &Vec<Uplink>, paint: Paint) -> String {
    if uplinks.is_empty() {
        return "no uplinks; `weftctl uplink adopt --help` shows how to make one\n".to_owned();
    }
    let mut grid = Grid::new(["NIC", "PORT", "DEVICE", "STATE", "ADDRESSES"]);
    for uplink in uplinks {
        let state = if uplink.adopted { "adopted" } else { "not adopted" };
        grid.row(vec![
            word(&uplink.device),
            word(&uplink.port),
            word(&uplink.heir),
            word(state),
            words(&uplink.addresses),
        ]);
    }
    let mut text = grid.finish(paint);
    for uplink in uplinks {
        for route in &uplink.routes {
            text += &format!("{}: {}\n", clean(&uplink.device), clean(route));
        }
        if let Some(reason) = &uplink.reason {
            text += &format!("{}: {}\n", clean(&uplink.device), clean(reason));
        }
    }
    text
}
