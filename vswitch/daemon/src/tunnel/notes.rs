//! What workers tell the keeper and the overlay. What strangers can cause waits in a bounded number; what only a
//! session's own keys can cause is never lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
};

use tokio::sync::mpsc;
use weft_vpn::PeerId;

use super::directory::Peer;

/// Handshakes that wait at most, and words of peers beside them: what strangers send takes no peer's place.
const WAITING_MAX: usize = 512;
/// Handshakes that wait when there are too many to compute them all.
const HEAVY: usize = 32;
/// A handshake's message is smaller; what is larger is none.
const HANDSHAKE_MAX: usize = 512;
/// Messages between overlays that wait at most.
pub(crate) const OVERLAY_MAX: usize = 4096;

/// What the keeper is told by workers.
pub(super) enum Note {
    /// A datagram that is no record.
    Handshake(SocketAddr, Vec<u8>),
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
    handshakes: AtomicUsize,
    words: AtomicUsize,
    /// Datagrams that were dropped because too many waited.
    flooded: AtomicU64,
    /// Records of no session.
    stray: AtomicU64,
}

/// The keeper's end.
pub(crate) struct Inbox {
    notes: Receiver<Note>,
    shared: Arc<Shared>,
}

/// Makes both ends.
pub(crate) fn notes(overlay: mpsc::Sender<OverlayMessage>) -> (Notes, Inbox) {
    let (keeper, notes) = channel();
    let shared = Arc::new(Shared::default());
    (Notes { keeper, overlay, shared: shared.clone() }, Inbox { notes, shared })
}

impl Notes {
    /// A datagram came that is no record.
    pub(super) fn handshake(&self, from: SocketAddr, datagram: &[u8]) {
        if datagram.len() > HANDSHAKE_MAX || !enter(&self.shared.handshakes) {
            self.shared.flooded.fetch_add(1, Relaxed);
            return;
        }
        self.tell(Note::Handshake(from, datagram.to_vec()));
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
    pub(super) fn take(&self, patience: std::time::Duration) -> Option<Note> {
        let note = self.notes.recv_timeout(patience).ok()?;
        match note {
            Note::Handshake(..) => _ = self.shared.handshakes.fetch_sub(1, Relaxed),
            Note::Roamed(..) | Note::Control(..) => _ = self.shared.words.fetch_sub(1, Relaxed),
            Note::Confirmed(..) | Note::Wanted(_) | Note::Command(_) => {}
        }
        Some(note)
    }

    /// Tells whether handshakes come faster than they are computed.
    pub(super) fn load(&self) -> weft_vpn::Load {
        if self.shared.handshakes.load(Relaxed) > HEAVY {
            weft_vpn::Load::Heavy
        } else {
            weft_vpn::Load::Calm
        }
    }
}
