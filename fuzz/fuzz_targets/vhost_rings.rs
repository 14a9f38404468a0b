//! A driver that writes anything into its rings, while they are used: nothing outside the guest's memory is touched,
//! and every frame has the bytes that it says.
//!
//! Input: features (1), then records of what to do (1), where (2) and what (2). Another thread writes the input's last
//! bytes over the rings all the while.

#![no_main]

use std::{
    fs::File,
    io::{Read, Write},
    mem,
    os::{
        fd::{AsRawFd, FromRawFd, RawFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use libfuzzer_sys::fuzz_target;
use weft_ports::{
    Job, Opened, Scratch, Tally,
    vhost::{self, Attached},
};
use weft_vlan::Tags;

const MEMORY: u64 = 1 << 16;
const SIZE: u32 = 16;
/// From one ring to the next.
const RING: u64 = 0x1000;
const AVAIL: u64 = 0x400;
const USED: u64 = 0x800;
/// VERSION_1 and the protocol's; as the input says: mergeable buffers, indirect descriptors, EVENT_IDX, checksums and TCP
/// segments left to the driver, IN_ORDER, UDP segments of IPv4 and of IPv6.
const FEATURES: u64 = 1 << 32 | 1 << 30;
const OPTIONAL: [u64; 8] =
    [1 << 15, 1 << 28, 1 << 29, 1 << 1, 1 << 7 | 1 << 8, 1 << 35, 1 << 54, 1 << 55];

fuzz_target!(|data: &[u8]| {
    let [features, records @ ..] = data else { return };
    let (near, mut far) = UnixStream::pair().unwrap();
    let Attached { mut opened, session, line } = vhost::attach(near.into(), 1).unwrap();
    let session = thread::spawn(move || session.run(|_| {}));
    // SAFETY: the call makes a descriptor that nobody else knows.
    let memory = unsafe { File::from_raw_fd(libc::memfd_create(c"fuzz".as_ptr(), 0)) };
    memory.set_len(MEMORY).unwrap();
    let optional = OPTIONAL.iter().zip(0..).filter(|(_, bit)| features >> bit & 1 != 0);
    begin(&mut far, &memory, FEATURES | optional.map(|(feature, _)| feature).sum::<u64>());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let scribbler = scope.spawn(|| scribble(&memory, data, &done));
        play(&mut opened, &memory, records);
        done.store(true, Ordering::Relaxed);
        // The scope alone waits for what the thread does, not for its end.
        scribbler.join().unwrap();
    });
    drop(line);
    session.join().unwrap();
});

/// Sets up both rings.
fn begin(far: &mut UnixStream, memory: &File, features: u64) {
    let words =
        |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
    send(far, 2, &words(&[features]), &[]);
    send(far, 5, &words(&[1, 0, MEMORY, 0x10_0000, 0]), &[memory.as_raw_fd()]);
    for ring in 0..2_u64 {
        let place = 0x10_0000 + ring * RING;
        send(far, 8, &words(&[u64::from(SIZE) << 32 | ring]), &[]);
        send(far, 9, &words(&[ring, place, place + USED, place + AVAIL, 0]), &[]);
        // SAFETY: the call makes a descriptor that nobody else knows.
        let kick = unsafe { File::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK)) };
        send(far, 12, &words(&[ring]), &[kick.as_raw_fd()]);
        send(far, 18, &words(&[1 << 32 | ring]), &[]);
    }
    send(far, 1, &[], &[]);
    far.read_exact(&mut [0; 20]).unwrap();
}

/// Writes, receives and sends as the input says.
fn play(opened: &mut Opened, memory: &File, records: &[u8]) {
    let mut scratch = Scratch::new();
    let mut tally = Tally::default();
    for record in records.chunks_exact(5) {
        let place = u64::from(u16::from_le_bytes([record[1], record[2]]));
        match record[0] % 4 {
            0 => memory.write_all_at(&record[3..5], place.min(MEMORY - 2)).unwrap(),
            // Something plausible: a descriptor, and a buffer more.
            1 => {
                let ring = place % 2 * RING;
                let number = u64::from(record[3]) % u64::from(SIZE);
                let mut entry = (place & 0xff00).to_le_bytes().to_vec();
                entry.extend(u32::from(record[4]).to_le_bytes());
                entry.extend([record[3] >> 4, 0, record[4] % 16, 0]);
                memory.write_all_at(&entry, ring + number * 16).unwrap();
            }
            2 => {
                let ring = place % 2 * RING;
                let mut index = [0; 2];
                memory.read_exact_at(&mut index, ring + AVAIL + 2).unwrap();
                let index = u16::from_le_bytes(index).wrapping_add(u16::from(record[3]) % 20);
                memory.write_all_at(&index.to_le_bytes(), ring + AVAIL + 2).unwrap();
            }
            _ => pass(opened, &mut scratch, &mut tally),
        }
    }
    pass(opened, &mut scratch, &mut tally);
}

fn pass(opened: &mut Opened, scratch: &mut Scratch, tally: &mut Tally) {
    let burst = opened.rx[0].receive(scratch).unwrap();
    let tags = Tags { vlan: None, payload: None };
    let jobs: Vec<Job> =
        (0..burst.frames().len() as u16).map(|frame| Job { frame, tags }).collect();
    for job in &jobs {
        let mut reader = burst.reader(job);
        let mut bytes = vec![0; reader.len()];
        assert_eq!(reader.read(&mut bytes), bytes.len());
    }
    opened.tx[0].send(&burst, &jobs, tally);
    opened.rx[0].rest();
}

/// Writes over the rings until the other thread is done.
fn scribble(memory: &File, data: &[u8], done: &AtomicBool) {
    let tail = &data[data.len().saturating_sub(8)..];
    let mut place = 0;
    while !done.load(Ordering::Relaxed) {
        memory.write_all_at(tail, place % (2 * RING)).unwrap();
        place += 61;
        thread::yield_now();
    }
}

fn send(socket: &mut UnixStream, code: u32, payload: &[u8], fds: &[RawFd]) {
    let mut bytes = Vec::new();
    for word in [code, 1, payload.len() as u32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(payload);
    let Some(&fd) = fds.first() else {
        return socket.write_all(&bytes).unwrap();
    };
    let mut control = [0_u64; 8];
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: everything that the kernel reads lives until the call is over; the control block has room for one
    // descriptor.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(4) as _;
        ptr::write_unaligned(libc::CMSG_DATA(first).cast(), fd);
        assert!(libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) > 0);
    }
}
