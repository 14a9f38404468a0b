//! A frame of a burst as plain bytes, copied front to back: for what has to change or to seal every byte.

use std::ptr;

use crate::{
    Burst, Job,
    egress::{FRONT_MAX, put_head},
};

/// Reads a frame with the tags that it leaves with.
pub struct Reader<'a> {
    front: [u8; FRONT_MAX],
    front_len: usize,
    len: usize,
    /// Bytes of the front that have been passed.
    passed: usize,
    rest: &'a [libc::iovec],
    /// Bytes of the first piece of the rest that have been passed.
    offset: usize,
}

impl Burst<'_> {
    /// Begins to read a frame.
    pub fn reader(&self, job: &Job) -> Reader<'_> {
        let frame = &self.frames()[usize::from(job.frame)];
        let mut front = [0; FRONT_MAX];
        let front_len = put_head(&mut front, &frame.head, job.tags);
        let len = frame.head.untagged_len() + job.tags.wire_len();
        Reader { front, front_len, len, passed: 0, rest: self.rest_of(frame), offset: 0 }
    }
}

impl Reader<'_> {
    /// Returns the first bytes of the frame, wherever reading has come to: tags, and all headers that were copied.
    pub fn front(&self) -> &[u8] {
        &self.front[..self.front_len]
    }

    /// Returns the bytes of the whole frame, tags included.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies the next bytes; returns how many there were.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let front = &self.front[self.passed..self.front_len];
        let from_front = front.len().min(into.len());
        into[..from_front].copy_from_slice(&front[..from_front]);
        self.passed += from_front;
        let into = &mut into[from_front..];
        let mut done = 0;
        self.pass(into.len(), |piece, len| {
            // SAFETY: the piece is of a burst's scatter list, which can be read while the burst is borrowed, and no
            // piece is longer than what is left of `into`.
            unsafe { ptr::copy_nonoverlapping(piece, into.as_mut_ptr().add(done), len) };
            done += len;
        });
        from_front + done
    }

    /// Passes over bytes.
    pub fn skip(&mut self, bytes: usize) {
        let in_front = bytes.min(self.front_len - self.passed);
        self.passed += in_front;
        self.pass(bytes - in_front, |_, _| {});
    }

    /// Passes over bytes of the rest, piece by piece; all pieces together are `bytes` long at most.
    fn pass(&mut self, bytes: usize, mut piece_passed: impl FnMut(*const u8, usize)) {
        let mut left = bytes;
        while left > 0
            && let [piece, others @ ..] = self.rest
        {
            let len = left.min(piece.iov_len - self.offset);
            // SAFETY: the offset is at most the length of the piece.
            piece_passed(unsafe { piece.iov_base.cast::<u8>().add(self.offset) }, len);
            left -= len;
            self.offset += len;
            if self.offset == piece.iov_len {
                (self.rest, self.offset) = (others, 0);
            }
        }
    }
}
