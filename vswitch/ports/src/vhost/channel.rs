//! The connection to a front-end: messages with descriptors, whole or not at all. unix(7), SCM_RIGHTS. Blocks; whoever
//! owns the other handle of the socket ends that by shutting it down.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use super::message::{BadMessage, FDS_MAX, HEADER, Header, PAYLOAD_MAX};
use crate::sys;

/// Room for more descriptors than any message may have, so that too many are seen and closed.
const FDS_ROOM: usize = FDS_MAX + 8;
// SAFETY: the macro computes sizes only.
const CONTROL: usize = unsafe { libc::CMSG_SPACE((FDS_ROOM * size_of::<RawFd>()) as u32) as usize };

/// A front-end's connection.
pub(super) struct Channel {
    socket: OwnedFd,
}

/// A message as it came.
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// Why no message comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error("the front-end closed the connection")]
    Closed,
    #[error(transparent)]
    Bad(#[from] BadMessage),
    #[error("more descriptors than a message may have")]
    TooManyDescriptors,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Where received descriptors are written, aligned as their headers need.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl Channel {
    /// Takes a connection, blocking from here on.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        set_nonblocking(socket.as_fd(), false)?;
        Ok(Self { socket })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for the next message.
    pub(super) fn receive(&mut self) -> Result<Message, ChannelError> {
        let mut fds = Vec::new();
        let mut header = [0; HEADER];
        self.fill(&mut header, &mut fds)?;
        let header = Header::read(&header)?;
        let mut payload = vec![0; header.size.min(PAYLOAD_MAX)];
        self.fill(&mut payload, &mut fds)?;
        if fds.len() > FDS_MAX {
            return Err(ChannelError::TooManyDescriptors);
        }
        Ok(Message { header, payload, fds })
    }

    /// Reads until the buffer is full.
    fn fill(&mut self, mut buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<(), ChannelError> {
        while !buffer.is_empty() {
            match self.read(buffer, fds) {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(read) => buffer = &mut buffer[read..],
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, ChannelError> {
        let mut control = Control([0; CONTROL]);
        let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zero is a value of this structure of integers and pointers.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        // SAFETY: the kernel writes into the buffer and the control block, at most their lengths.
        let read = sys::moved(unsafe {
            libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
        });
        let read = read.map_err(|error| match error.raw_os_error() {
            Some(libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN) => ChannelError::Closed,
            _ => error.into(),
        })?;
        take_descriptors(&message, fds);
        if message.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(ChannelError::TooManyDescriptors);
        }
        Ok(read)
    }

    /// Answers a request.
    pub(super) fn reply(
        &mut self,
        code: u32,
        payload: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        let mut bytes = Header::of_reply(code, payload.len()).to_vec();
        bytes.extend_from_slice(payload);
        let mut control = Control([0; CONTROL]);
        let mut sent = self.send(&bytes, fd.map(|fd| (fd, &mut control)))?;
        while sent < bytes.len() {
            sent += self.send(&bytes[sent..], None)?;
        }
        Ok(())
    }

    fn send(
        &mut self,
        bytes: &[u8],
        fd: Option<(BorrowedFd<'_>, &mut Control)>,
    ) -> Result<usize, ChannelError> {
        let mut piece =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all zero is a value of this structure of integers and pointers.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        if let Some((fd, control)) = fd {
            let len = size_of::<RawFd>() as u32;
            message.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: the macros compute sizes and places inside the control block, which has room for more than
            // one descriptor and is aligned for its header.
            unsafe {
                message.msg_controllen = libc::CMSG_SPACE(len) as _;
                let first = libc::CMSG_FIRSTHDR(&raw const message);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(len) as _;
                ptr::write_unaligned(libc::CMSG_DATA(first).cast(), fd.as_raw_fd());
            }
        }
        loop {
            // SAFETY: the kernel reads the bytes and the control block, which are all there.
            let sent = sys::moved(unsafe {
                libc::sendmsg(self.socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                    return Err(ChannelError::Closed);
                }
                other => return Ok(other?),
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The other handle of the socket may live on; the front-end is to know at once.
        // SAFETY: the call takes no memory.
        unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_RDWR) };
    }
}

/// Takes the descriptors that came with a message: from here on they are closed with their owner.
fn take_descriptors(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel has written the control block, and its headers lead from one to the next inside of it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a header that the macros returned lies whole in the control block.
        let (level, kind, len) =
            unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len as usize) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes a size only.
            let before = unsafe { libc::CMSG_LEN(0) } as usize;
            for position in 0..len.saturating_sub(before) / size_of::<RawFd>() {
                // SAFETY: the kernel has written so many descriptors behind the header, each installed for this
                // process and known to nobody else.
                fds.push(unsafe {
                    let data = libc::CMSG_DATA(header).cast::<RawFd>();
                    OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(position)))
                });
            }
        }
        // SAFETY: as for the first header.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
}

/// Sets whether calls on a descriptor wait.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    // SAFETY: the call takes no memory.
    let flags = sys::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let flags = if nonblocking { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: the call takes no memory.
    sys::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) })?;
    Ok(())
}
