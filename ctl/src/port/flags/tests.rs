use clap::Parser;
use serde_json::json;

use super::*;

#[derive(Parser)]
struct New {
    #[command(flatten)]
    kind: Typed,
    #[command(flatten)]
    flags: PortFlags,
}

#[derive(Parser)]
struct Change {
    #[command(flatten)]
    flags: PortFlags,
}

fn new(line: &str) -> Result<Value, String> {
    let new = New::try_parse_from(std::iter::once("x").chain(line.split_whitespace()))
        .map_err(|error| error.to_string())?;
    new.flags.new_port(new.kind).map(Value::Object).map_err(|failure| failure.body.message)
}

fn merged(line: &str, old: Value) -> Result<Value, String> {
    let change = Change::try_parse_from(std::iter::once("x").chain(line.split_whitespace()))
        .map_err(|error| error.to_string())?;
    let Value::Object(old) = old else { panic!("a table") };
    change.flags.vlan.merged("p", old).map(Value::Object).map_err(|failure| failure.body.message)
}

#[test]
fn options_become_the_keys_of_the_file() {
    for (line, table) in [
        (
            "--type netdev --device tap0 --access office",
            json!({"type": "netdev", "device": "tap0", "vlan": {"access": "office"}}),
        ),
        (
            "--type netdev --device eth1 --io xdp --trunk all",
            json!({"type": "netdev", "device": "eth1", "io": "xdp", "vlan": {"trunk": "all"}}),
        ),
        (
            "--type tap --device weft0 --queues 2 --trunk 10,20,100-199,office --native 10 --native-tagged --mtu 9000",
            json!({"type": "tap", "device": "weft0", "queues": 2, "mtu": 9000,
                "vlan": {"trunk": [10, 20, "100-199", "office"], "native": 10, "native-tagged": true}}),
        ),
        (
            "--type stream --socket /s --mode client --owner u --group g --socket-mode 660 --trunk all",
            json!({"type": "stream", "socket": "/s", "mode": "client", "owner": "u", "group": "g",
                "socket-mode": "0660", "vlan": {"trunk": "all"}}),
        ),
        (
            "--type vhost-user --socket /s --owner u --queues 2 --access 20",
            json!({"type": "vhost-user", "socket": "/s", "owner": "u", "queues": 2, "vlan": {"access": 20}}),
        ),
        (
            "--type netdev --device e --dot1q-tunnel 300 --customer 10,12 --switch lab --mac-limit 64 --isolated \
             --flood-limit 1000 --disabled",
            json!({"type": "netdev", "device": "e", "switch": "lab", "mac-limit": 64, "isolated": true,
                "flood-limit": "1000/s", "enabled": false, "vlan": {"dot1q-tunnel": 300, "customer": [10, 12]}}),
        ),
        (
            "--type netdev --device e --trunk 300 --ethertype 802.1ad --mac 52:54:00:00:00:0A,52:54:00:00:00:0b \
             --ip 10.0.0.5 --ip FD00::5",
            json!({"type": "netdev", "device": "e", "vlan": {"trunk": [300], "ethertype": "802.1ad"},
                "macs": ["52:54:00:00:00:0a", "52:54:00:00:00:0b"], "ips": ["10.0.0.5", "fd00::5"]}),
        ),
    ] {
        assert_eq!(new(line), Ok(table), "{line}");
    }
}

#[test]
fn options_that_make_no_port_are_refused() {
    for line in [
        "--device tap0 --access 10",
        "--type netdev --access 10",
        "--type netdev --socket /s --access 10",
        "--type stream --device d --access 10",
        "--type stream --access 10",
        "--type vhost-user --access 10",
        "--type vhost-user --device d --access 10",
        "--type tap --access 10",
        "--type netdev --device d",
        "--type netdev --device d --access 10 --trunk 20",
        "--type netdev --device d --access 10 --native 20",
        "--type netdev --device d --native 20",
        "--type netdev --device d --trunk 20 --customer 10",
        "--type netdev --device d --access 0",
        "--type netdev --device d --access 10 --mac 52:54:00",
        "--type netdev --device d --access 10 --ip 10.0.0.0/24",
        "--type netdev --device d --access 10 --flood-limit 0",
        "--type netdev --device d --access 10 --socket-mode 999",
        "--type netdev --device d --access 10 --enabled --disabled",
        "--type netdev --device d --socket /s --access 10",
        "--type vde --device d --access 10",
    ] {
        assert!(new(line).is_err(), "{line}");
    }
}

#[test]
fn what_is_not_named_stays() {
    let trunk = || json!({"trunk": [10, "office"], "native": 10, "ethertype": "802.1ad"});
    for (line, old, expected) in [
        (
            "--native 20",
            trunk(),
            json!({"trunk": [10, "office"], "native": 20, "ethertype": "802.1ad"}),
        ),
        ("--trunk all", trunk(), json!({"trunk": "all", "native": 10, "ethertype": "802.1ad"})),
        (
            "--native-tagged=false",
            trunk(),
            json!({"trunk": [10, "office"], "native": 10, "ethertype": "802.1ad",
            "native-tagged": false}),
        ),
        ("--access 30", trunk(), json!({"access": 30})),
        ("--trunk 10", json!({"access": 30}), json!({"trunk": [10]})),
        ("--dot1q-tunnel 300", trunk(), json!({"dot1q-tunnel": 300})),
        (
            "--customer 10",
            json!({"dot1q-tunnel": 300}),
            json!({"dot1q-tunnel": 300, "customer": [10]}),
        ),
        (
            "--dot1q-tunnel 301",
            json!({"dot1q-tunnel": 300, "customer": [10]}),
            json!({"dot1q-tunnel": 301, "customer": [10]}),
        ),
    ] {
        assert_eq!(merged(line, old), Ok(expected), "{line}");
    }
}

#[test]
fn parts_of_another_mode_are_refused() {
    for (line, old) in [
        ("--native 20", json!({"access": 10})),
        ("--customer 20", json!({"access": 10})),
        ("--ethertype 802.1ad", json!({"access": 10})),
        ("--native 20", json!({"dot1q-tunnel": 300})),
    ] {
        assert!(merged(line, old).is_err(), "{line}");
    }
}

#[test]
fn every_key_can_be_unset_in_one_place() {
    for key in PortKey::value_variants() {
        assert!(key.top().is_some() != key.within_vlan().is_some(), "{key:?}");
    }
}
