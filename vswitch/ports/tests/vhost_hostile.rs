//! Guests and front-ends that break every rule: each is found out, stops its own ring or its own connection, and takes
//! nothing with it.

mod lab;

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::{AsRawFd, FromRawFd, RawFd},
    time::Duration,
};

use lab::{
    Sink, Source,
    driver::{
        Driver, INDIRECT, NEXT, Port, SIZE, Shape, WRITE, connect, event, feature, pair,
        was_signalled,
    },
    frame,
    memory::{Memory, REGION, REGIONS},
    until,
};
use weft_core::DropReason;
use weft_ports::{Job, Opened, Scratch, Tally, vhost::Ended};
use weft_vlan::Tags;

const MODERN: u64 = feature::VERSION_1 | feature::PROTOCOL | feature::MRG_RXBUF;
const PLAIN: Shape = Shape { pieces: 1, indirect: false };

fn is_alive(port: &mut Port, driver: &mut Driver) -> bool {
    driver.send_frame(0, &[0; 12], &frame(&[], 100, 1), PLAIN);
    let mut sink = Sink::new();
    let came = until("the frame", || sink.receive(&mut *port.opened.rx[0]).unwrap().frames.pop());
    port.opened.rx[0].rest();
    came == frame(&[], 100, 1)
}

/// What a driver may do to the first descriptor of its transmit ring, and what is found.
type Crime = (&'static str, fn(&mut Driver));

const CRIMES: &[Crime] = &[
    ("a buffer at 0xfff000000 of 100 bytes", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0xf_ff00_0000, 100, 0, 0);
    }),
    ("a buffer at 0xfffff0 of 4096 bytes", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, REGION - 16, 4096, 0, 0);
    }),
    ("a buffer at 0xffffffffffffffff of 4294967295 bytes", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, u64::MAX, u32::MAX, 0, 0);
    }),
    ("does not end", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 1, NEXT, 0);
    }),
    ("names descriptor 256", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 100, NEXT, SIZE);
    }),
    ("the wrong direction", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 100, WRITE, 0);
    }),
    ("an indirect table of 0 bytes", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 0, INDIRECT, 0);
    }),
    ("an indirect table of 17 bytes", |driver| {
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 17, INDIRECT, 0);
    }),
    ("an indirect table of 32 bytes", |driver| {
        // In a chain that goes on.
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 32, INDIRECT | NEXT, 1);
    }),
    ("an indirect table of 48 bytes", |driver| {
        // A table in a table.
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 16, INDIRECT, 0);
        driver.descriptor(0x20_0000, 0x20_0000, 48, INDIRECT, 0);
    }),
    ("a buffer at 0xfffff0 of 32 bytes", |driver| {
        // A table that goes beyond its region.
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, REGION - 16, 32, INDIRECT, 0);
    }),
    ("does not end", |driver| {
        // A table of one entry more than a chain may have, each in its place.
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x30_0000, 16 * 1025, INDIRECT, 0);
        for entry in 0..1025_u16 {
            let more = if entry == 1024 { 0 } else { NEXT };
            driver.descriptor(0x30_0000 + 16 * u64::from(entry), 0x20_0000, 1, more, entry + 1);
        }
    }),
    ("does not end", |driver| {
        // A table whose entries lead back.
        let at = driver.descriptor_place(1, 0);
        driver.descriptor(at, 0x20_0000, 32, INDIRECT, 0);
        driver.descriptor(0x20_0000, 0x20_1000, 8, NEXT, 1);
        driver.descriptor(0x20_0010, 0x20_1000, 8, NEXT, 0);
    }),
    ("names descriptor 300", |driver| driver.make_available_at(300)),
    ("its index jumps to 257 buffers", |driver| driver.rings[1].avail = SIZE + 1),
    ("its index jumps to 65535 buffers", |driver| driver.rings[1].avail = u16::MAX),
];

impl Driver {
    /// Makes a head available in the place of the first buffer.
    fn make_available_at(&mut self, head: u16) {
        self.memory.write16(self.available_place(1) + 4, head);
    }
}

#[test]
fn a_driver_that_breaks_its_ring_stops_it_until_it_begins_anew() {
    for (found, crime) in CRIMES {
        let (mut port, mut driver) = connect(1, MODERN | feature::INDIRECT);
        driver.start();
        driver.put(1, 112, 0, PLAIN);
        crime(&mut driver);
        driver.show(1);
        let mut scratch = Scratch::new();
        let rx = &mut port.opened.rx[0];
        let mut refused: Vec<(DropReason, u64)> = Vec::new();
        until(found, || {
            let burst = rx.receive(&mut scratch).unwrap();
            assert!(burst.frames().is_empty(), "{found}");
            refused.extend(burst.refused());
            (!refused.is_empty()).then_some(())
        });
        assert_eq!(refused, [(DropReason::Malformed, 1)], "{found}");
        let news = port.news.recv_timeout(lab::PATIENCE).unwrap();
        assert!(news.contains(found) && news.starts_with("ring 1"), "{news}, not {found}");
        // It stands still and costs nothing, and the other ring goes on.
        assert!(rx.receive(&mut scratch).unwrap().is_empty());
        assert!(rx.rest(), "a ring that stands still lets its worker sleep");
        driver.offer(0, 1, 2000);
        let tally = Source::new().send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
        assert_eq!(tally.frames, 1, "{found}");
        // A guest that was restarted.
        driver.stop_ring(1);
        driver.memory.write(driver.used_place(1), &[0; 2100]);
        driver.memory.write16(driver.available_place(1) + 2, 0);
        (driver.rings[1].avail, driver.rings[1].used) = (0, 0);
        driver.start_ring(1);
        driver.sync();
        assert!(is_alive(&mut port, &mut driver), "{found}");
    }
}

/// What it gets is its own affair; nothing else is touched.
#[test]
fn a_buffer_that_lies_on_the_frame_that_is_written_to_it_does_no_harm() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let (place, sent) = (0x20_0000, frame(&[], 1000, 1));
    driver.put(1, 12 + sent.len(), 0, PLAIN);
    driver.descriptor(driver.descriptor_place(1, 0), place, 12 + sent.len() as u32, 0, 0);
    driver.memory.write(place, &[0; 12]);
    driver.memory.write(place + 12, &sent);
    driver.show(1);
    driver.put(0, 2000, WRITE, PLAIN);
    driver.descriptor(driver.descriptor_place(0, 0), place + 8, 2000, WRITE, 0);
    driver.show(0);
    let (mut scratch, mut tally) = (Scratch::new(), Tally::default());
    let Opened { rx, tx, .. } = &mut port.opened;
    until("the frame", || {
        let burst = rx[0].receive(&mut scratch).unwrap();
        let jobs = [Job { frame: 0, tags: Tags { vlan: None, payload: None } }];
        (!burst.is_empty()).then(|| tx[0].send(&burst, &jobs, &mut tally))
    });
    rx[0].rest();
    assert_eq!(tally.frames, 1);
    assert!(is_alive(&mut port, &mut driver));
}

#[test]
fn a_driver_that_offers_nonsense_for_frames_stops_that_ring_alone() {
    type Crime = fn(&mut Driver);
    let crimes: &[(&str, Crime)] = &[
        ("the wrong direction", |driver| {
            driver.put(0, 2000, 0, PLAIN);
        }),
        ("not in the guest's memory", |driver| {
            driver.put(0, 2000, WRITE, PLAIN);
            let at = driver.descriptor_place(0, 0);
            driver.descriptor(at, REGIONS[1] + REGION - 10, 2000, WRITE, 0);
        }),
        ("its index jumps", |driver| driver.rings[0].avail = 1000),
    ];
    for (found, crime) in crimes {
        let (mut port, mut driver) = connect(1, MODERN);
        driver.start();
        crime(&mut driver);
        driver.show(0);
        let tx = &mut *port.opened.tx[0];
        let tally = Source::new().send_as_it_is(tx, &frame(&[], 100, 1));
        assert_eq!((tally.frames, &tally.drops[..]), (0, &[(DropReason::PortDown, 1)][..]));
        let news = port.news.recv_timeout(lab::PATIENCE).unwrap();
        assert!(news.contains(found) && news.starts_with("ring 0"), "{news}, not {found}");
        assert!(is_alive(&mut port, &mut driver));
    }
}

#[test]
fn buffers_of_no_bytes_are_bounded_in_what_they_cost() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.offer(0, 250, 0);
    let mut source = Source::new();
    let tally = source.send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
    assert_eq!(tally.drops, [(DropReason::QueueFull, 1)]);
    driver.offer(0, 6, 0);
    let tally = source.send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
    assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
    let news = port.news.recv_timeout(lab::PATIENCE).unwrap();
    assert!(news.contains("256 buffers have not room for one frame"), "{news}");
    assert!(is_alive(&mut port, &mut driver));
}

/// Lays memory out in regions of a byte each, and a buffer's descriptors across all of them: a chain that is short and
/// makes more pieces than it has descriptors.
fn shred(driver: &mut Driver) {
    let file = driver.memory.file.as_raw_fd();
    let byte = |number: u64| {
        let (guest, user) = (SHREDS + number, (1 << 50) + number);
        [0, guest, 1, user, 0].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect::<Vec<u8>>()
    };
    for number in 0..62 {
        assert_eq!(driver.acknowledged(37, &byte(number), &[file]), 0);
    }
}

const SHREDS: u64 = 1 << 40;

#[test]
fn a_frame_in_more_pieces_than_any_driver_makes_breaks_its_ring() {
    for ring in [0, 1] {
        let (mut port, mut driver) = connect(1, MODERN);
        driver.start();
        shred(&mut driver);
        for entry in 0..18_u16 {
            let (at, more) =
                (driver.descriptor_place(ring, entry), if entry == 17 { 0 } else { NEXT });
            driver.descriptor(at, SHREDS, 62, more | if ring == 0 { WRITE } else { 0 }, entry + 1);
        }
        driver.make_available(ring, 0);
        driver.show(ring);
        Source::new().send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 2000, 1));
        let mut scratch = Scratch::new();
        let news = until("the news", || {
            assert!(port.opened.rx[0].receive(&mut scratch).unwrap().frames().is_empty());
            port.news.try_recv().ok()
        });
        assert!(news.contains("in more than 1024 pieces"), "{news}");
    }
}

#[test]
fn a_burst_ends_where_its_pieces_would_take_memory_without_end() {
    let (mut port, mut driver) = connect(1, MODERN | feature::INDIRECT);
    driver.start();
    shred(&mut driver);
    // Each frame: a table of sixteen descriptors of 62 pieces.
    for entry in 0..16_u16 {
        let more = if entry == 15 { 0 } else { NEXT };
        driver.descriptor(0x30_0000 + 16 * u64::from(entry), SHREDS, 62, more, entry + 1);
    }
    for head in 0..64 {
        let at = driver.descriptor_place(1, head);
        driver.descriptor(at, 0x30_0000, 16 * 16, INDIRECT, 0);
        driver.make_available(1, head);
    }
    driver.show(1);
    let mut scratch = Scratch::new();
    let (mut frames, mut longest) = (0, 0);
    until("all frames", || {
        let burst = port.opened.rx[0].receive(&mut scratch).unwrap().frames().len();
        (frames, longest) = (frames + burst, longest.max(burst));
        (frames == 64).then_some(())
    });
    assert_eq!(longest, 1, "992 pieces each, and a burst ends behind 256");
}

#[test]
fn memory_that_is_cut_short_under_traffic_stops_the_port_and_not_the_process() {
    let (mut port, mut driver) = connect(1, MODERN);
    let (mut other, mut neighbour) = connect(1, MODERN);
    driver.start();
    neighbour.start();
    // The frame's second piece lies where there will be no file.
    let end = REGIONS[1] + REGION;
    driver.put(1, 72, 0, PLAIN);
    let at = driver.descriptor_place(1, 0);
    driver.descriptor(at, end - 4096, 2000, 0, 0);
    driver.memory.file.set_len(2 * REGION - 4096).unwrap();
    driver.show(1);
    let mut scratch = Scratch::new();
    let rx = &mut port.opened.rx[0];
    until("the port's end", || {
        let burst = rx.receive(&mut scratch).unwrap();
        assert!(burst.frames().is_empty());
        (!burst.refused().is_empty()).then_some(())
    });
    let news = port.news.recv_timeout(lab::PATIENCE).unwrap();
    assert!(news.contains("taken away"), "{news}");
    let tally = Source::new().send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
    assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
    assert!(is_alive(&mut other, &mut neighbour));
}

#[test]
fn a_frame_for_memory_that_is_gone_is_dropped() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.put(0, 2000, WRITE, PLAIN);
    let at = driver.descriptor_place(0, 0);
    driver.descriptor(at, REGIONS[1] + REGION - 4096, 2000, WRITE, 0);
    driver.show(0);
    driver.memory.file.set_len(2 * REGION - 4096).unwrap();
    let mut source = Source::new();
    // The first write is what finds out.
    source.send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
    let tally = source.send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
    assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
}

/// Returns how many descriptors this process has.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Messages that a connection does not outlive: code, payload, and how many descriptors come along.
fn nonsense(driver: &Driver) -> Vec<(&'static str, Vec<u8>)> {
    let message = |code: u32, flags: u32, payload: &[u8]| {
        let header = [code, flags, payload.len() as u32].map(u32::to_ne_bytes).concat();
        [header, payload.to_vec()].concat()
    };
    let words =
        |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_ne_bytes()).collect() };
    vec![
        ("another version", message(1, 2, &[])),
        ("a reply", message(1, 5, &[])),
        ("a long message", [1_u32, 1, 1 << 30].map(u32::to_ne_bytes).concat()),
        ("an unknown request", message(99, 1, &[])),
        ("a request without its payload", message(2, 1, &[])),
        ("features that were not offered", message(2, 1, &words(&[1 << 34]))),
        ("protocol features that were not offered", message(16, 1, &words(&[1 << 5]))),
        ("a ring that is none", message(8, 1, &words(&[(64 << 32) | 77]))),
        ("a size that is none", message(8, 1, &words(&[(63 << 32) | 1]))),
        ("a size of zero", message(8, 1, &words(&[1]))),
        ("a table without descriptors", message(5, 1, &driver.table())),
        ("a table of nine", message(5, 1, &words(&[9, 0, 0, 0, 0]))),
        ("a ring that is nowhere", {
            let mut payload = pair(1, 0);
            payload.extend(words(&[16, 32, 48, 0]));
            message(9, 1, &payload)
        }),
        ("a kick without a descriptor", message(12, 1, &words(&[1]))),
        ("a front-end that polls", message(12, 1, &words(&[0x101]))),
        ("an area for no ring", message(31, 1, &words(&[0, 0, 0]))),
        ("an MTU of 2", message(20, 1, &words(&[2]))),
    ]
}

#[test]
fn messages_that_make_no_sense_end_the_connection_and_leave_nothing_behind() {
    let before = descriptors();
    let (_, sample) = connect(1, MODERN);
    let messages = nonsense(&sample);
    drop(sample);
    for (what, bytes) in &messages {
        let (mut port, mut driver) = connect(1, MODERN);
        driver.start();
        driver.send_raw(bytes, &[]).unwrap();
        let ended = port.ended();
        assert!(!matches!(ended, Ended::Closed | Ended::Io(_)), "{what}: {ended}");
        let mut rest = Vec::new();
        assert_eq!(driver.socket.read_to_end(&mut rest).unwrap_or(0), 0, "{what}");
    }
    // Cut off at every byte.
    for (_, bytes) in &messages {
        for len in 0..bytes.len().min(20) {
            let (mut port, mut driver) = connect(1, MODERN);
            driver.send_raw(&bytes[..len], &[]).unwrap();
            drop(driver);
            port.ended();
        }
    }
    until("all descriptors are closed", || (descriptors() <= before).then_some(()));
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    let before = descriptors();
    let null = File::open("/dev/null").unwrap();
    for (code, payload, count) in
        [(1, vec![], 1), (2, vec![0; 8], 8), (5, vec![0; 8], 3), (3, vec![], 200)]
    {
        let (mut port, mut driver) = connect(1, MODERN);
        driver.send(code, 0, &payload, &vec![null.as_raw_fd(); count]);
        assert!(!matches!(port.ended(), Ended::Closed), "{count} descriptors with {code}");
    }
    // A kick that is a file, a call that is a pipe: nothing that could keep a worker waiting.
    let mut pipe = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the descriptors are new.
    let pipe = pipe.map(|fd| unsafe { File::from_raw_fd(fd) });
    for (code, fd) in [(12, null.as_raw_fd()), (13, pipe[1].as_raw_fd()), (14, null.as_raw_fd())] {
        let (mut port, mut driver) = connect(1, MODERN);
        driver.greet();
        driver.send(code, 0, &1_u64.to_ne_bytes(), &[fd]);
        assert!(port.ended().to_string().contains("no event"), "{code}");
    }
    drop((pipe, null));
    until("all descriptors are closed", || (descriptors() <= before).then_some(()));
}

#[test]
fn memory_that_overlaps_goes_round_or_is_too_short_is_refused_and_what_was_there_stays() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let fd = driver.memory.file.as_raw_fd();
    let free = 1_u64 << 40;
    let region = |guest: u64, size: u64, user: u64, offset: u64| {
        let words = [0, guest, size, user, offset];
        words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>()
    };
    let disk = tempfile_on_disk();
    let cases: &[(&str, Vec<u8>, RawFd)] = &[
        ("empty", region(free, 0, free, 0), fd),
        ("round", region(u64::MAX - 10, 4096, free, 0), fd),
        ("round in the front-end", region(free, 4096, u64::MAX - 10, 0), fd),
        ("overlapping", region(REGION - 4096, 8192, free, 0), fd),
        ("overlapping in the front-end", region(free, 4096, driver.memory.user(8192), 0), fd),
        ("too short", region(free, 4096, free, 2 * REGION), fd),
        ("too short by an offset that goes round", region(free, 4096, free, u64::MAX - 100), fd),
        ("endless", region(free, 1 << 50, free, 0), fd),
        ("not memory", region(free, 4096, free, 0), disk.as_raw_fd()),
        ("an event", region(free, 4096, free, 0), driver.rings[0].call.as_raw_fd()),
    ];
    for (what, payload, fd) in cases {
        assert_ne!(driver.acknowledged(37, payload, &[*fd]), 0, "{what}");
        assert!(port.news.recv_timeout(lab::PATIENCE).is_ok());
        assert!(is_alive(&mut port, &mut driver), "{what}");
    }
    // As many small regions as there may be.
    let add = |driver: &mut Driver, number: u64| {
        let place = free + number * 8192;
        driver.acknowledged(37, &region(place, 4096, place, 0), &[fd])
    };
    assert!((0..62).all(|number| add(&mut driver, number) == 0));
    assert_ne!(add(&mut driver, 62), 0);
    assert!(is_alive(&mut port, &mut driver));
}

/// Opens a file that is no memory: the one this test runs from.
fn tempfile_on_disk() -> File {
    File::open("/proc/self/exe").unwrap()
}

#[test]
fn an_area_for_buffers_in_flight_that_is_scribbled_on_leads_nowhere() {
    for seed in 0..40_u32 {
        let (mut port, mut driver) = connect(1, MODERN);
        driver.greet();
        let area = Memory::new();
        let len = 2 * (16 + 16 * 256_u64).next_multiple_of(64);
        area.write(0, &frame(&[], len as usize, seed));
        let spec = [
            len.to_ne_bytes().to_vec(),
            vec![0; 8],
            2_u16.to_ne_bytes().to_vec(),
            SIZE.to_ne_bytes().to_vec(),
        ]
        .concat();
        driver.send(32, 0, &spec, &[area.file.as_raw_fd()]);
        for ring in 0..2 {
            driver.start_ring(ring);
            driver.state(18, ring, 1);
        }
        driver.sync();
        let mut scratch = Scratch::new();
        for _ in 0..50 {
            area.write(0, &frame(&[], len as usize, seed + 1000));
            let _ = port.opened.rx[0].receive(&mut scratch).unwrap();
            port.opened.rx[0].rest();
            Source::new().send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
        }
    }
}

/// Has the next write to an event wait, as whoever shares its description may: it fills the counter, and makes the
/// descriptor a blocking one.
fn stuff(mut event: &File) {
    was_signalled(event);
    // SAFETY: the calls take no memory.
    unsafe {
        let flags = libc::fcntl(event.as_raw_fd(), libc::F_GETFL);
        assert_eq!(libc::fcntl(event.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK), 0);
    }
    event.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
}

#[test]
fn a_front_end_that_has_its_session_wait_at_its_error_event_keeps_no_worker() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let err = event();
    driver.send(14, 0, &1_u64.to_ne_bytes(), &[err.as_raw_fd()]);
    driver.sync();
    stuff(&err);
    driver.rings[1].avail = u16::MAX;
    driver.show(1);
    let mut scratch = Scratch::new();
    let news = until("the news", || {
        assert!(port.opened.rx[0].receive(&mut scratch).unwrap().frames().is_empty());
        port.news.try_recv().ok()
    });
    assert!(news.contains("its index jumps"), "{news}");
    // The session waits for the counter, which is nobody's business but the front-end's.
    assert!(port.opened.rx[0].receive(&mut scratch).unwrap().is_empty());
    let read = (&err).read(&mut [0; 8]);
    assert_eq!(read.unwrap(), 8);
    driver.sync();
}

#[test]
fn a_front_end_that_has_its_session_wait_at_its_call_event_keeps_no_worker() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.stop_ring(1);
    driver.rings[1].avail = 0;
    port.opened.rx[0].announced();
    let call = event();
    driver.send(13, 0, &1_u64.to_ne_bytes(), &[call.as_raw_fd()]);
    driver.sync();
    stuff(&call);
    let kick = driver.rings[1].kick.as_raw_fd();
    driver.send(12, 0, &1_u64.to_ne_bytes(), &[kick]);
    assert!(lab::is_readable(port.opened.rx[0].fd(), lab::PATIENCE), "the ring starts");
    port.opened.rx[0].announced();
    let mut scratch = Scratch::new();
    assert!(port.opened.rx[0].receive(&mut scratch).unwrap().is_empty());
    assert!(port.opened.rx[0].rest());
    let read = (&call).read(&mut [0; 8]);
    assert_eq!(read.unwrap(), 8);
    driver.sync();
}

#[test]
fn a_front_end_that_says_half_a_word_keeps_nobody_and_can_be_hung_up_on() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.send_raw(&[1, 0, 0, 0], &[]).unwrap();
    assert!(is_alive(&mut port, &mut driver), "rings go on while the session waits for the rest");
    port.line = None;
    assert!(matches!(port.ended(), Ended::Closed));
    assert!(lab::is_readable(port.opened.rx[0].fd(), Duration::from_secs(20)));
}
