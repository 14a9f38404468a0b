//! What stands beside a datagram in a message to or from the kernel: type of service, traffic class, this host's address,
//! the length of the datagrams in it. cmsg(3), ip(7), ipv6(7), udp(7).

use std::{
    ffi::c_int,
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

use weft_offload::ecn::Codepoint;

/// Room for a class, a length and an address, each with its header.
const WORDS: usize = 12;
const _: () = {
    assert!(2 * space::<c_int>() + space::<libc::in6_pktinfo>() <= WORDS * size_of::<u64>());
    assert!(size_of::<libc::in_pktinfo>() <= size_of::<libc::in6_pktinfo>());
};

/// Returns the bytes that a value takes with its header.
const fn space<T>() -> usize {
    // SAFETY: the macro only counts.
    unsafe { libc::CMSG_SPACE(size_of::<T>() as u32) as usize }
}

/// The control buffer of one message.
#[derive(Clone, Copy)]
pub(super) struct Control {
    words: [u64; WORDS],
    /// Bytes in use.
    len: usize,
}

/// What the kernel said beside a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) mark: Codepoint,
    /// The length of the datagrams in the message, as the kernel says it.
    pub(super) segment: Option<c_int>,
    /// Which of this host's addresses they were sent to.
    pub(super) own: Option<IpAddr>,
}

impl Control {
    pub(super) const EMPTY: Self = Self { words: [0; WORDS], len: 0 };

    /// Says the type of service or traffic class.
    pub(super) fn put_class(&mut self, is_v4: bool, class: u8) {
        let (level, kind) = if is_v4 {
            (libc::IPPROTO_IP, libc::IP_TOS)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        };
        self.put(level, kind, c_int::from(class));
    }

    /// Says the length of the datagrams in the message.
    pub(super) fn put_segment(&mut self, len: u16) {
        self.put(libc::SOL_UDP, libc::UDP_SEGMENT, len);
    }

    /// Says which of this host's addresses the message leaves from.
    pub(super) fn put_own(&mut self, own: IpAddr) {
        match own {
            IpAddr::V4(own) => {
                let own = libc::in_addr { s_addr: u32::from(own).to_be() };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: own,
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                self.put(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(own) => {
                let own = libc::in6_addr { s6_addr: own.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: own, ipi6_ifindex: 0 };
                self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }

    fn put<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        if self.len + space::<T>() > size_of_val(&self.words) {
            return;
        }
        let size = size_of::<T>() as u32;
        // SAFETY: the buffer has room for a header and the value behind `len`, a multiple of a header's alignment,
        // and so it is aligned; the macros only count and point.
        unsafe {
            let part = self.words.as_mut_ptr().cast::<u8>().add(self.len).cast::<libc::cmsghdr>();
            (*part).cmsg_level = level;
            (*part).cmsg_type = kind;
            (*part).cmsg_len = libc::CMSG_LEN(size) as _;
            ptr::write_unaligned(libc::CMSG_DATA(part).cast::<T>(), value);
            self.len += libc::CMSG_SPACE(size) as usize;
        }
    }

    /// Lets a message of ours say what was put.
    pub(super) fn attach_to(&mut self, message: &mut libc::msghdr) {
        message.msg_control =
            if self.len == 0 { ptr::null_mut() } else { self.words.as_mut_ptr().cast() };
        message.msg_controllen = self.len as _;
    }

    /// Lets the kernel write beside a message.
    pub(super) fn offer_to(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.words.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&self.words) as _;
    }
}

/// Reads what the kernel wrote beside a message.
///
/// # Safety
/// The kernel has filled in the message, and its control buffer is still there.
pub(super) unsafe fn read(message: &libc::msghdr) -> Said {
    let mut said = Said::default();
    // SAFETY: the caller says so; so below.
    let mut part = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !part.is_null() {
        // SAFETY: the macros only give what lies inside the control buffer with its header.
        let (header, data) = unsafe { (ptr::read_unaligned(part), libc::CMSG_DATA(part)) };
        let has = |size: usize| {
            // SAFETY: the macro only counts.
            header.cmsg_len >= unsafe { libc::CMSG_LEN(size as u32) } as _
        };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_TOS) if has(1) => {
                // SAFETY: there is a byte.
                said.mark = Codepoint::from_bits(unsafe { *data });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) if has(mem::size_of::<c_int>()) => {
                // SAFETY: there is an integer.
                let class: c_int = unsafe { ptr::read_unaligned(data.cast()) };
                said.mark = Codepoint::from_bits(class as u8);
            }
            (libc::SOL_UDP, libc::UDP_GRO) if has(mem::size_of::<c_int>()) => {
                // SAFETY: there is an integer.
                said.segment = Some(unsafe { ptr::read_unaligned(data.cast()) });
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if has(size_of::<libc::in_pktinfo>()) => {
                // SAFETY: there is such a structure.
                let info: libc::in_pktinfo = unsafe { ptr::read_unaligned(data.cast()) };
                said.own = Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
            }
            // Of IPv4 on a socket of both families, too.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if has(size_of::<libc::in6_pktinfo>()) => {
                // SAFETY: there is such a structure.
                let info: libc::in6_pktinfo = unsafe { ptr::read_unaligned(data.cast()) };
                said.own = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
            }
            _ => {}
        }
        // SAFETY: as above.
        part = unsafe { libc::CMSG_NXTHDR(message, part) };
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_stands_where_the_macros_look_for_it() {
        for (is_v4, class, mark, own) in [
            (true, 0xb9, Codepoint::Ect1, IpAddr::from([192, 0, 2, 1])),
            (false, 0x03, Codepoint::Ce, IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1])),
        ] {
            let mut control = Control::EMPTY;
            // SAFETY: all zero is a value of this structure of integers and pointers.
            let mut message: libc::msghdr = unsafe { mem::zeroed() };
            control.attach_to(&mut message);
            // SAFETY: the message has no control buffer.
            assert_eq!(unsafe { read(&message) }, Said::default());
            control.put_class(is_v4, class);
            control.put_own(own);
            control.put(libc::SOL_UDP, libc::UDP_GRO, 1472 as c_int);
            control.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, [0_u32; 5]);
            control.attach_to(&mut message);
            // SAFETY: the message has the control buffer that was filled just now.
            let said = unsafe { read(&message) };
            let expected = Said { mark, segment: Some(1472), own: Some(own) };
            assert_eq!(said, expected, "what has no room is left out");
        }
    }
}
