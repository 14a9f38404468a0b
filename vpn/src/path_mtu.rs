//! Finds how large a datagram may be on the way to a peer: datagram packetization layer path MTU discovery,
//! RFC 8899, for one direction and one peer. All sizes are those of UDP payloads, in bytes. Listens to no ICMP, and
//! a lost probe says nothing about congestion. Sends nothing itself: `poll_transmit` says which probe to send.

use std::{collections::VecDeque, time::Duration};

/// The largest UDP payload that an IPv4 packet can carry.
pub const LARGEST_UDP_PAYLOAD: u16 = 65_507;

/// What is taken for granted: BASE_PLPMTU and MIN_PLPMTU of RFC 8899 §5.1.2.
const BASE: u16 = 1200;
/// Records are padded to multiples of this; sizes between them serve nobody.
const STEP: u16 = 16;
/// Sizes that paths are known to have, less what no record fills: IPv6's least, tunnels, PPPoE, Ethernet, jumbo.
const USUAL: [u16; 10] = [1232, 1248, 1360, 1392, 1408, 1440, 1456, 1472, 8944, 8960];

/// How many probes of a size are lost before the size is taken to be: MAX_PROBES of RFC 8899 §5.1.2.
const MAX_PROBES: u32 = 3;
/// When a probe counts as lost: before a round trip was seen, and the least and the most after that.
const PROBE_TIMER: Duration = Duration::from_secs(3);
const SHORTEST_PROBE_TIMER: Duration = Duration::from_secs(1);
const LONGEST_PROBE_TIMER: Duration = Duration::from_secs(15);
/// The longest wait between probes while not even the base passes.
const LONGEST_BASE_TIMER: Duration = Duration::from_secs(30);
/// How often a larger size is tried again: PMTU_RAISE_TIMER of RFC 8899 §5.1.1.
const RAISE_TIMER: Duration = Duration::from_secs(600);
/// How often the current size is confirmed while it is needed: CONFIRMATION_TIMER of RFC 8899 §5.1.1.
const CONFIRMATION_TIMER: Duration = Duration::from_secs(2);
/// How many probes are remembered, so that a late answer still counts.
const REMEMBERED: usize = 4;

/// The search for the path MTU to one peer.
#[derive(Debug)]
pub struct PathMtu {
    largest: u16,
    current: u16,
    /// The smallest size that is known not to pass.
    too_large: Option<u16>,
    phase: Phase,
    /// How many probes were lost since the phase began.
    losses: u32,
    /// The probe in flight: its nonce, its size, and when it counts as lost.
    flight: Option<(u64, u16, Duration)>,
    /// The last probes that are not answered.
    sent: VecDeque<Sent>,
    next_nonce: u64,
    round_trip: Option<Duration>,
    confirm_at: Duration,
    raise_at: Duration,
}

/// What the next probe is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Whether the base passes.
    Base,
    /// Whether this larger size passes.
    Search(u16),
    /// Whether the current size still does, now that this larger one seems not to: a path that is down or lossy must
    /// not look like a narrow one.
    Verify(u16),
    /// Nothing: the search is over.
    Complete,
    /// Whether the current size still passes, because it is used.
    Confirm,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    nonce: u64,
    size: u16,
    at: Duration,
}

/// A probe to be sent in a datagram of exactly this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What the answer must repeat.
    pub nonce: u64,
    /// The size of the UDP payload.
    pub size: u16,
}

impl PathMtu {
    /// The size that every path is taken to carry; never less is used.
    pub const BASE: u16 = BASE;

    /// Begins at the base. Nothing larger than `largest` is tried: what the own interface or the configuration allows.
    pub fn new(now: Duration, largest: u16) -> Self {
        Self {
            largest: within_limits(largest),
            current: BASE,
            too_large: None,
            phase: Phase::Base,
            losses: 0,
            flight: None,
            sent: VecDeque::with_capacity(REMEMBERED),
            next_nonce: 1,
            round_trip: None,
            confirm_at: now,
            raise_at: now,
        }
    }

    /// Returns the size that datagrams may have.
    pub fn current(&self) -> u16 {
        self.current
    }

    /// Tells whether a probe of the current size was answered; while not even the base was, the path may carry less.
    pub fn is_confirmed(&self) -> bool {
        self.phase != Phase::Base
    }

    /// Begins anew: the peer has another endpoint, or is reached again.
    pub fn restart(&mut self, now: Duration) {
        *self = Self { next_nonce: self.next_nonce, ..Self::new(now, self.largest) };
    }

    /// Takes another upper limit; the current size obeys at once.
    pub fn set_largest(&mut self, now: Duration, largest: u16) {
        let largest = within_limits(largest);
        if largest == self.largest {
            return;
        }
        self.largest = largest;
        self.current = self.current.min(largest);
        self.sent.retain(|sent| sent.size <= largest);
        if self.phase != Phase::Base {
            self.search(now);
        }
    }

    /// Returns the probe to be sent, at most one at a time.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Probe> {
        if self.flight.is_some() {
            return None;
        }
        let size = match self.phase {
            Phase::Base => BASE,
            Phase::Search(size) => size,
            Phase::Verify(_) | Phase::Confirm => self.current,
            Phase::Complete => return None,
        };
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        self.flight = Some((nonce, size, now + self.probe_timer()));
        self.sent.truncate(REMEMBERED - 1);
        self.sent.push_front(Sent { nonce, size, at: now });
        Some(Probe { nonce, size })
    }

    /// Takes the answer to a probe: what size arrived. An answer to no probe of that size changes nothing.
    pub fn answered(&mut self, now: Duration, nonce: u64, size: u16) {
        let is_answer = |sent: &Sent| (sent.nonce, sent.size) == (nonce, size);
        let Some(sent) =
            self.sent.iter().position(is_answer).and_then(|position| self.sent.remove(position))
        else {
            return;
        };
        self.measured(now.saturating_sub(sent.at));
        if size < self.current {
            return;
        }
        let has_grown = size > self.current;
        self.current = size;
        self.confirm_at = now + CONFIRMATION_TIMER;
        // What passes at this size passes at smaller ones.
        if self.flight.is_some_and(|(_, flying, _)| flying <= size) {
            self.flight = None;
        }
        if self.too_large.is_some_and(|too_large| too_large <= size) {
            self.too_large = None;
        }
        match self.phase {
            Phase::Search(wanted) if size < wanted => {}
            Phase::Verify(wanted) if size < wanted => {
                self.too_large = Some(wanted);
                self.search(now);
            }
            Phase::Complete if !has_grown => {}
            Phase::Confirm if !has_grown => self.enter(Phase::Complete),
            _ => self.search(now),
        }
    }

    /// Says that the own interface refused the probe for its size.
    pub fn refused(&mut self, now: Duration, nonce: u64) {
        if self.flight.is_none_or(|(flying, _, _)| flying != nonce) {
            return;
        }
        match self.phase {
            // The base is asked for again when its time has come.
            Phase::Base | Phase::Complete => {}
            Phase::Search(size) => {
                self.too_large = Some(size);
                self.search(now);
            }
            Phase::Verify(_) | Phase::Confirm => self.restart(now),
        }
    }

    /// Does what is due. `largest_sent` is the size of the largest datagram that went to the peer since the last
    /// call: the current size is confirmed only while something larger than the base is sent.
    pub fn handle_timeout(&mut self, now: Duration, largest_sent: u16) {
        if self.flight.is_some_and(|(_, _, lost_at)| now >= lost_at) {
            self.flight = None;
            self.losses += 1;
            if self.losses >= MAX_PROBES {
                self.size_is_lost(now);
            }
        }
        if self.phase == Phase::Complete && now >= self.raise_at {
            self.too_large = None;
            self.search(now);
        }
        if self.phase == Phase::Complete && now >= self.confirm_at {
            self.confirm_at = now + CONFIRMATION_TIMER;
            if largest_sent > BASE && self.current > BASE {
                self.enter(Phase::Confirm);
            }
        }
    }

    /// Returns when [`PathMtu::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if let Some((_, _, lost_at)) = self.flight {
            return Some(lost_at);
        }
        let is_complete = self.phase == Phase::Complete;
        let confirm_at = (is_complete && self.current > BASE).then_some(self.confirm_at);
        let raise_at = (is_complete && self.current < self.largest).then_some(self.raise_at);
        [confirm_at, raise_at].into_iter().flatten().min()
    }

    fn size_is_lost(&mut self, now: Duration) {
        match self.phase {
            Phase::Search(size) => self.enter(Phase::Verify(size)),
            // A black hole: RFC 8899 §4.3.
            Phase::Verify(_) | Phase::Confirm => self.restart(now),
            Phase::Base | Phase::Complete => {}
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.losses = 0;
    }

    /// Goes on to the next size that is worth a probe.
    fn search(&mut self, now: Duration) {
        self.flight = None;
        match self.next_size() {
            Some(size) => self.enter(Phase::Search(size)),
            None => {
                self.raise_at = now + RAISE_TIMER;
                self.enter(Phase::Complete);
            }
        }
    }

    /// Upwards along the usual sizes, then by halves between what passes and what does not.
    fn next_size(&self) -> Option<u16> {
        let beyond = self.largest.saturating_add(STEP);
        let too_large = self.too_large.map_or(beyond, |too_large| too_large.min(beyond));
        let is_open = |size: &u16| *size > self.current && *size < too_large;
        let usual = USUAL.into_iter().chain([self.largest]).filter(is_open).min();
        let middle = self.current + (too_large - self.current) / 2;
        usual.or_else(|| Some(middle / STEP * STEP).filter(is_open))
    }

    fn probe_timer(&self) -> Duration {
        let timer = self.round_trip.map_or(PROBE_TIMER, |round_trip| {
            (3 * round_trip).clamp(SHORTEST_PROBE_TIMER, LONGEST_PROBE_TIMER)
        });
        if self.phase != Phase::Base {
            return timer;
        }
        timer.saturating_mul(1 << self.losses.min(5)).min(LONGEST_BASE_TIMER)
    }

    /// Follows a longer round trip at once and a shorter one slowly: a probe must not be given up too early.
    fn measured(&mut self, round_trip: Duration) {
        let smooth = self.round_trip.map_or(round_trip, |smooth| (7 * smooth + round_trip) / 8);
        self.round_trip = Some(smooth.max(round_trip));
    }
}

fn within_limits(size: u16) -> u16 {
    size.clamp(BASE, LARGEST_UDP_PAYLOAD) / STEP * STEP
}

#[cfg(test)]
mod tests;
