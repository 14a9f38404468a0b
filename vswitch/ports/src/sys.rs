//! The calls into the kernel that several ports make, with their sizes and errors checked once.

use std::{
    ffi::{CStr, c_int, c_void},
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use weft_core::DropReason;

/// A value that the kernel may read and write byte by byte.
///
/// # Safety
/// Every pattern of bits is a value, and there is no padding whose content matters to the kernel.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: plain integers, or C structures of integers and byte arrays.
unsafe impl Plain for c_int {}
// SAFETY: as above.
unsafe impl Plain for libc::tpacket_req {}
// SAFETY: as above.
unsafe impl Plain for libc::tpacket_stats {}
// SAFETY: as above.
unsafe impl Plain for libc::packet_mreq {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_umem_reg {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_options {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: as above.
unsafe impl Plain for libc::ucred {}
// SAFETY: as above.
unsafe impl Plain for [u32; 9] {}

/// Turns the -1 of a system call into the error that the kernel left.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Turns the -1 of a call that moves bytes into the error that the kernel left.
pub(crate) fn moved(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Opens a file for reading and writing, non-blocking.
pub(crate) fn open(path: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the path is a C string; the call takes no other memory.
    let fd = check(unsafe {
        libc::open(path.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC)
    })?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a socket, non-blocking.
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no memory.
    let fd = check(unsafe {
        libc::socket(domain, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, protocol)
    })?;
    // SAFETY: the kernel has just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option.
pub(crate) fn set_option<T: Plain>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: T,
) -> io::Result<()> {
    let size = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes of `value`, which are all there.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast::<c_void>(), size)
    })?;
    Ok(())
}

/// Lets a socket keep more than the system's limit where that is permitted, and up to the limit otherwise.
pub(crate) fn enlarge(
    socket: BorrowedFd<'_>,
    forced: c_int,
    limited: c_int,
    bytes: c_int,
) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, forced, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, limited, bytes))
}

/// Reads a socket option that has the size of `T`.
pub(crate) fn get_option<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    // SAFETY: all zero is a value of every `Plain` type.
    let mut value: T = unsafe { mem::zeroed() };
    let mut size = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into `value`, and any bytes are a value of it.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast::<c_void>(),
            &raw mut size,
        )
    })?;
    Ok(value)
}

/// Returns the reason that is counted when the kernel does not take a frame.
pub(crate) fn refusal(error: &io::Error) -> DropReason {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => DropReason::QueueFull,
        Some(libc::EMSGSIZE) => DropReason::Oversize,
        // The kernel checks a frame's length before it reads the metadata, and the core checks it before the kernel.
        Some(libc::EINVAL) => DropReason::UnsupportedOffload,
        _ => DropReason::PortDown,
    }
}
