//! TAP devices: the far side is an interface of this host or of a namespace. Linux
//! `Documentation/networking/tuntap.rst`; frames carry a virtio-net header of 10 bytes. The device's state
//! (up, carrier, MTU) is not touched.

use std::{
    ffi::{c_int, c_uint},
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr,
    sync::Arc,
};

use weft_core::DropReason;
use weft_offload::VnetHeader;
use zerocopy::FromBytes;

use crate::{
    Burst, Fault, Job, OpenError, Opened, Receive, Scratch, Tally, Transmit,
    egress::{Front, ROOM, VNET},
    error::to,
    queue::{ARENA_BUDGET, CACHE_LINE},
    sys,
};

/// Queues that the kernel allows a TAP.
const MAX_QUEUES: usize = 256;
const WITHOUT_USO: c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// Opens a TAP with this many queues, and makes the device if there is none. A device that was made here goes
/// with its last descriptor.
///
/// # Errors
/// [`OpenError`] when the device cannot be had.
pub fn open(device: &str, queues: usize) -> Result<Opened, OpenError> {
    if !(1..=MAX_QUEUES).contains(&queues) {
        return Err(OpenError::BadQueues(queues));
    }
    let fds = match queues {
        // A device is made for one queue or for many, and one that exists has to be taken as it is.
        1 => vec![match attach(device, 0) {
            Err(OpenError::OtherKind) => attach(device, libc::IFF_MULTI_QUEUE)?,
            other => other?,
        }],
        _ => {
            (0..queues).map(|_| attach(device, libc::IFF_MULTI_QUEUE)).collect::<Result<_, _>>()?
        }
    };
    let fds: Vec<Arc<OwnedFd>> = fds.into_iter().map(Arc::new).collect();
    Ok(Opened {
        rx: fds
            .iter()
            .map(|fd| Box::new(TapReceive { fd: fd.clone() }) as Box<dyn Receive>)
            .collect(),
        tx: fds.into_iter().map(|fd| Box::new(TapTransmit::new(fd)) as Box<dyn Transmit>).collect(),
    })
}

/// Opens one queue.
fn attach(device: &str, flags: c_int) -> Result<OwnedFd, OpenError> {
    let mut request = request_for(device)?;
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags) as libc::c_short;
    let fd = sys::open(c"/dev/net/tun").map_err(to("open /dev/net/tun"))?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`.
    sys::check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map_err(
        |error| match error.raw_os_error() {
            Some(libc::EBUSY) => OpenError::Busy,
            Some(libc::EINVAL) => OpenError::OtherKind,
            _ => to("make the TAP")(error),
        },
    )?;
    let header = VNET as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one `int`.
    sys::check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header) })
        .map_err(to("set the TAP's header size"))?;
    // The mask belongs to the device and outlives whoever set it: always set, whatever it was.
    set_offload(&fd, WITHOUT_USO | libc::TUN_F_USO4 | libc::TUN_F_USO6)
        .or_else(|_| set_offload(&fd, WITHOUT_USO))
        .map_err(to("set the TAP's offloads"))?;
    Ok(fd)
}

fn set_offload(fd: &OwnedFd, mask: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    sys::check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, mask as libc::c_ulong) })?;
    Ok(())
}

/// Makes the request that names a device.
pub(crate) fn request_for(device: &str) -> Result<libc::ifreq, OpenError> {
    let bad = |byte: u8| matches!(byte, 0 | b'/' | b':' | b'%') || byte.is_ascii_whitespace();
    if device.is_empty()
        || device.len() >= libc::IFNAMSIZ
        || device.bytes().any(bad)
        || matches!(device, "." | "..")
    {
        return Err(OpenError::BadName(device.to_owned()));
    }
    // SAFETY: all zero is a value of this structure of integers and byte arrays.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

struct TapReceive {
    fd: Arc<OwnedFd>,
}

impl Receive for TapReceive {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        let Scratch { arrivals, arena } = scratch;
        arrivals.clear();
        let base = arena.as_mut_ptr();
        let mut used = 0;
        while !arrivals.is_full() && used < ARENA_BUDGET {
            // SAFETY: `used` is a multiple of a cache line below the budget, where `ROOM` bytes follow.
            let read =
                sys::moved(unsafe { libc::read(self.fd.as_raw_fd(), base.add(used).cast(), ROOM) });
            let len = match read {
                Ok(len) => len,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR) => continue,
                    // What has been read is delivered first; the next call finds the same.
                    _ if !arrivals.is_empty() => break,
                    Some(libc::EBADFD | libc::ENODEV | libc::EFAULT) => {
                        return Err(Fault::DeviceGone);
                    }
                    _ => return Err(error.into()),
                },
            };
            if len < VNET {
                arrivals.refuse(DropReason::Malformed, 1);
                continue;
            }
            if len == ROOM {
                // A read that filled the room may have been cut off.
                arrivals.refuse(DropReason::Oversize, 1);
                continue;
            }
            // SAFETY: the kernel has written `len` bytes here, `VNET` or more.
            let (vnet, frame) = unsafe {
                (ptr::read_unaligned(base.add(used).cast::<[u8; VNET]>()), base.add(used + VNET))
            };
            let vnet = VnetHeader::read_from_bytes(&vnet).ok();
            // SAFETY: the frame's bytes were written just now, in the arena, which the burst borrows; later reads
            // go behind them.
            unsafe { arrivals.push(frame, len - VNET, None, vnet.as_ref()) };
            used += len.next_multiple_of(CACHE_LINE);
        }
        Ok(arrivals.burst())
    }
}

struct TapTransmit {
    fd: Arc<OwnedFd>,
    front: Front,
    pieces: Vec<libc::iovec>,
}

// SAFETY: the pointers in `pieces` are only followed within one call of `send`, which writes them first.
unsafe impl Send for TapTransmit {}

impl TapTransmit {
    fn new(fd: Arc<OwnedFd>) -> Self {
        Self { fd, front: Front::new(), pieces: Vec::with_capacity(4) }
    }

    /// Writes the front and what lies behind it as one frame.
    fn write(&mut self, rest: &[libc::iovec]) -> io::Result<usize> {
        let front = self.front.bytes();
        if rest.is_empty() {
            // SAFETY: the kernel reads the front, which is all there.
            return sys::moved(unsafe {
                libc::write(self.fd.as_raw_fd(), front.as_ptr().cast(), front.len())
            });
        }
        self.pieces.clear();
        self.pieces
            .push(libc::iovec { iov_base: front.as_ptr().cast_mut().cast(), iov_len: front.len() });
        self.pieces.extend_from_slice(rest);
        // SAFETY: the kernel reads the front and the bytes of the burst's scatter list, which is valid while the
        // burst is borrowed.
        sys::moved(unsafe {
            libc::writev(self.fd.as_raw_fd(), self.pieces.as_ptr(), self.pieces.len() as c_int)
        })
    }
}

impl Transmit for TapTransmit {
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        for job in jobs {
            let frame = &burst.frames()[usize::from(job.frame)];
            if let Err(reason) = self.front.build(&frame.head, job.tags) {
                tally.lost(job, reason);
                continue;
            }
            match self.write(burst.rest_of(frame)) {
                Ok(written) => tally.sent(written - VNET),
                Err(error) => tally.lost(job, sys::refusal(&error)),
            }
        }
    }

    fn flush(&mut self, _: &mut Tally) {}

    fn close(&mut self, _: &mut Tally) {}

    fn backlog(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
