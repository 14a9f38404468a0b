//! What deciding on one frame costs, in bursts of 32 as a worker sees them.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weft_core::{
    Fdb, Guards, Isolation, PortId, PortKind, PortSpec, Switch, SwitchSpec, Timestamp,
};
use weft_vlan::{Head, MacAddr, PortVlan, Tpid, VlanId, VlanSet};

const BURST: usize = 32;
const HOSTS: u64 = 4096;

fn vlan(vid: u16) -> VlanId {
    VlanId::new(vid).expect("a VLAN")
}

fn port(index: u16) -> PortId {
    PortId::new(index).expect("a port")
}

fn mac(host: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | host)
}

fn spec(id: u16, vlan: PortVlan, guards: Guards) -> PortSpec {
    PortSpec {
        id: port(id),
        kind: PortKind::Local,
        vlan,
        blocked: VlanSet::new(),
        mtu: 1500,
        mac_limit: None,
        guards,
        isolation: Isolation::Open,
        flood_limit: None,
    }
}

fn head(destination: MacAddr, source: MacAddr, tag: Option<u16>) -> Head {
    let mut frame = vec![0; 64];
    frame[..6].copy_from_slice(&destination.octets());
    frame[6..12].copy_from_slice(&source.octets());
    if let Some(vid) = tag {
        frame[12..14].copy_from_slice(&[0x81, 0x00]);
        frame[14..16].copy_from_slice(&vid.to_be_bytes());
        frame[16..19].copy_from_slice(&[0x08, 0x00, 0x45]);
    } else {
        frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    }
    Head::read(&frame, frame.len(), None)
}

/// Eight ports, 4096 learned hosts dealt out to them.
fn switch(mode: &dyn Fn(u16) -> PortVlan, guards: &Guards) -> Switch {
    let ports = (0..8).map(|id| spec(id, mode(id), guards.clone())).collect();
    let spec = SwitchSpec {
        ageing: Duration::from_secs(300),
        mac_limit: 65_536,
        ports,
        statics: Vec::new(),
    };
    Switch::new(&spec, Arc::new(Fdb::new(65_536, [0x1234_5678_9abc_def1, 0x0fed_cba9_8765_4321])))
}

fn learn(switch: &Switch, tag: Option<u16>) {
    for host in 0..HOSTS {
        let head = head(MacAddr::BROADCAST, mac(host), tag);
        let _ = switch.forward(Timestamp::from_micros(1_000_000), port((host % 8) as u16), &head);
    }
}

fn run(criterion: &mut Criterion, name: &str, switch: &Switch, bursts: &[Vec<Head>]) {
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(BURST as u64));
    let mut next = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let burst = &bursts[next % bursts.len()];
            next += 1;
            let mut forwarding = switch.burst(Timestamp::from_micros(1_500_000), port(0));
            for head in burst {
                if let Ok(egress) = forwarding.forward(black_box(head)) {
                    for copy in egress.copies() {
                        let _ = black_box(copy);
                    }
                }
            }
        });
    });
    group.finish();
}

fn bursts(destination: &dyn Fn(u64) -> MacAddr, tag: Option<u16>) -> Vec<Vec<Head>> {
    // Sources on port 0, destinations spread over all hosts of the other ports.
    (0..HOSTS / 8 / BURST as u64)
        .map(|burst| {
            (0..BURST as u64)
                .map(|frame| {
                    let nth = burst * BURST as u64 + frame;
                    head(destination(nth), mac(nth * 8), tag)
                })
                .collect()
        })
        .collect()
}

fn forward(criterion: &mut Criterion) {
    let open = Guards::default();
    let elsewhere = |nth: u64| mac(nth * 8 + 1 + nth % 7);
    let access = switch(&|_| PortVlan::Access(vlan(10)), &open);
    learn(&access, None);
    run(criterion, "known-unicast", &access, &bursts(&elsewhere, None));
    run(criterion, "flood", &access, &bursts(&|_| MacAddr::BROADCAST, None));

    let all = |_| PortVlan::Trunk { members: VlanSet::all(), native: None, tpid: Tpid::Dot1Q };
    let trunk = switch(&all, &open);
    learn(&trunk, Some(10));
    run(criterion, "trunk", &trunk, &bursts(&elsewhere, Some(10)));

    let guards =
        Guards { macs: (0..HOSTS / 64).map(|nth| mac(nth * 8)).collect(), ips: Vec::new() };
    let guarded = switch(&|_| PortVlan::Access(vlan(10)), &guards);
    learn(&guarded, None);
    run(criterion, "guarded", &guarded, &bursts(&elsewhere, None)[..2]);
}

criterion_group!(benches, forward);
criterion_main!(benches);
