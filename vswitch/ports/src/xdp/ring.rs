//! The rings of an AF_XDP socket: one writes entries, the other reads them, and each says how far it has come. What the
//! kernel may do at once is the other half of each ring. Linux `if_xdp.h`, `net/xdp/xsk_queue.h`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

/// A mapped ring of entries.
struct Ring<T> {
    base: *mut u8,
    len: usize,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: *mut T,
    mask: u32,
}

// SAFETY: the mapping belongs to this value alone and may be used from any one thread.
unsafe impl<T> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn map(
        socket: BorrowedFd<'_>,
        at: libc::off_t,
        offsets: &libc::xdp_ring_offset,
        slots: u32,
    ) -> io::Result<Self> {
        let entries = offsets.desc as usize;
        let len = entries + slots as usize * size_of::<T>();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), len, access, flags, socket.as_raw_fd(), at) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base: *mut u8 = base.cast();
        Ok(Self {
            base,
            len,
            producer: offsets.producer as usize,
            consumer: offsets.consumer as usize,
            flags: offsets.flags as usize,
            // SAFETY: the kernel says that the entries begin here, aligned for them; the mapping covers them.
            entries: unsafe { base.add(entries) }.cast(),
            mask: slots - 1,
        })
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the kernel says that an aligned 32-bit integer is here, in front of the entries; both sides access it
        // atomically only, and the mapping lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.add(offset).cast()) }
    }

    fn read(&self, position: u32) -> T {
        // SAFETY: the masked position is below the number of slots; the caller owns the slot by the ring's indexes.
        unsafe { self.entries.add((position & self.mask) as usize).read() }
    }

    fn write(&mut self, position: u32, entry: T) {
        // SAFETY: as above.
        unsafe { self.entries.add((position & self.mask) as usize).write(entry) };
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and nothing of it is borrowed.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// The side that writes entries.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// Entries written so far, published or not.
    written: u32,
    /// How far the kernel has read, as far as it has been seen.
    read: u32,
}

impl<T: Copy> Producer<T> {
    /// Maps a ring that the kernel reads.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        at: libc::off_t,
        offsets: &libc::xdp_ring_offset,
        slots: u32,
    ) -> io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, at, offsets, slots)?, written: 0, read: 0 })
    }

    /// Writes an entry; `false` when the ring is full.
    pub(super) fn put(&mut self, entry: T) -> bool {
        let has_room = self.has_room(1);
        if has_room {
            self.ring.write(self.written, entry);
            self.written = self.written.wrapping_add(1);
        }
        has_room
    }

    /// Tells whether so many entries can be written.
    pub(super) fn has_room(&mut self, entries: u32) -> bool {
        let slots = self.ring.mask + 1;
        let is_free = |unread: u32| slots.saturating_sub(unread) >= entries;
        is_free(self.written.wrapping_sub(self.read)) || is_free(self.unread())
    }

    /// Shows the kernel what was written.
    pub(super) fn publish(&mut self) {
        self.ring.index(self.ring.producer).store(self.written, Ordering::Release);
    }

    /// Returns how many entries the kernel has not read, or not said that it has: before Linux 6.17 it may say so late.
    pub(super) fn unread(&mut self) -> u32 {
        self.read = self.ring.index(self.ring.consumer).load(Ordering::Acquire);
        self.written.wrapping_sub(self.read)
    }

    /// Tells whether the kernel has to be told of what was published.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.index(self.ring.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The side that reads entries.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// Entries read so far, released or not.
    read: u32,
    /// How far the kernel has written, as far as it has been seen.
    written: u32,
}

impl<T: Copy> Consumer<T> {
    /// Maps a ring that the kernel writes.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        at: libc::off_t,
        offsets: &libc::xdp_ring_offset,
        slots: u32,
    ) -> io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, at, offsets, slots)?, read: 0, written: 0 })
    }

    /// Reads the next entry, if there is one.
    pub(super) fn take(&mut self) -> Option<T> {
        if self.read == self.written {
            self.written = self.ring.index(self.ring.producer).load(Ordering::Acquire);
            if self.read == self.written {
                return None;
            }
        }
        let entry = self.ring.read(self.read);
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    /// Gives the slots of what was read back to the kernel.
    pub(super) fn release(&mut self) {
        self.ring.index(self.ring.consumer).store(self.read, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    use super::*;

    const SLOTS: u32 = 4;

    /// Both sides of one ring, in a file in place of the kernel's memory.
    fn sides() -> (Producer<u64>, Consumer<u64>) {
        let offsets = libc::xdp_ring_offset { producer: 0, consumer: 64, desc: 192, flags: 128 };
        // SAFETY: the name is a C string; the descriptor is new; the file is then as long as the mappings.
        let file = unsafe {
            let file = libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC);
            assert!(file >= 0 && libc::ftruncate(file, 4096) == 0);
            OwnedFd::from_raw_fd(file)
        };
        let file = file.as_fd();
        (
            Producer::map(file, 0, &offsets, SLOTS).unwrap(),
            Consumer::map(file, 0, &offsets, SLOTS).unwrap(),
        )
    }

    #[test]
    fn a_full_ring_takes_nothing_until_its_reader_says_that_it_has_read() {
        let (mut writer, mut reader) = sides();
        for round in 0..9 {
            let entries = [10, 11, 12, 13].map(|entry| entry + round);
            assert!(writer.has_room(SLOTS) && !writer.has_room(SLOTS + 1));
            assert!(entries.iter().all(|&entry| writer.put(entry)));
            assert!(!writer.put(99) && !writer.has_room(1));
            assert_eq!(reader.take(), None, "nothing is published");
            writer.publish();
            assert_eq!(std::iter::from_fn(|| reader.take()).collect::<Vec<_>>(), entries);
            assert_eq!(writer.unread(), SLOTS);
            assert!(!writer.put(99));
            reader.release();
            assert_eq!(writer.unread(), 0);
        }
    }
}
