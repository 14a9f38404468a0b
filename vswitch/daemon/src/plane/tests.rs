//! Workers between socket pairs: frames in at one end, frames out at the other.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use weft_core::{
    DropReason, Fdb, Guards, Isolation, PortId, PortKind, PortSpec, Switch, SwitchSpec,
};
use weft_ports::{Fault, stream};
use weft_vlan::{MacAddr, PortVlan, VlanId, VlanSet};

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

fn id(index: u16) -> PortId {
    PortId::new(index).unwrap()
}

/// A switch of access ports in one VLAN, each a socket pair whose far end the test holds.
struct Rig {
    pool: Pool,
    ended: mpsc::UnboundedReceiver<QueueEnded>,
    ports: Vec<(PortId, PlannedPort)>,
    switch: Arc<Switch>,
    guests: Vec<UnixStream>,
}

impl Rig {
    fn new(workers: usize, ports: u16) -> Self {
        let (sender, ended) = mpsc::unbounded_channel();
        let pool = Pool::start(workers, &sender).unwrap();
        let spec = |index| PortSpec {
            id: id(index),
            kind: PortKind::Local,
            blocked: VlanSet::new(),
            vlan: PortVlan::Access(VlanId::new(10).unwrap()),
            mtu: 1500,
            mac_limit: None,
            guards: Guards::default(),
            isolation: Isolation::Open,
            flood_limit: None,
        };
        let spec = SwitchSpec {
            ageing: Duration::from_secs(300),
            mac_limit: 64,
            ports: (0..ports).map(spec).collect(),
            statics: Vec::new(),
        };
        let switch = Arc::new(Switch::new(&spec, Arc::new(Fdb::new(64, [1, 2]))));
        let mut rig = Self { pool, ended, ports: Vec::new(), switch, guests: Vec::new() };
        for index in 0..ports {
            let (ours, guest) = UnixStream::pair().unwrap();
            guest.set_read_timeout(Some(DEADLINE)).unwrap();
            let counters = Arc::new(PortCounters::new(workers));
            let opened = stream::attach(ours.into()).unwrap();
            let egress = rig.pool.attach(id(index), 1, opened, &counters);
            rig.ports.push((
                id(index),
                PlannedPort { switch: 0, egress: Some(egress), counters, snoop: None },
            ));
            rig.guests.push(guest);
        }
        rig.swap();
        rig
    }

    fn swap(&self) {
        self.pool.swap(Plan::new(vec![self.switch.clone()], self.ports.iter().cloned()));
    }

    fn send(&mut self, from: usize, to: MacAddr, payload: u8) {
        let frame = frame(to, mac(from), payload);
        self.guests[from].write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        self.guests[from].write_all(&frame).unwrap();
    }

    fn receive(&mut self, at: usize) -> Vec<u8> {
        let mut length = [0; 4];
        self.guests[at].read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.guests[at].read_exact(&mut frame).unwrap();
        frame
    }

    fn counted(&self, port: usize, count: impl Fn(&weft_core::Counters) -> u64) -> u64 {
        self.ports[port].1.counters.blocks().map(count).sum()
    }
}

fn mac(port: usize) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, port as u8])
}

fn frame(to: MacAddr, from: MacAddr, payload: u8) -> Vec<u8> {
    let mut frame = [&to.octets()[..], &from.octets()[..], &[0x08, 0x00]].concat();
    frame.resize(60, payload);
    frame
}

#[tokio::test]
async fn floods_then_forwards_with_one_worker_and_with_four() {
    for workers in [1, 4] {
        let mut rig = Rig::new(workers, 3);
        rig.send(0, MacAddr::BROADCAST, 1);
        assert_eq!(rig.receive(1), frame(MacAddr::BROADCAST, mac(0), 1));
        assert_eq!(rig.receive(2), frame(MacAddr::BROADCAST, mac(0), 1));
        rig.send(1, mac(0), 2);
        assert_eq!(rig.receive(0), frame(mac(0), mac(1), 2));
        // The third port gets the next broadcast and nothing before it: the unicast went past it.
        rig.send(1, MacAddr::BROADCAST, 3);
        assert_eq!(rig.receive(2)[59], 3);
        rig.pool.pass().await;
        assert_eq!(rig.counted(0, |block| block.rx.frames()), 1, "{workers} workers");
        assert_eq!(rig.counted(2, |block| block.tx.frames()), 2, "{workers} workers");
        assert_eq!(rig.counted(1, |block| block.tx.bytes()), 60, "{workers} workers");
    }
}

#[tokio::test]
async fn order_is_kept_between_two_ports() {
    let mut rig = Rig::new(2, 2);
    for payload in 0..200 {
        rig.send(0, MacAddr::BROADCAST, payload);
    }
    for payload in 0..200 {
        assert_eq!(rig.receive(1)[59], payload);
    }
}

#[tokio::test]
async fn a_port_without_egress_is_down_and_its_frames_are_counted() {
    let mut rig = Rig::new(2, 3);
    rig.ports[1].1.egress = None;
    rig.swap();
    rig.pool.pass().await;
    rig.send(0, MacAddr::BROADCAST, 1);
    assert_eq!(rig.receive(2)[59], 1);
    rig.pool.pass().await;
    assert_eq!(rig.counted(1, |block| block.tx.drops(DropReason::PortDown)), 1);
}

#[tokio::test]
async fn after_detach_and_pass_nothing_holds_the_connection() {
    let mut rig = Rig::new(2, 2);
    rig.send(0, MacAddr::BROADCAST, 1);
    rig.receive(1);
    rig.ports.remove(1);
    rig.swap();
    rig.pool.detach(id(1));
    rig.pool.pass().await;
    // Every copy of the descriptor is closed: the far end reads the end of the stream.
    assert_eq!(rig.guests[1].read(&mut [0; 1]).unwrap(), 0);
    rig.send(0, MacAddr::BROADCAST, 2);
}

#[tokio::test]
async fn what_a_guest_left_unread_when_its_port_goes_is_counted_as_dropped() {
    for workers in [1, 2] {
        let mut rig = Rig::new(workers, 3);
        // One of them reads everything, the other nothing.
        for payload in 0..u8::MAX {
            for _ in 0..20 {
                rig.send(0, MacAddr::BROADCAST, payload);
                rig.receive(2);
            }
        }
        let offered = 20 * u64::from(u8::MAX);
        let counted = |rig: &Rig| {
            let sent = rig.counted(1, |block| block.tx.frames());
            let drops = DropReason::ALL
                .iter()
                .map(|&reason| rig.counted(1, |block| block.tx.drops(reason)));
            (sent, sent + drops.sum::<u64>())
        };
        rig.pool.pass().await;
        let (sent, accounted) = counted(&rig);
        assert!(sent > 0 && accounted < offered, "{sent} sent, {accounted} of {offered}");
        rig.ports[1].1.egress = None;
        rig.pool.detach(id(1));
        rig.swap();
        rig.pool.pass().await;
        assert_eq!(counted(&rig), (sent, offered), "{workers} workers");
        let down = rig.counted(1, |block| block.tx.drops(DropReason::PortDown));
        assert!(down >= offered - accounted, "{workers} workers");
    }
}

#[tokio::test]
async fn a_length_that_lies_is_counted_and_ends_the_connection() {
    let mut rig = Rig::new(2, 2);
    rig.guests[0].write_all(&u32::MAX.to_be_bytes()).unwrap();
    let ended = tokio::time::timeout(DEADLINE, rig.ended.recv()).await.unwrap().unwrap();
    assert!(matches!(ended.fault, Fault::BadFraming(u32::MAX)), "{:?}", ended.fault);
    assert_eq!(rig.counted(0, |block| block.rx.drops(DropReason::Malformed)), 1);
    assert_eq!(rig.counted(0, |block| block.rx.frames()), 1);
}

#[tokio::test]
async fn a_guest_that_hangs_up_is_reported_once_with_its_generation() {
    let mut rig = Rig::new(2, 2);
    rig.guests.remove(1);
    let ended = tokio::time::timeout(DEADLINE, rig.ended.recv()).await.unwrap().unwrap();
    assert_eq!((ended.port, ended.generation), (id(1), 1));
    assert!(matches!(ended.fault, Fault::Closed), "{:?}", ended.fault);
    rig.pool.pass().await;
    assert!(rig.ended.try_recv().is_err());
}
