//! Why a port could not be opened.

use std::io;

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name cannot be that of a device.
    #[error("`{0}` cannot be a device name: 1 to 15 bytes without spaces, `/`, `:` and `%`")]
    BadName(String),
    /// The number of queues is zero or beyond what a TAP can have.
    #[error("a TAP has 1 to 256 queues, not {0}")]
    BadQueues(usize),
    /// The number of queue pairs is zero or beyond what a guest's card can have.
    #[error("a vhost-user port has 1 to 128 queues, not {0}")]
    BadPairs(usize),
    /// There is no such device.
    #[error("the device does not exist")]
    NoDevice,
    /// Another program holds the TAP.
    #[error("another program has the device open")]
    Busy,
    /// A device of this name exists and is something else.
    #[error(
        "a device of this name exists and is not a TAP, or one that was made for another number of queues"
    )]
    OtherKind,
    /// Frames of the device do not look like Ethernet.
    #[error("the device does not carry Ethernet frames")]
    NotEthernet,
    /// The descriptor is something else.
    #[error("the descriptor is not a stream socket")]
    NotAStream,
    /// The kernel does not let this process.
    #[error("the kernel does not permit to {doing}: CAP_NET_ADMIN and CAP_NET_RAW are needed")]
    NotPermitted {
        /// What was tried.
        doing: &'static str,
    },
    /// The kernel does not let this process, for want of something that is named.
    #[error("the kernel does not permit to {doing}: {lack}")]
    Incapable {
        /// What was tried.
        doing: &'static str,
        /// What this process lacks.
        lack: &'static str,
    },
    /// Another XDP program is at the device.
    #[error(
        "the device has an XDP program of somebody else; take that off (`ip link set DEV xdp off`, or end who \
         attached it), or use io = \"packet\""
    )]
    OtherProgram,
    /// Frames of the device do not fit AF_XDP.
    #[error(
        "the device's MTU is {mtu}, and AF_XDP takes {most} at most; set it lower, or use io = \"packet\""
    )]
    LongFrames {
        /// The device's MTU.
        mtu: u32,
        /// The largest that is possible.
        most: u32,
    },
    /// The device has too many queues.
    #[error("the device has more than {0} queues; give it fewer: ethtool -L DEV combined {0}")]
    TooManyQueues(u32),
    /// The kernel cannot tell an XDP program the VLAN tag that comes beside a frame.
    #[error(
        "the kernel does not tell XDP programs the VLAN tags of a veth's frames, which takes Linux 6.8 with BTF; \
         use io = \"packet\""
    )]
    HiddenTags,
    /// More memory would be locked than is allowed.
    #[error(
        "the frames' memory exceeds what may be locked: CAP_IPC_LOCK or a higher RLIMIT_MEMLOCK is needed"
    )]
    LockedMemory,
    /// The kernel refused.
    #[error("could not {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Names the step that failed.
pub(crate) fn to<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> OpenError {
    move |error| {
        let source = error.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted { doing },
            _ => OpenError::Io { doing, source },
        }
    }
}
