//! WireGuard adapters and their peers: a network that a peer gets is taken from the one that had it, and many peers
//! change at once.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
    ops::Range,
};

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{
    EditError, Layout, PeerChange, Text, checked, inside, not_toml, sections, set_keys, tables,
    tables_mut,
};
use crate::{
    api::AddWireguardPeer,
    model::Config,
    names::{Kind, plain},
};

impl Text<'_> {
    pub(super) fn add_client(
        &self,
        adapter: &str,
        add: &AddWireguardPeer,
    ) -> Result<String, EditError> {
        self.find(Kind::Wireguard, adapter)?;
        let kind = Kind::WireguardPeer(adapter);
        if self.names(kind).contains(&add.name.as_str()) {
            return self.add(kind, &add.name, &add.peer, add.may_exist);
        }
        self.disowned(adapter, &add.name, &add.peer, |text| {
            text.add(kind, &add.name, &add.peer, add.may_exist)
        })
    }

    pub(super) fn set_client(
        &self,
        adapter: &str,
        name: &str,
        keys: &Map<String, Value>,
    ) -> Result<String, EditError> {
        self.find(Kind::Wireguard, adapter)?;
        let kind = Kind::WireguardPeer(adapter);
        self.find(kind, name)?;
        self.disowned(adapter, name, keys, |text| text.set(kind, name, keys))
    }

    /// Takes the networks that a peer is to have from the adapter's other peers, then goes on.
    fn disowned(
        &self,
        adapter: &str,
        name: &str,
        keys: &Map<String, Value>,
        go_on: impl FnOnce(&Text<'_>) -> Result<String, EditError>,
    ) -> Result<String, EditError> {
        let networks: BTreeSet<IpNet> = match keys.get("allowed-ips") {
            Some(Value::Array(list)) => list.iter().filter_map(network).collect(),
            _ => BTreeSet::new(),
        };
        let mut text = self.text.to_owned();
        let mut wanted = self.tree.clone();
        let peers = tables(&self.tree, &Kind::WireguardPeer(adapter).path());
        for (other, table) in peers.into_iter().flatten().filter(|(other, _)| *other != name) {
            let Some(Value::Array(list)) = table.get("allowed-ips") else { continue };
            let is_kept =
                |value: &&Value| network(value).is_none_or(|one| !networks.contains(&one));
            let kept: Vec<Value> = list.iter().filter(is_kept).cloned().collect();
            if kept.len() == list.len() {
                continue;
            }
            let kind = Kind::WireguardPeer(adapter);
            let what = format!("{} {other}", kind.label());
            let keys = Map::from_iter([("allowed-ips".to_owned(), Value::Array(kept))]);
            text = set_keys(text, &mut wanted, &inside(kind, other), &keys, &what)?;
        }
        if text == self.text {
            return go_on(self);
        }
        let text = checked(text, wanted, &format!("wireguard {adapter}"))?;
        let config = Config::parse(&text)?;
        go_on(&Text::read(&text, &config)?)
    }

    pub(super) fn change_adapter(
        &self,
        adapter: &str,
        keys: &Map<String, Value>,
        peers: &[(String, PeerChange)],
    ) -> Result<String, EditError> {
        self.find(Kind::Wireguard, adapter)?;
        let what = format!("wireguard {adapter}");
        let failed = || EditError::Layout { what: what.clone() };
        let kind = Kind::WireguardPeer(adapter);
        let mut wanted = self.tree.clone();
        let path = inside(Kind::Wireguard, adapter);
        let mut text = set_keys(self.text.to_owned(), &mut wanted, &path, keys, &what)?;
        let known: HashSet<&str> = self.names(kind).into_iter().collect();
        let find = |name: &str| if known.contains(name) { Ok(()) } else { self.find(kind, name) };
        // A table that stands by itself is changed by itself, or goes with all that go: the whole text is not read again for
        // each.
        let (mut changed, mut gone, mut others) = (Vec::new(), HashSet::new(), Vec::new());
        let blocks = Layout::read(&text).ok_or_else(failed)?.blocks(&kind.path());
        for (name, change) in peers {
            match (change, blocks.get(name.as_str())) {
                (PeerChange::Set(keys), Some(block)) => {
                    let own = text[block.clone()].to_owned();
                    let own = set_keys(own, &mut wanted, &inside(kind, name), keys, &what)?;
                    changed.push((block.clone(), own));
                }
                (PeerChange::Remove, Some(_)) => {
                    tables_mut(&mut wanted, &kind.path()).and_then(|peers| peers.remove(name));
                    gone.insert(name.as_str());
                }
                _ => others.push((name, change)),
            }
        }
        text = spliced(&text, changed);
        if !gone.is_empty() {
            text = Layout::read(&text).ok_or_else(failed)?.remove_tables(&kind.path(), &gone);
        }
        let mut new = Vec::new();
        for (name, change) in others {
            let path = inside(kind, name);
            match change {
                PeerChange::Set(keys) => {
                    find(name)?;
                    text = set_keys(text, &mut wanted, &path, keys, &what)?;
                }
                PeerChange::Remove => {
                    find(name)?;
                    tables_mut(&mut wanted, &kind.path()).and_then(|peers| peers.remove(name));
                    let layout = Layout::read(&text).ok_or_else(failed)?;
                    text = layout.remove(&path).ok_or_else(failed)?;
                }
                PeerChange::Add(table) => {
                    if known.contains(name.as_str()) {
                        let what = format!("{} {}", kind.label(), plain(name));
                        return Err(EditError::Exists { what, differences: Vec::new() });
                    }
                    new.push((name, table));
                }
            }
        }
        let mut separate = Vec::new();
        let mut new = new.into_iter();
        while new.len() > 0 {
            let layout = Layout::read(&text).ok_or_else(failed)?;
            let mut changed = None;
            for (name, table) in new.by_ref() {
                if let Some(peers) = tables_mut(&mut wanted, &kind.path()) {
                    peers.insert(name.clone(), Value::Object(table.clone()));
                }
                changed = layout.set_inline(&inside(kind, name), table).map_err(not_toml)?;
                if changed.is_some() {
                    break;
                }
                separate.extend(sections(kind, name, table));
            }
            if let Some(changed) = changed {
                text = changed;
            }
        }
        if !separate.is_empty() {
            let layout = Layout::read(&text).ok_or_else(failed)?;
            text = layout.append(&kind.path(), &separate).map_err(not_toml)?;
        }
        checked(text, wanted, &what)
    }
}

/// Puts other text in the place of these parts.
fn spliced(text: &str, mut parts: Vec<(Range<usize>, String)>) -> String {
    parts.sort_by_key(|(place, _)| place.start);
    let (mut all, mut kept) = (String::with_capacity(text.len()), 0);
    for (place, part) in parts {
        all.push_str(&text[kept..place.start]);
        all.push_str(&part);
        kept = place.end;
    }
    all.push_str(&text[kept..]);
    all
}

/// Reads a network as the configuration has it.
fn network(value: &Value) -> Option<IpNet> {
    let text = value.as_str()?;
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    parsed.ok().map(|network| network.trunc())
}
