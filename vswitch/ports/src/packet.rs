//! Packet sockets on the kernel side of an existing device: a VM's TAP, a veth, a NIC. packet(7) and Linux
//! `Documentation/networking/packet_mmap.rst`. The device itself is not changed but for its promiscuity, which
//! goes with the socket; keeping the host's own stack off it is not done here.

mod ring;
mod transmit;

use std::{
    ffi::{c_int, c_void},
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr,
};

use weft_core::DropReason;
use weft_offload::VnetHeader;
use weft_vlan::{Tci, Tpid, WireTag};
use zerocopy::FromBytes;

use self::{
    ring::{Ring, Slot},
    transmit::PacketTransmit,
};
use crate::{
    Burst, Fault, OpenError, Opened, Receive, Scratch,
    egress::VNET,
    error::to,
    link::Links,
    queue::{ARENA, ARENA_BUDGET, Arrivals},
    sys,
};

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

/// Lets a socket keep more than the system's limit where that is permitted, and up to the limit otherwise.
fn enlarge(socket: BorrowedFd<'_>, forced: c_int, limited: c_int) -> io::Result<()> {
    sys::set_option(socket, libc::SOL_SOCKET, forced, SOCKET_BUFFER)
        .or_else(|_| sys::set_option(socket, libc::SOL_SOCKET, limited, SOCKET_BUFFER))
}

/// Whether the device is known to be up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    Up,
    /// It was set down, or is gone: the kernel says the same for both.
    Down,
}

struct PacketReceive {
    socket: OwnedFd,
    ring: Ring,
    index: c_int,
    device: Device,
}

impl PacketReceive {
    fn open(index: c_int) -> Result<Self, OpenError> {
        let socket = packet_socket()?;
        let set = |name, value: c_int, doing| {
            sys::set_option(socket.as_fd(), libc::SOL_PACKET, name, value).map_err(to(doing))
        };
        set(libc::PACKET_IGNORE_OUTGOING, ENABLED, "keep sent frames from coming back")?;
        set(libc::PACKET_COPY_THRESH, ENABLED, "have large frames kept whole")?;
        enlarge(socket.as_fd(), libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)
            .map_err(to("enlarge the receive buffer"))?;
        let ring = Ring::map(socket.as_fd()).map_err(to("map the packet socket's ring"))?;
        bind(socket.as_fd(), index, libc::ETH_P_ALL)?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        sys::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, promiscuous)
            .map_err(to("make the device promiscuous"))?;
        Ok(Self { socket, ring, index, device: Device::Up })
    }

    /// Takes a frame that was too large for its slot from the socket's queue, where it waits in the same order.
    ///
    /// # Safety
    /// `room` bytes can be written at `into` until the burst that is made of the arrivals ends.
    unsafe fn take_large(
        &mut self,
        slot: &Slot,
        into: *mut u8,
        room: usize,
        arrivals: &mut Arrivals,
    ) -> io::Result<usize> {
        let len = loop {
            // SAFETY: the caller says that `room` bytes can be written here. MSG_TRUNC makes the kernel return the
            // whole frame's length, never write more.
            let received = unsafe {
                libc::recv(self.socket.as_raw_fd(), into.cast::<c_void>(), room, libc::MSG_TRUNC)
            };
            match sys::moved(received) {
                Ok(len) => break len,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The device's state comes before the frames that wait, once.
                    Some(libc::ENETDOWN) => self.device = Device::Down,
                    // A kind of super-frame that virtio-net has no name for; the kernel has thrown it away.
                    Some(libc::EINVAL) => {
                        arrivals.refuse(DropReason::UnsupportedOffload, 1);
                        return Ok(0);
                    }
                    _ => return Err(error),
                },
            }
        };
        if len > room {
            arrivals.refuse(DropReason::Oversize, 1);
            return Ok(0);
        }
        if len != VNET + slot.frame_len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the packet ring and its queue disagree",
            ));
        }
        // SAFETY: the kernel has written `len` bytes here, more than `VNET`.
        let (vnet, frame) =
            unsafe { (ptr::read_unaligned(into.cast::<[u8; VNET]>()), into.add(VNET)) };
        // SAFETY: the caller says that the bytes stay as they are until the burst ends.
        unsafe {
            arrivals.push(
                frame,
                len - VNET,
                stripped_tag(slot),
                VnetHeader::read_from_bytes(&vnet).ok().as_ref(),
            )
        };
        Ok(len)
    }

    /// Counts what the kernel could not put into the ring.
    fn count_losses(&mut self, arrivals: &mut Arrivals) -> io::Result<()> {
        let lost: libc::tpacket_stats =
            sys::get_option(self.socket.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        if lost.tp_drops > 0 {
            // The kernel also counts a super-frame that virtio-net has no name for as lost.
            let reason = if self.ring.may_have_been_full() {
                DropReason::QueueFull
            } else {
                DropReason::UnsupportedOffload
            };
            arrivals.refuse(reason, u64::from(lost.tp_drops));
        }
        Ok(())
    }

    /// Finds out why nothing comes. A device that was set down may go up again; one that is gone does not return.
    fn check_device(&mut self) -> Result<(), Fault> {
        let error: c_int = sys::get_option(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR)?;
        match error {
            0 => {}
            libc::ENETDOWN => self.device = Device::Down,
            libc::ENXIO | libc::ENODEV => return Err(Fault::DeviceGone),
            other => return Err(io::Error::from_raw_os_error(other).into()),
        }
        if self.device == Device::Up {
            return Ok(());
        }
        // A device goes down before it goes away. Its driver's name is looked up under the lock that its removal
        // holds from beginning to end, so that what the socket says thereafter is final.
        let _ = Links::open().and_then(|links| links.driver(&links.name(self.index as u32)?));
        match bound_to(self.socket.as_fd())? {
            (_, index) if index == self.index => Ok(()),
            _ => Err(Fault::DeviceGone),
        }
    }
}

impl Receive for PacketReceive {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        let Scratch { arrivals, arena } = scratch;
        arrivals.clear();
        self.ring.release();
        let base = arena.as_mut_ptr();
        let mut used = 0;
        while !arrivals.is_full() && used < ARENA_BUDGET {
            let Some(slot) = self.ring.take() else { break };
            if slot.says(libc::TP_STATUS_LOSING) {
                self.count_losses(arrivals)?;
            }
            if slot.says(libc::TP_STATUS_COPY) {
                // SAFETY: `used` is below the arena's length, and the rest of it follows; the burst borrows it, and
                // later frames go behind this one.
                let len =
                    unsafe { self.take_large(&slot, base.add(used), ARENA - used, arrivals)? };
                used += len.next_multiple_of(CACHE_LINE);
            } else if slot.is_cut_short() {
                // The queue for large frames is full.
                arrivals.refuse(DropReason::QueueFull, 1);
            } else {
                let vnet = VnetHeader::read_from_bytes(slot.vnet_header()).ok();
                // SAFETY: the slot is ours until the ring's next release, which needs the queue that the burst borrows.
                unsafe {
                    arrivals.push(
                        slot.frame(),
                        slot.frame_len(),
                        stripped_tag(&slot),
                        vnet.as_ref(),
                    )
                };
                used += slot.frame_len();
            }
        }
        if arrivals.is_empty() {
            self.check_device()?;
        } else {
            self.device = Device::Up;
        }
        Ok(arrivals.burst())
    }
}

const CACHE_LINE: usize = 64;

/// Returns the tag that the kernel has taken off a frame, priority tags included.
fn stripped_tag(slot: &Slot) -> Option<WireTag> {
    if !slot.says(libc::TP_STATUS_VLAN_VALID) {
        return None;
    }
    let (tci, tpid) = slot.vlan();
    let tpid =
        if slot.says(libc::TP_STATUS_VLAN_TPID_VALID) { Tpid::from_ethertype(tpid) } else { None };
    Some(WireTag::new(tpid.unwrap_or(Tpid::Dot1Q), Tci::from_bits(tci)))
}
