//! A raw socket of the test's own, which shares no code with the ports: frames as bytes, tags in band.

use std::{
    ffi::{CString, c_int},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use super::{PATIENCE, is_experiment, is_readable};

pub(crate) struct Raw {
    socket: OwnedFd,
}

impl Raw {
    /// Opens a device of this thread's namespace.
    pub(crate) fn open(device: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let name = CString::new(device).unwrap();
        // SAFETY: the socket is new and owned here alone; the address and the options are read in full size.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "a raw socket: {}", io::Error::last_os_error());
            let socket = OwnedFd::from_raw_fd(fd);
            let one: c_int = 1;
            for option in [libc::PACKET_AUXDATA, libc::PACKET_IGNORE_OUTGOING] {
                assert_eq!(
                    libc::setsockopt(fd, libc::SOL_PACKET, option, (&raw const one).cast(), 4),
                    0
                );
            }
            let large: c_int = 16 << 20;
            for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
                assert_eq!(
                    libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const large).cast(), 4),
                    0
                );
            }
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as c_int;
            let size = size_of_val(&address) as u32;
            assert_eq!(libc::bind(fd, (&raw const address).cast(), size), 0, "{device}");
            Self { socket }
        }
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads the frame.
        let sent =
            unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent == frame.len() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Receives the next experimental frame.
    pub(crate) fn receive(&self) -> Vec<u8> {
        self.receive_within(PATIENCE).expect("a frame arrives")
    }

    /// Receives the next experimental frame, if one comes in time.
    pub(crate) fn receive_within(&self, time: Duration) -> Option<Vec<u8>> {
        loop {
            if !is_readable(self.socket.as_fd(), time) {
                return None;
            }
            let frame = self.receive_one();
            if is_experiment(&frame) {
                return Some(frame);
            }
        }
    }

    fn receive_one(&self) -> Vec<u8> {
        let mut frame = vec![0; 80_000];
        let mut control = [0_u64; 16];
        // SAFETY: the message points at a buffer and a control buffer, whose sizes it gives; the kernel's answer is
        // walked by the macros made for it.
        unsafe {
            let mut piece =
                libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut piece;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control) as _;
            let len = libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0);
            assert!(len >= 0, "{}", io::Error::last_os_error());
            assert_eq!(message.msg_flags & libc::MSG_TRUNC, 0);
            frame.truncate(len as usize);
            let mut part = libc::CMSG_FIRSTHDR(&raw const message);
            while !part.is_null() {
                if ((*part).cmsg_level, (*part).cmsg_type)
                    == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
                {
                    let data: libc::tpacket_auxdata =
                        std::ptr::read_unaligned(libc::CMSG_DATA(part).cast());
                    if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                        let tag = [data.tp_vlan_tpid.to_be_bytes(), data.tp_vlan_tci.to_be_bytes()]
                            .concat();
                        frame.splice(12..12, tag);
                    }
                }
                part = libc::CMSG_NXTHDR(&raw const message, part);
            }
        }
        frame
    }
}

/// A TAP as a VMM holds it: what is written comes out of the device, each frame behind ten bytes of metadata.
pub(crate) struct RawTap {
    file: File,
}

impl RawTap {
    /// Makes a TAP in this thread's namespace and sets it up.
    pub(crate) fn open(device: &str) -> Self {
        let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: the request is read in full size; the device's name fits, as the test wrote it.
        unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags =
                (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
            assert_eq!(
                libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request),
                0,
                "{device}"
            );
        }
        super::ip(&format!("link set {device} up"));
        Self { file }
    }

    /// Sends a frame with its metadata in front of it.
    pub(crate) fn send(&mut self, metadata: [u8; 10], frame: &[u8]) {
        let written = self.file.write(&[&metadata, frame].concat()).unwrap();
        assert_eq!(written, metadata.len() + frame.len());
    }

    /// Receives the next experimental frame, with its metadata.
    pub(crate) fn receive(&mut self) -> ([u8; 10], Vec<u8>) {
        loop {
            assert!(is_readable(self.file.as_fd(), PATIENCE), "a frame arrives");
            let mut bytes = vec![0; 80_000];
            let len = self.file.read(&mut bytes).unwrap();
            let (metadata, frame) = bytes[..len].split_first_chunk().unwrap();
            if is_experiment(frame) {
                return (*metadata, frame.to_vec());
            }
        }
    }
}
