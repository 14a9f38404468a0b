//! Neither a super-frame that is cut, sent, received and merged nor a frame from guest to guest costs an allocation. Alone
//! in their binary, for its allocator.

mod lab;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use lab::{
    Tagging,
    driver::{Shape, connect, feature},
    frame, jobs_for,
    tunnel::{UNTAGGED, lay_out, take_in},
};
use weft_offload::VnetHeader;
use weft_ports::{
    Job, Scratch, Tally,
    udp::{self, Destination, Segmentation},
};
use weft_vlan::Tags;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts for each thread apart: the test's harness has one of its own, which allocates when it likes.
struct Counting;

// SAFETY: hands everything to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, new) }
    }
}

const PAYLOAD: usize = 45 * 1448;

/// TCP over IPv6, as a stack hands it to a device that cuts.
fn super_frame() -> (Vec<u8>, VnetHeader) {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0];
    frame.extend((20 + PAYLOAD as u16).to_be_bytes());
    frame.extend([6, 64]);
    frame.extend(1..=32);
    frame.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.resize(frame.len() + PAYLOAD, 0x5a);
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV6,
        hdr_len: 74.into(),
        gso_size: 1448.into(),
        csum_start: 54.into(),
        csum_offset: 16.into(),
    };
    (frame, vnet)
}

#[test]
fn nothing_is_allocated_between_two_bursts() {
    let (frame, vnet) = super_frame();
    let bind = || udp::open("127.0.0.1:0".parse().unwrap(), 1, Segmentation::Kernel).unwrap();
    let (near, far) = (bind().remove(0), bind().remove(0));
    let mut to = Destination::new(far.address().unwrap(), 0);
    let (mut sender, mut receiver) = (near.sender(), far.receiver());
    let (mut out, mut back) = (Scratch::new(), Scratch::new());
    let mut tally = Tally::default();
    for round in 0..20 {
        let mut builder = out.builder();
        builder.push(&frame, Some(UNTAGGED), Some(&vnet));
        builder.push(&frame, Some(UNTAGGED), Some(&vnet));
        let burst = builder.finish();
        let jobs = jobs_for(&burst, Tagging::Keep);
        let (mut records, mut bytes) = (0, 0);
        let before = ALLOCATIONS.get();
        let mut batch = sender.batch(&mut to, &mut tally);
        for job in &jobs {
            lay_out(&burst, job, 1400, &mut batch);
        }
        batch.send();
        until_received(&mut receiver, &mut back, &mut records, &mut bytes);
        let allocated = ALLOCATIONS.get() - before;
        // What is kept from burst to burst has grown to its size by then.
        if round > 2 {
            assert_eq!(allocated, 0, "round {round}");
        }
        assert_eq!(bytes, 2 * frame.len(), "{records} records");
    }
    assert_eq!((tally.frames, &tally.drops[..]), (40, &[][..]));
    assert!(ALLOCATIONS.get() > 0, "the test itself allocates, which has to be seen");
}

#[test]
fn nothing_is_allocated_between_two_bursts_from_guest_to_guest() {
    const FRAMES: u16 = 50;
    const BUFFER: usize = 600;
    let len = |number: usize| 60 + 40 * number;
    let buffers = (0..FRAMES.into()).map(|number| (12 + len(number)).div_ceil(BUFFER)).sum();
    let features = feature::VERSION_1 | feature::PROTOCOL;
    let (mut near, mut from) = connect(1, features);
    let (mut far, mut to) = connect(1, features | feature::MRG_RXBUF);
    from.start();
    to.start();
    let mut scratch = Scratch::new();
    let mut tally = Tally::default();
    let jobs: Vec<Job> = (0..FRAMES).map(|frame| Job { frame, tags: Tags::NONE }).collect();
    for round in 0..20 {
        to.offer(0, buffers, BUFFER);
        for number in 0..usize::from(FRAMES) {
            let shape = Shape { pieces: 1 + number % 3, indirect: false };
            from.send_frame(0, &[0; 12], &frame(&[], len(number), 1), shape);
        }
        let before = ALLOCATIONS.get();
        let burst = near.opened.rx[0].receive(&mut scratch).unwrap();
        far.opened.tx[0].send(&burst, &jobs, &mut tally);
        near.opened.rx[0].rest();
        let allocated = ALLOCATIONS.get() - before;
        if round > 0 {
            assert_eq!(allocated, 0, "round {round}");
        }
        assert_eq!(to.received(0).len(), usize::from(FRAMES));
        from.reap(1);
    }
    assert_eq!(tally.drops, []);
}

/// Receives until all that was sent is there, merged.
fn until_received(
    receiver: &mut udp::Receiver,
    scratch: &mut Scratch,
    records: &mut usize,
    payload: &mut usize,
) {
    let headers = 74;
    while *payload < 2 * PAYLOAD {
        until_filled(receiver);
        let mut builder = scratch.builder();
        for record in receiver.records() {
            take_in(record, &mut builder);
            *records += 1;
        }
        for frame in builder.finish().frames() {
            *payload += frame.head.untagged_len() - headers;
        }
    }
    *payload += 2 * headers;
}

fn until_filled(receiver: &mut udp::Receiver) {
    while !receiver.fill().unwrap() {
        std::thread::yield_now();
    }
}
