//! The Internet checksum. RFC 1071. Knows no protocol: where a sum starts and where it goes is the caller's.

use weft_vlan::{BadOffload, Csum};

/// Bytes that are added at once; independent lanes, so that the compiler uses vector registers.
const STRIDE: usize = 64;
const LANES: usize = STRIDE / 4;

/// Returns the ones' complement sum of the bytes as 16-bit words in network order, not complemented; an odd
/// last byte counts as if a zero followed.
pub fn sum(bytes: &[u8]) -> u16 {
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    let mut lanes = [0u64; LANES];
    for stride in strides {
        let (words, _) = stride.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, tail) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    total += u64::from(u32::from_ne_bytes(last));
    // The sum does not depend on byte order (RFC 1071 §2 B): the folded bytes are those of the network.
    u16::from_be(fold(total))
}

/// Adds the carries back until sixteen bits are left.
pub(crate) fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}

/// Returns what stands in a checksum field for this sum. A zero is written as 0xffff, which is the same number
/// in ones' complement: UDP takes 0 for "no checksum" (RFC 768), and nobody else can tell them apart.
pub(crate) fn field(total: u64) -> [u8; 2] {
    match !fold(total) {
        0 => [0xff, 0xff],
        complement => complement.to_be_bytes(),
    }
}

/// Finishes the checksum of a frame that has `pushed` bytes of tags in front of what `csum` counts.
///
/// # Errors
/// [`BadOffload`] when the checksum lies outside the frame, which is then as it was.
pub fn finish_checksum(frame: &mut [u8], csum: Csum, pushed: usize) -> Result<(), BadOffload> {
    let start = usize::from(csum.start) + pushed;
    let at = start + usize::from(csum.offset);
    if at + 2 > frame.len() {
        return Err(BadOffload);
    }
    let checksum = field(sum(&frame[start..]).into());
    frame[at..at + 2].copy_from_slice(&checksum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §4.1, word for word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total >> 16) + (total & 0xffff);
        }
        total as u16
    }

    proptest! {
        #[test]
        fn the_sum_is_the_naive_one(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            prop_assert_eq!(sum(&bytes), naive(&bytes));
        }
    }

    #[test]
    fn the_sum_of_the_largest_frame_of_ones_does_not_overflow() {
        for len in [0, 1, 63, 64, 65, 65_535, 70 * 1024] {
            let ones = vec![0xff; len];
            assert_eq!(sum(&ones), naive(&ones), "{len}");
        }
    }

    // RFC 1071 §3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn a_datagram_whose_sum_is_zero_says_ffff() {
        let csum = Csum { start: 2, offset: 6 };
        let mut frame = [0xaa, 0xaa, 0xff, 0xff, 0, 0, 0, 0, 0, 0];
        assert_eq!(finish_checksum(&mut frame, csum, 0), Ok(()));
        assert_eq!(frame, [0xaa, 0xaa, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff]);
    }

    #[test]
    fn a_checksum_outside_the_frame_touches_nothing() {
        for (start, offset) in [(0, 9), (9, 0), (10, 0), (11, 0), (u16::MAX, u16::MAX)] {
            let mut frame = [0x55; 10];
            assert_eq!(finish_checksum(&mut frame, Csum { start, offset }, 0), Err(BadOffload));
            assert_eq!(
                finish_checksum(&mut frame, Csum { start: 0, offset: 5 }, 4),
                Err(BadOffload)
            );
            assert_eq!(frame, [0x55; 10]);
        }
    }
}
