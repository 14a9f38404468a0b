//! A peer: its WireGuard state, where it was heard last, and the packets that wait for a session. Shared by whoever sends to it
//! and whoever hears of it; one at a time works with its keys.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use weft_vpn::PublicKey;

use crate::{Engine, LONGEST_MESSAGE, Opened, Refusal, Ticked};

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
    endpoint: Option<SocketAddr>,
    persistent: bool,
    waiting: VecDeque<Vec<u8>>,
    /// Whether there was a session when it was asked last.
    was_ready: bool,
    received: u64,
    sent: u64,
}

/// What becomes of a packet for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// A record of so many bytes is to be sent there.
    Record(usize, SocketAddr),
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
            endpoint,
            persistent: keepalive.is_some(),
            waiting: VecDeque::new(),
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
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.state().endpoint
    }

    /// Sends to it there from here on, until it is heard elsewhere.
    pub fn set_endpoint(&self, endpoint: Option<SocketAddr>) {
        self.state().endpoint = endpoint;
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
        from: SocketAddr,
        record: &[u8],
        room: &mut [u8],
    ) -> Result<Arrived, Refusal> {
        let mut state = self.state();
        let opened = state.engine.open(record, room)?;
        state.heard(from, record.len());
        Ok(Arrived { opened, came: state.came() })
    }

    /// Takes a message of a handshake; returns the bytes of what is to be sent back, 0 for nothing, and whether there is a
    /// session where there was none before.
    pub(crate) fn handshake(
        &self,
        from: SocketAddr,
        message: &[u8],
        is_authentic: bool,
        room: &mut [u8],
    ) -> Result<(usize, bool), Refusal> {
        let mut state = self.state();
        let len = state.engine.handshake(message, room)?;
        if is_authentic {
            state.heard(from, message.len());
        }
        state.sent += len as u64;
        Ok((len, state.came()))
    }

    /// Begins a handshake, unless one is on its way; returns the bytes of the initiation and where it goes.
    pub fn initiate(&self, room: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let mut state = self.state();
        let endpoint = state.endpoint?;
        state.initiate(room).map(|len| (len, endpoint))
    }

    /// Does what is due; returns the bytes of what is to be sent and where it goes.
    pub fn tick(&self, room: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let mut state = self.state();
        let len = match state.engine.tick(room) {
            Ok(Ticked::Send(len)) => Some(len),
            Ok(Ticked::GivenUp) => {
                state.waiting.clear();
                // Whoever is to be kept awake is called again and again.
                (state.persistent && state.endpoint.is_some())
                    .then(|| state.initiate(room))
                    .flatten()
            }
            Ok(Ticked::Idle) | Err(_) => None,
        };
        state.was_ready &= state.engine.is_ready();
        let (len, endpoint) = (len?, state.endpoint?);
        state.sent += len as u64;
        Some((len, endpoint))
    }

    /// Seals what has waited for a session, one record after the other.
    pub fn flush(&self, room: &mut [u8], mut send: impl FnMut(&[u8], SocketAddr)) {
        let mut state = self.state();
        let Some(endpoint) = state.endpoint.filter(|_| state.engine.is_ready()) else { return };
        while let Some(packet) = state.waiting.pop_front() {
            if let Ok(len) = state.engine.seal(&packet, room) {
                state.sent += len as u64;
                send(&room[..len], endpoint);
            }
        }
    }

    /// Returns how it is.
    pub fn status(&self) -> PeerStatus {
        let state = self.state();
        PeerStatus {
            endpoint: state.endpoint,
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
    fn heard(&mut self, from: SocketAddr, bytes: usize) {
        self.endpoint = Some(from);
        self.received += bytes as u64;
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
