//! Random switches and random frames: the fast switch against the reference, its trace against both, and bytes
//! that nobody meant.

use std::{
    collections::BTreeMap,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};
use weft_core::{
    Change, EntryKind, Fdb, Guards, Isolation, PortId, PortKind, PortSpec, Rate, Scope,
    StaticEntry, Switch, SwitchSpec, Timestamp,
};
use weft_vlan::{Head, MacAddr, Native, PortVlan, Tpid, VlanId, VlanSet};

use crate::{common::*, reference::Reference};

const VIDS: [u16; 4] = [1, 10, 300, 4094];

fn port_vlan() -> impl Strategy<Value = PortVlan> {
    let vid = || select(&VIDS[..]);
    let tpid = prop_oneof![3 => Just(Tpid::Dot1Q), 1 => Just(Tpid::Dot1ad)];
    let native = option::of((any::<bool>(), vid()));
    let trunk =
        (subsequence(&VIDS[..], 1..=4), native, tpid).prop_map(|(members, native, tpid)| {
            let mut members = vlans(&members);
            let native = native.map(|(is_tagged, vid)| {
                members.insert(vlan(vid));
                if is_tagged { Native::Tagged(vlan(vid)) } else { Native::Untagged(vlan(vid)) }
            });
            PortVlan::Trunk { members, native, tpid }
        });
    let customer = option::of(subsequence(&VIDS[..], 1..=3));
    prop_oneof![
        2 => vid().prop_map(access),
        3 => trunk,
        1 => (vid(), customer).prop_map(|(vid, customer)| tunnel(vid, customer.as_deref())),
    ]
}

fn port_spec() -> impl Strategy<Value = PortSpec> {
    let mtu = select(vec![68u32, 100, 104, 1500]);
    let mac_limit = option::weighted(0.2, 1usize..4);
    let macs = prop_oneof![4 => Just(vec![]), 1 => vec(address(), 1..4)];
    let flood_limit = option::weighted(0.2, select(vec![1u32, 2, 5, 10]));
    let blocked = prop_oneof![4 => Just(vec![]), 1 => subsequence(&VIDS[..], 1..=4)];
    let kind = prop_oneof![2 => Just(PortKind::Local), 1 => Just(PortKind::Tunnel)];
    let place = (kind, port_vlan(), blocked);
    (place, mtu, mac_limit, macs, prop::bool::weighted(0.3), flood_limit).prop_map(
        |((kind, vlan, blocked), mtu, mac_limit, macs, isolated, flood_limit)| PortSpec {
            kind,
            blocked: vlans(&blocked),
            mtu,
            mac_limit,
            guards: Guards { macs, ips: vec![] },
            isolation: if isolated { Isolation::Isolated } else { Isolation::Open },
            flood_limit: flood_limit.map(|per_second| Rate { per_second }),
            ..spec(port(0), vlan)
        },
    )
}

fn address() -> impl Strategy<Value = MacAddr> {
    (1u64..7).prop_map(host)
}

fn any_address() -> impl Strategy<Value = MacAddr> {
    prop_oneof![
        12 => address(),
        4 => Just(BROADCAST),
        1 => Just(MacAddr::new([0x01, 0, 0x5e, 0, 0, 1])),
        1 => Just(MacAddr::new([0; 6])),
        1 => (0u8..18).prop_map(|last| MacAddr::new([0x01, 0x80, 0xc2, 0, 0, last])),
    ]
}

fn switch_spec() -> impl Strategy<Value = SwitchSpec> {
    let statics = prop_oneof![
        2 => Just(vec![]),
        1 => vec((select(&VIDS[..]), address(), 0u16..8), 1..3),
    ];
    let ageing = select(vec![1u64, 20, 300]);
    (vec(port_spec(), 1..8), statics, ageing).prop_map(|(mut ports, statics, ageing)| {
        for (index, spec) in ports.iter_mut().enumerate() {
            spec.id = port(index as u16 * 3);
        }
        let mut statics: Vec<StaticEntry> = statics
            .into_iter()
            .map(|(vid, mac, index)| StaticEntry { vlan: vlan(vid), mac, port: port(index * 3) })
            .collect();
        statics.sort_by_key(|entry| (entry.vlan, entry.mac));
        statics.dedup_by_key(|entry| (entry.vlan, entry.mac));
        SwitchSpec { ageing: Duration::from_secs(ageing), mac_limit: 4096, ports, statics }
    })
}

fn tag() -> impl Strategy<Value = Tag> {
    let vid = prop_oneof![8 => select(&VIDS[..]), 2 => Just(0), 1 => Just(4095), 1 => Just(77)];
    let tpid = prop_oneof![3 => Just(0x8100u16), 1 => Just(0x88a8)];
    (tpid, vid, prop_oneof![3 => Just(0u16), 1 => 0u16..16])
        .prop_map(|(tpid, vid, priority)| (tpid, priority << 12 | vid))
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![8 => Just(0x1234u16), 1 => Just(0x8100), 1 => Just(0x88a8)];
    let len = prop_oneof![8 => 0usize..6, 2 => 50usize..125, 1 => Just(1500)];
    let tags = prop_oneof![4 => vec(tag(), 0..=1), 1 => vec(tag(), 2..=4)];
    let cut = option::weighted(0.05, 0usize..30);
    (any_address(), any_address(), tags, ethertype, len, cut).prop_map(
        |(destination, source, tags, ethertype, len, cut)| {
            let payload = [&ethertype.to_be_bytes()[..], &vec![0x5a; len]].concat();
            let mut frame = frame(destination, source, &tags, &payload);
            frame.truncate(cut.unwrap_or(usize::MAX));
            frame
        },
    )
}

/// Microseconds until the next frame.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..1000, 3 => 0u64..2_000_000, 1 => 0u64..400_000_000]
}

#[derive(Clone, Debug)]
enum Step {
    Frame {
        ingress: u16,
        frame: Vec<u8>,
    },
    /// What comes by one port at one moment; which of these frames, one behind the other.
    Burst {
        ingress: u16,
        frames: Vec<Vec<u8>>,
        order: Vec<usize>,
    },
    /// A peer's word, and the control plane's.
    Told {
        word: Word,
        vid: u16,
        mac: MacAddr,
        at: u16,
    },
    /// Reclaims what has aged out.
    Sweep,
    /// The same switch with other ports, and the forwarding database of before.
    Reconfigure(SwitchSpec),
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Install,
    Withdraw,
    Freeze,
    Thaw,
}

fn step() -> impl Strategy<Value = Step> {
    let frame = (0u16..8, any_frame());
    let order = vec(0usize..3, 1..12);
    let burst = (0u16..8, vec(any_frame(), 3), order);
    let word = prop_oneof![6 => Just(Word::Install), 1 => Just(Word::Withdraw), 1 => Just(Word::Freeze), 1 => Just(Word::Thaw)];
    let mac = prop_oneof![9 => address(), 1 => any_address()];
    let told = (word, select(&VIDS[..]), mac, 0u16..8);
    prop_oneof![
        20 => told.prop_map(|(word, vid, mac, index)| Step::Told { word, vid, mac, at: index * 3 }),
        4 => Just(Step::Sweep),
        60 => frame.prop_map(|(index, frame)| Step::Frame { ingress: index * 3, frame }),
        12 => burst.prop_map(|(index, frames, order)| {
            Step::Burst { ingress: index * 3, frames, order }
        }),
        1 => switch_spec().prop_map(Step::Reconfigure),
    ]
}

/// Copies leave in the form of the whole frame; heads stand for what is behind them.
fn whole(head: &Head, frame: &[u8], outcome: Outcome) -> Outcome {
    let rest = &frame[head.consumed()..];
    let complete = |bytes: Vec<u8>| [&bytes[..], rest].concat();
    Ok(outcome?.into_iter().map(|(to, copy)| (to, copy.map(complete))).collect())
}

/// What a reader of the news knows of local addresses.
#[derive(Default)]
struct Reader(BTreeMap<(VlanId, MacAddr), PortId>);

impl Reader {
    fn read(&mut self, fdb: &Fdb, now: Timestamp, ageing: Duration) {
        while let Poll::Ready(bulletin) = fdb.poll_news(&mut Context::from_waker(Waker::noop())) {
            if bulletin.is_incomplete {
                self.0 = learned(fdb, now, ageing);
            }
            for news in bulletin.news {
                let address = (news.vlan, news.mac);
                match news.change {
                    Change::Came(port) | Change::Moved(port) => self.0.insert(address, port),
                    Change::Went => self.0.remove(&address),
                    Change::Evicted => None,
                };
            }
        }
    }
}

fn learned(fdb: &Fdb, now: Timestamp, ageing: Duration) -> BTreeMap<(VlanId, MacAddr), PortId> {
    let entries = fdb.entries(now, ageing).into_iter();
    let learned = entries.filter(|entry| entry.kind == EntryKind::Learned);
    learned.map(|entry| ((entry.vlan, entry.mac), entry.port)).collect()
}

proptest! {
    #[test]
    fn the_switch_does_what_the_reference_does(
        first in switch_spec(),
        steps in vec((pause(), step()), 1..60),
    ) {
        let fdb = fdb();
        let mut switch = Switch::new(&first, fdb.clone());
        let mut reference = Reference::new(first);
        let mut reader = Reader::default();
        fdb.follow(VlanSet::all(), 8);
        let mut now = 3_000_000_000;
        for (pause, step) in steps {
            now += pause;
            let moment = Timestamp::from_micros(now);
            match step {
                Step::Frame { ingress, frame } => {
                    let head = head(&frame);
                    let decided = forward(&switch, moment, port(ingress), &head);
                    let decided = whole(&head, &frame, decided);
                    let expected = reference.forward(moment, port(ingress), &frame);
                    prop_assert_eq!(decided, expected, "on {} at {}: {:x?}", ingress, now, frame);
                }
                Step::Burst { ingress, frames, order } => {
                    let mut forwarding = switch.burst(moment, port(ingress));
                    for frame in order.iter().map(|&which| &frames[which]) {
                        let head = head(frame);
                        let decided = outcome(&head, forwarding.forward(&head));
                        let decided = whole(&head, frame, decided);
                        let expected = reference.forward(moment, port(ingress), frame);
                        prop_assert_eq!(decided, expected, "on {} at {}: {:x?}", ingress, now, frame);
                    }
                }
                Step::Told { word, vid, mac, at } => {
                    let (at, address) = (port(at), (vlan(vid), mac));
                    match word {
                        Word::Install => {
                            let installed = switch.install(moment, vlan(vid), mac, at);
                            prop_assert_eq!(installed, reference.install(moment, vid, mac, at));
                            if installed {
                                reader.0.remove(&address);
                            }
                        }
                        Word::Withdraw => {
                            let withdrawn = fdb.withdraw(vlan(vid), mac, at);
                            prop_assert_eq!(withdrawn, reference.withdraw(vid, mac, at));
                        }
                        Word::Freeze => {
                            fdb.freeze(vlan(vid), mac);
                            reference.frozen.push(address);
                        }
                        Word::Thaw => {
                            fdb.thaw(vlan(vid), mac);
                            reference.frozen.retain(|&frozen| frozen != address);
                        }
                    }
                }
                Step::Sweep => {
                    fdb.sweep(moment, reference.spec.ageing);
                    reference.sweep(moment);
                    reader.read(&fdb, moment, reference.spec.ageing);
                    prop_assert_eq!(&reader.0, &learned(&fdb, moment, reference.spec.ageing));
                }
                Step::Reconfigure(spec) => {
                    fdb.flush(moment, spec.ageing, Scope::default());
                    // What peers have told goes with their ports.
                    for gone in &reference.spec.ports {
                        fdb.forget_port(gone.id);
                    }
                    prop_assert!(fdb.is_empty());
                    switch = Switch::new(&spec, fdb.clone());
                    let frozen = std::mem::take(&mut reference.frozen);
                    reference = Reference::new(spec);
                    reference.frozen = frozen;
                }
            }
            reader.read(&fdb, moment, reference.spec.ageing);
        }
    }

    #[test]
    fn no_bytes_and_no_length_upset_a_guarded_switch(
        bytes in vec(any::<u8>(), 0..200),
        len in 0usize..70_000,
        mode in port_vlan(),
        start in select(vec![
            vec![], vec![0x08, 0x00, 0x45], vec![0x08, 0x06, 0, 1, 8, 0, 6, 4], vec![0x86, 0xdd, 0x60],
            vec![0x81, 0x00, 0x00, 0x0a, 0x86, 0xdd, 0x60], vec![0x00, 0x20, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd],
        ]),
        next in select(vec![0u8, 6, 17, 43, 44, 51, 58, 60]),
    ) {
        let mut frame = frame(BROADCAST, host(1), &[], &[&start[..], &bytes].concat());
        let next_header = 12 + start.len() + 5;
        if start.ends_with(&[0x60]) && next_header < frame.len() {
            frame[next_header] = next;
        }
        frame.resize(frame.len().max(len), 0);
        frame.truncate(len.max(20));
        let own = "fd00::1".parse().unwrap();
        let guards = Guards { macs: vec![host(1)], ips: vec![own, "0.0.0.0".parse().unwrap()] };
        let guarded = PortSpec { guards, mtu: 65_535, ..spec(port(1), mode.clone()) };
        let switch = switch(vec![guarded, spec(port(2), mode)]);
        let _ = forward(&switch, seconds(0), port(1), &head(&frame));
    }
}
