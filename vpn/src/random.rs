//! Where randomness comes from: the caller. Everything drawn here ends in keys, indices, nonces or jitter.

/// A source of random bytes that nobody else can guess.
///
/// It has no way to fail: a source that cannot deliver must not return.
pub trait Random {
    /// Overwrites all of `out`.
    fn fill(&mut self, out: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, out: &mut [u8]) {
        self(out);
    }
}

/// A random number of `N` bytes, for use with `from_le_bytes`.
pub(crate) fn draw<const N: usize>(random: &mut impl Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}
