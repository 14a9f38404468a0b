//! Loop probes: two ways between the same ports, one of them a LAN, would send broadcasts round for ever. Every
//! port to a LAN sends a probe each second; a port where one comes back is blocked for its segment. Makes and
//! reads the frames and keeps the times; sending, receiving and blocking are the caller's.

use std::{collections::BTreeMap, time::Duration};

use weft_vlan::{ETHERNET_HEADER, MacAddr};

use crate::{HostKey, LocalPort, SegmentId};

/// The time between two probes.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The least time between two probes where something looks like a loop.
pub const PROBE_HASTE: Duration = Duration::from_millis(20);
/// How long a port stays blocked behind the last probe that it received.
pub const BLOCKED_FOR: Duration = Duration::from_secs(30);
/// Where probes are sent: a locally administered group address that bridges forward.
pub const PROBE_DESTINATION: MacAddr = MacAddr::new([0x03, 0x77, 0x65, 0x66, 0x74, 0x01]);
/// Bytes of a probe.
pub const PROBE_LEN: usize = 60;

/// Local experimental, IEEE 802-2014 clause 9.2.3.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const MAGIC: &[u8; 8] = b"weftloop";
const VERSION: u8 = 1;

/// What a probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who sent it.
    pub host: HostKey,
    /// For which of its segments.
    pub segment: SegmentId,
}

impl Probe {
    /// Makes the frame, untagged.
    pub fn to_frame(self) -> [u8; PROBE_LEN] {
        let mut frame = [0; PROBE_LEN];
        let key = self.host.bytes();
        let [a, b, c, d, e, ..] = key;
        let parts: [&[u8]; 7] = [
            &PROBE_DESTINATION.octets(),
            &[0x02, a, b, c, d, e],
            &ETHERTYPE,
            MAGIC,
            &[VERSION],
            &self.segment.get().to_le_bytes()[..3],
            &key,
        ];
        let mut rest = &mut frame[..];
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        frame
    }

    /// Reads an untagged frame; `None` when it is no probe.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let behind = frame.strip_prefix(&PROBE_DESTINATION.octets())?.get(6..)?;
        let body = behind.strip_prefix(&ETHERTYPE)?.strip_prefix(MAGIC)?;
        let (&[VERSION, a, b, c], body) = body.split_first_chunk()? else { return None };
        let segment = SegmentId::new(u32::from_le_bytes([a, b, c, 0]))?;
        Some(Self { host: HostKey::new(*body.first_chunk()?), segment })
    }

    /// Tells by its first bytes whether a frame may be a probe.
    #[inline]
    pub fn may_be(frame: &[u8]) -> bool {
        frame.len() > ETHERNET_HEADER && frame.starts_with(&PROBE_DESTINATION.octets())
    }
}

/// What became of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeEvent {
    /// A probe came in by it: it must be blocked for the segment, in and out.
    Blocked {
        /// The port.
        port: LocalPort,
        /// The segment that it is blocked for.
        segment: SegmentId,
        /// Whose probe it was, and for which segment.
        probe: Probe,
    },
    /// No probe came for 30 s: it may be used again.
    Unblocked {
        /// The port.
        port: LocalPort,
        /// The segment.
        segment: SegmentId,
    },
}

#[derive(Debug)]
struct Place {
    /// When a probe was sent last.
    last: Option<Duration>,
    next: Duration,
    blocked_until: Option<Duration>,
}

/// The ports of a host that probe.
#[derive(Debug)]
pub struct Probes {
    own: HostKey,
    places: BTreeMap<(LocalPort, SegmentId), Place>,
}

impl Probes {
    /// Makes the probing of a host that has no port yet.
    pub fn new(own: HostKey) -> Self {
        Self { own, places: BTreeMap::new() }
    }

    /// Begins to probe at a port for a segment whose VLAN it carries.
    pub fn watch(&mut self, now: Duration, port: LocalPort, segment: SegmentId) {
        let place = Place { last: None, next: now, blocked_until: None };
        self.places.entry((port, segment)).or_insert(place);
    }

    /// Ends it. A port that was blocked is so no longer, which is not told.
    pub fn unwatch(&mut self, port: LocalPort, segment: SegmentId) {
        self.places.remove(&(port, segment));
    }

    /// Something at a port looks like a loop, say an address that was somewhere else just before: the next probe is due
    /// at once, or [`PROBE_HASTE`] behind the last.
    pub fn hurry(&mut self, now: Duration, port: LocalPort, segment: SegmentId) {
        if let Some(place) = self.places.get_mut(&(port, segment)) {
            let soonest = place.last.map_or(now, |last| now.max(last + PROBE_HASTE));
            place.next = place.next.min(soonest);
        }
    }

    /// Returns the next probe that is due and where it is to be sent, blocked or not: a loop stays known while
    /// it lasts.
    pub fn poll_transmit(
        &mut self,
        now: Duration,
    ) -> Option<(LocalPort, SegmentId, [u8; PROBE_LEN])> {
        let (&(port, segment), place) =
            self.places.iter_mut().find(|(_, place)| place.next <= now)?;
        place.last = Some(now);
        place.next = now + PROBE_EVERY;
        Some((port, segment, Probe { host: self.own, segment }.to_frame()))
    }

    /// Takes a probe that came in by a port, in the VLAN of a segment. `is_shared` tells whether a host is a peer
    /// that carries a segment together with this host; strangers' probes mean nothing.
    pub fn received(
        &mut self,
        now: Duration,
        port: LocalPort,
        segment: SegmentId,
        probe: Probe,
        is_shared: impl FnOnce(Probe) -> bool,
    ) -> Option<ProbeEvent> {
        let place = self.places.get_mut(&(port, segment))?;
        if probe.host != self.own && !is_shared(probe) {
            return None;
        }
        let before = place.blocked_until.replace(now + BLOCKED_FOR);
        before.is_none().then_some(ProbeEvent::Blocked { port, segment, probe })
    }

    /// Returns the next port that may be used again.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<ProbeEvent> {
        let (&(port, segment), place) = self
            .places
            .iter_mut()
            .find(|(_, place)| place.blocked_until.is_some_and(|until| until <= now))?;
        place.blocked_until = None;
        Some(ProbeEvent::Unblocked { port, segment })
    }

    /// Tells whether a port is blocked for a segment.
    pub fn is_blocked(&self, port: LocalPort, segment: SegmentId) -> bool {
        self.places.get(&(port, segment)).is_some_and(|place| place.blocked_until.is_some())
    }

    /// Returns when [`Probes::poll_transmit`] or [`Probes::handle_timeout`] has something.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let places = self.places.values();
        places.flat_map(|place| [Some(place.next), place.blocked_until]).flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const P1: LocalPort = LocalPort(1);

    fn key(of: u8) -> HostKey {
        HostKey::new([of; 32])
    }

    fn segment(id: u32) -> SegmentId {
        SegmentId::new(id).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_probe_stands_on_the_wire_as_documented() {
        let frame = Probe { host: key(7), segment: segment(5010) }.to_frame();
        assert_eq!(frame[..6], [3, 0x77, 0x65, 0x66, 0x74, 1]);
        assert_eq!(frame[6..14], [2, 7, 7, 7, 7, 7, 0x88, 0xb5]);
        assert_eq!(frame[14..26], *b"weftloop\x01\x92\x13\x00");
        assert_eq!((&frame[26..58], &frame[58..]), (&[7; 32][..], &[0, 0][..]));
        assert!(Probe::may_be(&frame));
        assert_eq!(Probe::read(&frame), Some(Probe { host: key(7), segment: segment(5010) }));
        assert_eq!(Probe::read(&frame[..57]), None);
    }

    #[test]
    fn every_port_probes_each_second_also_while_it_is_blocked() {
        let mut probes = Probes::new(key(1));
        for port in [1, 2] {
            probes.watch(at(10), LocalPort(port), segment(5));
        }
        for second in 10..20 {
            let mut sent = vec![];
            while let Some((port, _, frame)) = probes.poll_transmit(at(second)) {
                assert_eq!(Probe::read(&frame).map(|probe| probe.host), Some(key(1)));
                sent.push(port.0);
            }
            assert_eq!(sent, [1, 2]);
            let own = Probe { host: key(1), segment: segment(5) };
            probes.received(at(second), P1, segment(5), own, |_| false);
        }
    }

    #[test]
    fn what_looks_like_a_loop_is_probed_at_once_and_not_too_often() {
        let mut probes = Probes::new(key(1));
        probes.watch(at(0), P1, segment(5));
        probes.hurry(at(0), LocalPort(2), segment(5));
        let mut sent = vec![];
        for milli in 0..3000 {
            let now = Duration::from_millis(milli);
            if (1500..1550).contains(&milli) {
                probes.hurry(now, P1, segment(5));
            }
            while probes.poll_transmit(now).is_some() {
                sent.push(milli);
            }
        }
        assert_eq!(sent, [0, 1000, 1500, 1520, 1540, 1560, 2560]);
    }

    #[test]
    fn ones_own_probe_or_a_peers_blocks_and_a_strangers_does_not() {
        let peers = |probe: Probe| probe == Probe { host: key(2), segment: segment(5) };
        #[rustfmt::skip]
        let table = [
            // host, segment, blocks
            (1,      5,       true),
            (1,      6,       true),
            (2,      5,       true),
            (2,      6,       false),
            (3,      5,       false),
        ];
        for (host, of, blocks) in table {
            let mut probes = Probes::new(key(1));
            probes.watch(at(0), P1, segment(5));
            let probe = Probe { host: key(host), segment: segment(of) };
            let event = probes.received(at(0), P1, segment(5), probe, peers);
            let expected = ProbeEvent::Blocked { port: P1, segment: segment(5), probe };
            assert_eq!(event, blocks.then_some(expected), "{host} {of}");
            assert_eq!(probes.is_blocked(P1, segment(5)), blocks);
            // Another port of the same host, another segment of the same port.
            assert!(!probes.is_blocked(LocalPort(2), segment(5)));
            assert!(!probes.is_blocked(P1, segment(6)));
        }
    }

    #[test]
    fn a_blocked_port_is_tried_again_30_seconds_behind_the_last_probe() {
        let mut probes = Probes::new(key(1));
        probes.watch(at(0), P1, segment(5));
        let probe = Probe { host: key(1), segment: segment(5) };
        assert!(probes.received(at(0), P1, segment(5), probe, |_| false).is_some());
        assert!(probes.received(at(7), P1, segment(5), probe, |_| false).is_none());
        while probes.poll_transmit(at(36)).is_some() {}
        assert_eq!(probes.handle_timeout(at(36)), None);
        assert_eq!(probes.poll_timeout(), Some(at(37)));
        let unblocked = ProbeEvent::Unblocked { port: P1, segment: segment(5) };
        assert_eq!(probes.handle_timeout(at(37)), Some(unblocked));
        assert_eq!(probes.handle_timeout(at(37)), None);
        assert!(probes.received(at(38), P1, segment(5), probe, |_| false).is_some());
    }

    #[test]
    fn a_probe_where_nothing_is_watched_blocks_nothing() {
        let mut probes = Probes::new(key(1));
        let probe = Probe { host: key(1), segment: segment(5) };
        assert_eq!(probes.received(at(0), P1, segment(5), probe, |_| true), None);
        probes.watch(at(0), P1, segment(5));
        probes.unwatch(P1, segment(5));
        assert_eq!(probes.received(at(0), P1, segment(5), probe, |_| true), None);
        assert_eq!(probes.poll_timeout(), None);
    }

    proptest! {
        #[test]
        fn what_is_read_as_a_probe_says_what_was_sent(bytes in vec(any::<u8>(), 0..80), cut in 0usize..60) {
            let frame = [&Probe { host: key(1), segment: segment(9) }.to_frame()[..cut], &bytes].concat();
            if let Some(probe) = Probe::read(&frame) {
                prop_assert_eq!(&probe.to_frame()[14..58], &frame[14..58]);
            }
        }
    }
}
