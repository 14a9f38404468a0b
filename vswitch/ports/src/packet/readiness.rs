//! Says when a packet socket is worth a look. A socket with a ring is readable while frames are in the ring, but a
//! frame that the kernel had to drop wakes whoever sleeps without making it readable. So an epoll descriptor of the
//! socket's own remembers every wake-up: the socket is always writable, and edge-triggered that is reported each time.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::sys;

pub(super) struct Readiness {
    epoll: OwnedFd,
}

impl Readiness {
    /// Begins to remember what wakes this socket, which must not be used for sending.
    pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: the call takes no memory.
        let epoll = sys::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let readiness = Self { epoll };
        readiness.watch(socket)?;
        Ok(readiness)
    }

    /// Remembers what wakes this socket too; one that is closed is watched no longer.
    pub(super) fn watch(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET;
        let mut event = libc::epoll_event { events: events as u32, u64: 0 };
        // SAFETY: the kernel reads one event.
        sys::check(unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        })?;
        Ok(())
    }

    /// Returns the descriptor that is readable since the last wake-up that was not forgotten.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Forgets the wake-ups so far. What came before them has to be looked for after this.
    pub(super) fn forget(&self) {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // An error leaves the descriptor readable, which costs a look and loses nothing.
        // SAFETY: the kernel writes at most one event.
        unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &raw mut event, 1, 0) };
    }
}
