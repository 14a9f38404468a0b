//! Stations: who claims a (segment, MAC), who is believed, and when flapping freezes it. RFC 7432 §15 and §15.1.
//! Knows no message and sends none; the outcome never depends on the order in which claims came.

use std::{cmp::Reverse, collections::VecDeque, net::IpAddr, time::Duration};

use crate::{HostKey, LocalPort, PeerId};

/// Moves that freeze an address, when they happen within [`FLAPPING`].
pub const MOVES_MAX: usize = 5;
/// The time in which moves are counted, and for which a frozen address must be quiet before it thaws.
pub const FLAPPING: Duration = Duration::from_secs(180);
/// No address moves that often. Above this, each host has a limit of its own that nobody else knows, up to twice
/// as much; what is beyond counts for less than any other claim.
pub const SEQUENCE_MAX: u64 = 1 << 32;

/// Who judges, and by which limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge {
    pub(crate) own: HostKey,
    limit: u64,
}

impl Judge {
    /// Makes the judge of a host; the limit is drawn from a secret, so that nobody can aim just below it.
    pub(crate) fn new(own: HostKey, secret: u64) -> Self {
        Self { own, limit: SEQUENCE_MAX + secret % SEQUENCE_MAX }
    }
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// On this host.
    Here,
    /// On another host.
    Peer(PeerId),
}

/// The claim of this host.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) sequence: u64,
    /// Where it stands in the segment's log.
    pub(crate) version: u64,
    pub(crate) hold: Hold,
    pub(crate) ips: Vec<IpAddr>,
}

/// Why an address is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It was heard; it goes where it is heard next.
    Learned,
    /// The configuration says so; nobody can take it.
    Static,
}

/// The claim of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) peer: PeerId,
    pub(crate) key: HostKey,
    pub(crate) sequence: u64,
    /// The full set that confirmed it.
    pub(crate) set: u64,
    pub(crate) ips: Vec<IpAddr>,
}

/// What is known of one (segment, MAC).
#[derive(Debug, Default)]
pub(crate) struct Station {
    pub(crate) local: Option<Local>,
    /// Where it was last heard here.
    pub(crate) port: Option<LocalPort>,
    pub(crate) claims: Vec<Claim>,
    /// The peer at which the forwarding database has it.
    pub(crate) installed: Option<PeerId>,
    /// The addresses that are answered for it.
    pub(crate) bound: Vec<IpAddr>,
    /// A sequence that a peer believes elsewhere; the next claim of this host is above it.
    pub(crate) floor: Option<u64>,
    /// When it is looked at again.
    pub(crate) wakes: Option<Duration>,
    /// When those are told whose claims do not win and stay.
    pub(crate) disputes: Option<Duration>,
    owner: Option<Owner>,
    moves: VecDeque<(Duration, Owner)>,
    frozen: Option<Frozen>,
}

#[derive(Clone, Copy, Debug)]
struct Frozen {
    owner: Owner,
    /// Who would have it.
    claimed: Option<Owner>,
    quiet_since: Duration,
}

/// What a change of claims led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing worth telling but where it is.
    Calm,
    /// It was frozen.
    Frozen(Owner),
}

impl Station {
    /// Returns where the address is by the claims alone: the highest credible sequence, then the highest, among
    /// equals the lower key.
    pub(crate) fn winner(&self, judge: Judge) -> Option<Owner> {
        let here = self.local.iter().map(|local| (local.sequence, judge.own, Owner::Here));
        let there =
            self.claims.iter().map(|claim| (claim.sequence, claim.key, Owner::Peer(claim.peer)));
        let limit = self.limit(judge);
        here.chain(there)
            .max_by_key(|&(sequence, key, _)| (sequence <= limit, sequence, Reverse(key)))
            .map(|(.., owner)| owner)
    }

    /// Returns the highest credible sequence. What this host claims above its limit, it knows of others; and it may
    /// be beaten by one more.
    fn limit(&self, judge: Judge) -> u64 {
        self.local.as_ref().map_or(judge.limit, |local| judge.limit.max(local.sequence + 1))
    }

    /// Returns the sequence of a claim of this host that beats all others.
    pub(crate) fn next_sequence(&self, judge: Judge) -> u64 {
        let others = self.claims.iter().map(|claim| claim.sequence);
        let limit = self.limit(judge);
        let credible = others.filter(|&sequence| sequence <= limit).max();
        let least = if self.claims.is_empty() { 0 } else { 1 };
        credible.max(self.floor).map_or(least, |highest| highest + 1)
    }

    /// Takes note of a sequence that a peer believes and that beats the claim of this host there; tells whether
    /// that is news.
    pub(crate) fn doubt(&mut self, sequence: u64) -> bool {
        let beats = self.local.as_ref().is_some_and(|local| sequence >= local.sequence);
        if !beats || sequence >= 2 * SEQUENCE_MAX || self.frozen.is_some() {
            return false;
        }
        let before = self.floor.replace(self.floor.unwrap_or(0).max(sequence));
        before.is_none()
    }

    /// Returns the sequence that stands for an owner.
    pub(crate) fn sequence_of(&self, owner: Owner) -> Option<u64> {
        match owner {
            Owner::Here => self.local.as_ref().map(|local| local.sequence),
            Owner::Peer(peer) => self.claim_of(peer).map(|claim| claim.sequence),
        }
    }

    pub(crate) fn claim_of(&self, peer: PeerId) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.peer == peer)
    }

    /// Takes note of what the claims say: counts a move, freezes at the fifth.
    pub(crate) fn settle(&mut self, now: Duration, judge: Judge) -> Settled {
        let winner = self.winner(judge);
        if let Some(frozen) = &mut self.frozen {
            // Who gives way makes no noise.
            let is_move = winner.is_some_and(|winner| winner != frozen.owner);
            if frozen.claimed != winner && is_move {
                frozen.quiet_since = now;
            }
            frozen.claimed = winner;
            return Settled::Calm;
        }
        let Some(winner) = winner else { return Settled::Calm };
        let before = self.owner.replace(winner).filter(|&before| before != winner);
        let Some(before) = before else { return Settled::Calm };
        self.forget_moves(now);
        self.moves.push_back((now, before));
        if self.moves.len() < MOVES_MAX {
            return Settled::Calm;
        }
        let owner = self.moves[0].1;
        self.moves.clear();
        self.frozen = Some(Frozen { owner, claimed: Some(winner), quiet_since: now });
        Settled::Frozen(owner)
    }

    /// Returns where frames for it go: the owner that was frozen, else the winner; `None` where that one does
    /// not claim it.
    pub(crate) fn owner(&self, judge: Judge) -> Option<Owner> {
        let owner = self.frozen_owner().or_else(|| self.winner(judge))?;
        self.sequence_of(owner).map(|_| owner)
    }

    /// Returns the owner that it is frozen with.
    pub(crate) fn frozen_owner(&self) -> Option<Owner> {
        self.frozen.map(|frozen| frozen.owner)
    }

    /// Tells whether it was frozen and quiet for long enough to thaw.
    pub(crate) fn is_quiet(&self, now: Duration) -> bool {
        self.frozen.is_some_and(|frozen| now >= frozen.quiet_since + FLAPPING)
    }

    /// Thaws it and forgets its moves.
    pub(crate) fn melt(&mut self, judge: Judge) {
        self.frozen = None;
        self.moves.clear();
        self.owner = self.winner(judge);
    }

    fn forget_moves(&mut self, now: Duration) {
        while self.moves.front().is_some_and(|&(at, _)| now >= at + FLAPPING) {
            self.moves.pop_front();
        }
    }

    /// Returns when [`Station::is_quiet`] or [`Station::is_forgettable`] may be asked again.
    pub(crate) fn wakes_at(&self) -> Option<Duration> {
        let thaws = self.frozen.map(|frozen| frozen.quiet_since + FLAPPING);
        thaws.or_else(|| self.moves.back().map(|&(at, _)| at + FLAPPING))
    }

    /// Tells whether nothing is lost with it.
    pub(crate) fn is_forgettable(&mut self, now: Duration) -> bool {
        self.forget_moves(now);
        self.is_unclaimed() && self.frozen.is_none() && self.moves.is_empty()
    }

    /// Tells whether nobody claims it.
    pub(crate) fn is_unclaimed(&self) -> bool {
        self.local.is_none() && self.claims.is_empty()
    }

    /// Returns the protocol addresses of whom it belongs to.
    pub(crate) fn ips(&self, judge: Judge) -> &[IpAddr] {
        match self.owner(judge) {
            None => &[],
            Some(Owner::Here) => self.local.as_ref().map_or(&[], |local| &local.ips),
            Some(Owner::Peer(peer)) => self.claim_of(peer).map_or(&[], |claim| &claim.ips),
        }
    }
}

#[cfg(test)]
mod tests;
