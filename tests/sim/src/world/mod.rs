//! Hosts, network, time and an adversary. Checks at every step what must never be: a bundle that is forged or comes
//! twice, a counter that seals two texts, an attacker that is taken for a peer, a word to a removed peer.

mod acts;
mod machine;
mod wire;

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeSet, BinaryHeap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use weft_vpn::PeerId;

use self::{machine::Machine, wire::Captured};
use crate::{
    dice::Dice,
    ledger::{Ledger, SHORTEST},
    net::{Behind, Net},
    node::{Node, Notice, Output},
};

pub use crate::{ledger::Must, node::Report};
pub use acts::{Act, Memory};

/// Until what was sent last has arrived.
const LAST: Duration = Duration::from_secs(5);
/// How far apart bundles are that guests send, in milliseconds.
const PAUSE: std::ops::Range<u64> = 100..4000;

/// What happened in a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// How long it took until everything was up again.
    pub settled: Duration,
    /// Bundles that arrived.
    pub delivered: u64,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Initiations among them.
    pub initiations: u64,
    /// What the adversary sent beside them.
    pub hostile: u64,
}

/// Whether a world tells what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Every disturbance, message of a handshake and report, on stderr.
    All,
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
enum Happening {
    Arrival {
        from: SocketAddr,
        to: SocketAddr,
        datagram: Vec<u8>,
    },
    Hostile {
        from: SocketAddr,
        host: usize,
        datagram: Vec<u8>,
    },
    Notice {
        host: usize,
        start: u32,
        notice: Notice,
    },
    /// A guest sends; again after a while, or only this once.
    Guest {
        from: usize,
        to: usize,
        goes_on: bool,
    },
    Save {
        host: usize,
    },
    Adversary,
    LookUp {
        host: usize,
        peer: usize,
    },
    Operator {
        host: usize,
        peer: usize,
    },
    Act(Act),
}

/// Orders what happens by time, and by who planned it first.
struct Entry {
    at: Duration,
    order: u64,
    happening: Happening,
}

/// A few hosts that know each other, and what is between them.
pub struct World {
    tell: Tell,
    pub(crate) dice: Dice,
    origin: Duration,
    now: Duration,
    pub(crate) net: Net,
    machines: Vec<Machine>,
    schedule: BinaryHeap<Reverse<Entry>>,
    order: u64,
    /// The longest UDP payload that leaves an interface.
    largest: u16,
    ledger: Ledger,
    /// What is expected of a bundle that a guest sends.
    must: Must,
    guests_send: bool,
    /// Who has delivered something from whom that was sent since then.
    heard: (Duration, BTreeSet<(usize, usize)>),
    reports: Vec<(usize, Report)>,
    operator_resets: bool,
    /// The tag of every record that was ever sent, by receiver's index and counter.
    sealed: HashMap<(u32, u64), [u8; 16]>,
    captured: Captured,
    pub(crate) summary: Summary,
}

impl World {
    /// Makes hosts that are not started yet, in a network that loses nothing. Where `behind` is a translator, nobody
    /// knows an address of the host.
    pub fn new(behind: &[Behind], largest: u16, mut dice: Dice, tell: Tell) -> Self {
        let origin = dice.millis(0..1_000_000_000);
        let mut net = Net::new(dice.fork());
        for &behind in behind {
            net.add(behind, largest);
        }
        let mut world = Self {
            tell,
            origin,
            now: origin,
            net,
            machines: behind.iter().map(|_| Machine::roll(&mut dice)).collect(),
            dice,
            schedule: BinaryHeap::new(),
            order: 0,
            largest,
            ledger: Ledger::default(),
            must: Must::May,
            guests_send: true,
            heard: (origin, BTreeSet::new()),
            reports: Vec::new(),
            operator_resets: false,
            sealed: HashMap::new(),
            captured: Captured::default(),
            summary: Summary::default(),
        };
        world.introduce();
        for host in 0..behind.len() {
            world.after(Duration::ZERO, Happening::Save { host });
        }
        for (from, to) in world.directions() {
            world.after(Duration::ZERO, Happening::Guest { from, to, goes_on: true });
        }
        world
    }

    /// Makes two hosts that know each other's names, and starts them.
    pub fn of_two(seed: u64) -> Self {
        let behind = [Behind::Nothing; 2];
        let mut world = Self::new(&behind, 1472, Dice::new(seed), Tell::Nothing);
        world.name_all();
        world.start_all();
        world
    }

    /// Makes two hosts of which only the first can begin, from behind a translator, and starts them.
    pub fn of_one_that_begins(seed: u64) -> Self {
        let behind = [Behind::Translator, Behind::Nothing];
        let mut world = Self::new(&behind, 1472, Dice::new(seed), Tell::Nothing);
        world.start_all();
        world
    }

    fn start_all(&mut self) {
        for host in 0..self.machines.len() {
            self.act(Act::Start(host, Memory::Lost));
        }
    }

    /// Has something happen after a while.
    pub fn plan(&mut self, delay: Duration, act: Act) {
        self.after(delay, Happening::Act(act));
    }

    /// Lets the adversary begin.
    pub fn provoke(&mut self) {
        self.after(Duration::ZERO, Happening::Adversary);
    }

    /// Says what is expected of what guests send from here on.
    pub fn demand(&mut self, must: Must) {
        self.must = must;
    }

    /// Has a guest of one host send to the other's, `count` times.
    pub fn send(&mut self, from: usize, to: usize, count: u32, pause: Duration) {
        for step in 0..count {
            self.after(pause * step, Happening::Guest { from, to, goes_on: false });
        }
    }

    /// Lets the guests send nothing more but what [`World::send`] is asked for.
    pub fn silence(&mut self) {
        self.guests_send = false;
    }

    /// Returns what operators could read so far, with the host.
    pub fn reports(&self) -> &[(usize, Report)] {
        &self.reports
    }

    /// Returns how many bundles arrived.
    pub fn delivered(&self) -> u64 {
        self.ledger.delivered()
    }

    /// Runs for a while.
    ///
    /// # Panics
    /// When something happens that must not.
    pub fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something that was sent from here on has arrived in each direction, every peer is up and no record
    /// is too large for its path; returns how long that took.
    ///
    /// # Panics
    /// When it takes longer than `patience`.
    pub fn settle(&mut self, patience: Duration) -> Duration {
        let since = self.now;
        self.heard = (since, BTreeSet::new());
        while !self.is_settled() {
            let goes_on = self.step(since + patience);
            assert!(goes_on, "not everything is up after {patience:?}: {}", self.missing());
        }
        self.say(|| "settled".to_owned());
        self.now - since
    }

    /// Lets the guests be silent, and checks that what had to arrive did.
    ///
    /// # Panics
    /// When something is missing.
    pub fn close(&mut self) {
        self.silence();
        self.demand(Must::May);
        self.run_for(LAST);
        self.ledger.close(self.origin);
        for node in self.machines.iter().filter_map(|machine| machine.node.as_ref()) {
            node.check();
        }
        self.summary.delivered = self.ledger.delivered();
    }

    /// Takes the next step, unless it is after `end`.
    fn step(&mut self, end: Duration) -> bool {
        let ticks = (0..).zip(&self.machines);
        let tick = ticks.filter_map(|(host, machine)| Some((machine.next_tick?, host))).min();
        let happens = self.schedule.peek().map(|Reverse(entry)| entry.at);
        let Some(next) = tick.map(|(at, _)| at).into_iter().chain(happens).min() else {
            return false;
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        match tick {
            Some((at, host)) if at == next => {
                let wall = self.wall(host);
                self.on(host, |node, now| node.tick(now, wall));
                let again = self.machines[host].next_tick;
                assert!(
                    again.is_none_or(|again| again > self.now),
                    "host {host} is due again at {again:?}, at {:?}: {:?}",
                    self.now,
                    self.machines[host].node
                );
            }
            _ => {
                if let Some(Reverse(entry)) = self.schedule.pop() {
                    self.happen(entry.happening);
                }
            }
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival { from, to, datagram } => self.arrive(from, to, &datagram),
            Happening::Hostile { from, host, datagram } => self.attack(host, from, &datagram),
            Happening::Notice { host, start, notice } => self.notice(host, start, notice),
            Happening::Guest { from, to, goes_on } => self.guest(from, to, goes_on),
            Happening::Save { host } => {
                if let Some(node) = &mut self.machines[host].node {
                    node.saved = node.disk.clone();
                }
                let delay = self.dice.millis(100..20_000);
                self.after(delay, Happening::Save { host });
            }
            Happening::Adversary => {
                self.plot();
                let delay = self.dice.millis(20..4000);
                self.after(delay, Happening::Adversary);
            }
            Happening::LookUp { host, peer } => {
                let address = self.net.places[peer].outer;
                self.on_peer(host, peer, |node, now, peer| node.resolved(now, peer, address));
            }
            Happening::Operator { host, peer } => self.see_to(host, peer),
            Happening::Act(act) => self.act(act),
        }
    }

    fn at(&mut self, at: Duration, happening: Happening) {
        self.order += 1;
        self.schedule.push(Reverse(Entry { at, order: self.order, happening }));
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// Does something with a host that runs, and carries out what comes of it.
    fn on(&mut self, host: usize, does: impl FnOnce(&mut Node, Duration)) {
        let machine = &mut self.machines[host];
        let Some(node) = &mut machine.node else { return };
        does(node, self.now);
        machine.next_tick = node.next_tick();
        let out = std::mem::take(&mut node.out);
        self.carry_out(host, out);
    }

    /// Does something with a peer of a host that runs.
    fn on_peer(
        &mut self,
        host: usize,
        peer: usize,
        does: impl FnOnce(&mut Node, Duration, PeerId),
    ) {
        let peer = id(peer);
        if self.machines[host].node.as_ref().is_some_and(|node| node.has(peer)) {
            self.on(host, |node, now| does(node, now, peer));
        }
    }

    fn carry_out(&mut self, host: usize, out: Output) {
        for (peer, to, datagram) in out.datagrams {
            self.transmit(host, peer, to, datagram);
        }
        for (peer, bundle) in out.bundles {
            let direction = (usize::from(peer.0), host);
            let sent = self.ledger.deliver(direction.0, direction.1, &bundle);
            if sent >= self.heard.0 {
                self.heard.1.insert(direction);
            }
        }
        let (start, lag) = (self.machines[host].starts, self.machines[host].lag);
        for notice in out.notices {
            self.after(lag, Happening::Notice { host, start, notice });
        }
        for report in out.reports {
            self.report(host, report);
        }
    }

    fn guest(&mut self, from: usize, to: usize, goes_on: bool) {
        if goes_on {
            let delay = self.dice.millis(PAUSE);
            self.after(delay, Happening::Guest { from, to, goes_on });
        }
        if goes_on && !self.guests_send {
            return;
        }
        let Some(node) = &self.machines[from].node else { return };
        let len = match self.dice.below(1000) {
            0..500 => SHORTEST + self.dice.index(1300),
            // As super-frames of TCP are cut.
            500..650 => node.room(id(to)),
            650..950 => 1514,
            950..998 => SHORTEST + self.dice.index(9014),
            _ => 66_000,
        };
        let bundle = self.ledger.send(self.now, from, to, len, self.must);
        self.on(from, |node, now| node.send(now, id(to), bundle));
    }

    fn is_settled(&self) -> bool {
        self.directions().iter().all(|&(from, to)| self.is_direction_settled(from, to))
    }

    fn is_direction_settled(&self, from: usize, to: usize) -> bool {
        let Some(node) = &self.machines[from].node else { return false };
        let fits = node.path_mtu(id(to)) <= self.net.mtu(from, to);
        self.heard.1.contains(&(from, to)) && node.is_up(id(to)) && fits
    }

    fn missing(&self) -> String {
        let directions = self.directions().into_iter();
        let missing = directions.filter(|&(from, to)| !self.is_direction_settled(from, to));
        let missing = missing.map(|(from, to)| {
            let node = self.machines[from].node.as_ref();
            let arrives = self.heard.1.contains(&(from, to));
            let is_up = node.is_some_and(|node| node.is_up(id(to)));
            let path = node.map(|node| node.path_mtu(id(to)));
            format!(
                "from host {from} to host {to} (arrives: {arrives}, up: {is_up}, MTU: {path:?})"
            )
        });
        missing.collect::<Vec<_>>().join(", ")
    }

    /// Every two hosts.
    pub(crate) fn pairs(&self) -> Vec<(usize, usize)> {
        let hosts = self.machines.len();
        (0..hosts).flat_map(|one| (one + 1..hosts).map(move |other| (one, other))).collect()
    }

    /// Every two hosts, both ways.
    fn directions(&self) -> Vec<(usize, usize)> {
        self.pairs().into_iter().flat_map(|(one, other)| [(one, other), (other, one)]).collect()
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.tell == Tell::All {
            eprintln!("{:>12.6} {}", (self.now - self.origin).as_secs_f64(), what());
        }
    }
}

/// The number by which every host knows another.
fn id(host: usize) -> PeerId {
    PeerId(host as u16)
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
