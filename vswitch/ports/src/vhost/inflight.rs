//! Notes of the buffers that were taken and not given back, in memory that the front-end keeps for whoever serves the
//! rings next. QEMU `docs/interop/vhost-user.rst`, "Inflight I/O tracking", split rings.
//!
//! Buffers are given back in the order in which they were taken, so that for our own successor the used index would
//! do; the notes are for a back-end of another kind, before this one or after it. They are read once, when a ring
//! begins, and believed only as far as heads of buffers that are checked like any other.

use std::{
    os::fd::{FromRawFd, OwnedFd},
    ptr,
    sync::Arc,
};

use super::{
    memory::{Mapping, MemoryError},
    message::{Area, InflightSpec},
};
use crate::sys;

const ENTRY: usize = 16;
const HEADER: usize = 16;
const ALIGNMENT: usize = 64;
const VERSION: u16 = 1;

/// The notes of all rings.
pub(super) struct Inflight {
    mapping: Mapping,
    queues: u16,
    queue_size: u16,
}

/// The notes of one ring.
#[derive(Clone)]
pub(super) struct Notes {
    inflight: Arc<Inflight>,
    begin: *mut u8,
    /// Orders the buffers in flight.
    counter: u64,
    /// The heads that are given back with the next publication, the last one first.
    batch: Option<u16>,
    /// How many those are.
    given_back: u16,
}

// SAFETY: the pointer leads into the mapping that stands beside it.
unsafe impl Send for Notes {}

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    inflight: u8,
    padding: [u8; 5],
    next: u16,
    counter: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Head {
    features: u64,
    version: u16,
    entries: u16,
    last_batch: u16,
    used: u16,
}

const _: () = assert!(size_of::<Entry>() == ENTRY && size_of::<Head>() == HEADER);

/// Returns the bytes that the notes of one ring take.
fn stride(queue_size: u16) -> usize {
    (HEADER + usize::from(queue_size) * ENTRY).next_multiple_of(ALIGNMENT)
}

impl Inflight {
    /// Makes an area with no notes; returns its file and what to tell the front-end.
    pub(super) fn create(
        queues: u16,
        queue_size: u16,
    ) -> Result<(OwnedFd, InflightSpec), MemoryError> {
        let size = usize::from(queues) * stride(queue_size);
        // SAFETY: the name is a C string; the call takes no other memory.
        let fd = sys::check(unsafe {
            libc::memfd_create(c"weft-inflight".as_ptr(), libc::MFD_CLOEXEC)
        })?;
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the call takes no memory.
        sys::check(unsafe { libc::ftruncate(fd, size as libc::off_t) })?;
        Ok((file, InflightSpec { area: Area { size: size as u64, offset: 0 }, queues, queue_size }))
    }

    /// Maps an area that the front-end kept.
    pub(super) fn map(file: &OwnedFd, spec: InflightSpec) -> Result<Self, MemoryError> {
        let needed = usize::from(spec.queues) * stride(spec.queue_size);
        if spec.area.size < needed as u64 || !spec.area.offset.is_multiple_of(ALIGNMENT as u64) {
            return Err(MemoryError::TooShort(needed as u64, spec.area.offset));
        }
        let mapping = Mapping::new(file, spec.area)?;
        Ok(Self { mapping, queues: spec.queues, queue_size: spec.queue_size })
    }

    /// Returns the notes of a ring of this size.
    pub(super) fn of_ring(self: &Arc<Self>, index: usize, size: u16) -> Option<Notes> {
        if index >= usize::from(self.queues) || size > self.queue_size {
            return None;
        }
        // SAFETY: the mapping has room for so many rings, as was checked when it was made.
        let begin = unsafe { self.mapping.begin().add(index * stride(self.queue_size)) };
        Some(Notes { inflight: self.clone(), begin, counter: 0, batch: None, given_back: 0 })
    }
}

impl Notes {
    /// Begins where somebody left off: returns the heads of the buffers that were in flight, in their order.
    pub(super) fn recover(&mut self, used: u16) -> Vec<u16> {
        let mut head = self.head();
        if head.version == 0 {
            self.set_head(Head {
                features: 0,
                version: VERSION,
                entries: self.size(),
                last_batch: 0,
                used,
            });
            return Vec::new();
        }
        if head.used != used {
            // The last batch was shown to the driver, and the notes of it had no time to go.
            let mut left = used.wrapping_sub(head.used).min(self.size());
            let mut next = head.last_batch;
            while left > 0 && next < self.size() {
                let mut entry = self.entry(next);
                entry.inflight = 0;
                self.set_entry(next, entry);
                (next, left) = (entry.next, left - 1);
            }
            head.used = used;
            self.set_head(head);
        }
        let mut found: Vec<(u64, u16)> = (0..self.size())
            .map(|number| (self.entry(number), number))
            .filter(|(entry, _)| entry.inflight == 1)
            .map(|(entry, number)| (entry.counter, number))
            .collect();
        found.sort_unstable();
        self.counter = found.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        found.into_iter().map(|(_, number)| number).collect()
    }

    /// Notes a buffer that was taken.
    pub(super) fn taken(&mut self, head: u16) {
        if head < self.size() {
            let mut entry = self.entry(head);
            (entry.inflight, entry.counter) = (1, self.counter);
            self.counter = self.counter.wrapping_add(1);
            self.set_entry(head, entry);
        }
    }

    /// Notes a buffer that is given back with the next publication.
    pub(super) fn given_back(&mut self, head: u16) {
        if head < self.size() {
            let mut entry = self.entry(head);
            entry.next = self.batch.unwrap_or(u16::MAX);
            self.set_entry(head, entry);
            (self.batch, self.given_back) = (Some(head), self.given_back.saturating_add(1));
            let mut header = self.head();
            header.last_batch = head;
            self.set_head(header);
        }
    }

    /// Notes that the driver sees what was given back, up to this index.
    pub(super) fn published(&mut self, used: u16) {
        let mut next = self.batch.take();
        // The links lie where the front-end writes; how many there are does not.
        for _ in 0..std::mem::take(&mut self.given_back) {
            let Some(head) = next.filter(|&head| head < self.size()) else { break };
            let mut entry = self.entry(head);
            entry.inflight = 0;
            self.set_entry(head, entry);
            next = Some(entry.next);
        }
        let mut header = self.head();
        header.used = used;
        self.set_head(header);
    }

    /// Tells whether the file was cut short under the notes.
    pub(super) fn is_cut(&self) -> bool {
        self.inflight.mapping.is_cut()
    }

    fn size(&self) -> u16 {
        self.inflight.queue_size
    }

    fn head(&self) -> Head {
        // SAFETY: the notes begin with this header, aligned, in memory that is mapped; any bytes are a value of it.
        unsafe { ptr::read_volatile(self.begin.cast()) }
    }

    fn set_head(&self, head: Head) {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(self.begin.cast(), head) };
    }

    fn place(&self, entry: u16) -> *mut Entry {
        // SAFETY: callers name entries that the notes have.
        unsafe { self.begin.add(HEADER + usize::from(entry) * ENTRY).cast() }
    }

    fn entry(&self, entry: u16) -> Entry {
        // SAFETY: the entry is one of the notes', aligned; any bytes are a value of it.
        unsafe { ptr::read_volatile(self.place(entry)) }
    }

    fn set_entry(&self, entry: u16, value: Entry) {
        // SAFETY: as above.
        unsafe { ptr::write_volatile(self.place(entry), value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_are_scribbled_on_lead_no_further_than_buffers_were_given_back() {
        let (file, spec) = Inflight::create(1, 256).unwrap();
        let area = Arc::new(Inflight::map(&file, spec).unwrap());
        let mut notes = area.of_ring(0, 256).unwrap();
        assert_eq!(notes.recover(0), []);
        (0..5).for_each(|head| notes.taken(head));
        notes.given_back(0);
        notes.given_back(1);
        for head in 0..5 {
            let entry = Entry { next: head + 1, ..notes.entry(head) };
            notes.set_entry(head, entry);
        }
        notes.published(2);
        let in_flight: Vec<u8> = (0..5).map(|head| notes.entry(head).inflight).collect();
        assert_eq!(in_flight, [1, 0, 0, 1, 1], "as many as were given back, from the last one on");
        notes.given_back(4);
        notes.published(3);
        assert_eq!((notes.entry(3).inflight, notes.entry(4).inflight), (1, 0));
    }
}
