//! What happens when memory that somebody else may cut short is touched behind its end: SIGBUS, to the thread that
//! touched it. A handler puts zeros in the place of the whole mapping and notes that, so that the access ends and
//! whoever uses the mapping can stop. mmap(2), signal-safety(7).
//!
//! The handler reads atomics and makes one system call; mappings that it knows stand in a list whose nodes are never
//! freed, only used again. A SIGBUS anywhere else goes to whoever handled it before.

use std::{
    ffi::{c_int, c_void},
    io, mem, ptr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    },
};

use crate::sys;

/// A mapping that may lose its memory.
pub(super) struct Guard {
    node: &'static Node,
}

struct Node {
    base: AtomicUsize,
    /// Bytes of the mapping; 0 while the node guards nothing.
    len: AtomicUsize,
    hit: AtomicBool,
    next: AtomicPtr<Node>,
}

static NODES: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());
static FREE: Mutex<Vec<&'static Node>> = Mutex::new(Vec::new());
/// Who handled the signal before; `None` when it could not be asked for.
static BEFORE: OnceLock<Result<libc::sigaction, c_int>> = OnceLock::new();

impl Guard {
    /// Guards a mapping from here on. It is unmapped only behind this guard's end.
    pub(super) fn over(base: *mut u8, len: usize) -> io::Result<Self> {
        if let Err(error) = BEFORE.get_or_init(install) {
            return Err(io::Error::from_raw_os_error(*error));
        }
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let node = free.unwrap_or_else(Node::add);
        node.hit.store(false, Ordering::Relaxed);
        node.base.store(base as usize, Ordering::Relaxed);
        // Behind the base: the handler sees a length only with the place that it belongs to.
        node.len.store(len, Ordering::Release);
        Ok(Self { node })
    }

    /// Tells whether memory was missing and zeros stand in its place.
    pub(super) fn was_hit(&self) -> bool {
        self.node.hit.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.node.len.store(0, Ordering::Release);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.node);
    }
}

impl Node {
    /// Adds a node to the list, for good.
    fn add() -> &'static Self {
        let node: &'static Self = Box::leak(Box::new(Self {
            base: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            hit: AtomicBool::new(false),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let mut first = NODES.load(Ordering::Acquire);
        loop {
            node.next.store(first, Ordering::Relaxed);
            let new = ptr::from_ref(node).cast_mut();
            match NODES.compare_exchange_weak(first, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return node,
                Err(other) => first = other,
            }
        }
    }
}

/// Sets the handler; returns who had the signal before.
fn install() -> Result<libc::sigaction, c_int> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EINVAL);
    // SAFETY: all zero is a value of this structure of integers.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    action.sa_sigaction = on_bus_error as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)
        as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the kernel reads one action and writes the other; the handler does only what a handler may.
    sys::check(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut before) })
        .map_err(errno)?;
    Ok(before)
}

extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel hands a handler that asked for it a whole `siginfo_t`, which has an address for SIGBUS.
    let address = unsafe { (*info).si_addr() } as usize;
    // SAFETY: this thread's own variable.
    let errno = unsafe { *libc::__errno_location() };
    if !put_zeros(address) {
        // Nobody's mapping: the access is repeated and meets whoever handled the signal before.
        let before = BEFORE.get().and_then(|before| before.as_ref().ok());
        let before = before.map_or(ptr::null(), ptr::from_ref);
        if before.is_null() {
            // SAFETY: sets the default action, which ends the process at the repeated access.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        } else {
            // SAFETY: the kernel reads one action, which it wrote itself.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Maps zeros over the mapping that an address belongs to; `false` when it is in none.
fn put_zeros(address: usize) -> bool {
    let mut next = NODES.load(Ordering::Acquire);
    // SAFETY: nodes in the list are never freed.
    while let Some(node) = unsafe { next.as_ref() } {
        let len = node.len.load(Ordering::Acquire);
        let base = node.base.load(Ordering::Acquire);
        // A node that is being used again has another length before it has another place.
        let is_whole = node.len.load(Ordering::Acquire) == len;
        if is_whole && address.wrapping_sub(base) < len {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags =
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
            // SAFETY: replaces exactly one mapping of ours, to which only raw accesses are made; other threads'
            // accesses find the old memory or zeros.
            let zeros = unsafe { libc::mmap(base as *mut c_void, len, access, flags, -1, 0) };
            node.hit.store(true, Ordering::Relaxed);
            return zeros != libc::MAP_FAILED;
        }
        next = node.next.load(Ordering::Acquire);
    }
    false
}
