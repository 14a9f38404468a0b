//! What holds for every configuration: written out and read again it is the same, it does not differ from itself,
//! and an edit touches nothing but what it is about.

use std::fmt::Write as _;

use proptest::{collection::vec, option, prelude::*, sample::select, strategy::Union};
use serde_json::{Map, Value, json};
use weft_config::{
    Config, Edit,
    api::{
        AddFdb, AddPeer, AddPort, AddSegment, AddVlan, AddWireguard, AddWireguardPeer, SetPeer,
        SetPort,
    },
    diff,
};

/// A VLAN mode as a file may have it; VLANs 10 and 20 have names.
fn vlan_mode() -> impl Strategy<Value = Value> {
    let element = || {
        Union::new([
            (1u16..=4094).prop_map(|vid| json!(vid)).boxed(),
            (1u16..=4094, 0u16..=300)
                .prop_map(|(first, length)| {
                    json!(format!("{first}-{}", (first + length).min(4094)))
                })
                .boxed(),
            select(vec!["office", "voice"]).prop_map(|name| json!(name)).boxed(),
        ])
    };
    Union::new([
        (1u16..=4094).prop_map(|vid| json!({"access": vid})).boxed(),
        Just(json!({"access": "office"})).boxed(),
        (vec(element(), 1..8), option::of((1u16..=4094, any::<bool>())), any::<bool>())
            .prop_map(|(mut trunk, native, dot1ad)| {
                let mut mode = Map::new();
                if let Some((vid, tagged)) = native {
                    trunk.push(json!(vid));
                    mode.insert("native".to_owned(), json!(vid));
                    mode.insert("native-tagged".to_owned(), json!(tagged));
                }
                if dot1ad {
                    mode.insert("ethertype".to_owned(), json!("802.1ad"));
                }
                mode.insert("trunk".to_owned(), json!(trunk));
                Value::Object(mode)
            })
            .boxed(),
        option::of(1u16..=4094)
            .prop_map(|native| match native {
                Some(native) => json!({"trunk": "all", "native": native}),
                None => json!({"trunk": "all"}),
            })
            .boxed(),
        (1u16..=4094, option::of(vec(element(), 1..4)))
            .prop_map(|(vid, customer)| match customer {
                Some(customer) => json!({"dot1q-tunnel": vid, "customer": customer}),
                None => json!({"dot1q-tunnel": vid}),
            })
            .boxed(),
    ])
}

/// A port's table; `number` keeps devices and sockets apart.
fn port(number: usize) -> impl Strategy<Value = Map<String, Value>> {
    let kind = Union::new([
        Just(json!({"type": "netdev", "device": format!("tap{number}"), "io": "packet"})).boxed(),
        Just(json!({"type": "netdev", "device": format!("tap{number}"), "io": "xdp"})).boxed(),
        (1u8..=16).prop_map(move |queues| json!({"type": "tap", "device": format!("t{number}"), "queues": queues})).boxed(),
        option::of(0u32..=0o777)
            .prop_map(move |bits| {
                let mut port = json!({"type": "stream", "socket": format!("/run/{number}.sock"), "owner": "root"});
                port["socket-mode"] = bits.map_or(Value::Null, |bits| json!(format!("{bits:04o}")));
                port
            })
            .boxed(),
    ]);
    let mac = any::<[u8; 5]>()
        .prop_map(|[a, b, c, d, e]| json!(format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")));
    let ip = any::<u32>()
        .prop_map(|bits| json!(std::net::Ipv4Addr::from(0x0a00_0000 | bits >> 8).to_string()));
    let extras = (
        option::of(select(vec!["main", "lab"])),
        option::of(any::<bool>()),
        option::of(68u32..=65_535),
        option::of(1u32..=1_048_576),
        option::of(vec(mac, 1..4)),
        option::of(vec(ip, 1..4)),
        option::of(any::<bool>()),
        option::of(1u32..=100_000_000),
    );
    (kind, vlan_mode(), extras).prop_map(|(kind, vlan, extras)| {
        let (switch, enabled, mtu, mac_limit, macs, ips, isolated, flood) = extras;
        let mut port = kind.as_object().cloned().unwrap();
        port.insert("vlan".to_owned(), vlan);
        let keys = [
            ("switch", switch.map(Value::from)),
            ("enabled", enabled.map(Value::from)),
            ("mtu", mtu.map(Value::from)),
            ("mac-limit", mac_limit.map(Value::from)),
            ("macs", macs.map(Value::from)),
            ("ips", ips.map(Value::from)),
            ("isolated", isolated.map(Value::from)),
            ("flood-limit", flood.map(|rate| json!(format!("{rate}/s")))),
        ];
        port.extend(keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        port.retain(|_, value| !value.is_null());
        port
    })
}

/// A file with comments and odd spacing. Layouts that nobody glues together are kept apart by blank lines.
fn file() -> impl Strategy<Value = String> {
    let ports = (0usize..6).prop_flat_map(|count| (0..count).map(port).collect::<Vec<_>>());
    (ports, any::<[bool; 6]>(), 1usize..=64, tunnels(), adapters()).prop_map(|(ports, bits, workers, tunnels, adapters)| {
        let mut text = String::new();
        let comment = |on: bool, text: &str| if on { text.to_owned() } else { String::new() };
        let _ = write!(text, "{}", comment(bits[0], "# a weft\n# configuration\n\n"));
        let _ = write!(text, "[daemon]{}\nworkers = {workers}\n\n", comment(bits[1], "   # threads"));
        text.push_str("[vlan.office]\nid = 10\n\n[vlan]\nvoice = { id = 20 }\n\n[switch.lab]\nmac-ageing = \"2m\"\n");
        for (number, port) in ports.iter().enumerate() {
            let _ = write!(text, "\n{}[port.p{number}]{}\n", comment(bits[2], "# its own\n"), comment(bits[3], " # x"));
            for (key, value) in port {
                let value: toml_edit::Value = toml_value(value);
                let _ = writeln!(text, "{}{key}   = {value}{}", comment(bits[4], "# key\n"), comment(bits[5], "\t# v"));
            }
        }
        text + &tunnels + &adapters
    })
}

const KEYS: [&str; 2] = [
    "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
    "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
];

/// Segments and peers, or none.
fn tunnels() -> impl Strategy<Value = String> {
    let segment =
        (1u32..=0xff_fffe, select(vec!["10", "\"voice\"", "4094"]), any::<bool>(), any::<bool>());
    let peer = (
        option::of(select(vec!["192.0.2.1:1", "[2001:db8::1]:51900", "berlin.example:7"])),
        any::<[bool; 4]>(),
    );
    (option::of(segment), option::of((vec(peer, 0..=2), any::<[bool; 3]>()))).prop_map(|(segment, vpn)| {
        let mut text = String::new();
        if let Some((id, vlan, answer, lab)) = segment {
            let _ = write!(text, "\n# spans hosts\n[segment.s1]\nid = {id}\nvlan = {vlan}\nanswer-arp = {answer}\n");
            text.push_str(if lab { "switch = \"lab\"\n" } else { "" });
            let _ = write!(text, "\n[segment.s2]\nid = {}\nvlan = 4093\n", id + 1);
        }
        let Some((peers, keys)) = vpn else { return text };
        let mut line = |on: bool, line: &str| text.push_str(if on { line } else { "" });
        line(true, "\n[vpn] # tunnels\nprivate-key-file = \"/etc/weft/vpn.key\"\n");
        line(keys[0], "listen = \"192.0.2.7:1\"\n");
        line(keys[1], "previous-private-key-file = \"/etc/weft/old.key\"\n");
        line(keys[2], "dscp = 46 # voice\n");
        for (number, (endpoint, keys)) in peers.iter().enumerate() {
            line(true, &format!("\n[vpn.peer.p{number}]\npublic-key = \"{}\"\n", KEYS[number]));
            if let Some(endpoint) = endpoint {
                line(true, &format!("endpoint = \"{endpoint}\" # there\n"));
            }
            line(keys[0], "preshared-key-file = \"/etc/weft/psk\"\n");
            line(keys[1] && keys[2], "ciphers = [\"chacha20-poly1305\", \"aes-256-gcm\"]\n");
            line(keys[1] && !keys[2], "ciphers = [\"aes-256-gcm\"]\n");
            line(keys[3] && segment.is_some(), "segments = [\"s2\", \"s1\"]\n");
        }
        text
    })
}

/// WireGuard adapters with peers that have networks of their own, or none.
fn adapters() -> impl Strategy<Value = String> {
    let peer = (vec(0u8..=3, 0..3), any::<[bool; 3]>(), option::of(1u16..=65_535));
    let adapter = (select(vec!["10", "\"voice\"", "4094"]), vec(peer, 0..=2), any::<[bool; 4]>());
    vec(adapter, 0..=2).prop_map(|adapters| {
        let mut text = String::new();
        for (number, (vlan, peers, keys)) in adapters.iter().enumerate() {
            let mut line = |on: bool, line: &str| text.push_str(if on { line } else { "" });
            line(true, &format!("\n# clients\n[wireguard.w{number}]\nvlan = {vlan} # here\n"));
            line(true, &format!("address = [\"10.{number}.0.1/16\", \"fd00:{number}::1/64\"]\n"));
            line(
                true,
                &format!("listen = \"[::]:{}\"\nprivate-key-file = \"/w{number}\"\n", number + 2),
            );
            line(keys[0], &format!("gateway = \"10.{number}.0.2\"\n"));
            line(!keys[0] && keys[1], &format!("gateway = [\"fe80::1\", \"10.{number}.0.2\"]\n"));
            line(keys[2], "mtu = 1380\n");
            line(keys[3], "switch = \"lab\"\n");
            for (peer, (networks, keys, keepalive)) in peers.iter().enumerate() {
                let networks = networks
                    .iter()
                    .map(|net| format!("\"10.{number}.{}.9/24\"", 4 * peer + usize::from(*net)));
                line(
                    true,
                    &format!(
                        "\n[wireguard.w{number}.peer.p{peer}]\npublic-key = \"{}\"\n",
                        KEYS[peer]
                    ),
                );
                line(
                    keys[0],
                    &format!(
                        "allowed-ips = [{}] # behind it\n",
                        networks.collect::<Vec<_>>().join(", ")
                    ),
                );
                line(keys[1], "endpoint = \"a.example:1\"\n");
                line(keys[2], "preshared-key-file = \"/etc/weft/psk\"\n");
                if let Some(seconds) = keepalive {
                    line(true, &format!("persistent-keepalive = {seconds}\n"));
                }
            }
        }
        text
    })
}

fn toml_value(value: &Value) -> toml_edit::Value {
    match value {
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => number.as_i64().unwrap().into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => list.iter().map(toml_value).collect::<toml_edit::Array>().into(),
        Value::Object(table) => table
            .iter()
            .map(|(key, value)| (key.as_str(), toml_value(value)))
            .collect::<toml_edit::InlineTable>()
            .into(),
        Value::Null => unreachable!("no generated value is null"),
    }
}

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| panic!("{}\n{text}", errors.plain()))
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.find('#').map(|at| &line[at..])).collect()
}

fn add(name: &str, port: &Map<String, Value>) -> Edit {
    Edit::AddPort(AddPort { name: name.to_owned(), port: port.clone(), may_exist: false })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_out_and_read_again_it_is_the_same(text in file()) {
        let config = parsed(&text);
        let written = config.to_toml();
        prop_assert_eq!(&parsed(&written), &config, "{}", written);
        prop_assert_eq!(diff(&config, &config), vec![]);
        prop_assert_eq!(diff(&config, &parsed(&written)), vec![]);
    }

    #[test]
    fn configurations_differ_when_they_are_different(a in file(), b in file()) {
        let (a, b) = (parsed(&a), parsed(&b));
        prop_assert_eq!(diff(&a, &b).is_empty(), a == b);
        prop_assert_eq!(diff(&a, &b).len(), diff(&b, &a).len());
    }

    #[test]
    fn a_port_added_and_removed_leaves_no_trace(text in file(), port in port(9)) {
        let added = add("new", &port).apply(&text).unwrap();
        prop_assert_eq!(comments(&added), comments(&text));
        let (before, after) = (parsed(&text), parsed(&added));
        let changes = diff(&before, &after);
        prop_assert_eq!(changes.len(), 1);
        prop_assert_eq!(&changes[0].path, "port.new");
        let again = Edit::AddPort(AddPort { name: "new".to_owned(), port, may_exist: true });
        prop_assert_eq!(&again.apply(&added).unwrap(), &added);
        let removed = Edit::RemovePort { name: "new".to_owned() }.apply(&added).unwrap();
        prop_assert_eq!(removed, text);
    }

    #[test]
    fn names_and_entries_added_and_removed_leave_no_trace(text in file(), port in port(9), id in 30u16..=4094) {
        let added = Edit::AddVlan(AddVlan { name: "new".to_owned(), id, may_exist: false }).apply(&text).unwrap();
        prop_assert_eq!(parsed(&added).vlans.len(), 3);
        prop_assert_eq!(&Edit::RemoveVlan { name: "new".to_owned() }.apply(&added).unwrap(), &text);

        let text = add("new", &port).apply(&text).unwrap();
        let Some(vlan) = parsed(&text).ports["new"].vlan.members().iter().next() else { return Ok(()) };
        let mac = "02:00:00:00:00:01".to_owned();
        let entry = AddFdb { mac: mac.clone(), vlan: json!(vlan.get()), port: "new".to_owned(), may_exist: false };
        let added = Edit::AddFdb(entry).apply(&text).unwrap();
        prop_assert_eq!(parsed(&added).fdb.len(), 1);
        let removed = Edit::RemoveFdb { mac, vlan: json!(vlan.get()), switch: None }.apply(&added).unwrap();
        prop_assert_eq!(removed, text);
    }

    #[test]
    fn segments_and_peers_added_and_removed_leave_no_trace(text in file(), endpoint in option::of(Just("a.example:1"))) {
        let table = |value: Value| value.as_object().cloned().unwrap();
        let segment = AddSegment {
            name: "new".to_owned(),
            segment: table(json!({"vlan": 4092, "id": 0xff_ffff})),
            may_exist: false,
        };
        let added = Edit::AddSegment(segment).apply(&text).unwrap();
        prop_assert_eq!(comments(&added), comments(&text));
        prop_assert_eq!(diff(&parsed(&text), &parsed(&added)).len(), 1);
        prop_assert_eq!(&Edit::RemoveSegment { name: "new".to_owned() }.apply(&added).unwrap(), &text);
        if parsed(&added).vpn.is_none() {
            return Ok(());
        }
        let key = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let peer = table(json!({"public-key": key, "endpoint": endpoint, "segments": ["new"]}));
        let peer = AddPeer { name: "new".to_owned(), peer, may_exist: false };
        let with_peer = Edit::AddPeer(peer).apply(&added).unwrap();
        prop_assert_eq!(comments(&with_peer), comments(&text));
        prop_assert_eq!(&diff(&parsed(&added), &parsed(&with_peer))[0].path, "vpn.peer.new");
        let removal = Edit::RemoveSegment { name: "new".to_owned() }.apply(&with_peer);
        prop_assert!(removal.is_err());
        let set = SetPeer { peer: table(json!({"segments": null, "endpoint": "192.0.2.9:1"})) };
        let set = Edit::SetPeer { name: "new".to_owned(), set }.apply(&with_peer).unwrap();
        let changed = &parsed(&set).vpn.unwrap().peers["new"];
        prop_assert_eq!(changed.endpoint.as_ref().unwrap().to_string(), "192.0.2.9:1");
        prop_assert!(changed.segments.is_empty());
        prop_assert_eq!(Edit::RemovePeer { name: "new".to_owned() }.apply(&set).unwrap(), added);
    }

    #[test]
    fn adapters_and_clients_added_and_removed_leave_no_trace(text in file(), client in any::<bool>()) {
        let table = |value: Value| value.as_object().cloned().unwrap();
        let key = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let peer = table(json!({"public-key": key, "allowed-ips": ["10.9.0.9/32"]}));
        let mut wireguard = table(json!({"vlan": 9, "address": ["10.9.0.1/16"], "private-key-file": "/n", "listen": "[::]:9"}));
        if client {
            wireguard.insert("peer".to_owned(), json!({"first": peer}));
        }
        let edit = AddWireguard { name: "new".to_owned(), wireguard, may_exist: false };
        let added = Edit::AddWireguard(edit).apply(&text).unwrap();
        prop_assert_eq!(comments(&added), comments(&text));
        prop_assert_eq!(diff(&parsed(&text), &parsed(&added)).len(), 1 + usize::from(client));
        prop_assert_eq!(&Edit::RemoveWireguard { name: "new".to_owned() }.apply(&added).unwrap(), &text);
        for adapter in parsed(&text).wireguard.keys() {
            let add = AddWireguardPeer { name: "new".to_owned(), peer: peer.clone(), may_exist: false };
            let with = Edit::AddWireguardPeer { adapter: adapter.clone(), add }.apply(&text).unwrap();
            prop_assert_eq!(comments(&with), comments(&text));
            prop_assert_eq!(&diff(&parsed(&text), &parsed(&with))[0].path, &format!("wireguard.{adapter}.peer.new"));
            let removed = Edit::RemoveWireguardPeer { adapter: adapter.clone(), name: "new".to_owned() };
            prop_assert_eq!(&removed.apply(&with).unwrap(), &text);
        }
    }

    #[test]
    fn setting_keys_makes_the_port_what_was_set(text in file(), old in port(9), new in port(9)) {
        let text = add("new", &old).apply(&text).unwrap();
        let mut keys: Map<String, Value> = old.keys().map(|key| (key.clone(), Value::Null)).collect();
        keys.extend(new.clone());
        let set = Edit::SetPort { name: "new".to_owned(), set: SetPort { port: keys } };
        let changed = set.apply(&text).unwrap();
        let expected = add("fresh", &new).apply("[vlan.office]\nid = 10\n[vlan.voice]\nid = 20\n[switch.lab]\n").unwrap();
        prop_assert_eq!(&parsed(&changed).ports["new"], &parsed(&expected).ports["fresh"]);
        prop_assert_eq!(comments(&changed), comments(&text));
        prop_assert_eq!(set.apply(&changed).unwrap(), changed);
    }

    #[test]
    fn setting_a_vlan_mode_keeps_its_comments(old in port(9), new in port(9), dotted in any::<bool>(), many in any::<bool>()) {
        let mut text = "[vlan.office]\nid = 10\n[vlan.voice]\nid = 20\n[switch.lab]\n[port.new]\n".to_owned();
        for (key, value) in old.iter().filter(|(key, _)| *key != "vlan") {
            let _ = writeln!(text, "{key} = {}", toml_value(value));
        }
        text.push_str(if dotted { "# mode\n" } else { "# mode\n[port.new.vlan] # table\n" });
        for (number, (key, value)) in old["vlan"].as_object().unwrap().iter().enumerate() {
            let prefix = if dotted { "vlan." } else { "" };
            let value = match value {
                Value::Array(list) if many => {
                    let lines = list.iter().map(|value| format!("  {},\n  # of {value}\n", toml_value(value)));
                    format!("[\n{}]", lines.collect::<String>())
                }
                value => toml_value(value).to_string(),
            };
            let _ = writeln!(text, "# above {number}\n{prefix}{key}   = {value}\t# behind {number}");
        }
        let mode = Map::from_iter([("vlan".to_owned(), new["vlan"].clone())]);
        let set = Edit::SetPort { name: "new".to_owned(), set: SetPort { port: mode } };
        let changed = set.apply(&text).unwrap();
        let same_mode = |text: &str| parsed(text).ports["new"].vlan.clone();
        let mut whole = old.clone();
        whole.insert("vlan".to_owned(), new["vlan"].clone());
        let expected = add("fresh", &whole).apply("[vlan.office]\nid = 10\n[vlan.voice]\nid = 20\n[switch.lab]\n").unwrap();
        prop_assert_eq!(&same_mode(&changed), &parsed(&expected).ports["fresh"].vlan);
        // Comments inside a list go where the whole list goes.
        let kept = |text: &str| comments(text).iter().filter(|comment| !comment.starts_with("# of")).count();
        prop_assert_eq!(kept(&changed), kept(&text), "{}", changed);
        prop_assert_eq!(set.apply(&changed).unwrap(), changed);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}|([a-z\\[\\]{}=\"'.,#\n0-9 -]{0,200})") {
        if let Err(errors) = Config::parse(&text) {
            prop_assert!(!errors.mistakes().is_empty());
            for mistake in errors.mistakes() {
                prop_assert!(text.get(mistake.place.span.clone()).is_some());
                prop_assert!(mistake.place.line <= text.lines().count() + 1);
            }
        }
    }

    #[test]
    fn a_broken_file_is_read_or_refused(text in file(), at in any::<prop::sample::Index>(), junk in "\\PC{0,3}") {
        let mut at = at.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (before, after) = text.split_at(at);
        for broken in [before.to_owned(), format!("{before}{junk}{after}")] {
            if let Err(errors) = Config::parse(&broken) {
                prop_assert!(!errors.plain().is_empty());
            }
        }
    }
}
