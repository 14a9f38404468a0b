//! The difference between two configurations in the words of the file. Compares what they mean:
//! comments, order, names of VLANs and defaults written out make none.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use weft_vlan::{MacAddr, VlanId};

use crate::{
    api::{Change, ChangeKind},
    model::{
        Config, PeerConfig, PortConfig, SegmentConfig, SwitchConfig, UplinkConfig, VpnConfig,
        WireguardConfig, WireguardPeerConfig,
    },
    words::{Defaults, ordered, toml_text, vlan_id_words},
};

/// Returns what is different in `new`, section by section.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    keys(
        "daemon",
        &old.daemon.words(Defaults::Written),
        &new.daemon.words(Defaults::Written),
        &mut changes,
    );
    tables("switch", &old.switches, &new.switches, SwitchConfig::words, &mut changes);
    tables("vlan", &old.vlans, &new.vlans, |vlan, _| vlan_id_words(*vlan), &mut changes);
    tables("port", &old.ports, &new.ports, PortConfig::words, &mut changes);
    tables("uplink", &old.uplinks, &new.uplinks, UplinkConfig::words, &mut changes);
    entries(old, new, &mut changes);
    tables("segment", &old.segments, &new.segments, SegmentConfig::words, &mut changes);
    vpn(old.vpn.as_ref(), new.vpn.as_ref(), &mut changes);
    wireguard(&old.wireguard, &new.wireguard, &mut changes);
    changes
}

/// Compares the WireGuard adapters and their peers.
fn wireguard(
    old: &BTreeMap<String, WireguardConfig>,
    new: &BTreeMap<String, WireguardConfig>,
    changes: &mut Vec<Change>,
) {
    tables("wireguard", old, new, WireguardConfig::words, changes);
    let none = BTreeMap::new();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let old = old.get(name).map_or(&none, |adapter| &adapter.peers);
        let new = new.get(name).map_or(&none, |adapter| &adapter.peers);
        tables(&format!("wireguard.{name}.peer"), old, new, WireguardPeerConfig::words, changes);
    }
}

/// Compares `[vpn]` and its peers.
fn vpn(old: Option<&VpnConfig>, new: Option<&VpnConfig>, changes: &mut Vec<Change>) {
    let own = |vpn: &VpnConfig| text(&Value::Object(vpn.words(Defaults::Implied)));
    match (old, new) {
        (Some(old), Some(new)) => {
            keys("vpn", &old.words(Defaults::Written), &new.words(Defaults::Written), changes);
        }
        (None, None) => return,
        (old, new) => changes.push(change("vpn", old.map(own), new.map(own))),
    }
    let none = BTreeMap::new();
    let (old, new) = (old.map_or(&none, |vpn| &vpn.peers), new.map_or(&none, |vpn| &vpn.peers));
    tables("vpn.peer", old, new, PeerConfig::words, changes);
}

/// Compares the tables of a section by their names.
fn tables<T: PartialEq>(
    section: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    words: impl Fn(&T, Defaults) -> Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = format!("{section}.{name}");
        let snippet = |table: &T| text(&Value::Object(words(table, Defaults::Implied)));
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old != new => {
                keys(
                    &path,
                    &words(old, Defaults::Written),
                    &words(new, Defaults::Written),
                    changes,
                );
            }
            (None, Some(new)) => changes.push(change(&path, None, Some(snippet(new)))),
            (Some(old), None) => changes.push(change(&path, Some(snippet(old)), None)),
            _ => {}
        }
    }
}

/// Compares the keys of a table.
fn keys(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<Change>) {
    let both: Map<String, Value> = old.clone().into_iter().chain(new.clone()).collect();
    for (key, _) in ordered(&both) {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            changes.push(change(&format!("{path}.{key}"), old.map(text), new.map(text)));
        }
    }
}

/// Compares the static forwarding entries by (switch, VLAN, address).
fn entries(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    type Entries = BTreeMap<(String, VlanId, MacAddr), String>;
    let by_key = |config: &Config| -> Entries {
        let entries = config.fdb.iter();
        entries
            .map(|entry| {
                ((entry.switch.clone(), entry.vlan, entry.mac), text(&Value::Object(entry.words())))
            })
            .collect()
    };
    let (old, new) = (by_key(old), by_key(new));
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            changes.push(change("fdb", old.cloned(), new.cloned()));
        }
    }
}

fn change(path: &str, old: Option<String>, new: Option<String>) -> Change {
    let kind = match (&old, &new) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        (Some(_), Some(_)) => ChangeKind::Changed,
    };
    Change { kind, path: path.to_owned(), old, new }
}

fn text(value: &Value) -> String {
    // The model holds nothing that TOML cannot say.
    toml_text(value).unwrap_or_default()
}
