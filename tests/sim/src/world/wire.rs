//! What goes over the network, what is looked for there, and the adversary that listens to it and sends it again.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use weft_vpn::PeerId;

use super::{Happening, Must, World, id};
use crate::node::Notice;

const ATTACKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 66)), 666);

/// Types of messages.
const INITIATION: u8 = 1;
const COOKIE: u8 = 3;
const RECORD: u8 = 4;

/// How many bundles are sent around a handshake, and how far apart.
const BURST: u32 = 8;
const BURST_PAUSE: Duration = Duration::from_millis(80);

/// A datagram that reached a host.
type Reached = (usize, SocketAddr, Vec<u8>);

/// What the adversary has at hand: records that were opened, and messages of handshakes.
#[derive(Debug, Default)]
pub(super) struct Captured {
    records: Vec<Reached>,
    handshakes: Vec<Reached>,
}

impl Captured {
    /// Of each kind.
    const MOST: usize = 16;

    pub(super) fn forget_handshakes(&mut self, host: usize) {
        self.handshakes.retain(|&(to, _, _)| to != host);
    }
}

impl World {
    /// Sends a datagram of a host, after a look at it.
    pub(super) fn transmit(
        &mut self,
        host: usize,
        peer: Option<PeerId>,
        to: SocketAddr,
        datagram: Vec<u8>,
    ) {
        self.summary.datagrams += 1;
        let kind = datagram[0];
        for &removed in &self.machines[host].removed {
            // A cookie goes to whoever asks.
            let is_silent = kind == COOKIE || to != self.net.places[removed].outer;
            assert!(is_silent, "host {host} writes to host {removed}, which it has removed");
        }
        if kind == RECORD {
            self.is_sealed_once(&datagram);
        } else {
            self.say(|| format!("host {host} sends message {kind} to {to} ({peer:?})"));
        }
        if kind == INITIATION {
            self.summary.initiations += 1;
            if let Some(peer) = peer.filter(|_| self.must == Must::Arrive) {
                let peer = peer.0.into();
                self.send(host, peer, BURST, BURST_PAUSE);
                self.send(peer, host, BURST, BURST_PAUSE);
            }
        }
        let from = self.net.places[host].outer;
        for delay in self.net.send(host, to, datagram.len()) {
            self.after(delay, Happening::Arrival { from, to, datagram: datagram.clone() });
        }
    }

    fn is_sealed_once(&mut self, record: &[u8]) {
        let (index, counter) = (number(&record[4..8]) as u32, number(&record[8..16]));
        let tag = *record.last_chunk().expect("every record has a tag");
        let before = self.sealed.insert((index, counter), tag);
        assert!(
            before.is_none_or(|before| before == tag),
            "index {index:#x} and counter {counter} carry two ciphertexts"
        );
    }

    pub(super) fn arrive(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let Some(host) = self.net.arrive(from, to) else { return };
        let mut is_opened = false;
        self.on(host, |node, now| is_opened = node.receive(now, from, datagram));
        let captured = match datagram[0] {
            RECORD if is_opened => &mut self.captured.records,
            RECORD => return,
            _ => &mut self.captured.handshakes,
        };
        if captured.len() < Captured::MOST {
            captured.push((host, from, datagram.to_vec()));
        } else if self.dice.permille(250) {
            captured[self.dice.index(Captured::MOST)] = (host, from, datagram.to_vec());
        }
    }

    /// Gives the handshake thread of a host what its data path had for it.
    pub(super) fn notice(&mut self, host: usize, start: u32, notice: Notice) {
        if self.machines[host].starts != start {
            return;
        }
        let asked = match &notice {
            Notice::Handshake { datagram, .. } if datagram.first() == Some(&INITIATION) => {
                datagram.len()
            }
            _ => usize::MAX,
        };
        let wall = self.wall(host);
        self.on(host, |node, now| {
            node.notice(now, wall, notice);
            let answered: usize = node.out.datagrams.iter().map(|(_, _, bytes)| bytes.len()).sum();
            assert!(
                answered <= asked,
                "an initiation of {asked} bytes is answered with {answered}"
            );
        });
        let Some(node) = &self.machines[host].node else { return };
        for peer in 0..self.machines.len() {
            let endpoint = node.endpoint(id(peer));
            assert_ne!(endpoint, Some(ATTACKER), "host {host} takes the attacker for host {peer}");
        }
    }

    /// Sends something that was captured, as it was or changed, from where it came or from elsewhere.
    pub(super) fn plot(&mut self) {
        let of_records = self.dice.permille(500);
        let Captured { records, handshakes } = &self.captured;
        let captured = if of_records { records } else { handshakes };
        if captured.is_empty() {
            return;
        }
        let (host, from, mut datagram) = captured[self.dice.index(captured.len())].clone();
        let from = if self.dice.permille(500) { from } else { ATTACKER };
        match self.dice.below(6) {
            0..3 => {}
            3 => {
                let at = self.dice.index(datagram.len());
                datagram[at] ^= 1 << self.dice.below(8);
            }
            4 => datagram.truncate(self.dice.index(datagram.len())),
            _ => datagram.extend([0; 16]),
        }
        let delay = self.dice.millis(0..200);
        self.after(delay, Happening::Hostile { from, host, datagram });
    }

    /// Sends everything that was captured of handshakes with a host once more, from the attacker's address.
    pub fn replay_handshakes(&mut self, host: usize) {
        let of_host = self.captured.handshakes.iter().filter(|&&(to, _, _)| to == host);
        for (_, _, datagram) in of_host.cloned().collect::<Vec<_>>() {
            self.after(Duration::ZERO, Happening::Hostile { from: ATTACKER, host, datagram });
        }
    }

    pub(super) fn attack(&mut self, host: usize, from: SocketAddr, datagram: &[u8]) {
        self.summary.hostile += 1;
        self.on(host, |node, now| {
            let is_opened = node.receive(now, from, datagram);
            assert!(!is_opened, "a record is opened that came before or was changed");
            assert!(node.out.bundles.is_empty() && node.out.datagrams.is_empty());
        });
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
