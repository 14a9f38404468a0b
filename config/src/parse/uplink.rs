//! `[uplink.DEVICE]`: NICs of the host's that are ports, and where the host's addresses are meanwhile.

use std::{collections::HashMap, ops::Range};

use super::{
    Named,
    report::Report,
    sections::Declared,
    table::{Field, Table},
};
use crate::{
    model::{Config, PortType, UplinkConfig},
    names::{self, Kind, plain},
    words::UPLINK_KEYS,
};

/// Reads all uplinks, once the ports are known.
pub(super) fn uplinks(
    uplinks: &[Named<'_>],
    declared: &Declared<'_>,
    config: &mut Config,
    report: &mut Report,
) {
    let mut taken = HashMap::new();
    for Named { name, table } in uplinks {
        table.refuse_unknown(UPLINK_KEYS, report);
        // A wrong name has been told of.
        if names::check(Kind::Uplink, name).is_err() {
            continue;
        }
        let Some(field) = table.require_like("port", "\"host\"", report) else { continue };
        let Some(port) = heir(&field, table, declared, &mut taken, config, report) else {
            continue;
        };
        let Some(switch) = config.ports.get(port).map(|port| &port.switch) else { continue };
        if check_nic(name, port, switch, table, declared, config, report) {
            config.uplinks.insert((*name).to_owned(), UplinkConfig { port: port.to_owned() });
        }
    }
}

/// Returns the port that an uplink names, if addresses can live there.
fn heir<'a>(
    field: &Field<'a, '_>,
    table: &Table<'_>,
    declared: &Declared<'_>,
    taken: &mut HashMap<&'a str, (String, Range<usize>)>,
    config: &Config,
    report: &mut Report,
) -> Option<&'a str> {
    let name = field.text("a port's name", report)?;
    if !declared.has(Kind::Port, name) {
        declared.unknown(Kind::Port, name, &table.place, field.span(), report);
        return None;
    }
    // One with mistakes has been told of.
    let port = config.ports.get(name)?;
    if !matches!(port.kind, PortType::Tap { .. }) {
        report
            .add(field.span(), format!("{}: port {name} is not of type \"tap\"", table.place))
            .note("not a tap port")
            .help("the host has its addresses on the device of a tap port");
        return None;
    }
    if let Some((other, span)) = taken.get(name) {
        report
            .add(
                field.span(),
                format!("{}: port {name} has the addresses of {other} already", table.place),
            )
            .note("again here")
            .also(span.clone(), format!("{other} here"))
            .help("each uplink needs a tap port of its own");
        return None;
    }
    taken.insert(name, (table.place.clone(), field.span()));
    Some(name)
}

/// Checks that the NIC is a port, of the same switch as the port that has its addresses.
fn check_nic(
    device: &str,
    heir: &str,
    switch: &str,
    table: &Table<'_>,
    declared: &Declared<'_>,
    config: &Config,
    report: &mut Report,
) -> bool {
    let Some((name, nic)) = config.port_on(device) else {
        // It may be the one that has a mistake.
        if declared.port_count() == config.ports.len() {
            report
                .add(
                    table.span.clone(),
                    format!("{}: no port has the device {}", table.place, plain(device)),
                )
                .note("not a port")
                .help(format!(
                    "`weftctl uplink adopt {device} --port {heir}` writes both; or write a `[port.NAME]` with \
                     `type = \"netdev\"` and `device = \"{device}\"`"
                ));
        }
        return false;
    };
    if nic.switch != switch {
        report
            .add(
                table.span.clone(),
                format!(
                    "{}: port {name} is on switch {}, port {heir} on switch {switch}",
                    table.place, nic.switch
                ),
            )
            .note("on two switches")
            .help("the host would not be reached: put both on one switch");
        return false;
    }
    true
}
