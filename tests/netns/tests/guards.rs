//! Source guards, isolation and `enabled`: what a port may claim, and whom it may talk to.
//!
//! ```text
//!   access 10, macs and ips ─ guarded ┐          ┌ iso1 ── access 10, isolated
//!   trunk 10,20, macs and ips ── gtrunk ┼─ switch ─┼ iso2 ── access 10, isolated
//!   access 10 ───────────────── plain ┘          └ monitor
//! ```

use std::time::Instant;

use weft_netns::{
    Bed, Kind, Lab, Member, Nic, StreamGuest, Wire,
    frame::{BROADCAST, DOT1Q, Frame, ICMPV6, IPV4, IPV6, Mac, Neighbour, mac},
};

/// The markers' own source is allowed too.
const MEMBERS: [Member; 5] = [
    Member {
        name: "guarded",
        keys: "vlan = { access = 10 }\nmacs = [\"02:00:00:00:00:01\", \"02:ee:ee:ee:00:ff\"]\n\
               ips = [\"10.0.0.1\", \"fd00::1\"]",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "gtrunk",
        keys: "vlan = { trunk = [10, 20] }\nmacs = [\"02:00:00:00:00:01\", \"02:ee:ee:ee:00:ff\"]\n\
               ips = [\"10.0.0.1\", \"fd00::1\"]",
        on_wire: &[(DOT1Q, 20)],
        at_monitor: &[(DOT1Q, 20)],
    },
    Member {
        name: "plain",
        keys: "vlan = { access = 10 }",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "iso1",
        keys: "vlan = { access = 10 }\nisolated = true",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "iso2",
        keys: "vlan = { access = 10 }\nisolated = true",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
];

const OWN: Mac = mac(1);
const OTHER: Mac = mac(2);

/// Frames without tags, and whether the guards let them pass.
fn claims() -> Vec<(&'static str, Frame, bool)> {
    let own = Frame::new(OWN, BROADCAST);
    let (v4, other_v4) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let v6 = |last| [0xfd00, 0, 0, 0, 0, 0, 0, last].into();
    let (all, any) = ([10, 0, 0, 255].into(), [0xff02, 0, 0, 0, 0, 0, 0, 1].into());
    let arp = |mac, ip| own.clone().arp(1, (mac, ip), ([0; 6], [10, 0, 0, 9]));
    let solicit =
        |source, link| own.clone().neighbour(Neighbour::Solicitation, source, any, v6(9), link);
    let advertise =
        |target, link| own.clone().neighbour(Neighbour::Advertisement, v6(1), any, target, link);
    vec![
        ("its own address", own.clone().text("own"), true),
        ("a foreign source address", Frame::new(OTHER, BROADCAST).text("foreign"), false),
        ("its own IPv4 address", own.clone().udp(v4.into(), all, b"x"), true),
        ("a foreign IPv4 address", own.clone().udp(other_v4.into(), all, b"x"), false),
        ("its own IPv6 address", own.clone().udp(v6(1), any, b"x"), true),
        ("a foreign IPv6 address", own.clone().udp(v6(2), any, b"x"), false),
        ("ARP for itself", arp(OWN, v4), true),
        ("ARP with a foreign hardware address", arp(OTHER, v4), false),
        ("ARP with a foreign protocol address", arp(OWN, other_v4), false),
        ("an ARP probe before it has an address", arp(OWN, [0; 4]), true),
        ("an ARP probe with a foreign hardware address", arp(OTHER, [0; 4]), false),
        (
            "a gratuitous ARP answer for a foreign address",
            own.clone().arp(2, (OWN, other_v4), (OWN, other_v4)),
            false,
        ),
        ("a solicitation from its own address", solicit(v6(1), OWN), true),
        ("a solicitation with a foreign link address", solicit(v6(1), OTHER), false),
        ("an advertisement of its own address", advertise(v6(1), OWN), true),
        ("an advertisement of a foreign address", advertise(v6(2), OWN), false),
        ("an advertisement with a foreign link address", advertise(v6(1), OTHER), false),
        ("an IPv4 header that is cut short", own.clone().payload(IPV4, &[0x45; 10]), false),
        ("an IPv6 header that is cut short", own.clone().payload(IPV6, &[0x60; 10]), false),
        (
            "an ARP packet that is cut short",
            own.clone().payload(weft_netns::frame::ARP, &[0, 1]),
            false,
        ),
        (
            "neighbour discovery behind an extension header",
            own.clone().ip(
                v6(1),
                any,
                0,
                &[&[ICMPV6, 15][..], &[0; 126], &[136, 0, 0, 0]].concat(),
            ),
            false,
        ),
    ]
}

fn only_what_the_guards_allow_passes(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Netdev, "", &MEMBERS);
    let ctl = bed.daemon.ctl();
    for (ingress, tags) in [("guarded", None), ("gtrunk", Some(20))] {
        for (what, frame, passes) in claims() {
            let frame = tags.map_or(frame.clone(), |vid| frame.tag(vid));
            let before = ctl.drops(ingress, "rx", "spoofed");
            let got = bed.offer(ingress, &frame.bytes());
            let dropped = ctl.drops(ingress, "rx", "spoofed") - before;
            assert_eq!(
                (got.contains_key("monitor"), dropped),
                (passes, u64::from(!passes)),
                "{ingress}: {what}"
            );
            assert_eq!(got.is_empty(), !passes, "{ingress}: {what}: {got:?}");
        }
    }
    // Another port may say all of it: a guard is its own port's.
    for (what, frame, _) in claims() {
        assert!(bed.offer("plain", &frame.bytes()).contains_key("monitor"), "plain: {what}");
    }
    bed.check_counters();
}

fn a_spoofed_source_is_not_learned(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Stream, "", &MEMBERS);
    let ctl = bed.daemon.ctl();
    bed.offer("guarded", &Frame::new(OWN, BROADCAST).text("mine").bytes());
    assert_eq!(ctl.fdb(10, "02:00:00:00:00:01"), Some(("guarded".into(), "dynamic".into())));
    bed.offer("guarded", &Frame::new(OTHER, BROADCAST).text("not mine").bytes());
    assert_eq!(ctl.fdb(10, "02:00:00:00:00:02"), None);
    bed.offer(
        "guarded",
        &Frame::new(mac(3), BROADCAST).arp(1, (mac(3), [10, 0, 0, 1]), (mac(3), [0; 4])).bytes(),
    );
    assert_eq!(ctl.fdb(10, "02:00:00:00:00:03"), None);
}

fn isolated_ports_talk_to_others_only(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut bed = Bed::start(&lab, Kind::Netdev, "", &MEMBERS);
    let ctl = bed.daemon.ctl();
    // Flooded: everyone but the other isolated port.
    let flooded = bed.offer("iso1", &Frame::new(mac(0x11), BROADCAST).text("to all").bytes());
    assert_eq!(
        flooded.keys().copied().collect::<Vec<_>>(),
        ["gtrunk", "guarded", "monitor", "plain"]
    );
    // Known unicast: dropped with its reason.
    bed.offer("iso2", &Frame::new(mac(0x12), BROADCAST).text("here").bytes());
    let before = ctl.drops("iso1", "rx", "isolated");
    let got = bed.offer("iso1", &Frame::new(mac(0x11), mac(0x12)).text("to iso2").bytes());
    assert!(got.is_empty(), "{got:?}");
    assert_eq!(ctl.drops("iso1", "rx", "isolated"), before + 1);
    // To and from a port that is not isolated.
    let got = bed.offer("plain", &Frame::new(mac(0x13), mac(0x12)).text("to iso2").bytes());
    assert_eq!(got.keys().copied().collect::<Vec<_>>(), ["iso2"]);
    let got = bed.offer("iso2", &Frame::new(mac(0x12), mac(0x13)).text("to plain").bytes());
    assert_eq!(got.keys().copied().collect::<Vec<_>>(), ["plain"]);
}

fn a_flood_is_limited_and_known_unicast_is_not(workers: usize) {
    let lab = Lab::with_workers(workers);
    let (mut one, mut two) = (Nic::open(lab.switch(), "one"), Nic::open(lab.switch(), "two"));
    let daemon = lab.daemon(
        "[port.one]\ntype = \"netdev\"\ndevice = \"one\"\nvlan = { access = 10 }\nflood-limit = \"1/s\"\n\
         [port.two]\ntype = \"netdev\"\ndevice = \"two\"\nvlan = { access = 10 }\n",
    );
    let ctl = daemon.ctl();
    two.send(&Frame::new(mac(2), BROADCAST).text("here").bytes());
    one.expect_frame(&Frame::new(mac(2), BROADCAST).text("here").bytes());
    let unicast = |text: &str| Frame::new(mac(1), mac(2)).text(text).bytes();
    let mut passed = 0;
    for round in 0..20 {
        // Broadcast, multicast and unknown unicast share the limit.
        let destination = [BROADCAST, [1, 0, 0x5e, 0, 0, 1], mac(0x99)][round % 3];
        one.send(&Frame::new(mac(1), destination).text("flood").bytes());
        let marker = unicast(&format!("marker {round}"));
        one.send(&marker);
        passed += two.before_marker(&marker).len() as u64;
    }
    let dropped = ctl.drops("one", "rx", "flood-limited");
    assert_eq!(passed + dropped, 20);
    assert!(passed >= 1, "the first of a flood passes");
    assert!(dropped >= 10, "only {dropped} of 20 frames were held back");
    assert_eq!(ctl.port("one")["rx"]["frames"], 40);
}

/// Whatever happens to others, a port has had no more than the burst of one second and its rate since.
fn a_guest_that_reconnects_refills_nobodys_flood_limit(workers: usize) {
    const RATE: u64 = 20;
    let lab = Lab::with_workers(workers);
    let (mut one, mut two) = (Nic::open(lab.switch(), "one"), Nic::open(lab.switch(), "two"));
    let socket = lab.path("guest.sock");
    let daemon = lab.daemon(&format!(
        "[port.one]\ntype = \"netdev\"\ndevice = \"one\"\nvlan = {{ access = 10 }}\nflood-limit = \"{RATE}/s\"\n\
         [port.two]\ntype = \"netdev\"\ndevice = \"two\"\nvlan = {{ access = 10 }}\n\
         [port.guest]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 20 }}\n",
        socket.display()
    ));
    let ctl = daemon.ctl();
    let here = Frame::new(mac(2), BROADCAST).text("here").bytes();
    two.send(&here);
    one.expect_frame(&here);
    let (mut sent, mut passed) = (0, 0);
    let began = Instant::now();
    for round in 0..40 {
        ctl.wait_for_state("guest", "waiting");
        let _guest = StreamGuest::connect(&socket);
        ctl.wait_for_state("guest", "up");
        for _ in 0..2 * RATE {
            one.send(&Frame::new(mac(1), BROADCAST).text("flood").bytes());
            sent += 1;
        }
        let marker = Frame::new(mac(1), mac(2)).text(&format!("marker {round}")).bytes();
        one.send(&marker);
        passed += two.before_marker(&marker).len() as u64;
    }
    let allowed = RATE + (began.elapsed().as_secs_f64() * RATE as f64).ceil() as u64;
    assert!(passed <= allowed, "{passed} of {sent} frames passed, {allowed} were allowed");
    assert!(passed >= RATE, "only {passed} frames passed");
    assert_eq!(passed + ctl.drops("one", "rx", "flood-limited"), sent);
}

fn a_disabled_port_takes_no_part(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut off = Nic::open(lab.switch(), "off");
    let (mut one, mut two) = (Nic::open(lab.switch(), "one"), Nic::open(lab.switch(), "two"));
    let socket = lab.path("silent.sock");
    let daemon = lab.daemon(&format!(
        "[port.off]\ntype = \"netdev\"\ndevice = \"off\"\nvlan = {{ access = 10 }}\nenabled = false\n\
         [port.silent]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\nenabled = false\n\
         [port.one]\ntype = \"netdev\"\ndevice = \"one\"\nvlan = {{ access = 10 }}\n\
         [port.two]\ntype = \"netdev\"\ndevice = \"two\"\nvlan = {{ access = 10 }}\n",
        socket.display()
    ));
    let ctl = daemon.ctl();
    for name in ["off", "silent"] {
        let port = ctl.port(name);
        assert_eq!(port["state"], "down", "{port}");
        assert!(port["reason"].as_str().unwrap().contains("disabled"), "{port}");
    }
    let frame = Frame::new(mac(1), BROADCAST).text("to all").bytes();
    one.send(&frame);
    two.expect_frame(&frame);
    assert_eq!(ctl.port("off")["tx"]["frames"], 0);

    // Switched on it takes part, switched off again it does not.
    ctl.run("port set off --enabled");
    ctl.run("port set silent --enabled");
    ctl.wait_for_state("off", "up");
    let mut silent = StreamGuest::connect(&socket);
    ctl.wait_for_state("silent", "up");
    let frame = Frame::new(mac(1), BROADCAST).text("to all of them").bytes();
    one.send(&frame);
    off.expect_frame(&frame);
    silent.expect_frame(&frame);
    let own = Frame::new(mac(7), BROADCAST).text("from off").bytes();
    off.send(&own);
    two.expect_frame(&own);
    assert_eq!(ctl.fdb(10, "02:00:00:00:00:07"), Some(("off".into(), "dynamic".into())));
    ctl.run("port set off --disabled");
    assert_eq!(ctl.port("off")["state"], "down");
    assert_eq!(ctl.fdb(10, "02:00:00:00:00:07"), None);
    let marker = Frame::new(mac(1), BROADCAST).text("marker").bytes();
    one.send(&marker);
    two.expect_frame(&marker);
    assert_eq!(
        ctl.port("off")["tx"]["frames"].as_u64().unwrap_or(0),
        ctl.port("off")["tx"]["frames"]
    );
}

weft_netns::each_worker_count!(
    only_what_the_guards_allow_passes,
    a_spoofed_source_is_not_learned,
    isolated_ports_talk_to_others_only,
    a_flood_is_limited_and_known_unicast_is_not,
    a_guest_that_reconnects_refills_nobodys_flood_limit,
    a_disabled_port_takes_no_part,
);
