//! A switch under a sequence of operations: frames of every kind, time, flushes, what other hosts tell, new topologies.
//! Whatever comes, a copy leaves only by another member of the frame's VLAN, never from isolated to isolated or from
//! tunnel to tunnel nor where a loop was found, with the tags of the port's mode, and to one port alone only where the
//! address was last heard or told of; a trace tells what happens.

#![no_main]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use weft_core::{
    DropReason, Egress, Fdb, Guards, Isolation, PortId, PortKind, PortSpec, Rate, Scope,
    StaticEntry, Switch, SwitchSpec, Timestamp,
};
use weft_offload::VnetHeader;
use weft_vlan::{Head, MacAddr, Native, PortVlan, Tags, Tci, Tpid, VlanId, VlanSet, WireTag};
use zerocopy::FromBytes;

const AGEING: Duration = Duration::from_secs(300);
/// An entry is stamped anew at most once a second, and stamps are coarse.
const SLACK: Duration = Duration::from_secs(2);
const VLANS: [u16; 5] = [1, 2, 10, 300, 4094];
const PORTS: usize = 6;

#[derive(Arbitrary, Debug)]
struct Case {
    roomy: bool,
    absent: u8,
    ports: [Port; PORTS],
    statics: Option<[(u8, u8, u8); 3]>,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Clone, Debug)]
struct Port {
    is_tunnel: bool,
    mode: Mode,
    blocked: Option<u8>,
    mtu: u8,
    mac_limit: Option<u8>,
    guard_macs: u8,
    guard_ip: Option<IpAddr>,
    isolated: bool,
    flood_limit: Option<u8>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Mode {
    Access(u8),
    Trunk { members: u8, all: bool, native: Option<u8>, native_tagged: bool, service: bool },
    Tunnel { vlan: u8, customer: Option<u8> },
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Frame {
        ingress: u8,
        to: u8,
        from: u8,
        stripped: Option<u16>,
        ethertype: u8,
        more: u16,
        vnet: Option<[u8; 10]>,
        rest: Vec<u8>,
    },
    Tagged {
        ingress: u8,
        to: u8,
        from: u8,
        vlan: u8,
        service: bool,
        inner: Option<u8>,
        ethertype: u8,
        rest: Vec<u8>,
    },
    Raw {
        ingress: u8,
        bytes: Vec<u8>,
    },
    Wait(u32),
    Flush {
        vlan: Option<u8>,
        port: Option<u8>,
    },
    Told {
        word: Word,
        vlan: u8,
        mac: u8,
        port: u8,
    },
    Sweep,
    Change {
        port: u8,
        to: Option<Port>,
    },
    Resize {
        roomy: bool,
    },
}

/// Another host's word, and the control plane's.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Word {
    Install,
    Withdraw,
    Freeze,
    Thaw,
}

fuzz_target!(|case: Case| {
    let mut bench = Bench::new(&case);
    for operation in case.operations.iter().take(200) {
        bench.run(operation);
        assert!(bench.fdb.len() <= bench.spec.mac_limit);
    }
});

/// The switch and what a naive one would know.
struct Bench {
    now: Timestamp,
    ports: [Option<Port>; PORTS],
    spec: SwitchSpec,
    fdb: Arc<Fdb>,
    switch: Switch,
    /// Where an address was heard last, and when, or where it is on another host's word.
    heard: BTreeMap<(VlanId, MacAddr), (PortId, Option<Timestamp>)>,
    frozen: BTreeSet<(VlanId, MacAddr)>,
    changes: usize,
}

impl Bench {
    fn new(case: &Case) -> Self {
        let ports: [Option<Port>; PORTS] = std::array::from_fn(|index| {
            (case.absent >> index & 1 == 0).then(|| case.ports[index].clone())
        });
        let statics = case.statics.iter().flatten().map(|&(vlan, mac, port)| StaticEntry {
            vlan: vlan_of(vlan),
            mac: address(mac % 6),
            port: port_id(port),
        });
        let spec = SwitchSpec {
            ageing: AGEING,
            mac_limit: mac_limit(case.roomy),
            ports: port_specs(&ports),
            statics: statics.collect(),
        };
        let fdb = Arc::new(Fdb::new(spec.mac_limit, [0x9e37_79b9, 0x85eb_ca6b]));
        let switch = Switch::new(&spec, fdb.clone());
        let now = Timestamp::from_micros(1_000_000);
        let (heard, frozen) = (BTreeMap::new(), BTreeSet::new());
        Self { now, ports, spec, fdb, switch, heard, frozen, changes: 0 }
    }

    fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Frame { ingress, to, from, stripped, ethertype, more, vnet, rest } => {
                let frame = [
                    &address(*to).octets()[..],
                    &address(*from).octets(),
                    &protocol(*ethertype),
                    rest,
                ]
                .concat();
                let tag = stripped.map(|tci| WireTag::new(Tpid::Dot1Q, Tci::from_bits(tci)));
                let len = if frame.len() < Head::PREFIX { 0 } else { usize::from(*more) };
                let mut head =
                    Head::read(&frame[..frame.len().min(Head::PREFIX)], frame.len() + len, tag);
                if let Some(header) =
                    vnet.and_then(|bytes| VnetHeader::read_from_bytes(&bytes).ok())
                {
                    head.set_offload(header.check(&head));
                }
                self.frame(port_id(*ingress), &head);
            }
            Operation::Tagged { ingress, to, from, vlan, service, inner, ethertype, rest } => {
                let tag = |vlan: u8, tpid| {
                    // One VID is none of the switch's VLANs, two are none at all.
                    let vid = [1, 2, 10, 300, 4094, 7, 0, 4095][usize::from(vlan % 8)];
                    WireTag::new(tpid, Tci::from_bits(u16::from(vlan & 0xf8) << 8 | vid)).to_bytes()
                };
                let outer = tag(*vlan, if *service { Tpid::Dot1ad } else { Tpid::Dot1Q });
                let inner = inner.map(|vlan| tag(vlan, Tpid::Dot1Q));
                let inner = inner.as_ref().map_or(&[][..], |tag| &tag[..]);
                let frame = [
                    &address(*to).octets()[..],
                    &address(*from).octets(),
                    &outer,
                    inner,
                    &protocol(*ethertype),
                    rest,
                ]
                .concat();
                self.frame(
                    port_id(*ingress),
                    &Head::read(&frame[..frame.len().min(Head::PREFIX)], frame.len(), None),
                );
            }
            Operation::Raw { ingress, bytes } => {
                self.frame(
                    port_id(*ingress),
                    &Head::read(&bytes[..bytes.len().min(Head::PREFIX)], bytes.len(), None),
                );
            }
            Operation::Wait(millis) => {
                self.now = self.now.after(Duration::from_millis((*millis % 400_000).into()))
            }
            Operation::Flush { vlan, port } => {
                let scope = Scope { vlan: vlan.map(vlan_of), port: port.map(port_id) };
                self.fdb.flush(self.now, AGEING, scope);
                self.heard.retain(|(vlan, _), (port, at)| {
                    at.is_none()
                        || scope.vlan.is_some_and(|flushed| flushed != *vlan)
                        || scope.port.is_some_and(|flushed| flushed != *port)
                });
                for entry in self.fdb.entries(self.now, AGEING) {
                    assert!(
                        self.heard.contains_key(&(entry.vlan, entry.mac)),
                        "{entry:?} outlived its flush"
                    );
                }
            }
            Operation::Told { word, vlan, mac, port } => {
                self.told(*word, vlan_of(*vlan), address(*mac), port_id(*port))
            }
            Operation::Sweep => self.fdb.sweep(self.now, AGEING),
            Operation::Change { port, to } => self.change(usize::from(*port) % PORTS, to.as_ref()),
            Operation::Resize { roomy } => self.resize(*roomy),
        }
    }

    fn told(&mut self, word: Word, vlan: VlanId, mac: MacAddr, port: PortId) {
        match word {
            Word::Install => {
                if self.switch.install(self.now, vlan, mac, port) {
                    let spec = self.spec.ports.iter().find(|spec| spec.id == port);
                    let spec = spec.expect("installed at a port that is not there");
                    assert!(spec.kind == PortKind::Tunnel && spec.vlan.is_member(vlan));
                    assert!(mac.is_source());
                    self.heard.insert((vlan, mac), (port, None));
                }
            }
            Word::Withdraw => {
                if self.fdb.withdraw(vlan, mac, port) {
                    assert_eq!(self.heard.remove(&(vlan, mac)), Some((port, None)));
                }
            }
            Word::Freeze => {
                self.fdb.freeze(vlan, mac);
                self.frozen.insert((vlan, mac));
            }
            Word::Thaw => {
                self.fdb.thaw(vlan, mac);
                self.frozen.remove(&(vlan, mac));
            }
        }
    }

    fn change(&mut self, index: usize, to: Option<&Port>) {
        // Tables of 4096 VLANs are made anew: dear under a sanitizer.
        self.changes += 1;
        if self.changes > 4 {
            return;
        }
        let kind = |port: Option<&Port>| port.map(|port| port.is_tunnel);
        let is_another = kind(self.ports[index].as_ref()) != kind(to);
        self.ports[index] = to.cloned();
        self.spec.ports = port_specs(&self.ports);
        if is_another {
            let id = port_id(index as u8);
            self.fdb.forget_port(id);
            self.heard.retain(|_, (port, _)| *port != id);
        }
        self.switch = Switch::new(&self.spec, self.fdb.clone());
    }

    fn resize(&mut self, roomy: bool) {
        self.changes += 1;
        if self.changes > 4 {
            return;
        }
        self.spec.mac_limit = mac_limit(roomy);
        let fdb = Arc::new(Fdb::new(self.spec.mac_limit, [7, 11]));
        fdb.adopt(self.now, AGEING, &self.fdb);
        self.fdb = fdb;
        self.switch = Switch::new(&self.spec, self.fdb.clone());
    }

    fn frame(&mut self, ingress: PortId, head: &Head) {
        let trace = self.switch.trace(self.now, ingress, head);
        let outcome = self.switch.forward(self.now, ingress, head);
        let Some(port) = self.spec.ports.iter().find(|port| port.id == ingress) else {
            assert_eq!(outcome.err(), Some(DropReason::PortDown));
            return;
        };
        let vlan = match &outcome {
            Ok(egress) => Some(egress.vlan()),
            Err(reason) => {
                let was_learned = match reason {
                    DropReason::SamePort
                    | DropReason::NoMember
                    | DropReason::Isolated
                    | DropReason::SplitHorizon => true,
                    DropReason::LoopBlocked => {
                        vlan_on(port, head).is_some_and(|vlan| !port.blocked.contains(vlan))
                    }
                    DropReason::FloodLimited => !head.destination().is_group(),
                    _ => false,
                };
                vlan_on(port, head).filter(|_| was_learned)
            }
        };
        if let Some(vlan) = vlan {
            assert_eq!(Some(vlan), vlan_on(port, head));
            assert!(head.source().is_source() && !head.destination().is_reserved());
            assert!(port.guards.macs.is_empty() || port.guards.macs.contains(&head.source()));
            match self.static_port(vlan, head.source()) {
                Some(at) => assert_eq!(at, ingress),
                None if port.kind == PortKind::Tunnel => {}
                None => {
                    let address = (vlan, head.source());
                    let is_here = self.heard.get(&address).is_some_and(|heard| heard.0 == ingress);
                    if is_here || !self.frozen.contains(&address) {
                        self.heard.insert(address, (ingress, Some(self.now)));
                    }
                }
            }
        }
        match &outcome {
            Ok(egress) => self.egress_is_right(port, head, egress),
            Err(reason) => assert!(
                !matches!(
                    reason,
                    DropReason::QueueFull
                        | DropReason::PortDown
                        | DropReason::NoSession
                        | DropReason::UnsupportedOffload
                        | DropReason::AmbiguousTag
                ),
                "{reason} on the way in"
            ),
        }
        // Learning may push the destination out of a narrow table, and teaches what the trace could not know
        // of a frame to oneself.
        let is_roomy = self.spec.mac_limit == mac_limit(true)
            && self.heard.len() < 200
            && self.spec.ports.iter().all(|port| port.mac_limit.is_none());
        if is_roomy && head.source() != head.destination() {
            let happened = outcome.map(|egress| {
                (egress.vlan(), egress.is_flood(), egress.copies().collect::<Vec<_>>())
            });
            match (trace.reason, happened) {
                (Some(told), Err(reason)) => assert_eq!(told, reason),
                (None, Ok(happened)) => {
                    assert_eq!(
                        (trace.vlan, trace.is_flood, trace.egress),
                        (Some(happened.0), happened.1, happened.2)
                    );
                }
                (told, happened) => panic!("told {told:?}, happened {happened:?}"),
            }
        }
    }

    fn egress_is_right(&self, ingress: &PortSpec, head: &Head, egress: &Egress<'_>) {
        let vlan = egress.vlan();
        assert!(ingress.vlan.is_member(vlan) && !ingress.blocked.contains(vlan));
        let are_apart = |port: &PortSpec| {
            ingress.isolation == Isolation::Isolated && port.isolation == Isolation::Isolated
                || ingress.kind == PortKind::Tunnel && port.kind == PortKind::Tunnel
        };
        let mut seen = BTreeSet::new();
        for (id, copy) in egress.copies() {
            let port = self
                .spec
                .ports
                .iter()
                .find(|port| port.id == id)
                .expect("a copy for a port that is not there");
            assert!(id != ingress.id, "back where it came from");
            assert!(seen.insert(id), "twice by one port");
            assert!(port.vlan.is_member(vlan), "out of its VLAN");
            assert!(!are_apart(port), "from isolated to isolated, or from tunnel to tunnel");
            assert_eq!(copy == Err(DropReason::LoopBlocked), port.blocked.contains(vlan));
            match copy {
                Ok(tags) => tags_are_right(ingress, port, head, vlan, tags),
                Err(reason) => assert!(
                    matches!(
                        reason,
                        DropReason::Oversize
                            | DropReason::LoopBlocked
                            | DropReason::AmbiguousTag
                            | DropReason::CustomerVlanNotMember
                    ),
                    "{reason} on the way out"
                ),
            }
        }
        if egress.is_flood() {
            let members = self.spec.ports.iter().filter(|port| {
                port.id != ingress.id && port.vlan.is_member(vlan) && !are_apart(port)
            });
            assert_eq!(seen.len(), members.count(), "a member was left out");
            return;
        }
        let destination = (vlan, head.destination());
        let at = self.static_port(vlan, head.destination()).unwrap_or_else(|| {
            let (port, heard) = self.heard.get(&destination).expect("known, but never heard");
            assert!(
                heard.is_none_or(|heard| self.now <= heard.after(AGEING + SLACK)),
                "known, but aged out"
            );
            *port
        });
        assert_eq!(seen, BTreeSet::from([at]));
    }

    fn static_port(&self, vlan: VlanId, mac: MacAddr) -> Option<PortId> {
        self.spec
            .statics
            .iter()
            .rev()
            .find(|entry| (entry.vlan, entry.mac) == (vlan, mac))
            .map(|entry| entry.port)
    }
}

/// Says by the port's mode alone which VLAN an admitted frame is in.
fn vlan_on(port: &PortSpec, head: &Head) -> Option<VlanId> {
    let vid = head.tag().filter(|tag| tag.tpid == port.vlan.tpid()).map_or(0, |tag| tag.tci.vid());
    match &port.vlan {
        PortVlan::Access(vlan) => (vid == 0).then_some(*vlan),
        PortVlan::Dot1qTunnel { vlan, .. } => Some(*vlan),
        PortVlan::Trunk { native, .. } if vid == 0 => native.map(Native::vlan),
        PortVlan::Trunk { members, .. } => VlanId::new(vid).filter(|&vlan| members.contains(vlan)),
    }
}

fn tags_are_right(ingress: &PortSpec, port: &PortSpec, head: &Head, vlan: VlanId, tags: Tags) {
    let own = head.tag().filter(|tag| tag.tpid == ingress.vlan.tpid());
    let is_payload = matches!(ingress.vlan, PortVlan::Dot1qTunnel { .. }) || own.is_none();
    assert_eq!(tags.payload, head.tag().filter(|_| is_payload));
    let expected = match &port.vlan {
        PortVlan::Trunk { native: Some(Native::Untagged(native)), .. } if *native == vlan => None,
        PortVlan::Trunk { tpid, .. } => {
            let priority = own.map(|tag| tag.tci.priority()).unwrap_or_default();
            Some(WireTag::new(*tpid, Tci::new(vlan, priority)))
        }
        _ => None,
    };
    assert_eq!(tags.vlan, expected);
    // What leaves a trunk is read back as what it is.
    if let PortVlan::Trunk { tpid, .. } = port.vlan
        && tags.vlan.is_none()
    {
        let first = tags.payload.map_or(head.ethertype(), |tag| tag.tpid.ethertype());
        assert_ne!(first, tpid.ethertype());
    }
}

fn port_specs(ports: &[Option<Port>]) -> Vec<PortSpec> {
    let specs = ports.iter().enumerate().filter_map(|(index, port)| Some((index, port.as_ref()?)));
    specs.map(|(index, port)| port.spec(port_id(index as u8))).collect()
}

impl Port {
    fn spec(&self, id: PortId) -> PortSpec {
        let macs = (0..6)
            .filter(|bit| self.guard_macs & 0x80 != 0 && self.guard_macs & 1 << bit != 0)
            .map(address);
        PortSpec {
            id,
            kind: if self.is_tunnel { PortKind::Tunnel } else { PortKind::Local },
            vlan: self.mode.port_vlan(),
            blocked: self.blocked.map(vlan_set).unwrap_or_default(),
            mtu: [68, 1500, 9000, 65_535][usize::from(self.mtu % 4)],
            mac_limit: self.mac_limit.map(|limit| usize::from(limit % 4) + 1),
            guards: Guards { macs: macs.collect(), ips: self.guard_ip.into_iter().collect() },
            isolation: if self.isolated { Isolation::Isolated } else { Isolation::Open },
            flood_limit: self.flood_limit.map(|rate| Rate { per_second: u32::from(rate % 8) + 1 }),
        }
    }
}

impl Mode {
    fn port_vlan(&self) -> PortVlan {
        match *self {
            Self::Access(vlan) => PortVlan::Access(vlan_of(vlan)),
            Self::Trunk { members, all, native, native_tagged, service } => {
                let mut members = if all { VlanSet::all() } else { vlan_set(members) };
                let native = native.map(vlan_of);
                if let Some(native) = native {
                    members.insert(native);
                }
                let native =
                    native.map(if native_tagged { Native::Tagged } else { Native::Untagged });
                PortVlan::Trunk {
                    members,
                    native,
                    tpid: if service { Tpid::Dot1ad } else { Tpid::Dot1Q },
                }
            }
            Self::Tunnel { vlan, customer } => {
                PortVlan::Dot1qTunnel { vlan: vlan_of(vlan), customer: customer.map(vlan_set) }
            }
        }
    }
}

/// Narrow: three entries. Roomy: no bucket overflows from the few addresses that there are.
fn mac_limit(roomy: bool) -> usize {
    if roomy { 1024 } else { 3 }
}

/// Six hosts, and addresses that are not those of a host.
fn address(number: u8) -> MacAddr {
    match number % 12 {
        host @ 0..8 => MacAddr::new([2, 0, 0, 0, 0, host % 6]),
        8 => MacAddr::BROADCAST,
        9 => MacAddr::new([0x33, 0x33, 0, 0, 0, 1]),
        10 => MacAddr::new([0x01, 0x80, 0xc2, 0, 0, number >> 4]),
        _ => MacAddr::new([0; 6]),
    }
}

/// EtherTypes that the guards read, and tags where none is expected.
fn protocol(number: u8) -> [u8; 2] {
    let known = [0x1234, 0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x0040, 0x9100];
    u16::to_be_bytes(known[usize::from(number % 8)])
}

fn vlan_of(number: u8) -> VlanId {
    VlanId::new(VLANS[usize::from(number) % VLANS.len()]).expect("all of them are VLANs")
}

fn vlan_set(bits: u8) -> VlanSet {
    (0..VLANS.len() as u8).filter(|bit| bits & 1 << bit != 0).map(vlan_of).collect()
}

fn port_id(number: u8) -> PortId {
    PortId::new(u16::from(number) % PORTS as u16).expect("six are not too many")
}
