//! What can be done to hosts, links and configurations, and what operators do of themselves.

use std::time::Duration;

use weft_vpn::{Load, PresharedKey, PrivateKey, Suite, Suites};

use super::{Happening, Report, World, id};
use crate::{
    dice::Dice,
    node::{Disk, Naming, Node, Setup},
};

/// When a timestamp of 2023 is right.
const RIGHT: u64 = 1_700_000_000;
/// How long it takes to look a name up.
const LOOK_UP: Duration = Duration::from_millis(30);
/// How long an operator takes.
const OPERATOR: Duration = Duration::from_secs(1);

/// Something that happens to hosts, named by their numbers.
#[derive(Clone, Debug)]
pub enum Act {
    /// The host has another address, or its translator forgets it.
    Relocate(usize),
    /// The host's wall clock is set so much off, in seconds.
    Clock(usize, i64),
    /// The host's process is killed.
    Kill(usize),
    /// It is started again.
    Start(usize, Memory),
    /// The link from one host to another carries less, or more.
    Mtu(usize, usize, u16),
    /// The link from one host to another loses so many of a thousand.
    Loss(usize, usize, u64),
    /// Nothing passes between two hosts.
    Cut(usize, usize),
    /// It passes again.
    Mend(usize, usize),
    /// The host has a new key, and knows its old one.
    NewKey(usize),
    /// It forgets its old one.
    ForgetKey(usize),
    /// A host hears of another's current key.
    LearnKey(usize, usize),
    /// A host takes the preshared key of this version for another one.
    Psk(usize, usize, u32),
    /// A host removes another from its peers.
    Remove(usize, usize),
    /// And adds it again.
    Add(usize, usize),
    /// A host's operator resets a peer.
    Reset(usize, usize),
    /// A host is under load from here on.
    Load(usize),
    /// Or no more.
    Calm(usize),
}

/// What a host finds on its disk when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What was saved.
    Kept,
    /// Nothing.
    Lost,
}

impl World {
    /// Tells every host of the others. Of two, at least one knows the other's name.
    pub(super) fn introduce(&mut self) {
        const AES: Suite = Suite::Aes256Gcm;
        const CHACHA: Suite = Suite::ChaCha20Poly1305;
        for (one, other) in self.pairs() {
            let single = self.dice.permille(200).then(|| [AES, CHACHA][self.dice.index(2)]);
            let knows_other = !self.net.is_translated(other);
            let knows_one = !self.net.is_translated(one);
            let (first, second) = [(true, true), (true, false), (false, true)][self.dice.index(3)];
            for (host, peer, knows) in [
                (one, other, knows_other && (first || !knows_one)),
                (other, one, knows_one && (second || !knows_other)),
            ] {
                let list = [[AES, CHACHA], [CHACHA, AES]][self.dice.index(2)];
                let suites = single.map_or(Suites::new(list), |single| Suites::new([single]));
                let setup = Setup {
                    key: self.machines[peer].keys.0.public(),
                    psk: None,
                    suites: suites.expect("one at least"),
                    naming: if knows { Naming::Named } else { Naming::Unnamed },
                };
                self.machines[host].setups.insert(peer, setup);
            }
        }
    }

    /// Tells every host the names of the others.
    pub(super) fn name_all(&mut self) {
        for machine in &mut self.machines {
            for setup in machine.setups.values_mut() {
                setup.naming = Naming::Named;
            }
        }
    }

    /// Has something happen.
    ///
    /// # Panics
    /// When that leads to what must not be.
    pub fn act(&mut self, act: Act) {
        self.say(|| format!("{act:?}"));
        match act {
            Act::Relocate(host) => self.net.relocate(host),
            Act::Clock(host, off) => self.machines[host].off = off,
            Act::Kill(host) => self.kill(host),
            Act::Start(host, memory) => self.start(host, memory),
            Act::Mtu(from, to, mtu) => self.net.link(from, to).mtu = mtu,
            Act::Loss(from, to, permille) => self.net.link(from, to).lost_permille = permille,
            Act::Cut(one, other) | Act::Mend(one, other) => {
                let is_cut = matches!(act, Act::Cut(..));
                self.net.link(one, other).is_cut = is_cut;
                self.net.link(other, one).is_cut = is_cut;
            }
            Act::NewKey(host) => {
                let old = self.machines[host].keys.0.clone();
                let new = PrivateKey::generate(&mut self.dice);
                self.set_keys(host, (new, Some(old)));
            }
            Act::ForgetKey(host) => {
                let key = self.machines[host].keys.0.clone();
                self.set_keys(host, (key, None));
            }
            Act::LearnKey(host, peer) => self.learn_key(host, peer),
            Act::Psk(host, peer, version) => {
                let psk = Some(PresharedKey::generate(&mut Dice::new(version.into())));
                let machine = &mut self.machines[host];
                machine.psks.insert(peer, version);
                if let Some(setup) = machine.setups.get_mut(&peer) {
                    setup.psk.clone_from(&psk);
                }
                self.on_peer(host, peer, |node, _, peer| node.set_psk(peer, psk));
            }
            Act::Remove(host, peer) => {
                self.on_peer(host, peer, Node::remove);
                self.machines[host].removed.insert(peer);
            }
            Act::Add(host, peer) => {
                if self.machines[host].removed.remove(&peer) {
                    self.add(host, peer);
                }
            }
            Act::Reset(host, peer) => {
                // What the peer sent while its clock was ahead would hold it behind again: a replay of that is
                // stopped by another key alone.
                self.captured.forget_handshakes(host);
                self.on_peer(host, peer, Node::reset);
            }
            Act::Load(host) => self.load(host, Load::Heavy),
            Act::Calm(host) => self.load(host, Load::Calm),
        }
    }

    /// Ends every disturbance that lasts, and lets the operators see to what is reported.
    pub(crate) fn make_peace(&mut self) {
        self.say(|| "peace".to_owned());
        for link in self.net.links() {
            link.lost_permille = 0;
            link.is_cut = false;
        }
        for (one, other) in self.pairs() {
            let versions = [(one, other), (other, one)]
                .map(|(host, peer)| self.machines[host].psks.get(&peer).copied());
            for (host, peer) in [(one, other), (other, one)] {
                if let Some(version) = versions.into_iter().flatten().max() {
                    self.act(Act::Psk(host, peer, version));
                }
                self.act(Act::Add(host, peer));
                self.act(Act::LearnKey(host, peer));
            }
        }
        self.operator_resets = true;
        for (host, report) in self.reports.clone() {
            self.operate(host, report);
        }
    }

    pub(super) fn report(&mut self, host: usize, report: Report) {
        self.say(|| format!("host {host}: {report:?}"));
        if let Report::LookUp(peer) = report {
            let peer = usize::from(peer.0);
            if self.machines[host].setups[&peer].naming == Naming::Named {
                self.after(LOOK_UP, Happening::LookUp { host, peer });
            }
            return;
        }
        self.reports.push((host, report));
        if self.operator_resets {
            self.operate(host, report);
        }
    }

    fn operate(&mut self, host: usize, report: Report) {
        if let Report::PeerBehind(peer) = report {
            self.after(OPERATOR, Happening::Operator { host, peer: peer.0.into() });
        }
    }

    /// Has an operator reset a peer that was reported. Not one that is up: what was reported was a replay then, and
    /// a reset ends sessions.
    pub(super) fn see_to(&mut self, host: usize, peer: usize) {
        let is_up = |node: &Node| node.is_up(id(peer));
        if !self.machines[host].node.as_ref().is_some_and(is_up) {
            self.act(Act::Reset(host, peer));
        }
    }

    pub(super) fn wall(&self, host: usize) -> Duration {
        let passed = self.now - self.origin;
        let seconds = (RIGHT + passed.as_secs()).saturating_add_signed(self.machines[host].off);
        Duration::new(seconds, passed.subsec_nanos())
    }

    fn load(&mut self, host: usize, load: Load) {
        self.machines[host].load = load;
        self.on(host, |node, _| node.load = load);
    }

    fn set_keys(&mut self, host: usize, keys: (PrivateKey, Option<PrivateKey>)) {
        self.machines[host].keys = keys.clone();
        self.on(host, |node, now| node.set_keys(now, keys));
    }

    fn learn_key(&mut self, host: usize, peer: usize) {
        let key = self.machines[peer].keys.0.public();
        let Some(setup) = self.machines[host].setups.get_mut(&peer) else { return };
        let is_news = std::mem::replace(&mut setup.key, key) != key;
        if is_news && !self.machines[host].removed.contains(&peer) {
            self.on_peer(host, peer, Node::remove);
            self.add(host, peer);
        }
    }

    fn kill(&mut self, host: usize) {
        let machine = &mut self.machines[host];
        if let Some(node) = machine.node.take() {
            machine.disk = node.saved;
        }
        machine.starts += 1;
        machine.next_tick = None;
    }

    fn start(&mut self, host: usize, memory: Memory) {
        let dice = self.dice.fork();
        let machine = &mut self.machines[host];
        // It may have been killed twice, and started since.
        if machine.node.is_some() {
            return;
        }
        let disk = match memory {
            Memory::Kept => std::mem::take(&mut machine.disk),
            Memory::Lost => Disk::default(),
        };
        let mut node = Node::start(self.now, machine.keys.clone(), disk, self.largest, dice);
        node.load = machine.load;
        machine.node = Some(node);
        let peers: Vec<_> = machine.setups.keys().copied().collect();
        for peer in peers {
            if !self.machines[host].removed.contains(&peer) {
                self.add(host, peer);
            }
        }
    }

    fn add(&mut self, host: usize, peer: usize) {
        let setup = self.machines[host].setups[&peer].clone();
        let address = self.net.places[peer].outer;
        let first = self.dice.roll() as u32;
        self.on(host, |node, now| node.add(now, id(peer), &setup, address, first));
    }
}
