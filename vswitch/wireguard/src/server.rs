//! All peers of an adapter: which datagram is whose, which address is whose. Workers read it without a lock; whoever makes
//! handshakes has the gate. Sends nothing itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use weft_vpn::PublicKey;

use crate::{Admitted, AllowedIps, Endpoint, Gate, Peer, PeerId, RECORD_OVERHEAD, Refusal};

pub(crate) const INITIATION: u32 = 1;
const RESPONSE: u32 = 2;
const COOKIE: u32 = 3;
const RECORD: u32 = 4;
/// Bytes of each message: WireGuard paper §5.4.2, §5.4.3, §5.4.7.
const LENGTHS: [(u32, usize); 3] = [(INITIATION, 148), (RESPONSE, 92), (COOKIE, 64)];

/// What a datagram is, going by its first word and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A message of a handshake, or a cookie.
    Handshake,
    /// A record for this peer's session.
    Record(PeerId),
}

impl Message {
    /// Looks at a datagram.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when it is nothing of the protocol.
    pub fn of(datagram: &[u8]) -> Result<Self, Refusal> {
        let word = |at: usize| {
            let bytes = datagram.get(at..).and_then(|rest| rest.first_chunk());
            bytes.copied().map(u32::from_le_bytes).ok_or(Refusal::Malformed)
        };
        match word(0)? {
            RECORD if datagram.len() >= RECORD_OVERHEAD => {
                Ok(Self::Record(PeerId::of_index(word(4)?)))
            }
            kind if LENGTHS.contains(&(kind, datagram.len())) => Ok(Self::Handshake),
            _ => Err(Refusal::Malformed),
        }
    }
}

/// The peers at one moment.
#[derive(Default)]
pub struct Peers {
    by_id: HashMap<PeerId, Arc<Peer>, RandomState>,
    by_key: HashMap<PublicKey, Arc<Peer>, RandomState>,
    allowed: AllowedIps,
}

impl Peers {
    /// Returns a peer by its number.
    pub fn get(&self, id: PeerId) -> Option<&Arc<Peer>> {
        self.by_id.get(&id)
    }

    /// Returns a peer by its key.
    pub fn by_key(&self, key: &PublicKey) -> Option<&Arc<Peer>> {
        self.by_key.get(key)
    }

    /// Returns all peers, in no order.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Peer>> {
        self.by_id.values()
    }

    /// Returns who has which address.
    pub fn allowed(&self) -> &AllowedIps {
        &self.allowed
    }
}

impl FromIterator<Arc<Peer>> for Peers {
    /// Where two peers have the same network, the last one has it.
    fn from_iter<I: IntoIterator<Item = Arc<Peer>>>(all: I) -> Self {
        let mut peers = Self::default();
        for peer in all {
            for network in peer.allowed().iter() {
                peers.allowed.insert(*network, peer.id());
            }
            peers.by_key.insert(peer.key(), peer.clone());
            peers.by_id.insert(peer.id(), peer);
        }
        peers
    }
}

/// The peers of an adapter, and the gate that they come through.
pub struct Server {
    gate: Mutex<Box<dyn Gate>>,
    peers: ArcSwap<Peers>,
}

/// What became of a message.
pub struct Handled {
    /// Bytes of what is to be sent to where it came from; 0 for nothing.
    pub reply: usize,
    /// The peer that has a session where it had none before.
    pub came: Option<Arc<Peer>>,
}

impl Server {
    /// Makes a server without peers.
    pub fn new(gate: Box<dyn Gate>) -> Self {
        Self { gate: Mutex::new(gate), peers: ArcSwap::default() }
    }

    /// Returns the peers as they are now.
    pub fn peers(&self) -> Guard<Arc<Peers>> {
        self.peers.load()
    }

    /// Has these peers from here on. One that is gone is silent at once.
    pub fn set_peers(&self, peers: Peers) {
        self.peers.store(Arc::new(peers));
    }

    /// Takes a message of a handshake: computes, so that no worker should.
    ///
    /// # Errors
    /// Why it is not answered.
    pub fn handshake(
        &self,
        now: Duration,
        from: impl Into<Endpoint>,
        message: &[u8],
        room: &mut [u8],
    ) -> Result<Handled, Refusal> {
        let from = from.into();
        let admitted = {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.judge(now, from.address, message, room)?
        };
        let peers = self.peers();
        let peer = match admitted {
            Admitted::Cookie(reply) => return Ok(Handled { reply, came: None }),
            Admitted::Initiation(key) => peers.by_key(&key).ok_or(Refusal::UnknownPeer)?,
            Admitted::Answer(index) => {
                peers.get(PeerId::of_index(index)).ok_or(Refusal::NoSession)?
            }
        };
        // A cookie proves nothing of where it comes from.
        let is_authentic = message.first() != Some(&(COOKIE as u8));
        let (reply, came) = peer.handshake(from, message, is_authentic, room)?;
        Ok(Handled { reply, came: came.then(|| peer.clone()) })
    }

    /// Notes that time has passed. To be called each second at least.
    pub fn tick(&self) {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).tick();
    }
}

#[cfg(test)]
mod tests;
