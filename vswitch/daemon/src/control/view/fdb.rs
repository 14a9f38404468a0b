//! The forwarding databases.

use std::collections::BTreeMap;

use weft_config::api::{FdbEntry, FdbKind};
use weft_core::{EntryKind, Scope};
use weft_vlan::VlanId;

use super::ViewError;
use crate::{
    clock,
    control::{state::Control, unknown::Unknown},
};

/// Which forwarding entries are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct FdbFilter {
    pub(crate) switch: Option<String>,
    pub(crate) vlan: Option<VlanId>,
    pub(crate) port: Option<String>,
}

impl Control {
    /// Returns the forwarding entries that a filter lets through, static ones first.
    pub(crate) fn view_fdb(&self, filter: &FdbFilter) -> Result<Vec<FdbEntry>, ViewError> {
        self.check_filter(filter)?;
        let wanted = |entry: &FdbEntry| {
            filter.switch.as_ref().is_none_or(|switch| *switch == entry.switch)
                && filter.vlan.is_none_or(|vlan| vlan.get() == entry.vlan)
                && filter.port.as_ref().is_none_or(|port| *port == entry.port)
        };
        let fixed = self.config.fdb.iter().map(|entry| FdbEntry {
            switch: entry.switch.clone(),
            vlan: entry.vlan.get(),
            mac: entry.mac.to_string(),
            port: entry.port.clone(),
            kind: FdbKind::Static,
            peer: None,
            age_seconds: 0,
        });
        let mut entries: Vec<FdbEntry> = fixed.filter(wanted).collect();
        let ports = self.ports.iter().map(|(name, port)| (port.id, (name, None)));
        let tunnels = self.tunnels.ports_of_peers();
        let tunnels = tunnels.map(|(peer, _, port)| (port.id, (&port.name, Some(peer))));
        let adapters = self.adapters.running().map(|(_, site)| (site.id, (&site.port, None)));
        let names: BTreeMap<_, _> = ports.chain(tunnels).chain(adapters).collect();
        for switch in self.config.switches.keys() {
            let mut learned: Vec<FdbEntry> = self
                .entries(switch)
                .into_iter()
                .filter_map(|entry| {
                    let &(port, peer) = names.get(&entry.port)?;
                    Some(FdbEntry {
                        switch: switch.clone(),
                        vlan: entry.vlan.get(),
                        mac: entry.mac.to_string(),
                        port: port.clone(),
                        kind: match entry.kind {
                            EntryKind::Learned => FdbKind::Dynamic,
                            EntryKind::Remote => FdbKind::Remote,
                        },
                        peer: peer.cloned(),
                        age_seconds: entry.age.as_secs(),
                    })
                })
                .filter(wanted)
                .collect();
            learned.sort_by(|a, b| (a.vlan, &a.mac).cmp(&(b.vlan, &b.mac)));
            entries.extend(learned);
        }
        Ok(entries)
    }

    /// Forgets learned addresses; returns how many.
    pub(crate) fn flush_fdb(&self, filter: &FdbFilter) -> Result<usize, ViewError> {
        self.check_filter(filter)?;
        let port = filter.port.as_ref().and_then(|name| self.port_named(name));
        let scope = Scope { vlan: filter.vlan, port: port.map(|(id, _)| id) };
        let concerned = |name: &str| {
            filter.switch.as_deref().is_none_or(|switch| switch == name)
                && port.is_none_or(|(_, switch)| switch == name)
        };
        let switches = self.switches.iter().filter(|(name, _)| concerned(name));
        Ok(switches
            .map(|(name, switch)| switch.fdb.flush(clock::now(), self.ageing(name), scope))
            .sum())
    }

    fn check_filter(&self, filter: &FdbFilter) -> Result<(), ViewError> {
        if let Some(name) =
            filter.switch.as_ref().filter(|name| !self.config.switches.contains_key(*name))
        {
            let switches = self.config.switches.keys().map(String::as_str);
            return Err(Unknown::new("switch", name, switches).into());
        }
        match filter.port.as_ref().filter(|name| self.port_named(name).is_none()) {
            Some(name) => Err(self.no_port(name).into()),
            None => Ok(()),
        }
    }
}
