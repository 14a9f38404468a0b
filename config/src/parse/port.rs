//! `[port.NAME]`: what a port is attached to, what it belongs to and what it may do.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    num::NonZeroU32,
    ops::Range,
    path::{Component, Path},
};

use toml::de::DeValue;
use weft_vlan::PortVlan;

use super::{
    Named,
    fdb::individual_mac,
    report::Report,
    sections::{Declared, mac_limit},
    table::{Field, Table, integer, listed, refuse},
    vlan,
};
use crate::{
    limits::{ACCOUNT_MAX, ADDRESSES_MAX, FLOOD_LIMIT, MTU, PORTS_MAX, QUEUES, SOCKET_MAX},
    model::{Config, NetdevIo, PortConfig, PortType, SocketConfig, SocketMode},
    names::{Kind, check_device, nearest, quoted},
    words::{NETDEV_KEYS, PORT_KEYS, STREAM_KEYS, TAP_KEYS, VHOST_USER_KEYS},
};

/// The types of ports, each with its own keys.
const TYPES: &[(&str, &[&str])] = &[
    ("netdev", NETDEV_KEYS),
    ("tap", TAP_KEYS),
    ("vhost-user", VHOST_USER_KEYS),
    ("stream", STREAM_KEYS),
];

/// Where a port stands, for what refers to it.
pub(super) struct Placed {
    /// Its switch.
    pub(super) switch: String,
    /// Its VLAN mode.
    pub(super) vlan: PortVlan,
    /// Where the mode is written.
    pub(super) vlan_span: Range<usize>,
}

/// Reads all ports.
pub(super) fn ports<'a>(
    ports: &[Named<'a>],
    declared: &Declared<'_>,
    config: &mut Config,
    report: &mut Report,
) -> HashMap<&'a str, Placed> {
    let mut placed = HashMap::new();
    if let Some(excess) = ports.get(PORTS_MAX) {
        let message = format!("there are {} ports; {PORTS_MAX} are allowed", ports.len());
        report.add(excess.table.span.clone(), message).note("one too many");
        return placed;
    }
    let mut ends = Ends::default();
    for Named { name, table } in ports {
        let Some(port) = port(table, declared, &mut ends, report) else { continue };
        let vlan_span = table.get("vlan").map_or_else(|| table.span.clone(), |field| field.span());
        placed.insert(
            *name,
            Placed { switch: port.switch.clone(), vlan: port.vlan.clone(), vlan_span },
        );
        config.ports.insert((*name).to_owned(), port);
    }
    placed
}

fn port(
    table: &Table<'_>,
    declared: &Declared<'_>,
    ends: &mut Ends,
    report: &mut Report,
) -> Option<PortConfig> {
    let switch = table.get("switch").and_then(|field| {
        let name = field.text("a switch's name", report)?;
        if !declared.has(Kind::Switch, name) {
            declared.unknown(Kind::Switch, name, &table.place, field.span(), report);
        }
        Some(name.to_owned())
    });
    let kind = kind(table, ends, report);
    let vlan = vlan::mode(table, declared, report);
    let enabled = table.get("enabled").and_then(|field| field.flag(report)).unwrap_or(true);
    let mtu = table
        .get("mtu")
        .and_then(|field| field.number(MTU, report))
        .and_then(|mtu| u32::try_from(mtu).ok());
    let mac_limit = table.get("mac-limit").and_then(|field| mac_limit(&field, report));
    let mut macs = addresses(table, "macs", "a list of MAC addresses", individual_mac, report);
    let mut ips = addresses(table, "ips", "a list of IP addresses", host_ip, report);
    as_set(&mut macs);
    as_set(&mut ips);
    let isolated = table.get("isolated").and_then(|field| field.flag(report)).unwrap_or(false);
    let flood_limit = table.get("flood-limit").and_then(|field| flood_limit(&field, report));
    let switch = switch.unwrap_or_else(|| "main".to_owned());
    let (kind, vlan) = (kind?, vlan?);
    Some(PortConfig {
        switch,
        kind,
        vlan,
        enabled,
        mtu,
        mac_limit,
        macs,
        ips,
        isolated,
        flood_limit,
    })
}

/// Orders a list whose order means nothing.
pub(super) fn as_set<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// Reads the type and its own keys, and refuses keys that it does not have.
fn kind(table: &Table<'_>, ends: &mut Ends, report: &mut Report) -> Option<PortType> {
    let all: Vec<&str> =
        PORT_KEYS.iter().chain(TYPES.iter().flat_map(|(_, keys)| *keys)).copied().collect();
    let wanted = "\"netdev\", \"tap\", \"vhost-user\" or \"stream\"";
    let field = table.require("type", report);
    let kind = field.as_ref().and_then(|field| Some((field, field.text(wanted, report)?)));
    let Some((field, kind)) = kind else {
        table.refuse_unknown(&all, report);
        return None;
    };
    let Some((_, own)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        table.refuse_unknown(&all, report);
        let draft = field.refuse(wanted, report);
        if let Some(near) = nearest(kind, TYPES.iter().map(|(name, _)| *name)) {
            draft.help(format!("did you mean \"{near}\"?"));
        } else {
            draft.help(
                "\"netdev\" is an existing device, \"tap\" one that weftd makes, \"vhost-user\" a guest's shared memory, \
                 \"stream\" a QEMU socket",
            );
        }
        return None;
    };
    refuse_foreign(table, kind, own, report);
    match kind {
        "netdev" => {
            let device = device(table, ends, report);
            let io = table.get("io").map_or(Some(NetdevIo::Packet), |field| io(&field, report));
            Some(PortType::Netdev { device: device?, io: io? })
        }
        "tap" => {
            let device = device(table, ends, report);
            let queues = queues(table, report);
            Some(PortType::Tap { device: device?, queues: queues? })
        }
        "vhost-user" => {
            let socket = socket(table, ends, report);
            let queues = queues(table, report);
            Some(PortType::VhostUser { socket: socket?, queues: queues? })
        }
        _ => socket(table, ends, report).map(PortType::Stream),
    }
}

fn queues(table: &Table<'_>, report: &mut Report) -> Option<u16> {
    let queues = table.get("queues").map_or(Some(1), |field| field.number(QUEUES, report));
    u16::try_from(queues?).ok()
}

/// Refuses keys that this type of port does not have: those of other types, and those of none.
fn refuse_foreign(table: &Table<'_>, kind: &str, own: &[&str], report: &mut Report) {
    let known: Vec<&str> = PORT_KEYS.iter().chain(own).copied().collect();
    for field in table.fields().filter(|field| !known.contains(&field.key)) {
        let owners: Vec<&str> = TYPES
            .iter()
            .filter(|(_, keys)| keys.contains(&field.key))
            .map(|(name, _)| *name)
            .collect();
        if owners.is_empty() {
            field.unknown(&known, report);
            continue;
        }
        report
            .add(
                field.key_span.clone(),
                format!("{}: a {kind} port has no `{}`", table.place, field.key),
            )
            .note("of another type")
            .help(format!(
                "`{}` goes with type {}; a {kind} port has {}",
                field.key,
                owners.join(" or "),
                listed(own)
            ));
    }
}

/// Devices and sockets that ports are attached to, each to one.
#[derive(Default)]
struct Ends {
    devices: BTreeMap<String, (String, Range<usize>)>,
    sockets: BTreeMap<String, (String, Range<usize>)>,
}

fn refuse_second(
    taken: &mut BTreeMap<String, (String, Range<usize>)>,
    end: String,
    table: &Table<'_>,
    field: &Field<'_, '_>,
    report: &mut Report,
) {
    if let Some((first, span)) = taken.get(&end) {
        report
            .add(
                field.span(),
                format!(
                    "{}: {} {} belongs to {first} already",
                    table.place,
                    field.key,
                    quoted(&end)
                ),
            )
            .note("again here")
            .also(span.clone(), format!("{first} has it"))
            .help(format!("a {} is attached to one port", field.key));
        return;
    }
    taken.insert(end, (table.place.clone(), field.span()));
}

fn device(table: &Table<'_>, ends: &mut Ends, report: &mut Report) -> Option<String> {
    let field = table.require("device", report)?;
    let name = field.text("a device's name", report)?;
    if let Err(wrong) = check_device(name) {
        let message = format!("{}: the device name {} {wrong}", table.place, quoted(name));
        report
            .add(field.span(), message)
            .note("not a device's name")
            .help("as `ip link` shows it, for example \"tap0\"");
        return None;
    }
    refuse_second(&mut ends.devices, name.to_owned(), table, &field, report);
    Some(name.to_owned())
}

fn io(field: &Field<'_, '_>, report: &mut Report) -> Option<NetdevIo> {
    const WANTED: &str = "\"packet\" or \"xdp\"";
    match field.text(WANTED, report)? {
        "packet" => Some(NetdevIo::Packet),
        "xdp" => Some(NetdevIo::Xdp),
        _ => {
            let help = "\"packet\" carries super-frames whole, \"xdp\" carries small frames faster";
            field.refuse(WANTED, report).help(help);
            None
        }
    }
}

fn socket(table: &Table<'_>, ends: &mut Ends, report: &mut Report) -> Option<SocketConfig> {
    let path = table.require("socket", report).and_then(|field| {
        let path = socket_path(&field, report)?;
        refuse_second(&mut ends.sockets, path.clone(), table, &field, report);
        Some(path)
    });
    let mode = table.get("mode").map_or(Some(SocketMode::Server), |field| {
        match field.text("\"server\" or \"client\"", report)? {
            "server" => Some(SocketMode::Server),
            "client" => Some(SocketMode::Client),
            _ => {
                let help = "\"server\": weftd listens, \"client\": QEMU listens";
                field.refuse("\"server\" or \"client\"", report).help(help);
                None
            }
        }
    });
    if let Some(field) = table.get("socket-mode").filter(|_| mode == Some(SocketMode::Client)) {
        let message = format!("{}: `socket-mode` is for sockets that weftd makes", table.place);
        report
            .add(field.key_span.clone(), message)
            .note("not with mode = \"client\"")
            .help("with `mode = \"client\"` the socket is QEMU's; take it out");
    }
    let owner = table.get("owner").map(|field| account(&field, "a user's name", report));
    let group = table.get("group").map(|field| account(&field, "a group's name", report));
    let socket_mode = table.get("socket-mode").map(|field| socket_mode(&field, report));
    Some(SocketConfig {
        path: path?,
        mode: mode?,
        owner: owner.flatten(),
        group: group.flatten(),
        socket_mode: socket_mode.flatten(),
    })
}

/// Reads a path and returns its shortest form, so that two ways to write one are seen.
fn socket_path(field: &Field<'_, '_>, report: &mut Report) -> Option<String> {
    let text = field.text("the path of a Unix socket", report)?;
    let path = Path::new(text);
    let wrong = if !path.is_absolute() {
        Some("does not begin with `/`".to_owned())
    } else if text.len() > SOCKET_MAX {
        Some(format!("has {} bytes; {SOCKET_MAX} are allowed", text.len()))
    } else if text.contains('\0') {
        Some("contains a NUL".to_owned())
    } else if text.ends_with('/') {
        Some("ends with `/`".to_owned())
    } else if path.components().any(|part| part == Component::ParentDir) {
        Some("contains `..`".to_owned())
    } else {
        None
    };
    if let Some(wrong) = wrong {
        let message = format!("{}: the socket path {} {wrong}", field.place, quoted(text));
        report
            .add(field.span(), message)
            .note("not a socket's path")
            .help("for example \"/run/weft/ports/dev1/dev1.sock\"");
        return None;
    }
    path.components().collect::<std::path::PathBuf>().into_os_string().into_string().ok()
}

fn account(field: &Field<'_, '_>, wanted: &str, report: &mut Report) -> Option<String> {
    let name = field.text(wanted, report)?;
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '/');
    if name.is_empty() || name.chars().count() > ACCOUNT_MAX || name.contains(wrong) {
        field.refuse(wanted, report);
        return None;
    }
    Some(name.to_owned())
}

fn socket_mode(field: &Field<'_, '_>, report: &mut Report) -> Option<u32> {
    const WANTED: &str = "permission bits from \"0000\" to \"0777\"";
    let bits = match field.value.get_ref() {
        DeValue::String(text)
            if (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            u32::from_str_radix(text, 8).ok()
        }
        // 0o660 is what it says; 660 is not.
        DeValue::Integer(number) if number.radix() == 8 => {
            integer(field.value.get_ref()).and_then(|bits| u32::try_from(bits).ok())
        }
        _ => None,
    };
    let bits = bits.filter(|bits| *bits <= 0o777);
    if bits.is_none() {
        let draft = field.refuse(WANTED, report);
        draft.help("in octal and in quotes, for example `socket-mode = \"0660\"`");
    }
    bits
}

/// Reads a list of addresses that has at least one.
fn addresses<T>(
    table: &Table<'_>,
    key: &'static str,
    wanted: &str,
    read: impl Fn(&str, &str, &toml::Spanned<DeValue<'_>>, &mut Report) -> Option<T>,
    report: &mut Report,
) -> Vec<T> {
    let Some(field) = table.get(key) else { return Vec::new() };
    let Some(list) = field.list(wanted, report) else { return Vec::new() };
    if list.is_empty() {
        report
            .add(field.span(), format!("{}: `{key}` is an empty list", table.place))
            .note("no address")
            .help(format!("leave `{key}` away to allow every address, or list the ones allowed"));
    }
    if list.len() > ADDRESSES_MAX {
        let message = format!(
            "{}: `{key}` has {} addresses; {ADDRESSES_MAX} are allowed",
            table.place,
            list.len()
        );
        report.add(field.span(), message).note("too many");
        return Vec::new();
    }
    list.iter().filter_map(|value| read(&table.place, key, value, report)).collect()
}

/// Reads an IP address that a host may have.
fn host_ip(
    place: &str,
    key: &str,
    value: &toml::Spanned<DeValue<'_>>,
    report: &mut Report,
) -> Option<IpAddr> {
    const WANTED: &str = "an IPv4 or IPv6 address";
    let DeValue::String(text) = value.get_ref() else {
        refuse(place, key, value, WANTED, report);
        return None;
    };
    let Ok(ip) = text.parse::<IpAddr>() else {
        let draft = refuse(place, key, value, WANTED, report);
        if let Some((address, _)) =
            text.split_once('/').filter(|(address, _)| address.parse::<IpAddr>().is_ok())
        {
            draft.help(format!("single addresses without a prefix: \"{address}\""));
        }
        return None;
    };
    let wrong = match ip {
        ip if ip.is_multicast() => Some("a multicast address"),
        ip if ip.is_unspecified() => Some("the unspecified address"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("an IPv4-mapped one"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        let help = match ip {
            IpAddr::V6(ip) => ip.to_ipv4_mapped().map(|ip| format!("write \"{ip}\"")),
            IpAddr::V4(_) => None,
        };
        report
            .add(value.span(), format!("{place}: `{key}` has {ip}, which is {wrong}"))
            .note(wrong)
            .help(help.unwrap_or_else(|| "write the address of one host".to_owned()));
        return None;
    }
    Some(ip)
}

fn flood_limit(field: &Field<'_, '_>, report: &mut Report) -> Option<NonZeroU32> {
    let wanted = format!(
        "frames a second from \"{}/s\" to \"{}/s\"",
        FLOOD_LIMIT.start(),
        FLOOD_LIMIT.end()
    );
    let rate = match field.value.get_ref() {
        DeValue::String(text) => text.strip_suffix("/s").and_then(|number| {
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|rate| digits && FLOOD_LIMIT.contains(rate))
        }),
        _ => None,
    };
    let Some(rate) = rate else {
        let draft = field.refuse(&wanted, report);
        if let Some(number) = integer(field.value.get_ref()).filter(|number| *number > 0) {
            draft.help(format!("write `flood-limit = \"{number}/s\"`"));
        }
        return None;
    };
    NonZeroU32::new(rate)
}
