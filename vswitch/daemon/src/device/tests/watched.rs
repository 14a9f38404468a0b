//! What the watch tells, and that an overflow loses no change for good.

use std::{collections::BTreeMap, fs};

use tokio::sync::mpsc::Receiver;

use super::lab::{Lab, in_namespace, ip, until};
use crate::device::{Change, LinkEvent, Use, watch::LinkState};

/// Waits for the next event about a device that a test asks for.
async fn next(events: &mut Receiver<LinkEvent>, wanted: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
    loop {
        let event = events.recv().await.expect("the watch goes on");
        if wanted(&event) {
            return event;
        }
    }
}

#[test]
fn the_watch_tells_what_is_there_and_what_happens() {
    in_namespace(the_watch_tells_what_is_there_and_what_happens, async |lab: Lab| {
        let mut events = lab.devices().await.watch().await.unwrap();
        let first = next(&mut events, |_| true).await;
        assert_eq!(first.name, "lo");
        assert!(matches!(first.change, Change::Added(LinkState { up: true, .. })), "{first:?}");

        ip("link add t0 type veth peer name g0");
        let added = next(&mut events, |event| event.name == "t0").await;
        assert_eq!(added.change, Change::Added(LinkState { up: false, running: false, mtu: 1500 }));
        let index = added.index;
        let mut of_t0 = async || next(&mut events, |event| event.index == index).await.change;

        ip("link set t0 mtu 1400");
        assert_eq!(
            of_t0().await,
            Change::State(LinkState { up: false, running: false, mtu: 1400 })
        );
        ip("link set t0 name t1");
        assert_eq!(of_t0().await, Change::Renamed { from: "t0".into() });
        ip("link set t1 up");
        ip("link set g0 up");
        while of_t0().await != Change::State(LinkState { up: true, running: true, mtu: 1400 }) {}

        // A port that leaves a bridge is told of by a DELLINK of the bridge family.
        ip("link add br0 type bridge");
        ip("link set t1 master br0");
        ip("link set t1 nomaster");
        ip("link set t1 mtu 1300");
        assert_eq!(of_t0().await, Change::State(LinkState { up: true, running: true, mtu: 1300 }));

        ip("link del t1");
        loop {
            match of_t0().await {
                Change::State(_) => {}
                other => return assert_eq!(other, Change::Removed),
            }
        }
    });
}

#[test]
fn a_claimed_device_that_the_host_begins_to_use_is_told_of() {
    in_namespace(a_claimed_device_that_the_host_begins_to_use_is_told_of, async |lab: Lab| {
        lab.pair("t0", "g0");
        lab.pair("free", "gfree");
        ip("link set free up");
        ip("link add br0 type bridge");
        let devices = lab.devices().await;
        let index = devices.claim("t0", Use::Netdev).await.unwrap().index;
        let mut events = devices.watch().await.unwrap();
        while next(&mut events, |event| event.name != "lo").await.name != "t0" {}
        // What is done, in which words it is told, and how it is undone.
        for (done, told, undone) in [
            (
                "address add 10.0.0.1/24 dev t0",
                "has the address 10.0.0.1/24",
                "address flush dev t0",
            ),
            ("address add fd00::1/64 dev t0", "has the address fd00::1/64", "address flush dev t0"),
            ("route add 10.7.0.0/16 dev t0", "the route 10.7.0.0/16", "route del 10.7.0.0/16"),
            (
                "route add 10.8.0.0/16 nexthop dev free nexthop dev t0",
                "the route 10.8.0.0/16",
                "route del 10.8.0.0/16",
            ),
            ("-6 route add fd07::/32 dev t0", "the route fd07::/32", "-6 route del fd07::/32"),
            ("link set t0 master br0", "is a port of the bridge br0", "link set t0 nomaster"),
            ("link add up0 link t0 type macvlan", "carries the macvlan device up0", "link del up0"),
        ] {
            let told =
                |used: &Option<String>| used.as_ref().is_some_and(|used| used.contains(told));
            for (command, is_so) in [(done, true), (undone, false)] {
                ip(command);
                loop {
                    let event = next(&mut events, |event| event.change == Change::Used).await;
                    assert_eq!((event.index, &event.name[..]), (index, "t0"), "{command}");
                    let used = devices.follow(index).await.unwrap().unwrap().used;
                    if (is_so && told(&used)) || (!is_so && used.is_none()) {
                        break;
                    }
                }
            }
        }
        // Of one that is no port nothing of the sort is told.
        ip("address add 10.9.0.1/24 dev free");
        ip("address add 10.0.0.1/24 dev t0");
        let event = next(&mut events, |event| event.change == Change::Used).await;
        assert_eq!(event.index, index);
    });
}

#[test]
fn a_device_that_goes_to_another_namespace_is_moved_not_removed() {
    in_namespace(a_device_that_goes_to_another_namespace_is_moved_not_removed, async |lab: Lab| {
        ip("tuntap add weft0 mode tap");
        let mut events = lab.devices().await.watch().await.unwrap();
        next(&mut events, |event| event.name == "weft0").await;
        let mut elsewhere =
            std::process::Command::new("unshare").args(["--net", "sleep", "60"]).spawn().unwrap();
        let here = fs::read_link("/proc/self/ns/net").unwrap();
        let there = format!("/proc/{}/ns/net", elsewhere.id());
        until("the other namespace exists", || fs::read_link(&there).is_ok_and(|ns| ns != here))
            .await;
        ip(&format!("link set weft0 netns {}", elsewhere.id()));
        let event = next(&mut events, |event| {
            event.name == "weft0" && !matches!(event.change, Change::State(_))
        })
        .await;
        elsewhere.kill().unwrap();
        elsewhere.wait().unwrap();
        assert_eq!(event.change, Change::Moved);
    });
}

/// The notifications that the kernel could not deliver to sockets of this namespace: the last column but one.
fn dropped_notifications() -> u64 {
    let sockets = fs::read_to_string("/proc/self/net/netlink").unwrap();
    sockets
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(8).unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn an_overflow_is_made_good_by_reading_the_table() {
    in_namespace(an_overflow_is_made_good_by_reading_the_table, async |lab: Lab| {
        let mut events = lab.devices().await.watch().await.unwrap();
        let mut known = BTreeMap::new();
        ip("link add old type veth peer name gold");
        while !known.contains_key("old") || !known.contains_key("gold") {
            follow(&mut known, next(&mut events, |_| true).await);
        }

        // Nobody reads: the queue fills, then the socket, then the kernel drops what follows.
        let mut mtu = 1400;
        while dropped_notifications() == 0 {
            for _ in 0..50 {
                mtu = if mtu == 9000 { 1400 } else { mtu + 1 };
                ip(&format!("link set gold mtu {mtu}"));
            }
            tokio::task::yield_now().await;
        }
        ip("link del old");
        ip("link add new type veth peer name gnew");
        ip("link set new mtu 1234");

        let mtus = [("gnew", 1500), ("lo", 65536), ("new", 1234)];
        let expected = BTreeMap::from(mtus.map(|(name, mtu)| (name.to_owned(), mtu)));
        while known != expected {
            follow(&mut known, next(&mut events, |_| true).await);
        }
    });
}

/// Keeps the MTU of each device as the watch tells it.
fn follow(known: &mut BTreeMap<String, u32>, event: LinkEvent) {
    match event.change {
        Change::Added(state) | Change::State(state) => known.insert(event.name, state.mtu),
        Change::Removed => known.remove(&event.name),
        other => panic!("{other:?}"),
    };
}

#[test]
fn the_watch_ends_with_its_receiver() {
    in_namespace(the_watch_ends_with_its_receiver, async |lab: Lab| {
        let sockets = || fs::read_to_string("/proc/self/net/netlink").unwrap().lines().count();
        let devices = lab.devices().await;
        // The socket for requests shows once it has been used.
        devices.claim("none", Use::Netdev).await.unwrap_err();
        let before = sockets();
        let mut events = devices.watch().await.unwrap();
        next(&mut events, |event| event.name == "lo").await;
        assert_eq!(sockets(), before + 2);
        drop(events);
        until("the watch closes its socket", || sockets() == before).await;
    });
}
