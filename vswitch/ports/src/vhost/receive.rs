//! Frames that a guest sends: from its transmit ring. A burst's payload stays in the guest's memory; only heads are
//! copied, once, and those copies are what is decided on and delivered. The buffers go back to the guest with the next
//! call, when nobody uses the burst any more.

use std::{
    os::fd::BorrowedFd,
    ptr,
    sync::{
        Arc,
        atomic::{Ordering, compiler_fence},
    },
};

use weft_core::DropReason;
use weft_offload::VnetHeader;
use weft_vlan::Head;
use zerocopy::FromBytes;

use super::{
    device::{Device, Slot, State},
    features::HEADER_MAX,
    memory::Memory,
    piece::{AHEAD, Access, Piece},
    ring::{Broken, Direction},
};
use crate::{
    BURST, Burst, Fault, Receive, Scratch,
    copy::copy_short,
    queue::{ARENA_BUDGET, Arrivals, CACHE_LINE, LARGEST_FRAME, check_offload},
};

/// Pieces of a frame that are left where they are; one in more pieces is copied together, since no system call takes
/// as many as a guest may make.
const LEFT_MAX: usize = 64;
/// Pieces behind which a burst ends: as many as frames of a few pieces each have. Each costs time, and whoever makes
/// frames of a thousand may have no more of it than others.
const BURST_PIECES: usize = BURST * 4;
const RARP_LEN: usize = 60;

/// The receiving side of one queue pair.
pub(super) struct FromGuest {
    device: Arc<Device>,
    index: usize,
    heads: Vec<u16>,
    /// The ring that the heads are of.
    generation: u64,
    /// What the burst's payload lies in.
    memory: Option<Arc<Memory>>,
    pieces: Vec<Piece>,
    /// Where the pieces of each buffer end, and its bytes.
    buffers: Vec<(usize, usize)>,
}

// SAFETY: the pointers in `pieces` are only followed within one call of `receive`, which writes them first.
unsafe impl Send for FromGuest {}

impl FromGuest {
    pub(super) fn new(device: Arc<Device>, index: usize) -> Self {
        Self {
            device,
            index,
            heads: Vec::with_capacity(BURST),
            generation: 0,
            memory: None,
            pieces: Vec::with_capacity(BURST),
            buffers: Vec::with_capacity(BURST),
        }
    }

    /// Gives back the buffers of the last burst.
    fn release(&mut self, slot: &Slot, state: &mut State) {
        if !self.heads.is_empty() {
            if state.generation == self.generation
                && let State { ring: Some(ring), notes, .. } = state
            {
                for &head in &self.heads {
                    ring.give_back(head, 0);
                    if let Some(notes) = notes {
                        notes.given_back(head);
                    }
                }
                state.publish();
                slot.all_returned(state);
            }
            self.heads.clear();
        }
        self.memory = None;
    }

    /// Takes the frames that wait, as many as a burst may have.
    fn take(&mut self, state: &mut State, scratch: &mut Filling<'_>) -> Result<(), Broken> {
        let header_len = state.features.header_len();
        let enabled = state.enabled;
        let Some((ring, setting, mut notes)) = state.working() else { return Ok(()) };
        let waiting = ring.waiting()?.min(BURST);
        if waiting == 0 {
            return Ok(());
        }
        ring.silence(setting);
        ring.fetch_used(waiting);
        self.pieces.clear();
        self.buffers.clear();
        // What this counts is no less than what frames that are copied together take of the arena.
        let (mut result, mut bytes) = (Ok(()), scratch.used);
        while self.heads.len() < waiting && bytes < ARENA_BUDGET && self.pieces.len() < BURST_PIECES
        {
            let begin = self.pieces.len();
            let next = ring.peek(self.heads.len()).and_then(|head| {
                let total =
                    ring.pieces(&setting.memory, head, Direction::FromGuest, &mut self.pieces)?;
                Ok((head, total))
            });
            let (head, total) = match next {
                Ok(next) => next,
                Err(broken) => {
                    result = Err(broken);
                    break;
                }
            };
            if let Some(first) = self.pieces.get(begin) {
                first.fetch(Access::Read);
            }
            bytes += total.min(LARGEST_FRAME).next_multiple_of(CACHE_LINE);
            self.heads.push(head);
            self.buffers.push((self.pieces.len(), total));
            if let Some(notes) = &mut notes {
                notes.taken(head);
            }
            if enabled && self.buffers.len() > AHEAD {
                self.read(self.buffers.len() - AHEAD - 1, scratch, header_len);
            }
        }
        // A ring that is not enabled is emptied without effect.
        if enabled {
            for left in self.buffers.len().saturating_sub(AHEAD)..self.buffers.len() {
                self.read(left, scratch, header_len);
            }
        }
        ring.take(self.heads.len());
        if !self.heads.is_empty() {
            self.memory = Some(setting.memory.clone());
            (self.generation, state.outstanding) = (state.generation, self.heads.len());
        }
        result
    }

    /// Adds the frame in a buffer that was found.
    #[inline]
    fn read(&self, buffer: usize, scratch: &mut Filling<'_>, header_len: usize) {
        let begin = buffer.checked_sub(1).map_or(0, |before| self.buffers[before].0);
        let (end, total) = self.buffers[buffer];
        scratch.add(&self.pieces[begin..end], total, header_len);
    }
}

impl Receive for FromGuest {
    fn fd(&self) -> BorrowedFd<'_> {
        self.device.slot(self.index).bell.fd()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        let Scratch { arrivals, arena } = scratch;
        arrivals.clear();
        let device = self.device.clone();
        let slot = device.slot(self.index);
        let mut state = slot.lock();
        self.release(slot, &mut state);
        if device.is_gone() {
            return Err(Fault::Closed);
        }
        let mut filling = Filling { arrivals, arena, used: 0 };
        if let Some(mac) = state.announce.take() {
            filling.announce(mac);
        }
        if let Err(broken) = self.take(&mut state, &mut filling) {
            state.fail(broken, &device);
            filling.arrivals.refuse(DropReason::Malformed, 1);
        } else if !self.heads.is_empty() && state.is_cut(&device) {
            // Zeros may have been read for frames.
            filling.arrivals.clear();
            filling.arrivals.refuse(DropReason::Malformed, self.heads.len() as u64);
        }
        drop(state);
        Ok(arrivals.burst())
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn announced(&mut self) {
        self.device.slot(self.index).bell.heard();
    }

    fn rest(&mut self) -> bool {
        let device = self.device.clone();
        let slot = device.slot(self.index);
        let mut state = slot.lock();
        self.release(slot, &mut state);
        if device.is_gone() || state.announce.is_some() {
            return false;
        }
        let Some((ring, setting, _)) = state.working() else { return true };
        ring.listen(setting);
        // An error is found by the call that would take what waits.
        matches!(ring.waiting(), Ok(0))
    }
}

impl Drop for FromGuest {
    fn drop(&mut self) {
        let device = self.device.clone();
        let slot = device.slot(self.index);
        self.release(slot, &mut slot.lock());
    }
}

/// A burst while it is being filled.
struct Filling<'s> {
    arrivals: &'s mut Arrivals,
    arena: &'s mut [u8],
    /// Bytes of the arena in use.
    used: usize,
}

impl Filling<'_> {
    /// Adds the frame in a buffer of `total` bytes.
    fn add(&mut self, pieces: &[Piece], total: usize, header_len: usize) {
        let Some(len) = total.checked_sub(header_len) else {
            return self.arrivals.refuse(DropReason::Malformed, 1);
        };
        if len > LARGEST_FRAME {
            return self.arrivals.refuse(DropReason::Oversize, 1);
        }
        let copied = len.min(Head::PREFIX);
        let mut header = [0; HEADER_MAX];
        let head = self.arrivals.next();
        match pieces {
            [first, ..] if first.len >= HEADER_MAX + copied => {
                // SAFETY: the piece can be read and is this long; the header is no longer than its place, and a head
                // has room for its first bytes.
                unsafe {
                    ptr::copy_nonoverlapping(first.begin, header.as_mut_ptr(), HEADER_MAX);
                    copy_short(first.begin.add(header_len), head.room().as_mut_ptr(), copied);
                }
            }
            _ => {
                let mut front = [0; HEADER_MAX + Head::PREFIX];
                copy(pieces, &mut front[..header_len + copied]);
                header.copy_from_slice(&front[..HEADER_MAX]);
                head.room()[..copied].copy_from_slice(&front[header_len..header_len + copied]);
            }
        }
        // To the compiler a copy is as good as what it was made of, which the guest may change: it looks there no more.
        compiler_fence(Ordering::SeqCst);
        head.settle(copied, len, None);
        let vnet = VnetHeader::read_from_prefix(&header).ok().map(|(header, _)| header);
        check_offload(head, vnet.as_ref());
        let behind = header_len + head.consumed();
        if pieces.len() > LEFT_MAX {
            return self.copy_together(pieces, total, behind);
        }
        let mut passed = behind;
        for piece in pieces {
            if passed >= piece.len {
                passed -= piece.len;
                continue;
            }
            // SAFETY: the piece lies in the guest's memory, which the queue holds until its next call, and the burst
            // borrows the queue; the guest may change the bytes, and nobody relies on them.
            unsafe { self.arrivals.string(piece.begin.add(passed), piece.len - passed) };
            passed = 0;
        }
    }

    /// Copies what is behind the head of a frame in too many pieces.
    fn copy_together(&mut self, pieces: &[Piece], total: usize, behind: usize) {
        // A frame of the largest size fits behind any beginning below the budget.
        let room = &mut self.arena[self.used..self.used + total - behind];
        let mut done = 0;
        let mut passed = behind;
        for piece in pieces {
            let skipped = passed.min(piece.len);
            passed -= skipped;
            // SAFETY: all pieces together are `total` bytes, so that what is not passed fits the room.
            unsafe {
                ptr::copy_nonoverlapping(
                    piece.begin.add(skipped),
                    room.as_mut_ptr().add(done),
                    piece.len - skipped,
                );
            }
            done += piece.len - skipped;
        }
        // SAFETY: bytes of the arena, which the burst borrows; later frames go behind them.
        unsafe { self.arrivals.string(room.as_ptr(), room.len()) };
        self.used += room.len().next_multiple_of(CACHE_LINE);
    }

    /// Adds a frame that tells switches where an address is: a RARP request of its owner for itself. RFC 903.
    fn announce(&mut self, mac: [u8; 6]) {
        let frame = &mut self.arena[self.used..self.used + RARP_LEN];
        frame.fill(0);
        frame[..6].fill(0xff);
        frame[6..12].copy_from_slice(&mac);
        // EtherType; Ethernet, IPv4, their lengths, request reverse.
        frame[12..22].copy_from_slice(&[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
        frame[22..28].copy_from_slice(&mac);
        frame[32..38].copy_from_slice(&mac);
        // SAFETY: bytes of the arena, which the burst borrows; later frames go behind them.
        unsafe { self.arrivals.push(frame.as_ptr(), RARP_LEN, None, None) };
        self.used += RARP_LEN.next_multiple_of(CACHE_LINE);
    }
}

/// Copies the first bytes of a buffer; it has as many.
#[inline]
fn copy(pieces: &[Piece], into: &mut [u8]) {
    let mut done = 0;
    for piece in pieces {
        let len = piece.len.min(into.len() - done);
        // SAFETY: the piece can be read, and what is left of `into` is no shorter.
        unsafe { ptr::copy_nonoverlapping(piece.begin, into.as_mut_ptr().add(done), len) };
        done += len;
        if done == into.len() {
            return;
        }
    }
}
