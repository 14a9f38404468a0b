//! The receiving side of a packet socket. Small frames come by the ring, in place; large ones, and all of them once
//! the ring is given up, come by the socket's queue.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
};

use weft_core::DropReason;
use weft_offload::VnetHeader;
use weft_vlan::{Tci, Tpid, WireTag};
use zerocopy::FromBytes;

use super::{
    ENABLED, SOCKET_BUFFER, bind, bound_to, make_promiscuous, packet_socket, queued,
    readiness::Readiness, ring::Ring,
};
use crate::{
    Burst, Fault, OpenError, Receive, Scratch,
    egress::{ROOM, VNET},
    error::to,
    link::Links,
    queue::{ARENA_BUDGET, Arrivals, CACHE_LINE},
    sys,
};

/// Whether the device is known to be up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    Up,
    /// It was set down, or is gone: the kernel says the same for both.
    Down,
}

pub(super) struct PacketReceive {
    socket: OwnedFd,
    readiness: Readiness,
    /// `None` once it was given up.
    ring: Option<Ring>,
    index: c_int,
    device: Device,
    /// Whether the kernel said beside a frame that it dropped others.
    losing: bool,
    /// Whether nothing comes by the ring any more.
    wedged: bool,
}

impl PacketReceive {
    pub(super) fn open(index: c_int) -> Result<Self, OpenError> {
        let socket = receiving_socket()?;
        let ring = Ring::map(socket.as_fd()).map_err(to("map the packet socket's ring"))?;
        listen(socket.as_fd(), index)?;
        let readiness = Readiness::of(socket.as_fd()).map_err(to("watch the packet socket"))?;
        Ok(Self {
            socket,
            readiness,
            ring: Some(ring),
            index,
            device: Device::Up,
            losing: false,
            wedged: false,
        })
    }

    /// Takes frames until the burst has no room for more; tells whether it stopped because nothing waits.
    ///
    /// # Safety
    /// The arena's `ARENA` bytes at `arena` stay as they are behind `used` until the burst that is made of the
    /// arrivals ends.
    unsafe fn take(
        &mut self,
        arena: *mut u8,
        used: &mut usize,
        arrivals: &mut Arrivals,
    ) -> Result<bool, Fault> {
        while !arrivals.is_full() && *used < ARENA_BUDGET {
            let Some(ring) = &mut self.ring else {
                // SAFETY: the caller says so.
                if !unsafe { self.take_queued(arena, used, arrivals)? } {
                    return Ok(true);
                }
                continue;
            };
            let Some(slot) = ring.take() else { return Ok(true) };
            self.losing |= slot.says(libc::TP_STATUS_LOSING);
            if slot.says(libc::TP_STATUS_COPY) {
                // SAFETY: the caller says so.
                unsafe { self.take_queued(arena, used, arrivals)? };
            } else if slot.is_cut_short() {
                // The queue for large frames is full.
                arrivals.refuse(DropReason::QueueFull, 1);
            } else {
                let vnet = VnetHeader::read_from_bytes(slot.vnet_header()).ok();
                let (tci, tpid) = slot.vlan();
                let stripped = stripped_tag(slot.status(), tci, tpid);
                // SAFETY: the slot is ours until the ring's next release, which needs the queue that the burst borrows.
                unsafe { arrivals.push(slot.frame(), slot.frame_len(), stripped, vnet.as_ref()) };
                *used += slot.frame_len().next_multiple_of(CACHE_LINE);
            }
        }
        Ok(false)
    }

    /// Takes a frame from the socket's queue; tells whether there was one.
    ///
    /// # Safety
    /// As for [`PacketReceive::take`]; `used` is a multiple of [`CACHE_LINE`] below [`ARENA_BUDGET`].
    unsafe fn take_queued(
        &mut self,
        arena: *mut u8,
        used: &mut usize,
        arrivals: &mut Arrivals,
    ) -> Result<bool, Fault> {
        // SAFETY: `used` is below the arena's length.
        let into = unsafe { arena.add(*used) };
        let queued = loop {
            // SAFETY: `used` is a multiple of a cache line below the budget, where `ROOM` bytes follow.
            match unsafe { queued::take(self.socket.as_fd(), into, ROOM) } {
                Ok(queued) => break queued,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return Ok(false),
                    // The device's state is told before the frames that wait, once.
                    Some(libc::ENETDOWN) => self.device = Device::Down,
                    // A kind of super-frame that virtio-net has no name for; the kernel has thrown it away.
                    Some(libc::EINVAL) => {
                        arrivals.refuse(DropReason::UnsupportedOffload, 1);
                        return Ok(true);
                    }
                    _ => return Err(error.into()),
                },
            }
        };
        if queued.len > ROOM || queued.len < VNET {
            arrivals.refuse(DropReason::Oversize, 1);
            return Ok(true);
        }
        // SAFETY: the kernel has written `len` bytes here, `VNET` or more.
        let (vnet, frame) =
            unsafe { (ptr::read_unaligned(into.cast::<[u8; VNET]>()), into.add(VNET)) };
        let vnet = VnetHeader::read_from_bytes(&vnet).ok();
        // SAFETY: the caller says that the bytes stay as they are; later frames go behind them.
        unsafe { arrivals.push(frame, queued.len - VNET, queued.stripped, vnet.as_ref()) };
        *used += queued.len.next_multiple_of(CACHE_LINE);
        Ok(true)
    }

    /// Counts what the kernel dropped since it was asked last; returns the reason.
    fn count_losses(&mut self, arrivals: &mut Arrivals) -> io::Result<Option<DropReason>> {
        self.losing = false;
        let lost = statistics(self.socket.as_fd())?.tp_drops;
        if lost == 0 {
            return Ok(None);
        }
        // With room in the ring, the kernel drops only super-frames that virtio-net has no name for.
        let was_full = self.ring.as_mut().is_none_or(Ring::was_full);
        let reason = if was_full { DropReason::QueueFull } else { DropReason::UnsupportedOffload };
        arrivals.refuse(reason, lost.into());
        Ok(Some(reason))
    }

    /// Goes on without the ring. Linux leaves the slot reserved in which it cannot put a super-frame
    /// (`rx_owner_map` in `tpacket_rcv`) and drops everything from there on. A new ring for each such frame would
    /// let a guest stall the worker, so there is none any more. What comes until the new socket listens is counted by
    /// the old one, which sees what the new one gets as well.
    fn give_up_ring(&mut self, arrivals: &mut Arrivals) -> Result<(), Fault> {
        let socket = receiving_socket()
            .and_then(|socket| listen(socket.as_fd(), self.index).map(|()| socket))
            .map_err(|error| match error {
                OpenError::NoDevice => Fault::DeviceGone,
                error => io::Error::other(error).into(),
            })?;
        self.readiness.watch(socket.as_fd())?;
        let kept = statistics(socket.as_fd())?.tp_packets;
        let lost = statistics(self.socket.as_fd())?.tp_drops;
        arrivals.refuse(DropReason::UnsupportedOffload, lost.saturating_sub(kept).into());
        (self.ring, self.wedged) = (None, false);
        self.socket = socket;
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
        let state = Links::open().and_then(|links| {
            let name = links.name(self.index as u32)?;
            // Not every device has one to name; the lock is what counts.
            let _ = links.driver(&name);
            links.state(&name)
        });
        match bound_to(self.socket.as_fd())? {
            (_, index) if index != self.index => return Err(Fault::DeviceGone),
            _ if state.is_ok_and(|state| state.up) => self.device = Device::Up,
            _ => {}
        }
        Ok(())
    }
}

impl Receive for PacketReceive {
    fn fd(&self) -> BorrowedFd<'_> {
        self.readiness.fd()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        let Scratch { arrivals, arena } = scratch;
        arrivals.clear();
        if let Some(ring) = &mut self.ring {
            ring.release();
        }
        let arena = arena.as_mut_ptr();
        let mut used = 0;
        // SAFETY: the burst borrows the arena, and nothing else writes to it.
        let mut nothing_waits = unsafe { self.take(arena, &mut used, arrivals)? };
        if nothing_waits {
            self.readiness.forget();
            // What came before the wake-up was forgotten.
            // SAFETY: as above.
            nothing_waits = unsafe { self.take(arena, &mut used, arrivals)? };
        }
        let mut lost = None;
        if arrivals.is_empty() && nothing_waits {
            self.check_device()?;
            lost = self.count_losses(arrivals)?;
        } else if self.losing {
            lost = self.count_losses(arrivals)?;
        }
        if lost == Some(DropReason::UnsupportedOffload) {
            self.wedged = true;
            // What came before it may have come since.
            // SAFETY: as above.
            nothing_waits = unsafe { self.take(arena, &mut used, arrivals)? };
        }
        // Frames of this burst lie in the ring.
        if self.wedged && nothing_waits && !arrivals.has_frames() {
            self.give_up_ring(arrivals)?;
        }
        Ok(arrivals.burst())
    }
}

/// Makes a socket that keeps what comes whole, and knows of each frame what the kernel did with it.
fn receiving_socket() -> Result<OwnedFd, OpenError> {
    let socket = packet_socket()?;
    let set = |name, doing| {
        sys::set_option(socket.as_fd(), libc::SOL_PACKET, name, ENABLED).map_err(to(doing))
    };
    set(libc::PACKET_IGNORE_OUTGOING, "keep sent frames from coming back")?;
    set(libc::PACKET_AUXDATA, "have VLAN tags told")?;
    set(libc::PACKET_COPY_THRESH, "have large frames kept whole")?;
    sys::enlarge(socket.as_fd(), libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, SOCKET_BUFFER)
        .map_err(to("enlarge the receive buffer"))?;
    Ok(socket)
}

/// Lets everything that comes by a device come to a socket, whomever it is for.
fn listen(socket: BorrowedFd<'_>, index: c_int) -> Result<(), OpenError> {
    bind(socket, index, libc::ETH_P_ALL)?;
    make_promiscuous(socket, index)
}

/// Returns how many frames came to a socket, and how many of them the kernel dropped, since it was asked last.
fn statistics(socket: BorrowedFd<'_>) -> io::Result<libc::tpacket_stats> {
    sys::get_option(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS)
}

/// Returns the tag that the kernel has taken off a frame, priority tags included.
pub(super) fn stripped_tag(status: u32, tci: u16, tpid: u16) -> Option<WireTag> {
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 {
        Tpid::from_ethertype(tpid)
    } else {
        None
    };
    Some(WireTag::new(tpid.unwrap_or(Tpid::Dot1Q), Tci::from_bits(tci)))
}
