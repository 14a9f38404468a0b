use std::{
    fs::File,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use super::*;
use crate::vhost::message::RegionSpec;

const SIZE: u16 = 4;
const USER: u64 = 1 << 32;
const AVAIL: u64 = 0x100;
const USED: u64 = 0x200;

/// A ring in memory, and the file to write to as its driver.
fn ring() -> (Ring, Setting, File) {
    // SAFETY: the call makes a descriptor that nobody else knows.
    let file =
        unsafe { File::from_raw_fd(libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC)) };
    file.set_len(4096).unwrap();
    let shared = OwnedFd::from(file.try_clone().unwrap());
    let spec = RegionSpec { guest: 0, size: 4096, user: USER, offset: 0 };
    let memory = Memory::default().with(spec, &shared).unwrap();
    let layout =
        Layout { size: SIZE.into(), desc: USER, avail: USER + AVAIL, used: USER + USED, log: None };
    let ring = Ring::new(layout, &memory, Notify::ByFlag).unwrap();
    (ring, Setting { memory: Arc::new(memory), log: None }, file)
}

#[test]
fn what_was_not_seen_to_come_back_cannot_be_offered_again() {
    let (mut ring, setting, file) = ring();
    let show = |index: u16| file.write_all_at(&index.to_le_bytes(), AVAIL + 2).unwrap();
    show(SIZE);
    assert_eq!(ring.waiting(), Ok(4));
    ring.take(4);
    (0..SIZE).for_each(|head| ring.give_back(head, 0));
    assert_eq!(ring.waiting(), Ok(0));
    show(SIZE + 1);
    assert_eq!(ring.waiting(), Err(Broken::Index(5)));
    ring.publish(&setting);
    assert_eq!(ring.waiting(), Ok(1));
    ring.take(1);
    show(SIZE);
    assert_eq!(ring.waiting(), Err(Broken::Index(u16::MAX)), "what was taken is not taken back");
}
