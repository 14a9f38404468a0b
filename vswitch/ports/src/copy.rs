//! Copies of heads: few bytes, whose number is not known before. A call of the C library's copy costs more than they do.

use std::ptr;

/// Copies bytes; up to 128 without a call.
///
/// # Safety
/// `len` bytes can be read from `from` and written to `to`, and they are not the same memory.
#[inline(always)]
pub(crate) unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller says so, and no end is longer than the whole.
    unsafe {
        match len {
            33..=64 => copy_ends::<32>(from, to, len),
            65..=128 => copy_ends::<64>(from, to, len),
            17..=32 => copy_ends::<16>(from, to, len),
            _ => ptr::copy_nonoverlapping(from, to, len),
        }
    }
}

/// Copies the first and the last `N` bytes, which are all when there are no more than twice as many.
///
/// # Safety
/// As for [`copy_short`], with `N` bytes at least.
#[inline(always)]
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let last = len - N;
    // SAFETY: the caller says so.
    unsafe {
        ptr::copy_nonoverlapping(from, to, N);
        ptr::copy_nonoverlapping(from.add(last), to.add(last), N);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_whole_and_nothing_beside_it() {
        let source: Vec<u8> = (0..200).map(|at| at as u8 | 1).collect();
        for len in 0..source.len() {
            let mut target = vec![0; source.len() + 2];
            // SAFETY: the target has room for one byte more on either side.
            unsafe { copy_short(source.as_ptr(), target.as_mut_ptr().add(1), len) };
            assert_eq!(target[1..=len], source[..len]);
            assert_eq!((target[0], target[len + 1]), (0, 0), "{len}");
        }
    }
}
