//! The sockets of a tunnel's underlay: UDP over IPv6 and IPv4. udp(7), ip(7), ipv6(7). Many records travel in one
//! message both ways (UDP_SEGMENT, UDP_GRO). No datagram is fragmented and no ICMP message believed, since the path's MTU is
//! the tunnel's own business, unless somebody says otherwise. What is in a record is not known here.

mod control;
mod name;
mod receive;
mod send;

use std::{
    ffi::c_int,
    io, mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use weft_offload::ecn::Codepoint;

use self::{
    control::Control,
    name::{Family, Name},
};
pub use self::{
    receive::{Receiver, Record, Records},
    send::{Batch, Destination, Sender},
};
use crate::{OpenError, error::to, sys};

/// Bytes of a datagram's payload at most, whatever the IP version.
pub const LARGEST: usize = 65_535 - 20 - 8;
/// What the kernel may keep of datagrams that have arrived, and of those on their way out.
const SOCKET_BUFFER: c_int = 8 * 1024 * 1024;
const ENABLED: c_int = 1;

/// Whether the kernel cuts and merges datagrams where it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmentation {
    /// Records that follow each other cross the kernel as one message.
    Kernel,
    /// Each record is a message of its own.
    None,
}

/// A socket. Copies are the same socket.
#[derive(Clone, Debug)]
pub struct Socket {
    fd: Arc<OwnedFd>,
    family: Family,
    segmentation: Segmentation,
}

/// Opens sockets on one address and port, one for each worker; the kernel gives each peer to one of them. `[::]` is
/// IPv4 too, and only that where the kernel has no IPv6.
///
/// # Errors
/// [`OpenError`] when the address cannot be had.
pub fn open(
    listen: SocketAddr,
    sockets: usize,
    segmentation: Segmentation,
) -> Result<Vec<Socket>, OpenError> {
    let mut opened: Vec<Socket> = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let address = match opened.first() {
            Some(first) => first.address().map_err(to("read the UDP socket's address"))?,
            None => listen,
        };
        let others = if opened.is_empty() { Others::None } else { Others::Ours };
        opened.push(open_one(address, others, segmentation)?);
    }
    Ok(opened)
}

/// Whether others have the same port already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Nobody may.
    None,
    /// Sockets that were opened with this one do.
    Ours,
}

fn open_one(
    listen: SocketAddr,
    others: Others,
    segmentation: Segmentation,
) -> Result<Socket, OpenError> {
    let (fd, family, listen) = match sys::socket(Family::of(listen).domain(), libc::SOCK_DGRAM, 0) {
        Err(error)
            if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                && listen.is_ipv6()
                && listen.ip().is_unspecified() =>
        {
            let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, listen.port()));
            (sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0), Family::V4, listen)
        }
        made => (made, Family::of(listen), listen),
    };
    let socket =
        Socket { fd: Arc::new(fd.map_err(to("open a UDP socket"))?), family, segmentation };
    socket.set_up().map_err(to("set up a UDP socket"))?;
    let share = || socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, ENABLED);
    if others == Others::Ours {
        share().map_err(to("share the UDP port"))?;
    }
    let name = Name::new(listen, family).map_err(to("bind the UDP socket"))?;
    // SAFETY: the kernel reads the name, whose length is that of its address.
    sys::check(unsafe { libc::bind(socket.fd.as_raw_fd(), name.as_ptr(), name.len()) })
        .map_err(|source| OpenError::Io { doing: "bind the UDP socket", source })?;
    // The first one finds out whether the port is free, and is shared only then.
    if others == Others::None {
        share().map_err(to("share the UDP port"))?;
    }
    Ok(socket)
}

impl Socket {
    /// Returns the address and port that it is bound to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        let mut name = Name::EMPTY;
        let mut len = name.room();
        // SAFETY: the kernel writes at most `len` bytes into the name.
        sys::check(unsafe {
            libc::getsockname(self.fd.as_raw_fd(), name.as_mut_ptr(), &raw mut len)
        })?;
        name.plain_address().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    }

    /// Sends one datagram at once: handshakes, probes of the path's MTU.
    ///
    /// # Errors
    /// What the kernel says: `EMSGSIZE` when it is larger than the device's MTU allows, `EAGAIN` when the socket is
    /// full.
    pub fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.send_from(None, datagram, to)
    }

    /// Sends one datagram at once from one of this host's addresses; one that this host has not got counts for nothing.
    ///
    /// # Errors
    /// What the kernel says, as above.
    pub fn send_from(
        &self,
        own: Option<IpAddr>,
        datagram: &[u8],
        to: SocketAddr,
    ) -> io::Result<()> {
        let name = Name::new(to, self.family)?;
        let mut control = Control::EMPTY;
        if let Some(own) = own {
            control.put_own(own);
        }
        let mut piece =
            libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
        // SAFETY: all zero is a value of this structure of integers and pointers.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len();
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        control.attach_to(&mut message);
        loop {
            // SAFETY: the kernel reads the datagram, the name and the control buffer, which are there for the call and as
            // long as is said.
            let sent =
                sys::moved(unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const message, 0) });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if own.is_some() && is_of_own_address(&error) => {
                    return self.send_from(None, datagram, to);
                }
                other => return other.map(drop),
            }
        }
    }

    /// Has each record say which of this host's addresses it was sent to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn report_own_addresses(&self) -> io::Result<()> {
        match self.family {
            Family::V4 => self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, ENABLED),
            Family::V6 => self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, ENABLED),
        }
    }

    /// Lets the kernel and the way fragment datagrams that are larger than the path's MTU: without DF, and by what ICMP
    /// messages say.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn allow_fragments(&self) -> io::Result<()> {
        if self.family == Family::V6 {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
        }
        self.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
    }

    /// Makes a receiver, which sets memory aside. One at a time reads what the socket has.
    pub fn receiver(&self) -> Receiver {
        Receiver::new(self.clone())
    }

    /// Makes a sender, which sets memory aside.
    pub fn sender(&self) -> Sender {
        Sender::new(self.clone())
    }

    /// Returns how many datagrams the kernel has thrown away for want of room since the socket was opened.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lost(&self) -> io::Result<u32> {
        const SK_MEMINFO_DROPS: usize = 8;
        let memory: [u32; 9] =
            sys::get_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO)?;
        Ok(memory[SK_MEMINFO_DROPS])
    }

    fn set(&self, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
        sys::set_option(self.fd.as_fd(), level, name, value)
    }

    fn set_up(&self) -> io::Result<()> {
        if self.family == Family::V6 {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)?;
            // DF, and the device's MTU alone counts: what an ICMP message says is not remembered.
            self.set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, ENABLED)?;
        }
        // A socket of both families has the options of both.
        self.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
        self.set(libc::IPPROTO_IP, libc::IP_RECVTOS, ENABLED)?;
        if self.segmentation == Segmentation::Kernel {
            self.set(libc::SOL_UDP, libc::UDP_GRO, ENABLED)?;
        }
        for (forced, limited) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            sys::enlarge(self.fd.as_fd(), forced, limited, SOCKET_BUFFER)?;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Tells whether the kernel may have refused a message for the address that it was to leave from: it is not this host's
/// any more, or has no way to where it goes.
fn is_of_own_address(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH)
    )
}

/// Returns the type of service or traffic class of a datagram.
fn class(dscp: u8, mark: Codepoint) -> u8 {
    dscp << 2 | mark.bits()
}
