//! Segments and peers: what a file says of them, what is wrong with it, what differs, and edits.

use serde_json::{Map, Value, json};
use weft_config::{
    Cipher, Config, Edit, Endpoint, OwnKey, OwnKeys, VpnConfig,
    api::{AddPeer, AddSegment, SetPeer},
    diff,
};
use weft_vpn::PublicKey;

const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

const FILE: &str = r#"# host one

[vlan.office]
id = 10

[switch.lab]

# everywhere
[segment.office]
id = 5010
vlan = "office"   # here

[segment.lab]
id = 16777215
vlan = 10
switch = "lab"
answer-arp = true

[vpn]
listen = "192.0.2.7:51901"
private-key-file = "/etc/weft/vpn.key"   # mine
previous-private-key-file = "/etc/weft/old.key"
dscp = 46

# the south
[vpn.peer.berlin]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
endpoint = "Berlin.example.net:51900" # a name
preshared-key-file = "/etc/weft/berlin.psk"
ciphers = ["chacha20-poly1305", "aes-256-gcm"]
segments = [
    "office", # all of it
    "lab",
]

[vpn.peer.roaming] # waited for
public-key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
"#;

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| panic!("{}", errors.plain()))
}

fn table(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[test]
fn segments_and_peers_are_read() {
    let config = parsed(FILE);
    let office = &config.segments["office"];
    assert_eq!((office.id.get(), office.vlan.get()), (5010, 10));
    assert_eq!((office.switch.as_str(), office.answer_arp), ("main", false));
    let lab = &config.segments["lab"];
    assert_eq!((lab.id.get(), lab.switch.as_str(), lab.answer_arp), (16_777_215, "lab", true));

    let vpn = config.vpn.as_ref().unwrap();
    assert_eq!(vpn.listen.to_string(), "192.0.2.7:51901");
    assert_eq!(vpn.private_key_file, "/etc/weft/vpn.key");
    assert_eq!(vpn.previous_private_key_file.as_deref(), Some("/etc/weft/old.key"));
    assert_eq!(vpn.dscp, 46);
    let berlin = &vpn.peers["berlin"];
    assert_eq!(berlin.public_key.to_string(), ALICE);
    let name = Endpoint::Name { host: "berlin.example.net".to_owned(), port: 51_900 };
    assert_eq!(berlin.endpoint, Some(name));
    assert_eq!(berlin.preshared_key_file.as_deref(), Some("/etc/weft/berlin.psk"));
    assert_eq!(berlin.ciphers, [Cipher::Chacha20Poly1305, Cipher::Aes256Gcm]);
    assert_eq!(berlin.segments, ["lab", "office"]);
    let roaming = &vpn.peers["roaming"];
    assert_eq!((&roaming.endpoint, &roaming.preshared_key_file), (&None, &None));
    assert!(roaming.ciphers.is_empty() && roaming.segments.is_empty());

    assert_eq!(parsed(&config.to_toml()), config);
}

#[test]
fn little_is_needed() {
    let config = parsed("[vpn]\nprivate-key-file = \"/k\"\n");
    let vpn = config.vpn.unwrap();
    assert_eq!((vpn.listen, vpn.dscp), (VpnConfig::LISTEN, 0));
    assert_eq!(vpn.listen.to_string(), "[::]:51900");
    assert!(vpn.peers.is_empty());
    assert_eq!(parsed("").vpn, None);
}

#[test]
fn a_peer_with_an_own_key_is_named() {
    let config = parsed(FILE);
    let check = |own: &[PublicKey]| {
        config.check_own_keys(&OwnKeys { vpn: own.to_vec(), ..OwnKeys::default() })
    };
    let (alice, bob): (PublicKey, PublicKey) = (ALICE.parse().unwrap(), BOB.parse().unwrap());
    let base: PublicKey = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().unwrap();
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[base]), Ok(()));
    assert_eq!(check(&[base, bob]).unwrap_err(), OwnKey::Peer { peer: "roaming".to_owned() });
    let error = check(&[alice]).unwrap_err().to_string();
    assert!(error.starts_with("peer berlin: `public-key` is this host's own key"), "{error}");
}

#[test]
fn every_key_file_is_named() {
    let config = parsed(FILE);
    let files: Vec<String> = config
        .key_files()
        .into_iter()
        .map(|file| format!("{} {} {:?}", file.place, file.path, file.content))
        .collect();
    assert_eq!(
        files,
        [
            "vpn: `private-key-file` /etc/weft/vpn.key Private(Vpn)",
            "vpn: `previous-private-key-file` /etc/weft/old.key Private(Vpn)",
            "peer berlin: `preshared-key-file` /etc/weft/berlin.psk Preshared",
        ]
    );
}

/// Compares the plain mistakes of a text with what is expected.
#[track_caller]
fn refused(text: &str, expected: &str) {
    match Config::parse(text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(errors) => assert_eq!(errors.plain(), expected.trim()),
    }
}

#[test]
fn segments_have_ids_and_places_of_their_own() {
    refused(
        r##"[segment.a]
id = 5010
vlan = 10
[segment.b]
id = 5010
vlan = 20
[segment.c]
id = 5011
vlan = 10
switch = "main"
[segment.d]
id = 16777216
vlan = "ofice"
swich = "lab"
[segment.e]
[segment.f]
id = 0
vlan = 30
switch = "lab"
answer-arp = 1
[segment."g.h"]
id = "5"
vlan = { access = 10 }
[vlan.office]
id = 10
"##,
        r##"
5:6: segment b: 5010 is the id of segment a already
  2:6: segment a here
  help: a segment has an id of its own, the same on every host
9:8: segment c: VLAN 10 of switch main is segment a already
  3:8: segment a here
  help: a VLAN is one segment; take one of the two out
12:6: segment d: `id` takes a number from 1 to 16777215, not 16777216
  help: for example `id = 10`
13:8: segment d: `vlan`: there is no VLAN "ofice"
  help: did you mean "office"?
14:1: segment d: unknown key "swich"
  help: did you mean `switch`?
15:10: segment e: `id` is missing
  help: add `id = 5010`
15:10: segment e: `vlan` is missing
  help: add `vlan = 10`
17:6: segment f: `id` takes a number from 1 to 16777215, not 0
  help: for example `id = 10`
19:10: segment f: there is no switch "lab"
  help: declare it: `[switch.lab]`
20:14: segment f: `answer-arp` takes true or false, not 1
  help: for example `answer-arp = true`
21:10: the segment name "g.h" contains '.'; letters, digits, `-` and `_` are allowed
  help: for example `[segment.g-h]`
22:6: segment g.h: `id` takes a number from 1 to 16777215, not "5"
  help: for example `id = 10`
23:8: segment g.h: `vlan` takes a VLAN from 1 to 4094 or a VLAN's name, not a table
  help: for example 10
"##,
    );
}

#[test]
fn the_host_s_own_end_is_checked() {
    refused(
        r##"[vpn]
listen = "51900"
private-key = "x"
dscp = 64
"##,
        r##"
2:10: vpn: `listen` "51900" has no address
  help: for every address, write "[::]:51900"
3:1: vpn: unknown key "private-key"
  help: did you mean `private-key-file`?
4:8: vpn: `dscp` takes a number from 0 to 63, not 64
  help: for example `dscp = 0`
"##,
    );
    refused(
        r##"[vpn]
listen = "2001:db8::1"
private-key-file = "vpn.key"
previous-private-key-file = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
"##,
        r##"
2:10: vpn: `listen` "2001:db8::1" has no port
  help: write "[2001:db8::1]:51900"
3:20: vpn: the path "vpn.key" of `private-key-file` does not begin with `/`
  help: for example "/etc/weft/vpn.key"
4:29: vpn: `previous-private-key-file` has a key, not the path of a file
  help: put the key into a file that only its owner can read, and write its path
"##,
    );
    refused(
        r##"[vpn]
listen = "0.0.0.0:0"
private-key-file = "/k"
previous-private-key-file = "/k"
peer = 5
"##,
        r##"
2:10: vpn: `listen` "0.0.0.0:0" has no port
  help: for example "0.0.0.0:51900"
4:29: vpn: `previous-private-key-file` is the same file as `private-key-file`
  help: write the file with the key from before, or take the line out
5:1: `vpn.peer` holds tables with names: write `[vpn.peer.NAME]`
"##,
    );
    refused(
        "vpn = 5\nlisten = \"[::]:1\"\n",
        r##"
1:7: `vpn` is a table: write `[vpn]`
2:1: unknown section "listen"
  help: `listen` belongs under `[vpn]`
"##,
    );
    refused(
        "[vpn]\n[vpn.peer.a]\n",
        r##"
1:2: vpn: `private-key-file` is missing
  help: add `private-key-file = "/etc/weft/vpn.key"`
2:11: peer a: `public-key` is missing
  help: add `public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="`
"##,
    );
}

#[test]
fn peers_are_checked() {
    refused(
        r##"[segment.office]
id = 5010
vlan = 10
[vpn]
private-key-file = "/k"
[vpn.peer.a]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
ciphers = ["aes-256-gmc", "rot13", 5, "aes-256-gcm"]
segments = ["ofice", "nowhere", 7, "office"]
[vpn.peer.b]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
endpoint = "192.0.2.1"
preshared-key-file = "/etc/weft/"
[vpn.peer.c]
public-key = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
ciphers = []
[vpn.peer.d]
public-key = "hSDwCYkwp1R0i33ctD73Wg2"
ciphers = ["aes-256-gcm", "aes-256-gcm"]
endpont = "x:1"
"##,
        r##"
8:12: peer a: `ciphers` takes names of ciphers, not "aes-256-gmc"
  help: did you mean "aes-256-gcm"?
8:27: peer a: `ciphers` takes names of ciphers, not "rot13"
  help: the ciphers are "aes-256-gcm" and "chacha20-poly1305"
8:36: peer a: `ciphers` takes names of ciphers, not 5
  help: the ciphers are "aes-256-gcm" and "chacha20-poly1305"
9:13: peer a: there is no segment "ofice"
  help: did you mean "office"?
9:22: peer a: there is no segment "nowhere"
  help: declare it: `[segment.nowhere]`
9:33: peer a: `segments` takes segments' names, not 7
  help: a segment is named as in `[segment.office]`: "office"
11:14: peer b: peer a has this key already
  7:14: peer a here
  help: every host has a key of its own: `weftctl key generate` there
12:12: peer b: `endpoint` "192.0.2.1" has no port
  help: write "192.0.2.1:51900"
13:22: peer b: the path "/etc/weft/" of `preshared-key-file` ends with `/`
  help: for example "/etc/weft/berlin.psk"
15:14: peer c: `public-key` is no key: a public key of low order protects nothing
  help: write what `weftctl key public` says on that host
16:11: peer c: `ciphers` takes a list of ciphers, not an empty list
  help: name at least one, or leave `ciphers` away for all
18:14: peer d: `public-key` is no key: a key is 44 characters of base64
  help: write what `weftctl key public` says on that host
19:27: peer d: `ciphers` has "aes-256-gcm" twice
  help: keep one of the two
20:1: peer d: unknown key "endpont"
  help: did you mean `endpoint`?
"##,
    );
}

#[test]
fn a_public_key_that_is_none_is_not_quoted() {
    let text = "[vpn]\nprivate-key-file = \"/k\"\n[vpn.peer.a]\npublic-key = \"secretsecret\"\n";
    let errors = Config::parse(text).unwrap_err();
    assert!(!errors.plain().contains("secretsecret"), "{}", errors.plain());
}

#[test]
fn differences_are_told_in_the_words_of_the_file() {
    let told = |old: &str, new: &str| -> Vec<String> {
        let none = || "none".to_owned();
        diff(&parsed(old), &parsed(new))
            .into_iter()
            .map(|change| {
                let (old, new) = (change.old.unwrap_or_else(none), change.new.unwrap_or_else(none));
                format!("{}: {old} -> {new}", change.path)
            })
            .collect()
    };
    let same = FILE.replace("vlan = \"office\"", "vlan = 10").replace("Berlin", "berlin");
    assert_eq!(told(FILE, &same), [""; 0]);
    let changed = FILE
        .replace("id = 5010", "id = 5011")
        .replace("[\"chacha20-poly1305\", \"aes-256-gcm\"]", "[\"aes-256-gcm\"]")
        .replace("dscp = 46\n", "");
    assert_eq!(
        told(FILE, &changed),
        [
            "segment.office.id: 5010 -> 5011",
            "vpn.dscp: 46 -> 0",
            "vpn.peer.berlin.ciphers: [\"chacha20-poly1305\", \"aes-256-gcm\"] -> [\"aes-256-gcm\"]",
        ]
    );
    let start = FILE.find("[vpn]").unwrap();
    let without = &FILE[..start];
    let added = told(without, FILE);
    assert_eq!(added.len(), 3);
    assert_eq!(added[2], format!("vpn.peer.roaming: none -> {{ public-key = \"{BOB}\" }}"));
    assert!(added[0].starts_with("vpn: none -> { listen = \"192.0.2.7:51901\""), "{}", added[0]);
    assert_eq!(told(FILE, without).len(), 3);
}

fn add_peer(name: &str, peer: Value) -> Edit {
    Edit::AddPeer(AddPeer { name: name.to_owned(), peer: table(peer), may_exist: false })
}

fn add_segment(name: &str, segment: Value) -> Edit {
    Edit::AddSegment(AddSegment {
        name: name.to_owned(),
        segment: table(segment),
        may_exist: false,
    })
}

fn set_peer(name: &str, peer: Value) -> Edit {
    Edit::SetPeer { name: name.to_owned(), set: SetPeer { peer: table(peer) } }
}

#[track_caller]
fn becomes(text: &str, edit: &Edit, expected: &str) {
    let edited = edit.apply(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(edited, expected);
    parsed(&edited);
}

/// Compares code, message and help of a refusal.
#[track_caller]
fn edit_refused(text: &str, edit: &Edit, expected: &str) {
    let body = edit.apply(text).expect_err("a refusal").body();
    let help = body.help.unwrap_or_default();
    assert_eq!(format!("{}: {}\nhelp: {help}", body.code, body.message), expected);
}

#[test]
fn edits_keep_what_they_are_not_about() {
    let base = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let lines = format!("[vpn.peer.oslo]\npublic-key = \"{base}\"\nendpoint = \"oslo:1\"\n");
    let oslo = add_peer("oslo", json!({"endpoint": "oslo:1", "public-key": base}));
    becomes(FILE, &oslo, &format!("{FILE}\n{lines}"));
    // A first peer comes behind `[vpn]`, whatever is behind it.
    let first = "[vpn]\nprivate-key-file = \"/k\"\n\n[vlan.office]\nid = 10\n";
    becomes(first, &oslo, &first.replace("\"/k\"\n", &format!("\"/k\"\n\n{lines}")));
    becomes(
        FILE,
        &add_segment("voice", json!({"vlan": 20, "id": 7})),
        &FILE.replace(
            "answer-arp = true\n",
            "answer-arp = true\n\n[segment.voice]\nid = 7\nvlan = 20\n",
        ),
    );
    becomes(
        FILE,
        &set_peer(
            "berlin",
            json!({"endpoint": "192.0.2.1:1", "segments": ["lab"], "ciphers": null}),
        ),
        &FILE
            .replace("Berlin.example.net:51900", "192.0.2.1:1")
            .replace("ciphers = [\"chacha20-poly1305\", \"aes-256-gcm\"]\n", "")
            .replace("    \"office\", # all of it\n", ""),
    );
    becomes(
        FILE,
        &set_peer("berlin", json!({"segments": ["office"]})),
        &FILE.replace("    \"lab\",\n", ""),
    );
    becomes(FILE, &set_peer("berlin", json!({"segments": ["lab", "office"]})), FILE);
    becomes(
        FILE,
        &set_peer("roaming", json!({"segments": ["office"]})),
        &format!("{FILE}segments = [\"office\"]\n"),
    );
    let start = FILE.find("\n[vpn.peer.roaming]").unwrap();
    becomes(FILE, &Edit::RemovePeer { name: "roaming".to_owned() }, &FILE[..start]);
    let berlin = FILE.find("\n# the south").unwrap();
    becomes(
        FILE,
        &Edit::RemovePeer { name: "berlin".to_owned() },
        &format!("{}{}", &FILE[..berlin], &FILE[start..]),
    );
}

#[test]
fn inline_peers_are_edited_in_their_place() {
    let base = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let peer = add_peer("b", json!({"public-key": base}));
    let inline = "vpn = { private-key-file = \"/k\" } # all\n";
    let with = inline
        .replace(" } # all", &format!(", peer = {{ b = {{ public-key = \"{base}\" }} }} }} # all"));
    becomes(inline, &peer, &with);
    becomes(
        &with,
        &set_peer("b", json!({"endpoint": "x:1"})),
        &with.replace("\" } } }", "\", endpoint = \"x:1\" } } }"),
    );
    let dotted =
        format!("vpn.private-key-file = \"/k\"\nvpn.peer.a.public-key = \"{ALICE}\" # a\n");
    becomes(
        &dotted,
        &set_peer("a", json!({"endpoint": "x:1"})),
        &format!("{dotted}vpn.peer.a.endpoint = \"x:1\"\n"),
    );
    becomes(&dotted, &Edit::RemovePeer { name: "a".to_owned() }, "vpn.private-key-file = \"/k\"\n");
}

#[test]
fn edits_that_cannot_be_are_refused() {
    let remove = |name: &str| Edit::RemoveSegment { name: name.to_owned() };
    let help = "help: remove or change these first";
    edit_refused(
        FILE,
        &remove("office"),
        &format!("in-use: segment office is in use by peer berlin\n{help}"),
    );
    edit_refused(
        FILE,
        &Edit::RemoveVlan { name: "office".to_owned() },
        &format!("in-use: vlan office is in use by segment office\n{help}"),
    );
    edit_refused(
        FILE,
        &Edit::RemoveSwitch { name: "lab".to_owned() },
        &format!("in-use: switch lab is in use by segment lab\n{help}"),
    );
    edit_refused(
        FILE,
        &remove("offce"),
        "not-found: there is no segment offce\nhelp: did you mean office?",
    );
    edit_refused(
        FILE,
        &set_peer("berln", json!({"endpoint": "x:1"})),
        "not-found: there is no peer berln\nhelp: did you mean berlin?",
    );
    edit_refused(
        FILE,
        &add_peer("berlin", json!({"public-key": BOB})),
        "exists: peer berlin exists already\nhelp: choose another name, or change the one that is there",
    );
    let again = AddPeer {
        name: "roaming".to_owned(),
        peer: table(json!({"public-key": BOB, "endpoint": "x:1"})),
        may_exist: true,
    };
    edit_refused(
        FILE,
        &Edit::AddPeer(again.clone()),
        "exists: peer roaming exists already and differs: endpoint is not set, not \"x:1\"\n\
         help: change the one that is there, or remove it first",
    );
    let equal = AddPeer { peer: table(json!({"public-key": BOB, "segments": []})), ..again };
    becomes(FILE, &Edit::AddPeer(equal), FILE);
    edit_refused(
        "",
        &add_peer("a", json!({"public-key": BOB})),
        "invalid-request: there is no `[vpn]` in the configuration, so there are no peers\n\
         help: make a key with `weftctl key generate --out /etc/weft/vpn.key`, and write `[vpn]` with \
         `private-key-file = \"/etc/weft/vpn.key\"`",
    );
}
