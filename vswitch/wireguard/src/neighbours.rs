//! Who in the VLAN has which address: asked for when a packet needs it, kept while it answers. RFC 826, RFC 4861 §7.3. Bounded,
//! whatever is asked for: unknown addresses, known ones and the packets that wait each have a limit, and no peer and no asker
//! can fill it for all. Writes no frame.

use std::{collections::HashMap, net::IpAddr, time::Duration};

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
const SHARE: Share = Share { unknown: UNKNOWN_MAX / 4, waiting: WAITING_MAX / 4 };
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
    entries: HashMap<IpAddr, Entry, RandomState>,
    /// Known entries that only questions have told of.
    askers: usize,
    /// Entries that are not known.
    unknown: usize,
    waiting: usize,
    /// Whose packets they are.
    shares: HashMap<PeerId, Share, RandomState>,
}

/// What there is on account of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    unknown: usize,
    waiting: usize,
}

#[derive(Debug)]
enum Entry {
    Resolving {
        peer: PeerId,
        tries: u32,
        next: Duration,
        waiting: Vec<Waiting>,
    },
    Known(Known),
    /// The peer is the one whose packet was the first to need it.
    Failed {
        peer: PeerId,
        until: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Known {
    mac: MacAddr,
    confirmed: Duration,
    used: Duration,
    /// Whether only a question has told of it.
    is_asker: bool,
    /// Questions since it was confirmed that were not answered, and when the next is due.
    asked: u32,
    next: Duration,
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
        let Some(Entry::Known(known)) = self.entries.get_mut(&ip) else { return Found::Missing };
        known.used = now;
        self.askers -= usize::from(std::mem::take(&mut known.is_asker));
        if now < known.confirmed + FRESH || now < known.next {
            return Found::At(known.mac);
        }
        known.asked += 1;
        known.next = now + EACH;
        Found::Confirm(known.mac)
    }

    /// Has a packet wait for an address that is missing; tells whether it is time to ask for it.
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
        let share = self.shares.get(&peer).copied().unwrap_or_default();
        if self.waiting >= WAITING_MAX || share.waiting >= SHARE.waiting {
            return Err(Refusal::QueueFull);
        }
        match self.entries.get_mut(&ip) {
            Some(Entry::Failed { until, .. }) if now < *until => return Err(Refusal::Unreachable),
            Some(Entry::Resolving { waiting: queue, .. }) => {
                if queue.len() >= WAITING_EACH {
                    return Err(Refusal::QueueFull);
                }
                queue.push(waiting);
                self.enter_waiting(peer);
                return Ok(false);
            }
            Some(Entry::Failed { peer, .. }) => {
                let before = *peer;
                self.leave_unknown(before);
            }
            _ if self.unknown >= UNKNOWN_MAX || share.unknown >= SHARE.unknown => {
                return Err(Refusal::QueueFull);
            }
            _ => {}
        }
        let entry = Entry::Resolving { peer, tries: 1, next: now + EACH, waiting: vec![waiting] };
        self.entries.insert(ip, entry);
        self.unknown += 1;
        self.shares.entry(peer).or_default().unknown += 1;
        self.enter_waiting(peer);
        Ok(true)
    }

    /// Notes who has an address; returns what waited for it, in order.
    pub(crate) fn heard(
        &mut self,
        now: Duration,
        ip: IpAddr,
        mac: MacAddr,
        how: Heard,
    ) -> Vec<Waiting> {
        let is_asker = how == Heard::Question;
        let known = Known { mac, confirmed: now, used: now, is_asker, asked: 0, next: now };
        let known_now = self.entries.len() - self.unknown;
        match self.entries.get_mut(&ip) {
            Some(Entry::Known(before)) => {
                if how != Heard::Hint || before.mac == mac {
                    let is_asker = before.is_asker;
                    *before = Known { used: before.used, is_asker, ..known };
                }
                return Vec::new();
            }
            _ if known_now >= KNOWN_MAX => return Vec::new(),
            None if how != Heard::Question || self.askers >= ASKERS_MAX => return Vec::new(),
            None => {
                self.askers += 1;
                self.entries.insert(ip, Entry::Known(known));
                return Vec::new();
            }
            Some(_) => {}
        }
        // Somebody's packet has asked for it.
        match self.entries.insert(ip, Entry::Known(Known { is_asker: false, ..known })) {
            Some(Entry::Resolving { peer, waiting, .. }) => {
                self.leave_unknown(peer);
                waiting.iter().for_each(|waiting| self.leave_waiting(waiting.peer));
                waiting
            }
            Some(Entry::Failed { peer, .. }) => {
                self.leave_unknown(peer);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Asks again where it is time to, gives up where nobody answers, and forgets what nobody needs.
    pub(crate) fn tick(
        &mut self,
        now: Duration,
        mut ask: impl FnMut(IpAddr),
        mut unreachable: impl FnMut(Waiting),
    ) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|ip, entry| match entry {
            Entry::Resolving { peer, tries, next, waiting } => {
                if now >= *next && *tries < TRIES {
                    *tries += 1;
                    *next = now + EACH;
                    ask(*ip);
                } else if now >= *next {
                    waiting.iter().for_each(|waiting| self.leave_waiting(waiting.peer));
                    waiting.drain(..).for_each(&mut unreachable);
                    *entry = Entry::Failed { peer: *peer, until: now + FAILED };
                }
                true
            }
            Entry::Known(known) => {
                let is_silent = known.asked >= TRIES && now >= known.next;
                let stays = !is_silent && now < known.used.max(known.confirmed) + UNUSED;
                self.askers -= usize::from(known.is_asker && !stays);
                stays
            }
            Entry::Failed { peer, until } => {
                let stays = now < *until;
                if !stays {
                    self.leave_unknown(*peer);
                }
                stays
            }
        });
        self.entries = entries;
    }

    fn enter_waiting(&mut self, peer: PeerId) {
        self.waiting += 1;
        self.shares.entry(peer).or_default().waiting += 1;
    }

    fn leave_waiting(&mut self, peer: PeerId) {
        self.waiting -= 1;
        self.take_back(peer, Share { unknown: 0, waiting: 1 });
    }

    fn leave_unknown(&mut self, peer: PeerId) {
        self.unknown -= 1;
        self.take_back(peer, Share { unknown: 1, waiting: 0 });
    }

    fn take_back(&mut self, peer: PeerId, part: Share) {
        let Some(share) = self.shares.get_mut(&peer) else { return };
        share.unknown -= part.unknown;
        share.waiting -= part.waiting;
        if *share == Share::default() {
            self.shares.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 5]);
    const OTHER: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 6]);

    fn ip(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a0a_0000 + last).into()
    }

    fn packet(byte: u8) -> Waiting {
        packet_of(1, byte)
    }

    fn packet_of(peer: u32, byte: u8) -> Waiting {
        Waiting { packet: vec![byte], peer: PeerId::new(peer).unwrap() }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// Ticks; returns who is asked for and what is given up.
    fn tick(neighbours: &mut Neighbours, now: Duration) -> (Vec<IpAddr>, Vec<u8>) {
        let (mut asked, mut given_up) = (vec![], vec![]);
        neighbours.tick(now, |ip| asked.push(ip), |waiting| given_up.push(waiting.packet[0]));
        (asked, given_up)
    }

    #[test]
    fn packets_wait_in_order_for_the_answer() {
        let mut neighbours = Neighbours::default();
        assert_eq!(neighbours.wait(secs(1), ip(5), packet(1)), Ok(true));
        assert_eq!(neighbours.wait(secs(1), ip(5), packet(2)), Ok(false));
        let sent = neighbours.heard(secs(2), ip(5), MAC, Heard::Statement);
        assert_eq!(sent.iter().map(|waiting| waiting.packet[0]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(neighbours.find(secs(2), ip(5)), Found::At(MAC));
        assert_eq!((neighbours.waiting, neighbours.unknown), (0, 0));
    }

    #[test]
    fn who_does_not_answer_is_asked_three_times_and_then_left_alone() {
        let mut neighbours = Neighbours::default();
        neighbours.wait(secs(1), ip(5), packet(1)).unwrap();
        assert_eq!(tick(&mut neighbours, secs(1)), (vec![], vec![]));
        assert_eq!(tick(&mut neighbours, secs(2)), (vec![ip(5)], vec![]));
        assert_eq!(tick(&mut neighbours, secs(3)), (vec![ip(5)], vec![]));
        assert_eq!(tick(&mut neighbours, secs(4)), (vec![], vec![1]));
        assert_eq!(neighbours.wait(secs(5), ip(5), packet(2)), Err(Refusal::Unreachable));
        assert_eq!(neighbours.wait(secs(7), ip(5), packet(2)), Ok(true));
        assert_eq!((neighbours.waiting, neighbours.unknown), (1, 1));
    }

    #[test]
    fn what_was_heard_long_ago_is_asked_again_while_it_is_used() {
        let mut neighbours = Neighbours::default();
        neighbours.heard(secs(1), ip(5), MAC, Heard::Question);
        assert_eq!(neighbours.find(secs(30), ip(5)), Found::At(MAC));
        assert_eq!(neighbours.find(secs(31), ip(5)), Found::Confirm(MAC));
        assert_eq!(neighbours.find(secs(31), ip(5)), Found::At(MAC));
        neighbours.heard(secs(32), ip(5), MAC, Heard::Statement);
        assert_eq!(neighbours.find(secs(40), ip(5)), Found::At(MAC));
        for at in [62, 63, 64] {
            assert_eq!(neighbours.find(secs(at), ip(5)), Found::Confirm(MAC), "{at}");
        }
        tick(&mut neighbours, secs(65));
        assert_eq!(neighbours.find(secs(65), ip(5)), Found::Missing);
    }

    #[test]
    fn only_who_is_sent_to_is_remembered() {
        let mut neighbours = Neighbours::default();
        neighbours.heard(secs(1), ip(5), MAC, Heard::Statement);
        assert_eq!(neighbours.find(secs(1), ip(5)), Found::Missing);
        neighbours.heard(secs(1), ip(5), MAC, Heard::Question);
        neighbours.heard(secs(2), ip(5), OTHER, Heard::Hint);
        assert_eq!(neighbours.find(secs(2), ip(5)), Found::At(MAC));
        neighbours.heard(secs(3), ip(5), OTHER, Heard::Statement);
        assert_eq!(neighbours.find(secs(3), ip(5)), Found::At(OTHER));
        tick(&mut neighbours, secs(304));
        assert_eq!(neighbours.find(secs(304), ip(5)), Found::Missing);
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked_for() {
        let mut neighbours = Neighbours::default();
        let wait = |neighbours: &mut Neighbours, now, at: u32| {
            neighbours.wait(secs(now), ip(at / 9), packet_of(at % 7, 0)).is_ok()
        };
        let waiting = (0..10_000).filter(|&at| wait(&mut neighbours, 1, at));
        assert_eq!(waiting.count(), WAITING_MAX);
        for at in 0..10_000 {
            neighbours.heard(secs(1), ip(70_000 + at), MAC, Heard::Question);
        }
        assert_eq!(neighbours.entries.len() - neighbours.unknown, ASKERS_MAX);
        for now in 2..8 {
            tick(&mut neighbours, secs(now));
        }
        assert_eq!((neighbours.waiting, neighbours.unknown), (0, 0));
        assert!(neighbours.shares.is_empty());
        for at in 0..10_000 {
            let _ = neighbours.wait(secs(8), ip(at), packet_of(at % 7, 0));
        }
        assert_eq!(neighbours.unknown, UNKNOWN_MAX);
        for at in 0..10_000 {
            let _ = neighbours.wait(secs(9), ip(at), packet_of(at % 7, 0));
            neighbours.heard(secs(9), ip(at), MAC, Heard::Statement);
        }
        assert_eq!(neighbours.entries.len() - neighbours.unknown, KNOWN_MAX);
        tick(&mut neighbours, secs(400));
        assert_eq!(neighbours.askers, 0);
    }

    #[test]
    fn questions_leave_room_for_those_that_packets_go_to() {
        let mut neighbours = Neighbours::default();
        for at in 0..10_000 {
            neighbours.heard(secs(1), ip(70_000 + at), MAC, Heard::Question);
        }
        assert_eq!(neighbours.wait(secs(1), ip(5), packet(1)), Ok(true));
        assert_eq!(neighbours.heard(secs(1), ip(5), OTHER, Heard::Statement).len(), 1);
        assert_eq!(neighbours.find(secs(1), ip(5)), Found::At(OTHER));
        // Whoever is sent to has not only asked: there is room for another asker.
        assert_eq!(neighbours.find(secs(1), ip(70_000)), Found::At(MAC));
        neighbours.heard(secs(1), ip(90_000), MAC, Heard::Question);
        assert_eq!(neighbours.find(secs(1), ip(90_000)), Found::At(MAC));
    }

    #[test]
    fn one_peer_that_asks_for_much_leaves_room_for_others() {
        let mut neighbours = Neighbours::default();
        for at in 0..10_000 {
            let _ = neighbours.wait(secs(1), ip(1000 + at), packet_of(1, 0));
        }
        assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(1, 0)), Err(Refusal::QueueFull));
        assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(2, 0)), Ok(true));
        for _ in 0..10_000 {
            let _ = neighbours.wait(secs(1), ip(1000), packet_of(1, 0));
        }
        assert_eq!(neighbours.wait(secs(1), ip(5), packet_of(2, 0)), Ok(false));
        // What is asked for again later is the new asker's.
        for now in 2..5 {
            tick(&mut neighbours, secs(now));
        }
        assert_eq!(neighbours.wait(secs(4), ip(1000), packet_of(2, 0)), Err(Refusal::Unreachable));
        assert_eq!(neighbours.wait(secs(7), ip(1000), packet_of(2, 0)), Ok(true));
        for now in 8..15 {
            tick(&mut neighbours, secs(now));
        }
        assert!(neighbours.shares.is_empty());
    }
}
