//! Every VLAN mode, frames in and frames out: which ports get a frame, with which tags, and why the others do not.
//!
//! ```text
//!   access 10 ── acc10a ┐                      ┌ tunnel ── dot1q-tunnel 300
//!   access 10 ── acc10b ┤                      ├ cust ──── dot1q-tunnel 300, customers 10 and 12
//!   access 20 ── acc20 ─┤                      ├ svc ───── trunk 300, 802.1ad
//!   trunk 10,20 ─ trunk ┼─────── switch ───────┤
//!   … native 10 ─ native┤                      └ monitor ─ trunk of all VLANs
//!   … tagged ─── natag ─┘
//! ```
//!
//! All ports are TAP devices on `netdev` ports, or all are `stream` ports.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_netns::{
    Bed, Kind, Lab, Member,
    frame::{BROADCAST, DOT1AD, DOT1Q, Frame, Mac, mac},
};

const STATIC: Mac = mac(0x77);

const MEMBERS: [Member; 9] = [
    Member {
        name: "acc10a",
        keys: "vlan = { access = 10 }",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "acc10b",
        keys: "vlan = { access = 10 }",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "acc20",
        keys: "vlan = { access = 20 }",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 20)],
    },
    Member {
        name: "trunk",
        keys: "vlan = { trunk = [10, 20] }",
        on_wire: &[(DOT1Q, 10)],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "native",
        keys: "vlan = { trunk = [10, 20], native = 10 }",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "natag",
        keys: "vlan = { trunk = [10, 20], native = 10, native-tagged = true }",
        on_wire: &[(DOT1Q, 10)],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "tunnel",
        keys: "vlan = { dot1q-tunnel = 300 }",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 300)],
    },
    Member {
        name: "cust",
        keys: "vlan = { dot1q-tunnel = 300, customer = [10, 12] }",
        on_wire: &[(DOT1Q, 10)],
        at_monitor: &[(DOT1Q, 300), (DOT1Q, 10)],
    },
    Member {
        name: "svc",
        keys: "vlan = { trunk = [300], ethertype = \"802.1ad\" }",
        on_wire: &[(DOT1AD, 300)],
        at_monitor: &[(DOT1Q, 300)],
    },
];

type Tags = &'static [(u16, u16)];
/// A port where a frame leaves, and with which tags.
type Egress = (&'static str, Tags);

/// A TCI with priority `pcp`, and the drop eligible bit where `dei` is 1.
const fn tci(pcp: u16, dei: u16, vid: u16) -> u16 {
    pcp << 13 | dei << 12 | vid
}

/// Where a frame enters and with which tags, and where it leaves and with which tags.
const FORWARDED: &[(&str, Tags, &[Egress])] = &[
    // Access: untagged and priority-tagged, the priority kept.
    (
        "acc10a",
        &[],
        &[
            ("acc10b", &[]),
            ("trunk", &[(DOT1Q, 10)]),
            ("native", &[]),
            ("natag", &[(DOT1Q, 10)]),
            ("monitor", &[(DOT1Q, 10)]),
        ],
    ),
    (
        "acc10a",
        &[(DOT1Q, tci(5, 1, 0))],
        &[
            ("acc10b", &[]),
            ("trunk", &[(DOT1Q, tci(5, 1, 10))]),
            ("native", &[]),
            ("natag", &[(DOT1Q, tci(5, 1, 10))]),
            ("monitor", &[(DOT1Q, tci(5, 1, 10))]),
        ],
    ),
    (
        "acc20",
        &[],
        &[
            ("trunk", &[(DOT1Q, 20)]),
            ("native", &[(DOT1Q, 20)]),
            ("natag", &[(DOT1Q, 20)]),
            ("monitor", &[(DOT1Q, 20)]),
        ],
    ),
    // Access: a tag that is not the port's is payload, behind a priority tag as well.
    (
        "acc10a",
        &[(DOT1AD, 300)],
        &[
            ("acc10b", &[(DOT1AD, 300)]),
            ("trunk", &[(DOT1Q, 10), (DOT1AD, 300)]),
            ("native", &[(DOT1AD, 300)]),
            ("natag", &[(DOT1Q, 10), (DOT1AD, 300)]),
            ("monitor", &[(DOT1Q, 10), (DOT1AD, 300)]),
        ],
    ),
    (
        "acc10a",
        &[(DOT1Q, tci(3, 0, 0)), (DOT1AD, 300)],
        &[
            ("acc10b", &[(DOT1AD, 300)]),
            ("trunk", &[(DOT1Q, tci(3, 0, 10)), (DOT1AD, 300)]),
            ("native", &[(DOT1AD, 300)]),
            ("natag", &[(DOT1Q, tci(3, 0, 10)), (DOT1AD, 300)]),
            ("monitor", &[(DOT1Q, tci(3, 0, 10)), (DOT1AD, 300)]),
        ],
    ),
    // Trunk: its members.
    (
        "trunk",
        &[(DOT1Q, tci(7, 1, 10))],
        &[
            ("acc10a", &[]),
            ("acc10b", &[]),
            ("native", &[]),
            ("natag", &[(DOT1Q, tci(7, 1, 10))]),
            ("monitor", &[(DOT1Q, tci(7, 1, 10))]),
        ],
    ),
    (
        "trunk",
        &[(DOT1Q, tci(3, 0, 20))],
        &[
            ("acc20", &[]),
            ("native", &[(DOT1Q, tci(3, 0, 20))]),
            ("natag", &[(DOT1Q, tci(3, 0, 20))]),
            ("monitor", &[(DOT1Q, tci(3, 0, 20))]),
        ],
    ),
    // Trunk: a second tag is payload. It would be taken for the VLAN's own where 10 leaves untagged: ambiguous there.
    (
        "trunk",
        &[(DOT1Q, 10), (DOT1Q, 20)],
        &[
            ("acc10a", &[(DOT1Q, 20)]),
            ("acc10b", &[(DOT1Q, 20)]),
            ("natag", &[(DOT1Q, 10), (DOT1Q, 20)]),
            ("monitor", &[(DOT1Q, 10), (DOT1Q, 20)]),
        ],
    ),
    // Native: untagged, priority-tagged and tagged frames are one VLAN.
    (
        "native",
        &[],
        &[
            ("acc10a", &[]),
            ("acc10b", &[]),
            ("trunk", &[(DOT1Q, 10)]),
            ("natag", &[(DOT1Q, 10)]),
            ("monitor", &[(DOT1Q, 10)]),
        ],
    ),
    (
        "native",
        &[(DOT1Q, tci(4, 0, 0))],
        &[
            ("acc10a", &[]),
            ("acc10b", &[]),
            ("trunk", &[(DOT1Q, tci(4, 0, 10))]),
            ("natag", &[(DOT1Q, tci(4, 0, 10))]),
            ("monitor", &[(DOT1Q, tci(4, 0, 10))]),
        ],
    ),
    (
        "native",
        &[(DOT1Q, 10)],
        &[
            ("acc10a", &[]),
            ("acc10b", &[]),
            ("trunk", &[(DOT1Q, 10)]),
            ("natag", &[(DOT1Q, 10)]),
            ("monitor", &[(DOT1Q, 10)]),
        ],
    ),
    (
        "native",
        &[(DOT1Q, 20)],
        &[
            ("acc20", &[]),
            ("trunk", &[(DOT1Q, 20)]),
            ("natag", &[(DOT1Q, 20)]),
            ("monitor", &[(DOT1Q, 20)]),
        ],
    ),
    // Native-tagged: untagged frames come in, none leave.
    (
        "natag",
        &[],
        &[
            ("acc10a", &[]),
            ("acc10b", &[]),
            ("trunk", &[(DOT1Q, 10)]),
            ("native", &[]),
            ("monitor", &[(DOT1Q, 10)]),
        ],
    ),
    // dot1q-tunnel: whatever the customer sends is payload; the outer tag has its priority.
    ("tunnel", &[], &[("svc", &[(DOT1AD, 300)]), ("monitor", &[(DOT1Q, 300)])]),
    (
        "tunnel",
        &[(DOT1Q, tci(3, 1, 10))],
        &[
            ("cust", &[(DOT1Q, tci(3, 1, 10))]),
            ("svc", &[(DOT1AD, tci(3, 1, 300)), (DOT1Q, tci(3, 1, 10))]),
            ("monitor", &[(DOT1Q, tci(3, 1, 300)), (DOT1Q, tci(3, 1, 10))]),
        ],
    ),
    (
        "tunnel",
        &[(DOT1Q, 11)],
        &[("svc", &[(DOT1AD, 300), (DOT1Q, 11)]), ("monitor", &[(DOT1Q, 300), (DOT1Q, 11)])],
    ),
    (
        "tunnel",
        &[(DOT1Q, 12), (DOT1Q, 99)],
        &[
            ("cust", &[(DOT1Q, 12), (DOT1Q, 99)]),
            ("svc", &[(DOT1AD, 300), (DOT1Q, 12), (DOT1Q, 99)]),
            ("monitor", &[(DOT1Q, 300), (DOT1Q, 12), (DOT1Q, 99)]),
        ],
    ),
    (
        "tunnel",
        &[(DOT1Q, 0)],
        &[("svc", &[(DOT1AD, 300), (DOT1Q, 0)]), ("monitor", &[(DOT1Q, 300), (DOT1Q, 0)])],
    ),
    (
        "tunnel",
        &[(DOT1Q, 4095)],
        &[("svc", &[(DOT1AD, 300), (DOT1Q, 4095)]), ("monitor", &[(DOT1Q, 300), (DOT1Q, 4095)])],
    ),
    (
        "tunnel",
        &[(DOT1AD, 5)],
        &[("svc", &[(DOT1AD, 300), (DOT1AD, 5)]), ("monitor", &[(DOT1Q, 300), (DOT1AD, 5)])],
    ),
    (
        "cust",
        &[(DOT1Q, 12)],
        &[
            ("tunnel", &[(DOT1Q, 12)]),
            ("svc", &[(DOT1AD, 300), (DOT1Q, 12)]),
            ("monitor", &[(DOT1Q, 300), (DOT1Q, 12)]),
        ],
    ),
    // 802.1ad trunk: its own tags are 0x88A8.
    ("svc", &[(DOT1AD, 300)], &[("tunnel", &[]), ("monitor", &[(DOT1Q, 300)])]),
    (
        "svc",
        &[(DOT1AD, tci(2, 0, 300)), (DOT1Q, 10)],
        &[
            ("tunnel", &[(DOT1Q, 10)]),
            ("cust", &[(DOT1Q, 10)]),
            ("monitor", &[(DOT1Q, tci(2, 0, 300)), (DOT1Q, 10)]),
        ],
    ),
    // The trunk of all VLANs.
    (
        "monitor",
        &[(DOT1Q, 20)],
        &[
            ("acc20", &[]),
            ("trunk", &[(DOT1Q, 20)]),
            ("native", &[(DOT1Q, 20)]),
            ("natag", &[(DOT1Q, 20)]),
        ],
    ),
];

/// Where a frame enters and with which tags, and why it goes nowhere.
const DROPPED: &[(&str, Tags, &str)] = &[
    ("acc10a", &[(DOT1Q, 10)], "tagged-on-access"),
    ("acc10a", &[(DOT1Q, 20)], "tagged-on-access"),
    ("acc10a", &[(DOT1Q, 4095)], "vlan-reserved"),
    ("acc10a", &[(DOT1Q, 0), (DOT1Q, 10)], "malformed"),
    ("trunk", &[(DOT1Q, 30)], "vlan-not-member"),
    ("trunk", &[], "no-native-vlan"),
    ("trunk", &[(DOT1Q, tci(1, 0, 0))], "no-native-vlan"),
    ("trunk", &[(DOT1AD, 10)], "no-native-vlan"),
    ("trunk", &[(DOT1Q, 4095)], "vlan-reserved"),
    ("trunk", &[(DOT1Q, 0), (DOT1Q, 10)], "malformed"),
    ("native", &[(DOT1Q, 300)], "vlan-not-member"),
    ("natag", &[(DOT1Q, 4095)], "vlan-reserved"),
    ("cust", &[(DOT1Q, 11)], "customer-vlan-not-member"),
    ("cust", &[(DOT1Q, 0)], "customer-vlan-not-member"),
    ("cust", &[(DOT1AD, 10)], "customer-vlan-not-member"),
    ("cust", &[], "customer-vlan-not-member"),
    ("svc", &[(DOT1AD, 301)], "vlan-not-member"),
    ("svc", &[(DOT1Q, 300)], "no-native-vlan"),
    ("svc", &[], "no-native-vlan"),
    ("svc", &[(DOT1AD, 4095)], "vlan-reserved"),
    ("svc", &[(DOT1AD, 0), (DOT1AD, 300)], "malformed"),
    ("monitor", &[(DOT1Q, 999)], "no-member"),
];

fn bed(kind: Kind, workers: usize) -> (Lab, Bed) {
    let lab = Lab::with_workers(workers);
    let preamble = "[[fdb]]\nmac = \"02:00:00:00:00:77\"\nvlan = 10\nport = \"acc10b\"\n";
    let bed = Bed::start(&lab, kind, preamble, &MEMBERS);
    (lab, bed)
}

/// A frame that no other row contains.
fn row(number: usize, tags: &[(u16, u16)]) -> Vec<u8> {
    let frame = Frame::new(mac(number as u8), BROADCAST).text(&format!("row {number}"));
    tags.iter().fold(frame, |frame, &(tpid, tci)| frame.tag_with(tpid, tci)).bytes()
}

fn check_forwarded(kind: Kind, workers: usize) {
    let (_lab, mut bed) = bed(kind, workers);
    for (number, (ingress, tags, egress)) in FORWARDED.iter().enumerate() {
        let expected: BTreeMap<_, _> =
            egress.iter().map(|(port, tags)| (*port, vec![row(number, tags)])).collect();
        let got = bed.offer(ingress, &row(number, tags));
        assert_eq!(got, expected, "row {number}: into {ingress} with {tags:x?}");
    }
    bed.check_counters();
}

fn check_dropped(kind: Kind, workers: usize) {
    let (_lab, mut bed) = bed(kind, workers);
    let ctl = bed.daemon.ctl();
    let frame = |source, destination| Frame::new(source, destination).text("dropped");
    let mut rows: Vec<(&str, Vec<u8>, &str)> = Vec::new();
    for (number, (ingress, tags, reason)) in DROPPED.iter().enumerate() {
        rows.push((ingress, row(number, tags), reason));
    }
    rows.extend([
        ("acc10a", frame([0; 6], BROADCAST).bytes(), "bad-source"),
        ("acc10a", frame(BROADCAST, mac(1)).bytes(), "bad-source"),
        ("acc10a", frame([1, 0, 0x5e, 0, 0, 1], mac(1)).bytes(), "bad-source"),
        ("acc10a", frame(mac(1), [1, 0x80, 0xc2, 0, 0, 0]).bytes(), "reserved-address"),
        ("trunk", frame(mac(1), [1, 0x80, 0xc2, 0, 0, 0xf]).tag(10).bytes(), "reserved-address"),
        ("acc10a", frame(STATIC, BROADCAST).bytes(), "static-elsewhere"),
        ("trunk", frame(STATIC, mac(9)).tag(10).bytes(), "static-elsewhere"),
        ("acc10b", frame(mac(5), STATIC).bytes(), "same-port"),
        ("acc10a", frame(mac(6), mac(6)).bytes(), "same-port"),
        ("acc10a", frame(mac(1), BROADCAST).len(1515).bytes(), "oversize"),
        ("trunk", frame(mac(1), BROADCAST).tag(10).len(1515).bytes(), "oversize"),
        // The first of several reasons counts, in the order of the checks.
        ("acc10a", frame([0; 6], [1, 0x80, 0xc2, 0, 0, 0]).tag(10).len(1600).bytes(), "bad-source"),
        ("acc10a", frame(mac(1), [1, 0x80, 0xc2, 0, 0, 1]).tag(10).bytes(), "reserved-address"),
        ("acc10a", frame(STATIC, BROADCAST).len(1600).bytes(), "oversize"),
    ]);
    if kind == Kind::Stream {
        // A TAP takes none of these from its guest.
        rows.extend([
            ("acc10a", Vec::new(), "malformed"),
            ("acc10a", vec![2; 13], "malformed"),
            (
                "acc10a",
                frame(mac(1), BROADCAST).untagged().payload(DOT1Q, &[]).bytes(),
                "malformed",
            ),
            (
                "trunk",
                frame(mac(1), BROADCAST).untagged().payload(DOT1Q, &[0, 10]).bytes(),
                "malformed",
            ),
            (
                "svc",
                frame(mac(1), BROADCAST).untagged().payload(DOT1AD, &[1, 0x2c, 8]).bytes(),
                "malformed",
            ),
        ]);
    }
    let mut before = drops(&ctl.json("port list"), "rx");
    for (ingress, frame, reason) in &rows {
        let got = bed.offer(ingress, frame);
        assert!(got.is_empty(), "into {ingress}, dropped as {reason}, and yet: {got:x?}");
        let after = drops(&ctl.json("port list"), "rx");
        let mut expected = before.clone();
        *expected.entry(((*ingress).to_owned(), (*reason).to_owned())).or_default() += 1;
        assert_eq!(after, expected, "into {ingress}, to be dropped as {reason}: {frame:x?}");
        before = after;
    }
    bed.check_counters();
}

/// The drops of all ports in one direction, by port and reason.
fn drops(ports: &Value, direction: &str) -> BTreeMap<(String, String), u64> {
    let mut drops = BTreeMap::new();
    for port in ports.as_array().unwrap() {
        let name = port["name"].as_str().unwrap();
        for (reason, count) in port[direction]["drops"].as_object().unwrap() {
            drops.insert((name.to_owned(), reason.clone()), count.as_u64().unwrap());
        }
    }
    drops
}

fn frames_leave_where_and_as_they_must_on_netdev_ports(workers: usize) {
    check_forwarded(Kind::Netdev, workers);
}

fn frames_leave_where_and_as_they_must_on_xdp_ports(workers: usize) {
    check_forwarded(Kind::Xdp, workers);
}

fn frames_leave_where_and_as_they_must_on_stream_ports(workers: usize) {
    check_forwarded(Kind::Stream, workers);
}

fn each_drop_has_its_reason_on_netdev_ports(workers: usize) {
    check_dropped(Kind::Netdev, workers);
}

fn each_drop_has_its_reason_on_xdp_ports(workers: usize) {
    check_dropped(Kind::Xdp, workers);
}

fn each_drop_has_its_reason_on_stream_ports(workers: usize) {
    check_dropped(Kind::Stream, workers);
}

/// What is not sent on one port of several is counted at that port, with its reason.
fn egress_drops_are_counted_at_the_egress(workers: usize) {
    let (_lab, mut bed) = bed(Kind::Stream, workers);
    let ctl = bed.daemon.ctl();
    bed.offer("trunk", &row(1, &[(DOT1Q, 10), (DOT1Q, 20)]));
    assert_eq!(ctl.drops("native", "tx", "ambiguous-tag"), 1);
    let before = ctl.drops("cust", "tx", "customer-vlan-not-member");
    bed.offer("tunnel", &row(2, &[(DOT1Q, 11)]));
    let after = ctl.drops("cust", "tx", "customer-vlan-not-member");
    // The markers for svc and tunnel have no customer tag either.
    assert!(after > before, "{before} before, {after} after");
}

weft_netns::each_worker_count!(
    frames_leave_where_and_as_they_must_on_netdev_ports,
    frames_leave_where_and_as_they_must_on_xdp_ports,
    frames_leave_where_and_as_they_must_on_stream_ports,
    each_drop_has_its_reason_on_netdev_ports,
    each_drop_has_its_reason_on_xdp_ports,
    each_drop_has_its_reason_on_stream_ports,
    egress_drops_are_counted_at_the_egress,
);
