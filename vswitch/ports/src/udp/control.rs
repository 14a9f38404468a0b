//! What stands beside a datagram in a message to or from the kernel: type of service, traffic class, the length of the
//! datagrams in it. cmsg(3), udp(7).

use std::{ffi::c_int, mem, ptr};

use weft_offload::ecn::Codepoint;

/// Room for a class and a length, each with its header.
const WORDS: usize = 8;
const SPACE: usize = {
    // SAFETY: the macro only counts.
    unsafe { libc::CMSG_SPACE(size_of::<c_int>() as u32) as usize }
};
const _: () = assert!(2 * SPACE <= WORDS * size_of::<u64>());

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

    fn put<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        const { assert!(size_of::<T>() <= size_of::<c_int>()) };
        if self.len + SPACE > size_of_val(&self.words) {
            return;
        }
        let size = size_of::<T>() as u32;
        // SAFETY: the buffer has room for a header and an integer behind `len`, a multiple of a header's alignment,
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
        for (is_v4, class, mark) in [(true, 0xb9, Codepoint::Ect1), (false, 0x03, Codepoint::Ce)] {
            let mut control = Control::EMPTY;
            // SAFETY: all zero is a value of this structure of integers and pointers.
            let mut message: libc::msghdr = unsafe { mem::zeroed() };
            control.attach_to(&mut message);
            // SAFETY: the message has no control buffer.
            assert_eq!(unsafe { read(&message) }, Said::default());
            control.put_class(is_v4, class);
            control.put(libc::SOL_UDP, libc::UDP_GRO, 1472 as c_int);
            control.put(libc::SOL_UDP, libc::UDP_GRO, 1 as c_int);
            control.attach_to(&mut message);
            // SAFETY: the message has the control buffer that was filled just now.
            let said = unsafe { read(&message) };
            assert_eq!(said, Said { mark, segment: Some(1472) }, "what has no room is left out");
        }
    }
}
