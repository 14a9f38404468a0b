//! What a server costs whose many clients are connected and say nothing.

use std::time::Duration;

use anyhow::Result;

use super::{
    crowd::{self, CONNECTED},
    server,
};
use crate::{
    gateways::{Ends, Underlay},
    lab::Lab,
    probe::{self, IdlePeers},
    site::Tools,
    storm::SENDERS,
    userspace::{Key, PORT},
};

/// Lets `count` clients connect, and watches the server while they send nothing but keepalives.
///
/// # Errors
/// When the server does not come up, or not every client is answered.
pub(super) fn idle(lab: &Lab, tools: &Tools, count: u16) -> Result<IdlePeers> {
    const CONNECT_WITHIN: Duration = Duration::from_secs(60);
    const WATCHED: Duration = Duration::from_secs(60);

    let ends = Ends::lay(lab, Underlay::Veth)?;
    let senders = format!("{SENDERS}/16");
    ends.near.namespace.ip(&format!("route add local {senders} dev lo"))?;
    ends.far.namespace.ip(&format!("route add {senders} via {}", ends.near.outer))?;
    let keys = lab.dir().join("crowd.keys");
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        format!("10.78.{high}.{low}/32")
    };
    let public_keys = crowd::make_keys(&keys, count)?;
    let peers: Vec<_> = public_keys.into_iter().zip((0..count).map(address)).collect();
    let key = Key::generate(lab, "server")?;
    let server = server::adapter(lab, tools, &ends, &key, &peers)?;

    let length = (CONNECT_WITHIN + WATCHED).as_secs().to_string();
    let mut crowd = ends.near.namespace.command(&tools.bench);
    crowd.args(["crowd", "--to", &format!("{}:{PORT}", ends.far.outer)]);
    crowd.args(["--server", &key.public, "--seconds", &length, "--keys"]).arg(&keys);
    let crowd = lab.spawn(&crowd, "crowd.log")?;
    lab.wait_for_line(&crowd, CONNECTED, CONNECT_WITHIN)?;
    let idle = probe::watch_idle(&server, WATCHED)?;
    lab.ensure_running(&crowd)?;
    Ok(IdlePeers { peers: peers.len(), idle })
}
