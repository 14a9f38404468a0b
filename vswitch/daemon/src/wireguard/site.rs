//! What an adapter's queues and its keeper share.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::Sender,
    },
};

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, eventfd};
use weft_core::DropReason;
use weft_ports::{Tally, udp::Socket};
use weft_wireguard::{
    Adapter, LONGEST_MESSAGE, Outbox, Peer, PeerId, Peers, Refusal, Sealed, Server, To,
};

use super::keeper::Note;
use crate::tunnel::Counts;

/// Frames of the adapter's own that wait for a worker at most.
const ANSWERS_MAX: usize = 1024;
/// Handshakes from nowhere in particular that wait at most, and those from where a peer is: what strangers send takes no
/// peer's place.
const HANDSHAKES_MAX: usize = 512;
/// Words about peers that wait at most.
const WORDS_MAX: usize = 4096;
/// Room for a record of the longest packet.
pub(super) const ROOM: usize = 65_535 + LONGEST_MESSAGE;

/// Whose address a datagram bears, which proves nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// One that a peer is sent to.
    Peer,
    /// Any other.
    Stranger,
}

/// An adapter, its peers and the ways between them.
pub(crate) struct Site {
    /// The peers.
    pub(crate) server: Server,
    adapter: Mutex<Adapter>,
    socket: Socket,
    answers: Mutex<VecDeque<Vec<u8>>>,
    answered: OwnedFd,
    keeper: Sender<Note>,
    strangers: AtomicUsize,
    callers: AtomicUsize,
    words: AtomicUsize,
    /// Where peers are sent to.
    addresses: ArcSwap<HashSet<SocketAddr>>,
    /// What became of frames that have waited, which the port has not counted yet, and whether there is anything.
    late: Mutex<Tally>,
    is_late: AtomicBool,
    /// What was refused of nobody's.
    pub(crate) counts: Counts,
    /// What was refused of each peer's.
    of_peers: Mutex<HashMap<PeerId, BTreeMap<&'static str, u64>>>,
}

impl Site {
    /// Puts an adapter together.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub(super) fn new(
        server: Server,
        adapter: Adapter,
        socket: Socket,
        keeper: Sender<Note>,
    ) -> io::Result<Self> {
        Ok(Self {
            server,
            adapter: Mutex::new(adapter),
            socket,
            answers: Mutex::default(),
            answered: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            keeper,
            strangers: AtomicUsize::new(0),
            callers: AtomicUsize::new(0),
            words: AtomicUsize::new(0),
            addresses: ArcSwap::default(),
            late: Mutex::default(),
            is_late: AtomicBool::new(false),
            counts: Counts::default(),
            of_peers: Mutex::default(),
        })
    }

    /// Locks the adapter, for a burst.
    pub(crate) fn adapter(&self) -> MutexGuard<'_, Adapter> {
        self.adapter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was refused of a peer's.
    pub(super) fn count(&self, peer: PeerId, refusal: Refusal, count: u64) {
        let mut counts = self.of_peers.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(peer).or_default().entry(refusal.as_str()).or_default() += count;
    }

    /// Counts what has waited for a session with a peer and was thrown away.
    pub(super) fn count_lost(&self, peer: &Peer, tally: &mut Tally) {
        let lost = peer.take_lost();
        if lost > 0 {
            self.count(peer.id(), Refusal::NoSession, lost);
            tally.drops.push((drop_reason(Refusal::NoSession), lost));
        }
    }

    /// Notes for the port's counters what became of frames that have waited for a session with a peer.
    pub(super) fn count_late(&self, peer: &Peer, frames: u64, bytes: u64) {
        let mut now = Tally { frames, bytes, ..Tally::default() };
        self.count_lost(peer, &mut now);
        if now.frames > 0 || !now.drops.is_empty() {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            add(&mut late, &now);
            self.is_late.store(true, Relaxed);
        }
    }

    /// Takes over what the port has not counted yet.
    pub(super) fn take_late(&self, tally: &mut Tally) {
        if self.is_late.swap(false, Relaxed) {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            add(tally, &std::mem::take(&mut late));
        }
    }

    /// Returns what was refused of a peer's.
    pub(crate) fn counts_of(&self, peer: PeerId) -> BTreeMap<&'static str, u64> {
        let counts = self.of_peers.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&peer).cloned().unwrap_or_default()
    }

    /// Has these peers from here on.
    pub(crate) fn set_peers(&self, peers: Peers) {
        let addresses = peers.all().filter_map(|peer| peer.endpoint()).collect();
        let gone: Vec<Arc<Peer>> = {
            let before = self.server.peers();
            let gone = before.all().filter(|peer| peers.get(peer.id()).is_none());
            gone.cloned().collect()
        };
        self.server.set_peers(peers);
        self.set_addresses(addresses);
        for peer in &gone {
            peer.give_up();
            self.count_late(peer, 0, 0);
        }
        let peers = self.server.peers();
        let mut counts = self.of_peers.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|id, _| peers.get(*id).is_some());
    }

    /// Replaces the addresses that peers are sent to, where they are others.
    pub(super) fn set_addresses(&self, addresses: HashSet<SocketAddr>) {
        if **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
        }
    }

    /// Sends what the adapter said of its own accord, and forgets it.
    pub(super) fn send(&self, peers: &Peers, outbox: &mut Outbox, room: &mut [u8]) {
        if outbox.is_empty() {
            return;
        }
        let frames = outbox.iter().filter(|(to, _)| *to == To::Vlan);
        self.answer(frames.map(|(_, frame)| frame.to_vec()));
        for (to, packet) in outbox.iter() {
            let To::Peer(id) = to else { continue };
            let Some(peer) = peers.get(id) else { continue };
            match peer.seal(packet, room) {
                Ok(Sealed::Record(len, address)) => self.send_to(&room[..len], address),
                Ok(Sealed::Waits) => self.wanted(id),
                Err(refusal) => self.count(id, refusal, 1),
            }
        }
        outbox.clear();
    }

    /// Sends one datagram. One that is lost is asked for again by whoever needs it.
    pub(super) fn send_to(&self, datagram: &[u8], to: SocketAddr) {
        if let Err(error) = self.socket.send_to(datagram, to) {
            tracing::debug!(%to, %error, "datagram not sent");
        }
    }

    /// Hands frames of the adapter's own to a worker.
    fn answer(&self, frames: impl Iterator<Item = Vec<u8>>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = 0;
        for frame in frames {
            if answers.len() < ANSWERS_MAX {
                answers.push_back(frame);
            } else {
                lost += 1;
            }
        }
        let is_waiting = !answers.is_empty();
        drop(answers);
        if lost > 0 {
            self.counts.add(Refusal::QueueFull.as_str(), lost);
        }
        if is_waiting {
            let _ = rustix::io::write(&self.answered, &1_u64.to_ne_bytes());
        }
    }

    /// Takes frames of the adapter's own, so many at most; tells whether more wait.
    pub(super) fn take_answers(&self, most: usize, taken: &mut Vec<Vec<u8>>) -> bool {
        let _ = rustix::io::read(&self.answered, &mut [0; 8]);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = most.min(answers.len());
        taken.extend(answers.drain(..count));
        !answers.is_empty()
    }

    /// Returns what becomes readable when frames of the adapter's own wait.
    pub(super) fn answered(&self) -> BorrowedFd<'_> {
        self.answered.as_fd()
    }

    /// A message of a handshake came.
    pub(super) fn handshake(&self, from: SocketAddr, message: &[u8]) {
        let caller =
            if self.addresses.load().contains(&from) { Caller::Peer } else { Caller::Stranger };
        if enter(self.handshakes(caller), HANDSHAKES_MAX) {
            self.tell(Note::Handshake(caller, from, message.to_vec()));
        } else {
            self.counts.bump(Refusal::UnderLoad.as_str());
        }
    }

    /// There are packets for a peer and no session.
    pub(super) fn wanted(&self, peer: PeerId) {
        if enter(&self.words, WORDS_MAX) {
            self.tell(Note::Wanted(peer));
        }
    }

    /// A peer has a session where it had none.
    pub(super) fn came(&self, peer: PeerId) {
        self.tell(Note::Came(peer));
    }

    /// Tells the keeper something.
    pub(super) fn tell(&self, note: Note) {
        // The keeper ends only with the adapter.
        let _ = self.keeper.send(note);
    }

    fn handshakes(&self, caller: Caller) -> &AtomicUsize {
        match caller {
            Caller::Peer => &self.callers,
            Caller::Stranger => &self.strangers,
        }
    }

    /// Makes room for other notes: the keeper has one.
    pub(super) fn heard(&self, note: &Note) {
        match note {
            Note::Handshake(caller, ..) => _ = self.handshakes(*caller).fetch_sub(1, Relaxed),
            Note::Wanted(_) => _ = self.words.fetch_sub(1, Relaxed),
            Note::Came(_) | Note::Announce | Note::Call(_) | Note::Stop => {}
        }
    }
}

/// Takes a place among those that wait.
fn enter(waiting: &AtomicUsize, most: usize) -> bool {
    let entered = waiting.fetch_add(1, Relaxed) < most;
    if !entered {
        waiting.fetch_sub(1, Relaxed);
    }
    entered
}

/// Returns what the switch's counters say of a packet that was refused.
pub(super) fn drop_reason(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::Malformed => DropReason::Malformed,
        Refusal::NotAllowed => DropReason::Spoofed,
        Refusal::BadSource => DropReason::BadSource,
        Refusal::TooBig => DropReason::Oversize,
        Refusal::QueueFull | Refusal::Congested => DropReason::QueueFull,
        Refusal::NoSession | Refusal::NoEndpoint => DropReason::NoSession,
        _ => DropReason::Unroutable,
    }
}

fn add(to: &mut Tally, more: &Tally) {
    to.frames += more.frames;
    to.bytes += more.bytes;
    for &(reason, frames) in &more.drops {
        match to.drops.iter_mut().find(|(counted, _)| *counted == reason) {
            Some((_, counted)) => *counted += frames,
            None => to.drops.push((reason, frames)),
        }
    }
}

#[cfg(test)]
mod tests;
