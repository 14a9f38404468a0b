//! The keeper of the tunnels: one thread that has the host's keys, computes handshakes, keeps the time and searches
//! the path's MTU. Puts what comes of it in the directory; tells the control plane what it should know.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    thread::{self, Builder, JoinHandle},
    time::Duration,
};

use tokio::sync::oneshot;
use weft_ports::udp::Socket;
use weft_vpn::{
    Control, Event, Host, HostConfig, HostError, Kind, Load, PAYLOAD_AT, PeerConfig, PeerId, Probe,
    payload_room, record_len,
};

use super::{
    command::{Asked, Command, News, PeerReport, PingError, Report},
    directory::{Directory, Peer},
    kept::Kept,
    notes::{Inbox, Note, Notes},
    stamps::Stamps,
};
use crate::clock;

/// The longest that the keeper sleeps.
const NAP: Duration = Duration::from_secs(1);
/// How often it is logged that somebody who is no peer begins a handshake: anybody can, as often as it likes.
const STRANGERS: Duration = Duration::from_secs(10);
/// A pause while handshakes come too fast, so that they are taken many at a time: being woken for each costs more than
/// refusing it.
const BREATH: Duration = Duration::from_millis(1);
/// Notes that are taken before what comes of them is carried out.
const AT_A_TIME: usize = 256;
/// The least time between two looks at one path.
const TICK: Duration = Duration::from_millis(1);

/// The keeper as the control plane sees it.
pub(crate) struct Keeper {
    notes: Notes,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none.
    pub(crate) fn start(
        config: HostConfig,
        stamps: Stamps,
        socket: Socket,
        directory: Arc<Directory>,
        (notes, inbox): (Notes, Inbox),
        news: Box<dyn Fn(News) + Send>,
    ) -> io::Result<Self> {
        let office = Office {
            host: Host::new(clock::elapsed(), config, random),
            socket,
            directory,
            peers: BTreeMap::new(),
            searches: BTreeSet::new(),
            stamps,
            stranger_told: None,
            news,
        };
        let thread = Builder::new().name("weft-keeper".into()).spawn(move || office.run(inbox))?;
        Ok(Self { notes, thread: Some(thread) })
    }

    /// Adds a peer.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(crate) async fn add(&self, peer: Arc<Peer>, config: PeerConfig) -> Result<(), HostError> {
        let (answer, added) = oneshot::channel();
        self.command(Command::Add(peer, Box::new(config), answer));
        added.await.unwrap_or(Err(HostError::UnknownPeer))
    }

    /// Removes a peer: when this returns, nothing is sent to it any more, and no record of its is opened.
    pub(crate) async fn remove(&self, peer: PeerId) {
        let (answer, removed) = oneshot::channel();
        self.command(Command::Remove(peer, answer));
        // A keeper that has ended says nothing either.
        let _ = removed.await;
    }

    /// Has something done.
    pub(crate) fn command(&self, command: Command) {
        self.notes.command(command);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Overwrites bytes with what nobody can guess. Without it no key can be made.
pub(crate) fn random(out: &mut [u8]) {
    while getrandom::fill(out).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
}

struct Office<R> {
    host: Host<R>,
    socket: Socket,
    directory: Arc<Directory>,
    peers: BTreeMap<PeerId, Kept>,
    /// Whose search for a path's MTU goes on when.
    searches: BTreeSet<(Duration, PeerId)>,
    stamps: Stamps,
    /// When a handshake of an unknown key was logged last.
    stranger_told: Option<Duration>,
    news: Box<dyn Fn(News) + Send>,
}

impl<R: weft_vpn::Random> Office<R> {
    fn run(mut self, mut inbox: Inbox) {
        loop {
            let now = clock::elapsed();
            let patience = self.due().map_or(NAP, |due| due.saturating_sub(now)).min(NAP);
            let mut note = inbox.take(patience);
            if inbox.load(now) == Load::Heavy {
                thread::sleep(BREATH);
            }
            let mut room = AT_A_TIME;
            while let Some(some) = note {
                // Read for each: a ping and its answer may be taken one after the other.
                let now = clock::elapsed();
                if matches!(some, Note::Command(Command::Stop)) {
                    self.peers.values().for_each(|kept| kept.peer.close_way());
                    return self.save(now, true);
                }
                self.hear(now, &mut inbox, some);
                room -= 1;
                note = if room > 0 { inbox.take(Duration::ZERO) } else { None };
            }
            let now = clock::elapsed();
            if self.host.poll_timeout().is_some_and(|due| due <= now) {
                self.host.handle_timeout(now, clock::wall());
            }
            self.search_paths(now);
            self.carry_out(now);
            self.save(now, false);
        }
    }

    /// When there is something to do.
    fn due(&self) -> Option<Duration> {
        let search = self.searches.first().map(|&(due, _)| due);
        [self.host.poll_timeout(), search].into_iter().flatten().min()
    }

    fn hear(&mut self, now: Duration, inbox: &mut Inbox, note: Note) {
        match note {
            Note::Handshake(_, from, datagram) => {
                // Refusals are counted where they happen.
                let _ = self.host.receive(now, clock::wall(), inbox.load(now), from, &datagram);
            }
            Note::Confirmed(index, from) => self.host.confirmed(now, index, from),
            Note::Roamed(peer, from) => self.host.roamed(now, peer, from),
            Note::Control(peer, size, payload) => {
                if !self.host.control(now, peer, &payload) {
                    self.control(now, peer, size, &payload);
                }
            }
            Note::Wanted(peer) => {
                if let Some(kept) = self.peers.get(&peer) {
                    kept.peer.heard_wanted();
                    let _ = self.host.wanted(now, peer);
                }
            }
            Note::Command(command) => self.obey(now, command),
        }
    }

    fn obey(&mut self, now: Duration, command: Command) {
        match command {
            Command::Add(peer, config, answer) => {
                let id = peer.id();
                let mut config = *config;
                config.greatest = self.stamps.greatest(&config.key);
                let added = self.host.add(now, id, config);
                if added.is_ok() {
                    self.peers.insert(id, Kept::new(now, peer));
                }
                let _ = answer.send(added);
            }
            Command::Remove(peer, answer) => {
                // First, so that no event opens the way again.
                if let Some(kept) = self.peers.remove(&peer) {
                    if let Some(due) = kept.search {
                        self.searches.remove(&(due, peer));
                    }
                    kept.peer.close_way();
                }
                let _ = self.host.remove(peer);
                self.enter_addresses();
                self.carry_out(now);
                let _ = answer.send(());
            }
            Command::SetEndpoint(peer, address) => {
                let _ = self.host.set_endpoint(now, peer, address);
            }
            Command::SetPresharedKey(peer, key) => {
                let _ = self.host.set_preshared_key(peer, key);
            }
            Command::SetSuites(peer, suites) => {
                let _ = self.host.set_suites(now, peer, suites);
            }
            Command::SetKeys(current, previous, answer) => {
                let _ = answer.send(self.host.set_private_keys(now, current, previous));
            }
            Command::Reset(peer, answer) => {
                if let Ok(reset) = self.host.reset(now, peer) {
                    let _ = answer.send(reset);
                }
            }
            Command::Ping(peer, size, answer) => {
                let _ = answer.send(self.ping(now, peer, size));
            }
            Command::Report(answer) => {
                let _ = answer.send(self.report());
            }
            Command::Stop => {}
        }
    }

    fn report(&self) -> Report {
        let peers = self.peers.iter().filter_map(|(&id, kept)| {
            let status = self.host.status(id).ok()?;
            let path = kept.path.is_confirmed().then(|| kept.path.current());
            Some((id, PeerReport { status, path, round_trip: kept.round_trip }))
        });
        Report { peers: peers.collect(), refusals: self.host.refusals().collect() }
    }

    /// Asks a peer for an answer. A size is asked for by a probe, whose answer is the same to this end.
    fn ping(
        &mut self,
        now: Duration,
        peer: PeerId,
        size: Option<usize>,
    ) -> Result<Asked, PingError> {
        let mut nonce = [0; 8];
        random(&mut nonce);
        let nonce = u64::from_le_bytes(nonce);
        let (word, len) = match size {
            None => (Control::Ping { nonce, time: now.as_nanos() as u64 }, Control::ROOM),
            Some(size) => {
                let room = payload_room(size).unwrap_or_default();
                (Control::Probe { nonce }, room.max(Control::ROOM))
            }
        };
        let size = match self.try_say(now, peer, word, len) {
            Ok(Some(size)) => size,
            Ok(None) => {
                let _ = self.host.wanted(now, peer);
                return Err(PingError::NoSession);
            }
            Err(error) if is_too_large(&error) => {
                return Err(PingError::TooLarge(record_len(len)));
            }
            Err(error) => return Err(error.into()),
        };
        let kept = self.peers.get_mut(&peer).ok_or(PingError::NoSession)?;
        let to = kept.address.ok_or(PingError::NoSession)?;
        let (waiting, answer) = oneshot::channel();
        kept.pings.retain(|_, (_, waiting)| !waiting.is_closed());
        kept.pings.insert(nonce, (now, waiting));
        Ok(Asked { to, size, answer })
    }

    /// Takes what a peer's tunnel says about the path, in a datagram of so many bytes.
    fn control(&mut self, now: Duration, peer: PeerId, size: usize, payload: &[u8]) {
        let Some(kept) = self.peers.get_mut(&peer) else { return };
        match Control::read(payload) {
            Ok(Control::Probe { nonce }) => {
                let size = u16::try_from(size).unwrap_or(u16::MAX);
                self.say(now, peer, Control::ProbeAnswer { nonce, size });
            }
            Ok(Control::ProbeAnswer { nonce, size }) => {
                kept.answered(now, nonce);
                kept.path.answered(now, nonce, size);
                self.search_path(now, peer);
            }
            Ok(Control::Ping { nonce, time }) => {
                self.say(now, peer, Control::Pong { nonce, time });
            }
            Ok(Control::Pong { nonce, .. }) => kept.answered(now, nonce),
            Err(_) => kept.peer.counts.bump("malformed-control"),
        }
    }

    /// Seals a word to a peer's tunnel, in a payload of `len` bytes at most, and sends it. Returns the bytes of the
    /// datagram's payload; `None` where there is no session.
    fn try_say(
        &self,
        now: Duration,
        peer: PeerId,
        word: Control,
        len: usize,
    ) -> io::Result<Option<usize>> {
        let Some(kept) = self.peers.get(&peer) else { return Ok(None) };
        let (Some(session), Some(address)) = (&kept.session, kept.address) else {
            return Ok(None);
        };
        let mut record = vec![0; record_len(len)];
        let written = word.write(&mut record[PAYLOAD_AT..PAYLOAD_AT + len]);
        match session.seal(now, Kind::Control, written, &mut record) {
            Ok(len) => self.socket.send_to(&record[..len], address).map(|()| Some(len)),
            // The session is about to be replaced; the word is said again by whoever needs it.
            Err(_) => Ok(None),
        }
    }

    /// Says something to a peer's tunnel; a word that is lost is asked for again.
    fn say(&self, now: Duration, peer: PeerId, word: Control) {
        if let Err(error) = self.try_say(now, peer, word, Control::ROOM) {
            tracing::debug!(?peer, %error, "word not sent");
        }
    }

    /// Goes on with the search for the MTU of the paths for which it is time.
    fn search_paths(&mut self, now: Duration) {
        while let Some(&(due, peer)) = self.searches.first()
            && due <= now
        {
            self.search_path(now, peer);
        }
    }

    /// Goes on with the search for the MTU of the path to a peer, and notes when there is more to do.
    fn search_path(&mut self, now: Duration, peer: PeerId) {
        let Some(kept) = self.peers.get_mut(&peer) else { return };
        if let Some(before) = kept.search.take() {
            self.searches.remove(&(before, peer));
        }
        // A good occasion to give up bundles that nobody completes.
        kept.peer.reassembly().handle_timeout(now);
        if kept.session.is_none() {
            return;
        }
        if kept.path.poll_timeout().is_some_and(|due| due <= now) {
            // Frames alone: probes of the path, and their answers, are no reason for others.
            kept.path.handle_timeout(now, kept.peer.take_largest_sent());
        }
        while let Some(probe) =
            self.peers.get_mut(&peer).and_then(|kept| kept.path.poll_transmit(now))
        {
            if !self.probe(now, peer, probe) {
                break;
            }
        }
        if let Some(kept) = self.peers.get_mut(&peer) {
            kept.peer.set_path(kept.path.current());
            // Not sooner than time goes on, whatever there is to do.
            kept.search = kept.path.poll_timeout().map(|due| due.max(now + TICK));
            self.searches.extend(kept.search.map(|due| (due, peer)));
        }
    }

    /// Sends a probe; tells whether another size is to be tried at once.
    fn probe(&mut self, now: Duration, peer: PeerId, probe: Probe) -> bool {
        let Some(len) = payload_room(probe.size.into()) else { return false };
        let word = Control::Probe { nonce: probe.nonce };
        let sent = self.try_say(now, peer, word, len);
        let Some(kept) = self.peers.get_mut(&peer) else { return false };
        let too_large = sent.as_ref().is_err_and(is_too_large);
        if too_large {
            kept.path.refused(now, probe.nonce);
        } else {
            kept.probed = Some((probe.nonce, now));
        }
        too_large
    }

    /// Carries out what the host says, events first.
    fn carry_out(&mut self, now: Duration) {
        while let Some(event) = self.host.poll_event() {
            self.take_in(now, event);
        }
        while let Some(transmit) = self.host.poll_transmit() {
            if let Err(error) = self.socket.send_to(&transmit.datagram, transmit.to) {
                tracing::debug!(to = %transmit.to, %error, "datagram not sent");
            }
        }
    }

    fn take_in(&mut self, now: Duration, event: Event) {
        match event {
            Event::Receive { session } => {
                if let Some(kept) = self.peers.get(&session.peer()) {
                    self.directory.enter(session, kept.peer.clone());
                }
            }
            Event::Send { session } => {
                let peer = session.peer();
                if let Some(kept) = self.peers.get_mut(&peer) {
                    kept.session = Some(session);
                    kept.open_way();
                    self.search_path(now, peer);
                }
            }
            Event::Expired { peer, index } => {
                self.directory.leave(index);
                if let Some(kept) = self.peers.get_mut(&peer) {
                    kept.session = kept.session.take().filter(|session| session.index() != index);
                    kept.open_way();
                }
            }
            Event::Endpoint { peer, address } => {
                if let Some(kept) = self.peers.get_mut(&peer) {
                    kept.moved(now, address);
                    self.search_path(now, peer);
                    self.enter_addresses();
                }
            }
            Event::State { peer, state } => self.tell(News::State(peer, state)),
            Event::Unanswered { peer } => self.tell(News::Unanswered(peer)),
            Event::Mark { mark } => self.stamps.set_mark(mark),
            Event::Greatest { key, timestamp, .. } => self.stamps.set_greatest(&key, timestamp),
            Event::ClockBehind { .. } => {
                tracing::warn!("the clock went back: timestamps of handshakes go on from the mark");
            }
            Event::PeerBehind { peer, .. } => self.trouble(
                peer,
                "a handshake came that is older than an earlier one: either somebody repeats it, which \
                 does no harm, or that host lost its state while its clock was set back; only if that \
                 host itself says that it is held out, `weftctl peer reset` here lets it in",
            ),
            Event::HeldBehind { peer, .. } => self.trouble(
                peer,
                "it remembers later timestamps of this host (a clock or a state directory was set \
                 back): `weftctl peer reset` there lets this host in",
            ),
            Event::SuiteNotAllowed { peer, suite } => self.trouble(
                peer,
                &format!("it asks for {}, which its `ciphers` here do not allow", suite.name()),
            ),
            Event::Stranger { from, key } => {
                if self.stranger_told.is_none_or(|told| now >= told + STRANGERS) {
                    self.stranger_told = Some(now);
                    tracing::info!(%from, %key, "a handshake of an unknown key");
                }
            }
        }
    }

    /// Tells the workers where peers are.
    fn enter_addresses(&self) {
        let addresses = self.peers.values().filter_map(|kept| kept.address);
        self.directory.set_addresses(addresses.collect());
    }

    fn trouble(&self, peer: PeerId, text: &str) {
        self.tell(News::Trouble(peer, text.to_owned()));
    }

    fn tell(&self, news: News) {
        (self.news)(news);
    }

    fn save(&mut self, now: Duration, at_once: bool) {
        if let Some(stamps) = self.stamps.due(now, at_once) {
            self.tell(News::Stamps(stamps));
        }
    }
}

/// Tells whether a datagram is larger than the own device's MTU.
fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}
