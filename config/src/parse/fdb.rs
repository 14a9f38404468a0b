//! `[[fdb]]`: static forwarding entries.

use std::{collections::HashMap, ops::Range};

use toml::de::DeValue;
use weft_vlan::{MacAddr, VlanId};

use super::{
    port::Placed,
    report::Report,
    sections::Declared,
    table::{Field, Table, described, refuse},
    vlan::vlan,
};
use crate::{
    limits::FDB_MAX,
    model::{Config, FdbConfig},
    names::Kind,
    words::{FDB_KEYS, vlan_words},
};

/// Reads the entries; `placed` says of each port where it is declared and what it is a member of.
pub(super) fn entries(
    field: &Field<'_, '_>,
    declared: &Declared<'_>,
    placed: &HashMap<&str, Placed>,
    config: &mut Config,
    report: &mut Report,
) {
    const LAYOUT: &str = "write `[[fdb]]` with `mac`, `vlan` and `port`";
    let DeValue::Array(list) = field.value.get_ref() else {
        report
            .add(
                field.key_span.clone(),
                "`fdb` is a list of tables: write `[[fdb]]`, with two brackets",
            )
            .note("not a list");
        return;
    };
    if let Some(excess) = list.get(FDB_MAX) {
        let message = format!("there are {} static entries; {FDB_MAX} are allowed", list.len());
        report.add(excess.span(), message).note("one too many");
        return;
    }
    let mut seen: HashMap<(String, VlanId, MacAddr), Range<usize>> = HashMap::new();
    for (position, element) in list.iter().enumerate() {
        let place = format!("fdb entry {}", position + 1);
        let DeValue::Table(entries) = element.get_ref() else {
            let message = format!("{place} is a table, not {}", described(element.get_ref()));
            report.add(element.span(), message).note("not a table").help(LAYOUT);
            continue;
        };
        let table = Table::new(place, element.span(), entries);
        let Some((entry, mac_span)) = entry(&table, declared, placed, report) else { continue };
        let key = (entry.switch.clone(), entry.vlan, entry.mac);
        if let Some(first) = seen.get(&key) {
            let message =
                format!("{}: {} is static in VLAN {} already", table.place, entry.mac, entry.vlan);
            report
                .add(mac_span, message)
                .note("again here")
                .also(first.clone(), "first here")
                .help("an address is in one place; keep one of the two");
            continue;
        }
        seen.insert(key, mac_span);
        config.fdb.push(entry);
    }
    config.fdb.sort_by(|a, b| (&a.switch, a.vlan, a.mac).cmp(&(&b.switch, b.vlan, b.mac)));
}

fn entry(
    table: &Table<'_>,
    declared: &Declared<'_>,
    placed: &HashMap<&str, Placed>,
    report: &mut Report,
) -> Option<(FdbConfig, Range<usize>)> {
    table.refuse_unknown(FDB_KEYS, report);
    let mac_field = table.require("mac", report);
    let mac = mac_field
        .as_ref()
        .and_then(|field| individual_mac(field.place, field.key, field.value, report));
    let vlan_field = table.require_like("vlan", "10", report);
    let vlan = vlan_field.as_ref().and_then(|field| vlan(field, declared, report));
    let port_field = table.require("port", report)?;
    let name = port_field.text("a port's name", report)?;
    if !declared.has(Kind::Port, name) {
        declared.unknown(Kind::Port, name, &table.place, port_field.span(), report);
        return None;
    }
    let (vlan, vlan_field, mac_field) = (vlan?, vlan_field?, mac_field?);
    // A port whose own table has a mistake is not in the map: that mistake is reported there.
    let port = placed.get(name)?;
    if !port.vlan.is_member(vlan) {
        report
            .add(
                vlan_field.span(),
                format!("{}: port {name} is not a member of VLAN {vlan}", table.place),
            )
            .note("not a member")
            .also(port.vlan_span.clone(), format!("port {name} is {}", vlan_words(&port.vlan)))
            .help(format!("write a VLAN of port {name}, or make it a member of VLAN {vlan}"));
        return None;
    }
    let entry = FdbConfig { switch: port.switch.clone(), mac: mac?, vlan, port: name.to_owned() };
    Some((entry, mac_field.span()))
}

/// Reads an address that may be the source of a frame.
pub(super) fn individual_mac(
    place: &str,
    key: &str,
    value: &toml::Spanned<DeValue<'_>>,
    report: &mut Report,
) -> Option<MacAddr> {
    const WANTED: &str = "a MAC address";
    let DeValue::String(text) = value.get_ref() else {
        refuse(place, key, value, WANTED, report);
        return None;
    };
    let Ok(mac) = text.parse::<MacAddr>() else {
        refuse(place, key, value, WANTED, report)
            .help("six hexadecimal octets, as in \"52:54:00:12:34:56\"");
        return None;
    };
    if !mac.is_source() {
        let wrong = match mac {
            MacAddr::BROADCAST => "the broadcast address",
            mac if mac.is_group() => "a group address",
            _ => "all zero",
        };
        report
            .add(
                value.span(),
                format!("{place}: `{key}` has {mac}, which is {wrong}: no host sends from it"),
            )
            .note(wrong)
            .help("write the address of one host; the first octet is even");
        return None;
    }
    Some(mac)
}
