//! Deciding on a frame allocates nothing, whatever the frame is and whatever it changes. Alone in its binary:
//! the allocator counts for the whole process.
#![cfg(not(loom))]

use std::{
    alloc::System,
    hint::black_box,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weft_core::{
    DropReason, Fdb, Guards, Isolation, PortId, PortKind, PortSpec, Rate, Switch, SwitchSpec,
    Timestamp,
};
use weft_vlan::{Head, MacAddr, Native, PortVlan, Tpid, VlanId, VlanSet};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HOSTS: u64 = 4096;

fn port(index: u16) -> PortId {
    PortId::new(index).unwrap()
}

fn switch() -> Switch {
    let vlan = VlanId::new(10).unwrap();
    let trunk = PortVlan::Trunk {
        members: VlanSet::all(),
        native: Some(Native::Untagged(vlan)),
        tpid: Tpid::Dot1Q,
    };
    let spec = |index: u16| PortSpec {
        id: port(index),
        kind: if index == 7 { PortKind::Tunnel } else { PortKind::Local },
        vlan: if index.is_multiple_of(2) { PortVlan::Access(vlan) } else { trunk.clone() },
        blocked: if index == 5 { [vlan].into_iter().collect() } else { VlanSet::new() },
        mtu: 1500,
        mac_limit: (index == 2).then_some(100),
        guards: Guards::default(),
        isolation: Isolation::Open,
        flood_limit: (index == 3).then_some(Rate { per_second: 10 }),
    };
    let mut ports: Vec<PortSpec> = (0..8).map(spec).collect();
    let ips = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    ports[4].guards = Guards { macs: (0..HOSTS).map(mac).collect(), ips };
    let spec =
        SwitchSpec { ageing: Duration::from_secs(300), mac_limit: 1000, ports, statics: vec![] };
    let fdb = Arc::new(Fdb::new(1000, [1, 2]));
    let switch = Switch::new(&spec, fdb.clone());
    // As with a tunnel: news that overflow, entries on another host's word, frozen addresses.
    fdb.follow(VlanSet::all(), 100);
    for host in 0..100 {
        let at = Timestamp::from_micros(900_000_000);
        assert!(switch.install(at, vlan, mac(host * 13), port(7)));
        fdb.freeze(vlan, mac(host * 17));
    }
    let _ = fdb.poll_news(&mut Context::from_waker(Waker::noop()));
    switch
}

fn mac(host: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | host)
}

fn heads() -> Vec<Head> {
    let payloads: [&[u8]; 5] = [
        &[0x12, 0x34, 0, 0],
        &[0x81, 0x00, 0x00, 0x0a, 0x08, 0x00, 0x45, 0],
        &[
            0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9,
            9, 9, 9,
        ],
        &[0x08, 0x00, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 9, 9, 9, 9],
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 44, 64],
    ];
    (0..HOSTS)
        .map(|host| {
            let destination =
                if host % 7 == 0 { MacAddr::BROADCAST } else { mac(host * 31 % HOSTS) };
            let addresses = [destination.octets(), mac(host).octets()].concat();
            let frame = [&addresses, payloads[host as usize % payloads.len()]].concat();
            Head::read(&frame, frame.len(), None)
        })
        .collect()
}

#[test]
fn forwarding_learning_moving_evicting_and_refusing_allocate_nothing() {
    let (switch, heads) = (switch(), heads());
    let mut drops = [0; DropReason::COUNT];
    let mut copies = 0;
    // The test's harness has a thread of its own that may allocate meanwhile, but not every time.
    let is_silent = (0..8).any(|repetition| {
        let region = Region::new(ALLOCATOR);
        for round in 0..8 {
            let round = repetition * 8 + round;
            for (position, head) in heads.iter().enumerate() {
                let micros = 1_000_000_000 + round * 40_000_000 + position as u64;
                let ingress = port((position as u64 + round) as u16 % 8);
                match switch.forward(Timestamp::from_micros(micros), ingress, head) {
                    Ok(egress) => {
                        copies += egress.copies().filter(|copy| black_box(copy).1.is_ok()).count();
                    }
                    Err(reason) => drops[reason as usize] += 1,
                }
            }
        }
        let change = region.change();
        (change.allocations, change.reallocations, change.deallocations) == (0, 0, 0)
    });
    assert!(is_silent, "forwarding allocates");
    // The frames did reach what they were made to reach.
    assert!(copies > 10_000, "{copies}");
    for reason in [
        DropReason::Spoofed,
        DropReason::FloodLimited,
        DropReason::TaggedOnAccess,
        DropReason::LoopBlocked,
    ] {
        assert!(drops[reason as usize] > 0, "{reason}");
    }
}
