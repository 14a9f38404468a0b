//! What a claim changed is undone, on the device that it was made on, also by a daemon that did not make it.

use std::{mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::fs::inotify;

use super::lab::{
    Lab, add_filter, clsact_count, filters, in_namespace, ip, is_up, link, snapshot, tc, until,
};
use crate::device::Use;

/// How many filters `tc` shows with a body at the way in.
fn drops(device: &str) -> usize {
    filters(device, "ingress")
        .as_array()
        .unwrap()
        .iter()
        .filter(|filter| !filter["options"].is_null())
        .count()
}

#[test]
fn a_release_puts_everything_back() {
    in_namespace(a_release_puts_everything_back, async |lab: Lab| {
        let devices = lab.devices().await;
        for (device, preparation) in [("low", None), ("high", Some("link set high up"))] {
            lab.pair(device, &format!("g{device}"));
            if let Some(command) = preparation {
                ip(command);
                until("the link-local address is settled", || {
                    !snapshot(device)["addresses"][0].is_null()
                })
                .await;
            }
            let before = snapshot(device);
            devices.claim(device, Use::Netdev).await.unwrap();
            assert!(is_up(device));
            assert_eq!((clsact_count(device), drops(device)), (1, 1));
            assert_eq!(lab.records(), [format!("{device}.json")]);
            devices.release(device).await.unwrap();
            assert_eq!(snapshot(device), before, "{device}");
            assert!(lab.records().is_empty());
        }
    });
}

#[test]
fn filters_of_others_stay() {
    in_namespace(filters_of_others_stay, async |lab: Lab| {
        let devices = lab.devices().await;
        lab.pair("before", "g0");
        tc("qdisc add dev before clsact");
        add_filter("before", "ingress", "1", 0);
        add_filter("before", "egress", "3", 0);
        let theirs = snapshot("before");
        devices.claim("before", Use::Netdev).await.unwrap();
        assert_eq!(drops("before"), 2);
        devices.release("before").await.unwrap();
        assert_eq!(snapshot("before"), theirs);

        // A qdisc that is ours, and a filter that someone put into it since.
        for hook in ["ingress", "egress"] {
            let device = format!("{hook}0");
            lab.pair(&device, &format!("g{hook}"));
            devices.claim(&device, Use::Netdev).await.unwrap();
            add_filter(&device, hook, "9", 0);
            devices.release(&device).await.unwrap();
            assert_eq!(clsact_count(&device), 1);
            let left = filters(&device, hook);
            assert!(left.as_array().unwrap().iter().all(|filter| filter["pref"] == 9), "{left}");
            assert!(!left.as_array().unwrap().is_empty());
        }
    });
}

#[test]
fn an_ingress_qdisc_of_others_serves_as_well() {
    in_namespace(an_ingress_qdisc_of_others_serves_as_well, async |lab: Lab| {
        lab.pair("t0", "g0");
        tc("qdisc add dev t0 ingress");
        let before = snapshot("t0");
        let devices = lab.devices().await;
        devices.claim("t0", Use::Netdev).await.unwrap();
        assert_eq!(drops("t0"), 1);
        devices.release("t0").await.unwrap();
        assert_eq!(snapshot("t0"), before);
    });
}

#[test]
fn a_killed_daemons_claim_stays_closed_until_the_next_one_undoes_it() {
    in_namespace(
        a_killed_daemons_claim_stays_closed_until_the_next_one_undoes_it,
        async |lab: Lab| {
            for device in ["kept", "gone"] {
                lab.pair(device, &format!("g{device}"));
                ip(&format!("link set {device} up"));
                until("the link-local address is settled", || {
                    !snapshot(device)["addresses"][0].is_null()
                })
                .await;
            }
            let (kept, gone) = (snapshot("kept"), snapshot("gone"));
            let killed = lab.devices().await;
            killed.claim("kept", Use::Netdev).await.unwrap();
            killed.claim("gone", Use::Netdev).await.unwrap();
            let claimed = snapshot("kept");
            drop(killed);
            assert_eq!(snapshot("kept"), claimed, "the drop outlives the daemon");

            let next = lab.devices().await;
            let troubles = next.undo_stale(&["kept"]).await;
            assert!(troubles.is_empty(), "{troubles:?}");
            assert_eq!(snapshot("gone"), gone);
            assert_eq!(snapshot("kept"), claimed);
            assert_eq!(lab.records(), ["kept.json"]);

            next.claim("kept", Use::Netdev).await.unwrap();
            assert_eq!(snapshot("kept"), claimed, "the same claim goes on");
            next.release("kept").await.unwrap();
            assert_eq!(snapshot("kept"), kept, "undone to what it was before the first claim");
            assert!(lab.records().is_empty());
        },
    );
}

#[test]
fn another_device_of_the_same_name_is_let_be() {
    in_namespace(another_device_of_the_same_name_is_let_be, async |lab: Lab| {
        lab.pair("t0", "g0");
        lab.devices().await.claim("t0", Use::Netdev).await.unwrap();
        let index = link("t0")["ifindex"].clone();

        // Its successor looks as if claimed, even has its index, and is its operator's own work.
        ip("link del t0");
        ip(&format!("link add t0 index {index} type veth peer name g0"));
        ip("link set t0 addrgenmode none up");
        tc("qdisc add dev t0 clsact");
        add_filter("t0", "ingress", "1", 2);
        ip("link set g0 up");
        until("the carrier is there", || link("t0")["operstate"] == "UP").await;
        let successor = snapshot("t0");

        let next = lab.devices().await;
        let troubles = next.undo_stale(&[]).await;
        assert!(troubles.is_empty(), "{troubles:?}");
        assert_eq!(snapshot("t0"), successor);
        assert!(lab.records().is_empty());
    });
}

#[test]
fn a_device_that_came_back_is_claimed_anew() {
    in_namespace(a_device_that_came_back_is_claimed_anew, async |lab: Lab| {
        let devices = lab.devices().await;
        lab.pair("t0", "g0");
        ip("link set t0 up");
        devices.claim("t0", Use::Netdev).await.unwrap();
        ip("link del t0");
        lab.pair("t0", "g0");
        let before = snapshot("t0");
        devices.claim("t0", Use::Netdev).await.unwrap();
        assert_eq!(drops("t0"), 1);
        devices.release("t0").await.unwrap();
        assert_eq!(snapshot("t0"), before);
    });
}

#[test]
fn a_renamed_device_is_still_the_one() {
    in_namespace(a_renamed_device_is_still_the_one, async |lab: Lab| {
        let devices = lab.devices().await;
        lab.pair("t0", "g0");
        devices.claim("t0", Use::Netdev).await.unwrap();
        ip("link set t0 name t1");
        devices.claim("t1", Use::Netdev).await.unwrap();
        assert_eq!(lab.records(), ["t1.json"]);
        ip("link set t1 name t2");
        devices.release("t1").await.unwrap();
        assert_eq!((clsact_count("t2"), is_up("t2")), (0, false));
        assert_eq!(link("t2")["inet6_addr_gen_mode"], "eui64");
    });
}

#[test]
fn a_changed_mac_address_does_not_hide_the_claim() {
    in_namespace(a_changed_mac_address_does_not_hide_the_claim, async |lab: Lab| {
        lab.pair("t0", "g0");
        lab.devices().await.claim("t0", Use::Netdev).await.unwrap();
        ip("link set t0 address 52:54:00:00:00:07");
        let troubles = lab.devices().await.undo_stale(&[]).await;
        assert!(troubles.is_empty(), "{troubles:?}");
        assert_eq!(clsact_count("t0"), 0);
        assert_eq!(link("t0")["inet6_addr_gen_mode"], "eui64");
    });
}

#[test]
fn a_tap_is_set_up_with_its_mtu_and_its_addresses_are_its_own() {
    in_namespace(a_tap_is_set_up_with_its_mtu_and_its_addresses_are_its_own, async |lab: Lab| {
        ip("tuntap add weft0 mode tap");
        ip("address add 10.0.0.1/24 dev weft0");
        let before = snapshot("weft0");
        let devices = lab.devices().await;
        let device = devices.claim("weft0", Use::Tap { mtu: Some(9000) }).await.unwrap();
        assert_eq!((device.up, device.mtu, device.running), (true, 9000, false));
        assert_eq!(
            (clsact_count("weft0"), &link("weft0")["inet6_addr_gen_mode"]),
            (0, &"eui64".into())
        );
        devices.release("weft0").await.unwrap();
        assert_eq!(snapshot("weft0"), before);
    });
}

#[test]
fn a_tap_gets_another_mtu_and_its_own_again() {
    in_namespace(a_tap_gets_another_mtu_and_its_own_again, async |lab: Lab| {
        ip("tuntap add weft0 mode tap");
        let before = snapshot("weft0");
        let devices = lab.devices().await;
        for (mtu, kernel_mtu) in
            [(None, 1500), (Some(9000), 9000), (Some(1400), 1400), (None, 1500), (Some(1400), 1400)]
        {
            let device = devices.claim("weft0", Use::Tap { mtu }).await.unwrap();
            assert_eq!((device.mtu, device.kernel_mtu), (kernel_mtu, kernel_mtu), "{mtu:?}");
            assert_eq!(link("weft0")["mtu"], kernel_mtu, "{mtu:?}");
        }
        // One that somebody else has set is left alone.
        ip("link set weft0 mtu 1300");
        assert_eq!(devices.claim("weft0", Use::Tap { mtu: None }).await.unwrap().mtu, 1300);
        ip("link set weft0 mtu 1400");
        devices.release("weft0").await.unwrap();
        assert_eq!(snapshot("weft0"), before);
    });
}

#[test]
fn a_device_that_becomes_another_sort_of_port_is_undone_first() {
    in_namespace(a_device_that_becomes_another_sort_of_port_is_undone_first, async |lab: Lab| {
        ip("tuntap add weft0 mode tap");
        lab.devices().await.claim("weft0", Use::Netdev).await.unwrap();
        let next = lab.devices().await;
        let device = next.claim("weft0", Use::Tap { mtu: None }).await.unwrap();
        assert!(device.up);
        assert_eq!(
            (clsact_count("weft0"), &link("weft0")["inet6_addr_gen_mode"]),
            (0, &"eui64".into())
        );
    });
}

#[test]
fn a_device_has_room_for_two_tags_while_it_is_a_port() {
    in_namespace(a_device_has_room_for_two_tags_while_it_is_a_port, async |lab: Lab| {
        lab.pair("t0", "g0");
        let before = snapshot("t0");
        let killed = lab.devices().await;
        for _ in 0..2 {
            let device = killed.claim("t0", Use::Netdev).await.unwrap();
            assert_eq!((device.mtu, device.kernel_mtu), (1500, 1508));
        }
        assert_eq!(link("t0")["mtu"], 1508);
        drop(killed);
        let next = lab.devices().await;
        let device = next.claim("t0", Use::Netdev).await.unwrap();
        assert_eq!((device.mtu, device.kernel_mtu), (1500, 1508), "not once more");
        next.release("t0").await.unwrap();
        assert_eq!(snapshot("t0"), before);
    });
}

#[test]
fn room_for_tags_follows_whoever_sets_the_mtu() {
    in_namespace(room_for_tags_follows_whoever_sets_the_mtu, async |lab: Lab| {
        lab.pair("t0", "g0");
        let devices = lab.devices().await;
        let index = devices.claim("t0", Use::Netdev).await.unwrap().index;
        // The MTU that is set, what is the port's of it, and what the device has then.
        for (set, mtu, kernel_mtu) in [
            (9000, 9000, 9008),
            (1400, 1400, 1408),
            (1500, 1500, 1508),
            // What it was before is somebody's word that there is to be no room.
            (1500, 1500, 1500),
            (1508, 1500, 1508),
            (65535, 65535, 65535),
            (1275, 1275, 1279),
            (1279, 1275, 1279),
            (1280, 1280, 1288),
        ] {
            ip(&format!("link set t0 mtu {set}"));
            let device = devices.follow(index).await.unwrap().unwrap();
            assert_eq!((device.mtu, device.kernel_mtu), (mtu, kernel_mtu), "set to {set}");
            assert_eq!(link("t0")["mtu"], kernel_mtu, "set to {set}");
        }
        devices.release("t0").await.unwrap();
        assert_eq!(link("t0")["mtu"], 1280);
        // Who has set it since has the last word.
        devices.claim("t0", Use::Netdev).await.unwrap();
        ip("link set t0 mtu 1700");
        devices.release("t0").await.unwrap();
        assert_eq!(link("t0")["mtu"], 1700);
        assert_eq!(devices.follow(index).await.unwrap(), None, "it is no port any more");
    });
}

#[test]
fn a_device_that_takes_no_larger_mtu_keeps_its_own() {
    in_namespace(a_device_that_takes_no_larger_mtu_keeps_its_own, async |lab: Lab| {
        lab.pair("t0", "g0");
        ip("link set t0 mtu 65535");
        let before = snapshot("t0");
        let devices = lab.devices().await;
        let device = devices.claim("t0", Use::Netdev).await.unwrap();
        assert_eq!((device.mtu, device.kernel_mtu, device.up), (65535, 65535, true));
        devices.release("t0").await.unwrap();
        assert_eq!(snapshot("t0"), before);
    });
}

/// How often a file is read from here on.
struct Reads(OwnedFd);

impl Reads {
    fn of(file: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        // Without the end of each, the kernel would tell two beginnings as one.
        let events = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE;
        inotify::add_watch(&watch, file, events).unwrap();
        Self(watch)
    }

    fn count(&self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let is_open =
            std::iter::from_fn(|| Some(events.next().ok()?.events() == inotify::ReadFlags::OPEN));
        is_open.filter(|&is_open| is_open).count()
    }
}

#[test]
fn a_claim_reads_each_record_once() {
    in_namespace(a_claim_reads_each_record_once, async |lab: Lab| {
        let devices = lab.devices().await;
        for device in ["t0", "t1"] {
            lab.pair(device, &format!("g{device}"));
        }
        devices.claim("t0", Use::Netdev).await.unwrap();
        let reads = Reads::of(&lab.state().join("devices/t0.json"));
        devices.claim("t1", Use::Netdev).await.unwrap();
        assert_eq!(reads.count(), 1, "by the claim of another device");
        devices.claim("t0", Use::Netdev).await.unwrap();
        assert_eq!(reads.count(), 1, "by its own");
    });
}

#[test]
fn an_unreadable_record_is_told_and_stops_nobody() {
    in_namespace(an_unreadable_record_is_told_and_stops_nobody, async |lab: Lab| {
        let devices = lab.devices().await;
        lab.pair("t0", "g0");
        let torn = lab.state().join("devices/t0.json");
        std::fs::write(&torn, "{\"device\": \"t0\", \"ind").unwrap();
        let troubles = devices.undo_stale(&[]).await;
        assert!(
            matches!(&troubles[..], [trouble] if trouble.to_string().contains("t0.json")),
            "{troubles:?}"
        );
        devices.claim("t0", Use::Netdev).await.unwrap();
        devices.release("t0").await.unwrap();
        assert!(lab.records().is_empty());
    });
}
