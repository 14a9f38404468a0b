//! Repeatable randomness: splitmix64.

use std::{ops::Range, time::Duration};

use weft_vpn::Random;

/// Where everything that happens by chance comes from.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always fall the same for one seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must have nothing in common from the first roll on.
        let mut dice = Self(seed);
        Self(dice.roll())
    }

    /// Rolls a number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Rolls a number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// Rolls an index of a list of `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Says yes in so many of a thousand cases.
    pub fn permille(&mut self, cases: u64) -> bool {
        self.below(1000) < cases
    }

    /// Rolls a time.
    pub fn between(&mut self, range: Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_nanos() as u64;
        range.start + Duration::from_nanos(self.below(width.max(1)))
    }

    /// Rolls a time of so many milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        self.between(Duration::from_millis(range.start)..Duration::from_millis(range.end))
    }

    /// Other dice that these decide on.
    pub fn fork(&mut self) -> Self {
        Self::new(self.roll())
    }
}

impl Random for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.roll().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
