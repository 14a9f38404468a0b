//! A frame from a packet socket's queue: one system call each, with the stripped VLAN tag as ancillary data.

use std::{
    ffi::c_void,
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use weft_vlan::WireTag;

use super::receive::stripped_tag;
use crate::sys;

/// What was received: bytes in all, which may be more than there was room for, and the tag that the kernel took off.
pub(super) struct Queued {
    pub(super) len: usize,
    pub(super) stripped: Option<WireTag>,
}

/// Room for one `tpacket_auxdata` with its header, 36 bytes and more where an integer has 64 bits.
type Control = [u64; 8];
const _: () = assert!(
    size_of::<Control>() >= size_of::<libc::cmsghdr>() + size_of::<libc::tpacket_auxdata>() + 8
);

/// Takes the next frame, behind its virtio-net header.
///
/// # Safety
/// `room` bytes can be written at `into`.
pub(super) unsafe fn take(
    socket: BorrowedFd<'_>,
    into: *mut u8,
    room: usize,
) -> io::Result<Queued> {
    let mut control: Control = [0; 8];
    let mut piece = libc::iovec { iov_base: into.cast::<c_void>(), iov_len: room };
    // SAFETY: all zero is a value of this structure of integers and pointers.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message points at the room, of which the caller says that it can be written, and at the control
    // buffer. MSG_TRUNC makes the kernel return the whole frame's length; it never writes more than the room.
    let len = sys::moved(unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_TRUNC)
    })?;
    // SAFETY: the kernel has filled in the message, whose control buffer is still there.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let stripped = first
        .filter(|part| {
            (part.cmsg_level, part.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
        })
        .and_then(|part| {
            // SAFETY: a message of this type carries this structure, and the control buffer has room for it.
            let data: libc::tpacket_auxdata =
                unsafe { ptr::read_unaligned(libc::CMSG_DATA(part).cast()) };
            stripped_tag(data.tp_status, data.tp_vlan_tci, data.tp_vlan_tpid)
        });
    Ok(Queued { len, stripped })
}
