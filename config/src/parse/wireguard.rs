//! `[wireguard.NAME]` and `[wireguard.NAME.peer.NAME]`: stock WireGuard clients on a VLAN. Opens no key file and asks
//! for no name.

mod network;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    ops::Range,
};

use ipnet::IpNet;
use toml::{Spanned, de::DeValue};
use weft_vpn::PublicKey;

use self::network::{address, allowed_ips, gateway};
use super::{
    Named,
    claims::{Claim, Claims},
    named,
    report::Report,
    sections::Declared,
    table::{Field, Table},
    vlan::vlan,
    vpn::{endpoint, key_file, listen, public_key},
};
use crate::{
    limits::{
        KEEPALIVE, PORTS_MAX, WIREGUARD_ADDRESSES_MAX, WIREGUARD_MTU, WIREGUARD_PEERS_MAX,
        WIREGUARDS_MAX,
    },
    model::{Config, Overlap, WireguardConfig, WireguardPeerConfig},
    names::Kind,
    words::{WIREGUARD_KEYS, WIREGUARD_PEER_KEYS},
};

/// The UDP port in examples, and the default.
const PORT: u16 = 51_820;

/// Reads all adapters; `ports` is how many other ports there are.
pub(super) fn adapters(
    adapters: &[Named<'_>],
    declared: &Declared<'_>,
    ports: usize,
    claims: &mut Claims,
    config: &mut Config,
    report: &mut Report,
) {
    let allowed = WIREGUARDS_MAX.min(PORTS_MAX.saturating_sub(ports));
    if let Some(excess) = adapters.get(allowed) {
        let message = format!(
            "there are {} WireGuard adapters and {ports} ports; {WIREGUARDS_MAX} adapters are allowed, and \
             {PORTS_MAX} together",
            adapters.len()
        );
        report.add(excess.table.span.clone(), message).note("one too many");
        return;
    }
    let mut peers_left = WIREGUARD_PEERS_MAX;
    for Named { name, table } in adapters {
        if let Some(adapter) = adapter(name, table, declared, &mut peers_left, claims, report) {
            config.wireguard.insert((*name).to_owned(), adapter);
        }
    }
}

fn adapter(
    name: &str,
    table: &Table<'_>,
    declared: &Declared<'_>,
    peers_left: &mut usize,
    claims: &mut Claims,
    report: &mut Report,
) -> Option<WireguardConfig> {
    table.refuse_unknown(WIREGUARD_KEYS, report);
    let claim = |span: Range<usize>| Claim { place: table.place.clone(), span };
    let vlan_field = table.require_like("vlan", "10", report);
    let vlan = vlan_field.as_ref().and_then(|field| vlan(field, declared, report));
    let switch = declared.switch(table, report);
    let addresses = own_addresses(table, report);
    if let (Some(switch), Some(vlan)) = (switch, vlan) {
        for (address, span) in &addresses {
            claims.address((switch, vlan), address.addr(), claim(span.clone()), report);
        }
    }
    let addresses: Vec<IpNet> = addresses.into_iter().map(|(address, _)| address).collect();
    let (gateway_v4, gateway_v6) =
        table.get("gateway").map_or((None, None), |field| gateways(&field, &addresses, report));
    let listen_field = table.get("listen");
    let listen = match &listen_field {
        None => Some(WireguardConfig::LISTEN),
        Some(field) => listen(field, PORT, report),
    };
    if let Some(listen) = listen {
        let span = listen_field.map_or_else(|| table.span.clone(), |field| field.span());
        claims.listen(listen, claim(span), report);
    }
    let example = format!("\"/etc/weft/{}.key\"", super::suggested(Kind::Wireguard, name));
    let key_field = table.require_like("private-key-file", &example, report);
    let key = key_field.as_ref().and_then(|field| key_file(field, &example, report));
    if let (Some(key), Some(field)) = (&key, &key_field) {
        claims.key_file(key, claim(field.span()), report);
    }
    let mtu = table
        .get("mtu")
        .and_then(|field| field.number(WIREGUARD_MTU, report))
        .and_then(|mtu| u16::try_from(mtu).ok());
    let peers = named(table, Kind::WireguardPeer(name), report);
    let (peers, overlaps) = peers_of(&peers, &addresses, peers_left, report);
    Some(WireguardConfig {
        switch: switch?.to_owned(),
        vlan: vlan?,
        addresses,
        gateway_v4,
        gateway_v6,
        listen: listen?,
        private_key_file: key?,
        mtu: mtu.unwrap_or(WireguardConfig::MTU),
        peers,
        overlaps,
    })
}

/// Reads the adapter's own addresses, with their places.
fn own_addresses(table: &Table<'_>, report: &mut Report) -> Vec<(IpNet, Range<usize>)> {
    const WANTED: &str = "a list of addresses with their prefix lengths";
    let Some(field) = table.require("address", report) else { return Vec::new() };
    let Some(list) = field.list(WANTED, report) else { return Vec::new() };
    if list.is_empty() {
        field
            .refuse(WANTED, report)
            .help("an adapter without an address reaches nobody in its VLAN");
    }
    if let Some(excess) = list.get(WIREGUARD_ADDRESSES_MAX) {
        let message = format!(
            "{}: `address` has {} addresses; {WIREGUARD_ADDRESSES_MAX} are allowed",
            table.place,
            list.len()
        );
        report.add(excess.span(), message).note("one too many");
        return Vec::new();
    }
    let read = |value: &Spanned<DeValue<'_>>| Some((address(&field, value, report)?, value.span()));
    list.iter().filter_map(read).collect()
}

/// Reads the ways out, at most one for each of IPv4 and IPv6.
fn gateways(
    field: &Field<'_, '_>,
    addresses: &[IpNet],
    report: &mut Report,
) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let list: Vec<_> = match field.value.get_ref() {
        DeValue::Array(list) => list.iter().collect(),
        _ => vec![field.value],
    };
    let (mut v4, mut v6) = (None, None);
    for value in list {
        let second = match gateway(field, value, addresses, report) {
            Some(IpAddr::V4(ip)) => v4.replace(ip).is_some(),
            Some(IpAddr::V6(ip)) => v6.replace(ip).is_some(),
            None => false,
        };
        if second {
            report
                .add(value.span(), format!("{}: `gateway` has two of one family", field.place))
                .note("the second one")
                .help("keep one for IPv4, and one for IPv6");
        }
    }
    (v4, v6)
}

/// Who has a key, or a network, already.
#[derive(Default)]
struct Taken<'a> {
    keys: HashMap<PublicKey, (&'a str, Range<usize>)>,
    networks: HashMap<IpNet, &'a str>,
}

fn peers_of(
    peers: &[Named<'_>],
    addresses: &[IpNet],
    left: &mut usize,
    report: &mut Report,
) -> (BTreeMap<String, WireguardPeerConfig>, Vec<Overlap>) {
    let (mut read, mut overlaps) = (BTreeMap::new(), Vec::new());
    if let Some(excess) = peers.get(*left) {
        let message = format!(
            "there are more than {WIREGUARD_PEERS_MAX} WireGuard peers; {WIREGUARD_PEERS_MAX} are allowed"
        );
        report.add(excess.table.span.clone(), message).note("one too many");
        return (read, overlaps);
    }
    *left -= peers.len();
    let mut taken = Taken::default();
    // In the order of the text: the last one wins.
    for Named { name, table } in peers {
        let Some(peer) = peer(name, table, addresses, &mut taken, report) else { continue };
        for network in &peer.allowed_ips {
            let Some(loser) = taken.networks.insert(*network, name) else { continue };
            let (network, owner, loser) = (*network, (*name).to_owned(), loser.to_owned());
            overlaps.push(Overlap { network, owner, loser });
        }
        read.insert((*name).to_owned(), peer);
    }
    for Overlap { network, loser, .. } in &overlaps {
        if let Some(peer) = read.get_mut(loser) {
            peer.allowed_ips.retain(|own| own != network);
        }
    }
    (read, overlaps)
}

fn peer<'a>(
    name: &'a str,
    table: &Table<'_>,
    addresses: &[IpNet],
    taken: &mut Taken<'a>,
    report: &mut Report,
) -> Option<WireguardPeerConfig> {
    table.refuse_unknown(WIREGUARD_PEER_KEYS, report);
    let key_field = table.require("public-key", report);
    let key = key_field.as_ref().and_then(|field| {
        public_key(field, "write what `wg show` or `wg pubkey` says at the client", report)
    });
    if let (Some(key), Some(field)) = (key, &key_field) {
        if let Some((other, span)) = taken.keys.get(&key) {
            report
                .add(field.span(), format!("{}: peer {other} has this key already", table.place))
                .note("again here")
                .also(span.clone(), format!("peer {other} here"))
                .help("every client has a key of its own: `weftctl wireguard peer add --new`");
        } else {
            taken.keys.insert(key, (name, field.span()));
        }
    }
    let example = format!("\"/etc/weft/{}.psk\"", super::suggested(Kind::Peer, name));
    let preshared = table.get("preshared-key-file").map(|field| key_file(&field, &example, report));
    let allowed_ips = table
        .get("allowed-ips")
        .map_or(Some(Vec::new()), |field| allowed_ips(&field, addresses, report));
    let endpoint = table.get("endpoint").map(|field| endpoint(&field, PORT, report));
    let keepalive = table
        .get("persistent-keepalive")
        .map_or(Some(0), |field| field.number(KEEPALIVE, report))
        .and_then(|seconds| u16::try_from(seconds).ok());
    Some(WireguardPeerConfig {
        public_key: key?,
        preshared_key_file: preshared.map_or(Some(None), |file| file.map(Some))?,
        allowed_ips: allowed_ips?,
        endpoint: endpoint.map_or(Some(None), |endpoint| endpoint.map(Some))?,
        persistent_keepalive: NonZeroU16::new(keepalive?),
    })
}
