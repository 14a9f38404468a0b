//! The guest's memory as it is mapped here. Only memory files (memfd, tmpfs, hugetlbfs) are taken: a page fault in
//! them waits for nobody, while one in another file system waits for whoever serves it. A file that is shorter than
//! its region is refused; one that is cut short afterwards makes its mapping unusable ([`Guard`]), never the process.
//! What is mapped is other programs' to change at any time: no reference is made to it, everything is read once.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use super::{
    guard::Guard,
    message::{Area, RegionSpec},
};
use crate::sys;

/// Regions that a guest may have.
pub(super) const SLOTS: usize = 64;
const PAGE: u64 = 4096;

/// Why memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemoryError {
    #[error("a memory region at {guest:#x} of {size} bytes that is empty or goes round", guest = .0.guest, size = .0.size)]
    Wraps(RegionSpec),
    #[error("memory regions that overlap at {0:#x}")]
    Overlaps(u64),
    #[error("more than {SLOTS} memory regions")]
    TooMany,
    #[error("the file is too short for {0} bytes at {1}")]
    TooShort(u64, u64),
    #[error("the memory is no memfd and no file of tmpfs or hugetlbfs")]
    NotMemory,
    #[error("the memory cannot be mapped: {0}")]
    Io(#[from] io::Error),
}

/// A part of a memory file, mapped.
pub(super) struct Mapping {
    guard: Option<Guard>,
    /// What was mapped: whole pages of the file.
    base: *mut u8,
    mapped: usize,
    /// The first byte that was asked for.
    begin: *mut u8,
    len: usize,
}

// SAFETY: the mapping is memory that other processes write to anyway; it is only touched by raw, checked accesses.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps an area of a file.
    pub(super) fn new(file: &OwnedFd, area: Area) -> Result<Self, MemoryError> {
        let (file_len, page) = measure(file)?;
        let end = area.offset.checked_add(area.size).filter(|&end| end <= file_len);
        let Some(end) = end.filter(|_| area.size > 0) else {
            return Err(MemoryError::TooShort(area.size, area.offset));
        };
        let first = area.offset / page * page;
        let mapped = (end - first).next_multiple_of(page);
        let too_large = |_| io::Error::from_raw_os_error(libc::ENOMEM);
        let mapped = usize::try_from(mapped).map_err(too_large)?;
        let first = libc::off_t::try_from(first).map_err(too_large)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), mapped, access, flags, file.as_raw_fd(), first) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        let base = base.cast::<u8>();
        // Not in core dumps: it is the guest's memory, not ours. A refusal changes nothing else.
        // SAFETY: advice about a mapping of ours.
        unsafe { libc::madvise(base.cast(), mapped, libc::MADV_DONTDUMP) };
        let skipped = (area.offset - first as u64) as usize;
        // SAFETY: the area begins in the first page that was mapped.
        let begin = unsafe { base.add(skipped) };
        let mut mapping = Self { guard: None, base, mapped, begin, len: area.size as usize };
        mapping.guard = Some(Guard::over(base, mapped)?);
        Ok(mapping)
    }

    pub(super) fn begin(&self) -> *mut u8 {
        self.begin
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Tells whether the file was cut short under it.
    pub(super) fn is_cut(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::was_hit)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: exactly what was mapped, and whoever holds a pointer into it holds this mapping too.
        unsafe { libc::munmap(self.base.cast(), self.mapped) };
    }
}

/// Returns the length of a memory file and the size of its pages.
fn measure(file: &OwnedFd) -> Result<(u64, u64), MemoryError> {
    // SAFETY: all zero is a value of these structures of integers.
    let (mut system, mut status): (libc::statfs, libc::stat) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: the kernel writes one structure.
    sys::check(unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut system) })?;
    let page = match system.f_type {
        libc::TMPFS_MAGIC => PAGE,
        libc::HUGETLBFS_MAGIC => u64::try_from(system.f_bsize).unwrap_or(PAGE).max(PAGE),
        _ => return Err(MemoryError::NotMemory),
    };
    // SAFETY: the kernel writes one structure.
    sys::check(unsafe { libc::fstat(file.as_fd().as_raw_fd(), &raw mut status) })?;
    if status.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(MemoryError::NotMemory);
    }
    Ok((u64::try_from(status.st_size).unwrap_or(0), page))
}

/// A region of the guest's memory.
struct Region {
    spec: RegionSpec,
    mapping: Mapping,
}

/// All regions of a guest at one moment, by their address in the guest. What uses them holds them.
#[derive(Clone, Default)]
pub(super) struct Memory {
    regions: Vec<Arc<Region>>,
}

/// Which address space an address is of.
#[derive(Clone, Copy)]
enum Space {
    Guest,
    User,
}

impl Memory {
    /// Returns this memory with one more region. One that is there already stays as it is: QEMU 7.2 and 8.0 name each
    /// region once for every queue pair.
    pub(super) fn with(&self, spec: RegionSpec, file: &OwnedFd) -> Result<Self, MemoryError> {
        if self.regions.iter().any(|region| region.spec == spec) {
            return Ok(self.clone());
        }
        if self.regions.len() >= SLOTS {
            return Err(MemoryError::TooMany);
        }
        let whole = |begin: u64| begin.checked_add(spec.size).is_some();
        if spec.size == 0 || !whole(spec.guest) || !whole(spec.user) {
            return Err(MemoryError::Wraps(spec));
        }
        for Region { spec: other, .. } in self.regions.iter().map(|region| &**region) {
            let overlap = |a: u64, b: u64| a < b + other.size && b < a + spec.size;
            if overlap(spec.guest, other.guest) || overlap(spec.user, other.user) {
                return Err(MemoryError::Overlaps(spec.guest));
            }
        }
        let mapping = Mapping::new(file, Area { size: spec.size, offset: spec.offset })?;
        let mut regions = self.regions.clone();
        let place = regions.partition_point(|other| other.spec.guest < spec.guest);
        regions.insert(place, Arc::new(Region { spec, mapping }));
        Ok(Self { regions })
    }

    /// Returns this memory without a region, which may be gone already, as [`Memory::with`] says.
    pub(super) fn without(&self, spec: RegionSpec) -> Self {
        let same = |other: &Arc<Region>| {
            let other = other.spec;
            (other.guest, other.user, other.size) == (spec.guest, spec.user, spec.size)
        };
        let mut regions = self.regions.clone();
        regions.retain(|other| !same(other));
        Self { regions }
    }

    /// Tells whether a file was cut short under a region.
    pub(super) fn is_cut(&self) -> bool {
        self.regions.iter().any(|region| region.mapping.is_cut())
    }

    /// Returns where a guest's address is mapped, and how many of the `len` bytes wanted lie there in one piece: at
    /// least one. `None` when the address is in no region. `near` is where the last one was found.
    #[inline]
    pub(super) fn find(
        &self,
        guest: u64,
        len: usize,
        near: &mut usize,
    ) -> Option<(*mut u8, usize)> {
        if let Some(found) =
            self.regions.get(*near).and_then(|region| region.at(Space::Guest, guest, len))
        {
            return Some(found);
        }
        self.regions.iter().enumerate().find_map(|(position, region)| {
            let found = region.at(Space::Guest, guest, len)?;
            *near = position;
            Some(found)
        })
    }

    /// Returns where all of these bytes at a guest's address lie.
    pub(super) fn guest(&self, guest: u64, len: usize) -> Option<*mut u8> {
        let (place, found) = self.find(guest, len, &mut 0)?;
        (found == len).then_some(place)
    }

    /// Returns where all of these bytes at a front-end's address lie.
    pub(super) fn user(&self, user: u64, len: usize) -> Option<*mut u8> {
        let (place, found) =
            self.regions.iter().find_map(|region| region.at(Space::User, user, len))?;
        (found == len).then_some(place)
    }
}

impl Region {
    #[inline]
    fn at(&self, space: Space, address: u64, len: usize) -> Option<(*mut u8, usize)> {
        let begin = match space {
            Space::Guest => self.spec.guest,
            Space::User => self.spec.user,
        };
        let offset = address.wrapping_sub(begin);
        if offset >= self.spec.size {
            return None;
        }
        // The mapping has the region's size, so both fit the address space.
        let found = len.min((self.spec.size - offset) as usize);
        // SAFETY: the offset is below the mapping's length.
        Some((unsafe { self.mapping.begin().add(offset as usize) }, found))
    }
}

/// The pages that were written to since somebody looked: a bit each, of the front-end's to clear. VHOST_F_LOG_ALL.
pub(super) struct DirtyLog {
    mapping: Mapping,
}

impl DirtyLog {
    pub(super) fn new(file: &OwnedFd, area: Area) -> Result<Self, MemoryError> {
        Ok(Self { mapping: Mapping::new(file, area)? })
    }

    /// Notes that bytes at a guest's address have been written to. What the log has no room for is not noted.
    pub(super) fn mark(&self, guest: u64, len: usize) {
        if len == 0 {
            return;
        }
        let last = guest.saturating_add(len as u64 - 1) / PAGE;
        for page in guest / PAGE..=last {
            let byte = page / 8;
            if byte >= self.mapping.len() as u64 {
                return;
            }
            // SAFETY: the byte is inside the mapping, and everybody who changes it does so atomically.
            let bits = unsafe { AtomicU8::from_ptr(self.mapping.begin().add(byte as usize)) };
            bits.fetch_or(1 << (page % 8), Ordering::Release);
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.mapping.is_cut()
    }
}
