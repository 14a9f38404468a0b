//! The ioctls, socket options and batched calls that no safe crate offers: TAPs with virtio-net headers,
//! packet sockets, `sendmmsg`, `recvmmsg`; memory that another process maps. Holds all `unsafe` of the bench and decides nothing.

use std::{
    ffi::CString,
    io, mem,
    net::UdpSocket,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr, slice,
    sync::atomic::{AtomicU16, Ordering},
};

use libc::{c_int, c_void};
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
    net::sockopt,
};

/// The bytes before each frame.
pub(crate) const VNET_HEADER: usize = 10;
const TUN_F_USO: libc::c_uint = 0x20 | 0x40;
const PACKET_BUFFER: usize = 64 << 20;
/// `if_packet.h`; the libc crate has no name for it.
const PACKET_IGNORE_OUTGOING: c_int = 23;

/// Creates the TAP `name` with virtio-net headers and every offload that the kernel has. The descriptor
/// does not block.
pub(crate) fn open_tap(name: &str) -> io::Result<OwnedFd> {
    let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let tap = OwnedFd::from(tun);
    rustix::io::ioctl_fionbio(&tap, true)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    // SAFETY: `ifreq` is plain old data, valid when zero.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    copy_name(name, &mut request.ifr_name)?;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let header = VNET_HEADER as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which lives through the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header) })?;
    let tso = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    // UDP segmentation is younger than the rest: without it where the kernel has none.
    set_offload(tap.as_fd(), tso | TUN_F_USO).or_else(|_| set_offload(tap.as_fd(), tso))?;
    Ok(tap)
}

/// Opens a packet socket with virtio-net headers that sees what arrives at the device `name`, whoever it is
/// for, and nothing of what leaves. The descriptor does not block.
pub(crate) fn open_packet(name: &str) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: a call without pointers.
    let raw = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: `raw` was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    for option in [libc::PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, libc::PACKET_QDISC_BYPASS] {
        set_packet_option(&socket, option, &1_i32)?;
    }
    grow_buffers(&socket, PACKET_BUFFER);

    let c_name = CString::new(name)?;
    // SAFETY: `c_name` is a terminated string that lives through the call.
    let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
    let index =
        c_int::try_from(index).ok().filter(|index| *index > 0).ok_or(io::ErrorKind::NotFound)?;
    // SAFETY: `packet_mreq` is plain old data, valid when zero.
    let mut membership: libc::packet_mreq = unsafe { mem::zeroed() };
    membership.mr_ifindex = index;
    membership.mr_type = libc::PACKET_MR_PROMISC as u16;
    set_packet_option(&socket, libc::PACKET_ADD_MEMBERSHIP, &membership)?;

    // SAFETY: `sockaddr_ll` is plain old data, valid when zero.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index;
    let size = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: pointer and size are those of `address`, which lives through the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) })?;
    Ok(socket)
}

/// Asks for socket buffers of `size` bytes. Without the right to pass the system's limit, that limit is what there is.
pub(crate) fn grow_buffers(socket: &impl AsFd, size: usize) {
    if sockopt::set_socket_recv_buffer_size_force(socket, size).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(socket, size);
    }
    let _ = sockopt::set_socket_send_buffer_size(socket, size);
}

/// Many equal datagrams for one `sendmmsg` call, or room for many received ones.
pub(crate) struct Batch {
    headers: Vec<libc::mmsghdr>,
    // What the headers point to; boxed, so that it stays where it is when the batch moves.
    iovecs: Box<[libc::iovec]>,
    _bytes: Box<[u8]>,
}

impl Batch {
    /// Prepares `count` datagrams of `size` zero bytes each.
    pub(crate) fn new(count: usize, size: usize) -> Self {
        let mut bytes = vec![0; count * size].into_boxed_slice();
        let iovec = |part: &mut [u8]| libc::iovec {
            iov_base: part.as_mut_ptr().cast(),
            iov_len: part.len(),
        };
        let mut iovecs: Box<[_]> = bytes.chunks_mut(size).map(iovec).collect();
        let header = |iovec: &mut libc::iovec| {
            // SAFETY: `mmsghdr` is plain old data, valid when zero.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = ptr::from_mut(iovec);
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let headers = iovecs.iter_mut().map(header).collect();
        Self { headers, iovecs, _bytes: bytes }
    }

    /// Returns the bytes of each datagram.
    pub(crate) fn datagrams(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.iovecs.iter().map(|iovec| {
            // SAFETY: each iovec names initialised bytes of `_bytes` of its own, which nothing else refers to while
            // `self` is borrowed mutably.
            unsafe { slice::from_raw_parts_mut(iovec.iov_base.cast(), iovec.iov_len) }
        })
    }

    /// Numbers the datagrams from `first` on, in the first eight bytes of each.
    pub(crate) fn number(&mut self, first: u64) {
        for (datagram, number) in self.datagrams().zip(first..) {
            let bytes = number.to_be_bytes();
            let length = bytes.len().min(datagram.len());
            datagram[..length].copy_from_slice(&bytes[..length]);
        }
    }

    /// Returns the numbers of the first `count` datagrams as received; none for one too short for a number.
    pub(crate) fn numbers(&self, count: usize) -> impl Iterator<Item = u64> {
        let filled = self.iovecs.iter().zip(&self.headers).take(count);
        filled.filter_map(|(iovec, header)| {
            let mut bytes = [0; size_of::<u64>()];
            if (header.msg_len as usize).min(iovec.iov_len) < bytes.len() {
                return None;
            }
            // SAFETY: the iovec names at least as many bytes of `_bytes`, all initialised, which nobody writes
            // while `self` is borrowed.
            unsafe {
                ptr::copy_nonoverlapping(iovec.iov_base.cast(), bytes.as_mut_ptr(), bytes.len());
            }
            Some(u64::from_be_bytes(bytes))
        })
    }

    /// Sends the datagrams to the connected peer and returns how many were taken.
    pub(crate) fn send(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as libc::c_uint);
        // SAFETY: the headers and the buffers that they point to belong to `self` and live through the call.
        let sent = check(unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), headers, count, 0) })?;
        Ok(sent.unsigned_abs() as usize)
    }

    /// Receives what waits, without blocking, and returns how many datagrams.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as libc::c_uint);
        let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: the headers and the buffers that they point to belong to `self` and live through the call;
        // no other reference to the bytes exists.
        let got = check(unsafe { libc::recvmmsg(fd, headers, count, flags, ptr::null_mut()) })?;
        Ok(got.unsigned_abs() as usize)
    }
}

/// Memory in a file that another process maps, too: it is only copied from and to, by places counted from its
/// begin.
pub(crate) struct SharedMemory {
    file: OwnedFd,
    base: *mut u8,
    len: usize,
}

impl SharedMemory {
    /// Makes `len` bytes of zeros.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let file = memfd_create("bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len as u64)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe { mmap(ptr::null_mut(), len, access, flags, &file, 0)? };
        Ok(Self { file, base: base.cast(), len })
    }

    /// Returns its file.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the address of its first byte in this process.
    pub(crate) fn address(&self) -> u64 {
        self.base as u64
    }

    /// Copies bytes to a place.
    pub(crate) fn write(&self, place: usize, bytes: &[u8]) {
        let to = self.pointer(place, bytes.len());
        // SAFETY: both lie in their memory, which is not the same: no `&[u8]` refers to a mapping of this kind.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies bytes from a place.
    pub(crate) fn read<const N: usize>(&self, place: usize) -> [u8; N] {
        let from = self.pointer(place, N).cast::<[u8; N]>();
        // SAFETY: the bytes lie in the mapping, and any are a value; an array of bytes has no alignment.
        unsafe { from.read_volatile() }
    }

    /// Reads a number before everything that follows.
    pub(crate) fn load(&self, place: usize) -> u16 {
        u16::from_le(self.atomic(place).load(Ordering::Acquire))
    }

    /// Writes a number after everything that went before.
    pub(crate) fn store(&self, place: usize, value: u16) {
        self.atomic(place).store(value.to_le(), Ordering::Release);
    }

    fn atomic(&self, place: usize) -> &AtomicU16 {
        assert!(place.is_multiple_of(2), "a number stands at an even place");
        let number = self.pointer(place, 2).cast::<u16>();
        // SAFETY: it lies in the mapping, which begins with a page, at an even place, and lives as long as `self`.
        unsafe { AtomicU16::from_ptr(number) }
    }

    fn pointer(&self, place: usize, len: usize) -> *mut u8 {
        assert!(place <= self.len && len <= self.len - place, "outside of the shared memory");
        self.base.wrapping_add(place)
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; nothing that refers to it outlives `self`.
        let _ = unsafe { munmap(self.base.cast(), self.len) };
    }
}

fn set_offload(tap: BorrowedFd<'_>, offload: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe {
        libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offload))
    })?;
    Ok(())
}

fn set_packet_option<T>(socket: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    let (pointer, size) =
        (ptr::from_ref(value).cast::<c_void>(), mem::size_of::<T>() as libc::socklen_t);
    // SAFETY: pointer and size are those of `value`, which lives through the call.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, pointer, size)
    })?;
    Ok(())
}

fn copy_name(name: &str, field: &mut [libc::c_char; libc::IFNAMSIZ]) -> io::Result<()> {
    if name.len() >= field.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in field.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(())
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
