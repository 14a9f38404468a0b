//! What a stream is still to send: whole frames with their lengths, finished in software, in one bounded buffer.

use std::collections::VecDeque;

use weft_core::DropReason;
use weft_offload::{Segments, finish_checksum};
use weft_vlan::{Gso, Head, Offload, Tags};

use crate::{BURST, Tally, egress::append};

/// Bytes that may wait for a slow reader.
const LIMIT: usize = 256 * 1024;
const LENGTH: usize = 4;

/// Frames on their way into a socket. A frame is in it whole or not at all, so that none is ever cut short.
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How many of `bytes` the socket has taken.
    sent: usize,
    /// The frames that the socket has not taken to their last byte, in order.
    waiting: VecDeque<Waiting>,
    /// A super-frame in one piece, before it is cut.
    whole: Vec<u8>,
}

/// A frame that is not sent yet.
struct Waiting {
    /// Where it ends in [`Outbox::bytes`].
    end: usize,
    /// Its length on the wire, for a super-frame before it was cut.
    len: usize,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(LIMIT),
            sent: 0,
            waiting: VecDeque::with_capacity(BURST),
            whole: Vec::new(),
        }
    }

    /// Returns what the socket is to take next.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Takes note of bytes that the socket has taken, and tallies the frames that are complete with them.
    pub(super) fn sent(&mut self, bytes: usize, tally: &mut Tally) {
        self.sent += bytes;
        while let Some(frame) = self.waiting.front().filter(|frame| frame.end <= self.sent) {
            tally.sent(frame.len);
            self.waiting.pop_front();
        }
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Drops what waits, for want of a peer.
    pub(super) fn clear(&mut self, tally: &mut Tally) {
        self.waiting.drain(..).for_each(|_| tally.dropped(DropReason::PortDown));
        self.bytes.clear();
        self.sent = 0;
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// [`DropReason::QueueFull`] when it would be more than may wait, [`DropReason::BadOffload`] when its metadata lies.
    pub(super) fn put(
        &mut self,
        head: &Head,
        rest: &[libc::iovec],
        tags: Tags,
    ) -> Result<(), DropReason> {
        let offload = head.offload().map_err(|_| DropReason::BadOffload)?;
        let len = head.untagged_len() + tags.wire_len();
        let needed = match offload.gso {
            Some(gso) => cut_len(len, gso, tags.wire_len()),
            None => LENGTH + len,
        };
        if self.pending().len() + needed > LIMIT {
            return Err(DropReason::QueueFull);
        }
        if self.bytes.len() + needed > LIMIT {
            self.bytes.drain(..self.sent);
            self.waiting.iter_mut().for_each(|frame| frame.end -= self.sent);
            self.sent = 0;
        }
        let begin = self.bytes.len();
        match offload.gso {
            Some(gso) => self.put_cut(gso, head, rest, tags),
            None => self.put_plain(offload, head, rest, tags),
        }
        .map_err(|()| {
            self.bytes.truncate(begin);
            DropReason::BadOffload
        })?;
        self.waiting.push_back(Waiting { end: self.bytes.len(), len });
        Ok(())
    }

    fn put_plain(
        &mut self,
        offload: Offload,
        head: &Head,
        rest: &[libc::iovec],
        tags: Tags,
    ) -> Result<(), ()> {
        let begin = self.bytes.len() + LENGTH;
        self.bytes.extend_from_slice(&[0; LENGTH]);
        append(&mut self.bytes, head, rest, tags);
        if let Some(csum) = offload.csum {
            finish_checksum(&mut self.bytes[begin..], csum, tags.wire_len()).map_err(|_| ())?;
        }
        put_length(&mut self.bytes, begin);
        Ok(())
    }

    fn put_cut(
        &mut self,
        gso: Gso,
        head: &Head,
        rest: &[libc::iovec],
        tags: Tags,
    ) -> Result<(), ()> {
        self.whole.clear();
        append(&mut self.whole, head, rest, tags);
        let mut segments = Segments::new(&self.whole, gso, tags.wire_len()).map_err(|_| ())?;
        loop {
            let begin = self.bytes.len() + LENGTH;
            self.bytes.extend_from_slice(&[0; LENGTH]);
            if segments.next_into(&mut self.bytes).is_none() {
                self.bytes.truncate(begin - LENGTH);
                return Ok(());
            }
            put_length(&mut self.bytes, begin);
        }
    }
}

/// Returns the bytes that a super-frame of `len` bytes takes with all its segments' headers and lengths.
fn cut_len(len: usize, gso: Gso, pushed: usize) -> usize {
    let headers = usize::from(gso.header_len) + pushed;
    let payload = len.saturating_sub(headers);
    payload + payload.div_ceil(usize::from(gso.size.max(1))) * (LENGTH + headers)
}

/// Writes the length of the frame that begins here and goes on to the end, in front of it.
fn put_length(bytes: &mut [u8], begin: usize) {
    let len = (bytes.len() - begin) as u32;
    bytes[begin - LENGTH..begin].copy_from_slice(&len.to_be_bytes());
}
