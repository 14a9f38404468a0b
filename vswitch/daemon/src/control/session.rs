//! Whether a change would cut the session by which it is asked for: the ports that the host reaches the far end by, and
//! what is to happen to them.

use std::{collections::BTreeSet, net::IpAddr};

use weft_config::{
    Config,
    api::{Change, ChangeKind},
    diff,
};

use super::{change::ChangeError, ports::device_of, state::Control};
use crate::{clock, device::Way};

/// The keys of a port without which, or with another value, frames may not pass.
const DECISIVE: &[&str] = &[
    "switch", "type", "device", "io", "socket", "mode", "owner", "group", "vlan", "enabled",
    "macs", "ips", "isolated",
];

/// The ways of a session through the switch.
#[derive(Debug, PartialEq, Eq)]
struct Ways {
    /// The far end.
    session: IpAddr,
    /// The ports by which its frames come and go.
    ports: BTreeSet<String>,
}

impl Control {
    /// Refuses a configuration that would cut one of the sessions with these far ends.
    pub(crate) async fn check_sessions(
        &self,
        sessions: &[IpAddr],
        config: &Config,
    ) -> Result<(), ChangeError> {
        if sessions.is_empty() {
            return Ok(());
        }
        let changes = diff(&self.config, config);
        for &session in sessions {
            let Some(ways) = self.ways_to(session, config).await else { continue };
            let cutting: Vec<String> = changes
                .iter()
                .filter(|change| ways.are_cut_by(change, &self.config))
                .map(|change| change.path.clone())
                .collect();
            if !cutting.is_empty() {
                let ports = ways.ports.into_iter().collect();
                return Err(ChangeError::CutsSession { session, ports, cutting });
            }
        }
        Ok(())
    }

    /// Returns the ports by which the host reaches an address; `None` where it does so past the switch, now or by what
    /// the new configuration gives back to a NIC.
    async fn ways_to(&self, session: IpAddr, new: &Config) -> Option<Ways> {
        let Way { device, mac } = self.devices.way_to(session).await?;
        let own =
            |(_, port): &(&String, &super::state::Port)| device_of(&port.config) == Some(&device);
        let (name, port) = self.ports.iter().find(own)?;
        let uplink = self.config.uplinks.iter().find(|(_, uplink)| uplink.port == *name);
        if uplink.is_some_and(|(nic, _)| !new.uplinks.contains_key(nic)) {
            return None;
        }
        let mut ports = BTreeSet::from([name.clone()]);
        let switch = self.switches.get(&port.config.switch)?;
        let ageing = self.config.switches.get(&port.config.switch)?.mac_ageing;
        let entries = switch.fdb.entries(clock::now(), ageing);
        let there = entries.iter().filter(|entry| Some(entry.mac) == mac);
        ports.extend(there.filter_map(|entry| self.name_of(entry.port)).map(str::to_owned));
        Some(Ways { session, ports })
    }
}

impl Ways {
    fn are_cut_by(&self, change: &Change, old: &Config) -> bool {
        let path = change.path.as_str();
        let is_gone = change.kind == ChangeKind::Removed;
        self.ports.iter().any(|port| {
            if let Some(peer) = port.strip_prefix("vpn.") {
                let other_peer =
                    path.starts_with("vpn.peer.") && !is_about(path, &format!("vpn.peer.{peer}"));
                return is_about(path, "vpn") && !other_peer
                    || path.starts_with("segment.") && change.kind != ChangeKind::Added;
            }
            if is_about(path, port) && port.starts_with("wireguard.") {
                return match path.split_once(".peer.") {
                    Some((_, client)) => self.is_client(old, port, client),
                    None => true,
                };
            }
            let own = format!("port.{port}");
            path == own && is_gone
                || path.strip_prefix(&format!("{own}.")).is_some_and(|key| DECISIVE.contains(&key))
        })
    }

    /// Tells whether the far end is the client that a path below a WireGuard adapter's peers is about.
    fn is_client(&self, old: &Config, port: &str, path: &str) -> bool {
        let adapter = port.strip_prefix("wireguard.").and_then(|name| old.wireguard.get(name));
        let peers = adapter.into_iter().flat_map(|adapter| &adapter.peers);
        peers
            .filter(|(name, _)| is_about(path, name))
            .any(|(_, peer)| peer.allowed_ips.iter().any(|net| net.contains(&self.session)))
    }
}

/// Tells whether a path is that of a table, or of something in it.
fn is_about(path: &str, table: &str) -> bool {
    path.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(ports: &[&str], path: &str, kind: ChangeKind) -> bool {
        let ports = ports.iter().map(|port| (*port).to_owned()).collect();
        let ways = Ways { session: "10.0.0.7".parse().unwrap(), ports };
        let change = Change { kind, path: path.to_owned(), old: None, new: None };
        let key = "public-key = \"CSOLUmM6kIzn7QZnBU1Gi5sTvwPIdSHxhBv3RSDwHn4=\"";
        let config = Config::parse(&format!(
            "[wireguard.road]\nvlan = 10\naddress = [\"10.0.0.1/24\"]\nprivate-key-file = \"/k\"\n\
             [wireguard.road.peer.me]\n{key}\nallowed-ips = [\"10.0.0.7/32\"]\n"
        ));
        ways.are_cut_by(&change, &config.unwrap_or_else(|errors| panic!("{}", errors.plain())))
    }

    #[test]
    fn what_happens_to_the_ports_of_a_session_cuts_it_and_nothing_else_does() {
        use ChangeKind::{Added, Changed, Removed};
        let table = [
            (&["host", "nic"][..], "port.host", Removed, true),
            (&["host", "nic"], "port.nic.vlan", Changed, true),
            (&["host", "nic"], "port.nic.enabled", Changed, true),
            (&["host", "nic"], "port.nic.macs", Added, true),
            (&["host", "nic"], "port.nic.mac-limit", Changed, false),
            (&["host", "nic"], "port.nic2.vlan", Changed, false),
            (&["host", "nic"], "port.nic", Added, false),
            (&["host", "nic"], "vpn.peer.berlin", Removed, false),
            (&["host", "vpn.berlin"], "vpn.peer.berlin", Removed, true),
            (&["host", "vpn.berlin"], "vpn.peer.berlin.segments", Changed, true),
            (&["host", "vpn.berlin"], "vpn.peer.paris", Removed, false),
            (&["host", "vpn.berlin"], "vpn.private-key-file", Changed, true),
            (&["host", "vpn.berlin"], "vpn", Removed, true),
            (&["host", "vpn.berlin"], "segment.office", Removed, true),
            (&["host", "vpn.berlin"], "segment.voice", Added, false),
            (&["host", "wireguard.road"], "wireguard.road", Removed, true),
            (&["host", "wireguard.road"], "wireguard.road.listen", Changed, true),
            (&["host", "wireguard.road"], "wireguard.road.peer.me", Removed, true),
            (&["host", "wireguard.road"], "wireguard.road.peer.me.allowed-ips", Changed, true),
            (&["host", "wireguard.road"], "wireguard.road.peer.other", Removed, false),
            (&["host", "wireguard.road"], "wireguard.roads", Removed, false),
        ];
        for (ports, path, kind, expected) in table {
            assert_eq!(cut(ports, path, kind), expected, "{path} {kind:?} of {ports:?}");
        }
    }
}
