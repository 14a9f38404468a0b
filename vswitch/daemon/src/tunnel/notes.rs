//! What workers tell the keeper and the overlay. What strangers can cause waits in a bounded number; what only a
//! session's own keys can cause is never lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use weft_vpn::{Load, PeerId};

use super::directory::Peer;

/// Handshakes from nowhere in particular that wait at most, those from where a peer is, and words of peers: what
/// strangers send takes no peer's place.
const WAITING_MAX: usize = 512;
/// Handshakes that wait when there are too many to compute them all.
const HEAVY: usize = 32;
/// How long there are too many, once there were.
const HEAVY_FOR: Duration = Duration::from_secs(1);
/// A handshake's message is smaller; what is larger is none.
const HANDSHAKE_MAX: usize = 512;
/// Messages between overlays that wait at most.
pub(crate) const OVERLAY_MAX: usize = 4096;

/// What the keeper is told by workers.
pub(super) enum Note {
    /// A datagram that is no record.
    Handshake(Caller, SocketAddr, Vec<u8>),
    /// The first record of a session came from there.
    Confirmed(u32, SocketAddr),
    /// A peer's newest record came from another address.
    Roamed(PeerId, SocketAddr),
    /// A peer's tunnel says something, in a datagram of this size.
    Control(PeerId, usize, Vec<u8>),
    /// There are frames for a peer and no session.
    Wanted(PeerId),
    /// The control plane has something to be done.
    Command(super::command::Command),
}

/// Whose address a datagram bears, which proves nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// One that a peer is sent to.
    Peer,
    /// Any other.
    Stranger,
}

/// A message of a peer's overlay.
#[derive(Debug)]
pub(crate) struct OverlayMessage {
    /// Whose.
    pub(crate) peer: PeerId,
    /// What it says.
    pub(crate) payload: Vec<u8>,
}

/// The way to the keeper and to the overlay.
#[derive(Clone)]
pub(crate) struct Notes {
    keeper: Sender<Note>,
    overlay: mpsc::Sender<OverlayMessage>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    strangers: AtomicUsize,
    callers: AtomicUsize,
    words: AtomicUsize,
    /// Datagrams that were dropped because too many waited.
    flooded: AtomicU64,
    /// Records of no session.
    stray: AtomicU64,
}

impl Shared {
    fn handshakes(&self, caller: Caller) -> &AtomicUsize {
        match caller {
            Caller::Peer => &self.callers,
            Caller::Stranger => &self.strangers,
        }
    }
}

/// The keeper's end.
pub(crate) struct Inbox {
    notes: Receiver<Note>,
    shared: Arc<Shared>,
    heavy_until: Duration,
}

/// Makes both ends.
pub(crate) fn notes(overlay: mpsc::Sender<OverlayMessage>) -> (Notes, Inbox) {
    let (keeper, notes) = channel();
    let shared = Arc::new(Shared::default());
    (
        Notes { keeper, overlay, shared: shared.clone() },
        Inbox { notes, shared, heavy_until: Duration::ZERO },
    )
}

impl Notes {
    /// A datagram came that is no record.
    pub(super) fn handshake(&self, caller: Caller, from: SocketAddr, datagram: &[u8]) {
        if datagram.len() > HANDSHAKE_MAX || !enter(self.shared.handshakes(caller)) {
            self.shared.flooded.fetch_add(1, Relaxed);
            return;
        }
        self.tell(Note::Handshake(caller, from, datagram.to_vec()));
    }

    /// A record came that no session opens.
    pub(super) fn stray(&self) {
        self.shared.stray.fetch_add(1, Relaxed);
    }

    /// The first record of a session came from there.
    pub(super) fn confirmed(&self, index: u32, from: SocketAddr) {
        self.tell(Note::Confirmed(index, from));
    }

    /// The newest record of a peer came from another address than it is sent to.
    pub(super) fn roamed(&self, peer: &Peer, from: SocketAddr) {
        if enter(&self.shared.words) {
            self.tell(Note::Roamed(peer.id(), from));
        }
    }

    /// A peer's tunnel says something, in a datagram of this size.
    pub(super) fn control(&self, peer: &Peer, size: usize, payload: &[u8]) {
        if enter(&self.shared.words) {
            self.tell(Note::Control(peer.id(), size, payload.to_vec()));
        } else {
            peer.counts.bump("control-flood");
        }
    }

    /// A peer's overlay says something.
    pub(super) fn overlay(&self, peer: &Peer, payload: &[u8]) {
        let message = OverlayMessage { peer: peer.id(), payload: payload.to_vec() };
        if self.overlay.try_send(message).is_err() {
            peer.counts.bump("overlay-flood");
        }
    }

    /// There are frames for a peer and no session.
    pub(super) fn wanted(&self, peer: PeerId) {
        self.tell(Note::Wanted(peer));
    }

    /// The control plane has something to be done.
    pub(super) fn command(&self, command: super::command::Command) {
        self.tell(Note::Command(command));
    }

    /// Returns how many datagrams were dropped because too many waited, and how many records no session opened.
    pub(crate) fn lost(&self) -> (u64, u64) {
        (self.shared.flooded.load(Relaxed), self.shared.stray.load(Relaxed))
    }

    fn tell(&self, note: Note) {
        // The keeper is gone only when the daemon ends.
        let _ = self.keeper.send(note);
    }
}

/// Takes a place among those that wait.
fn enter(waiting: &AtomicUsize) -> bool {
    let entered = waiting.fetch_add(1, Relaxed) < WAITING_MAX;
    if !entered {
        waiting.fetch_sub(1, Relaxed);
    }
    entered
}

impl Inbox {
    /// Waits for a note, at most so long.
    pub(super) fn take(&self, patience: Duration) -> Option<Note> {
        let note = self.notes.recv_timeout(patience).ok()?;
        match note {
            Note::Handshake(caller, ..) => {
                self.shared.handshakes(caller).fetch_sub(1, Relaxed);
            }
            Note::Roamed(..) | Note::Control(..) => _ = self.shared.words.fetch_sub(1, Relaxed),
            Note::Confirmed(..) | Note::Wanted(_) | Note::Command(_) => {}
        }
        Some(note)
    }

    /// Tells whether handshakes come faster than they are computed, or did just before.
    pub(super) fn load(&mut self, now: Duration) -> Load {
        let waiting = [&self.shared.strangers, &self.shared.callers];
        if waiting.iter().any(|waiting| waiting.load(Relaxed) > HEAVY) {
            self.heavy_until = now + HEAVY_FOR;
        }
        if now < self.heavy_until { Load::Heavy } else { Load::Calm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_no_place_of_those_who_call_from_where_a_peer_is() {
        let (overlay, _heard) = mpsc::channel(1);
        let (notes, inbox) = notes(overlay);
        let (stranger, peer) = (([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into());
        for _ in 0..WAITING_MAX + 3 {
            notes.handshake(Caller::Stranger, stranger, &[1; 148]);
        }
        notes.handshake(Caller::Peer, peer, &[1; 148]);
        assert_eq!(notes.lost(), (3, 0));
        let taken = std::iter::from_fn(|| inbox.take(Duration::ZERO));
        let from_peers = taken
            .filter(|note| matches!(note, Note::Handshake(Caller::Peer, from, _) if *from == peer));
        assert_eq!(from_peers.count(), 1);
    }

    #[test]
    fn too_many_handshakes_are_too_many_for_a_while() {
        let (overlay, _heard) = mpsc::channel(1);
        let (notes, mut inbox) = notes(overlay);
        let second = Duration::from_secs;
        assert_eq!(inbox.load(second(1)), Load::Calm);
        (0..=HEAVY).for_each(|_| notes.handshake(Caller::Stranger, ([10, 0, 0, 1], 1).into(), &[]));
        assert_eq!(inbox.load(second(1)), Load::Heavy);
        while inbox.take(Duration::ZERO).is_some() {}
        assert_eq!(inbox.load(second(1)), Load::Heavy);
        assert_eq!(inbox.load(second(1) + HEAVY_FOR), Load::Calm);
    }
}
