//! A test bed for tables of frames: ports of one switch with a test's end on each, and a monitor on a trunk of
//! all VLANs that sees what is flooded and can send a marker to anyone.
//!
//! A frame that is offered is followed by markers over the same way, so that what arrived, and what did not, is
//! certain without waiting: two rounds from the offering port to the monitor prove that the frame's burst has been
//! dealt with, then a marker from the monitor to each port comes behind whatever was delivered there.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    Daemon, Lab, Nic, PATIENCE, StreamGuest, Wire,
    frame::{BROADCAST, Frame, Mac},
};

/// The name of the port that the monitor is on.
pub(crate) const MONITOR: &str = "monitor";

/// What carries the ports of a bed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TAP devices whose kernel side is a `netdev` port.
    Netdev,
    /// The same by AF_XDP.
    Xdp,
    /// `stream` ports.
    Stream,
}

/// A port of a bed.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name, and its device's.
    pub name: &'static str,
    /// Further keys of its table, at least `vlan = …`.
    pub keys: &'static str,
    /// Tags, as TPID and TCI, that a marker has on this port's wire.
    pub on_wire: &'static [(u16, u16)],
    /// Tags that the same marker has at the monitor.
    pub at_monitor: &'static [(u16, u16)],
}

/// What each port received; ports that received nothing are absent.
pub type Delivery = BTreeMap<&'static str, Vec<Vec<u8>>>;

/// A running switch with an end of the test on each port.
pub struct Bed {
    /// The daemon.
    pub daemon: Daemon,
    members: Vec<(Member, Counted)>,
    monitor: Counted,
    round: u32,
}

impl Bed {
    /// Starts a switch with these ports. `preamble` stands in front of their tables.
    #[track_caller]
    pub fn start(lab: &Lab, kind: Kind, preamble: &str, members: &[Member]) -> Self {
        let monitor = Member {
            name: MONITOR,
            keys: "vlan = { trunk = \"all\" }",
            on_wire: &[],
            at_monitor: &[],
        };
        let mut config = preamble.to_owned();
        let mut nics = BTreeMap::new();
        for member in members.iter().chain([&monitor]) {
            let name = member.name;
            config.push_str(&format!("\n[port.{name}]\n"));
            match kind {
                Kind::Netdev | Kind::Xdp => {
                    nics.insert(name, Nic::open(lab.switch(), name));
                    let io = if kind == Kind::Xdp { "xdp" } else { "packet" };
                    config.push_str(&format!(
                        "type = \"netdev\"\ndevice = \"{name}\"\nio = \"{io}\"\n"
                    ));
                }
                Kind::Stream => {
                    let socket = lab.path(&format!("{name}.sock"));
                    config.push_str(&format!(
                        "type = \"stream\"\nsocket = \"{}\"\n",
                        socket.display()
                    ));
                }
            }
            config.push_str(&format!("{}\n", member.keys));
        }
        let daemon = lab.daemon(&config);
        let mut attach = |name: &str| -> Counted {
            let wire: Box<dyn Wire> = match nics.remove(name) {
                Some(nic) => Box::new(nic),
                None => Box::new(StreamGuest::connect(&lab.path(&format!("{name}.sock")))),
            };
            Counted { wire, sent: Traffic::default(), received: Traffic::default() }
        };
        let members: Vec<_> =
            members.iter().map(|member| (member.clone(), attach(member.name))).collect();
        let monitor = attach(MONITOR);
        let ctl = daemon.ctl();
        for name in members.iter().map(|(member, _)| member.name).chain([MONITOR]) {
            ctl.wait_for_state(name, "up");
        }
        Self { daemon, members, monitor, round: 0 }
    }

    /// Returns the test's end of a port.
    #[track_caller]
    pub fn wire(&mut self, name: &str) -> &mut dyn Wire {
        if name == MONITOR {
            return &mut self.monitor;
        }
        let found = self.members.iter_mut().find(|(member, _)| member.name == name);
        &mut found.unwrap_or_else(|| panic!("no port {name}")).1
    }

    /// Asserts that each port's counters are what the test's end of it has sent and received.
    #[track_caller]
    pub fn check_counters(&mut self) {
        let ports = self.daemon.ctl().json("port list");
        let wires = self.members.iter_mut().map(|(member, wire)| (member.name, wire));
        for (name, wire) in wires.chain([(MONITOR, &mut self.monitor)]) {
            let port =
                ports.as_array().and_then(|ports| ports.iter().find(|port| port["name"] == name));
            let port = port.unwrap_or_else(|| panic!("no port {name}"));
            // Markers for others are still on their way to the test.
            let deadline = Instant::now() + PATIENCE;
            while Some(wire.received.frames) < port["tx"]["frames"].as_u64() {
                assert!(wire.receive(deadline).is_some(), "received {:?} of {port}", wire.received);
            }
            let counted = |direction: &str| {
                let count = |field: &str| port[direction][field].as_u64().unwrap_or_default();
                Traffic { frames: count("frames"), bytes: count("bytes") }
            };
            assert_eq!((counted("rx"), counted("tx")), (wire.sent, wire.received), "{port}");
        }
    }

    /// Offers a frame at a port and returns what came of it.
    #[track_caller]
    pub fn offer(&mut self, ingress: &str, frame: &[u8]) -> Delivery {
        self.wire(ingress).send(frame);
        self.settle(ingress)
    }

    /// Waits until everything that a port has sent is dealt with, and returns what each port received since the
    /// last time.
    #[track_caller]
    pub fn settle(&mut self, ingress: &str) -> Delivery {
        let mut delivery = Delivery::new();
        let mut seen = Vec::new();
        for _ in 0..2 {
            self.round += 1;
            let marker = marker(self.round, u8::MAX);
            if ingress == MONITOR {
                // Its frames reach every member; any of them can bear witness.
                let Some((member, wire)) = self.members.first_mut() else {
                    panic!("a bed has members")
                };
                self.monitor.send(&tagged(&marker, member.at_monitor));
                let got = wire.before_marker(&tagged(&marker, member.on_wire));
                delivery.entry(member.name).or_default().extend(got);
            } else {
                let index = self.index(ingress);
                let (member, wire) = &mut self.members[index];
                wire.send(&tagged(&marker, member.on_wire));
                seen.extend(self.monitor.before_marker(&tagged(&marker, member.at_monitor)));
            }
        }
        for index in 0..self.members.len() {
            self.round += 1;
            let marker = marker(self.round, index as u8);
            let (member, wire) = &mut self.members[index];
            self.monitor.send(&tagged(&marker, member.at_monitor));
            let got = wire.before_marker(&tagged(&marker, member.on_wire));
            delivery.entry(member.name).or_default().extend(got);
        }
        delivery.insert(MONITOR, seen);
        for frames in delivery.values_mut() {
            frames.retain(|frame| !is_marker(frame));
        }
        delivery.retain(|_, frames| !frames.is_empty());
        delivery
    }

    fn index(&self, name: &str) -> usize {
        self.members
            .iter()
            .position(|(member, _)| member.name == name)
            .unwrap_or_else(|| panic!("no port {name}"))
    }
}

/// Frames and their bytes, tags included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    frames: u64,
    bytes: u64,
}

impl Traffic {
    fn add(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.bytes += frame.len() as u64;
    }
}

/// An end that counts.
struct Counted {
    wire: Box<dyn Wire>,
    sent: Traffic,
    received: Traffic,
}

impl Wire for Counted {
    fn send(&mut self, frame: &[u8]) {
        self.sent.add(frame);
        self.wire.send(frame);
    }

    fn receive(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        let frame = self.wire.receive(deadline)?;
        self.received.add(&frame);
        Some(frame)
    }
}

const MARKER: Mac = [2, 0xee, 0xee, 0xee, 0, 0];
const MAGIC: &str = "weft-marker";

/// A broadcast that no row of a table contains.
fn marker(round: u32, port: u8) -> Frame {
    let [a, b, c, d, e, _] = MARKER;
    Frame::new([a, b, c, d, e, port], BROADCAST).text(&format!("{MAGIC} {round}"))
}

fn is_marker(frame: &[u8]) -> bool {
    frame.windows(MAGIC.len()).any(|window| window == MAGIC.as_bytes())
}

fn tagged(frame: &Frame, tags: &[(u16, u16)]) -> Vec<u8> {
    tags.iter().fold(frame.clone(), |frame, &(tpid, tci)| frame.tag_with(tpid, tci)).bytes()
}
