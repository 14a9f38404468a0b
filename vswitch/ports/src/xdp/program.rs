//! The program at a device: hands each frame to the socket of its queue, and drops what no socket is for, so that the
//! host's stack sees none. Written out as instructions, so that nobody needs a compiler for it.
//!
//! A frame that a `veth` brings from this machine may have its VLAN tag beside it, where a socket does not see it. The
//! driver is asked for that tag, and the tag put back, by drivers that can say (`bpf_xdp_metadata_rx_vlan_tag`, Linux 6.8).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::OnceLock,
};

use super::{
    Hook, MAX_QUEUES,
    bpf::{self, For, Instruction, SocketMap, attach, load},
    btf,
};
use crate::{OpenError, error::to};

const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_DROP: i32 = 1;
const BPF_FUNC_XDP_ADJUST_HEAD: i32 = 44;
const BPF_FUNC_REDIRECT_MAP: i32 = 51;
/// What asks the driver for the tag that it has taken off, or got beside a frame.
const TAG_OF: &str = "bpf_xdp_metadata_rx_vlan_tag";
/// The driver whose frames can have a tag that only [`TAG_OF`] tells.
const VETH: &str = "veth";

/// A program at a device, and the sockets that it knows. It goes with this value, also when the process is killed.
pub(super) struct Attachment {
    pub(super) hook: Hook,
    pub(super) sockets: SocketMap,
    _link: OwnedFd,
}

impl Attachment {
    /// Attaches the program to the device with this index, in its driver where that has a place for it.
    ///
    /// # Errors
    /// [`OpenError`] when a program is there already, or the kernel does not permit it.
    pub(super) fn new(index: u32, driver: &str) -> Result<Self, OpenError> {
        const DOING: &str = "load an XDP program";
        let step = |error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => bpf::not_permitted(DOING),
            _ => to(DOING)(error),
        };
        let sockets = SocketMap::new(MAX_QUEUES).map_err(step)?;
        let restoring = load_restoring(&sockets, index);
        if driver == VETH {
            let program = restoring.map_err(|error| match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => bpf::not_permitted(DOING),
                _ => OpenError::HiddenTags,
            })?;
            let link = attach(program.as_fd(), index, XDP_FLAGS_DRV_MODE).map_err(refused)?;
            return Ok(Self { hook: Hook::Native, sockets, _link: link });
        }
        if let Ok(program) = restoring
            && let Some(link) = unless_taken(attach(program.as_fd(), index, XDP_FLAGS_DRV_MODE))?
        {
            return Ok(Self { hook: Hook::Native, sockets, _link: link });
        }
        // To hand over to a map of sockets is open to programs of any license.
        let program = load(&plain(&sockets), c"Dual MIT/GPL", For::AnyDevice).map_err(step)?;
        let native = attach(program.as_fd(), index, XDP_FLAGS_DRV_MODE);
        if let Some(link) = unless_taken(native)? {
            return Ok(Self { hook: Hook::Native, sockets, _link: link });
        }
        let link = attach(program.as_fd(), index, XDP_FLAGS_SKB_MODE).map_err(refused)?;
        Ok(Self { hook: Hook::Generic, sockets, _link: link })
    }
}

/// Lets other ways be tried, unless another program has the device or this process has no business there.
fn unless_taken(attached: io::Result<OwnedFd>) -> Result<Option<OwnedFd>, OpenError> {
    match attached {
        Ok(link) => Ok(Some(link)),
        Err(error) => match refused(error) {
            OpenError::Io { .. } => Ok(None),
            other => Err(other),
        },
    }
}

fn refused(error: io::Error) -> OpenError {
    const DOING: &str = "attach an XDP program";
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => OpenError::OtherProgram,
        Some(libc::EPERM | libc::EACCES) => bpf::not_permitted(DOING),
        Some(libc::ENODEV) => OpenError::NoDevice,
        _ => to(DOING)(error),
    }
}

fn load_restoring(sockets: &SocketMap, index: u32) -> io::Result<OwnedFd> {
    static FOUND: OnceLock<Option<i32>> = OnceLock::new();
    let tag_of = FOUND.get_or_init(|| btf::function(TAG_OF)).ok_or(io::ErrorKind::Unsupported)?;
    // Functions of the kernel are open to programs under the GPL, which MIT allows.
    load(&restoring(sockets, tag_of), c"Dual MIT/GPL", For::Device(index))
}

/// `return bpf_redirect_map(&sockets, context->rx_queue_index, XDP_DROP);` with the context in r6.
fn redirect(sockets: &SocketMap) -> [Instruction; 6] {
    let op = Instruction::new;
    [
        op(LOAD_32, 2, 6, RX_QUEUE_INDEX, 0),
        op(LOAD_MAP, 1, PSEUDO_MAP_FD, 0, sockets.descriptor()),
        op(0, 0, 0, 0, 0),
        op(MOVE_IMMEDIATE, 3, 0, 0, XDP_DROP),
        op(CALL, 0, 0, 0, BPF_FUNC_REDIRECT_MAP),
        op(EXIT, 0, 0, 0, 0),
    ]
}

fn plain(sockets: &SocketMap) -> Vec<Instruction> {
    let mut program = vec![Instruction::new(MOVE, 6, 1, 0, 0)];
    program.extend(redirect(sockets));
    program
}

/// As [`plain`], behind the tag's way back into the frame. The stack has the tag: its protocol as in the frame at -4, its
/// control information at -2.
fn restoring(sockets: &SocketMap, tag_of: i32) -> Vec<Instruction> {
    let op = Instruction::new;
    let mut program = vec![
        op(MOVE, 6, 1, 0, 0),
        // if (tag_of(context, &protocol, &control) != 0) goto redirect;
        op(STORE_IMMEDIATE_32, 10, 0, -4, 0),
        op(MOVE, 2, 10, 0, 0),
        op(ADD_IMMEDIATE, 2, 0, 0, -4),
        op(MOVE, 3, 10, 0, 0),
        op(ADD_IMMEDIATE, 3, 0, 0, -2),
        op(CALL, 0, PSEUDO_KERNEL_FUNCTION, 0, tag_of),
        op(JUMP_32_IF_NOT, 0, 0, 20, 0),
        // if (bpf_xdp_adjust_head(context, -4) != 0) goto drop;
        op(MOVE, 1, 6, 0, 0),
        op(MOVE_IMMEDIATE, 2, 0, 0, -4),
        op(CALL, 0, 0, 0, BPF_FUNC_XDP_ADJUST_HEAD),
        op(JUMP_IF_NOT, 0, 0, 22, 0),
        // if (data + 18 > end) goto drop;
        op(LOAD_32, 2, 6, DATA, 0),
        op(LOAD_32, 3, 6, DATA_END, 0),
        op(MOVE, 4, 2, 0, 0),
        op(ADD_IMMEDIATE, 4, 0, 0, 18),
        op(JUMP_IF_GREATER, 4, 3, 17, 0),
        // The addresses move to the front, four bytes at a time.
        op(LOAD_32, 5, 2, 4, 0),
        op(STORE_32, 2, 5, 0, 0),
        op(LOAD_32, 5, 2, 8, 0),
        op(STORE_32, 2, 5, 4, 0),
        op(LOAD_32, 5, 2, 12, 0),
        op(STORE_32, 2, 5, 8, 0),
        // The tag goes behind them.
        op(LOAD_16, 5, 10, -4, 0),
        op(STORE_16, 2, 5, 12, 0),
        op(LOAD_16, 5, 10, -2, 0),
        op(TO_NETWORK_ORDER, 5, 0, 0, 16),
        op(STORE_16, 2, 5, 14, 0),
    ];
    program.extend(redirect(sockets));
    // drop:
    program.extend([op(MOVE_IMMEDIATE, 0, 0, 0, XDP_DROP), op(EXIT, 0, 0, 0, 0)]);
    program
}

/// Members of `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const RX_QUEUE_INDEX: i16 = 16;

const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_KERNEL_FUNCTION: u8 = 2;

const JUMP_IF_NOT: u8 = 0x55;
const JUMP_32_IF_NOT: u8 = 0x56;
const JUMP_IF_GREATER: u8 = 0x2d;
const ADD_IMMEDIATE: u8 = 0x07;
const LOAD_MAP: u8 = 0x18;
const LOAD_16: u8 = 0x69;
const LOAD_32: u8 = 0x61;
const STORE_16: u8 = 0x6b;
const STORE_32: u8 = 0x63;
const STORE_IMMEDIATE_32: u8 = 0x62;
const MOVE: u8 = 0xbf;
const MOVE_IMMEDIATE: u8 = 0xb7;
const TO_NETWORK_ORDER: u8 = 0xdc;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
