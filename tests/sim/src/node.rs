//! A host as a daemon would run it: [`Host`] on a thread of its own that may lag behind, and around it a data path
//! that seals, opens, cuts and puts together. Real code of the tunnel, with everything around it made of values.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use weft_vpn::{
    BundleId, BundleIds, Control, Event, Fragments, Host, HostConfig, Kind, Load, PAYLOAD_AT,
    PathMtu, PeerConfig, PeerId, PeerState, PresharedKey, PrivateKey, PublicKey, Reassembly,
    Session, Suites, Tai64n, payload_room, record_index, record_len,
};

use crate::dice::Dice;

/// Bundles that wait for a session with one peer.
const WAITING: usize = 32;

/// What is configured of a peer.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) key: PublicKey,
    pub(crate) psk: Option<PresharedKey>,
    pub(crate) suites: Suites,
    pub(crate) naming: Naming,
}

/// Whether a peer's name is known, and with it its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Named,
    Unnamed,
}

/// What outlives a start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) mark: Option<Tai64n>,
    pub(crate) greatest: BTreeMap<PublicKey, Tai64n>,
}

/// What the data path has for the handshake thread.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    Handshake { from: SocketAddr, datagram: Vec<u8> },
    Confirmed { index: u32, from: SocketAddr },
    Roamed { peer: PeerId, from: SocketAddr },
    Control { peer: PeerId, payload: Vec<u8> },
}

/// What an operator would read in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A peer's timestamps went back.
    PeerBehind(PeerId),
    /// A peer says that of this host.
    HeldBehind(PeerId),
    /// A name should be looked up again.
    LookUp(PeerId),
}

/// What a call leaves for the world to carry out.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) datagrams: Vec<(Option<PeerId>, SocketAddr, Vec<u8>)>,
    pub(crate) bundles: Vec<(PeerId, Vec<u8>)>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) reports: Vec<Report>,
}

#[derive(Debug)]
pub(crate) struct Node {
    host: Host<Dice>,
    sessions: HashMap<u32, Arc<Session>>,
    lanes: BTreeMap<PeerId, Lane>,
    pub(crate) disk: Disk,
    /// What is on the disk of it already; the rest is saved lazily.
    pub(crate) saved: Disk,
    largest: u16,
    pub(crate) load: Load,
    pub(crate) out: Output,
}

/// The data path's side of a peer.
#[derive(Debug)]
struct Lane {
    sending: Option<Arc<Session>>,
    endpoint: Option<SocketAddr>,
    waiting: VecDeque<Vec<u8>>,
    path: PathMtu,
    largest_sent: u16,
    reassembly: Reassembly,
    ids: BundleIds,
    is_up: bool,
}

impl Node {
    /// Starts a host. Nothing larger than `largest` leaves its interface.
    pub(crate) fn start(
        now: Duration,
        keys: (PrivateKey, Option<PrivateKey>),
        disk: Disk,
        largest: u16,
        dice: Dice,
    ) -> Self {
        let (private_key, previous_private_key) = keys;
        let config = HostConfig { private_key, previous_private_key, mark: disk.mark };
        Self {
            host: Host::new(now, config, dice),
            sessions: HashMap::new(),
            lanes: BTreeMap::new(),
            saved: disk.clone(),
            disk,
            largest,
            load: Load::Calm,
            out: Output::default(),
        }
    }

    pub(crate) fn add(
        &mut self,
        now: Duration,
        peer: PeerId,
        setup: &Setup,
        address: SocketAddr,
        first_bundle: u32,
    ) {
        let config = PeerConfig {
            key: setup.key,
            preshared_key: setup.psk.clone(),
            endpoint: (setup.naming == Naming::Named).then_some(address),
            suites: setup.suites,
            greatest: self.disk.greatest.get(&setup.key).copied(),
        };
        let lane = Lane {
            sending: None,
            endpoint: None,
            waiting: VecDeque::new(),
            path: PathMtu::new(now, self.largest),
            largest_sent: 0,
            reassembly: Reassembly::default(),
            ids: BundleIds::beginning_at(first_bundle),
            is_up: false,
        };
        self.lanes.insert(peer, lane);
        self.host.add(now, peer, config).expect("peers of a simulation differ");
        self.drain(now);
    }

    pub(crate) fn remove(&mut self, now: Duration, peer: PeerId) {
        self.lanes.remove(&peer);
        self.host.remove(peer).expect("a peer that was added");
        self.drain(now);
    }

    pub(crate) fn reset(&mut self, now: Duration, peer: PeerId) {
        self.host.reset(now, peer).expect("a peer that was added");
        self.drain(now);
    }

    pub(crate) fn resolved(&mut self, now: Duration, peer: PeerId, address: SocketAddr) {
        self.host.set_endpoint(now, peer, Some(address)).expect("a peer that was added");
        self.drain(now);
    }

    pub(crate) fn set_psk(&mut self, peer: PeerId, psk: Option<PresharedKey>) {
        self.host.set_preshared_key(peer, psk).expect("a peer that was added");
    }

    pub(crate) fn set_keys(&mut self, now: Duration, keys: (PrivateKey, Option<PrivateKey>)) {
        self.host.set_private_keys(now, keys.0, keys.1).expect("no peer has a host's own key");
        self.drain(now);
    }

    pub(crate) fn has(&self, peer: PeerId) -> bool {
        self.lanes.contains_key(&peer)
    }

    pub(crate) fn is_up(&self, peer: PeerId) -> bool {
        self.lanes.get(&peer).is_some_and(|lane| lane.is_up)
    }

    pub(crate) fn endpoint(&self, peer: PeerId) -> Option<SocketAddr> {
        self.lanes.get(&peer)?.endpoint
    }

    pub(crate) fn path_mtu(&self, peer: PeerId) -> u16 {
        self.lanes.get(&peer).map_or(0, |lane| lane.path.current())
    }

    /// Returns the length of the bundles that fill a record to this peer.
    pub(crate) fn room(&self, peer: PeerId) -> usize {
        payload_room(self.path_mtu(peer).into()).unwrap_or(crate::ledger::SHORTEST)
    }

    /// Sends a bundle, or keeps it until there is a session.
    pub(crate) fn send(&mut self, now: Duration, peer: PeerId, bundle: Vec<u8>) {
        let Some(lane) = self.lanes.get_mut(&peer) else { return };
        if lane.seal_bundle(now, &bundle, peer, &mut self.out).is_none() {
            if lane.waiting.len() == WAITING {
                lane.waiting.pop_front();
            }
            lane.waiting.push_back(bundle);
            self.host.wanted(now, peer).expect("a peer that was added");
            self.drain(now);
        }
    }

    /// Takes a datagram from the network; tells whether a session opened it.
    pub(crate) fn receive(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) -> bool {
        let Some(index) = record_index(datagram) else {
            self.out.notices.push(Notice::Handshake { from, datagram: datagram.to_vec() });
            return false;
        };
        let Some(session) = self.sessions.get(&index) else { return false };
        let peer = session.peer();
        let mut record = datagram.to_vec();
        let Ok(opened) = session.open(now, &mut record) else { return false };
        let Some(lane) = self.lanes.get_mut(&peer) else { return false };
        if opened.first {
            self.out.notices.push(Notice::Confirmed { index, from });
        } else if opened.newest && lane.endpoint != Some(from) {
            self.out.notices.push(Notice::Roamed { peer, from });
        }
        let payload = &record[opened.payload];
        match opened.kind {
            Kind::Bundle => self.out.bundles.push((peer, payload.to_vec())),
            Kind::Fragment => {
                if let Ok(Some(bundle)) = lane.reassembly.insert(now, payload, 0) {
                    self.out.bundles.push((peer, bundle.to_vec()));
                    lane.reassembly.recycle(bundle);
                }
            }
            Kind::Control => lane.control(now, peer, payload, &mut self.out),
            Kind::Empty | Kind::Overlay | Kind::Other(_) => {}
        }
        true
    }

    /// Gives the handshake thread what the data path had for it.
    pub(crate) fn notice(&mut self, now: Duration, wall: Duration, notice: Notice) {
        match notice {
            Notice::Handshake { from, datagram } => {
                // Refusals are counted by the host; here they are what most disturbances end in.
                let _ = self.host.receive(now, wall, self.load, from, &datagram);
            }
            Notice::Confirmed { index, from } => self.host.confirmed(now, index, from),
            Notice::Roamed { peer, from } => self.host.roamed(now, peer, from),
            Notice::Control { peer, payload } => {
                self.host.control(now, peer, &payload);
            }
        }
        self.drain(now);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Duration, wall: Duration) {
        if self.host.poll_timeout().is_some_and(|at| at <= now) {
            self.host.handle_timeout(now, wall);
            self.drain(now);
        }
        for (&peer, lane) in &mut self.lanes {
            if lane.path.poll_timeout().is_some_and(|at| at <= now) {
                let largest_sent = std::mem::take(&mut lane.largest_sent);
                lane.path.handle_timeout(now, largest_sent);
            }
            lane.reassembly.handle_timeout(now);
            lane.probe(now, peer, &mut self.out);
        }
    }

    /// Returns when [`Node::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        let lanes = self.lanes.values().flat_map(|lane| {
            // A peer that is down is not probed; what is due then waits until it is up.
            let path = lane.path.poll_timeout().filter(|_| lane.sending.is_some());
            [path, lane.reassembly.poll_timeout()]
        });
        lanes.chain([self.host.poll_timeout()]).flatten().min()
    }

    /// Carries out what the host decided.
    fn drain(&mut self, now: Duration) {
        while let Some(event) = self.host.poll_event() {
            self.event(now, event);
        }
        while let Some(transmit) = self.host.poll_transmit() {
            self.out.datagrams.push((transmit.peer, transmit.to, transmit.datagram));
        }
    }

    fn event(&mut self, now: Duration, event: Event) {
        match event {
            Event::Receive { session } => {
                let before = self.sessions.insert(session.index(), session);
                assert!(before.is_none(), "an index is given out twice");
            }
            Event::Send { session } => {
                let peer = session.peer();
                assert!(
                    self.sessions.contains_key(&session.index()),
                    "it receives before it sends"
                );
                let Some(lane) = self.lanes.get_mut(&peer) else { return };
                lane.sending = Some(session);
                while let Some(bundle) = lane.waiting.pop_front() {
                    if lane.seal_bundle(now, &bundle, peer, &mut self.out).is_none() {
                        lane.waiting.push_front(bundle);
                        break;
                    }
                }
                lane.probe(now, peer, &mut self.out);
            }
            Event::Expired { peer, index } => {
                let session = self.sessions.remove(&index);
                assert!(session.is_some(), "a session ends that was never given out");
                if let Some(lane) = self.lanes.get_mut(&peer) {
                    lane.sending.take_if(|sending| sending.index() == index);
                }
            }
            Event::Endpoint { peer, address } => {
                if let Some(lane) = self.lanes.get_mut(&peer) {
                    lane.endpoint = Some(address);
                    lane.path.restart(now);
                    lane.probe(now, peer, &mut self.out);
                }
            }
            Event::State { peer, state } => {
                if let Some(lane) = self.lanes.get_mut(&peer) {
                    lane.is_up = state == PeerState::Up;
                }
            }
            Event::Unanswered { peer } => self.out.reports.push(Report::LookUp(peer)),
            Event::Mark { mark } => {
                // A mark is kept before what it covers leaves.
                self.disk.mark = Some(mark);
                self.saved.mark = Some(mark);
            }
            Event::Greatest { key, timestamp, .. } => {
                match timestamp {
                    Some(timestamp) => self.disk.greatest.insert(key, timestamp),
                    None => self.disk.greatest.remove(&key),
                };
            }
            Event::PeerBehind { peer, .. } => self.out.reports.push(Report::PeerBehind(peer)),
            Event::HeldBehind { peer, .. } => self.out.reports.push(Report::HeldBehind(peer)),
            Event::ClockBehind { .. } | Event::SuiteNotAllowed { .. } | Event::Stranger { .. } => {}
        }
    }

    /// Checks that no session and no lane outlives its peer.
    pub(crate) fn check(&self) {
        for session in self.sessions.values() {
            let lane = self.lanes.get(&session.peer()).expect("a session of a peer that is there");
            assert!(lane.reassembly.held() <= weft_vpn::REASSEMBLY_BOUND);
        }
    }
}

impl Lane {
    /// Seals a bundle, whole or in fragments; `None` when there is no session that does.
    fn seal_bundle(
        &mut self,
        now: Duration,
        bundle: &[u8],
        peer: PeerId,
        out: &mut Output,
    ) -> Option<()> {
        let (session, to) = (self.sending.clone()?, self.endpoint?);
        let room = payload_room(self.path.current().into())?;
        if bundle.len() <= room {
            let record = seal(now, &session, Kind::Bundle, &[bundle])?;
            self.push(peer, to, record, out);
            return Some(());
        }
        let id: BundleId = self.ids.next();
        let fragments = Fragments::new(id, bundle.len(), room).expect("no bundle is too long");
        for fragment in fragments {
            let parts = [&fragment.header[..], &bundle[fragment.piece]];
            let record = seal(now, &session, Kind::Fragment, &parts)?;
            self.push(peer, to, record, out);
        }
        Some(())
    }

    fn push(&mut self, peer: PeerId, to: SocketAddr, record: Vec<u8>, out: &mut Output) {
        assert!(record.len() <= self.path.current().into(), "larger than the path");
        self.largest_sent = self.largest_sent.max(record.len() as u16);
        out.datagrams.push((Some(peer), to, record));
    }

    /// Sends the probe that is due, if the peer can be reached.
    fn probe(&mut self, now: Duration, peer: PeerId, out: &mut Output) {
        let (Some(session), Some(to)) = (self.sending.clone(), self.endpoint) else { return };
        let Some(probe) = self.path.poll_transmit(now) else { return };
        let room = payload_room(probe.size.into()).expect("no probe is that small");
        let mut payload = vec![0; room];
        Control::Probe { nonce: probe.nonce }.write(&mut payload);
        if let Some(record) = seal(now, &session, Kind::Control, &[&payload]) {
            assert_eq!(record.len(), usize::from(probe.size));
            out.datagrams.push((Some(peer), to, record));
        }
    }

    fn control(&mut self, now: Duration, peer: PeerId, payload: &[u8], out: &mut Output) {
        let answer = match Control::read(payload) {
            Ok(Control::Probe { nonce }) => {
                Control::ProbeAnswer { nonce, size: record_len(payload.len()) as u16 }
            }
            Ok(Control::Ping { nonce, time }) => Control::Pong { nonce, time },
            Ok(Control::ProbeAnswer { nonce, size }) => {
                self.path.answered(now, nonce, size);
                return self.probe(now, peer, out);
            }
            Ok(Control::Pong { .. }) => return,
            Err(_) => {
                return out.notices.push(Notice::Control { peer, payload: payload.to_vec() });
            }
        };
        let (Some(session), Some(to)) = (self.sending.clone(), self.endpoint) else { return };
        let mut bytes = [0; Control::ROOM];
        let len = answer.write(&mut bytes);
        if let Some(record) = seal(now, &session, Kind::Control, &[&bytes[..len]]) {
            out.datagrams.push((Some(peer), to, record));
        }
    }
}

/// Seals a record whose payload is `parts`.
fn seal(now: Duration, session: &Session, kind: Kind, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut record = vec![0; record_len(len)];
    let mut at = PAYLOAD_AT;
    for part in parts {
        record[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    session.seal(now, kind, len, &mut record).ok()?;
    Some(record)
}
