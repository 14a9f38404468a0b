//! The forwarding database: learning, moves, ageing, static entries, limits, flushing.
//!
//! ```text
//!   one ── stream, access 10 ┐
//!   two ── stream, access 10 ┼ switch, mac-ageing 2s
//!   tri ── stream, access 10 ┘   (and monitor)
//! ```

use weft_netns::{
    Bed, Kind, Lab, Member,
    frame::{BROADCAST, DOT1Q, Frame, mac, mac_text},
    until,
};

const fn member(name: &'static str, keys: &'static str) -> Member {
    Member { name, keys, on_wire: &[], at_monitor: &[(DOT1Q, 10)] }
}

const MEMBERS: [Member; 3] = [
    member("one", "vlan = { access = 10 }"),
    member("two", "vlan = { access = 10 }"),
    member("tri", "vlan = { access = 10 }\nmac-limit = 4"),
];

fn ports(delivery: &weft_netns::Delivery) -> Vec<&'static str> {
    delivery.keys().copied().collect()
}

fn hello(last: u8) -> Vec<u8> {
    Frame::new(mac(last), BROADCAST).text("hello").bytes()
}

fn to(last: u8) -> Vec<u8> {
    Frame::new(mac(0xa0), mac(last)).text("to").bytes()
}

fn unicast_goes_where_its_owner_was_last_heard(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Stream, "", &MEMBERS);
    let ctl = bed.daemon.ctl();
    // Unknown: everywhere.
    assert_eq!(ports(&bed.offer("one", &to(1))), ["monitor", "tri", "two"]);
    bed.offer("two", &hello(1));
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), Some(("two".into(), "dynamic".into())));
    assert_eq!(ports(&bed.offer("one", &to(1))), ["two"]);
    // Moved: the very next frame goes there.
    bed.offer("tri", &hello(1));
    assert_eq!(ports(&bed.offer("one", &to(1))), ["tri"]);
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), Some(("tri".into(), "dynamic".into())));
    // A VLAN of its own: the same address elsewhere is somebody else.
    bed.offer("monitor", &Frame::new(mac(1), BROADCAST).tag(20).text("hello").bytes());
    assert_eq!(ctl.fdb(20, &mac_text(mac(1))), Some(("monitor".into(), "dynamic".into())));
    assert_eq!(ports(&bed.offer("one", &to(1))), ["tri"]);
    // The multicast and the unknown stay everywhere.
    assert_eq!(
        ports(&bed.offer("one", &Frame::new(mac(0xa0), [1, 0, 0x5e, 0, 0, 5]).bytes())),
        ["monitor", "tri", "two"]
    );
}

fn entries_age_and_talkers_do_not(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Stream, "[switch.main]\nmac-ageing = \"2s\"\n", &MEMBERS);
    let ctl = bed.daemon.ctl();
    bed.wire("one").send(&hello(1));
    bed.offer("two", &hello(2));
    until("the silent one is forgotten", || {
        bed.wire("two").send(&hello(2));
        ctl.fdb(10, &mac_text(mac(1))).is_none()
    });
    assert_eq!(ctl.fdb(10, &mac_text(mac(2))), Some(("two".into(), "dynamic".into())));
    bed.settle("two");
    assert_eq!(ports(&bed.offer("tri", &to(1))), ["monitor", "one", "two"]);
    assert_eq!(ports(&bed.offer("tri", &to(2))), ["two"]);
}

fn static_entries_stand_still(workers: usize) {
    let lab = Lab::with_workers(workers);
    let preamble = "[switch.main]\nmac-ageing = \"1s\"\n\
                    [[fdb]]\nmac = \"02:00:00:00:00:01\"\nvlan = 10\nport = \"two\"\n";
    let mut bed = Bed::start(&lab, Kind::Stream, preamble, &MEMBERS);
    let ctl = bed.daemon.ctl();
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), Some(("two".into(), "static".into())));
    assert_eq!(ports(&bed.offer("one", &to(1))), ["two"]);
    // A claim elsewhere is dropped and moves nothing.
    assert!(bed.offer("tri", &hello(1)).is_empty());
    assert_eq!(ctl.drops("tri", "rx", "static-elsewhere"), 1);
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), Some(("two".into(), "static".into())));
    // It is neither flushed nor aged.
    bed.offer("one", &hello(9));
    until("a dynamic entry ages", || ctl.fdb(10, &mac_text(mac(9))).is_none());
    ctl.run("fdb flush");
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), Some(("two".into(), "static".into())));
    // Added and removed live, written to the file.
    ctl.run("fdb add 02:00:00:00:00:05 --vlan 10 --port tri");
    assert!(bed.daemon.config().contains("02:00:00:00:00:05"));
    assert_eq!(ports(&bed.offer("one", &to(5))), ["tri"]);
    ctl.run("fdb remove 02:00:00:00:00:05 --vlan 10");
    assert!(!bed.daemon.config().contains("02:00:00:00:00:05"));
    assert_eq!(ports(&bed.offer("one", &to(5))), ["monitor", "tri", "two"]);
    // A static entry takes an address away from where it was learned.
    bed.offer("tri", &hello(6));
    ctl.run("fdb add 02:00:00:00:00:06 --vlan 10 --port two");
    assert_eq!(ports(&bed.offer("one", &to(6))), ["two"]);
}

fn a_port_keeps_its_youngest_addresses(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Stream, "", &MEMBERS);
    let ctl = bed.daemon.ctl();
    bed.offer("one", &hello(0x50));
    for last in 1..=10 {
        // Dealt with before the list is taken, which may otherwise show who goes beside who comes.
        bed.offer("tri", &hello(last));
        let entries = ctl.json("fdb list --port tri");
        assert!(entries.as_array().unwrap().len() <= 4, "{entries}");
    }
    bed.wire("two").send(&hello(0x51));
    until("the last is learned", || ctl.fdb(10, &mac_text(mac(10))).is_some());
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), None);
    // Others are not touched by it.
    assert_eq!(ctl.fdb(10, &mac_text(mac(0x50))), Some(("one".into(), "dynamic".into())));
}

fn flushing_forgets_what_is_asked_for(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Stream, "[vlan.office]\nid = 10\n", &MEMBERS);
    let ctl = bed.daemon.ctl();
    bed.offer("one", &hello(1));
    bed.offer("two", &hello(2));
    bed.offer("monitor", &Frame::new(mac(3), BROADCAST).tag(20).text("hello").bytes());
    let flushed = ctl.json("fdb flush --port one");
    assert!(flushed["flushed"].as_u64().unwrap() >= 1, "{flushed}");
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), None);
    assert!(ctl.fdb(10, &mac_text(mac(2))).is_some());
    ctl.run("fdb flush --vlan office");
    assert_eq!(ctl.fdb(10, &mac_text(mac(2))), None);
    assert!(ctl.fdb(20, &mac_text(mac(3))).is_some());
    ctl.run("fdb flush");
    assert_eq!(ctl.json("fdb list").as_array().unwrap().len(), 0);
    assert_eq!(ports(&bed.offer("one", &to(2))), ["monitor", "tri", "two"]);
}

fn a_port_that_leaves_a_vlan_leaves_nothing_there(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Stream, "", &MEMBERS);
    let ctl = bed.daemon.ctl();
    let tagged = |last, vid| Frame::new(mac(last), BROADCAST).tag(vid).text("hello").bytes();
    bed.offer("one", &hello(1));
    bed.offer("two", &hello(2));
    for vid in [10, 20] {
        bed.offer("monitor", &tagged(3, vid));
    }
    ctl.run("port set one --access 30");
    assert_eq!(ctl.fdb(10, &mac_text(mac(1))), None);
    ctl.run("port set monitor --trunk 10");
    assert_eq!(ctl.fdb(20, &mac_text(mac(3))), None);
    // What is still carried is still known.
    assert_eq!(ctl.fdb(10, &mac_text(mac(2))), Some(("two".into(), "dynamic".into())));
    assert_eq!(ctl.fdb(10, &mac_text(mac(3))), Some(("monitor".into(), "dynamic".into())));
    ctl.run("port set one --access 10");
    assert_eq!(ports(&bed.offer("two", &to(1))), ["monitor", "one", "tri"]);
}

weft_netns::each_worker_count!(
    unicast_goes_where_its_owner_was_last_heard,
    entries_age_and_talkers_do_not,
    static_entries_stand_still,
    a_port_keeps_its_youngest_addresses,
    flushing_forgets_what_is_asked_for,
    a_port_that_leaves_a_vlan_leaves_nothing_there,
);
