//! A split virtqueue as its device uses it. virtio 1.2 §2.7. Reads what the driver wrote once and believes nothing of it:
//! every index, address and length is checked after it was copied. Buffers are used in the order in which they were
//! made available, so that the used index alone says where whoever comes next has to begin.

use std::{
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering, fence},
    },
};

use super::{
    memory::{DirtyLog, Memory},
    piece::{Access, Piece, fetch},
};
use crate::{BURST, queue::CACHE_LINE};

/// Entries that a ring may have. virtio 1.2 §2.7.
pub(super) const SIZE_MAX: u32 = 32768;
/// Descriptors that a chain may have at most, however many entries its table has: as many as QEMU grants.
const CHAIN_MAX: usize = 1024;
/// Pieces of memory that the bytes of one frame may lie in. A descriptor that crosses from region to region has several.
pub(super) const PIECES_MAX: usize = 1024;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const DESCRIPTOR: usize = 16;
/// Bytes of an entry of the used ring.
const USED: usize = 8;
const NO_NOTIFY: u16 = 1;
const NO_INTERRUPT: u16 = 1;

/// What a driver did that leaves no sense in a ring. It goes on only after the driver has set it up anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// More buffers than the ring has entries.
    #[error("its index jumps to {0} buffers at once")]
    Index(u16),
    /// A descriptor outside the table.
    #[error("it names descriptor {0}, which it does not have")]
    Descriptor(u16),
    /// A chain that is longer than any may be, or leads back into itself.
    #[error("a chain of descriptors does not end")]
    Endless,
    /// A buffer in no region of the guest's memory.
    #[error("a buffer at {0:#x} of {1} bytes is not in the guest's memory")]
    Outside(u64, u32),
    /// Bytes of one frame in more pieces of memory than any driver makes.
    #[error("a frame's bytes in more than {PIECES_MAX} pieces of memory")]
    Shredded,
    /// Buffers that are offered and that nothing fits into.
    #[error("{0} buffers have not room for one frame")]
    Roomless(usize),
    /// A buffer to be written where one is to be read, or the other way round.
    #[error("a buffer of the wrong direction")]
    Direction,
    /// A table of descriptors that is none.
    #[error("an indirect table of {0} bytes")]
    Table(u32),
    /// The ring itself.
    #[error("it lies at {0:#x}, which is not in the guest's memory or not aligned")]
    Place(u64),
    /// A number of entries that no ring has.
    #[error("it has {0} entries, which is no power of two up to 32768")]
    Size(u32),
    /// The file behind the memory was cut short.
    #[error("the guest's memory was taken away")]
    Cut,
}

/// Which way a buffer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The driver has filled it.
    FromGuest,
    /// The driver wants it filled.
    ToGuest,
}

/// What the ring and everything in it is in.
#[derive(Clone, Default)]
pub(super) struct Setting {
    pub(super) memory: Arc<Memory>,
    /// Where writes are noted while the guest migrates.
    pub(super) log: Option<Arc<DirtyLog>>,
}

impl Setting {
    /// Tells whether a file was cut short under any of it.
    pub(super) fn is_cut(&self) -> bool {
        self.memory.is_cut() || self.log.as_ref().is_some_and(|log| log.is_cut())
    }
}

/// Where a ring lies, in addresses of the front-end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) size: u32,
    pub(super) desc: u64,
    pub(super) avail: u64,
    pub(super) used: u64,
    /// The used ring's address in the guest, where writes to it are to be noted.
    pub(super) log: Option<u64>,
}

/// Whether indices say when to notify. VIRTIO_F_EVENT_IDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notify {
    ByFlag,
    ByIndex,
}

/// A ring in operation.
pub(super) struct Ring {
    size: u16,
    desc: *const u8,
    avail: *mut u8,
    used: *mut u8,
    log: Option<u64>,
    notify: Notify,
    /// The next entry of the available ring to be taken.
    next_avail: u16,
    /// The next entry of the used ring to be written.
    next_used: u16,
    /// What of the used ring the driver can see.
    published: u16,
    /// The entries behind that, which are written together: the driver's processor looks at the lines that they go to.
    given_back: Vec<[u32; 2]>,
    /// Descriptors that are to be taken before the available ring goes on.
    again: Vec<u16>,
    /// Whether the driver is asked to announce buffers; `None` while it was told nothing.
    listening: Option<bool>,
    /// The region that the last buffer was in.
    near: usize,
}

// SAFETY: the pointers lead into the memory of the setting that the ring is kept with, to which only checked, raw
// accesses are made, from one thread at a time.
unsafe impl Send for Ring {}

impl Ring {
    /// Finds a ring in memory. It goes on where its used index says.
    pub(super) fn new(layout: Layout, memory: &Memory, notify: Notify) -> Result<Self, Broken> {
        let mut ring = Self {
            size: 0,
            desc: ptr::null(),
            avail: ptr::null_mut(),
            used: ptr::null_mut(),
            log: None,
            notify,
            next_avail: 0,
            next_used: 0,
            published: 0,
            given_back: Vec::with_capacity(BURST),
            again: Vec::new(),
            listening: None,
            near: 0,
        };
        ring.place(layout, memory)?;
        let used = u16::from_le(ring.used_index().load(Ordering::Acquire));
        (ring.next_avail, ring.next_used, ring.published) = (used, used, used);
        Ok(ring)
    }

    /// Has buffers taken first that were in flight when somebody else stopped, in this order.
    pub(super) fn take_again(&mut self, mut heads: Vec<u16>) {
        heads.retain(|&head| head < self.size);
        heads.reverse();
        self.next_avail = self.next_used.wrapping_add(heads.len() as u16);
        self.again = heads;
    }

    /// Finds a ring again after memory was mapped anew.
    pub(super) fn place(&mut self, layout: Layout, memory: &Memory) -> Result<(), Broken> {
        let Layout { size, desc, avail, used, log } = layout;
        if !size.is_power_of_two() || size > SIZE_MAX {
            return Err(Broken::Size(size));
        }
        let entries = size as usize;
        let find = |user: u64, align: u64, len: usize| {
            let place = memory
                .user(user, len)
                .filter(|&place| [user, place as u64].iter().all(|at| at.is_multiple_of(align)));
            place.ok_or(Broken::Place(user))
        };
        self.desc = find(desc, 16, entries * DESCRIPTOR)?;
        self.avail = find(avail, 2, 6 + entries * 2)?;
        self.used = find(used, 4, 6 + entries * USED)?;
        (self.size, self.log) = (size as u16, log);
        Ok(())
    }

    pub(super) fn set_notify(&mut self, notify: Notify) {
        (self.notify, self.listening) = (notify, None);
    }

    /// Returns the entry that is taken next: where a ring that is stopped goes on.
    pub(super) fn next(&self) -> u16 {
        self.next_avail.wrapping_sub(self.again.len() as u16)
    }

    /// Returns how many buffers wait.
    #[inline]
    pub(super) fn waiting(&self) -> Result<usize, Broken> {
        let index = u16::from_le(self.avail_index().load(Ordering::Acquire));
        let waiting = index.wrapping_sub(self.next_avail);
        // A driver cannot offer again what it has not seen come back, and one burst takes no more than a ring has.
        let offered = index.wrapping_sub(self.published);
        if waiting > self.size || offered > self.size {
            return Err(Broken::Index(waiting.max(offered)));
        }
        Ok(usize::from(waiting) + self.again.len())
    }

    /// Returns the head of the buffer that is this many behind the next one. It must be among those that wait.
    #[inline]
    pub(super) fn peek(&self, ahead: usize) -> Result<u16, Broken> {
        let head = match ahead.checked_sub(self.again.len()) {
            None => self.again[self.again.len() - 1 - ahead],
            Some(ahead) => {
                let entry = self.next_avail.wrapping_add(ahead as u16) & (self.size - 1);
                // SAFETY: the entry is one of the ring's, which lies whole in memory and is aligned.
                let entry = unsafe { self.avail.add(4 + usize::from(entry) * 2) };
                // SAFETY: as above; the driver changes it atomically or gets what it deserves.
                u16::from_le(unsafe { AtomicU16::from_ptr(entry.cast()) }.load(Ordering::Relaxed))
            }
        };
        if head >= self.size {
            return Err(Broken::Descriptor(head));
        }
        Ok(head)
    }

    /// Takes this many of the buffers that wait.
    #[inline]
    pub(super) fn take(&mut self, buffers: usize) {
        let again = buffers.min(self.again.len());
        self.again.truncate(self.again.len() - again);
        self.next_avail = self.next_avail.wrapping_add((buffers - again) as u16);
    }

    /// Appends the pieces of a buffer, [`PIECES_MAX`] at most; returns their bytes.
    #[inline]
    pub(super) fn pieces(
        &mut self,
        memory: &Memory,
        head: u16,
        direction: Direction,
        into: &mut Vec<Piece>,
    ) -> Result<usize, Broken> {
        let descriptor = self.descriptor(head)?;
        // What nearly every small frame is: one descriptor, in one piece.
        let alone = if direction == Direction::ToGuest { WRITE } else { 0 };
        if descriptor.flags & (NEXT | WRITE | INDIRECT) == alone {
            return self.append(memory, descriptor.address, descriptor.len, into);
        }
        self.chain(memory, descriptor, direction, into)
    }

    /// Copies an entry of the ring's own table.
    #[inline]
    fn descriptor(&self, entry: u16) -> Result<Descriptor, Broken> {
        if entry >= self.size {
            return Err(Broken::Descriptor(entry));
        }
        // SAFETY: the entry is one of the table's, which lies whole in mapped memory and is aligned.
        Ok(unsafe { Descriptor::read(self.desc.add(usize::from(entry) * DESCRIPTOR)) })
    }

    /// Appends the pieces of a buffer that begins with this descriptor.
    fn chain(
        &mut self,
        memory: &Memory,
        first: Descriptor,
        direction: Direction,
        into: &mut Vec<Piece>,
    ) -> Result<usize, Broken> {
        let (mut table, mut entries) = (self.desc, usize::from(self.size));
        let (mut descriptor, mut steps, mut total) = (first, 0, 0);
        let most = into.len() + PIECES_MAX;
        loop {
            let Descriptor { address, len, flags, mut next } = descriptor;
            steps += 1;
            if steps > CHAIN_MAX {
                return Err(Broken::Endless);
            }
            if flags & INDIRECT != 0 {
                // One table, at the end of a chain and nowhere else. virtio 1.2 §2.7.5.3.
                let bytes = len as usize;
                if flags & NEXT != 0
                    || table != self.desc
                    || bytes == 0
                    || !bytes.is_multiple_of(DESCRIPTOR)
                {
                    return Err(Broken::Table(len));
                }
                table = memory.guest(address, bytes).ok_or(Broken::Outside(address, len))?;
                (entries, next) = (bytes / DESCRIPTOR, 0);
            } else {
                if (flags & WRITE != 0) != (direction == Direction::ToGuest) {
                    return Err(Broken::Direction);
                }
                total += self.append(memory, address, len, into)?;
                if into.len() > most {
                    return Err(Broken::Shredded);
                }
                if flags & NEXT == 0 {
                    return Ok(total);
                }
            }
            if usize::from(next) >= entries {
                return Err(Broken::Descriptor(next));
            }
            // SAFETY: the entry is one of the table's, which lies whole in mapped memory.
            descriptor = unsafe { Descriptor::read(table.add(usize::from(next) * DESCRIPTOR)) };
        }
    }

    #[inline]
    fn append(
        &mut self,
        memory: &Memory,
        address: u64,
        len: u32,
        into: &mut Vec<Piece>,
    ) -> Result<usize, Broken> {
        let outside = Broken::Outside(address, len);
        let (mut guest, mut left) = (address, len as usize);
        while left > 0 {
            let (begin, found) = memory.find(guest, left, &mut self.near).ok_or(outside)?;
            into.push(Piece { begin, len: found, guest });
            left -= found;
            // Behind the last region there is nothing that could be found.
            guest = guest.wrapping_add(found as u64);
        }
        Ok(len as usize)
    }

    /// Has the entries of the used ring brought into the cache that so many buffers are going to be given back by.
    #[inline]
    pub(super) fn fetch_used(&self, buffers: usize) {
        for ahead in (0..=buffers).step_by(CACHE_LINE / USED) {
            let entry = self.next_used.wrapping_add(ahead as u16) & (self.size - 1);
            fetch(self.used.wrapping_add(4 + usize::from(entry) * USED), Access::Write);
        }
    }

    /// Gives a buffer back, with the bytes that were written to it. The driver sees it with the next
    /// [`Ring::publish`].
    #[inline]
    pub(super) fn give_back(&mut self, head: u16, written: u32) {
        self.given_back.push([u32::from(head).to_le(), written.to_le()]);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Writes the entries of the used ring for what was given back.
    fn write_used(&mut self, setting: &Setting) {
        let mut next = self.published;
        let mut entries = &self.given_back[..];
        while !entries.is_empty() {
            let place = usize::from(next & (self.size - 1));
            let (now, later) = entries.split_at(entries.len().min(usize::from(self.size) - place));
            let offset = 4 + place * USED;
            // SAFETY: the entries are some of the ring's, which lies whole in mapped memory and is aligned.
            unsafe {
                let into = self.used.add(offset).cast();
                ptr::copy_nonoverlapping(now.as_ptr(), into, now.len());
            }
            self.mark(setting, offset, now.len() * USED);
            (next, entries) = (next.wrapping_add(now.len() as u16), later);
        }
        self.given_back.clear();
    }

    /// Returns how far the used ring has come.
    pub(super) fn used(&self) -> u16 {
        self.next_used
    }

    /// Returns how many buffers were given back that the driver cannot see yet.
    pub(super) fn unpublished(&self) -> u16 {
        self.next_used.wrapping_sub(self.published)
    }

    /// Shows the driver what was given back; tells whether it wants to be woken for it.
    pub(super) fn publish(&mut self, setting: &Setting) -> bool {
        let (old, new) = (self.published, self.next_used);
        if old == new {
            return false;
        }
        self.write_used(setting);
        self.used_index().store(new.to_le(), Ordering::Release);
        self.published = new;
        self.mark(setting, 2, 2);
        // What the driver asks for is read behind what it is shown.
        fence(Ordering::SeqCst);
        match self.notify {
            Notify::ByFlag => {
                // SAFETY: the ring's first two bytes, aligned.
                let flags = unsafe { AtomicU16::from_ptr(self.avail.cast()) };
                u16::from_le(flags.load(Ordering::Relaxed)) & NO_INTERRUPT == 0
            }
            Notify::ByIndex => {
                // SAFETY: the two bytes behind the available ring, which were looked for with it.
                let event = unsafe {
                    AtomicU16::from_ptr(self.avail.add(4 + usize::from(self.size) * 2).cast())
                };
                let event = u16::from_le(event.load(Ordering::Relaxed));
                new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
            }
        }
    }

    /// Asks the driver to announce the next buffer. Whether one has come meanwhile has to be looked for after this.
    pub(super) fn listen(&mut self, setting: &Setting) {
        if self.listening.replace(true) == Some(true) {
            return;
        }
        match self.notify {
            Notify::ByFlag => self.set_flags(0, setting),
            Notify::ByIndex => {
                self.avail_event().store(self.next_avail.to_le(), Ordering::Relaxed);
                self.mark(setting, 4 + usize::from(self.size) * USED, 2);
            }
        }
        fence(Ordering::SeqCst);
    }

    /// Lets the driver announce nothing. By index nothing has to be done: the one that was asked for is passed.
    #[inline]
    pub(super) fn silence(&mut self, setting: &Setting) {
        if self.listening.replace(false) != Some(false) && self.notify == Notify::ByFlag {
            self.set_flags(NO_NOTIFY, setting);
        }
    }

    fn set_flags(&self, flags: u16, setting: &Setting) {
        // SAFETY: the ring's first two bytes, aligned.
        let place = unsafe { AtomicU16::from_ptr(self.used.cast()) };
        place.store(flags.to_le(), Ordering::Relaxed);
        self.mark(setting, 0, 2);
    }

    /// Notes a write to the used ring.
    #[inline]
    fn mark(&self, setting: &Setting, offset: usize, len: usize) {
        if let (Some(log), Some(begin)) = (&setting.log, self.log) {
            log.mark(begin.wrapping_add(offset as u64), len);
        }
    }

    fn avail_index(&self) -> &AtomicU16 {
        // SAFETY: two bytes of the ring, aligned, in memory that is mapped while the ring is in operation.
        unsafe { AtomicU16::from_ptr(self.avail.add(2).cast()) }
    }

    fn used_index(&self) -> &AtomicU16 {
        // SAFETY: as above.
        unsafe { AtomicU16::from_ptr(self.used.add(2).cast()) }
    }

    fn avail_event(&self) -> &AtomicU16 {
        // SAFETY: the two bytes behind the used ring, which were looked for with it.
        unsafe { AtomicU16::from_ptr(self.used.add(4 + usize::from(self.size) * USED).cast()) }
    }
}

/// An entry of a descriptor table, copied.
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    /// Copies an entry.
    ///
    /// # Safety
    /// Sixteen bytes can be read from here, aligned or not.
    #[inline]
    unsafe fn read(from: *const u8) -> Self {
        // Each word is read once, so that what is checked is what is used.
        let [low, high] = if from.addr().is_multiple_of(align_of::<AtomicU64>()) {
            let words = from.cast::<u64>().cast_mut();
            // SAFETY: the caller says that it can be read, and it is aligned.
            let word = |at| unsafe { AtomicU64::from_ptr(words.add(at)) }.load(Ordering::Relaxed);
            [word(0), word(1)]
        } else {
            // SAFETY: the caller says so.
            unsafe { ptr::read_volatile(from.cast::<[[u8; 8]; 2]>()) }.map(u64::from_ne_bytes)
        };
        let (low, high) = (u64::from_le(low), u64::from_le(high));
        Self {
            address: low,
            len: high as u32,
            flags: (high >> 32) as u16,
            next: (high >> 48) as u16,
        }
    }
}

#[cfg(test)]
mod tests;
