//! The memory of a guest that is played by a test: a memfd in two regions with a hole between them.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::FileExt,
    },
    ptr,
};

/// Bytes of each region.
pub(crate) const REGION: u64 = 16 << 20;
/// Where the regions begin in the guest.
pub(crate) const REGIONS: [u64; 2] = [0, 1 << 32];

/// A guest's memory, mapped at one place here.
pub(crate) struct Memory {
    pub(crate) file: File,
    base: *mut u8,
}

// SAFETY: the mapping belongs to this value, and all accesses are raw.
unsafe impl Send for Memory {}

impl Memory {
    pub(crate) fn new() -> Self {
        // SAFETY: the name is a C string; the descriptor is new.
        let file = unsafe {
            let fd = libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            File::from_raw_fd(fd)
        };
        file.set_len(2 * REGION).unwrap();
        Self::of(file)
    }

    /// Maps a guest's memory again, as a front-end does that was started anew.
    pub(crate) fn of(file: File) -> Self {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let len = 2 * REGION as usize;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        assert!(base != libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { file, base: base.cast() }
    }

    /// Returns where a guest's address is in the file.
    pub(crate) fn offset(guest: u64) -> u64 {
        if guest >= REGIONS[1] { guest - REGIONS[1] + REGION } else { guest }
    }

    /// Returns the front-end's address for a guest's.
    pub(crate) fn user(&self, guest: u64) -> u64 {
        self.base as u64 + Self::offset(guest)
    }

    pub(crate) fn write(&self, guest: u64, bytes: &[u8]) {
        let offset = Self::offset(guest);
        assert!(offset + bytes.len() as u64 <= 2 * REGION);
        // SAFETY: the bytes lie in the mapping.
        unsafe {
            let place = self.base.add(offset as usize);
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn read(&self, guest: u64, len: usize) -> Vec<u8> {
        let offset = Self::offset(guest);
        assert!(offset + len as u64 <= 2 * REGION);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let mut bytes = vec![0; len];
        // SAFETY: the bytes lie in the mapping.
        unsafe {
            let place = self.base.add(offset as usize);
            ptr::copy_nonoverlapping(place, bytes.as_mut_ptr(), len);
        }
        bytes
    }

    pub(crate) fn write16(&self, guest: u64, value: u16) {
        self.write(guest, &value.to_le_bytes());
    }

    pub(crate) fn read16(&self, guest: u64) -> u16 {
        u16::from_le_bytes(self.read(guest, 2).try_into().unwrap())
    }

    pub(crate) fn read32(&self, guest: u64) -> u32 {
        u32::from_le_bytes(self.read(guest, 4).try_into().unwrap())
    }

    /// Fills a page of the file by way of the file, to see that it is one memory.
    pub(crate) fn fill_page(&self, guest: u64, byte: u8) {
        self.file.write_all_at(&[byte; 4096], Self::offset(guest)).unwrap();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped.
        unsafe { libc::munmap(self.base.cast(), 2 * REGION as usize) };
    }
}
