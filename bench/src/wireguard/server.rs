//! The servers that are measured, the clients that they serve, and what lies behind a server: its own
//! device, with weft a host on the VLAN that the clients join.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::client::Client;
use crate::{
    gateways::{DEVICE, Ends, Underlay},
    guest::Image,
    lab::{Lab, Process},
    report::Rival,
    site::{Site, Tools},
    userspace::{self, Key, Other, PORT, Program},
    weft::Weft,
};

/// The MTU that clients of WireGuard take when nobody says another.
pub(super) const INNER_MTU: u16 = 1420;
/// The network in the tunnel.
pub(super) const NETWORK: &str = "10.77.0.0/24";
/// weft's adapter in it.
const ADAPTER: &str = "10.77.0.3/24";

/// What may be the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// wireguard-go.
    WireguardGo,
    /// boringtun.
    Boringtun,
    /// GotaTun.
    Gotatun,
    /// weft, a WireGuard adapter on a VLAN.
    Weft,
}

/// Which way the streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

impl Server {
    /// Returns the program that it is, where it is somebody else's.
    pub fn program(self) -> Option<Program> {
        match self {
            Self::WireguardGo => Some(Program::WireguardGo),
            Self::Boringtun => Some(Program::Boringtun),
            Self::Gotatun => Some(Program::Gotatun),
            Self::Weft => None,
        }
    }
}

impl Rival for Server {
    fn title(self) -> &'static str {
        match self {
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli, 1 thread",
            Self::Gotatun => "gotatun",
            Self::Weft => "**weft, a VLAN behind it**",
        }
    }
}

impl fmt::Display for Server {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// Sets client and server up and waits until the one reaches the other. The server is the far gateway.
///
/// # Errors
/// When something of it does not come up.
pub(super) fn build(
    lab: &Lab,
    (tools, image): (&Tools, &Image),
    (client, direction): (Client, Direction),
    server: Server,
) -> Result<Site> {
    let ends = Ends::lay(lab, Underlay::Veth)?;
    let (client_key, server_key) = (Key::generate(lab, "client")?, Key::generate(lab, "server")?);
    let address = format!("{}/32", ends.near.inner);
    let served = match server.program() {
        Some(program) => {
            let process = program.start(lab, tools, &ends.far)?;
            let client =
                Other { public_key: &client_key.public, allowed: &address, endpoint: None };
            userspace::introduce(&process, &server_key.file, client)?;
            process
        }
        None => {
            let peers = [(client_key.public.clone(), address)];
            adapter(lab, tools, &ends, &server_key, &peers)?
        }
    };
    let process = client.start(lab, (tools, image), &ends, &client_key, &server_key.public)?;

    let both = [served.clone(), process];
    ends.near.bring_up(lab, &both, Some(INNER_MTU))?;
    ends.far.bring_up(lab, &both, server.program().map(|_| INNER_MTU))?;
    // Whoever begins, the client finds the server, and not the other way round.
    ends.site(both.to_vec()).wait_for_answer(lab)?;
    let site = ends.site(vec![served]);
    Ok(match direction {
        Direction::ToServer => site,
        Direction::ToClient => {
            Site { near: site.far, far: site.near, address: ends.near.inner, ..site }
        }
    })
}

/// Starts weft on the far gateway, with a `tap` port and the adapter on one VLAN. Peers are public keys and
/// the addresses that they may use.
///
/// # Errors
/// When it does not become ready.
pub(super) fn adapter(
    lab: &Lab,
    tools: &Tools,
    ends: &Ends,
    key: &Key,
    peers: &[(String, String)],
) -> Result<Process> {
    let mut config = format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"{DEVICE}\"\nvlan = {{ access = 10 }}\n\n\
         [wireguard.bench]\nvlan = 10\naddress = [\"{ADAPTER}\"]\nlisten = \"{}:{PORT}\"\n\
         private-key-file = \"{}\"\n\n",
        ends.far.outer,
        key.file.display()
    );
    for (number, (public_key, address)) in peers.iter().enumerate() {
        config += &format!(
            "[wireguard.bench.peer.client{number}]\npublic-key = \"{public_key}\"\n\
             allowed-ips = [\"{address}\"]\n\n"
        );
    }
    Ok(Weft::start(lab, tools, &ends.far.namespace, ends.far.name, &config)?.process)
}
