//! Deciding on a frame allocates nothing, whatever the frame is and whatever it changes. Alone in its binary:
//! the allocator counts for the whole process.
#![cfg(not(loom))]

use std::{alloc::System, hint::black_box, sync::Arc, time::Duration};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weft_core::{
    DropReason, Fdb, Guards, Isolation, PortId, PortSpec, Rate, Switch, SwitchSpec, Timestamp,
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
        vlan: if index.is_multiple_of(2) { PortVlan::Access(vlan) } else { trunk.clone() },
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
    Switch::new(&spec, Arc::new(Fdb::new(1000, [1, 2])))
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
    let region = Region::new(ALLOCATOR);
    for round in 0..8u64 {
        for (position, head) in heads.iter().enumerate() {
            let now = Timestamp::from_micros(1_000_000_000 + round * 40_000_000 + position as u64);
            let ingress = port((position as u64 + round) as u16 % 8);
            match switch.forward(now, ingress, head) {
                Ok(egress) => {
                    copies += egress.copies().filter(|copy| black_box(copy).1.is_ok()).count();
                }
                Err(reason) => drops[reason as usize] += 1,
            }
        }
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations, change.deallocations), (0, 0, 0));
    // The frames did reach what they were made to reach.
    assert!(copies > 10_000, "{copies}");
    for reason in [DropReason::Spoofed, DropReason::FloodLimited, DropReason::TaggedOnAccess] {
        assert!(drops[reason as usize] > 0, "{reason}");
    }
}
