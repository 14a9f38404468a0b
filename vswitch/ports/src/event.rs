//! Counters that can be waited for. eventfd(2).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::sys;

/// A counter that can be waited for. eventfd(2).
pub(crate) struct Event {
    fd: OwnedFd,
}

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no memory.
        let fd = sys::check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn signal(&self) {
        signal(Some(&self.fd));
    }

    /// Forgets the signals so far.
    pub(crate) fn reset(&self) {
        let mut count = 0_u64;
        // SAFETY: the kernel writes eight bytes.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

/// Adds to an event counter, where there is one. This does not wait while the counter is non-blocking, and a full one
/// wakes whoever reads it anyway. A front-end's counter is shared with it, though, and so is whether it blocks: one that
/// fills it and makes it blocking again keeps its caller until it is read. The session therefore signals with no lock
/// held, and so keeps nobody but itself. A worker cannot ask first either, since the answer may be wrong by the time
/// that it writes.
pub(crate) fn signal(event: Option<&OwnedFd>) {
    let Some(fd) = event else { return };
    let one = 1_u64;
    // SAFETY: the kernel reads eight bytes.
    unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) };
}
