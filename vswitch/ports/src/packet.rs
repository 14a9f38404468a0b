//! Packet sockets on the kernel side of an existing device: a VM's TAP, a veth, a NIC. packet(7) and Linux
//! `Documentation/networking/packet_mmap.rst`. The device itself is not changed but for its promiscuity, which
//! goes with the socket; keeping the host's own stack off it is not done here.

mod queued;
mod readiness;
mod receive;
mod ring;
mod transmit;

use std::{
    ffi::c_int,
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use self::{receive::PacketReceive, transmit::PacketTransmit};
use crate::{OpenError, Opened, error::to, sys};

/// What the kernel may keep of frames too large for the ring, and of frames on their way out.
const SOCKET_BUFFER: c_int = 8 * 1024 * 1024;
const ENABLED: c_int = 1;

/// Opens the device with this index.
///
/// # Errors
/// [`OpenError`] when the device is not there, carries no Ethernet, or the kernel does not permit it.
pub fn open(index: u32) -> Result<Opened, OpenError> {
    let index = c_int::try_from(index).map_err(|_| OpenError::NoDevice)?;
    let rx = PacketReceive::open(index)?;
    let tx = PacketTransmit::open(index)?;
    Ok(Opened { rx: vec![Box::new(rx)], tx: vec![Box::new(tx)] })
}

/// Makes the device with this index promiscuous for as long as the socket that is returned, which hears nothing.
///
/// # Errors
/// [`OpenError`] when the device is not there, carries no Ethernet, or the kernel does not permit it.
pub(crate) fn promiscuous(index: u32) -> Result<OwnedFd, OpenError> {
    let index = c_int::try_from(index).map_err(|_| OpenError::NoDevice)?;
    let socket = packet_socket()?;
    bind(socket.as_fd(), index, 0)?;
    make_promiscuous(socket.as_fd(), index)?;
    Ok(socket)
}

/// Makes a device promiscuous for as long as a socket.
fn make_promiscuous(socket: BorrowedFd<'_>, index: c_int) -> Result<(), OpenError> {
    let promiscuous = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    sys::set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, promiscuous)
        .map_err(to("make the device promiscuous"))
}

/// Makes a packet socket that puts a virtio-net header in front of each frame.
fn packet_socket() -> Result<OwnedFd, OpenError> {
    let socket =
        sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).map_err(to("open a packet socket"))?;
    sys::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, ENABLED)
        .map_err(to("ask the packet socket for virtio-net headers"))?;
    Ok(socket)
}

/// Ties a socket to a device, for frames of one protocol or, with 0, for sending only.
fn bind(socket: BorrowedFd<'_>, index: c_int, protocol: c_int) -> Result<(), OpenError> {
    // SAFETY: all zero is a value of this structure of integers and byte arrays.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = index;
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes of the address, which are all there.
    sys::check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) })
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => OpenError::NoDevice,
            _ => to("bind the packet socket")(error),
        })?;
    match bound_to(socket).map_err(to("read the packet socket's address"))? {
        (libc::ARPHRD_ETHER, _) => Ok(()),
        _ => Err(OpenError::NotEthernet),
    }
}

/// Returns the hardware type and the index of the device that a socket is tied to; the index is -1 once that is gone.
fn bound_to(socket: BorrowedFd<'_>) -> io::Result<(u16, c_int)> {
    // SAFETY: all zero is a value of this structure of integers and byte arrays.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into the address.
    sys::check(unsafe {
        libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut size)
    })?;
    Ok((address.sll_hatype, address.sll_ifindex))
}
