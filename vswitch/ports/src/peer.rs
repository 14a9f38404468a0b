//! Who is at the other end of a Unix socket, from the kernel: credentials of the moment it connected. unix(7).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use crate::sys;

/// The process at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process id, 0 where it is not visible from here.
    pub pid: i32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

/// Returns the credentials of the process that connected to, or listened for, this socket's other end.
///
/// # Errors
/// What the kernel says when this is no connected Unix socket.
pub fn credentials(socket: &impl AsFd) -> io::Result<Credentials> {
    let socket = socket.as_fd();
    let peer: libc::ucred = sys::get_option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED)?;
    // Without a peer the kernel answers with nobody.
    if peer.uid == u32::MAX {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(Credentials { pid: peer.pid, uid: peer.uid, gid: peer.gid, groups: groups(socket)? })
}

fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let mut size = size_of_val(&*groups) as libc::socklen_t;
        // SAFETY: the kernel writes at most `size` bytes into the vector, which has them all.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        let count = size as usize / size_of::<libc::gid_t>();
        match sys::check(result) {
            Ok(_) => {
                groups.truncate(count);
                return Ok(groups);
            }
            // There are more, and the kernel says how many.
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => {
                groups.resize(count, 0)
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn a_socket_pair_is_connected_to_this_process() {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = credentials(&near).unwrap();
        // SAFETY: these calls take no memory and cannot fail.
        let expected = unsafe { (libc::getpid(), libc::geteuid(), libc::getegid()) };
        assert_eq!((peer.pid, peer.uid, peer.gid), expected);
    }

    #[test]
    fn a_socket_without_a_peer_has_no_credentials() {
        assert!(credentials(&UnixDatagram::unbound().unwrap()).is_err());
    }
}
