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
    Adapter, Endpoint, LONGEST_MESSAGE, Outbox, Peer, PeerId, Peers, Refusal, Sealed, Server, To,
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

/// What waits for a worker.
#[derive(Default)]
struct Answering {
    frames: VecDeque<Vec<u8>>,
    /// Peers' packets that were refused after they had waited.
    refused: BTreeMap<DropReason, u64>,
}

/// An adapter, its peers and the ways between them.
pub(crate) struct Site {
    /// The peers.
    pub(crate) server: Server,
    adapter: Mutex<Adapter>,
    socket: Socket,
    answers: Mutex<Answering>,
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
    /// Has room for more as soon as there is something.
    belated: OwnedFd,
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
            answered: event()?,
            keeper,
            strangers: AtomicUsize::new(0),
            callers: AtomicUsize::new(0),
            words: AtomicUsize::new(0),
            addresses: ArcSwap::default(),
            late: Mutex::default(),
            is_late: AtomicBool::new(false),
            belated: event()?,
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

    /// Notes for the port's counters what became of frames that have waited for a session with a peer, and of what the peer
    /// has thrown away.
    pub(super) fn count_late(&self, peer: &Peer, mut now: Tally) {
        self.count_lost(peer, &mut now);
        if now.frames == 0 && now.drops.is_empty() {
            return;
        }
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut late, &now);
        drop(late);
        if !self.is_late.swap(true, Relaxed) {
            // Room that there was before is no news; what was read is room that is.
            let _ = rustix::io::write(&self.belated, &1_u64.to_ne_bytes());
            let _ = rustix::io::read(&self.belated, &mut [0; 8]);
        }
    }

    /// Returns what has room for more, once each time, when there is something that the port has not counted yet.
    pub(super) fn belated(&self) -> BorrowedFd<'_> {
        self.belated.as_fd()
    }

    /// Counts packets of peers that have waited for a neighbour and got nowhere.
    pub(super) fn count_unresolved(&self, lost: impl Iterator<Item = (PeerId, Refusal, u64)>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = answers.refused.len();
        for (peer, refusal, packets) in lost {
            *answers.refused.entry(drop_reason(refusal)).or_default() += packets;
            self.count(peer, refusal, packets);
        }
        let is_news = answers.refused.len() > before;
        drop(answers);
        if is_news {
            let _ = rustix::io::write(&self.answered, &1_u64.to_ne_bytes());
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
        let endpoints = peers.all().filter_map(|peer| peer.endpoint());
        let addresses = endpoints.map(|endpoint| endpoint.address).collect();
        let gone: Vec<Arc<Peer>> = {
            let before = self.server.peers();
            let gone = before.all().filter(|peer| peers.get(peer.id()).is_none());
            gone.cloned().collect()
        };
        self.server.set_peers(peers);
        self.set_addresses(addresses);
        for peer in &gone {
            peer.give_up();
            self.count_late(peer, Tally::default());
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

    /// Sends what the adapter said of its own accord, and forgets it; returns what had to be dropped.
    pub(super) fn send(
        &self,
        peers: &Peers,
        outbox: &mut Outbox,
        room: &mut [u8],
        mut dropped: impl FnMut(DropReason),
    ) {
        if outbox.is_empty() {
            return;
        }
        let frames = outbox.iter().filter(|(to, _)| *to == To::Vlan);
        self.answer(frames.map(|(_, frame)| frame.to_vec()));
        for (to, packet) in outbox.iter() {
            let To::Peer(id) = to else { continue };
            let Some(peer) = peers.get(id) else { continue };
            let sent = match peer.seal(packet, room) {
                Ok(Sealed::Record(len, to)) => self.send_to(&room[..len], to),
                Ok(Sealed::Waits) => {
                    self.wanted(id);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = sent {
                self.count(id, refusal, 1);
                dropped(drop_reason(refusal));
            }
        }
        outbox.clear();
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`] when the system does not take it. What of the protocol is lost is asked for again by whoever
    /// needs it.
    pub(super) fn send_to(&self, datagram: &[u8], to: Endpoint) -> Result<(), Refusal> {
        self.socket.send_from(to.own, datagram, to.address).map_err(|error| {
            tracing::debug!(to = %to.address, %error, "datagram not sent");
            Refusal::QueueFull
        })
    }

    /// Hands frames of the adapter's own to a worker.
    fn answer(&self, frames: impl Iterator<Item = Vec<u8>>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = 0;
        for frame in frames {
            if answers.frames.len() < ANSWERS_MAX {
                answers.frames.push_back(frame);
            } else {
                lost += 1;
            }
        }
        let is_waiting = !answers.frames.is_empty();
        drop(answers);
        if lost > 0 {
            self.counts.add(Refusal::QueueFull.as_str(), lost);
        }
        if is_waiting {
            let _ = rustix::io::write(&self.answered, &1_u64.to_ne_bytes());
        }
    }

    /// Takes frames of the adapter's own, so many at most, and what was refused after it had waited; tells whether more frames
    /// wait.
    pub(super) fn take_answers(
        &self,
        most: usize,
        taken: &mut Vec<Vec<u8>>,
        mut refused: impl FnMut(DropReason, u64),
    ) -> bool {
        let _ = rustix::io::read(&self.answered, &mut [0; 8]);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = most.min(answers.frames.len());
        taken.extend(answers.frames.drain(..count));
        for (reason, packets) in std::mem::take(&mut answers.refused) {
            refused(reason, packets);
        }
        !answers.frames.is_empty()
    }

    /// Returns what becomes readable when frames of the adapter's own wait, or refused packets are to be counted.
    pub(super) fn answered(&self) -> BorrowedFd<'_> {
        self.answered.as_fd()
    }

    /// A message of a handshake came.
    pub(super) fn handshake(&self, from: Endpoint, message: &[u8]) {
        let is_peer = self.addresses.load().contains(&from.address);
        let caller = if is_peer { Caller::Peer } else { Caller::Stranger };
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

fn event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
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
        add_drops(&mut to.drops, reason, frames);
    }
}

/// Adds to a list that has each reason once.
pub(super) fn add_drops(drops: &mut Vec<(DropReason, u64)>, reason: DropReason, frames: u64) {
    match drops.iter_mut().find(|(counted, _)| *counted == reason) {
        Some((_, counted)) => *counted += frames,
        None => drops.push((reason, frames)),
    }
}

#[cfg(test)]
mod tests;
