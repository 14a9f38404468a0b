//! The network between the hosts: links that lose, double, delay and limit, and address translators that forget.
//! Knows nothing of what it carries.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::dice::Dice;

/// One direction between two hosts.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    /// How much later a datagram may be than another.
    pub(crate) jitter: Duration,
    pub(crate) lost_permille: u64,
    pub(crate) doubled_permille: u64,
    /// The longest UDP payload that passes.
    pub(crate) mtu: u16,
    pub(crate) is_cut: bool,
}

/// Where a host is.
#[derive(Debug)]
pub(crate) struct Place {
    /// What the outside sees: the host's own address, or its translator's.
    pub(crate) outer: SocketAddr,
    translator: Option<Translator>,
    moves: u8,
}

/// Lets in only what comes from where something went.
#[derive(Debug, Default)]
struct Translator {
    contacted: HashSet<SocketAddr>,
}

/// Whether a host stands behind an address translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Everybody can write to it.
    Nothing,
    /// Only those to whom it has written can.
    Translator,
}

pub(crate) struct Net {
    pub(crate) places: Vec<Place>,
    /// From each host to each.
    links: Vec<Vec<Link>>,
    dice: Dice,
}

impl Net {
    pub(crate) fn new(dice: Dice) -> Self {
        Self { places: Vec::new(), links: Vec::new(), dice }
    }

    /// Adds a host, with links to those before it.
    pub(crate) fn add(&mut self, behind: Behind, mtu: u16) {
        let host = self.places.len();
        let translator = (behind == Behind::Translator).then(Translator::default);
        self.places.push(Place { outer: address(host, 0), translator, moves: 0 });
        for links in &mut self.links {
            links.push(Link::new(&mut self.dice, mtu));
        }
        let links = (0..=host).map(|_| Link::new(&mut self.dice, mtu)).collect();
        self.links.push(links);
    }

    pub(crate) fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from][to]
    }

    pub(crate) fn mtu(&self, from: usize, to: usize) -> u16 {
        self.links[from][to].mtu
    }

    pub(crate) fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links.iter_mut().flatten()
    }

    /// Gives a host another address, or another port at its translator, which forgets whom it may let in.
    pub(crate) fn relocate(&mut self, host: usize) {
        let place = &mut self.places[host];
        place.moves += 1;
        place.outer = address(host, place.moves);
        if let Some(translator) = &mut place.translator {
            translator.contacted.clear();
        }
    }

    pub(crate) fn is_translated(&self, host: usize) -> bool {
        self.places[host].translator.is_some()
    }

    /// Sends a datagram; returns how much later each copy of it arrives.
    pub(crate) fn send(&mut self, from: usize, to: SocketAddr, len: usize) -> Vec<Duration> {
        if let Some(translator) = &mut self.places[from].translator {
            translator.contacted.insert(to);
        }
        let Some(destination) = self.host_at(to) else { return Vec::new() };
        let link = &self.links[from][destination];
        let dice = &mut self.dice;
        if link.is_cut || len > link.mtu.into() || dice.permille(link.lost_permille) {
            return Vec::new();
        }
        let copies = if dice.permille(link.doubled_permille) { 2 } else { 1 };
        (0..copies).map(|_| link.delay + dice.between(Duration::ZERO..link.jitter)).collect()
    }

    /// Returns the host that a datagram reaches.
    pub(crate) fn arrive(&self, from: SocketAddr, to: SocketAddr) -> Option<usize> {
        let host = self.host_at(to)?;
        let translator = self.places[host].translator.as_ref();
        translator.is_none_or(|translator| translator.contacted.contains(&from)).then_some(host)
    }

    fn host_at(&self, address: SocketAddr) -> Option<usize> {
        self.places.iter().position(|place| place.outer == address)
    }
}

impl Link {
    fn new(dice: &mut Dice, mtu: u16) -> Self {
        let delay = dice.millis(1..150);
        Self {
            delay,
            jitter: dice.between(Duration::ZERO..delay * 2),
            lost_permille: 0,
            doubled_permille: 0,
            mtu,
            is_cut: false,
        }
    }
}

fn address(host: usize, moves: u8) -> SocketAddr {
    let ip = Ipv4Addr::new(192, 0, 2 + host as u8, 1 + moves);
    SocketAddr::new(IpAddr::V4(ip), 51900)
}
