//! `[daemon]`, `[switch.NAME]` and `[vlan.NAME]`, and what is declared by name.

use std::{collections::BTreeMap, num::NonZeroUsize, ops::Range, time::Duration};

use toml::de::DeValue;
use weft_vlan::VlanId;

use super::{
    Named,
    report::Report,
    table::{Field, Table, integer},
};
use crate::{
    duration,
    limits::{MAC_AGEING, MAC_LIMIT, SWITCHES_MAX, WORKERS},
    model::{Config, DaemonConfig, SwitchConfig},
    names::{Kind, nearest, quoted},
    words::SWITCH_KEYS,
};

/// Keys of `[daemon]`.
pub(super) const DAEMON_KEYS: &[&str] = &["workers"];
/// Keys of the file format's `[daemon]` that this version lacks.
const DAEMON_LACKING: &[&str] = &["metrics", "web"];

pub(super) fn daemon(table: &Table<'_>, report: &mut Report) -> DaemonConfig {
    for field in table.fields().filter(|field| !DAEMON_KEYS.contains(&field.key)) {
        if DAEMON_LACKING.contains(&field.key) {
            let message = format!("daemon: this version of weft has no `{}`", field.key);
            report
                .add(field.key_span.clone(), message)
                .note("not in this version")
                .help("take the line out");
        } else {
            field.unknown(DAEMON_KEYS, report);
        }
    }
    let workers = table.get("workers").and_then(|field| field.number(WORKERS, report));
    let workers =
        workers.and_then(|number| usize::try_from(number).ok()).and_then(NonZeroUsize::new);
    workers.map_or_else(DaemonConfig::default, |workers| DaemonConfig { workers })
}

pub(super) fn switches(switches: &[Named<'_>], config: &mut Config, report: &mut Report) {
    if let Some(excess) = switches.get(SWITCHES_MAX) {
        let message = format!("there are {} switches; {SWITCHES_MAX} are allowed", switches.len());
        report.add(excess.table.span.clone(), message).note("one too many");
        return;
    }
    for Named { name, table } in switches {
        table.refuse_unknown(SWITCH_KEYS, report);
        let mut switch = SwitchConfig::default();
        if let Some(ageing) = table.get("mac-ageing").and_then(|field| ageing(&field, report)) {
            switch.mac_ageing = ageing;
        }
        if let Some(limit) = table.get("mac-limit").and_then(|field| mac_limit(&field, report)) {
            switch.mac_limit = limit;
        }
        config.switches.insert((*name).to_owned(), switch);
    }
}

/// Reads a number of addresses.
pub(super) fn mac_limit(field: &Field<'_, '_>, report: &mut Report) -> Option<usize> {
    field.number(MAC_LIMIT, report).and_then(|limit| usize::try_from(limit).ok())
}

fn ageing(field: &Field<'_, '_>, report: &mut Report) -> Option<Duration> {
    const WANTED: &str = "a time from \"1s\" to \"1000000s\"";
    let text = match field.value.get_ref() {
        DeValue::String(text) => text,
        value => {
            let draft = field.refuse(WANTED, report);
            if let Some(seconds) = integer(value) {
                draft.help(format!("write the unit: `{} = \"{seconds}s\"`", field.key));
            }
            return None;
        }
    };
    let time = duration(text).filter(|time| MAC_AGEING.contains(time));
    if time.is_none() {
        field
            .refuse(WANTED, report)
            .help("a number with its unit: \"300s\", \"5m\", \"1h\" or \"1d\"");
    }
    time
}

/// What can be referred to by name: also what has mistakes of its own, so that they are named once.
pub(super) struct Declared<'a> {
    switches: BTreeMap<&'a str, Range<usize>>,
    vlans: BTreeMap<&'a str, Option<VlanId>>,
    ports: BTreeMap<&'a str, Range<usize>>,
    segments: BTreeMap<&'a str, Range<usize>>,
}

impl<'a> Declared<'a> {
    pub(super) fn new(
        switches: &[Named<'a>],
        vlans: &[Named<'a>],
        ports: &[Named<'a>],
        segments: &[Named<'a>],
        report: &mut Report,
    ) -> Self {
        let spans = |named: &[Named<'a>]| {
            named.iter().map(|named| (named.name, named.table.span.clone())).collect()
        };
        let mut switches: BTreeMap<_, _> = spans(switches);
        switches.entry("main").or_default();
        Self {
            switches,
            vlans: vlan_names(vlans, report),
            ports: spans(ports),
            segments: spans(segments),
        }
    }

    /// Returns the VLAN names with their VLANs.
    pub(super) fn vlans(&self) -> impl Iterator<Item = (String, VlanId)> {
        self.vlans.iter().filter_map(|(name, id)| id.map(|id| ((*name).to_owned(), id)))
    }

    /// Returns the VLAN of a name: `Some(None)` when its declaration has a mistake.
    pub(super) fn vlan(&self, name: &str) -> Option<Option<VlanId>> {
        self.vlans.get(name).copied()
    }

    /// Tells whether something of this kind has this name; nothing refers to adapters, peers and uplinks.
    pub(super) fn has(&self, kind: Kind<'_>, name: &str) -> bool {
        match kind {
            Kind::Switch => self.switches.contains_key(name),
            Kind::Vlan => self.vlans.contains_key(name),
            Kind::Port => self.ports.contains_key(name),
            Kind::Segment => self.segments.contains_key(name),
            Kind::Peer | Kind::Wireguard | Kind::WireguardPeer(_) | Kind::Uplink => false,
        }
    }

    /// Returns how many ports are written, right or wrong.
    pub(super) fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Reads a table's `switch`; absent, it is the one that is always there.
    pub(super) fn switch(&self, table: &Table<'a>, report: &mut Report) -> Option<&'a str> {
        let Some(field) = table.get("switch") else { return Some("main") };
        let name = field.text("a switch's name", report)?;
        if !self.has(Kind::Switch, name) {
            self.unknown(Kind::Switch, name, &table.place, field.span(), report);
            return None;
        }
        Some(name)
    }

    /// Refuses a name that nothing has, and names the near one.
    pub(super) fn unknown(
        &self,
        kind: Kind<'_>,
        name: &str,
        place: &str,
        span: Range<usize>,
        report: &mut Report,
    ) {
        let candidates: Vec<&str> = match kind {
            _ if report.is_full() => Vec::new(),
            Kind::Segment => self.segments.keys().copied().collect(),
            Kind::Peer | Kind::Wireguard | Kind::WireguardPeer(_) | Kind::Uplink => Vec::new(),
            Kind::Switch => self.switches.keys().copied().collect(),
            Kind::Vlan => self.vlans.keys().copied().collect(),
            Kind::Port => self.ports.keys().copied().collect(),
        };
        let help = match (nearest(name, candidates), kind) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, Kind::Vlan) if crate::names::check(kind, name).is_ok() => {
                format!(
                    "declare it: `[vlan.{name}]` with `id = 10`, or `weftctl vlan add {name} --id 10`; or write its number"
                )
            }
            (None, Kind::Vlan) => {
                "write a number from 1 to 4094, or the name of a `[vlan.NAME]`".to_owned()
            }
            (None, _) => {
                format!("declare it: `[{}.{}]`", kind.section(), super::suggested(kind, name))
            }
        };
        report
            .add(span, format!("{place}: there is no {} {}", kind.word(), quoted(name)))
            .note(format!("no such {}", kind.word()))
            .help(help);
    }
}

fn vlan_names<'a>(vlans: &[Named<'a>], report: &mut Report) -> BTreeMap<&'a str, Option<VlanId>> {
    let mut names = BTreeMap::new();
    let mut first: BTreeMap<VlanId, (&str, Range<usize>)> = BTreeMap::new();
    for Named { name, table } in vlans {
        table.refuse_unknown(&["id"], report);
        let field = table.require("id", report);
        let id = field.as_ref().and_then(|field| {
            let number = field.number(1..=4094, report)?;
            u16::try_from(number).ok().and_then(VlanId::new)
        });
        names.insert(*name, id);
        let (Some(id), Some(field)) = (id, field) else { continue };
        if let Some((other, span)) = first.get(&id) {
            report
                .add(
                    field.span(),
                    format!("{}: VLAN {id} has a name already: {other}", table.place),
                )
                .note("again here")
                .also(span.clone(), format!("VLAN {id} is {other} here"))
                .help("a VLAN has one name; take one of the two out");
        } else {
            first.insert(id, (*name, field.span()));
        }
    }
    names
}
