//! The few things asked of bpf(2): a map of sockets, a program, its attachment. Linux `include/uapi/linux/bpf.h`.

use std::{
    ffi::{CStr, c_int, c_long},
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::OpenError;

const BPF_MAP_CREATE: c_int = 0;
const BPF_MAP_UPDATE_ELEM: c_int = 2;
const BPF_PROG_LOAD: c_int = 5;
const BPF_LINK_CREATE: c_int = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
/// The program is for one device, and may ask its driver of a frame.
const BPF_F_XDP_DEV_BOUND_ONLY: u32 = 1 << 6;

/// capabilities(7).
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// One instruction. Linux `Documentation/bpf/standardization/instruction-set.rst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    pub(super) const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        let registers =
            if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        Self { code, registers, offset, immediate }
    }
}

/// The structure of a command of bpf(2). The kernel takes what a shorter structure leaves out for zero.
///
/// # Safety
/// It has the layout of the command's part of `union bpf_attr`, without padding, and its pointers can be followed.
unsafe trait Attributes {
    const COMMAND: c_int;
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

// SAFETY: four 32-bit integers, as in the kernel's.
unsafe impl Attributes for MapCreate {
    const COMMAND: c_int = BPF_MAP_CREATE;
}

#[repr(C)]
struct MapUpdate<'a> {
    map_fd: u32,
    padding: u32,
    key: &'a u32,
    #[cfg(target_pointer_width = "32")]
    key_high: u32,
    value: &'a u32,
    #[cfg(target_pointer_width = "32")]
    value_high: u32,
    flags: u64,
}

// SAFETY: two 32-bit integers, two pointers to what the map's key and value are, and a 64-bit integer.
unsafe impl Attributes for MapUpdate<'_> {
    const COMMAND: c_int = BPF_MAP_UPDATE_ELEM;
}

#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_type: u32,
}

// SAFETY: integers at the kernel's offsets; `load` fills the addresses in from what it borrows.
unsafe impl Attributes for ProgramLoad {
    const COMMAND: c_int = BPF_PROG_LOAD;
}

#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    device: u32,
    attach_type: u32,
    flags: u32,
}

// SAFETY: four 32-bit integers, as in the kernel's.
unsafe impl Attributes for LinkCreate {
    const COMMAND: c_int = BPF_LINK_CREATE;
}

fn call<A: Attributes>(attributes: &A) -> io::Result<c_int> {
    // SAFETY: the kernel reads the structure, which is the command's, and what it points at.
    let result: c_long =
        unsafe { libc::syscall(libc::SYS_bpf, A::COMMAND, &raw const *attributes, size_of::<A>()) };
    c_int::try_from(result).ok().filter(|&result| result >= 0).ok_or_else(io::Error::last_os_error)
}

fn made<A: Attributes>(attributes: &A) -> io::Result<OwnedFd> {
    let fd = call(attributes)?;
    // SAFETY: the kernel has just made this descriptor, which is closed on exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A map from a device's queues to sockets.
pub(super) struct SocketMap {
    fd: OwnedFd,
}

impl SocketMap {
    pub(super) fn new(queues: u32) -> io::Result<Self> {
        let create = MapCreate {
            map_type: BPF_MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: queues,
        };
        Ok(Self { fd: made(&create)? })
    }

    /// Enters the socket of a queue. It leaves the map when it is closed.
    pub(super) fn put(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value = socket.as_raw_fd() as u32;
        call(&MapUpdate {
            map_fd: self.fd.as_raw_fd() as u32,
            padding: 0,
            key: &queue,
            #[cfg(target_pointer_width = "32")]
            key_high: 0,
            value: &value,
            #[cfg(target_pointer_width = "32")]
            value_high: 0,
            flags: 0,
        })
        .map(drop)
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Whom a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    AnyDevice,
    /// The device with this index, whose driver it asks.
    Device(u32),
}

/// Loads an XDP program.
pub(super) fn load(instructions: &[Instruction], license: &CStr, whom: For) -> io::Result<OwnedFd> {
    let (flags, device) = match whom {
        For::AnyDevice => (0, 0),
        For::Device(index) => (BPF_F_XDP_DEV_BOUND_ONLY, index),
    };
    made(&ProgramLoad {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags,
        name: *b"weft_to_sockets\0",
        device,
        attach_type: BPF_XDP,
    })
}

/// Attaches an XDP program to a device, for as long as the descriptor that is returned.
pub(super) fn attach(program: BorrowedFd<'_>, index: u32, flags: u32) -> io::Result<OwnedFd> {
    made(&LinkCreate {
        program_fd: program.as_raw_fd() as u32,
        device: index,
        attach_type: BPF_XDP,
        flags,
    })
}

/// Returns the error for a step that the kernel did not permit, which names what this process lacks.
pub(super) fn not_permitted(doing: &'static str) -> OpenError {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    OpenError::Incapable { doing, lack: lack(effective(&status)) }
}

fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(u64::MAX)
}

fn lack(effective: u64) -> &'static str {
    let has = |capability: u32| effective & 1 << capability != 0;
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        "CAP_BPF is missing"
    } else if !has(CAP_NET_ADMIN) {
        "CAP_NET_ADMIN is missing"
    } else if !has(CAP_NET_RAW) {
        "CAP_NET_RAW is missing"
    } else {
        "CAP_BPF is needed outside of any user namespace"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = u64::MAX;
        let without = |capability: u32| all & !(1 << capability);
        for (set, expected) in [
            (without(CAP_BPF) & without(CAP_SYS_ADMIN), "CAP_BPF is missing"),
            (without(CAP_NET_ADMIN), "CAP_NET_ADMIN is missing"),
            (without(CAP_NET_RAW), "CAP_NET_RAW is missing"),
            (without(CAP_BPF), "CAP_BPF is needed outside of any user namespace"),
        ] {
            assert_eq!(lack(set), expected, "{set:x}");
        }
        assert_eq!(effective("Name:\tweftd\nCapEff:\t000001fffeffffff\n"), 0x1ff_feff_ffff);
    }

    #[test]
    fn the_kernel_s_structures_have_their_size() {
        assert_eq!(size_of::<Instruction>(), 8);
        assert_eq!(std::mem::offset_of!(ProgramLoad, name), 48);
        assert_eq!(size_of::<ProgramLoad>(), 72);
        assert_eq!(size_of::<MapUpdate<'_>>(), 32);
    }
}
