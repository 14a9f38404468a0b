//! A full mesh of hosts: their overlays, the least that a forwarding database does with what they say, and a
//! network that loses, delays and reorders as it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weft_overlay::{Event, Hold, HostKey, LocalPort, Overlay, Owner, PeerId, PeerSpec, SegmentId};
use weft_vlan::MacAddr;

pub(crate) type Key = (SegmentId, MacAddr);

pub(crate) const OFFICE: u32 = 5010;
pub(crate) const MAC_LIMIT: usize = 100_000;

pub(crate) fn segment(id: u32) -> SegmentId {
    SegmentId::new(id).unwrap()
}

pub(crate) fn mac(number: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | number)
}

pub(crate) fn office(number: u64) -> Key {
    (segment(OFFICE), mac(number))
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Hosts with higher numbers have lower keys, so that no test holds by accident.
pub(crate) fn key_of(host: usize) -> HostKey {
    HostKey::new([200 - host as u8; 32])
}

/// How far above [`weft_overlay::SEQUENCE_MAX`] a host believes sequences.
pub(crate) fn limit_of(host: usize) -> u64 {
    (host as u64 + 1) * 1000
}

fn peer_of(host: usize) -> PeerId {
    PeerId(host as u16)
}

/// Random numbers that a seed tells (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What the network does to a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_percent: u64,
    pub(crate) delay: Duration,
    /// Up to this much more, each datagram for itself.
    pub(crate) jitter: Duration,
}

pub(crate) const FAIR: Weather =
    Weather { loss_percent: 0, delay: Duration::from_millis(5), jitter: Duration::ZERO };

/// Where a forwarding database has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    At(usize),
}

pub(crate) struct Host {
    pub(crate) overlay: Overlay,
    pub(crate) fdb: BTreeMap<Key, Place>,
    pub(crate) frozen: BTreeSet<Key>,
    pub(crate) events: Vec<Event>,
    challenged: BTreeSet<Key>,
    epoch: u64,
}

impl Host {
    fn new(host: usize, epoch: u64) -> Self {
        Self {
            overlay: Overlay::new(key_of(host), epoch, limit_of(host)),
            fdb: BTreeMap::new(),
            frozen: BTreeSet::new(),
            events: Vec::new(),
            challenged: BTreeSet::new(),
            epoch,
        }
    }

    /// Does with events what a forwarding database would.
    fn follow_events(&mut self) {
        while let Some(event) = self.overlay.poll_event() {
            match event {
                Event::Install { segment, mac, peer } => {
                    self.fdb.insert((segment, mac), Place::At(peer.0.into()));
                }
                Event::Withdraw { segment, mac, peer } => {
                    let there = Place::At(peer.0.into());
                    self.fdb.retain(|key, place| *key != (segment, mac) || *place != there);
                }
                Event::Frozen { segment, mac, owner, port } => {
                    self.frozen.insert((segment, mac));
                    self.fdb.remove(&(segment, mac));
                    if owner == Owner::Here {
                        assert_eq!(port, Some(LocalPort(1)));
                        self.fdb.insert((segment, mac), Place::Here);
                    }
                }
                Event::Thawed { segment, mac } => {
                    self.frozen.remove(&(segment, mac));
                }
                Event::Challenged { segment, mac } => {
                    self.challenged.insert((segment, mac));
                }
                _ => {}
            }
            self.events.push(event);
        }
    }
}

struct Datagram {
    to: usize,
    from: usize,
    payload: Vec<u8>,
}

pub(crate) struct Mesh {
    pub(crate) now: Duration,
    pub(crate) hosts: Vec<Host>,
    pub(crate) weather: Weather,
    pub(crate) random: Random,
    /// Datagrams that are dropped before the weather is asked.
    pub(crate) drop_next: usize,
    pub(crate) sent: usize,
    /// How many addresses each peer may claim.
    pub(crate) mac_limit: usize,
    /// Payloads of a host that speaks for itself are taken from its overlay and dropped.
    pub(crate) silenced: BTreeSet<usize>,
    under_way: BTreeMap<(Duration, u64), Datagram>,
    count: u64,
    up: BTreeSet<(usize, usize)>,
}

impl Mesh {
    /// Makes hosts that carry the office for each other, all sessions up.
    pub(crate) fn new(hosts: usize) -> Self {
        let mut mesh = Self::apart(hosts, 1);
        mesh.all_up();
        mesh
    }

    /// Makes hosts without sessions.
    pub(crate) fn apart(hosts: usize, seed: u64) -> Self {
        let mut mesh = Self {
            now: seconds(1000),
            hosts: (0..hosts).map(|host| Host::new(host, 7)).collect(),
            weather: FAIR,
            random: Random(seed),
            drop_next: 0,
            sent: 0,
            mac_limit: MAC_LIMIT,
            silenced: BTreeSet::new(),
            under_way: BTreeMap::new(),
            count: 0,
            up: BTreeSet::new(),
        };
        (0..hosts).for_each(|host| mesh.configure_peers(host));
        mesh
    }

    fn configure_peers(&mut self, host: usize) {
        for other in (0..self.hosts.len()).filter(|&other| other != host) {
            self.carry(host, other, &[(OFFICE, "office")]);
        }
    }

    /// Lets a host carry segments for another.
    pub(crate) fn carry(&mut self, host: usize, other: usize, segments: &[(u32, &str)]) {
        let segments = segments.iter().map(|&(id, name)| (segment(id), name.to_owned())).collect();
        let spec = PeerSpec { key: key_of(other), segments, mac_limit: self.mac_limit };
        self.hosts[host].overlay.set_peer(self.now, peer_of(other), &spec);
        self.flush();
    }

    /// One end of a session begins or ends.
    pub(crate) fn set_up(&mut self, host: usize, other: usize, is_up: bool) {
        let overlay = &mut self.hosts[host].overlay;
        if is_up && self.up.insert((host, other)) {
            overlay.session_up(self.now, peer_of(other));
        } else if !is_up && self.up.remove(&(host, other)) {
            overlay.session_down(self.now, peer_of(other));
        }
        self.flush();
    }

    pub(crate) fn connect(&mut self, host: usize, other: usize) {
        self.set_up(host, other, true);
        self.set_up(other, host, true);
    }

    pub(crate) fn disconnect(&mut self, host: usize, other: usize) {
        self.set_up(host, other, false);
        self.set_up(other, host, false);
    }

    pub(crate) fn all_up(&mut self) {
        for host in 0..self.hosts.len() {
            (0..host).for_each(|other| self.connect(host, other));
        }
    }

    /// A host begins anew, with nothing that it knew; the others notice by its messages alone.
    pub(crate) fn restart(&mut self, host: usize) {
        let epoch = self.hosts[host].epoch + 1;
        self.hosts[host] = Host::new(host, epoch);
        self.configure_peers(host);
        for other in 0..self.hosts.len() {
            if self.up.remove(&(host, other)) {
                self.set_up(host, other, true);
            }
        }
    }

    /// A guest sends a frame on a host: learned where that is news.
    pub(crate) fn speak(&mut self, host: usize, key: Key) {
        let it = &mut self.hosts[host];
        let is_known = it.fdb.get(&key) == Some(&Place::Here);
        let is_challenged = it.challenged.remove(&key);
        if it.frozen.contains(&key) || is_known && !is_challenged {
            return;
        }
        it.fdb.insert(key, Place::Here);
        it.overlay.learned(self.now, key.0, key.1, LocalPort(1), Hold::Learned);
        self.flush();
    }

    /// A guest's entry ages out.
    pub(crate) fn age(&mut self, host: usize, key: Key) {
        let it = &mut self.hosts[host];
        if it.fdb.get(&key) == Some(&Place::Here) && !it.frozen.contains(&key) {
            it.fdb.remove(&key);
            it.overlay.forgotten(self.now, key.0, key.1);
            self.flush();
        }
    }

    /// A host says something that its overlay never would.
    pub(crate) fn forge(&mut self, from: usize, to: usize, payload: Vec<u8>) {
        self.hosts[to].overlay.receive(self.now, peer_of(from), &payload);
        self.flush();
    }

    /// Puts on the network what the hosts have to send, and follows what they tell.
    pub(crate) fn flush(&mut self) {
        for from in 0..self.hosts.len() {
            self.hosts[from].follow_events();
            while let Some((peer, payload)) = self.hosts[from].overlay.poll_transmit(self.now) {
                assert!(payload.len() <= 1100);
                if !self.silenced.contains(&from) {
                    self.send(Datagram { to: peer.0.into(), from, payload });
                }
            }
        }
    }

    fn send(&mut self, datagram: Datagram) {
        self.sent += 1;
        self.count += 1;
        if self.drop_next > 0 {
            self.drop_next -= 1;
            return;
        }
        if self.random.below(100) < self.weather.loss_percent {
            return;
        }
        let jitter = self.random.below(self.weather.jitter.as_micros() as u64 + 1);
        let at = self.now + self.weather.delay + Duration::from_micros(jitter);
        self.under_way.insert((at, self.count), datagram);
    }

    /// Lets time pass, with all that happens in it.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.flush();
        loop {
            let timeouts = self.hosts.iter().filter_map(|host| host.overlay.poll_timeout());
            let deliveries = self.under_way.keys().map(|&(at, _)| at).take(1);
            let next = timeouts.chain(deliveries).min().filter(|&next| next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            while self.under_way.first_key_value().is_some_and(|(&(at, _), _)| at <= self.now)
                && let Some((_, datagram)) = self.under_way.pop_first()
            {
                self.deliver(datagram);
            }
            for host in &mut self.hosts {
                if host.overlay.poll_timeout().is_some_and(|at| at <= self.now) {
                    host.overlay.handle_timeout(self.now);
                }
            }
            self.flush();
        }
        self.now = end;
    }

    fn deliver(&mut self, datagram: Datagram) {
        let Datagram { to, from, payload } = datagram;
        self.hosts[to].overlay.receive(self.now, peer_of(from), &payload);
        self.hosts[to].follow_events();
    }

    /// Tells whether every host has the address where it is.
    pub(crate) fn agree(&self, key: Key, at: usize) -> bool {
        self.hosts.iter().enumerate().all(|(host, it)| {
            let expected = if host == at { Place::Here } else { Place::At(at) };
            it.fdb.get(&key) == Some(&expected)
        })
    }

    /// Runs until every host has the address where it is; returns how long that took.
    pub(crate) fn time_to_agree(&mut self, key: Key, at: usize) -> Duration {
        let began = self.now;
        while !self.agree(key, at) {
            assert!(self.now < began + seconds(10), "{key:?} at {at}: {:?}", self.places(key));
            self.run_for(millis(1));
        }
        self.now - began
    }

    pub(crate) fn places(&self, key: Key) -> Vec<Option<Place>> {
        self.hosts.iter().map(|host| host.fdb.get(&key).copied()).collect()
    }
}
