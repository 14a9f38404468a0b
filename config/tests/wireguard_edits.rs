//! Edits of WireGuard adapters and their peers: comments and layout stay, networks move from peer to peer.

use serde_json::{Map, Value, json};
use weft_config::{
    Config, Edit, PeerChange,
    api::{AddWireguard, AddWireguardPeer, SetWireguard, SetWireguardPeer},
};

const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";
const BASE: &str = "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

const FILE: &str = r#"[vlan.office]
id = 10

# the road
[wireguard.road]
vlan = "office" # everybody
address = ["10.10.0.1/24"]
private-key-file = "/etc/weft/road.key"

# her laptop
[wireguard.road.peer.alice]
public-key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
allowed-ips = [
    "10.10.0.201/32", # the laptop
    "10.10.0.202",    # the phone
]

[wireguard.road.peer.bob] # his
public-key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="

[port.web1] # behind
type = "netdev"
device = "tap0"
vlan = { access = 10 }
"#;

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| panic!("{}", errors.plain()))
}

fn table(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn add(name: &str, wireguard: Value) -> Edit {
    let wireguard = table(wireguard);
    Edit::AddWireguard(AddWireguard { name: name.to_owned(), wireguard, may_exist: false })
}

fn add_peer(name: &str, peer: Value) -> Edit {
    Edit::AddWireguardPeer {
        adapter: "road".to_owned(),
        add: AddWireguardPeer { name: name.to_owned(), peer: table(peer), may_exist: false },
    }
}

fn set_peer(name: &str, peer: Value) -> Edit {
    Edit::SetWireguardPeer {
        adapter: "road".to_owned(),
        name: name.to_owned(),
        set: SetWireguardPeer { peer: table(peer) },
    }
}

fn remove_peer(name: &str) -> Edit {
    Edit::RemoveWireguardPeer { adapter: "road".to_owned(), name: name.to_owned() }
}

#[track_caller]
fn becomes(text: &str, edit: &Edit, expected: &str) {
    let edited = edit.apply(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(edited, expected);
    parsed(&edited);
}

/// Compares code, message and help of a refusal.
#[track_caller]
fn refused(text: &str, edit: &Edit, expected: &str) {
    let body = edit.apply(text).expect_err("a refusal").body();
    let help = body.help.unwrap_or_default();
    assert_eq!(format!("{}: {}\nhelp: {help}", body.code, body.message), expected);
}

#[test]
fn an_adapter_comes_with_its_peers_and_goes_with_them() {
    let (start, end) = FILE.split_at(FILE.find("\n[port.web1]").unwrap());
    let lab = add(
        "lab",
        json!({
            "address": ["10.20.0.1/24"], "vlan": 20, "private-key-file": "/l", "listen": "[::]:1",
            "mtu": null,
            "peer": {
                "x": {"public-key": ALICE, "allowed-ips": ["10.20.0.2/32"]},
                "y": {"persistent-keepalive": 25, "public-key": BOB},
            },
        }),
    );
    let sections = format!(
        "\n[wireguard.lab]\nlisten = \"[::]:1\"\nprivate-key-file = \"/l\"\nvlan = 20\naddress = [\"10.20.0.1/24\"]\n\
         \n[wireguard.lab.peer.x]\npublic-key = \"{ALICE}\"\nallowed-ips = [\"10.20.0.2/32\"]\n\
         \n[wireguard.lab.peer.y]\npublic-key = \"{BOB}\"\npersistent-keepalive = 25\n"
    );
    let with = format!("{start}{sections}{end}");
    becomes(FILE, &lab, &with);
    becomes(&with, &Edit::RemoveWireguard { name: "lab".to_owned() }, FILE);
    let Edit::AddWireguard(again) = lab else { unreachable!("it adds") };
    let again = AddWireguard { may_exist: true, ..again };
    becomes(&with, &Edit::AddWireguard(again.clone()), &with);
    let mut other = again;
    other.wireguard["peer"]["y"] = json!({"public-key": BOB});
    refused(
        &with,
        &Edit::AddWireguard(other),
        "exists: wireguard lab exists already and differs: persistent-keepalive is 25, not left away\n\
         help: change the one that is there, or remove it first",
    );
    let road = FILE.find("\n# the road").unwrap();
    let end = FILE.find("\n[port.web1]").unwrap();
    becomes(
        FILE,
        &Edit::RemoveWireguard { name: "road".to_owned() },
        &format!("{}{}", &FILE[..road], &FILE[end..]),
    );
    let set = SetWireguard { wireguard: table(json!({"mtu": 1380, "vlan": 10})) };
    becomes(
        FILE,
        &Edit::SetWireguard { name: "road".to_owned(), set },
        &FILE
            .replace("\"office\" # everybody", "10 # everybody")
            .replace("\"/etc/weft/road.key\"\n", "\"/etc/weft/road.key\"\nmtu = 1380\n"),
    );
}

#[test]
fn peers_are_edited_where_they_stand() {
    let (start, end) = FILE.split_at(FILE.find("\n[port.web1]").unwrap());
    let carol = json!({"allowed-ips": ["10.10.0.203/32"], "public-key": BASE});
    let lines = format!(
        "\n[wireguard.road.peer.carol]\npublic-key = \"{BASE}\"\nallowed-ips = [\"10.10.0.203/32\"]\n"
    );
    let with = format!("{start}{lines}{end}");
    becomes(FILE, &add_peer("carol", carol), &with);
    becomes(&with, &remove_peer("carol"), FILE);
    becomes(
        FILE,
        &set_peer("bob", json!({"endpoint": "bob.example:1", "persistent-keepalive": 25})),
        &FILE.replace(
            "+FG+IK08=\"\n",
            "+FG+IK08=\"\nendpoint = \"bob.example:1\"\npersistent-keepalive = 25\n",
        ),
    );
    let alice = FILE.find("\n# her laptop").unwrap();
    let bob = FILE.find("\n[wireguard.road.peer.bob]").unwrap();
    becomes(FILE, &remove_peer("alice"), &format!("{}{}", &FILE[..alice], &FILE[bob..]));

    let inline = "[wireguard]\nroad = { vlan = 1, address = [\"10.10.0.1/24\"], private-key-file = \"/k\" } # all\n";
    becomes(
        inline,
        &add_peer("bob", json!({"public-key": BOB})),
        &inline.replace(
            " } # all",
            &format!(", peer = {{ bob = {{ public-key = \"{BOB}\" }} }} }} # all"),
        ),
    );
}

#[test]
fn a_network_moves_to_the_peer_that_is_given_it() {
    // The one that stands later in the text.
    becomes(
        FILE,
        &set_peer("bob", json!({"allowed-ips": ["10.10.0.202/32"]})),
        &FILE
            .replace("    \"10.10.0.202\",    # the phone\n", "")
            .replace("+FG+IK08=\"\n", "+FG+IK08=\"\nallowed-ips = [\"10.10.0.202/32\"]\n"),
    );
    // The one that stands earlier: without more, the later one would keep it.
    let turned = FILE.replace("[wireguard.road.peer.alice]", "[wireguard.road.peer.x]");
    let later = turned
        .replace("+FG+IK08=\"\n", "+FG+IK08=\"\nallowed-ips = [\"10.10.9.9\", \"10.10.8.0/24\"]\n");
    let edited = set_peer("x", json!({"allowed-ips": ["10.10.8.8/24"]})).apply(&later).unwrap();
    let config = parsed(&edited);
    let networks = |peer: &str| {
        let list = &config.wireguard["road"].peers[peer].allowed_ips;
        list.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (networks("x"), networks("bob")),
        (vec!["10.10.8.0/24".to_owned()], vec!["10.10.9.9/32".to_owned()])
    );
    assert!(config.notes().is_empty());
    assert!(edited.contains("allowed-ips = [\"10.10.9.9\"]\n"), "{edited}");

    let new = add_peer("carol", json!({"public-key": BASE, "allowed-ips": ["10.10.0.201"]}));
    let edited = new.apply(FILE).unwrap();
    assert!(parsed(&edited).notes().is_empty());
    assert!(!edited.contains("# the laptop") && edited.contains("# the phone"), "{edited}");
}

#[test]
fn many_peers_change_at_once() {
    let (start, end) = FILE.split_at(FILE.find("\n[port.web1]").unwrap());
    let alice = FILE.find("\n# her laptop").unwrap();
    let bob = FILE.find("\n[wireguard.road.peer.bob]").unwrap();
    let change = |peers: &[(&str, PeerChange)]| Edit::ChangeWireguard {
        adapter: "road".to_owned(),
        keys: table(json!({"listen": "[::]:7"})),
        peers: peers.iter().map(|(name, change)| ((*name).to_owned(), change.clone())).collect(),
    };
    let edit = change(&[
        ("new", PeerChange::Add(table(json!({"public-key": ALICE})))),
        ("alice", PeerChange::Remove),
        ("newer", PeerChange::Add(table(json!({"public-key": BASE})))),
        ("bob", PeerChange::Set(table(json!({"allowed-ips": ["10.10.0.202/32"]})))),
    ]);
    let expected = format!(
        "{}{}\n[wireguard.road.peer.new]\npublic-key = \"{ALICE}\"\n\
         \n[wireguard.road.peer.newer]\npublic-key = \"{BASE}\"\n{end}",
        &FILE[..alice].replace("\nvlan = \"office\"", "\nlisten = \"[::]:7\"\nvlan = \"office\""),
        &start[bob..].replace("+FG+IK08=\"\n", "+FG+IK08=\"\nallowed-ips = [\"10.10.0.202/32\"]\n"),
    );
    let edited = edit.apply(FILE).unwrap();
    assert_eq!(parsed(&edited), parsed(&expected));
    assert_eq!(edited.lines().filter(|line| line.starts_with("[wireguard")).count(), 4);
    refused(
        FILE,
        &change(&[("bob", PeerChange::Add(table(json!({"public-key": BASE}))))]),
        "exists: wireguard road peer bob exists already\nhelp: choose another name, or change the one that is there",
    );
    refused(
        FILE,
        &change(&[("carol", PeerChange::Remove)]),
        "not-found: there is no wireguard road peer carol\nhelp: ",
    );
}

#[test]
fn edits_that_cannot_be_are_refused() {
    refused(
        FILE,
        &Edit::RemoveVlan { name: "office".to_owned() },
        "in-use: vlan office is in use by wireguard road\nhelp: remove or change these first",
    );
    refused(
        FILE,
        &set_peer("alcie", json!({})),
        "not-found: there is no wireguard road peer alcie\nhelp: did you mean alice?",
    );
    refused(
        FILE,
        &Edit::RemoveWireguardPeer { adapter: "raod".to_owned(), name: "alice".to_owned() },
        "not-found: there is no wireguard raod\nhelp: did you mean road?",
    );
    refused(
        FILE,
        &add_peer("bob", json!({"public-key": BASE})),
        "exists: wireguard road peer bob exists already\nhelp: choose another name, or change the one that is there",
    );
    refused(
        FILE,
        &add("a-name-of-16-chr", json!({})),
        "invalid-request: the WireGuard adapter name \"a-name-of-16-chr\" has 16 characters; 15 are allowed\n\
         help: a name has up to 15 letters, digits, `-` and `_`",
    );
    // A name in a table of peers is a name, not more TOML.
    let hostile = add(
        "lab",
        json!({"vlan": 1, "address": ["10.0.0.1/24"], "private-key-file": "/k", "listen": "[::]:2",
               "peer": {"x]\n[port.y": {"public-key": BOB}}}),
    );
    let edited = hostile.apply(FILE).unwrap();
    let errors = Config::parse(&edited).unwrap_err();
    assert!(errors.plain().contains("the peer name"), "{}", errors.plain());
}

#[test]
fn a_thousand_peers_change_at_once_and_each_keeps_its_comments() {
    let key = |number: usize| {
        let mut fill = |out: &mut [u8]| {
            out.fill(7);
            out[8..16].copy_from_slice(&(number as u64).to_le_bytes());
        };
        weft_vpn::PrivateKey::generate(&mut fill).public().to_string()
    };
    let text = |keepalive: &str| {
        let mut text = FILE[..FILE.find("\n# her laptop").unwrap()].to_owned();
        for number in 0..1000 {
            let (a, b) = (number / 250, number % 250);
            text += &format!(
                "\n# number {number}\n[wireguard.road.peer.p{number}] # here\npublic-key = \"{}\" # its own\n\
                 allowed-ips = [\"10.11.{a}.{b}/32\"]\n{keepalive}",
                key(number)
            );
        }
        text
    };
    let before = text("");
    let peers = (0..1000).map(|number| {
        let keys = table(json!({"persistent-keepalive": 25}));
        (format!("p{number}"), PeerChange::Set(keys))
    });
    let edit = Edit::ChangeWireguard {
        adapter: "road".to_owned(),
        keys: table(json!({})),
        peers: peers.collect(),
    };
    let edited = edit.apply(&before).unwrap();
    assert_eq!(parsed(&edited), parsed(&text("persistent-keepalive = 25\n")));
    for line in before.lines() {
        assert!(edited.contains(line), "{line}");
    }
    // All but one go at once, each with its comments.
    let peers = (0..1000).filter(|number| *number != 500);
    let peers = peers.map(|number| (format!("p{number}"), PeerChange::Remove)).collect();
    let edit = Edit::ChangeWireguard { adapter: "road".to_owned(), keys: table(json!({})), peers };
    let one = edit.apply(&before).unwrap();
    let at = |what: &str| before.find(what).unwrap();
    let expected =
        [&before[..at("\n# number 0\n")], &before[at("\n# number 500\n")..at("\n# number 501\n")]];
    assert_eq!(one, expected.concat());
}

#[test]
fn tables_that_do_not_stand_by_themselves_change_with_the_others() {
    let start = &FILE[..FILE.find("\n# her laptop").unwrap()];
    let text = format!(
        "{start}\n[wireguard.road.peer]\nalice.public-key = \"{ALICE}\"\n\
         bob = {{ public-key = \"{BASE}\" }}\n"
    );
    let set = || PeerChange::Set(table(json!({"persistent-keepalive": 25})));
    let edit = Edit::ChangeWireguard {
        adapter: "road".to_owned(),
        keys: table(json!({})),
        peers: vec![("alice".to_owned(), set()), ("bob".to_owned(), set())],
    };
    let after = parsed(&edit.apply(&text).unwrap());
    for peer in after.wireguard["road"].peers.values() {
        assert_eq!(peer.persistent_keepalive.map(std::num::NonZero::get), Some(25));
    }
}
