//! How many initiations one source may make this host compute with, under load. Bounded, whoever comes: sources
//! share buckets by a keyed hash, an IPv6 network of 64 bits counts as one source.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::Blake2sMac;
use blake2::digest::consts::U8;
use blake2::digest::{FixedOutput, KeyInit, Update};

use crate::Random;
use crate::random::draw;

const BUCKETS: usize = 4096;
/// What a source may ask at once.
const BURST: u32 = 5;
/// And then one each of these.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often each source may make this host compute: a burst of 5, and then one each 50 ms.
pub struct SourceLimit {
    key: [u8; 32],
    /// When each bucket will be empty again.
    buckets: Box<[Duration]>,
}

impl SourceLimit {
    /// Sets the memory aside, whose size does not depend on who comes.
    pub fn new(random: &mut impl Random) -> Self {
        Self { key: draw(random), buckets: vec![Duration::ZERO; BUCKETS].into() }
    }

    /// Whether a message from there may be computed with now; if so, it counts.
    pub fn admits(&mut self, now: Duration, from: SocketAddr) -> bool {
        let mut hash = <Blake2sMac<U8> as KeyInit>::new_from_slice(&self.key).expect("32 bytes");
        match from.ip().to_canonical() {
            IpAddr::V4(address) => hash.update(&address.octets()),
            IpAddr::V6(address) => hash.update(&address.octets()[..8]),
        }
        let hash = u64::from_le_bytes(hash.finalize_fixed().into());
        let bucket = &mut self.buckets[hash as usize % BUCKETS];
        let empty = (*bucket).max(now) + INTERVAL;
        if empty > now + INTERVAL * BURST {
            return false;
        }
        *bucket = empty;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::Dice;

    #[test]
    fn a_source_has_a_burst_and_then_its_rate_and_costs_others_nothing() {
        let mut limit = SourceLimit::new(&mut Dice::new(1));
        let from = |text: &str| text.parse::<SocketAddr>().unwrap();
        let now = Duration::from_secs(9);
        let admitted = |limit: &mut SourceLimit, now, from| {
            (0..100).filter(|_| limit.admits(now, from)).count()
        };
        assert_eq!(admitted(&mut limit, now, from("192.0.2.1:1")), 5);
        // Another port, and the same address by an IPv6 socket, are the same source.
        assert_eq!(admitted(&mut limit, now, from("192.0.2.1:2")), 0);
        assert_eq!(admitted(&mut limit, now, from("[::ffff:192.0.2.1]:1")), 0);
        assert_eq!(admitted(&mut limit, now + INTERVAL * 2, from("192.0.2.1:1")), 2);
        assert_eq!(admitted(&mut limit, now, from("192.0.2.2:1")), 5);
        assert_eq!(admitted(&mut limit, now, from("[2001:db8::1]:1")), 5);
        assert_eq!(admitted(&mut limit, now, from("[2001:db8::2]:1")), 0);
        assert_eq!(admitted(&mut limit, now, from("[2001:db8:0:1::1]:1")), 5);
    }
}
