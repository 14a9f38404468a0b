//! WireGuard adapters and their peers: what a file says of them, what is wrong with it, what differs.

use ipnet::IpNet;
use weft_config::{
    Config, Endpoint, OwnKey, OwnKeys, WireguardConfig, diff,
    keyfile::{Content, Owner},
};
use weft_vpn::PublicKey;

const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
const BASE: &str = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

const FILE: &str = r#"[vlan.office]
id = 10

[switch.lab]

# the road
[wireguard.road]
vlan = "office"
address = ["10.10.0.1/24", "fd00:10::1/64"]
gateway = ["10.10.0.254", "fe80::1"]
listen = "0.0.0.0:51820"
private-key-file = "/etc/weft/road.key"
mtu = 1380

[wireguard.road.peer.alice]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
preshared-key-file = "/etc/weft/alice.psk"
allowed-ips = ["fd00:10::201", "10.10.0.201/32"]

# another site
[wireguard.road.peer.site]
public-key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
allowed-ips = ["192.168.7.9/24", "10.10.0.202"]
endpoint = "Site.example.net:51820"
persistent-keepalive = 25

[wireguard.lab]
switch = "lab"
vlan = 10
address = ["10.10.0.1/24"]
listen = "0.0.0.0:51821"
private-key-file = "/etc/weft/lab.key"
"#;

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| panic!("{}", errors.plain()))
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn key(text: &str) -> PublicKey {
    text.parse().unwrap()
}

#[test]
fn adapters_and_peers_are_read() {
    let config = parsed(FILE);
    let road = &config.wireguard["road"];
    assert_eq!((road.switch.as_str(), road.vlan.get(), road.mtu), ("main", 10, 1380));
    assert_eq!(road.addresses, nets(&["10.10.0.1/24", "fd00:10::1/64"]));
    assert_eq!(road.gateway_v4, Some("10.10.0.254".parse().unwrap()));
    assert_eq!(road.gateway_v6, Some("fe80::1".parse().unwrap()));
    assert_eq!(road.listen.to_string(), "0.0.0.0:51820");
    assert_eq!(road.private_key_file, "/etc/weft/road.key");
    assert!(road.overlaps.is_empty());

    let alice = &road.peers["alice"];
    assert_eq!(alice.public_key, key(ALICE));
    assert_eq!(alice.preshared_key_file.as_deref(), Some("/etc/weft/alice.psk"));
    assert_eq!(alice.allowed_ips, nets(&["10.10.0.201/32", "fd00:10::201/128"]));
    assert_eq!((&alice.endpoint, alice.persistent_keepalive), (&None, None));
    let site = &road.peers["site"];
    assert_eq!(site.allowed_ips, nets(&["10.10.0.202/32", "192.168.7.0/24"]));
    let name = Endpoint::Name { host: "site.example.net".to_owned(), port: 51_820 };
    assert_eq!(site.endpoint, Some(name));
    assert_eq!(site.persistent_keepalive.map(std::num::NonZero::get), Some(25));

    assert_eq!(config.wireguard["lab"].mtu, WireguardConfig::MTU);
    assert_eq!(parsed(&config.to_toml()), config);
}

#[test]
fn little_is_needed() {
    let config =
        parsed("[wireguard.a]\nvlan = 1\naddress = [\"10.0.0.1/24\"]\nprivate-key-file = \"/k\"\n");
    let adapter = &config.wireguard["a"];
    assert_eq!(adapter.listen.to_string(), "[::]:51820");
    assert_eq!((adapter.switch.as_str(), adapter.mtu), ("main", 1420));
    assert_eq!((adapter.gateway_v4, adapter.gateway_v6), (None, None));
    assert!(adapter.peers.is_empty());
    assert!(parsed("").wireguard.is_empty());
}

#[test]
fn of_two_peers_with_one_network_the_last_has_it_and_it_is_said() {
    let text = FILE
        .replace("\"192.168.7.9/24\"", "\"192.168.7.9/24\", \"10.10.0.201\"")
        .replace("\"fd00:10::201\"", "\"fd00:10::201\", \"192.168.0.0/16\"");
    let config = parsed(&text);
    let road = &config.wireguard["road"];
    // A network inside another one is no overlap: the longest prefix wins.
    assert_eq!(road.peers["alice"].allowed_ips, nets(&["192.168.0.0/16", "fd00:10::201/128"]));
    assert_eq!(
        road.peers["site"].allowed_ips,
        nets(&["10.10.0.201/32", "10.10.0.202/32", "192.168.7.0/24"])
    );
    assert_eq!(
        config.notes(),
        [
            "wireguard road: 10.10.0.201/32 is an allowed IP of peer alice and of peer site, which comes later: site has it"
        ]
    );
    // The order of the text counts, not that of the names.
    let (before, alice) = FILE.split_at(FILE.find("[wireguard.road.peer.alice]").unwrap());
    let (alice, after) = alice.split_at(alice.find("# another site").unwrap());
    let turned = format!("{before}{after}\n{}", alice.replace("10.10.0.201/32", "10.10.0.202"));
    let road = &parsed(&turned).wireguard["road"];
    assert_eq!(road.peers["alice"].allowed_ips, nets(&["10.10.0.202/32", "fd00:10::201/128"]));
    assert_eq!(road.overlaps[0].owner, "alice");
    assert_eq!(parsed(FILE).notes(), [""; 0]);
}

#[test]
fn addresses_that_two_adapters_of_a_vlan_answer_for_are_said() {
    let with = |vlan: u16, allowed: &str| {
        let file = FILE.replace("192.168.7.9/24", "192.168.7.9");
        let text = format!(
            "{file}\n[wireguard.lane]\nvlan = {vlan}\naddress = [\"10.10.0.2/24\"]\nlisten = \"[::]:51829\"\n\
             private-key-file = \"/etc/weft/lane.key\"\n[wireguard.lane.peer.carol]\n\
             public-key = \"{BOB}\"\nallowed-ips = [{allowed}]\n"
        );
        parsed(&text).notes()
    };
    let shared =
        |address: &str| format!("wireguard road: lane answers for {address} in VLAN 10, too");
    let both = "\"10.10.0.201\", \"10.10.0.1\"";
    assert_eq!(with(10, both), [shared("10.10.0.1"), shared("10.10.0.201")]);
    assert_eq!(with(11, both), [""; 0]);
    assert_eq!(with(10, "\"10.10.0.209\", \"10.10.0.0/16\", \"192.168.7.9\""), [""; 0]);
}

#[test]
fn own_keys_have_one_use() {
    let config = parsed(&format!(
        "{FILE}\n[vpn]\nprivate-key-file = \"/v\"\n[vpn.peer.x]\npublic-key = \"{ALICE}\"\n"
    ));
    let own = |vpn: &[&str], road: &str, lab: &str| OwnKeys {
        vpn: vpn.iter().map(|text| key(text)).collect(),
        wireguard: [("road", road), ("lab", lab)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (name.to_owned(), key(text)))
            .collect(),
    };
    let told = |own: &OwnKeys| config.check_own_keys(own).map_err(|error| error.to_string());
    assert_eq!(told(&own(&[BOB], BASE, "")), Ok(()));
    // A peer of one section may have another's key elsewhere: it is not its own.
    assert_eq!(told(&own(&[BASE], "", ALICE)), Ok(()));
    assert_eq!(
        told(&own(&[BASE], ALICE, "")).unwrap_err(),
        "wireguard road peer alice: `public-key` is the adapter's own key; write the client's"
    );
    assert_eq!(
        told(&own(&[BOB, BASE], BASE, "")).unwrap_err(),
        "vpn and wireguard road have one private key; each needs a key of its own"
    );
    assert_eq!(
        config.check_own_keys(&own(&[], BASE, BASE)),
        Err(OwnKey::Shared { first: "wireguard lab".to_owned(), adapter: "road".to_owned() })
    );
}

#[test]
fn every_key_file_is_named() {
    let config = parsed(FILE);
    let files: Vec<_> = config
        .key_files()
        .into_iter()
        .map(|file| (format!("{} {}", file.place, file.path), file.content))
        .collect();
    let own = |name: &str| Content::Private(Owner::Wireguard(name.to_owned()));
    assert_eq!(
        files,
        [
            ("wireguard lab: `private-key-file` /etc/weft/lab.key".to_owned(), own("lab")),
            ("wireguard road: `private-key-file` /etc/weft/road.key".to_owned(), own("road")),
            (
                "wireguard road peer alice: `preshared-key-file` /etc/weft/alice.psk".to_owned(),
                Content::Preshared
            ),
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
fn adapters_are_checked() {
    refused(
        r#"[wireguard.a]
[wireguard.b]
vlan = 4095
address = "10.0.0.1/24"
gateway = 5
listen = "51820"
private-key-file = "road.key"
mtu = 1279
vlna = 10
[wireguard.c]
vlan = 10
address = []
private-key-file = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
switch = "lab"
[wireguard.d]
vlan = 10
address = ["10.0.0.1", "fd00::1", "10.0.0.0/24", "10.0.0.255/24", "224.0.0.1/24", "10.0.0.1/33", 7]
listen = "0.0.0.0:1"
private-key-file = "/d"
peer = 7
[wireguard.a-name-of-16-chr]
vlan = 10
address = ["10.0.0.2/24"]
listen = "0.0.0.0:2"
private-key-file = "/e"
"#,
        r#"
1:12: wireguard a: `vlan` is missing
  help: add `vlan = 10`
1:12: wireguard a: `address` is missing
  help: add `address = ["10.10.0.1/24"]`
1:12: wireguard a: `private-key-file` is missing
  help: add `private-key-file = "/etc/weft/a.key"`
3:8: wireguard b: `vlan` takes a VLAN from 1 to 4094 or a VLAN's name, not 4095
  help: 4095 is reserved by IEEE 802.1Q
4:11: wireguard b: `address` takes a list of addresses with their prefix lengths, not "10.0.0.1/24"
  help: for example `address = ["10.10.0.1/24"]`
5:11: wireguard b: `gateway` takes an address, or one for IPv4 and one for IPv6 in a list, not 5
  help: for example `gateway = "10.10.0.254"`
6:10: wireguard b: `listen` "51820" has no address
  help: for every address, write "[::]:51820"
7:20: wireguard b: the path "road.key" of `private-key-file` does not begin with `/`
  help: for example "/etc/weft/b.key"
8:7: wireguard b: `mtu` takes a number from 1280 to 9000, not 1279
  help: for example `mtu = 1500`
9:1: wireguard b: unknown key "vlna"
  help: did you mean `vlan`?
10:12: wireguard c: wireguard a listens on port 51820 already
  1:12: wireguard a listens here
  help: write another port in `listen`
12:11: wireguard c: `address` takes a list of addresses with their prefix lengths, not an empty list
  help: an adapter without an address reaches nobody in its VLAN
13:20: wireguard c: `private-key-file` has a key, not the path of a file
  help: put the key into a file that only its owner can read, and write its path
14:10: wireguard c: there is no switch "lab"
  help: declare it: `[switch.lab]`
17:12: wireguard d: `address` takes an address with its prefix length, not "10.0.0.1"
  help: write the length of the VLAN's network: "10.0.0.1/24"
17:24: wireguard d: `address` takes an address with its prefix length, not "fd00::1"
  help: write the length of the VLAN's network: "fd00::1/64"
17:35: wireguard d: `address` has 10.0.0.0/24, which is the network's own address
  help: write the adapter's own address in its VLAN, for example "10.10.0.1/24"
17:50: wireguard d: `address` has 10.0.0.255/24, which is the network's broadcast address
  help: write the adapter's own address in its VLAN, for example "10.10.0.1/24"
17:67: wireguard d: `address` has 224.0.0.1/24, which is a multicast address
  help: write the adapter's own address in its VLAN, for example "10.10.0.1/24"
17:83: wireguard d: `address` takes an address with its prefix length, not "10.0.0.1/33"
  help: for example `address = ["10.10.0.1/24"]`
17:98: wireguard d: `address` takes an address with its prefix length, not 7
  help: for example `address = ["10.10.0.1/24"]`
20:1: `wireguard.d.peer` holds tables with names: write `[wireguard.d.peer.NAME]`
21:12: the WireGuard adapter name "a-name-of-16-chr" has 16 characters; 15 are allowed
  help: for example `[wireguard.a-name-of-16-c]`
"#,
    );
}

#[test]
fn what_a_host_has_once_is_claimed_once() {
    refused(
        r#"[vpn]
listen = "192.0.2.1:51820"
private-key-file = "/etc/weft/one.key"
previous-private-key-file = "/etc/weft/two.key"
[wireguard.a]
vlan = 10
address = ["10.0.0.1/24", "fd00::1/64"]
listen = "[::]:51820"
private-key-file = "/etc/weft/two.key"
[wireguard.b]
vlan = 10
address = ["10.0.0.1/16", "10.0.1.1/24", "10.0.1.1/24"]
listen = "192.0.2.2:51820"
private-key-file = "/etc/weft/three.key"
[wireguard.c]
vlan = 11
address = ["10.0.0.1/24"]
listen = "192.0.2.2:51820"
private-key-file = "/etc/weft/three.key"
"#,
        r#"
8:10: wireguard a: vpn listens on port 51820 already
  2:10: vpn listens here
  help: write another port in `listen`
9:20: wireguard a: vpn has this private key already
  4:29: vpn has it
  help: each needs a key of its own: `weftctl key generate --out FILE`
12:12: wireguard b: 10.0.0.1 is an address of wireguard a in VLAN 10 already
  7:12: wireguard a has it
  help: an address is in one place; write another one
12:42: wireguard b: 10.0.1.1 is an address of wireguard b in VLAN 10 already
  12:27: wireguard b has it
  help: an address is in one place; write another one
18:10: wireguard c: wireguard b listens on port 51820 already
  13:10: wireguard b listens here
  help: write another port in `listen`
19:20: wireguard c: wireguard b has this private key already
  14:20: wireguard b has it
  help: each needs a key of its own: `weftctl key generate --out FILE`
"#,
    );
}

#[test]
fn gateways_are_neighbours() {
    let with = |gateway: &str| {
        format!(
            "[wireguard.a]\nvlan = 1\naddress = [\"10.0.0.1/24\", \"fd00::1/64\"]\n\
             private-key-file = \"/k\"\ngateway = {gateway}\n"
        )
    };
    for fine in ["\"10.0.0.254\"", "\"fd00::fe\"", "\"fe80::1\"", "[\"fe80::1\", \"10.0.0.2\"]"] {
        parsed(&with(fine));
    }
    #[rustfmt::skip]
    let table = [
        ("\"10.0.1.1\"", "`gateway` 10.0.1.1 is in no network of `address`"),
        ("\"10.0.0.1\"", "`gateway` 10.0.0.1 is the adapter's own address"),
        ("\"10.0.0.255\"", "`gateway` 10.0.0.255 is the network's broadcast address"),
        ("\"fd00::\"", "`gateway` fd00:: is the network's own address"),
        ("\"ff02::1\"", "`gateway` ff02::1 is a multicast address"),
        ("\"10.0.0.254/24\"", "`gateway` takes an address, or one for IPv4 and one for IPv6 in a list, not \"10.0.0.254/24\""),
        ("[\"10.0.0.2\", \"10.0.0.3\"]", "`gateway` has two of one family"),
    ];
    for (gateway, expected) in table {
        let errors = Config::parse(&with(gateway)).unwrap_err();
        let told: Vec<_> = errors.mistakes().iter().map(|one| one.message.as_str()).collect();
        assert_eq!(told, [format!("wireguard a: {expected}")], "{gateway}");
    }
}

#[test]
fn peers_are_checked() {
    refused(
        r#"[wireguard.a]
vlan = 10
address = ["10.0.0.1/24"]
private-key-file = "/k"
[wireguard.a.peer.x]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
allowed-ips = "10.0.0.2"
endpoint = "192.0.2.1"
[wireguard.a.peer.y]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
allowed-ips = ["10.0.0.1", "10.0.0.1/24", "10.0.0/24", "fd00::/129", 5]
persistent-keepalive = 65536
preshared-key-file = "alice.psk"
[wireguard.a.peer.z]
public-key = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
persistent-keepalive = "off"
alowed-ips = []
[wireguard.a.peer."v.w"]
"#,
        r#"
7:15: wireguard a peer x: `allowed-ips` takes a list of networks, not "10.0.0.2"
  help: for example `allowed-ips = ["10.10.0.201/32"]`
8:12: wireguard a peer x: `endpoint` "192.0.2.1" has no port
  help: write "192.0.2.1:51820"
10:14: wireguard a peer y: peer x has this key already
  6:14: peer x here
  help: every client has a key of its own: `weftctl wireguard peer add --new`
11:16: wireguard a peer y: `allowed-ips` has "10.0.0.1", which is the adapter's own address
  help: write the client's address
11:43: wireguard a peer y: `allowed-ips` takes a network, as in "10.10.0.201/32", not "10.0.0/24"
  help: for example `allowed-ips = ["10.10.0.201/32"]`
11:56: wireguard a peer y: `allowed-ips` takes a network, as in "10.10.0.201/32", not "fd00::/129"
  help: for example `allowed-ips = ["10.10.0.201/32"]`
11:70: wireguard a peer y: `allowed-ips` takes a network, as in "10.10.0.201/32", not 5
  help: for example `allowed-ips = ["10.10.0.201/32"]`
12:24: wireguard a peer y: `persistent-keepalive` takes a number from 0 to 65535, not 65536
  help: for example `persistent-keepalive = 25`
13:22: wireguard a peer y: the path "alice.psk" of `preshared-key-file` does not begin with `/`
  help: for example "/etc/weft/y.psk"
15:14: wireguard a peer z: `public-key` is no key: a public key of low order protects nothing
  help: write what `wg show` or `wg pubkey` says at the client
16:24: wireguard a peer z: `persistent-keepalive` takes a number from 0 to 65535, not "off"
  help: for example `persistent-keepalive = 25`
17:1: wireguard a peer z: unknown key "alowed-ips"
  help: did you mean `allowed-ips`?
18:19: the peer name "v.w" contains '.'; letters, digits, `-` and `_` are allowed
  help: for example `[wireguard.a.peer.v-w]`
18:19: wireguard a peer v.w: `public-key` is missing
  help: add `public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="`
"#,
    );
}

#[test]
fn a_public_key_that_is_none_is_not_quoted() {
    let text = "[wireguard.a]\nvlan = 1\naddress = [\"10.0.0.1/24\"]\nprivate-key-file = \"/k\"\n\
                [wireguard.a.peer.b]\npublic-key = \"secretsecret\"\n";
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
    let same = FILE
        .replace("vlan = \"office\"", "vlan = 10")
        .replace("192.168.7.9/24", "192.168.7.0/24")
        .replace("Site", "site");
    assert_eq!(told(FILE, &same), [""; 0]);
    let changed = FILE
        .replace("[\"10.10.0.254\", \"fe80::1\"]", "\"10.10.0.254\"")
        .replace("mtu = 1380\n", "")
        .replace("persistent-keepalive = 25", "persistent-keepalive = 0")
        .replace("\"10.10.0.202\"", "\"10.10.0.201\"");
    assert_eq!(
        told(FILE, &changed),
        [
            "wireguard.road.gateway: [\"10.10.0.254\", \"fe80::1\"] -> \"10.10.0.254\"",
            "wireguard.road.mtu: 1380 -> 1420",
            "wireguard.road.peer.alice.allowed-ips: [\"10.10.0.201/32\", \"fd00:10::201/128\"] -> [\"fd00:10::201/128\"]",
            "wireguard.road.peer.site.allowed-ips: [\"10.10.0.202/32\", \"192.168.7.0/24\"] -> [\"10.10.0.201/32\", \"192.168.7.0/24\"]",
            "wireguard.road.peer.site.persistent-keepalive: 25 -> none",
        ]
    );
    let (without, _) = FILE.split_at(FILE.find("[wireguard.lab]").unwrap());
    assert_eq!(
        told(without, FILE),
        [
            "wireguard.lab: none -> { listen = \"0.0.0.0:51821\", private-key-file = \"/etc/weft/lab.key\", switch = \"lab\", vlan = 10, address = [\"10.10.0.1/24\"] }"
        ]
    );
    let (without, _) = FILE.split_at(FILE.find("\n# the road").unwrap());
    assert_eq!(told(FILE, without).len(), 4);
}
