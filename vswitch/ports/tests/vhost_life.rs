//! The life of a guest's rings: front-ends that come, change things, migrate, go and come back.

mod lab;

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::FileExt,
    },
};

use lab::{
    Sink, Source,
    driver::{
        Driver, DriverRing, Port, SIZE, Shape, connect, connect_with, feature, pair, was_signalled,
    },
    frame,
    memory::{Memory, REGION, REGIONS},
    until,
};
use weft_core::DropReason;
use weft_ports::{Fault, Scratch, vhost::Ended};

const MODERN: u64 = feature::VERSION_1 | feature::PROTOCOL | feature::MRG_RXBUF;
const PLAIN: Shape = Shape { pieces: 1, indirect: false };

fn comes_through(port: &mut Port, driver: &mut Driver, seed: u32) -> bool {
    driver.send_frame(0, &[0; 12], &frame(&[], 100, seed), PLAIN);
    let mut sink = Sink::new();
    let rx = &mut *port.opened.rx[0];
    let came = until("the frame", || sink.receive(rx).unwrap().frames.pop());
    rx.rest();
    came == frame(&[], 100, seed)
}

fn gets_through(port: &mut Port, driver: &mut Driver, seed: u32) -> bool {
    driver.offer(0, 1, 2000);
    Source::new().send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, seed));
    driver.received(0).pop().is_some_and(|(_, came)| came == frame(&[], 100, seed))
}

#[test]
fn rings_may_be_enabled_before_any_feature_is_taken() {
    // As QEMU 10.0 begins.
    let (mut port, mut driver) = connect(1, MODERN);
    driver.ask_word(1);
    let offered = driver.ask_word(15);
    driver.word(16, offered);
    driver.ask_word(17);
    driver.send(3, 0, &[], &[]);
    for ring in 0..2 {
        assert_eq!(driver.acknowledged(18, &pair(ring, 1), &[]), 0);
    }
    driver.greet();
    (0..2).for_each(|ring| driver.start_ring(ring));
    driver.sync();
    assert!(comes_through(&mut port, &mut driver, 1));
    assert!(gets_through(&mut port, &mut driver, 2));
}

/// Everything is answered for, rings are enabled when all are told of, and each is said to begin where its driver stands,
/// whatever of it was used. What is in flight is asked for once, and brought again by who comes back.
fn begin_as_cloud_hypervisor(driver: &mut Driver, in_flight: &mut Option<(Vec<u8>, File)>) {
    driver.send(3, 0, &[], &[]);
    assert_eq!(driver.ask_word(1) & driver.features, driver.features);
    let offered = driver.ask_word(15);
    driver.word(16, offered);
    let features = driver.features.to_ne_bytes();
    done(driver, 2, &features, &[]);
    let (table, memory) = (driver.table(), driver.memory.file.as_raw_fd());
    done(driver, 5, &table, &[memory, memory]);
    (0..2).for_each(|ring| done(driver, 8, &pair(ring, SIZE.into()), &[]));
    let (area, file) = in_flight.get_or_insert_with(|| {
        let spec = [vec![0; 16], 2_u16.to_ne_bytes().to_vec(), SIZE.to_ne_bytes().to_vec()];
        driver.send(31, 0, &spec.concat(), &[]);
        driver.reply_with_fd(31)
    });
    done(driver, 32, area, &[file.as_raw_fd()]);
    for ring in 0..2 {
        let addresses = driver.addresses(ring, 0);
        done(driver, 9, &addresses, &[]);
        let stands = driver.rings[ring].avail.into();
        done(driver, 10, &pair(ring as u32, stands), &[]);
        for code in [13, 12] {
            let DriverRing { call, kick, .. } = &driver.rings[ring];
            let event = if code == 13 { call } else { kick }.as_raw_fd();
            done(driver, code, &(ring as u64).to_ne_bytes(), &[event]);
        }
    }
    (0..2).for_each(|ring| done(driver, 18, &pair(ring, 1), &[]));
}

fn done(driver: &mut Driver, code: u32, payload: &[u8], fds: &[RawFd]) {
    assert_eq!(driver.acknowledged(code, payload, fds), 0, "request {code}");
}

#[test]
fn a_front_end_that_comes_as_cloud_hypervisor_does_loses_nothing() {
    let mut in_flight = None;
    let (mut port, mut driver) = connect(1, MODERN);
    begin_as_cloud_hypervisor(&mut driver, &mut in_flight);
    for life in 0..4 {
        assert!(comes_through(&mut port, &mut driver, life));
        assert!(gets_through(&mut port, &mut driver, life));
        driver.reap(1);
        // The port dies with a frame that it has taken; one more waits, and so does a buffer.
        let waiting = [life + 10, life + 20].map(|seed| frame(&[], 100, seed));
        driver.send_frame(0, &[0; 12], &waiting[0], PLAIN);
        let mut scratch = Scratch::new();
        let rx = &mut port.opened.rx[0];
        until("the frame", || {
            (rx.receive(&mut scratch).unwrap().frames().len() == 1).then_some(())
        });
        std::mem::forget(std::mem::take(&mut port.opened.rx));
        driver.send_frame(0, &[0; 12], &waiting[1], PLAIN);
        driver.offer(0, 1, 2000);
        let memory = Memory::of(driver.memory.file.try_clone().unwrap());
        let (next_port, mut next) = connect_with(memory, 1, MODERN);
        next.go_on_from(&driver);
        (port, driver) = (next_port, next);
        begin_as_cloud_hypervisor(&mut driver, &mut in_flight);
        let mut sink = Sink::new();
        assert_eq!(sink.receive(&mut *port.opened.rx[0]).unwrap().frames, waiting);
        port.opened.rx[0].rest();
        assert_eq!(driver.reap(1).len(), 2);
        let sent = frame(&[], 100, life + 30);
        Source::new().send_as_it_is(&mut *port.opened.tx[0], &sent);
        assert_eq!(driver.received(0).pop().map(|(_, came)| came), Some(sent));
    }
}

#[test]
fn a_ring_that_is_not_enabled_is_emptied_without_effect() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.state(18, 1, 0);
    driver.sync();
    (0..5).for_each(|seed| driver.send_frame(0, &[0; 12], &frame(&[], 100, seed), PLAIN));
    let mut scratch = Scratch::new();
    assert_eq!(port.opened.rx[0].receive(&mut scratch).unwrap().frames().len(), 0);
    port.opened.rx[0].rest();
    assert_eq!(driver.reap(1).len(), 5);
    driver.state(18, 1, 1);
    driver.sync();
    assert!(comes_through(&mut port, &mut driver, 6));
}

#[test]
fn a_ring_that_stops_has_given_back_everything_and_goes_on_where_it_stood() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    for round in 0..300_u32 {
        assert!(comes_through(&mut port, &mut driver, round));
        assert!(gets_through(&mut port, &mut driver, round));
        if round % 30 == 7 {
            for ring in 0..2 {
                driver.reap(ring);
                let stands = driver.stop_ring(ring);
                assert_eq!(stands, driver.rings[ring].used.into());
            }
            (0..2).for_each(|ring| driver.start_ring(ring));
            driver.sync();
        }
    }
}

#[test]
fn a_front_end_waits_for_the_worker_that_still_holds_a_burst() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.send_frame(0, &[0; 12], &frame(&[], 1000, 1), PLAIN);
    let mut scratch = Scratch::new();
    let rx = &mut port.opened.rx[0];
    until("the frame", || (rx.receive(&mut scratch).unwrap().frames().len() == 1).then_some(()));
    driver.state(11, 1, 0);
    // Whoever waits has the queue called again.
    until("the bell", || lab::is_readable(rx.fd(), lab::PATIENCE).then_some(()));
    assert_eq!(driver.memory.read16(driver.used_place(1) + 2), 0, "the buffer is still held");
    rx.announced();
    assert!(rx.receive(&mut scratch).unwrap().is_empty());
    assert_eq!(driver.reply(11), pair(1, 1));
    assert_eq!(driver.reap(1).len(), 1);
}

#[test]
fn a_front_end_that_comes_back_goes_on_with_no_buffer_lost_or_used_twice() {
    let mut used = (0, 0);
    let mut avail = (0, 0);
    let memory = Memory::new();
    let file = memory.file.try_clone().unwrap();
    let (mut port, mut driver) = connect_with(memory, 1, MODERN);
    for life in 0..5_u32 {
        driver.rings[0].used = used.0;
        driver.rings[1].used = used.1;
        (driver.rings[0].avail, driver.rings[1].avail) = avail;
        driver.start();
        for round in 0..7 {
            assert!(comes_through(&mut port, &mut driver, life * 100 + round));
            assert!(gets_through(&mut port, &mut driver, life * 100 + round));
        }
        assert_eq!(driver.reap(1).len(), 7);
        // The connection breaks while a frame waits and a buffer is offered.
        port.line = None;
        assert!(matches!(port.ended(), Ended::Closed));
        driver.put(1, 112, 0, PLAIN);
        driver.show(1);
        used = (driver.rings[0].used, driver.rings[1].used);
        avail = (driver.rings[0].avail, driver.rings[1].avail);
        let next = driver.rings[1].avail;
        let mut scratch = Scratch::new();
        assert!(matches!(port.opened.rx[0].receive(&mut scratch), Err(Fault::Closed)));
        (port, driver) = connect_with(Memory::of(file.try_clone().unwrap()), 1, MODERN);
        (driver.rings[0].used, driver.rings[1].used) = used;
        (driver.rings[0].avail, driver.rings[1].avail) = avail;
        driver.start();
        let rx = &mut port.opened.rx[0];
        until("the frame", || {
            (rx.receive(&mut scratch).unwrap().frames().len() == 1).then_some(())
        });
        rx.rest();
        assert_eq!(driver.reap(1).len(), 1);
        assert_eq!(driver.rings[1].used, next, "it was used once");
        used = (driver.rings[0].used, driver.rings[1].used);
        avail = (driver.rings[0].avail, driver.rings[1].avail);
        drop(driver.socket.shutdown(std::net::Shutdown::Both));
        assert!(matches!(port.ended(), Ended::Closed));
        (port, driver) = connect_with(Memory::of(file.try_clone().unwrap()), 1, MODERN);
    }
}

#[test]
fn memory_is_added_and_taken_away_under_rings_in_operation() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let fd = driver.memory.file.as_raw_fd();
    assert_eq!(driver.ask_word(36), 64);
    let second = [vec![0; 8], driver.region(REGIONS[1], REGION)].concat();
    let first = [vec![0; 8], driver.region(REGIONS[0], REGION)].concat();
    for round in 0..20 {
        assert!(comes_through(&mut port, &mut driver, round));
        assert!(comes_through(&mut port, &mut driver, round));
        assert_eq!(driver.acknowledged(38, &second, &[]), 0);
        // For the next queue pair, as QEMU 7.2 does.
        assert_eq!(driver.acknowledged(38, &second, &[]), 0, "it is gone");
        assert_eq!(driver.acknowledged(37, &second, &[fd]), 0);
        assert_eq!(driver.acknowledged(37, &second, &[fd]), 0, "it is there");
    }
    // The region with the rings: they go on when it is back.
    assert_eq!(driver.acknowledged(38, &first, &[fd]), 0);
    let tally = Source::new().send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
    assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
    assert_eq!(driver.acknowledged(37, &first, &[fd]), 0);
    assert!(comes_through(&mut port, &mut driver, 77));
    assert!(gets_through(&mut port, &mut driver, 78));
}

#[test]
fn every_write_to_memory_is_noted_while_a_guest_migrates() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    assert!(gets_through(&mut port, &mut driver, 1), "nothing is noted yet");
    let log = Memory::new();
    let area = [REGION.to_ne_bytes(), 0_u64.to_ne_bytes()].concat();
    driver.send(6, 0, &area, &[log.file.as_raw_fd()]);
    driver.reply(6);
    driver.word(2, driver.features | feature::LOG_ALL);
    for ring in 0..2 {
        let addresses = driver.addresses(ring, 1);
        driver.send(9, 0, &addresses, &[]);
    }
    driver.sync();
    let dirty = || -> Vec<u64> {
        let bytes = log.read(0, ((REGIONS[1] + REGION) / 4096 / 8) as usize);
        let pages = |(at, byte): (usize, u8)| {
            (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| at as u64 * 8 + bit)
        };
        bytes.into_iter().enumerate().flat_map(pages).collect()
    };
    assert_eq!(dirty(), []);
    let place = driver.put(0, 9000, lab::driver::WRITE, PLAIN);
    driver.show(0);
    let sent = frame(&[], 5000, 1);
    Source::new().send_as_it_is(&mut *port.opened.tx[0], &sent);
    assert_eq!(driver.received(0).len(), 1);
    let mut expected: Vec<u64> = vec![driver.used_place(0) / 4096];
    expected.extend(place / 4096..=(place + 5011) / 4096);
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(dirty(), expected);
    // What the guest sends is read; only that it was is written.
    log.write(0, &[0; 0x3_0000]);
    assert!(comes_through(&mut port, &mut driver, 5));
    assert_eq!(dirty(), [driver.used_place(1) / 4096]);
}

#[test]
fn an_address_is_announced_for_a_guest_that_has_moved_here() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let mac = [0x52, 0x54, 0, 1, 2, 3];
    driver.send(19, 0, &[&mac[..], &[0, 0]].concat(), &[]);
    driver.sync();
    let mut sink = Sink::new();
    let rx = &mut *port.opened.rx[0];
    assert!(!rx.rest(), "there is something to be taken");
    let frames = sink.receive(rx).unwrap().frames;
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].len(), 60);
    assert_eq!(frames[0][..14], [&[0xff; 6][..], &mac[..], &[0x80, 0x35]].concat());
    assert_eq!((&frames[0][22..28], &frames[0][32..38]), (&mac[..], &mac[..]));
    assert!(rx.rest());
    assert_ne!(driver.acknowledged(19, &[1, 0, 0, 0, 0, 1, 0, 0], &[]), 0, "a group is no host");
}

#[test]
fn buffers_in_flight_are_noted_and_taken_again_by_who_comes_next() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.greet();
    let spec = [vec![0; 16], 2_u16.to_ne_bytes().to_vec(), SIZE.to_ne_bytes().to_vec()].concat();
    driver.send(31, 0, &spec, &[]);
    let (answer, file) = driver.reply_with_fd(31);
    driver.send(32, 0, &answer, &[file.as_raw_fd()]);
    for ring in 0..2 {
        driver.start_ring(ring);
        driver.state(18, ring, 1);
    }
    driver.sync();
    assert!(comes_through(&mut port, &mut driver, 1));
    let (stride, mut noted) = ((16 + 16 * 256_u64).next_multiple_of(64), [0; 1]);
    let mut in_flight = |number: u64| {
        file.read_exact_at(&mut noted, stride + 16 + 16 * number).unwrap();
        noted[0]
    };
    // Two frames are taken and the port dies with them.
    driver.send_frame(0, &[0; 12], &frame(&[], 100, 2), PLAIN);
    driver.send_frame(0, &[0; 12], &frame(&[], 100, 3), PLAIN);
    let mut scratch = Scratch::new();
    let rx = &mut port.opened.rx[0];
    assert_eq!(rx.receive(&mut scratch).unwrap().frames().len(), 2);
    assert_eq!([0, 1, 2, 3].map(&mut in_flight), [0, 1, 1, 0]);
    let memory = Memory::of(driver.memory.file.try_clone().unwrap());
    std::mem::forget(std::mem::take(&mut port.opened.rx));
    // A third that nobody has taken yet.
    driver.send_frame(0, &[0; 12], &frame(&[], 100, 4), PLAIN);
    let (mut port, mut next) = connect_with(memory, 1, MODERN);
    next.greet();
    next.send(32, 0, &answer, &[file.as_raw_fd()]);
    for ring in 0..2 {
        (next.rings[ring].avail, next.rings[ring].used) =
            (driver.rings[ring].avail, driver.rings[ring].used);
        next.start_ring(ring);
        next.state(18, ring, 1);
    }
    next.sync();
    let mut sink = Sink::new();
    let frames = sink.receive(&mut *port.opened.rx[0]).unwrap().frames;
    assert_eq!(frames, [2, 3, 4].map(|seed| frame(&[], 100, seed)));
    port.opened.rx[0].rest();
    next.reap(1);
    assert_eq!(next.rings[1].used, 4);
    assert_eq!([0, 1, 2, 3].map(&mut in_flight), [0; 4]);
}

#[test]
fn a_reset_of_the_device_stops_its_rings() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.word(39, 15);
    assert_eq!(driver.ask_word(40), 15);
    assert!(comes_through(&mut port, &mut driver, 1));
    driver.word(39, 0);
    assert_eq!(driver.ask_word(40), 0);
    // As QEMU 7.2 stops a guest that migrates.
    assert_eq!((driver.stop_ring(0), driver.stop_ring(1)), (0, 1));
    driver.state(10, 1, 77);
    assert_eq!(driver.stop_ring(1), 77, "a ring that has not run stands where it was said to");
    let tally = Source::new().send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
    assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
}

#[test]
fn a_driver_is_woken_when_its_event_is_replaced() {
    let (_port, mut driver) = connect(1, MODERN);
    driver.start();
    driver.rings[1].call = lab::driver::event();
    let call = driver.rings[1].call.as_raw_fd();
    driver.send(13, 0, &1_u64.to_ne_bytes(), &[call]);
    driver.sync();
    assert!(was_signalled(&driver.rings[1].call));
}
