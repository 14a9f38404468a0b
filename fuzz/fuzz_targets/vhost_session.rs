//! A vhost-user front-end that says anything, with descriptors of any kind: the session answers or ends, its rings can
//! be used all the while, and no descriptor is left behind.
//!
//! Input: records of a request (1), flags (1), descriptors as two bits each for none, memory, event and file (1), a
//! length (1) and the payload; between records the rings are used.

#![no_main]

use std::{
    fs::{self, File},
    io::Read,
    mem,
    os::{
        fd::{AsRawFd, FromRawFd, RawFd},
        unix::net::UnixStream,
    },
    ptr, thread,
};

use libfuzzer_sys::fuzz_target;
use weft_ports::{
    Job, Scratch, Tally,
    vhost::{self, Attached},
};
use weft_vlan::Tags;

const MEMORY: u64 = 1 << 16;
/// Payloads that are longer are not interesting but once.
const SLACK: usize = 32;

fuzz_target!(|data: &[u8]| {
    // Counted each time: the fuzzer opens some of its own between two runs.
    let before = descriptors();
    converse(data);
    assert_eq!(descriptors(), before, "descriptors are left behind");
});

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn converse(data: &[u8]) {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let Attached { mut opened, session, line } = vhost::attach(near.into(), 2).unwrap();
    let session = thread::spawn(move || session.run(|_| {}));
    // SAFETY: the calls make descriptors that nobody else knows.
    let (memory, event) = unsafe {
        (
            File::from_raw_fd(libc::memfd_create(c"fuzz".as_ptr(), 0)),
            File::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK)),
        )
    };
    memory.set_len(MEMORY).unwrap();
    let null = File::open("/dev/null").unwrap();
    let mut scratch = Scratch::new();
    let mut rest = data;
    while let [code, flags, fds, len, behind @ ..] = rest {
        let len = usize::from(*len) + if *len == u8::MAX { SLACK } else { 0 };
        let (payload, behind) = behind.split_at(behind.len().min(len));
        rest = behind;
        let fds: Vec<RawFd> = (0..4)
            .filter_map(|at| match fds >> (2 * at) & 3 {
                0 => None,
                1 => Some(memory.as_raw_fd()),
                2 => Some(event.as_raw_fd()),
                _ => Some(null.as_raw_fd()),
            })
            .collect();
        let mut message = Vec::new();
        for word in [u32::from(*code), 1 | u32::from(flags & 8), payload.len() as u32] {
            message.extend(word.to_ne_bytes());
        }
        message.extend(payload);
        send(&far, &message, &fds);
        use_rings(&mut opened, &mut scratch);
        while matches!(far.read(&mut [0; 512]), Ok(1..)) {}
    }
    drop(line);
    session.join().unwrap();
    for rx in &mut opened.rx {
        assert!(rx.receive(&mut scratch).is_err(), "a queue lives on without its session");
    }
}

fn use_rings(opened: &mut weft_ports::Opened, scratch: &mut Scratch) {
    let mut tally = Tally::default();
    for (rx, tx) in opened.rx.iter_mut().zip(&mut opened.tx) {
        let Ok(burst) = rx.receive(scratch) else { return };
        let tags = Tags { vlan: None, payload: None };
        let jobs: Vec<Job> =
            (0..burst.frames().len() as u16).map(|frame| Job { frame, tags }).collect();
        tx.send(&burst, &jobs, &mut tally);
        rx.rest();
    }
}

fn send(socket: &UnixStream, bytes: &[u8], fds: &[RawFd]) {
    let mut control = [0_u64; 16];
    let mut piece =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: everything that the kernel reads lives until the call is over; the control block has room for more
    // descriptors than come.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let len = size_of_val(fds) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(len) as _;
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(len) as _;
            ptr::copy_nonoverlapping(fds.as_ptr(), libc::CMSG_DATA(first).cast(), fds.len());
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL);
    }
}
