//! A peer of a site that the test plays: it has another site's key and address, gets its session by the tunnel's own code,
//! and then says in it whatever the test wants, in the words of `docs/overlay.md`.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use weft_vpn::{
    Event, Host, HostConfig, Kind, Load, PAYLOAD_AT, PeerConfig, PeerId, PrivateKey, PublicKey,
    Session, Suites, record_index, record_len,
};

use crate::{PATIENCE, Site, frame::Mac};

const PEER: PeerId = PeerId(0);
/// How long one look for datagrams takes.
const LOOK: Duration = Duration::from_millis(5);

/// The peer.
pub struct Liar {
    socket: UdpSocket,
    host: Host<fn(&mut [u8])>,
    origin: Instant,
    to: SocketAddr,
    sessions: HashMap<u32, Arc<Session>>,
    sending: Option<Arc<Session>>,
    epoch: u64,
    /// The version of the log of each segment that it claims in.
    versions: HashMap<u32, u64>,
}

impl Liar {
    /// Takes the place of a site, whose daemon must not run, towards another one, and waits for a session.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn at(place: &Site, of: &Site) -> Self {
        let text = std::fs::read_to_string(place.key_file()).expect("the site has a key");
        let private_key = PrivateKey::from_base64(&text).expect("it is one");
        let key: PublicKey = of.public_key().parse().expect("the other has a key");
        let socket = place.space().enter(|| UdpSocket::bind(place.endpoint()));
        let socket = socket.expect("nobody listens there");
        socket.set_read_timeout(Some(LOOK)).expect("a read can have an end");
        let (origin, to) = (Instant::now(), of.endpoint());
        let config = HostConfig { private_key, previous_private_key: None, mark: None };
        let mut host: Host<fn(&mut [u8])> = Host::new(Duration::ZERO, config, random);
        let peer = PeerConfig {
            key,
            preshared_key: None,
            endpoint: Some(to),
            suites: Suites::default(),
            greatest: None,
        };
        host.add(Duration::ZERO, PEER, peer).expect("it is not its own peer");
        let sessions = HashMap::new();
        let epoch = wall().as_micros() as u64;
        let versions = HashMap::new();
        let mut liar = Self { socket, host, origin, to, sessions, sending: None, epoch, versions };
        let begin = Instant::now();
        while liar.sending.is_none() {
            assert!(begin.elapsed() < PATIENCE, "no session with site {}", of.name());
            liar.look();
        }
        liar
    }

    /// Reads what has come and does what is due; returns the records that were opened.
    pub fn look(&mut self) -> Vec<(Kind, Vec<u8>)> {
        let mut opened = Vec::new();
        let mut buffer = vec![0; 65_536];
        self.drain();
        loop {
            let (len, from) = match self.socket.recv_from(&mut buffer) {
                Ok(came) => came,
                Err(error) if is_patience(&error) => break,
                Err(error) => panic!("the socket says: {error}"),
            };
            opened.extend(self.take(&mut buffer[..len], from));
        }
        let now = self.now();
        self.host.handle_timeout(now, wall());
        self.drain();
        opened
    }

    fn take(&mut self, datagram: &mut [u8], from: SocketAddr) -> Option<(Kind, Vec<u8>)> {
        let now = self.now();
        let Some(index) = record_index(datagram) else {
            // What is refused is of no interest.
            let _ = self.host.receive(now, wall(), Load::Calm, from, datagram);
            self.drain();
            return None;
        };
        let opened = self.sessions.get(&index)?.open(now, datagram).ok()?;
        if opened.first {
            self.host.confirmed(now, index, from);
            self.drain();
        }
        let payload = datagram[opened.payload].to_vec();
        if opened.kind == Kind::Control && self.host.control(now, PEER, &payload) {
            self.drain();
        }
        Some((opened.kind, payload))
    }

    fn drain(&mut self) {
        while let Some(event) = self.host.poll_event() {
            match event {
                Event::Receive { session } => {
                    self.sessions.insert(session.index(), session);
                }
                Event::Send { session } => self.sending = Some(session),
                Event::Expired { index, .. } => {
                    self.sessions.remove(&index);
                }
                _ => {}
            }
        }
        while let Some(transmit) = self.host.poll_transmit() {
            self.socket.send_to(&transmit.datagram, transmit.to).expect("the underlay takes it");
        }
    }

    /// Says something in a record of its own.
    ///
    /// # Panics
    /// When there is no session.
    #[track_caller]
    pub fn say(&mut self, kind: Kind, payload: &[u8]) {
        let session = self.sending.as_ref().expect("a session");
        let mut record = vec![0; record_len(payload.len())];
        record[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(payload);
        let len = session.seal(self.now(), kind, payload.len(), &mut record).expect("it is sealed");
        self.socket.send_to(&record[..len], self.to).expect("the underlay takes it");
    }

    /// Says which segments it carries, as if it were all.
    pub fn catalogue(&mut self, segments: &[(u32, &str)]) {
        let count = (segments.len() as u16).to_le_bytes();
        let mut body = [&1_u32.to_le_bytes()[..], &0_u16.to_le_bytes(), &count].concat();
        for (id, name) in segments {
            body.extend(id.to_le_bytes());
            body.push(name.len() as u8);
            body.extend(name.as_bytes());
        }
        self.overlay(1, &body);
    }

    /// Claims addresses in a segment, each with a sequence and IPv4 addresses.
    pub fn claim(&mut self, segment: u32, claims: &[(Mac, u64, &[[u8; 4]])]) {
        let version = self.versions.entry(segment).or_default();
        let from = *version;
        *version += 1;
        let to = *version;
        let mut body = segment.to_le_bytes().to_vec();
        for value in [1, from, to, 1] {
            body.extend(u64::to_le_bytes(value));
        }
        for (mac, sequence, ips) in claims {
            body.push(ips.len() as u8);
            body.extend(mac);
            body.extend(sequence.to_le_bytes());
            for ip in *ips {
                body.push(4);
                body.extend(ip);
            }
        }
        self.overlay(2, &body);
    }

    /// Says something of the overlay's, in its form.
    pub fn overlay(&mut self, kind: u8, body: &[u8]) {
        let stamp = [&self.epoch.to_le_bytes()[..], &1_u32.to_le_bytes()].concat();
        self.say(Kind::Overlay, &[&[1, kind], &stamp[..], body].concat());
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Liar").field("to", &self.to).finish_non_exhaustive()
    }
}

/// Makes initiations for a site that are right in every way, but of a key that is no peer's.
pub fn strange_initiations(of: &Site, count: usize) -> Vec<Vec<u8>> {
    let private_key = PrivateKey::generate(&mut random);
    let key: PublicKey = of.public_key().parse().expect("the site has a key");
    let config = HostConfig { private_key, previous_private_key: None, mark: None };
    let mut host = Host::new(Duration::ZERO, config, random);
    let peer = PeerConfig {
        key,
        preshared_key: None,
        endpoint: Some(of.endpoint()),
        suites: Suites::default(),
        greatest: None,
    };
    host.add(Duration::ZERO, PEER, peer).expect("it is not its own peer");
    let mut initiations = Vec::new();
    while initiations.len() < count {
        host.reset(Duration::ZERO, PEER).expect("it was added");
        host.handle_timeout(Duration::ZERO, wall());
        while host.poll_event().is_some() {}
        initiations.extend(std::iter::from_fn(|| host.poll_transmit()).map(|it| it.datagram));
    }
    initiations
}

/// A frame of a bundle: the virtio-net header beside it, and its bytes without tags.
pub fn bundle(segment: u32, frames: &[(Option<[u8; 10]>, &[u8])]) -> Vec<u8> {
    let mut bytes = segment.to_le_bytes().to_vec();
    for (vnet, frame) in frames {
        let word = frame.len() as u32 | u32::from(vnet.is_some()) << 31;
        bytes.extend(word.to_le_bytes());
        bytes.extend(vnet.iter().flatten());
        bytes.extend(*frame);
    }
    bytes
}

fn is_patience(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970")
}

fn random(out: &mut [u8]) {
    getrandom::fill(out).expect("the kernel has randomness");
}
