//! The VLAN mode of a port: access, trunk or dot1q-tunnel, with VLANs by number or name.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeArray, DeValue},
};
use weft_vlan::{Native, PortVlan, Tpid, VlanId, VlanSet};

use super::{
    report::Report,
    sections::Declared,
    table::{Field, Table, integer, listed, refuse},
};
use crate::{
    limits::VLAN_LIST_MAX,
    names::{Kind, nearest, quoted},
    words::VLAN_MODE_KEYS,
};

/// The keys that say which mode it is.
const MODES: &[&str] = &["access", "trunk", "dot1q-tunnel"];
const TRUNK_KEYS: &[&str] = &["trunk", "native", "native-tagged", "ethertype"];
const TUNNEL_KEYS: &[&str] = &["dot1q-tunnel", "customer"];
const ONE_VLAN: &str = "a VLAN from 1 to 4094 or a VLAN's name";
const VLAN_LIST: &str = "a list of VLANs, ranges and names";

/// Reads `vlan = { … }` of a port.
pub(super) fn mode(
    port: &Table<'_>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<PortVlan> {
    const WAYS: &str = "write `vlan = { access = 10 }`, `vlan = { trunk = [10, 20] }` or `vlan = { trunk = \"all\" }`";
    let Some(field) = port.get("vlan") else {
        if port.misspells("vlan") {
            return None;
        }
        report
            .add(port.span.clone(), format!("{}: `vlan` is missing", port.place))
            .note("belongs to no VLAN")
            .help(WAYS);
        return None;
    };
    let DeValue::Table(entries) = field.value.get_ref() else {
        let draft = field.refuse("a table with the mode", report);
        match integer(field.value.get_ref()) {
            Some(number) => draft.help(format!("write `vlan = {{ access = {number} }}`")),
            None => draft.help(WAYS),
        };
        return None;
    };
    let table = Table::new(format!("{}: vlan", port.place), field.span(), entries);
    table.refuse_unknown(VLAN_MODE_KEYS, report);
    let modes: Vec<Field<'_, '_>> = MODES.iter().filter_map(|mode| table.get(mode)).collect();
    match modes.as_slice() {
        [] if MODES.iter().any(|mode| table.misspells(mode)) => None,
        [] => {
            let message = format!("{}: one of {} is missing", table.place, listed(MODES));
            report.add(table.span.clone(), message).note("says no mode").help(WAYS);
            None
        }
        [one] => match one.key {
            "access" => access(&table, one, declared, report),
            "trunk" => trunk(&table, one, declared, report),
            _ => dot1q_tunnel(&table, one, declared, report),
        },
        [one, other, ..] => {
            let message =
                format!("{}: `{}` and `{}` exclude each other", table.place, one.key, other.key);
            report
                .add(other.key_span.clone(), message)
                .note("a second mode")
                .also(one.key_span.clone(), "the first mode")
                .help("a port has one mode; take one of the two out");
            None
        }
    }
}

fn access(
    table: &Table<'_>,
    field: &Field<'_, '_>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<PortVlan> {
    refuse_others(table, &["access"], "an access port", report);
    vlan(field, declared, report).map(PortVlan::Access)
}

fn dot1q_tunnel(
    table: &Table<'_>,
    field: &Field<'_, '_>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<PortVlan> {
    refuse_others(table, TUNNEL_KEYS, "a dot1q-tunnel port", report);
    let customer = table.get("customer").and_then(|field| {
        let list = field.list(VLAN_LIST, report)?;
        if list.is_empty() {
            empty(&field, report).help(
                "list the customer's VLANs, or leave `customer` away to let everything through",
            );
            return None;
        }
        vlans(&field, list, declared, report)
    });
    let vlan = vlan(field, declared, report)?;
    Some(PortVlan::Dot1qTunnel { vlan, customer })
}

fn trunk(
    table: &Table<'_>,
    field: &Field<'_, '_>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<PortVlan> {
    refuse_others(table, TRUNK_KEYS, "a trunk", report);
    let members = members(field, declared, report);
    let native_field = table.get("native");
    let native = native_field
        .as_ref()
        .and_then(|field| Some((field.span(), vlan(field, declared, report)?)));
    let tagged_field = table.get("native-tagged");
    let tagged = tagged_field.as_ref().and_then(|field| field.flag(report)).unwrap_or(false);
    if let (Some(tagged), None) = (&tagged_field, &native_field) {
        let message = format!("{}: `native-tagged` without `native`", table.place);
        report
            .add(tagged.key_span.clone(), message)
            .note("of which VLAN?")
            .help("add `native = 10`, or take it out");
    }
    let tpid =
        table.get("ethertype").and_then(|field| ethertype(&field, report)).unwrap_or(Tpid::Dot1Q);
    let members = members?;
    if let Some((span, vlan)) = &native
        && !members.contains(*vlan)
    {
        let message = format!("{}: the native VLAN {vlan} is not in the trunk's list", table.place);
        report
            .add(span.clone(), message)
            .note("not a member")
            .also(field.span(), "the members")
            .help(format!("add {vlan} to `trunk`, or choose a native VLAN from the list"));
    }
    let native =
        native.map(|(_, vlan)| if tagged { Native::Tagged(vlan) } else { Native::Untagged(vlan) });
    Some(PortVlan::Trunk { members, native, tpid })
}

/// Refuses keys of other modes; those that no mode has were refused before.
fn refuse_others(table: &Table<'_>, own: &[&str], what: &str, report: &mut Report) {
    for field in table
        .fields()
        .filter(|field| !own.contains(&field.key) && VLAN_MODE_KEYS.contains(&field.key))
    {
        let owner = if TUNNEL_KEYS.contains(&field.key) { "`dot1q-tunnel`" } else { "`trunk`" };
        report
            .add(field.key_span.clone(), format!("{}: {what} has no `{}`", table.place, field.key))
            .note("of another mode")
            .help(format!("`{}` goes with {owner}; take it out", field.key));
    }
}

fn ethertype(field: &Field<'_, '_>, report: &mut Report) -> Option<Tpid> {
    const WANTED: &str = "\"802.1Q\" or \"802.1ad\"";
    match field.text(WANTED, report)? {
        "802.1Q" => Some(Tpid::Dot1Q),
        "802.1ad" => Some(Tpid::Dot1ad),
        other => {
            let near = nearest(other, ["802.1Q", "802.1ad"]).unwrap_or(match other {
                "0x88A8" | "0x88a8" => "802.1ad",
                _ => "802.1Q",
            });
            field.refuse(WANTED, report).help(format!("write `ethertype = \"{near}\"`"));
            None
        }
    }
}

fn empty<'r>(field: &Field<'_, '_>, report: &'r mut Report) -> &'r mut super::report::Draft {
    report
        .add(field.span(), format!("{}: `{}` is an empty list", field.place, field.key))
        .note("no VLAN")
}

fn members(field: &Field<'_, '_>, declared: &Declared<'_>, report: &mut Report) -> Option<VlanSet> {
    match field.value.get_ref() {
        DeValue::String(text) if text == "all" => Some(VlanSet::all()),
        DeValue::Array(list) if list.is_empty() => {
            empty(field, report).help("say `trunk = \"all\"` for every VLAN, or list the ones meant, as in `trunk = [10, 20]`");
            None
        }
        DeValue::Array(list) => vlans(field, list, declared, report),
        value => {
            let draft = field.refuse("a list of VLANs or \"all\"", report);
            if let Some(number) = integer(value) {
                draft.help(format!("write `trunk = [{number}]`"));
            }
            None
        }
    }
}

/// Reads a list of VLANs, ranges and names.
fn vlans(
    field: &Field<'_, '_>,
    list: &DeArray<'_>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<VlanSet> {
    if list.len() > VLAN_LIST_MAX {
        let message = format!(
            "{}: `{}` has {} elements; {VLAN_LIST_MAX} are allowed",
            field.place,
            field.key,
            list.len()
        );
        report
            .add(field.span(), message)
            .note("too long")
            .help("join neighbours to ranges, as in \"100-199\"");
        return None;
    }
    let mut ranges = Vec::new();
    let mut whole = true;
    for element in list {
        match element_range(field, element, declared, report) {
            Some(range) => ranges.push(range),
            None => whole = false,
        }
    }
    whole.then(|| union(ranges))
}

/// Makes a set of ranges without visiting a VLAN twice, however often ranges overlap.
fn union(mut ranges: Vec<(VlanId, VlanId)>) -> VlanSet {
    ranges.sort_unstable();
    let mut set = VlanSet::new();
    let mut next = 1;
    for (first, last) in ranges {
        for vlan in (first.get().max(next)..=last.get()).filter_map(VlanId::new) {
            set.insert(vlan);
        }
        next = next.max(last.get() + 1);
    }
    set
}

fn element_range(
    field: &Field<'_, '_>,
    element: &Spanned<DeValue<'_>>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<(VlanId, VlanId)> {
    if let DeValue::String(text) = element.get_ref()
        && let Some((first, last)) = text.split_once('-')
        && [first, last]
            .iter()
            .all(|end| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return range(field, first, last, element.span(), report);
    }
    if element.get_ref().as_str() == Some("all") {
        let message = format!("{}: \"all\" stands in the list of `{}`", field.place, field.key);
        let help = match field.key {
            "trunk" => "write `trunk = \"all\"`, without brackets",
            _ => "leave `customer` away to let everything through",
        };
        report.add(element.span(), message).note("not in a list").help(help);
        return None;
    }
    reference(field.place, field.key, element, declared, report).map(|vlan| (vlan, vlan))
}

fn range(
    field: &Field<'_, '_>,
    first: &str,
    last: &str,
    span: Range<usize>,
    report: &mut Report,
) -> Option<(VlanId, VlanId)> {
    let end = |text: &str| text.parse().ok().and_then(VlanId::new);
    let (place, key) = (field.place, field.key);
    let text = quoted(&format!("{first}-{last}"));
    let (Some(first), Some(last)) = (end(first), end(last)) else {
        report
            .add(span, format!("{place}: `{key}` has the range {text}; VLANs are 1 to 4094"))
            .note("outside 1 to 4094")
            .help("for example \"100-199\"");
        return None;
    };
    if first > last {
        report
            .add(
                span,
                format!("{place}: `{key}` has the range {text}, which ends before it begins"),
            )
            .note("ends before it begins")
            .help(format!("write \"{last}-{first}\""));
        return None;
    }
    Some((first, last))
}

/// Reads a key that holds one VLAN.
pub(super) fn vlan(
    field: &Field<'_, '_>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<VlanId> {
    reference(field.place, field.key, field.value, declared, report)
}

/// Reads one VLAN, by number or name.
fn reference(
    place: &str,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<VlanId> {
    let number = match value.get_ref() {
        DeValue::Integer(_) => integer(value.get_ref()),
        DeValue::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok()
        }
        DeValue::String(name) => {
            if let Some(vlan) = declared.vlan(name) {
                return vlan;
            }
            declared.unknown(Kind::Vlan, name, &format!("{place}: `{key}`"), value.span(), report);
            return None;
        }
        _ => {
            let several = matches!(value.get_ref(), DeValue::Array(_));
            let draft = refuse(place, key, value, ONE_VLAN, report);
            if several && key == "access" {
                draft.help("`access` takes one VLAN; several are a `trunk`");
            } else {
                draft.help("for example 10");
            }
            return None;
        }
    };
    let vlan = number.and_then(|number| u16::try_from(number).ok()).and_then(VlanId::new);
    if vlan.is_none() {
        let help = match number {
            Some(0) => "0 marks a frame that has only a priority; it is no VLAN",
            Some(4095) => "4095 is reserved by IEEE 802.1Q",
            _ => "for example 10",
        };
        refuse(place, key, value, ONE_VLAN, report).help(help);
    }
    vlan
}
