//! What is refused and in which order, what is learned, and where frames go by address.

use weft_core::{
    DropReason, DropReason::*, Guards, Isolation, PortId, PortSpec, Rate, StaticEntry, Switch,
};
use weft_vlan::{Csum, Gso, GsoKind, Head, MacAddr, Offload, PortVlan};

use crate::common::*;

fn untagged(destination: MacAddr, source: MacAddr) -> Head {
    head(&frame(destination, source, &[], PAYLOAD))
}

fn three_hosts() -> Switch {
    switch((1..=3).map(|id| spec(port(id), access(10))).collect())
}

fn ports(ids: &[u16]) -> Result<Vec<PortId>, DropReason> {
    Ok(ids.iter().map(|&id| port(id)).collect())
}

fn send(switch: &Switch, at: u64, ingress: u16, head: &Head) -> Result<Vec<PortId>, DropReason> {
    ports_of(forward(switch, seconds(at), port(ingress), head))
}

#[test]
fn a_switch_learns_where_hosts_are() {
    let switch = three_hosts();
    // at, ingress, destination, source, expected
    let cases = [
        (0, 1, host(2), host(1), ports(&[2, 3])),
        (0, 2, host(1), host(2), ports(&[1])),
        (0, 1, host(2), host(1), ports(&[2])),
        (0, 3, host(2), host(3), ports(&[2])),
        // To its own port, to itself, and to everybody.
        (0, 2, host(2), host(4), Err(SamePort)),
        (0, 2, host(5), host(5), Err(SamePort)),
        (0, 2, BROADCAST, host(2), ports(&[1, 3])),
        (0, 2, MacAddr::new([0x01, 0, 0x5e, 0, 0, 0xfb]), host(2), ports(&[1, 3])),
        // A moved MAC is found on its new port at once.
        (1, 3, host(1), host(2), ports(&[1])),
        (1, 1, host(2), host(1), ports(&[3])),
        // Host 1 was heard last at second 1, host 2 at second 1, too.
        (200, 1, host(2), host(1), ports(&[3])),
        (302, 1, host(2), host(1), ports(&[2, 3])),
        (302, 2, host(1), host(6), ports(&[1])),
    ];
    for (at, ingress, destination, source, expected) in cases {
        let frame = untagged(destination, source);
        assert_eq!(
            send(&switch, at, ingress, &frame),
            expected,
            "{at} {ingress} {destination} {source}"
        );
    }
}

#[test]
fn sources_and_destinations_that_cannot_be_are_refused_and_not_learned() {
    let group = MacAddr::new([0x03, 0, 0, 0, 0, 1]);
    let reserved = |last| MacAddr::new([0x01, 0x80, 0xc2, 0, 0, last]);
    let cases = [
        (BROADCAST, group, Err(BadSource)),
        (BROADCAST, BROADCAST, Err(BadSource)),
        (BROADCAST, MacAddr::new([0; 6]), Err(BadSource)),
        (reserved(0), group, Err(BadSource)),
        (reserved(0), host(1), Err(ReservedAddress)),
        (reserved(0x0e), host(1), Err(ReservedAddress)),
        (reserved(0x0f), host(1), Err(ReservedAddress)),
        (reserved(0x10), host(1), ports(&[2, 3])),
        (MacAddr::new([0; 6]), host(1), ports(&[2, 3])),
    ];
    for (destination, source, expected) in cases {
        let fdb = fdb();
        let spec = switch_spec((1..=3).map(|id| spec(port(id), access(10))).collect(), vec![]);
        let switch = Switch::new(&spec, fdb.clone());
        let sent = send(&switch, 0, 1, &untagged(destination, source));
        assert_eq!(sent, expected, "{destination} {source}");
        assert_eq!(fdb.len(), usize::from(expected.is_ok()), "{destination} {source}");
    }
}

#[test]
fn the_first_check_that_fails_names_the_reason() {
    let spoofer = Guards { macs: vec![host(1)], ips: vec![] };
    let reserved = MacAddr::new([0x01, 0x80, 0xc2, 0, 0, 0]);
    let long = [PAYLOAD, &[0; 1600]].concat();
    let build = |destination, source, tags: &[Tag], payload: &[u8]| {
        let mut head = head(&frame(destination, source, tags, payload));
        head.set_offload(Err(weft_vlan::BadOffload));
        head
    };
    let statics = vec![StaticEntry { vlan: vlan(10), mac: host(1), port: port(2) }];
    let guarded = PortSpec {
        guards: spoofer,
        flood_limit: Some(Rate { per_second: 1 }),
        ..spec(port(1), trunk(&[10]))
    };
    let cases = [
        (build(reserved, BROADCAST, &[], &[0x81, 0x00]), Malformed),
        (build(reserved, BROADCAST, &[q(99)], &long), BadSource),
        (build(reserved, host(2), &[q(99)], &long), ReservedAddress),
        (build(BROADCAST, host(2), &[q(99)], &long), Spoofed),
        // Takes the one token of the second.
        (build(BROADCAST, host(1), &[q(99)], &long), VlanNotMember),
        (build(BROADCAST, host(1), &[q(99)], &long), FloodLimited),
        (build(host(9), host(1), &[q(99)], &long), VlanNotMember),
        (build(host(9), host(1), &[q(4095)], &long), VlanReserved),
        (build(host(9), host(1), &[], &long), NoNativeVlan),
        (build(host(9), host(1), &[q(10)], &long), BadOffload),
        (head(&frame(host(9), host(1), &[q(10)], &long)), Oversize),
        (head(&frame(host(9), host(1), &[q(10)], PAYLOAD)), StaticElsewhere),
    ];
    let switch = switch_with(vec![guarded, spec(port(2), access(10))], statics);
    for (position, (head, reason)) in cases.into_iter().enumerate() {
        assert_eq!(send(&switch, 0, 1, &head), Err(reason), "{position}");
    }
}

#[test]
fn a_frame_may_be_as_long_as_the_mtu_and_two_tags() {
    let sized = |tags: &[Tag], len: usize| {
        let payload = [PAYLOAD, &vec![0; 70_000]].concat();
        let mut frame = frame(BROADCAST, host(1), tags, &payload);
        frame.truncate(len);
        head(&frame)
    };
    let small = |id, mode| PortSpec { mtu: 1000, ..spec(port(id), mode) };
    let modes = || {
        vec![
            small(1, access(10)),
            small(2, native(&[10, 20], 10)),
            small(3, trunk(&[10, 20])),
            spec(port(4), trunk(&[10, 20])),
            PortSpec { mtu: 996, ..spec(port(5), access(10)) },
        ]
    };
    // Ingress, tags, whole length on the wire, expected on every egress.
    type Case<'a> = (u16, &'a [Tag], usize, Result<Copies, DropReason>);
    type Copies = &'static [(u16, Option<DropReason>)];
    let cases: [Case<'_>; 12] = [
        (1, &[], 1014, Ok(&[(2, None), (3, None), (4, None), (5, Some(Oversize))])),
        (1, &[], 1015, Err(Oversize)),
        (1, &[], 1010, Ok(&[(2, None), (3, None), (4, None), (5, None)])),
        (1, &[q(0)], 1018, Ok(&[(2, None), (3, None), (4, None), (5, Some(Oversize))])),
        (1, &[q(0)], 1019, Err(Oversize)),
        (1, &[ad(7)], 1018, Ok(&[(2, None), (3, None), (4, None), (5, Some(Oversize))])),
        (3, &[q(10), ad(7)], 1022, Ok(&[(1, None), (2, None), (4, None), (5, Some(Oversize))])),
        (3, &[q(10), ad(7)], 1023, Err(Oversize)),
        // Two tags are free, a third one counts; where the first is taken off, the third is the second.
        (3, &[q(10), ad(7), q(8)], 1027, Err(Oversize)),
        (
            4,
            &[q(10), ad(7), q(8)],
            1026,
            Ok(&[(1, None), (2, None), (3, Some(Oversize)), (5, Some(Oversize))]),
        ),
        (
            4,
            &[q(10)],
            1518,
            Ok(&[
                (1, Some(Oversize)),
                (2, Some(Oversize)),
                (3, Some(Oversize)),
                (5, Some(Oversize)),
            ]),
        ),
        (4, &[q(10)], 65_000, Err(Oversize)),
    ];
    for (ingress, tags, len, expected) in cases {
        let copies = forward(&switch(modes()), seconds(0), port(ingress), &sized(tags, len));
        let copies = copies.map(|copies| {
            copies.into_iter().map(|(to, copy)| (to, copy.err())).collect::<Vec<_>>()
        });
        let expected = expected.map(|copies| {
            copies.iter().map(|&(to, reason)| (port(to), reason)).collect::<Vec<_>>()
        });
        assert_eq!(copies, expected, "{ingress} {tags:x?} {len}");
    }
}

#[test]
fn a_super_frame_is_judged_by_its_segments() {
    let super_frame = |tags: &[Tag], header_len: u16, size: u16, len: usize| {
        let payload = [PAYLOAD, &vec![0; 70_000]].concat();
        let mut frame = frame(BROADCAST, host(1), tags, &payload);
        frame.truncate(len);
        let mut head = head(&frame);
        head.set_offload(Ok(Offload {
            csum: Some(Csum { start: 34, offset: 16 }),
            gso: Some(Gso { kind: GsoKind::Udp, size, header_len }),
        }));
        head
    };
    let smaller = PortSpec { mtu: 1400, ..spec(port(2), access(10)) };
    let modes = || vec![spec(port(1), access(10)), smaller.clone(), spec(port(3), access(10))];
    let cases = [
        (super_frame(&[], 54, 1460, 65_000), ports(&[3])),
        (super_frame(&[], 54, 1461, 65_000), Err(Oversize)),
        (super_frame(&[], 54, 1360, 65_000), ports(&[2, 3])),
        // The header's length counts the payload tag, which is free.
        (super_frame(&[ad(7)], 54, 1460, 65_000), ports(&[3])),
        (super_frame(&[ad(7), q(8)], 58, 1460, 65_000), ports(&[3])),
        (super_frame(&[ad(7), q(8)], 58, 1461, 65_000), Err(Oversize)),
        // One short segment.
        (super_frame(&[], 54, 9000, 200), ports(&[2, 3])),
    ];
    for (position, (head, expected)) in cases.into_iter().enumerate() {
        assert_eq!(send(&switch(modes()), 0, 1, &head), expected, "{position}");
    }
}

#[test]
fn isolated_ports_talk_to_open_ones_alone() {
    let isolated = |id| PortSpec { isolation: Isolation::Isolated, ..spec(port(id), access(10)) };
    let switch = switch(vec![isolated(1), isolated(2), spec(port(3), access(10))]);
    let cases = [
        (1, BROADCAST, host(1), ports(&[3])),
        (2, BROADCAST, host(2), ports(&[3])),
        (3, BROADCAST, host(3), ports(&[1, 2])),
        (1, host(2), host(1), Err(Isolated)),
        (1, host(3), host(1), ports(&[3])),
        (3, host(1), host(3), ports(&[1])),
        (1, host(99), host(1), ports(&[3])),
        (1, host(1), host(9), Err(SamePort)),
    ];
    for (ingress, destination, source, expected) in cases {
        assert_eq!(send(&switch, 0, ingress, &untagged(destination, source)), expected);
    }
    let alone = crate::common::switch(vec![isolated(1), isolated(2), spec(port(3), access(20))]);
    assert_eq!(send(&alone, 0, 1, &untagged(BROADCAST, host(1))), Err(Isolated));
    assert_eq!(send(&alone, 0, 1, &untagged(host(9), host(1))), Err(Isolated));
    assert_eq!(send(&alone, 0, 3, &untagged(BROADCAST, host(1))), Err(NoMember));
    let lonely = crate::common::switch(vec![isolated(1)]);
    assert_eq!(send(&lonely, 0, 1, &untagged(BROADCAST, host(1))), Err(NoMember));
}

#[test]
fn statics_hold_their_place() {
    let entry = |mac, id| StaticEntry { vlan: vlan(10), mac, port: port(id) };
    // The last one names a port that is not in the VLAN.
    let statics = vec![entry(host(1), 1), entry(host(7), 3), entry(host(8), 4)];
    let mut specs: Vec<PortSpec> = (1..=3).map(|id| spec(port(id), access(10))).collect();
    specs.push(spec(port(4), access(20)));
    let switch = switch_with(specs, statics);
    let cases = [
        (2, host(1), host(2), ports(&[1])),
        (2, host(7), host(1), Err(StaticElsewhere)),
        (2, host(1), host(2), ports(&[1])),
        (1, host(7), host(1), ports(&[3])),
        (3, host(7), host(3), Err(SamePort)),
        (2, host(8), host(2), ports(&[1, 3])),
    ];
    for (ingress, destination, source, expected) in cases {
        assert_eq!(send(&switch, 400, ingress, &untagged(destination, source)), expected);
    }
    // The same address is anybody's in another VLAN.
    assert_eq!(send(&switch, 0, 4, &untagged(BROADCAST, host(1))), Err(NoMember));
}

#[test]
fn an_entry_whose_port_left_the_vlan_counts_for_nothing() {
    let fdb = fdb();
    let with = |mode| {
        let specs = vec![spec(port(1), access(10)), spec(port(2), mode), spec(port(3), access(10))];
        Switch::new(&switch_spec(specs, vec![]), fdb.clone())
    };
    let before = with(access(10));
    assert_eq!(send(&before, 0, 2, &untagged(BROADCAST, host(2))), ports(&[1, 3]));
    assert_eq!(send(&before, 0, 1, &untagged(host(2), host(1))), ports(&[2]));
    let after = with(access(20));
    assert_eq!(send(&after, 0, 1, &untagged(host(2), host(1))), ports(&[3]));
    // Entries survive the change.
    assert_eq!(send(&after, 0, 3, &untagged(host(1), host(3))), ports(&[1]));
}

#[test]
fn what_was_learned_in_a_vlan_that_its_port_left_can_be_forgotten() {
    let fdb = fdb();
    let spec_of = |modes: [PortVlan; 3]| {
        let ids = [1, 2, 3].map(port);
        let specs = ids.into_iter().zip(modes).map(|(id, mode)| spec(id, mode)).collect();
        switch_spec(specs, vec![])
    };
    let before = Switch::new(&spec_of([trunk(&[10, 20]), access(10), access(10)]), fdb.clone());
    for (ingress, number, tags) in
        [(1, 1, &[q(10)][..]), (1, 1, &[q(20)]), (2, 2, &[]), (3, 3, &[])]
    {
        let frame = head(&frame(BROADCAST, host(number), tags, PAYLOAD));
        assert_ne!(send(&before, 0, ingress, &frame), Err(VlanNotMember));
    }
    // Port 1 leaves VLAN 10, port 2 moves to VLAN 20, port 3 is gone.
    let mut changed = spec_of([trunk(&[20, 30]), access(20), access(10)]);
    changed.ports.pop();
    let after = before.successor(&changed, fdb.clone());
    let mut entries = fdb.entries(seconds(1), AGEING);
    assert_eq!(entries.len(), 4);
    after.forget_left_vlans();
    entries.retain(|entry| (entry.vlan, entry.port) == (vlan(20), port(1)));
    assert_eq!(fdb.entries(seconds(1), AGEING), entries);
    assert_eq!(entries.len(), 1);
    // Back in the VLAN a port finds nothing there of before.
    let back = after.successor(&spec_of([trunk(&[10]), access(10), access(10)]), fdb);
    assert_eq!(send(&back, 1, 3, &untagged(host(2), host(3))), ports(&[1, 2]));
}

#[test]
fn frames_that_are_refused_teach_nothing() {
    let fdb = fdb();
    let specs = vec![
        PortSpec {
            guards: Guards { macs: vec![host(1)], ips: vec![] },
            ..spec(port(1), trunk(&[10]))
        },
        spec(port(2), access(10)),
    ];
    let switch = Switch::new(&switch_spec(specs, vec![]), fdb.clone());
    let tagged = |source, tags: &[Tag]| head(&frame(BROADCAST, source, tags, PAYLOAD));
    for (ingress, head) in [
        (1, tagged(host(9), &[q(10)])),
        (1, tagged(host(1), &[q(11)])),
        (1, tagged(host(1), &[])),
        (2, tagged(host(2), &[q(10)])),
        (2, head(&frame(BROADCAST, host(2), &[], &[0x12; 2000]))),
    ] {
        assert!(send(&switch, 0, ingress, &head).is_err());
    }
    assert!(fdb.is_empty());
}

#[test]
fn a_flood_limit_charges_what_is_flooded_and_nothing_else() {
    let limited =
        PortSpec { flood_limit: Some(Rate { per_second: 3 }), ..spec(port(1), access(10)) };
    let switch = switch(vec![limited, spec(port(2), access(10)), spec(port(3), access(10))]);
    assert!(send(&switch, 0, 2, &untagged(BROADCAST, host(2))).is_ok());
    let cases = [
        (0, BROADCAST, ports(&[2, 3])),
        (0, host(2), ports(&[2])),
        (0, host(9), ports(&[2, 3])),
        (0, MacAddr::new([0x33, 0x33, 0, 0, 0, 1]), ports(&[2, 3])),
        (0, BROADCAST, Err(FloodLimited)),
        (0, host(9), Err(FloodLimited)),
        (0, host(2), ports(&[2])),
        (1, host(9), ports(&[2, 3])),
    ];
    for (at, destination, expected) in cases {
        let frame = untagged(destination, host(1));
        assert_eq!(send(&switch, at, 1, &frame), expected, "{at} {destination}");
    }
    // Others are not limited by it.
    for _ in 0..100 {
        assert!(send(&switch, 0, 2, &untagged(BROADCAST, host(2))).is_ok());
    }
}

#[test]
fn what_is_used_up_of_a_flood_limit_stays_used_up_unless_the_limit_changes() {
    let fdb = fdb();
    let limited = |rates: [Option<u32>; 3]| {
        let with = |(id, rate): (u16, Option<u32>)| PortSpec {
            flood_limit: rate.map(|per_second| Rate { per_second }),
            ..spec(port(id), access(10))
        };
        switch_spec((1..).zip(rates).map(with).collect(), vec![])
    };
    let floods = |switch: &Switch, at, ingress: u16| {
        let frame = untagged(BROADCAST, host(u64::from(ingress)));
        (0..100).filter(|_| send(switch, at, ingress, &frame).is_ok()).count()
    };
    let first = Switch::new(&limited([Some(5), Some(5), None]), fdb.clone());
    assert_eq!([1, 2].map(|ingress| floods(&first, 0, ingress)), [5, 5]);
    // Another rate is a full bucket, the same one is the bucket of before.
    let second = first.successor(&limited([Some(5), Some(6), Some(2)]), fdb.clone());
    assert_eq!([1, 2, 3].map(|ingress| floods(&second, 0, ingress)), [0, 6, 2]);
    // While both are in use they share it.
    assert_eq!([floods(&first, 1, 1), floods(&second, 1, 1)], [5, 0]);
    // A limit that was taken away and a port that was gone begin anew.
    let third = second.successor(&limited([Some(5), None, Some(2)]), fdb.clone());
    assert_eq!([1, 2, 3].map(|ingress| floods(&third, 1, ingress)), [0, 100, 2]);
    let mut without = limited([Some(5), Some(6), Some(2)]);
    without.ports.pop();
    let fourth = third.successor(&without, fdb.clone());
    let fifth = fourth.successor(&limited([Some(5), Some(6), Some(2)]), fdb);
    assert_eq!([1, 2, 3].map(|ingress| floods(&fifth, 1, ingress)), [0, 6, 2]);
}

#[test]
fn a_trace_learns_nothing_and_uses_nothing_up() {
    let fdb = fdb();
    let limited =
        PortSpec { flood_limit: Some(Rate { per_second: 1 }), ..spec(port(1), access(10)) };
    let spec = switch_spec(vec![limited, spec(port(2), access(10))], vec![]);
    let switch = Switch::new(&spec, fdb.clone());
    let frame = untagged(BROADCAST, host(1));
    for _ in 0..10 {
        let trace = switch.trace(seconds(0), port(1), &frame);
        assert_eq!((trace.reason, trace.is_flood, trace.vlan), (None, true, Some(vlan(10))));
        let stages: Vec<&str> = trace.steps.iter().map(|step| step.stage).collect();
        assert_eq!(stages, ["ingress", "vlan", "learn", "lookup"]);
    }
    assert!(fdb.is_empty());
    assert!(switch.forward(seconds(0), port(1), &frame).is_ok());
    let refused = switch.trace(seconds(0), port(1), &frame);
    assert_eq!(refused.reason, Some(FloodLimited));
    assert_eq!(refused.steps.last().map(|step| step.stage), Some("verdict"));
}

#[test]
fn a_trace_knows_what_learning_would_push_out() {
    let one = PortSpec { mac_limit: Some(1), ..spec(port(1), access(10)) };
    let switch = switch(vec![one, spec(port(2), access(10)), spec(port(3), access(10))]);
    assert!(send(&switch, 0, 1, &untagged(BROADCAST, host(1))).is_ok());
    // `send` compares trace and frame: host 4 pushes out host 1, which is unknown then.
    assert_eq!(send(&switch, 0, 1, &untagged(host(1), host(4))), ports(&[2, 3]));
    assert_eq!(send(&switch, 0, 2, &untagged(host(1), host(2))), ports(&[1, 3]));
    assert_eq!(send(&switch, 0, 2, &untagged(host(4), host(2))), ports(&[1]));
    // Host 2 moves to port 1 and pushes out host 4.
    assert_eq!(send(&switch, 0, 1, &untagged(host(4), host(2))), ports(&[2, 3]));
}
