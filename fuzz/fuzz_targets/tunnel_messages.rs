//! An attacker between two hosts, who sees all and may lose, delay, change, repeat and make up datagrams and send
//! them from an address of its own. Whatever it does: nothing panics; no peer's endpoint, session to send with or
//! state follows a message of a handshake; no host writes more to the attacker than the attacker wrote to it; no
//! record comes out that did not go in, or twice; and left alone, the two hosts are connected.
//!
//! Input: a byte of switches (1: B is under load), then steps of 4 bytes: what (modulo 8), which datagram of those
//! seen, where to change it, what to.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use blake2::digest::consts::{U16, U32};
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s, Blake2sMac, Digest};
use libfuzzer_sys::fuzz_target;
use weft_vpn::{
    Event, Host, HostConfig, Kind, Load, PAYLOAD_AT, PeerConfig, PeerId, PrivateKey, PublicKey,
    Random, Session, Suites, record_index, record_len,
};

const PEER: PeerId = PeerId(1);
const WALL: Duration = Duration::from_secs(1_800_000_000);

struct Dice(u64);

impl Random for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

struct End {
    host: Host<Dice>,
    key: PublicKey,
    address: SocketAddr,
    load: Load,
    sessions: BTreeMap<u32, Arc<Session>>,
    sending: Option<Arc<Session>>,
    endpoint: Option<SocketAddr>,
    got: BTreeSet<u64>,
    /// To the attacker, and from it.
    written: usize,
    read: usize,
}

struct Lab {
    now: Duration,
    ends: [End; 2],
    /// What was sent, to which end or past both.
    seen: Vec<(Option<usize>, Vec<u8>)>,
    /// Those that nobody has delivered or lost yet.
    waiting: Vec<usize>,
    sent: u64,
}

fn attacker() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 66], 6666))
}

impl Lab {
    fn new(load: Load) -> Self {
        let keys = [1, 2].map(|seed| PrivateKey::generate(&mut Dice(seed)));
        let now = Duration::from_secs(1);
        let addresses = [1, 2].map(|at| SocketAddr::from(([192, 0, 2, at], 51900)));
        let ends = [0, 1].map(|at| {
            let config = HostConfig {
                private_key: keys[at].clone(),
                previous_private_key: None,
                mark: None,
            };
            let mut host = Host::new(now, config, Dice(at as u64 + 3));
            let peer = PeerConfig {
                key: keys[1 - at].public(),
                preshared_key: None,
                endpoint: (at == 0).then_some(addresses[1]),
                suites: Suites::default(),
                greatest: None,
            };
            host.add(now, PEER, peer).expect("a peer");
            End {
                host,
                key: keys[at].public(),
                address: addresses[at],
                load: if at == 1 { load } else { Load::Calm },
                sessions: BTreeMap::new(),
                sending: None,
                endpoint: None,
                got: BTreeSet::new(),
                written: 0,
                read: 0,
            }
        });
        let mut lab = Self { now, ends, seen: Vec::new(), waiting: Vec::new(), sent: 0 };
        lab.pass(Duration::ZERO);
        lab
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for at in 0..2 {
            while self.ends[at].host.poll_timeout().is_some_and(|due| due <= self.now) {
                self.ends[at].host.handle_timeout(self.now, WALL + self.now);
                self.drain(at, true);
            }
        }
    }

    fn drain(&mut self, at: usize, may_move: bool) {
        let end = &mut self.ends[at];
        while let Some(event) = end.host.poll_event() {
            match event {
                Event::Receive { session } => drop(end.sessions.insert(session.index(), session)),
                Event::Send { session } => {
                    assert!(may_move && end.sessions.contains_key(&session.index()));
                    end.sending = Some(session);
                }
                Event::Expired { index, .. } => {
                    end.sessions.remove(&index);
                    end.sending.take_if(|session| session.index() == index);
                }
                Event::Endpoint { address, .. } => {
                    assert!(may_move);
                    end.endpoint = Some(address);
                }
                // Records that were opened meanwhile are seen to with the next message.
                Event::State { .. } => assert!(may_move || end.sending.is_some()),
                _ => {}
            }
        }
        while let Some(transmit) = end.host.poll_transmit() {
            if transmit.to == attacker() && end.endpoint != Some(attacker()) {
                end.written += transmit.datagram.len();
            }
            let to = [0, 1].into_iter().find(|&to| to != at && end_address(to) == transmit.to);
            self.waiting.push(self.seen.len());
            self.seen.push((to, transmit.datagram));
        }
        assert!(self.ends[at].written <= self.ends[at].read, "no more than it was given");
    }

    fn deliver(&mut self, at: usize, from: SocketAddr, bytes: &[u8]) {
        let end = &mut self.ends[at];
        if from == attacker() {
            end.read += bytes.len();
        }
        let Some(index) = record_index(bytes) else {
            let taken = end.host.receive(self.now, WALL + self.now, end.load, from, bytes);
            // A response moves its initiator's own things; nothing else moves anything.
            let may_move = taken.is_ok() && bytes[0] == 2;
            return self.drain(at, may_move);
        };
        let Some(session) = end.sessions.get(&index).cloned() else { return };
        let mut bytes = bytes.to_vec();
        let Ok(opened) = session.open(self.now, &mut bytes) else { return };
        if opened.first {
            end.host.confirmed(self.now, index, from);
        }
        if opened.newest && end.endpoint != Some(from) {
            end.host.roamed(self.now, PEER, from);
        }
        match opened.kind {
            Kind::Control => assert!(end.host.control(self.now, PEER, &bytes[opened.payload])),
            Kind::Bundle => {
                let number = bytes[opened.payload].try_into().expect("what was sent");
                assert!(end.got.insert(u64::from_le_bytes(number)), "a record came twice");
            }
            _ => {}
        }
        self.drain(at, true);
    }

    fn send(&mut self, at: usize) {
        let Some(session) = &self.ends[at].sending else { return };
        let mut record = vec![0; record_len(8)];
        record[PAYLOAD_AT..PAYLOAD_AT + 8].copy_from_slice(&self.sent.to_le_bytes());
        if session.seal(self.now, Kind::Bundle, 8, &mut record).is_ok() {
            self.sent += 1;
            self.waiting.push(self.seen.len());
            self.seen.push((Some(1 - at), record));
        }
    }

    /// The oldest datagram under way arrives from where its sender is.
    fn arrive(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (to, bytes) = self.seen[self.waiting.remove(0)].clone();
        if let Some(to) = to {
            self.deliver(to, end_address(1 - to), &bytes);
        }
    }
}

fn end_address(at: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, at as u8 + 1], 51900))
}

/// mac1 as anybody can compute it who knows the receiver's key.
fn mark(key: &PublicKey, message: &mut [u8]) {
    let Some(at) = message.len().checked_sub(32) else { return };
    let hash = <Blake2s<U32> as Digest>::new().chain_update("weft tunnel 1 mac1");
    let hash = hash.chain_update(key.as_bytes()).finalize();
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&hash).expect("32 bytes");
    Update::update(&mut mac, &message[..at]);
    message[at..at + 16].copy_from_slice(&mac.finalize_fixed());
}

fuzz_target!(|data: &[u8]| {
    let Some((&switches, steps)) = data.split_first() else { return };
    let mut lab = Lab::new(if switches & 1 == 0 { Load::Calm } else { Load::Heavy });
    for step in steps.chunks_exact(4).take(200) {
        let &[what, which, place, value] = step else { return };
        let chosen = lab.seen.get(usize::from(which)).cloned();
        match (what % 8, chosen) {
            (0, _) => lab.arrive(),
            (1, _) => drop((!lab.waiting.is_empty()).then(|| lab.waiting.remove(0))),
            (2, _) => lab.pass(Duration::from_millis(100) * u32::from(value)),
            (3, _) => lab.send(usize::from(which & 1)),
            (4, Some((Some(to), bytes))) => lab.deliver(to, attacker(), &bytes),
            (5, Some((Some(to), bytes))) => lab.deliver(1 - to, attacker(), &bytes),
            (6 | 7, Some((Some(to), mut bytes))) => {
                let place = usize::from(place) % bytes.len();
                bytes[place] = value;
                if what % 8 == 7 {
                    let key = lab.ends[to].key;
                    mark(&key, &mut bytes);
                }
                lab.deliver(to, attacker(), &bytes);
            }
            _ => {}
        }
        while lab.seen.len() > 255 {
            lab.seen.remove(0);
            lab.waiting.retain_mut(|at| at.checked_sub(1).inspect(|&next| *at = next).is_some());
        }
    }
    // Left alone: within the longest rest, both send to where the other is, and it arrives.
    lab.ends[1].load = Load::Calm;
    for _ in 0..700 {
        lab.pass(Duration::from_millis(500));
        let before = lab.ends.each_ref().map(|end| end.got.len());
        lab.send(0);
        lab.send(1);
        while !lab.waiting.is_empty() {
            lab.arrive();
        }
        lab.seen.clear();
        let connected = |at: usize| {
            let end = &lab.ends[at];
            end.got.len() > before[at] && end.endpoint == Some(end_address(1 - at))
        };
        if connected(0) && connected(1) {
            return;
        }
    }
    panic!("the hosts do not find each other again");
});
