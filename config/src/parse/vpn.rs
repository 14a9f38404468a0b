//! `[vpn]` and `[vpn.peer.NAME]`: this host's end of its tunnels, and who is at the other ends. Opens no key file
//! and asks for no name.

mod endpoint;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
};

use weft_vpn::PublicKey;

pub(super) use self::endpoint::{endpoint, listen};
use super::{
    Named,
    claims::{Claim, Claims},
    named,
    port::as_set,
    report::Report,
    sections::Declared,
    table::{Field, Table, described, refuse},
};
use crate::{
    limits::{DSCP, PATH_MAX, PEERS_MAX, PORTS_MAX, SEGMENTS_MAX},
    model::{Cipher, PeerConfig, VpnConfig},
    names::{Kind, nearest, quoted},
    words::{PEER_KEYS, VPN_KEYS},
};

/// The UDP port in examples, and the default.
const PORT: u16 = 51_900;

/// Reads the section; `ports` is how many ports there are beside the peers.
pub(super) fn vpn(
    table: &Table<'_>,
    declared: &Declared<'_>,
    ports: usize,
    claims: &mut Claims,
    report: &mut Report,
) -> Option<VpnConfig> {
    table.refuse_unknown(VPN_KEYS, report);
    let claim = |span: Range<usize>| Claim { place: table.place.clone(), span };
    let listen_field = table.get("listen");
    let listen = match &listen_field {
        None => Some(VpnConfig::LISTEN),
        Some(field) => listen(field, PORT, report),
    };
    if let Some(listen) = listen {
        let span = listen_field.map_or_else(|| table.span.clone(), |field| field.span());
        claims.listen(listen, claim(span), report);
    }
    let own_field = table.require("private-key-file", report);
    let own = own_field
        .as_ref()
        .and_then(|field| key_file(field, crate::words::example(field.key), report));
    let previous_field = table.get("previous-private-key-file");
    let previous = previous_field
        .as_ref()
        .and_then(|field| key_file(field, crate::words::example(field.key), report));
    if let (Some(own), Some(field)) = (&own, &previous_field)
        && previous.as_ref() == Some(own)
    {
        report
            .add(
                field.span(),
                "vpn: `previous-private-key-file` is the same file as `private-key-file`",
            )
            .note("the same file")
            .help("write the file with the key from before, or take the line out");
    } else {
        for (key, field) in [(&own, &own_field), (&previous, &previous_field)] {
            if let (Some(key), Some(field)) = (key, field) {
                claims.key_file(key, claim(field.span()), report);
            }
        }
    }
    let dscp = table
        .get("dscp")
        .and_then(|field| field.number(DSCP, report))
        .and_then(|dscp| u8::try_from(dscp).ok())
        .unwrap_or(0);
    let peers = peers(&named(table, Kind::Peer, report), declared, ports, report);
    Some(VpnConfig {
        listen: listen?,
        private_key_file: own?,
        previous_private_key_file: previous,
        dscp,
        peers,
    })
}

fn peers(
    peers: &[Named<'_>],
    declared: &Declared<'_>,
    ports: usize,
    report: &mut Report,
) -> BTreeMap<String, PeerConfig> {
    let mut read = BTreeMap::new();
    let allowed = PEERS_MAX.min(PORTS_MAX.saturating_sub(ports));
    if let Some(excess) = peers.get(allowed) {
        let message = format!(
            "there are {} peers and {ports} ports; {PORTS_MAX} together are allowed",
            peers.len()
        );
        report.add(excess.table.span.clone(), message).note("one too many");
        return read;
    }
    let mut keys = HashMap::new();
    for Named { name, table } in peers {
        if let Some(peer) = peer(name, table, declared, &mut keys, report) {
            read.insert((*name).to_owned(), peer);
        }
    }
    read
}

fn peer<'a>(
    name: &'a str,
    table: &Table<'_>,
    declared: &Declared<'_>,
    keys: &mut HashMap<PublicKey, (&'a str, Range<usize>)>,
    report: &mut Report,
) -> Option<PeerConfig> {
    table.refuse_unknown(PEER_KEYS, report);
    let key_field = table.require("public-key", report);
    let key = key_field.as_ref().and_then(|field| {
        public_key(field, "write what `weftctl key public` says on that host", report)
    });
    if let (Some(key), Some(field)) = (key, &key_field) {
        if let Some((other, span)) = keys.get(&key) {
            report
                .add(field.span(), format!("{}: peer {other} has this key already", table.place))
                .note("again here")
                .also(span.clone(), format!("peer {other} here"))
                .help("every host has a key of its own: `weftctl key generate` there");
        } else {
            keys.insert(key, (name, field.span()));
        }
    }
    let endpoint = table.get("endpoint").map(|field| endpoint(&field, PORT, report));
    let preshared = table
        .get("preshared-key-file")
        .map(|field| key_file(&field, crate::words::example(field.key), report));
    let ciphers = table.get("ciphers").map_or(Some(Vec::new()), |field| ciphers(&field, report));
    let segments = table
        .get("segments")
        .map_or(Some(Vec::new()), |field| segments(table, &field, declared, report));
    Some(PeerConfig {
        public_key: key?,
        endpoint: endpoint.map_or(Some(None), |endpoint| endpoint.map(Some))?,
        preshared_key_file: preshared.map_or(Some(None), |file| file.map(Some))?,
        ciphers: ciphers?,
        segments: segments?,
    })
}

/// Reads a public key. What it is instead is not quoted: it may be a private one.
pub(super) fn public_key(
    field: &Field<'_, '_>,
    help: &str,
    report: &mut Report,
) -> Option<PublicKey> {
    let text = field.text("a public key in base64", report)?;
    match text.parse() {
        Ok(key) => Some(key),
        Err(error) => {
            report
                .add(field.span(), format!("{}: `public-key` is no key: {error}", field.place))
                .note("not a public key")
                .help(help);
            None
        }
    }
}

/// Reads the path of a file that only the daemon opens.
pub(super) fn key_file(
    field: &Field<'_, '_>,
    example: &str,
    report: &mut Report,
) -> Option<String> {
    let text = field.text("the path of a file", report)?;
    let wrong = if looks_like_key(text) {
        // Whatever it is, it is not repeated.
        report
            .add(
                field.span(),
                format!("{}: `{}` has a key, not the path of a file", field.place, field.key),
            )
            .note("not a path")
            .help("put the key into a file that only its owner can read, and write its path");
        return None;
    } else if !Path::new(text).is_absolute() {
        "does not begin with `/`".to_owned()
    } else if text.len() > PATH_MAX {
        format!("has {} bytes; {PATH_MAX} are allowed", text.len())
    } else if text.contains('\0') {
        "contains a NUL".to_owned()
    } else if text.ends_with('/') {
        "ends with `/`".to_owned()
    } else {
        return Some(text.to_owned());
    };
    let message = format!("{}: the path {} of `{}` {wrong}", field.place, quoted(text), field.key);
    report
        .add(field.span(), message)
        .note("not a file's path")
        .help(format!("for example {example}"));
    None
}

fn looks_like_key(text: &str) -> bool {
    weft_vpn::PresharedKey::from_base64(text).is_ok()
}

fn ciphers(field: &Field<'_, '_>, report: &mut Report) -> Option<Vec<Cipher>> {
    const WANTED: &str = "a list of ciphers";
    let list = field.list(WANTED, report)?;
    if list.is_empty() {
        field.refuse(WANTED, report).help("name at least one, or leave `ciphers` away for all");
        return None;
    }
    let mut ciphers = Some(Vec::new());
    for element in list {
        let word = element.get_ref().as_str();
        let cipher = word.and_then(|word| Cipher::ALL.into_iter().find(|one| one.word() == word));
        let Some(cipher) = cipher else {
            let words = || Cipher::ALL.into_iter().map(Cipher::word);
            let near = word.and_then(|word| nearest(word, words()));
            let help = match near {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "the ciphers are \"aes-256-gcm\" and \"chacha20-poly1305\"".to_owned(),
            };
            refuse(field.place, field.key, element, "names of ciphers", report)
                .note("not a cipher")
                .help(help);
            ciphers = None;
            continue;
        };
        match &mut ciphers {
            Some(ciphers) if ciphers.contains(&cipher) => {
                let message = format!("{}: `ciphers` has \"{}\" twice", field.place, cipher.word());
                report.add(element.span(), message).note("again here").help("keep one of the two");
            }
            Some(ciphers) => ciphers.push(cipher),
            None => {}
        }
    }
    ciphers
}

fn segments(
    table: &Table<'_>,
    field: &Field<'_, '_>,
    declared: &Declared<'_>,
    report: &mut Report,
) -> Option<Vec<String>> {
    let list = field.list("a list of segments' names", report)?;
    if let Some(excess) = list.get(SEGMENTS_MAX) {
        let message = format!(
            "{}: `segments` has {} names; {SEGMENTS_MAX} are allowed",
            field.place,
            list.len()
        );
        report.add(excess.span(), message).note("one too many");
        return None;
    }
    let mut segments = Some(Vec::new());
    for element in list {
        let name = element.get_ref().as_str();
        match name {
            Some(name) if declared.has(Kind::Segment, name) => {
                if let Some(segments) = &mut segments {
                    segments.push(name.to_owned());
                }
                continue;
            }
            Some(name) => {
                declared.unknown(Kind::Segment, name, &table.place, element.span(), report);
            }
            None => {
                let message = format!(
                    "{}: `segments` takes segments' names, not {}",
                    field.place,
                    described(element.get_ref())
                );
                report
                    .add(element.span(), message)
                    .note("not a name")
                    .help("a segment is named as in `[segment.office]`: \"office\"");
            }
        }
        segments = None;
    }
    if let Some(segments) = &mut segments {
        as_set(segments);
    }
    segments
}
