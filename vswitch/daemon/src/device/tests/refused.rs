//! Which devices are refused, in which words, and that nothing is changed on them.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::lab::{Lab, in_namespace, ip, snapshot, tc};
use crate::device::{Devices, Refusal, Use};

/// What is refused, and the words that the reason has to have.
const TABLE: [(&str, &[&str], &[&str]); 10] = [
    ("lo", &[], &["device lo is the loopback device"]),
    (
        "v4",
        &["ip address add 10.0.0.1/24 dev v4"],
        &["device v4 has the address 10.0.0.1/24", "ip address del 10.0.0.1/24 dev v4"],
    ),
    ("v6", &["ip address add fd00::1/64 dev v6"], &["has the address fd00::1/64"]),
    // A link-local address that an operator gave it is one that he needs.
    ("ll", &["ip address add fe80::1/64 dev ll"], &["has the address fe80::1/64"]),
    (
        "rt",
        &["ip link set rt up", "ip route add 10.7.0.0/16 dev rt"],
        &["device rt is the way of the route 10.7.0.0/16", "ip route del 10.7.0.0/16 dev rt"],
    ),
    // One way of several, in a table of its own.
    (
        "mp",
        &[
            "ip link set mp up",
            "ip link set gmp up",
            "ip route add table 77 default nexthop dev mp nexthop dev gmp",
        ],
        &["is the way of the route default"],
    ),
    (
        "r6",
        &["ip link set r6 up", "ip -6 route add 2001:db8::/32 dev r6"],
        &["is the way of the route 2001:db8::/32"],
    ),
    (
        "bp",
        &["ip link add br0 type bridge", "ip link set bp master br0"],
        &["device bp is a port of the bridge br0", "ip link set bp nomaster"],
    ),
    (
        "lower",
        &["ip link add upper link lower type macvlan"],
        &["device lower carries the macvlan device upper", "ip link del upper"],
    ),
    (
        "busy",
        &[
            "tc qdisc add dev busy clsact",
            "tc filter add dev busy ingress prio 1 protocol ip u32 match u32 0 0",
        ],
        &["device busy has a u32 filter at ingress priority 1"],
    ),
];

#[test]
fn a_device_that_the_host_uses_is_refused_in_words() {
    in_namespace(a_device_that_the_host_uses_is_refused_in_words, async |lab: Lab| {
        let devices = lab.devices().await;
        for (device, preparation, words) in TABLE {
            if device != "lo" {
                lab.pair(device, &format!("g{device}"));
            }
            for command in preparation {
                match command.split_once(' ').unwrap() {
                    ("ip", arguments) => ip(arguments),
                    (_, arguments) => tc(arguments),
                }
            }
            let before = snapshot(device);
            let refusal = devices.claim(device, Use::Netdev).await.unwrap_err();
            assert!(matches!(refusal, Refusal::Unsuitable { .. }), "{device}: {refusal:?}");
            for word in words {
                assert!(refusal.to_string().contains(word), "{device}: {refusal}");
            }
            assert_eq!(snapshot(device), before, "{device}");
        }
        assert!(lab.records().is_empty(), "{:?}", lab.records());
    });
}

#[test]
fn a_device_is_one_daemons_until_that_lets_go_or_dies() {
    in_namespace(a_device_is_one_daemons_until_that_lets_go_or_dies, async |lab: Lab| {
        lab.pair("t0", "g0");
        let elsewhere = tempfile::tempdir().unwrap();
        let (first, second) = (lab.devices().await, Devices::new(elsewhere.path()).await.unwrap());
        first.claim("t0", Use::Netdev).await.unwrap();
        let claimed = snapshot("t0");
        let refusal = second.claim("t0", Use::Netdev).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Unsuitable { .. }), "{refusal:?}");
        let holder = format!("another weftd, process {},", std::process::id());
        assert!(refusal.to_string().contains(&holder), "{refusal}");
        assert_eq!(snapshot("t0"), claimed);
        // The first one may claim again what it has.
        first.claim("t0", Use::Netdev).await.unwrap();

        first.release("t0").await.unwrap();
        second.claim("t0", Use::Netdev).await.unwrap();
        first.claim("t0", Use::Netdev).await.unwrap_err();
        drop(second);
        first.claim("t0", Use::Netdev).await.unwrap();
    });
}

#[test]
fn a_claim_that_fails_holds_nothing() {
    in_namespace(a_claim_that_fails_holds_nothing, async |lab: Lab| {
        lab.pair("t0", "g0");
        ip("address add 10.0.0.1/24 dev t0");
        let elsewhere = tempfile::tempdir().unwrap();
        let (first, second) = (lab.devices().await, Devices::new(elsewhere.path()).await.unwrap());
        first.claim("t0", Use::Netdev).await.unwrap_err();
        ip("address del 10.0.0.1/24 dev t0");
        second.claim("t0", Use::Netdev).await.unwrap();
    });
}

#[test]
fn a_device_that_carries_no_ethernet_is_refused() {
    in_namespace(a_device_that_carries_no_ethernet_is_refused, async |lab: Lab| {
        ip("tuntap add tun0 mode tun");
        let refusal = lab.devices().await.claim("tun0", Use::Netdev).await.unwrap_err();
        assert_eq!(refusal.to_string(), "device tun0 carries no Ethernet frames");
    });
}

#[test]
fn a_device_that_is_not_there_is_missing() {
    in_namespace(a_device_that_is_not_there_is_missing, async |lab: Lab| {
        let devices = lab.devices().await;
        for usage in [Use::Netdev, Use::Tap { mtu: None }] {
            let refusal = devices.claim("tap0", usage).await.unwrap_err();
            assert!(matches!(&refusal, Refusal::Missing(name) if name == "tap0"), "{refusal:?}");
        }
        assert!(devices.release("tap0").await.is_ok());
    });
}

#[test]
fn a_missing_privilege_is_named_and_nothing_is_left() {
    in_namespace(a_missing_privilege_is_named_and_nothing_is_left, async |lab: Lab| {
        lab.pair("t0", "g0");
        let devices = lab.devices().await;
        let all = capabilities(None).unwrap();
        let mut fewer = all;
        fewer.effective.remove(CapabilitySet::NET_ADMIN);
        // One thread runs all this, so its capabilities are those of every request.
        set_capabilities(None, fewer).unwrap();
        let refusal = devices.claim("t0", Use::Netdev).await.unwrap_err();
        set_capabilities(None, all).unwrap();
        let words = refusal.to_string();
        for word in ["device t0", "Operation not permitted", "CAP_NET_ADMIN"] {
            assert!(words.contains(word), "{words}");
        }
        assert!(lab.records().is_empty(), "{:?}", lab.records());
        devices.claim("t0", Use::Netdev).await.unwrap();
    });
}
