//! The configuration file: text in, a [`Config`] that is right by its type out, or every mistake with its place.
//! Opens no file and knows no device.

mod claims;
mod fdb;
mod port;
mod report;
mod sections;
mod segment;
mod syntax;
mod table;
mod uplink;
mod vlan;
mod vpn;
mod wireguard;

use toml::de::{DeTable, DeValue};

use self::{
    claims::Claims,
    report::Report,
    sections::Declared,
    table::{Field, Table, listed},
};
use crate::{
    error::ConfigErrors,
    limits::TEXT_MAX,
    model::Config,
    names::{Kind, nearest, plain, quoted},
    words::VPN_KEYS,
};

/// The sections of the file.
pub(crate) const SECTIONS: &[&str] =
    &["daemon", "switch", "vlan", "port", "uplink", "fdb", "segment", "vpn", "wireguard"];

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// Names every mistake, with its line and column and what to write instead.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let mut report = Report::default();
        if text.len() > TEXT_MAX {
            report
                .add(
                    0..0,
                    format!("the configuration has {} bytes; {TEXT_MAX} are allowed", text.len()),
                )
                .note("too long");
            return Err(report.into_errors(""));
        }
        let tree = match DeTable::parse(text) {
            Ok(tree) => tree,
            Err(error) => {
                syntax::explain(text, &error, &mut report);
                return Err(report.into_errors(text));
            }
        };
        let config = read(tree.get_ref(), &mut report);
        if report.is_empty() { Ok(config) } else { Err(report.into_errors(text)) }
    }
}

/// Reads the sections; what has a mistake is left out, and the mistake is in the report.
fn read<'a>(tree: &'a DeTable<'a>, report: &mut Report) -> Config {
    let root = Table::new("configuration".to_owned(), 0..0, tree);
    refuse_unknown_sections(&root, report);
    let mut config = Config::default();
    if let Some(table) = root.get("daemon").and_then(|section| section_table(&section, report)) {
        config.daemon = sections::daemon(&table, report);
    }
    let switches = named(&root, Kind::Switch, report);
    let vlans = named(&root, Kind::Vlan, report);
    let ports = named(&root, Kind::Port, report);
    let segments = named(&root, Kind::Segment, report);
    sections::switches(&switches, &mut config, report);
    let declared = Declared::new(&switches, &vlans, &ports, &segments, report);
    config.vlans.extend(declared.vlans());
    let placed = port::ports(&ports, &declared, &mut config, report);
    let uplinks = named(&root, Kind::Uplink, report);
    uplink::uplinks(&uplinks, &declared, &mut config, report);
    if let Some(field) = root.get("fdb") {
        fdb::entries(&field, &declared, &placed, &mut config, report);
    }
    segment::segments(&segments, &declared, &mut config, report);
    let mut claims = Claims::default();
    if let Some(table) = root.get("vpn").and_then(|section| section_table(&section, report)) {
        config.vpn = vpn::vpn(&table, &declared, ports.len(), &mut claims, report);
    }
    let adapters = named(&root, Kind::Wireguard, report);
    let others = ports.len() + config.vpn.as_ref().map_or(0, |vpn| vpn.peers.len());
    wireguard::adapters(&adapters, &declared, others, &mut claims, &mut config, report);
    config
}

fn refuse_unknown_sections(root: &Table<'_>, report: &mut Report) {
    for field in root.fields().filter(|field| !SECTIONS.contains(&field.key)) {
        let near =
            if report.is_full() { None } else { nearest(field.key, SECTIONS.iter().copied()) };
        let help = match near {
            Some(near) => format!("did you mean `[{near}]`?"),
            None if sections::DAEMON_KEYS.contains(&field.key) => {
                format!("`{}` belongs under `[daemon]`", field.key)
            }
            None if VPN_KEYS.contains(&field.key) => {
                format!("`{}` belongs under `[vpn]`", field.key)
            }
            None => format!("the sections are {}", listed(SECTIONS)),
        };
        report
            .add(field.key_span.clone(), format!("unknown section {}", quoted(field.key)))
            .note("unknown section")
            .help(help);
    }
}

/// Returns a section that is one table.
fn section_table<'a>(field: &Field<'a, '_>, report: &mut Report) -> Option<Table<'a>> {
    let DeValue::Table(table) = field.value.get_ref() else {
        let message = format!("`{}` is a table: write `[{}]`", field.key, field.key);
        report.add(field.span(), message).note("not a table");
        return None;
    };
    Some(Table::new(field.key.to_owned(), field.key_span.clone(), table))
}

/// A table with a name: `[port.web1]`.
struct Named<'a> {
    name: &'a str,
    table: Table<'a>,
}

/// Returns the tables of a section in the order of the text; wrong names are mistakes. The section is in `parent`
/// under the last part of its path.
fn named<'a>(parent: &Table<'a>, kind: Kind<'a>, report: &mut Report) -> Vec<Named<'a>> {
    let section = kind.section();
    let field = kind.path().last().and_then(|key| parent.get(key));
    let Some(field) = field else { return Vec::new() };
    let wanted = format!("`[{section}.NAME]`");
    let DeValue::Table(tables) = field.value.get_ref() else {
        let message = format!("`{section}` holds tables with names: write {wanted}");
        report.add(field.key_span.clone(), message).note("not a table with tables");
        return Vec::new();
    };
    let mut named = Vec::new();
    for (key, value) in tables {
        let name: &'a str = key.get_ref();
        let place = format!("{} {}", kind.label(), plain(name));
        if let Err(wrong) = crate::names::check(kind, name) {
            report
                .add(key.span(), format!("the {} name {} {wrong}", kind.word(), quoted(name)))
                .note("not a name")
                .help(format!("for example `[{section}.{}]`", suggested(kind, name)));
        }
        match value.get_ref() {
            DeValue::Table(table) => {
                named.push(Named { name, table: Table::new(place, key.span(), table) });
            }
            other => {
                let message = format!("{place} is a table, not {}", table::described(other));
                report
                    .add(value.span(), message)
                    .note("not a table")
                    .help(format!("write {wanted} above its keys"));
            }
        }
    }
    named.sort_by_key(|named| named.table.span.start);
    named
}

/// Returns a right name that looks like a wrong one.
fn suggested(kind: Kind<'_>, name: &str) -> String {
    let tame = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = name.chars().map(tame).take(kind.name_max() - 1).collect();
    let name = name.trim_matches('-');
    match kind {
        Kind::Vlan => {
            let lettered = format!("v{name}");
            if crate::names::check(kind, name).is_ok() { name.to_owned() } else { lettered }
        }
        _ if name.is_empty() => format!("{}1", kind.path().last().unwrap_or(&"name")),
        _ => name.to_owned(),
    }
}
