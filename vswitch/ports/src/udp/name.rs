//! Addresses as the kernel reads and writes them. ip(7), ipv6(7). An IPv4 address on a socket of both families is
//! written v4-mapped (RFC 4291 §2.5.5.2) and read back as what it is.

use std::{
    ffi::c_int,
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

/// What a socket's addresses look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    /// IPv6, and IPv4 v4-mapped.
    V6,
}

impl Family {
    pub(super) fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn domain(self) -> c_int {
        match self {
            Self::V4 => libc::AF_INET,
            Self::V6 => libc::AF_INET6,
        }
    }
}

/// An address in the kernel's form.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    // SAFETY: all zero is a value of each of these structures of integers and byte arrays.
    pub(super) const EMPTY: Self = unsafe { mem::zeroed() };

    /// Writes an address for a socket.
    pub(super) fn new(address: SocketAddr, family: Family) -> io::Result<Self> {
        let mut name = Self::EMPTY;
        match (family, address) {
            (Family::V4, SocketAddr::V4(address)) => {
                name.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                    sin_zero: [0; 8],
                };
            }
            (Family::V4, SocketAddr::V6(_)) => {
                return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
            }
            (Family::V6, SocketAddr::V4(address)) => {
                name.v6 =
                    v6(SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0));
            }
            (Family::V6, SocketAddr::V6(address)) => name.v6 = v6(address),
        }
        Ok(name)
    }

    /// Reads the address, a v4-mapped one as IPv4; `None` where it is of neither family.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self.plain_address()? {
            SocketAddr::V6(address) => Some(match address.ip().to_ipv4_mapped() {
                Some(ip) => SocketAddrV4::new(ip, address.port()).into(),
                None => address.into(),
            }),
            v4 => Some(v4),
        }
    }

    /// Reads the address as it stands.
    pub(super) fn plain_address(&self) -> Option<SocketAddr> {
        // SAFETY: every member begins with the family, and all bytes of the union are initialized.
        match c_int::from(unsafe { self.family }) {
            libc::AF_INET => {
                // SAFETY: as above.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                // The flow label that a datagram came with is no part of where to answer.
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// Tells whether datagrams to this address are IPv4.
    pub(super) fn is_v4(&self) -> bool {
        self.address().is_some_and(|address| address.is_ipv4())
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const *self).cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut *self).cast()
    }

    /// Returns the bytes that the address has.
    pub(super) fn len(&self) -> libc::socklen_t {
        // SAFETY: every member begins with the family.
        let len = match c_int::from(unsafe { self.family }) {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            _ => size_of::<libc::sockaddr_in6>(),
        };
        len as libc::socklen_t
    }

    /// Returns the bytes that the kernel may write.
    pub(super) fn room(&self) -> libc::socklen_t {
        size_of_val(self) as libc::socklen_t
    }
}

fn v6(address: SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: address.scope_id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        let link_local = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3);
        for (address, family, len) in [
            ("192.0.2.1:51900".parse().unwrap(), Family::V4, 16),
            ("192.0.2.1:51900".parse().unwrap(), Family::V6, 28),
            ("[2001:db8::1]:51900".parse().unwrap(), Family::V6, 28),
            (link_local.into(), Family::V6, 28),
        ] {
            let name = Name::new(address, family).unwrap();
            assert_eq!(name.address(), Some(address));
            assert_eq!((name.is_v4(), name.len()), (address.is_ipv4(), len));
        }
        let mapped = Name::new("[::ffff:192.0.2.1]:9".parse().unwrap(), Family::V6).unwrap();
        assert_eq!(mapped.address(), Some("192.0.2.1:9".parse().unwrap()));
        assert!(mapped.is_v4());
        assert!(Name::new("[::1]:9".parse().unwrap(), Family::V4).is_err());
        assert_eq!(Name::EMPTY.address(), None);
    }
}
