//! Tunnels to other hosts: split horizon, what other hosts tell, what is frozen, where a loop was found.

use weft_core::{
    DropReason::*, Entry, EntryKind, Fdb, Guards, Isolation, Limits, PortId, PortKind, PortSpec,
    Scope, StaticEntry, Switch,
};
use weft_vlan::{Head, MacAddr, PortVlan, VlanSet};

use crate::common::*;

fn to_peer(id: u16, mode: PortVlan) -> PortSpec {
    PortSpec { kind: PortKind::Tunnel, ..spec(port(id), mode) }
}

/// Hosts on ports 1 and 2, peers behind 8 and 9, in VLAN 10; the peers alone in VLAN 20.
fn four_ports() -> Vec<PortSpec> {
    let local = |id| spec(port(id), access(10));
    vec![local(1), local(2), to_peer(8, trunk(&[10, 20])), to_peer(9, trunk(&[10, 20]))]
}

fn to(destination: MacAddr, source: MacAddr) -> Head {
    head(&frame(destination, source, &[], PAYLOAD))
}

fn tagged_to(vid: u16, destination: MacAddr, source: MacAddr) -> Head {
    head(&frame(destination, source, &[q(vid)], PAYLOAD))
}

fn send(
    switch: &Switch,
    at: u64,
    ingress: u16,
    head: &Head,
) -> Result<Vec<u16>, weft_core::DropReason> {
    let ports = ports_of(forward(switch, seconds(at), port(ingress), head))?;
    Ok(ports.into_iter().map(|port| port.index() as u16).collect())
}

fn install(switch: &Switch, at: u64, number: u64, id: u16) -> bool {
    switch.install(seconds(at), vlan(10), host(number), port(id))
}

fn find(fdb: &Fdb, at: u64, number: u64) -> Option<(PortId, EntryKind)> {
    let entries = fdb.entries(seconds(at), AGEING);
    let entry = entries.iter().find(|entry| (entry.vlan, entry.mac) == (vlan(10), host(number)));
    let limits = Limits::new(AGEING, None);
    let found = fdb.lookup(seconds(at), &limits, vlan(10), host(number));
    assert_eq!(found, entry.map(|entry| entry.port));
    entry.map(|entry| (entry.port, entry.kind))
}

#[test]
fn what_came_by_a_tunnel_leaves_by_no_tunnel() {
    let switch = switch(four_ports());
    assert!(install(&switch, 0, 80, 8) && install(&switch, 0, 90, 9));
    let cases = [
        // From a host to everyone, to a peer's host, to nobody that is known.
        (1, to(BROADCAST, host(1)), Ok(vec![2, 8, 9])),
        (1, to(host(80), host(1)), Ok(vec![8])),
        (2, to(host(77), host(2)), Ok(vec![1, 8, 9])),
        // From a peer: never to a peer, its own or another.
        (8, tagged_to(10, BROADCAST, host(80)), Ok(vec![1, 2])),
        (8, tagged_to(10, host(77), host(80)), Ok(vec![1, 2])),
        (8, tagged_to(10, host(1), host(80)), Ok(vec![1])),
        (8, tagged_to(10, host(90), host(80)), Err(SplitHorizon)),
        (8, tagged_to(10, host(80), host(81)), Err(SamePort)),
        (9, tagged_to(10, host(2), host(90)), Ok(vec![2])),
        // Where there are peers alone.
        (8, tagged_to(20, BROADCAST, host(80)), Err(SplitHorizon)),
        (8, tagged_to(20, host(90), host(80)), Err(SplitHorizon)),
        (8, tagged_to(30, BROADCAST, host(80)), Err(VlanNotMember)),
    ];
    for (position, (ingress, head, expected)) in cases.into_iter().enumerate() {
        assert_eq!(send(&switch, 0, ingress, &head), expected, "{position}");
    }
    let alone = crate::common::switch(vec![to_peer(8, trunk(&[10]))]);
    assert_eq!(send(&alone, 0, 8, &tagged_to(10, BROADCAST, host(80))), Err(NoMember));
}

#[test]
fn isolation_and_split_horizon_hold_together() {
    let isolated = |spec: PortSpec| PortSpec { isolation: Isolation::Isolated, ..spec };
    let local = |id| spec(port(id), access(10));
    let peer = |id| to_peer(id, trunk(&[10]));
    let broadcast = tagged_to(10, BROADCAST, host(80));
    // The other ports, and where a flood from port 8 goes, which is an isolated tunnel.
    let cases = [
        (vec![local(1), isolated(local(2)), peer(9)], Ok(vec![1])),
        (vec![isolated(local(2)), peer(9)], Err(Isolated)),
        (vec![isolated(local(2)), isolated(peer(9))], Err(Isolated)),
        (vec![peer(9), isolated(peer(7))], Err(SplitHorizon)),
        (vec![isolated(local(2))], Err(Isolated)),
    ];
    for (position, (mut others, expected)) in cases.into_iter().enumerate() {
        others.push(isolated(peer(8)));
        assert_eq!(send(&switch(others), 0, 8, &broadcast), expected, "{position}");
    }
}

#[test]
fn frames_from_a_tunnel_teach_nothing() {
    let fdb = fdb();
    let switch = Switch::new(&switch_spec(four_ports(), vec![]), fdb.clone());
    assert!(send(&switch, 0, 8, &tagged_to(10, BROADCAST, host(80))).is_ok());
    assert!(fdb.is_empty());
    assert!(send(&switch, 0, 1, &to(BROADCAST, host(1))).is_ok());
    assert!(install(&switch, 0, 90, 9));
    // A peer that says it is somebody else moves nobody.
    for lie in [1, 90] {
        assert!(send(&switch, 2, 8, &tagged_to(10, BROADCAST, host(lie))).is_ok());
    }
    assert_eq!(find(&fdb, 2, 1), Some((port(1), EntryKind::Learned)));
    assert_eq!(find(&fdb, 2, 90), Some((port(9), EntryKind::Remote)));
}

#[test]
fn what_a_peer_told_stays_until_it_is_taken_back() {
    let fdb = fdb();
    let switch = Switch::new(&switch_spec(four_ports(), vec![]), fdb.clone());
    assert!(send(&switch, 0, 1, &to(BROADCAST, host(1))).is_ok());
    assert!(install(&switch, 0, 80, 8));
    // Neither age nor a flush takes it away, nor is it counted as flushed.
    let later = 1_000_000;
    fdb.sweep(seconds(later), AGEING);
    assert_eq!(fdb.len(), 1);
    for scope in [
        Scope::default(),
        Scope { vlan: Some(vlan(10)), port: None },
        Scope { vlan: None, port: Some(port(8)) },
        Scope { vlan: Some(vlan(10)), port: Some(port(8)) },
    ] {
        assert_eq!(fdb.flush(seconds(later), AGEING, scope), 0, "{scope:?}");
        assert_eq!(find(&fdb, later, 80), Some((port(8), EntryKind::Remote)), "{scope:?}");
    }
    assert_eq!(send(&switch, later, 1, &to(host(80), host(1))), Ok(vec![8]));
    // By the word of that peer alone.
    assert!(!fdb.withdraw(vlan(10), host(80), port(9)));
    assert!(!fdb.withdraw(vlan(20), host(80), port(8)));
    assert!(fdb.withdraw(vlan(10), host(80), port(8)));
    assert!(!fdb.withdraw(vlan(10), host(80), port(8)));
    assert_eq!(send(&switch, later, 1, &to(host(80), host(1))), Ok(vec![2, 8, 9]));
    // With its port it goes too.
    assert!(install(&switch, later, 80, 8) && install(&switch, later, 90, 9));
    fdb.forget_port(port(8));
    assert_eq!([80, 90].map(|number| find(&fdb, later, number).is_some()), [false, true]);
}

#[test]
fn an_address_moves_between_hosts_and_ports() {
    let fdb = fdb();
    let switch = Switch::new(&switch_spec(four_ports(), vec![]), fdb.clone());
    let hear = |at, ingress| send(&switch, at, ingress, &to(BROADCAST, host(1))).unwrap();
    let (learned, remote) = (EntryKind::Learned, EntryKind::Remote);
    hear(0, 1);
    assert!(install(&switch, 1, 1, 8));
    assert_eq!(find(&fdb, 1, 1), Some((port(8), remote)));
    assert!(install(&switch, 1, 1, 9));
    assert_eq!(find(&fdb, 1, 1), Some((port(9), remote)));
    hear(1, 2);
    assert_eq!(find(&fdb, 1, 1), Some((port(2), learned)));
    assert!(!fdb.withdraw(vlan(10), host(1), port(9)));
    assert_eq!((find(&fdb, 1, 1), fdb.len()), (Some((port(2), learned)), 1));
    // Learned again it ages again.
    fdb.sweep(seconds(302), AGEING);
    assert!(fdb.is_empty());
}

#[test]
fn only_a_station_behind_a_tunnel_that_carries_the_vlan_is_installed() {
    let fdb = fdb();
    let statics = vec![StaticEntry { vlan: vlan(10), mac: host(5), port: port(1) }];
    let switch = Switch::new(&switch_spec(four_ports(), statics), fdb.clone());
    let cases = [
        (10, host(80), 8, true),
        (20, host(80), 8, true),
        (30, host(80), 8, false),
        (10, host(80), 1, false),
        (10, host(80), 7, false),
        (10, BROADCAST, 8, false),
        (10, MacAddr::new([0x33, 0x33, 0, 0, 0, 1]), 8, false),
        (10, MacAddr::new([0; 6]), 8, false),
    ];
    for (vid, mac, id, is_installed) in cases {
        let installed = switch.install(seconds(0), vlan(vid), mac, port(id));
        assert_eq!(installed, is_installed, "{vid} {mac} {id}");
    }
    assert_eq!(fdb.len(), 2);
    // What is configured is not a peer's to say, nor may it send in its name.
    install(&switch, 0, 5, 8);
    assert_eq!(send(&switch, 0, 2, &to(host(5), host(2))), Ok(vec![1]));
    assert_eq!(send(&switch, 0, 8, &tagged_to(10, host(2), host(5))), Err(StaticElsewhere));
}

#[test]
fn a_million_claims_cost_their_own_peer() {
    let fdb = fdb();
    let mut specs = four_ports();
    specs[2].mac_limit = Some(50);
    let switch = Switch::new(&switch_spec(specs, vec![]), fdb.clone());
    for number in 1..=20 {
        send(&switch, 0, 1, &to(BROADCAST, host(number))).unwrap();
        assert!(install(&switch, 0, 100 + number, 9));
    }
    for number in 0..1_000_000 {
        assert!(install(&switch, 1, 1000 + number, 8));
    }
    assert_eq!(fdb.len(), 20 + 20 + 50);
    assert!((1..=20).all(|number| find(&fdb, 1, number).is_some()));
    assert!((101..=120).all(|number| find(&fdb, 1, number).is_some()));
    assert!((1_000_950..1_001_000).all(|number| find(&fdb, 1, number).is_some()));
    // Nor can the stations of a port push out what peers have told.
    for number in 0..100_000 {
        send(&switch, 2, 1, &to(BROADCAST, host(2_000_000 + number))).unwrap();
    }
    assert!((101..=120).all(|number| find(&fdb, 2, number).is_some()));
}

#[test]
fn a_frozen_address_stands_still_until_it_is_thawed() {
    let fdb = fdb();
    let switch = Switch::new(&switch_spec(four_ports(), vec![]), fdb.clone());
    let hear = |at, ingress, number| {
        send(&switch, at, ingress, &to(BROADCAST, host(number))).unwrap();
        find(&fdb, at, number).map(|(port, _)| port)
    };
    hear(0, 1, 1);
    assert!(install(&switch, 0, 80, 8));
    for number in [1, 80, 3] {
        fdb.freeze(vlan(10), host(number));
    }
    assert_eq!(hear(1, 2, 1), Some(port(1)));
    assert_eq!(hear(1, 2, 80), Some(port(8)));
    assert_eq!(hear(1, 2, 3), None);
    // Where it stands it is heard: it ages from then on.
    assert_eq!(hear(200, 1, 1), Some(port(1)));
    assert_eq!(find(&fdb, 400, 1).map(|(port, _)| port), Some(port(1)));
    // Other addresses and VLANs are free, and the control plane is.
    assert_eq!(hear(400, 2, 4), Some(port(2)));
    assert!(install(&switch, 400, 80, 9));
    let trace = switch.trace(seconds(400), port(2), &to(BROADCAST, host(80)));
    assert!(trace.steps.iter().any(|step| step.text.contains("frozen")), "{trace:?}");
    for number in [1, 80, 3] {
        fdb.thaw(vlan(10), host(number));
        assert_eq!(hear(401, 2, number), Some(port(2)));
    }
}

#[test]
fn a_larger_table_takes_over_what_is_remote_and_what_is_frozen() {
    let old = fdb();
    let specs = switch_spec(four_ports(), vec![]);
    let switch = Switch::new(&specs, old.clone());
    assert!(install(&switch, 0, 80, 8));
    old.freeze(vlan(10), host(80));
    let new = std::sync::Arc::new(Fdb::new(4096, [3, 4]));
    new.adopt(seconds(1000), AGEING, &old);
    let switch = switch.successor(&specs, new.clone());
    send(&switch, 1000, 1, &to(BROADCAST, host(80))).unwrap();
    assert_eq!(find(&new, 1000, 80), Some((port(8), EntryKind::Remote)));
}

#[test]
fn where_a_loop_was_found_nothing_enters_and_nothing_leaves() {
    let blocked = |spec: PortSpec, vids: &[u16]| PortSpec { blocked: vlans(vids), ..spec };
    let fdb = fdb();
    let specs = |vids: &[u16]| {
        vec![
            blocked(spec(port(1), access(10)), vids),
            blocked(spec(port(2), native(&[10, 20], 10)), &[20]),
            spec(port(3), trunk(&[10, 20])),
        ]
    };
    let switch = Switch::new(&switch_spec(specs(&[]), vec![]), fdb.clone());
    assert_eq!(send(&switch, 0, 1, &to(BROADCAST, host(1))), Ok(vec![2, 3]));
    let switch = switch.successor(&switch_spec(specs(&[10]), vec![]), fdb.clone());
    let cases = [
        (1, to(BROADCAST, host(11)), Err(LoopBlocked)),
        (2, to(BROADCAST, host(12)), Ok(vec![3])),
        (2, tagged_to(20, BROADCAST, host(13)), Err(LoopBlocked)),
        (2, tagged_to(30, BROADCAST, host(13)), Err(VlanNotMember)),
        (3, tagged_to(10, host(12), host(14)), Ok(vec![2])),
        (3, tagged_to(20, BROADCAST, host(14)), Ok(vec![])),
        // Known there from before: it is not where the frame may go.
        (3, tagged_to(10, host(1), host(14)), Err(LoopBlocked)),
    ];
    for (position, (ingress, head, expected)) in cases.into_iter().enumerate() {
        assert_eq!(send(&switch, 0, ingress, &head), expected, "{position}");
    }
    // What does not leave is counted where it does not, and what was refused taught nothing.
    let copies = outcome(
        &to(BROADCAST, host(14)),
        switch.forward(seconds(0), port(3), &tagged_to(20, BROADCAST, host(14))),
    );
    assert_eq!(copies, Ok(vec![(port(2), Err(LoopBlocked))]));
    let known = fdb.entries(seconds(0), AGEING);
    assert!(known.iter().all(|entry: &Entry| entry.mac != host(11) && entry.mac != host(13)));
}

#[test]
fn a_trace_names_tunnels_and_loops() {
    let fdb = fdb();
    let mut specs = switch_spec(four_ports(), vec![]);
    let switch = Switch::new(&specs, fdb.clone());
    assert!(send(&switch, 0, 2, &to(BROADCAST, host(2))).is_ok());
    specs.ports[1].blocked = vlans(&[10]);
    let switch = switch.successor(&specs, fdb);
    assert!(install(&switch, 0, 80, 8) && install(&switch, 0, 90, 9));
    let cases = [
        (8, tagged_to(10, host(90), host(80)), "frames from a tunnel teach nothing"),
        (8, tagged_to(10, host(90), host(80)), "is behind a tunnel, and the frame came by one"),
        (8, tagged_to(20, BROADCAST, host(80)), "every other port in this VLAN is a tunnel"),
        (1, to(host(80), host(1)), "is known in VLAN 10, behind one tunnel"),
        (1, to(BROADCAST, host(80)), "moves here in VLAN 10"),
        (2, to(host(80), host(1)), "blocked in VLAN 10, because a loop was found there"),
        (1, to(host(2), host(1)), "is on a port that is blocked in VLAN 10"),
    ];
    for (ingress, head, text) in cases {
        let trace = switch.trace(seconds(0), port(ingress), &head);
        assert!(trace.steps.iter().any(|step| step.text.contains(text)), "{text}: {trace:?}");
    }
}

#[test]
fn a_tunnel_is_guarded_and_limited_like_any_port() {
    let mut specs = four_ports();
    specs[2].guards = Guards { macs: vec![host(80)], ips: vec![] };
    specs[3].blocked = VlanSet::all();
    let switch = switch(specs);
    assert_eq!(send(&switch, 0, 8, &tagged_to(10, BROADCAST, host(81))), Err(Spoofed));
    assert_eq!(send(&switch, 0, 9, &tagged_to(10, BROADCAST, host(90))), Err(LoopBlocked));
}
