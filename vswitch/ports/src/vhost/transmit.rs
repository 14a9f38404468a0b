//! Frames for a guest: into its receive ring, each copied once from where it lies, which may be another guest's memory.
//! What the driver did not agree to take undone is finished here.

use std::{ops::Range, ptr, slice, sync::Arc};

use weft_core::DropReason;
use weft_offload::{Segments, VnetHeader, finish_checksum};
use weft_vlan::{Head, Offload, TAG_LEN, Tags};
use zerocopy::IntoBytes;

use super::{
    device::{Device, State},
    features::{HEADER_MAX, Ip},
    inflight::Notes,
    piece::{AHEAD, Access, Piece},
    ring::{Broken, Direction, PIECES_MAX, Ring, Setting},
};
use crate::{
    BURST, Burst, Job, Tally, Transmit,
    egress::{FRONT_MAX, append, put_head, write_head},
};

/// Buffers that one frame may fill; the smallest that a driver uses for frames of 64 KiB are larger than this needs.
const BUFFERS_MAX: usize = 256;
/// Pieces behind which no buffer is looked for before its turn comes.
const AHEAD_PIECES: usize = 4 * BURST;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The sending side of one queue pair.
pub(super) struct ToGuest {
    device: Arc<Device>,
    index: usize,
    writer: Writer,
    /// A frame in one piece, before it is finished.
    whole: Vec<u8>,
    segment: Vec<u8>,
}

/// Writes frames into buffers.
struct Writer {
    /// Buffers that were found, the next one of the ring behind those that are `given_back`.
    buffers: Vec<Buffer>,
    given_back: usize,
    pieces: Vec<Piece>,
    header_len: usize,
    /// Whether a frame may fill several buffers.
    merges: bool,
    /// Buffers that wait, as far as it is known.
    waiting: usize,
}

/// A buffer that was found.
struct Buffer {
    head: u16,
    room: usize,
    /// Where its pieces end.
    end: usize,
}

/// The buffers that a frame fills, and their pieces.
struct Room {
    buffers: Range<usize>,
    pieces: Range<usize>,
}

// SAFETY: the pointers in `pieces` are only followed within one call of `send`, which writes them first.
unsafe impl Send for Writer {}

/// Why a frame was not written.
enum Unwritten {
    Dropped(DropReason),
    Broken(Broken),
}

impl From<Broken> for Unwritten {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What frames are written into: the ring with what it lies in.
struct Place<'s> {
    ring: &'s mut Ring,
    setting: &'s Setting,
    notes: Option<&'s mut Notes>,
}

impl ToGuest {
    pub(super) fn new(device: Arc<Device>, index: usize) -> Self {
        let writer = Writer {
            buffers: Vec::with_capacity(BUFFERS_MAX),
            given_back: 0,
            pieces: Vec::with_capacity(BURST),
            header_len: 0,
            merges: false,
            waiting: 0,
        };
        Self { device, index, writer, whole: Vec::new(), segment: Vec::new() }
    }

    /// Sends a burst into one ring, when that is in operation.
    fn send_into(
        &mut self,
        state: &mut State,
        burst: &Burst<'_>,
        jobs: &[Job],
        tally: &mut Tally,
    ) -> bool {
        let features = state.features;
        if !state.enabled || state.is_cut(&self.device) {
            return false;
        }
        let Some((ring, setting, notes)) = state.working() else { return false };
        ring.silence(setting);
        let mut place = Place { ring, setting, notes };
        (self.writer.header_len, self.writer.merges) = (features.header_len(), features.merges());
        self.writer.begin(&mut place, jobs.len());
        let mut broken = None;
        for (position, job) in jobs.iter().enumerate() {
            self.writer.look_ahead(&mut place);
            let frame = &burst.frames()[usize::from(job.frame)];
            let rest = burst.rest_of(frame);
            let len = frame.head.untagged_len() + job.tags.wire_len();
            let written = match frame.head.offload() {
                Ok(Offload::NONE) => {
                    let header = VnetHeader::default();
                    self.writer.write(&mut place, &header, &frame.head, rest, job.tags)
                }
                Ok(offload) if features.takes(offload, ip_of(&frame.head)) => {
                    let header = VnetHeader::announce(offload, job.tags.wire_len());
                    self.writer.write(&mut place, &header, &frame.head, rest, job.tags)
                }
                Ok(offload) => self.finish(&mut place, offload, &frame.head, rest, job.tags),
                Err(_) => Err(Unwritten::Dropped(DropReason::BadOffload)),
            };
            match written {
                Ok(()) => tally.sent(len),
                Err(Unwritten::Dropped(reason)) => tally.lost(job, reason),
                Err(Unwritten::Broken(reason)) => {
                    broken = Some(reason);
                    jobs[position..].iter().for_each(|job| tally.lost(job, DropReason::PortDown));
                    break;
                }
            }
        }
        state.publish();
        if let Some(broken) = broken {
            state.fail(broken, &self.device);
        }
        true
    }

    /// Finishes a frame in software and writes what comes of it.
    fn finish(
        &mut self,
        place: &mut Place<'_>,
        offload: Offload,
        head: &Head,
        rest: &[libc::iovec],
        tags: Tags,
    ) -> Result<(), Unwritten> {
        let bad = |_| Unwritten::Dropped(DropReason::BadOffload);
        let pushed = tags.wire_len();
        self.whole.clear();
        append(&mut self.whole, head, rest, tags);
        let Some(gso) = offload.gso else {
            if let Some(csum) = offload.csum {
                finish_checksum(&mut self.whole, csum, pushed).map_err(bad)?;
            }
            return self.writer.write_plain(place, &self.whole);
        };
        let mut segments = Segments::new(&self.whole, gso, pushed).map_err(bad)?;
        loop {
            self.segment.clear();
            if segments.next_into(&mut self.segment).is_none() {
                return Ok(());
            }
            self.writer.write_plain(place, &self.segment)?;
        }
    }
}

impl Transmit for ToGuest {
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        let device = self.device.clone();
        // The worker's own ring, or the first that the guest uses when it uses fewer.
        let own = self.index;
        let others = (0..device.slots().len()).step_by(2).filter(|&index| index != own);
        for index in std::iter::once(own).chain(others) {
            if self.send_into(&mut device.slot(index).lock(), burst, jobs, tally) {
                return;
            }
        }
        jobs.iter().for_each(|job| tally.lost(job, DropReason::PortDown));
    }

    fn flush(&mut self, _: &mut Tally) {}

    fn close(&mut self, _: &mut Tally) {}

    fn backlog(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

impl Writer {
    /// Begins to fill the ring with so many frames.
    fn begin(&mut self, place: &mut Place<'_>, frames: usize) {
        self.forget();
        // What is wrong with it is found when a buffer is needed.
        self.waiting = place.ring.waiting().unwrap_or(0);
        place.ring.fetch_used(frames.min(self.waiting));
        for _ in 0..frames.min(AHEAD) {
            self.look_ahead(place);
        }
    }

    /// Finds one more buffer, where that is worth it, so that its memory is on the way to the cache when its turn comes.
    /// What is wrong with it is found then.
    #[inline]
    fn look_ahead(&mut self, place: &mut Place<'_>) {
        let ahead = self.buffers.len() - self.given_back;
        if ahead >= AHEAD.min(self.waiting) || self.pieces.len() >= AHEAD_PIECES {
            return;
        }
        let begin = self.pieces.len();
        match self.find(place) {
            Ok(()) => {
                if let Some(first) = self.pieces.get(begin) {
                    first.fetch(Access::Write);
                }
            }
            Err(_) => self.pieces.truncate(begin),
        }
    }

    fn forget(&mut self) {
        self.buffers.clear();
        self.pieces.clear();
        self.given_back = 0;
    }

    /// Finds the next buffer. It is not taken yet.
    #[inline]
    fn find(&mut self, place: &mut Place<'_>) -> Result<(), Broken> {
        let head = place.ring.peek(self.buffers.len() - self.given_back)?;
        let memory = &place.setting.memory;
        let room = place.ring.pieces(memory, head, Direction::ToGuest, &mut self.pieces)?;
        self.buffers.push(Buffer { head, room, end: self.pieces.len() });
        Ok(())
    }

    /// Writes a finished frame.
    fn write_plain(&mut self, place: &mut Place<'_>, frame: &[u8]) -> Result<(), Unwritten> {
        let len = self.header_len + frame.len();
        let room = self.reserve(place, len)?;
        let mut cursor = Cursor::new(&self.pieces[room.pieces.clone()]);
        cursor.put_header(&VnetHeader::default(), self.header_len, room.buffers.len());
        cursor.put(frame);
        self.give_back(place, room, len);
        Ok(())
    }

    /// Writes a frame with the work that is left to the driver.
    #[inline]
    fn write(
        &mut self,
        place: &mut Place<'_>,
        header: &VnetHeader,
        head: &Head,
        rest: &[libc::iovec],
        tags: Tags,
    ) -> Result<(), Unwritten> {
        let len = self.header_len + head.untagged_len() + tags.wire_len();
        let room = self.reserve(place, len)?;
        let mut cursor = Cursor::new(&self.pieces[room.pieces.clone()]);
        cursor.put_header(header, self.header_len, room.buffers.len());
        cursor.put_head(head, tags);
        for piece in rest {
            // SAFETY: the pieces of a burst's scatter list can be read while the burst is borrowed.
            unsafe { cursor.put_from(piece.iov_base.cast(), piece.iov_len) };
        }
        self.give_back(place, room, len);
        Ok(())
    }

    /// Finds buffers with this much room. They are not taken yet.
    #[inline]
    fn reserve(&mut self, place: &mut Place<'_>, needed: usize) -> Result<Room, Unwritten> {
        if self.given_back == self.buffers.len() {
            self.forget();
        }
        let first = self.given_back;
        let begin = first.checked_sub(1).map_or(0, |before| self.buffers[before].end);
        let (mut room, mut end) = (0, first);
        while room < needed {
            let ahead = end - first;
            if ahead == 1 && !self.merges {
                return Err(Unwritten::Dropped(DropReason::Oversize));
            }
            // They would be looked through again for each frame to come.
            if ahead == BUFFERS_MAX {
                return Err(Broken::Roomless(BUFFERS_MAX).into());
            }
            if end == self.buffers.len() {
                if ahead >= self.waiting {
                    self.waiting = place.ring.waiting()?;
                    if ahead >= self.waiting {
                        return Err(Unwritten::Dropped(DropReason::QueueFull));
                    }
                }
                self.find(place)?;
            }
            let found = &self.buffers[end];
            if found.end - begin > PIECES_MAX {
                return Err(Broken::Shredded.into());
            }
            room += found.room;
            end += 1;
        }
        let pieces = begin..self.buffers[end - 1].end;
        Ok(Room { buffers: first..end, pieces })
    }

    /// Gives back the buffers that a frame of this length was written to.
    #[inline]
    fn give_back(&mut self, place: &mut Place<'_>, room: Room, len: usize) {
        if let Some(log) = &place.setting.log {
            let mut left = len;
            for piece in &self.pieces[room.pieces] {
                log.mark(piece.guest, piece.len.min(left));
                left -= piece.len.min(left);
            }
        }
        let mut left = len;
        place.ring.take(room.buffers.len());
        // A driver may have taken back meanwhile what it had offered, which is found when it is counted again.
        self.waiting = self.waiting.saturating_sub(room.buffers.len());
        self.given_back = room.buffers.end;
        for &Buffer { head, room, .. } in &self.buffers[room.buffers] {
            let written = room.min(left);
            left -= written;
            if let Some(notes) = &mut place.notes {
                notes.taken(head);
                notes.given_back(head);
            }
            place.ring.give_back(head, written as u32);
        }
    }
}

/// Where the next bytes of a frame go. The pieces have room for all of it.
struct Cursor<'p> {
    pieces: slice::Iter<'p, Piece>,
    at: *mut u8,
    left: usize,
}

impl<'p> Cursor<'p> {
    #[inline]
    fn new(pieces: &'p [Piece]) -> Self {
        let mut pieces = pieces.iter();
        let (at, left) =
            pieces.next().map_or((ptr::null_mut(), 0), |first| (first.begin, first.len));
        Self { pieces, at, left }
    }

    /// Writes the header in front of a frame that fills so many buffers.
    #[inline]
    fn put_header(&mut self, header: &VnetHeader, len: usize, buffers: usize) {
        let mut bytes = [0; HEADER_MAX];
        bytes[..VnetHeader::LEN].copy_from_slice(header.as_bytes());
        bytes[VnetHeader::LEN..].copy_from_slice(&(buffers as u16).to_le_bytes());
        if len == HEADER_MAX && self.left >= HEADER_MAX {
            // SAFETY: the piece has room for it.
            unsafe { self.at.cast::<[u8; HEADER_MAX]>().write(bytes) };
            self.pass(HEADER_MAX);
        } else {
            self.put(&bytes[..len]);
        }
    }

    /// Writes a head with these tags.
    #[inline]
    fn put_head(&mut self, head: &Head, tags: Tags) {
        if self.left >= FRONT_MAX {
            // SAFETY: the piece has room for the longest head and the most tags.
            let len = unsafe { write_head(self.at, head, tags) };
            self.pass(len);
        } else {
            let mut front = [0; FRONT_MAX];
            let len = put_head(&mut front, head, tags);
            self.put(&front[..len]);
        }
    }

    /// Goes on behind bytes of the piece.
    #[inline]
    fn pass(&mut self, bytes: usize) {
        self.at = self.at.wrapping_add(bytes);
        self.left -= bytes;
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        // SAFETY: a slice can be read.
        unsafe { self.put_from(bytes.as_ptr(), bytes.len()) };
    }

    /// Copies bytes.
    ///
    /// # Safety
    /// `len` bytes can be read from here.
    #[inline]
    unsafe fn put_from(&mut self, mut from: *const u8, mut len: usize) {
        while len > 0 {
            if self.left == 0 {
                let Some(piece) = self.pieces.next() else { return };
                (self.at, self.left) = (piece.begin, piece.len);
            }
            let copied = len.min(self.left);
            // SAFETY: the caller says that the bytes can be read, and the piece, which lies in the guest's mapped
            // memory, has room for them. Both may be the same memory: the guest gets what it made.
            unsafe {
                ptr::copy(from, self.at, copied);
                from = from.add(copied);
            }
            self.pass(copied);
            len -= copied;
        }
    }
}

fn ip_of(head: &Head) -> Ip {
    // A customer's tags stand in front of the EtherType that says it.
    let bytes = head.bytes();
    let mut at = 12;
    while let Some([0x81, 0x00] | [0x88, 0xa8]) = bytes.get(at..at + 2) {
        at += TAG_LEN;
    }
    let is_v6 = bytes.get(at..at + 2) == Some(&ETHERTYPE_IPV6.to_be_bytes()[..]);
    if is_v6 { Ip::V6 } else { Ip::V4 }
}
