//! AF_XDP on an existing device: frames go from its driver to memory of ours before the kernel makes anything of them.
//! Linux `Documentation/networking/af_xdp.rst`. One socket with memory of its own for each of the device's queues; the
//! program that hands frames to the sockets is attached by a link that goes with its descriptor. As for a packet
//! socket, the device itself is not changed but for its promiscuity.

mod bpf;
mod btf;
mod memory;
mod program;
mod receive;
mod ring;
mod transmit;

use std::{
    ffi::c_int,
    fmt, io, mem,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
    thread,
    time::Duration,
};

use self::{
    memory::{Chunk, Memory},
    program::Attachment,
    receive::XdpReceive,
    ring::{Consumer, Producer},
    transmit::XdpTransmit,
};
use crate::{
    OpenError, Opened, Receive, Transmit,
    error::to,
    link::{Links, Queues},
    packet, sys,
};

/// Queues of a device that are served; more would bind too much memory.
const MAX_QUEUES: u32 = 64;
/// Frames that may wait to be taken, in each queue.
const RX_SLOTS: u32 = 2048;
/// Frames that may be on their way out, in each queue.
const TX_SLOTS: u32 = 1024;
/// What the kernel may keep of frames on their way out.
const SOCKET_BUFFER: c_int = 8 * 1024 * 1024;
/// The driver of TAPs.
const TUN: &str = "tun";
/// Linux `XDP_MAX_TX_SKB_BUDGET`, which the libc crate does not name.
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
/// How often, a millisecond apart, a queue is asked for that an earlier socket may not have left yet: the kernel takes
/// its memory off the device only some time after the socket was closed.
const BIND_ATTEMPTS: u32 = 500;

/// How the frames of a device come and go, as far as its driver has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Road {
    /// Where the program runs.
    pub hook: Hook,
    /// Whether the kernel copies frames.
    pub copying: Copying,
    /// How many queues are served.
    pub queues: usize,
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// In the driver, before the kernel makes a packet of a frame.
    Native,
    /// Behind the driver, for drivers that know no XDP.
    Generic,
}

/// Whether the kernel copies frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// It copies each frame, once a way.
    Copy,
    /// The device itself reads and writes the sockets' memory.
    ZeroCopy,
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = match self.hook {
            Hook::Native => "native",
            Hook::Generic => "generic",
        };
        let copying = match self.copying {
            Copying::Copy => "copy",
            Copying::ZeroCopy => "zero-copy",
        };
        let plural = if self.queues == 1 { "" } else { "s" };
        write!(f, "{hook} {copying} mode, {} queue{plural}", self.queues)
    }
}

/// Opens the device with this index.
///
/// # Errors
/// [`OpenError`] when the device is not there, carries no Ethernet, takes frames that are too long, has a program of
/// somebody else, or the kernel does not permit it.
pub fn open(index: u32) -> Result<(Opened, Road), OpenError> {
    let links = Links::open().map_err(to("open a socket to ask devices"))?;
    let name = links.name(index).map_err(|_| OpenError::NoDevice)?;
    let promiscuity = packet::promiscuous(index)?;
    let mtu = links.mtu(&name).map_err(to("ask the device for its MTU"))?;
    let chunk = Chunk::for_mtu(mtu)?;
    // Not every device has a driver to name.
    let driver = links.driver(&name).unwrap_or_default();
    let queues = links.queues(&name).map_err(to("ask the device for its queues"))?;
    if queues.is_some_and(|queues| queues.receiving.max(queues.sending) > MAX_QUEUES) {
        return Err(OpenError::TooManyQueues(MAX_QUEUES));
    }
    let sending = sending_queues(queues, &driver);
    let attachment = Attachment::new(index, &driver)?;
    let device = Arc::new(Device { attachment, _promiscuity: promiscuity });
    let mut opened = Opened { rx: Vec::new(), tx: Vec::new() };
    let mut copying = Copying::ZeroCopy;
    for queue in 0.. {
        let Some((rx, tx, how)) = open_queue(&device, index, queue, chunk)? else { break };
        opened.rx.push(rx);
        if queue < sending {
            opened.tx.push(tx);
        }
        if how == Copying::Copy {
            copying = Copying::Copy;
        }
    }
    let road = Road { hook: device.attachment.hook, copying, queues: opened.rx.len() };
    Ok((opened, road))
}

/// Returns how many queues of a device send. A socket can be bound to any queue that receives, and the kernel says
/// nothing when what such a socket is given to send is for a queue that is not there.
fn sending_queues(queues: Option<Queues>, driver: &str) -> u32 {
    match queues {
        Some(queues) => queues.sending,
        // It has as many either way.
        None if driver == TUN => MAX_QUEUES,
        // Every device has one.
        None => 1,
    }
}

type Queue = (Box<dyn Receive>, Box<dyn Transmit>, Copying);

/// Opens a queue of a device; `None` when it has no more.
fn open_queue(
    device: &Arc<Device>,
    index: u32,
    queue: u32,
    chunk: Chunk,
) -> Result<Option<Queue>, OpenError> {
    let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map_err(|error| match error {
        error if error.raw_os_error() == Some(libc::EPERM) => {
            bpf::not_permitted("open an AF_XDP socket")
        }
        error => to("open an AF_XDP socket")(error),
    })?;
    let memory = Memory::map(RX_SLOTS + TX_SLOTS, chunk).map_err(to("set memory aside"))?;
    memory.register(fd.as_fd()).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOBUFS) => OpenError::LockedMemory,
        _ => to("register memory with the AF_XDP socket")(error),
    })?;
    sys::enlarge(fd.as_fd(), libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SOCKET_BUFFER)
        .map_err(to("enlarge the send buffer"))?;
    let slots = |name, slots: u32| {
        sys::set_option(fd.as_fd(), libc::SOL_XDP, name, slots as c_int)
            .map_err(to("size the AF_XDP socket's rings"))
    };
    slots(libc::XDP_UMEM_FILL_RING, RX_SLOTS)?;
    slots(libc::XDP_UMEM_COMPLETION_RING, TX_SLOTS)?;
    slots(libc::XDP_RX_RING, RX_SLOTS)?;
    slots(libc::XDP_TX_RING, TX_SLOTS)?;
    // Before Linux 6.18 a call sends 32 frames, and is made again for the others.
    let _ = slots(XDP_MAX_TX_SKB_BUDGET, TX_SLOTS);
    let offsets: libc::xdp_mmap_offsets =
        sys::get_option(fd.as_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)
            .map_err(to("ask for the layout of the AF_XDP socket's rings"))?;
    let map = to("map the AF_XDP socket's rings");
    let rings = || -> io::Result<_> {
        let fd = fd.as_fd();
        let rx = Consumer::map(fd, libc::XDP_PGOFF_RX_RING, &offsets.rx, RX_SLOTS)?;
        let tx = Producer::map(fd, libc::XDP_PGOFF_TX_RING, &offsets.tx, TX_SLOTS)?;
        let fill = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let fill = Producer::map(fd, fill, &offsets.fr, RX_SLOTS)?;
        let completed = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let completed = Consumer::map(fd, completed, &offsets.cr, TX_SLOTS)?;
        Ok((rx, tx, fill, completed))
    };
    let (rx, tx, fill, completed) = rings().map_err(map)?;
    if !bind(&fd, index, queue, device.attachment.hook)? {
        return Ok(None);
    }
    if queue == MAX_QUEUES {
        return Err(OpenError::TooManyQueues(MAX_QUEUES));
    }
    let options: libc::xdp_options = sys::get_option(fd.as_fd(), libc::SOL_XDP, libc::XDP_OPTIONS)
        .map_err(to("ask how the AF_XDP socket was bound"))?;
    let copying = match options.flags & libc::XDP_OPTIONS_ZEROCOPY {
        0 => Copying::Copy,
        _ => Copying::ZeroCopy,
    };
    let socket = Arc::new(Socket { _device: device.clone(), fd, memory });
    let rx = XdpReceive::new(socket.clone(), rx, fill);
    device
        .attachment
        .sockets
        .put(queue, socket.fd.as_fd())
        .map_err(to("enter the AF_XDP socket"))?;
    let tx = XdpTransmit::new(socket, tx, completed).map_err(to("make an event"))?;
    Ok(Some((Box::new(rx), Box::new(tx), copying)))
}

/// Ties a socket to a queue of a device; tells whether there is such a queue.
fn bind(fd: &OwnedFd, index: u32, queue: u32, hook: Hook) -> Result<bool, OpenError> {
    let how = match hook {
        Hook::Native => 0,
        Hook::Generic => libc::XDP_COPY,
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as libc::__u16,
        sxdp_flags: libc::XDP_USE_NEED_WAKEUP | how,
        sxdp_ifindex: index,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let size = mem::size_of_val(&address) as libc::socklen_t;
    let mut attempts = BIND_ATTEMPTS;
    loop {
        // SAFETY: the kernel reads `size` bytes of the address, which are all there.
        let bound =
            sys::check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) });
        let Err(error) = bound else { return Ok(true) };
        match error.raw_os_error() {
            Some(libc::EBUSY) if attempts > 0 => {
                attempts -= 1;
                thread::sleep(Duration::from_millis(1));
            }
            Some(libc::EBUSY) => return Err(OpenError::Busy),
            Some(libc::EINVAL) if queue > 0 => return Ok(false),
            Some(libc::ENODEV) => return Err(OpenError::NoDevice),
            _ => return Err(to("bind the AF_XDP socket")(error)),
        }
    }
}

/// What all queues of a device share. Fields are let go of in this order: nothing comes any more, then the rest.
struct Device {
    attachment: Attachment,
    /// The socket that makes the device promiscuous.
    _promiscuity: OwnedFd,
}

/// What both sides of a queue share.
struct Socket {
    _device: Arc<Device>,
    fd: OwnedFd,
    memory: Memory,
}

impl Socket {
    /// Has the kernel send what is in the sending ring; `Ok` when it has taken all.
    fn kick(&self) -> io::Result<()> {
        // SAFETY: the call takes no memory.
        sys::moved(unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        })
        .map(drop)
    }

    /// Tells the driver that there is room again for what it receives.
    fn wake_driver(&self) {
        // What goes wrong here goes wrong again at the next look.
        // SAFETY: the call takes no memory.
        let _ = sys::moved(unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_queue_sends_that_may_not_be_there() {
        let queues = |receiving, sending| Some(Queues { receiving, sending });
        for (queues, driver, expected) in [
            (queues(4, 1), "veth", 1),
            (queues(1, 4), "veth", 4),
            (queues(2, 2), "tun", 2),
            (None, "tun", MAX_QUEUES),
            (None, "", 1),
        ] {
            assert_eq!(sending_queues(queues, driver), expected, "{queues:?} {driver}");
        }
    }
}
