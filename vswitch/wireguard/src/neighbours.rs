//! Who in the VLAN has which address: asked for when a packet needs it, kept while it answers. RFC 826, RFC 4861 §7.3. Bounded,
//! whatever is asked for: unknown addresses, known ones and the packets that wait each have a limit, and where it is reached
//! what is needed least makes way, so that no peer, no asker and no answerer can fill it for all. Writes no frame.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use foldhash::fast::RandomState;
use weft_vlan::MacAddr;

use crate::{PeerId, Refusal};

/// Addresses that may be known at once.
const KNOWN_MAX: usize = 4096;
/// Of those, addresses of hosts that have only asked for something: nothing was sent to them yet.
const ASKERS_MAX: usize = KNOWN_MAX / 2;
/// Addresses that may be asked for at once, or have not answered.
const UNKNOWN_MAX: usize = 256;
/// Packets that may wait for one address, and for all.
const WAITING_EACH: usize = 8;
const WAITING_MAX: usize = 512;
/// What one peer may have of both.
const SHARE: Share = Share { asked: UNKNOWN_MAX / 4, waiting: WAITING_MAX / 4 };
/// How often, and how many times, an address is asked for.
const EACH: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;
/// How long an answer is believed without asking again.
const FRESH: Duration = Duration::from_secs(30);
/// How long an address is kept that nobody sends to.
const UNUSED: Duration = Duration::from_secs(300);
/// How long it is believed that nobody answers.
const FAILED: Duration = Duration::from_secs(3);

/// The addresses of the VLAN that are known or asked for.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    known: HashMap<IpAddr, Known, RandomState>,
    /// All that are known, each once: in front those that were not used for longest, or were only since they came to stand
    /// where they do.
    order: VecDeque<IpAddr>,
    /// Known entries that only questions have told of.
    askers: usize,
    unknown: HashMap<IpAddr, Unknown, RandomState>,
    /// The number of the next unknown entry.
    next: u64,
    waiting: usize,
    /// Whose packets they are, and whose were the first to need an address.
    shares: HashMap<PeerId, Share, RandomState>,
    /// Whose packets had to make room for others'.
    displaced: Vec<PeerId>,
}

/// What there is on account of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    asked: usize,
    waiting: usize,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    mac: MacAddr,
    confirmed: Duration,
    used: Duration,
    /// When it was used last before it came to stand where it does in the order.
    placed: Duration,
    /// Whether only a question has told of it.
    is_asker: bool,
    /// Questions since it was confirmed that were not answered, and when the next is due.
    asked: u32,
    next: Duration,
}

/// An address that is asked for, or that nobody answers for. Older ones have lower numbers.
#[derive(Debug)]
struct Unknown {
    number: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The peer is the one whose packet was the first to need it.
    Resolving {
        peer: PeerId,
        tries: u32,
        next: Duration,
        waiting: Vec<Waiting>,
    },
    Failed {
        until: Duration,
    },
}

/// A packet that waits for an address.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) packet: Vec<u8>,
    /// Whose it is.
    pub(crate) peer: PeerId,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Who has it.
    At(MacAddr),
    /// Who had it when it was heard last; it is time to ask again.
    Confirm(MacAddr),
    /// Nothing.
    Missing,
}

/// How it was heard that somebody has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// By an answer to a question, or by whoever tells all.
    Statement,
    /// The same, by somebody who does not want to replace what is known.
    Hint,
    /// By a question to this adapter: the answer will make it send.
    Question,
}

impl Neighbours {
    /// Looks an address up to send to it.
    pub(crate) fn find(&mut self, now: Duration, ip: IpAddr) -> Found {
        let Some(known) = self.known.get_mut(&ip) else { return Found::Missing };
        known.used = now;
        self.askers -= usize::from(std::mem::take(&mut known.is_asker));
        if now < known.confirmed + FRESH || now < known.next {
            return Found::At(known.mac);
        }
        known.asked += 1;
        known.next = now + EACH;
        Found::Confirm(known.mac)
    }

    /// Has a packet wait for an address that is missing; tells whether it is time to ask for it. Others' packets may have had
    /// to make room: [`Neighbours::displaced`].
    ///
    /// # Errors
    /// [`Refusal::Unreachable`] when nobody answered just now, [`Refusal::QueueFull`] when too much waits already.
    pub(crate) fn wait(
        &mut self,
        now: Duration,
        ip: IpAddr,
        waiting: Waiting,
    ) -> Result<bool, Refusal> {
        let peer = waiting.peer;
        match self.unknown.get(&ip).map(|unknown| &unknown.state) {
            Some(State::Failed { until }) if now < *until => return Err(Refusal::Unreachable),
            Some(State::Resolving { waiting, .. }) if waiting.len() >= WAITING_EACH => {
                return Err(Refusal::QueueFull);
            }
            _ => {}
        }
        let is_asked =
            matches!(self.unknown.get(&ip), Some(Unknown { state: State::Resolving { .. }, .. }));
        if !is_asked {
            self.unknown.remove(&ip);
            self.make_room_to_ask(peer)?;
        }
        self.make_room_to_wait(peer)?;
        self.enter_waiting(peer);
        if let Some(Unknown { state: State::Resolving { waiting: queue, .. }, .. }) =
            self.unknown.get_mut(&ip)
        {
            queue.push(waiting);
            return Ok(false);
        }
        let state = State::Resolving { peer, tries: 1, next: now + EACH, waiting: vec![waiting] };
        self.unknown.insert(ip, Unknown { number: self.next, state });
        self.next += 1;
        self.shares.entry(peer).or_default().asked += 1;
        Ok(true)
    }

    /// Returns whose packets had to make room for others' since this was asked last.
    pub(crate) fn displaced(&mut self) -> impl Iterator<Item = PeerId> {
        self.displaced.drain(..)
    }

    /// Notes who has an address; returns what waited for it, in order.
    pub(crate) fn heard(
        &mut self,
        now: Duration,
        ip: IpAddr,
        mac: MacAddr,
        how: Heard,
    ) -> Vec<Waiting> {
        if let Some(known) = self.known.get_mut(&ip) {
            if how != Heard::Hint || known.mac == mac {
                *known = Known { mac, confirmed: now, asked: 0, next: now, ..*known };
            }
            return Vec::new();
        }
        // Somebody's packet has asked for it.
        if let Some(Unknown { state, .. }) = self.unknown.remove(&ip) {
            self.enter_known(now, ip, mac, false);
            return self.release(state);
        }
        if how == Heard::Question && self.askers < ASKERS_MAX && self.known.len() < KNOWN_MAX {
            self.enter_known(now, ip, mac, true);
        }
        Vec::new()
    }

    /// Asks again where it is time to, gives up where nobody answers, and forgets what nobody needs.
    pub(crate) fn tick(
        &mut self,
        now: Duration,
        mut ask: impl FnMut(IpAddr),
        unreachable: impl FnMut(Waiting),
    ) {
        let mut given_up = Vec::new();
        self.unknown.retain(|ip, Unknown { state, .. }| match state {
            State::Resolving { tries, next, .. } if now >= *next && *tries < TRIES => {
                *tries += 1;
                *next = now + EACH;
                ask(*ip);
                true
            }
            State::Resolving { next, .. } if now >= *next => {
                given_up.push(std::mem::replace(state, State::Failed { until: now + FAILED }));
                true
            }
            State::Resolving { .. } => true,
            State::Failed { until } => now < *until,
        });
        given_up.into_iter().flat_map(|state| self.release(state)).for_each(unreachable);
        self.known.retain(|_, known| {
            let is_silent = known.asked >= TRIES && now >= known.next;
            let stays = !is_silent && now < known.used.max(known.confirmed) + UNUSED;
            self.askers -= usize::from(known.is_asker && !stays);
            stays
        });
        if self.order.len() > self.known.len() {
            self.order.retain(|ip| self.known.contains_key(ip));
        }
    }

    fn enter_known(&mut self, now: Duration, ip: IpAddr, mac: MacAddr, is_asker: bool) {
        self.make_room_to_know();
        let known =
            Known { mac, confirmed: now, used: now, placed: now, is_asker, asked: 0, next: now };
        self.known.insert(ip, known);
        self.order.push_back(ip);
        self.askers += usize::from(is_asker);
    }

    /// Forgets who was not used for longest, if there is no room. Whoever was used since it came to stand in front stands at
    /// the back again: each use makes for one such step at most.
    fn make_room_to_know(&mut self) {
        while self.known.len() >= KNOWN_MAX {
            let Some(ip) = self.order.pop_front() else { return };
            let Some(known) = self.known.get_mut(&ip) else { continue };
            if known.used > known.placed {
                known.placed = known.used;
                self.order.push_back(ip);
            } else {
                self.askers -= usize::from(known.is_asker);
                self.known.remove(&ip);
            }
        }
    }

    /// Makes room for one more address that is asked for: the oldest that nobody answers for makes way, or else the oldest of
    /// the peer that asks for most.
    fn make_room_to_ask(&mut self, peer: PeerId) -> Result<(), Refusal> {
        let own = self.share(peer).asked;
        if own >= SHARE.asked {
            return Err(Refusal::QueueFull);
        }
        if self.unknown.len() < UNKNOWN_MAX {
            return Ok(());
        }
        let oldest = |entries: &HashMap<_, Unknown, _>, of: &dyn Fn(&State) -> bool| {
            let entries = entries.iter().filter(|(_, unknown)| of(&unknown.state));
            entries.min_by_key(|(_, unknown)| unknown.number).map(|(ip, _)| *ip)
        };
        let failed = oldest(&self.unknown, &|state| matches!(state, State::Failed { .. }));
        let victim = failed.or_else(|| {
            let (greedy, most) = self.shares.iter().max_by_key(|(_, share)| share.asked)?;
            let is_theirs =
                |state: &State| matches!(state, State::Resolving { peer, .. } if peer == greedy);
            (most.asked > own + 1).then(|| oldest(&self.unknown, &is_theirs)).flatten()
        });
        let Unknown { state, .. } =
            victim.and_then(|ip| self.unknown.remove(&ip)).ok_or(Refusal::QueueFull)?;
        for waiting in self.release(state) {
            self.displaced.push(waiting.peer);
        }
        Ok(())
    }

    /// Makes room for one more packet that waits: the oldest of the peer of which most wait makes way.
    fn make_room_to_wait(&mut self, peer: PeerId) -> Result<(), Refusal> {
        let own = self.share(peer).waiting;
        if own >= SHARE.waiting {
            return Err(Refusal::QueueFull);
        }
        if self.waiting < WAITING_MAX {
            return Ok(());
        }
        let most = self.shares.iter().max_by_key(|(_, share)| share.waiting);
        let (&greedy, _) =
            most.filter(|(_, share)| share.waiting > own + 1).ok_or(Refusal::QueueFull)?;
        let queues = self.unknown.values_mut().filter_map(|unknown| match &mut unknown.state {
            State::Resolving { waiting, .. } => {
                let at = waiting.iter().position(|waiting| waiting.peer == greedy)?;
                Some((unknown.number, waiting, at))
            }
            State::Failed { .. } => None,
        });
        let (_, queue, at) = queues.min_by_key(|(number, ..)| *number).ok_or(Refusal::QueueFull)?;
        queue.remove(at);
        self.leave_waiting(greedy);
        self.displaced.push(greedy);
        Ok(())
    }

    fn share(&self, peer: PeerId) -> Share {
        self.shares.get(&peer).copied().unwrap_or_default()
    }

    /// Returns what waited for an address that is not asked for any more.
    fn release(&mut self, state: State) -> Vec<Waiting> {
        let State::Resolving { peer, waiting, .. } = state else { return Vec::new() };
        self.take_back(peer, Share { asked: 1, waiting: 0 });
        waiting.iter().for_each(|waiting| self.leave_waiting(waiting.peer));
        waiting
    }

    fn enter_waiting(&mut self, peer: PeerId) {
        self.waiting += 1;
        self.shares.entry(peer).or_default().waiting += 1;
    }

    fn leave_waiting(&mut self, peer: PeerId) {
        self.waiting -= 1;
        self.take_back(peer, Share { asked: 0, waiting: 1 });
    }

    fn take_back(&mut self, peer: PeerId, part: Share) {
        let Some(share) = self.shares.get_mut(&peer) else { return };
        share.asked -= part.asked;
        share.waiting -= part.waiting;
        if *share == Share::default() {
            self.shares.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests;
