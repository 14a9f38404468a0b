//! Frames for a guest: into its receive ring, each copied once from where it lies, which may be another guest's memory.
//! What the driver did not agree to take undone is finished here.

use std::{ptr, slice, sync::Arc};

use weft_core::DropReason;
use weft_offload::{Segments, VnetHeader, finish_checksum};
use weft_vlan::{HEAD_MAX, Head, Offload, TAG_LEN, Tags};
use zerocopy::IntoBytes;

use super::{
    device::{Device, State},
    features::Ip,
    inflight::Notes,
    ring::{Broken, Direction, PIECES_MAX, Piece, Ring, Setting},
};
use crate::{
    BURST, Burst, Job, Tally, Transmit,
    egress::{append, put_head},
};

/// Buffers that one frame may fill; the smallest that a driver uses for frames of 64 KiB are larger than this needs.
const BUFFERS_MAX: usize = 256;
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
    pieces: Vec<Piece>,
    /// The buffers that a frame fills: head, and bytes of room.
    buffers: Vec<(u16, usize)>,
    header_len: usize,
    /// Whether a frame may fill several buffers.
    merges: bool,
    /// Buffers that wait, as far as it is known.
    waiting: usize,
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
            pieces: Vec::with_capacity(BURST),
            buffers: Vec::with_capacity(BUFFERS_MAX),
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
        ring.fetch(&setting.memory, jobs.len());
        let mut place = Place { ring, setting, notes };
        (self.writer.header_len, self.writer.merges) = (features.header_len(), features.merges());
        self.writer.waiting = 0;
        let mut broken = None;
        for (position, job) in jobs.iter().enumerate() {
            let frame = &burst.frames()[usize::from(job.frame)];
            let rest = burst.rest_of(frame);
            let len = frame.head.untagged_len() + job.tags.wire_len();
            let written = match frame.head.offload() {
                Ok(offload) if features.takes(offload, ip_of(&frame.head)) => {
                    let header = VnetHeader::announce(offload, job.tags.wire_len());
                    self.writer.write(&mut place, &header, &frame.head, rest, job.tags)
                }
                Ok(offload) => self.finish(&mut place, offload, &frame.head, rest, job.tags),
                Err(_) => Err(Unwritten::Dropped(DropReason::BadOffload)),
            };
            match written {
                Ok(()) => tally.sent(len),
                Err(Unwritten::Dropped(reason)) => tally.dropped(reason),
                Err(Unwritten::Broken(reason)) => {
                    broken = Some(reason);
                    jobs[position..].iter().for_each(|_| tally.dropped(DropReason::PortDown));
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
        jobs.iter().for_each(|_| tally.dropped(DropReason::PortDown));
    }

    fn flush(&mut self, _: &mut Tally) {}

    fn close(&mut self, _: &mut Tally) {}

    fn backlog(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

impl Writer {
    /// Writes a finished frame.
    fn write_plain(&mut self, place: &mut Place<'_>, frame: &[u8]) -> Result<(), Unwritten> {
        self.reserve(place, self.header_len + frame.len())?;
        let mut cursor = Cursor::new(&self.pieces);
        self.put_header(&mut cursor, &VnetHeader::default());
        cursor.put(frame);
        self.give_back(place, self.header_len + frame.len());
        Ok(())
    }

    /// Writes a frame with the work that is left to the driver.
    fn write(
        &mut self,
        place: &mut Place<'_>,
        header: &VnetHeader,
        head: &Head,
        rest: &[libc::iovec],
        tags: Tags,
    ) -> Result<(), Unwritten> {
        let len = self.header_len + head.untagged_len() + tags.wire_len();
        self.reserve(place, len)?;
        let mut front = [0; HEAD_MAX + 2 * TAG_LEN];
        let front_len = put_head(&mut front, head, tags);
        let mut cursor = Cursor::new(&self.pieces);
        self.put_header(&mut cursor, header);
        cursor.put(&front[..front_len]);
        for piece in rest {
            // SAFETY: the pieces of a burst's scatter list can be read while the burst is borrowed.
            unsafe { cursor.put_from(piece.iov_base.cast(), piece.iov_len) };
        }
        self.give_back(place, len);
        Ok(())
    }

    fn put_header(&self, cursor: &mut Cursor<'_>, header: &VnetHeader) {
        let mut bytes = [0; 12];
        bytes[..VnetHeader::LEN].copy_from_slice(header.as_bytes());
        bytes[VnetHeader::LEN..].copy_from_slice(&(self.buffers.len() as u16).to_le_bytes());
        cursor.put(&bytes[..self.header_len]);
    }

    /// Finds buffers with this much room. They are not taken yet.
    #[inline]
    fn reserve(&mut self, place: &mut Place<'_>, needed: usize) -> Result<(), Unwritten> {
        self.pieces.clear();
        self.buffers.clear();
        let mut room = 0;
        while room < needed {
            let ahead = self.buffers.len();
            if ahead == 1 && !self.merges {
                return Err(Unwritten::Dropped(DropReason::Oversize));
            }
            // They would be looked through again for each frame to come.
            if ahead == BUFFERS_MAX {
                return Err(Broken::Roomless(BUFFERS_MAX).into());
            }
            if ahead >= self.waiting {
                self.waiting = place.ring.waiting()?;
                if ahead >= self.waiting {
                    return Err(Unwritten::Dropped(DropReason::QueueFull));
                }
            }
            let head = place.ring.peek(ahead)?;
            let memory = &place.setting.memory;
            let len = place.ring.pieces(memory, head, Direction::ToGuest, &mut self.pieces)?;
            if self.pieces.len() > PIECES_MAX {
                return Err(Broken::Shredded.into());
            }
            self.buffers.push((head, len));
            room += len;
        }
        Ok(())
    }

    /// Gives back the buffers that a frame of this length was written to.
    fn give_back(&mut self, place: &mut Place<'_>, len: usize) {
        if let Some(log) = &place.setting.log {
            let mut left = len;
            for piece in &self.pieces {
                log.mark(piece.guest, piece.len.min(left));
                left -= piece.len.min(left);
            }
        }
        let mut left = len;
        place.ring.take(self.buffers.len());
        self.waiting -= self.buffers.len();
        for &(head, room) in &self.buffers {
            let written = room.min(left);
            left -= written;
            if let Some(notes) = &mut place.notes {
                notes.taken(head);
                notes.given_back(head);
            }
            place.ring.give_back(head, written as u32, place.setting);
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
    fn new(pieces: &'p [Piece]) -> Self {
        Self { pieces: pieces.iter(), at: ptr::null_mut(), left: 0 }
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
            // memory, has room for them. Should both be the same memory, mapped twice, the guest gets what it made.
            unsafe {
                ptr::copy_nonoverlapping(from, self.at, copied);
                from = from.add(copied);
                self.at = self.at.add(copied);
            }
            (len, self.left) = (len - copied, self.left - copied);
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
