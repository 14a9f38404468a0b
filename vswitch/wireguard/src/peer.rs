//! A peer: its WireGuard state, where it was heard last, and the packets that wait for a session. Shared by whoever sends to it
//! and whoever hears of it; one at a time works with its keys.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use weft_vpn::PublicKey;

use crate::{Engine, LONGEST_MESSAGE, Opened, Refusal, Ticked, server::INITIATION};

/// Packets that wait for a session.
const WAITING_MAX: usize = 64;

/// The number of a peer: the upper 24 bits of the indices of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u32);

impl PeerId {
    const BITS: u32 = 24;

    /// Makes a number; `None` when it has more than 24 bits. It should be random.
    pub fn new(number: u32) -> Option<Self> {
        (number < 1 << Self::BITS).then_some(Self(number))
    }

    /// Returns the number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Returns whose session has this index.
    pub(crate) fn of_index(index: u32) -> Self {
        Self(index >> (u32::BITS - Self::BITS))
    }
}

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is sent to.
    pub address: SocketAddr,
    /// This host's address that it sends to, which it hears from alone if something on the way has a memory; `None` where
    /// that is not known.
    pub own: Option<IpAddr>,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address, own: None }
    }
}

/// A peer of an adapter.
pub struct Peer {
    id: PeerId,
    key: PublicKey,
    /// The networks behind it.
    allowed: Mutex<Arc<[IpNet]>>,
    state: Mutex<State>,
}

struct State {
    engine: Box<dyn Engine>,
    /// What knows the newest initiation, until the engine has had one.
    before: Option<Box<dyn Engine>>,
    endpoint: Option<Endpoint>,
    keepalive: Option<Duration>,
    /// What had been received and sent when there was something new last, and when that was seen.
    quiet: Option<(u64, u64, Duration)>,
    waiting: VecDeque<Vec<u8>>,
    /// Packets that have waited and were thrown away.
    lost: u64,
    /// Whether there was a session when it was asked last.
    was_ready: bool,
    received: u64,
    sent: u64,
}

/// What becomes of a packet for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// A record of so many bytes is to be sent there.
    Record(usize, Endpoint),
    /// It waits for a session, which somebody has to make: [`Peer::initiate`].
    Waits,
}

/// What a record from a peer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// What was in it.
    pub opened: Opened,
    /// Whether there is a session where there was none before: [`Peer::flush`], and the VLAN wants to know.
    pub came: bool,
}

/// How a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Where it was heard last, or is said to be.
    pub endpoint: Option<SocketAddr>,
    /// How long ago the session that is used was made.
    pub handshake_age: Option<Duration>,
    /// Bytes of records that were received and believed.
    pub received: u64,
    /// Bytes of records and messages that were sent.
    pub sent: u64,
}

impl Peer {
    /// Makes a peer of which nothing has been heard.
    pub fn new(
        id: PeerId,
        key: PublicKey,
        engine: Box<dyn Engine>,
        endpoint: Option<SocketAddr>,
        keepalive: Option<u16>,
        allowed: Vec<IpNet>,
    ) -> Self {
        let state = State {
            engine,
            before: None,
            endpoint: endpoint.map(Endpoint::from),
            keepalive: keepalive.map(seconds),
            quiet: None,
            waiting: VecDeque::new(),
            lost: 0,
            was_ready: false,
            received: 0,
            sent: 0,
        };
        Self { id, key, allowed: Mutex::new(allowed.into()), state: Mutex::new(state) }
    }

    /// Returns its number.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Returns who it is.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Returns the networks behind it.
    pub fn allowed(&self) -> Arc<[IpNet]> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has other networks behind it: in force with the next [`Peers`](crate::Peers) that are made of it.
    pub fn set_allowed(&self, allowed: Vec<IpNet>) {
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = allowed.into();
    }

    /// Returns where it is sent to.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.state().endpoint
    }

    /// Sends to it there from here on, until it is heard elsewhere.
    pub fn set_endpoint(&self, endpoint: Option<SocketAddr>) {
        self.state().endpoint = endpoint.map(Endpoint::from);
    }

    /// Sends it something as often from here on, whether there is anything to say or not; its session stays.
    pub fn set_keepalive(&self, keepalive: Option<u16>) {
        let mut state = self.state();
        state.keepalive = keepalive.map(seconds);
        state.quiet = None;
    }

    /// Makes sessions by another engine from here on. An initiation that the one before would not believe, it does not
    /// believe either.
    pub fn set_engine(&self, engine: Box<dyn Engine>) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.engine, engine);
        state.before.get_or_insert(before);
        state.was_ready = false;
        state.quiet = None;
    }

    /// Returns how many packets have waited for a session and were thrown away since this was asked last.
    pub fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.state().lost)
    }

    /// Throws away what waits for a session.
    pub fn give_up(&self) {
        self.state().give_up();
    }

    /// Seals a packet for it, or has it wait.
    ///
    /// # Errors
    /// [`Refusal::NoEndpoint`] when it was never heard of, [`Refusal::TooBig`] when the room is too small.
    pub fn seal(&self, packet: &[u8], room: &mut [u8]) -> Result<Sealed, Refusal> {
        let mut state = self.state();
        let endpoint = state.endpoint.ok_or(Refusal::NoEndpoint)?;
        match state.engine.seal(packet, room) {
            Ok(len) => {
                state.sent += len as u64;
                Ok(Sealed::Record(len, endpoint))
            }
            Err(Refusal::NoSession) => {
                // What has waited longest is what its sender misses least.
                if state.waiting.len() >= WAITING_MAX {
                    state.waiting.pop_front();
                    state.lost += 1;
                }
                state.waiting.push_back(packet.to_vec());
                Ok(Sealed::Waits)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Opens a record of its; whoever can make one is where it came from.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn open(
        &self,
        from: impl Into<Endpoint>,
        record: &[u8],
        room: &mut [u8],
    ) -> Result<Arrived, Refusal> {
        let mut state = self.state();
        let opened = state.engine.open(record, room)?;
        state.heard(from.into(), record.len());
        Ok(Arrived { opened, came: state.came() })
    }

    /// Takes a message of a handshake; returns the bytes of what is to be sent back, 0 for nothing, and whether there is a
    /// session where there was none before.
    pub(crate) fn handshake(
        &self,
        from: Endpoint,
        message: &[u8],
        is_authentic: bool,
        room: &mut [u8],
    ) -> Result<(usize, bool), Refusal> {
        let mut state = self.state();
        let is_initiation = message.first() == Some(&(INITIATION as u8));
        if let Some(before) = state.before.as_mut().filter(|_| is_initiation)
            && before.handshake(message, room) == Err(Refusal::OldTimestamp)
        {
            return Err(Refusal::OldTimestamp);
        }
        let len = state.engine.handshake(message, room)?;
        if is_initiation {
            state.before = None;
        }
        if is_authentic {
            state.heard(from, message.len());
        }
        state.sent += len as u64;
        Ok((len, state.came()))
    }

    /// Begins a handshake, unless one is on its way; returns the bytes of the initiation and where it goes.
    pub fn initiate(&self, room: &mut [u8]) -> Option<(usize, Endpoint)> {
        let mut state = self.state();
        let endpoint = state.endpoint?;
        state.initiate(room).map(|len| (len, endpoint))
    }

    /// Does what is due; returns the bytes of what is to be sent and where it goes.
    pub fn tick(&self, now: Duration, room: &mut [u8]) -> Option<(usize, Endpoint)> {
        let mut state = self.state();
        let len = match state.engine.tick(room) {
            Ok(Ticked::Send(len)) => Some(len),
            Ok(Ticked::GivenUp) => {
                state.give_up();
                // Whoever is to be kept awake is called again and again.
                (state.keepalive.is_some() && state.endpoint.is_some())
                    .then(|| state.initiate(room))
                    .flatten()
            }
            Ok(Ticked::Idle) if state.is_too_quiet(now) => match state.engine.seal(&[], room) {
                Err(Refusal::NoSession) => state.initiate(room),
                sealed => sealed.ok(),
            },
            Ok(Ticked::Idle) | Err(_) => None,
        };
        state.was_ready &= state.engine.is_ready();
        let (len, endpoint) = (len?, state.endpoint?);
        state.sent += len as u64;
        Some((len, endpoint))
    }

    /// Seals what has waited for a session, one record after the other.
    pub fn flush(&self, room: &mut [u8], mut send: impl FnMut(&[u8], Endpoint)) {
        let mut state = self.state();
        let Some(endpoint) = state.endpoint.filter(|_| state.engine.is_ready()) else { return };
        while let Some(packet) = state.waiting.pop_front() {
            match state.engine.seal(&packet, room) {
                Ok(len) => {
                    state.sent += len as u64;
                    send(&room[..len], endpoint);
                }
                Err(_) => state.lost += 1,
            }
        }
    }

    /// Returns how it is.
    pub fn status(&self) -> PeerStatus {
        let state = self.state();
        PeerStatus {
            endpoint: state.endpoint.map(|endpoint| endpoint.address),
            handshake_age: state.engine.handshake_age(),
            received: state.received,
            sent: state.sent,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn heard(&mut self, from: Endpoint, bytes: usize) {
        self.endpoint = Some(from);
        self.received += bytes as u64;
    }

    fn give_up(&mut self) {
        self.lost += self.waiting.len() as u64;
        self.waiting.clear();
    }

    /// Tells whether a keepalive is due: nothing has been received or sent for as long as may be.
    fn is_too_quiet(&mut self, now: Duration) -> bool {
        let Some(keepalive) = self.keepalive.filter(|_| self.endpoint.is_some()) else {
            return false;
        };
        match self.quiet {
            Some((received, sent, since)) if (received, sent) == (self.received, self.sent) => {
                let is_due = now >= since + keepalive;
                if is_due {
                    self.quiet = Some((received, sent, now));
                }
                is_due
            }
            before => {
                self.quiet = Some((self.received, self.sent, now));
                before.is_none()
            }
        }
    }

    /// Tells whether a session is there that was not when this was asked last.
    fn came(&mut self) -> bool {
        !std::mem::replace(&mut self.was_ready, self.engine.is_ready()) && self.was_ready
    }

    fn initiate(&mut self, room: &mut [u8]) -> Option<usize> {
        let len =
            room.get_mut(..LONGEST_MESSAGE).and_then(|room| self.engine.initiate(room).ok())?;
        (len > 0).then_some(len)
    }
}

fn seconds(seconds: u16) -> Duration {
    Duration::from_secs(seconds.into())
}
