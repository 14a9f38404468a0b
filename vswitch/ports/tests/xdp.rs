//! AF_XDP ports on veth pairs.
//!
//! ```text
//!   test's namespace        host
//!   port on p1 ─── veth ─── eth0   raw socket, or the host's stack
//! ```

mod lab;

use std::time::Duration;

use lab::{
    Host, PATIENCE, Passed, Raw, RawTap, Sink, Source, Tagging, Transfer, Watched, enter, frame,
    ip, is_readable, open_xdp, pass, put_tags_on, tag, until,
};
use weft_core::DropReason;
use weft_ports::{
    Fault, OpenError, Scratch, Tally,
    link::Links,
    xdp::{self, Copying, Hook, Road},
};
use weft_vlan::{Tags, Tpid};

fn open_error(device: &str) -> OpenError {
    let index = Links::open().unwrap().index(device).unwrap();
    xdp::open(index).err().expect("it is refused")
}

fn has_program(device: &str) -> bool {
    ip(&format!("link show {device}")).contains("xdp")
}

#[test]
fn the_program_is_there_as_long_as_the_port_and_no_other_is_replaced() {
    enter();
    let _host = Host::with_veth("p1");
    for _ in 0..3 {
        let (port, road) = open_xdp("p1");
        assert_eq!(road, Road { hook: Hook::Native, copying: Copying::Copy, queues: 1 });
        assert_eq!(road.to_string(), "native copy mode, 1 queue");
        assert!(has_program("p1"));
        assert!(ip("-d link show p1").contains("promiscuity 1"));
        assert!(matches!(open_error("p1"), OpenError::OtherProgram));
        drop(port);
        assert!(!has_program("p1"));
        assert!(ip("-d link show p1").contains("promiscuity 0"));
    }
}

#[test]
fn tags_stand_beside_the_frame() {
    enter();
    let host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    let far = host.run(|| Raw::open("eth0"));
    let mut sink = Sink::new();
    let (q10, priority, q5, s300) = (
        tag(Tpid::Dot1Q, 0xa00a),
        tag(Tpid::Dot1Q, 0xe000),
        tag(Tpid::Dot1Q, 5),
        tag(Tpid::Dot1ad, 300),
    );
    for tags in [&[][..], &[q10], &[priority], &[s300], &[s300, q5], &[q10, q5], &[q10, s300, q5]] {
        let sent = frame(tags, 100, 1);
        far.send(&sent).unwrap();
        let received = sink.expect(&mut *port.rx[0], 1);
        assert_eq!(received.frames, [sent], "{tags:?}");
        let head = &received.heads[0];
        assert_eq!(
            (head.tag(), head.second_tag()),
            (tags.first().copied(), tags.get(1).copied()),
            "{tags:?}"
        );
        assert_eq!((head.wire_len(), head.untagged_len() % 4), (100, 0), "{tags:?}");
    }
}

/// The host's bridge takes tags off and hands them to the veth beside the frame.
#[test]
fn tags_that_a_bridge_hands_over_beside_the_frame_are_seen() {
    enter();
    let host = Host::with_veth("p1");
    let far = host.run(|| {
        ip("link add br0 type bridge");
        ip("link add in0 type veth peer name in1");
        for device in ["in1", "eth0"] {
            ip(&format!("link set {device} master br0"));
        }
        for device in ["br0", "in0", "in1"] {
            ip(&format!("link set {device} up"));
        }
        Raw::open("in0")
    });
    let (mut port, _) = open_xdp("p1");
    let mut sink = Sink::new();
    let (customer, service, inner) =
        (tag(Tpid::Dot1Q, 0x600a), tag(Tpid::Dot1ad, 300), tag(Tpid::Dot1Q, 7));
    until("the bridge forwards", || {
        far.send(&frame(&[], 60, 1)).unwrap();
        (!sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty()).then_some(())
    });
    while !sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty() {}
    for (tags, seed) in [&[customer][..], &[service], &[customer, inner], &[]].into_iter().zip(10..)
    {
        let sent = frame(tags, 200, seed);
        far.send(&sent).unwrap();
        let received = sink.expect(&mut *port.rx[0], 1);
        assert_eq!(received.frames, [sent], "{tags:?}");
        assert_eq!(received.heads[0].tag(), tags.first().copied(), "{tags:?}");
    }
}

#[test]
fn tags_are_put_on_outermost_first() {
    enter();
    let host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    let far = host.run(|| Raw::open("eth0"));
    put_tags_on(&mut *port.tx[0], &far);
}

#[test]
fn frames_of_every_length_cross_whole_and_in_order() {
    enter();
    let host = Host::with_veth("p1");
    ip("link set p1 mtu 3400");
    host.ip("link set eth0 mtu 3400");
    let (mut port, _) = open_xdp("p1");
    let far = host.run(|| Raw::open("eth0"));
    let (mut sink, mut source) = (Sink::new(), Source::new());
    let vlan = tag(Tpid::Dot1Q, 99);
    let lens = (15..160).chain(1500..1530).chain((1700..3380).step_by(31)).chain(3400..=3414);
    for (len, seed) in lens.zip(0..) {
        let sent = [
            frame(&[vlan], len.clamp(20, 3414), seed),
            frame(&[], 60, seed),
            frame(&[], len, seed),
        ];
        sent.iter().for_each(|frame| far.send(frame).unwrap());
        let received = sink.expect(&mut *port.rx[0], 3);
        assert!(received.frames == sent, "{len} bytes");
        assert_eq!(source.send_as_it_is(&mut *port.tx[0], &sent[2]).drops, [], "{len} bytes");
        assert!(far.receive() == sent[2], "{len} bytes");
    }
}

#[test]
fn a_frame_that_fits_no_chunk_is_counted_and_an_mtu_that_would_allow_many_is_refused() {
    enter();
    let host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    ip("link set p1 mtu 3000");
    host.ip("link set eth0 mtu 3000");
    let far = host.run(|| Raw::open("eth0"));
    let mut sink = Sink::new();
    far.send(&frame(&[], 1792, 1)).unwrap();
    far.send(&frame(&[], 1793, 2)).unwrap();
    far.send(&frame(&[], 60, 3)).unwrap();
    let mut received = sink.expect(&mut *port.rx[0], 2);
    until("the loss is counted", || {
        port.rx[0].rest();
        received.refused.extend(sink.receive(&mut *port.rx[0]).unwrap().refused);
        (!received.refused.is_empty()).then_some(())
    });
    assert_eq!(received.frames, [frame(&[], 1792, 1), frame(&[], 60, 3)]);
    assert_eq!(received.refused, [(DropReason::Oversize, 1)]);
    let tally = Source::new().send(&mut *port.tx[0], &frame(&[], 2049, 1), Tags::NONE);
    assert_eq!(tally.drops, [(DropReason::Oversize, 1)]);
    drop(port);
    ip("link set p1 mtu 9000");
    assert!(matches!(open_error("p1"), OpenError::LongFrames { mtu: 9000, most: 3818 }));
    // What veth says itself is not hidden behind the generic way.
    ip("link set p1 mtu 1500");
    host.ip("link set eth0 mtu 9000");
    assert!(matches!(open_error("p1"), OpenError::Io { .. }));
}

#[test]
fn every_frame_is_delivered_or_counted_when_nobody_takes_them() {
    enter();
    let host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    let far = host.run(|| Raw::open("eth0"));
    let sent = (0..6000).filter(|&seed| far.send(&frame(&[], 60, seed)).is_ok()).count() as u64;
    let mut sink = Sink::new();
    let (mut came, mut lost) = (0, 0);
    until("all frames", || {
        let burst = sink.receive(&mut *port.rx[0]).unwrap();
        assert_eq!(burst.refused(DropReason::Oversize), 0);
        lost += burst.refused(DropReason::QueueFull);
        came += burst.frames.iter().filter(|frame| lab::is_experiment(frame)).count() as u64;
        if burst.frames.is_empty() {
            port.rx[0].rest();
        }
        (came + lost == sent).then_some(())
    });
    assert!(came >= 1000 && lost > 0, "{came} came, {lost} were lost");
    far.send(&frame(&[], 61, 9)).unwrap();
    assert_eq!(sink.expect(&mut *port.rx[0], 1).frames, [frame(&[], 61, 9)]);
}

#[test]
fn a_queue_is_readable_while_frames_wait_and_not_longer() {
    enter();
    let host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    let far = host.run(|| Raw::open("eth0"));
    let mut sink = Sink::new();
    while !sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty() {}
    assert!(port.rx[0].rest());
    assert!(!is_readable(port.rx[0].fd(), Duration::ZERO));
    for count in [1, 63, 64, 65, 200] {
        (0..count).for_each(|seed| far.send(&frame(&[], 60, seed)).unwrap());
        let mut received = Vec::new();
        while received.len() < count as usize {
            assert!(is_readable(port.rx[0].fd(), PATIENCE), "{} of {count}", received.len());
            received.extend(sink.receive(&mut *port.rx[0]).unwrap().frames);
        }
        assert!(received.into_iter().eq((0..count).map(|seed| frame(&[], 60, seed))));
        assert!(!is_readable(port.rx[0].fd(), Duration::ZERO));
    }
}

#[test]
fn a_device_that_goes_down_and_up_goes_on() {
    enter();
    let host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    let (mut sink, mut source) = (Sink::new(), Source::new());
    for seed in 0..3 {
        ip("link set p1 down");
        // The kernel says so to who sends, which is too late for the frame that finds out.
        source.send(&mut *port.tx[0], &frame(&[], 60, seed), Tags::NONE);
        let tally = source.send(&mut *port.tx[0], &frame(&[], 60, seed), Tags::NONE);
        assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
        assert!(port.rx[0].rest());
        ip("link set p1 up");
        let far = host.run(|| Raw::open("eth0"));
        until("frames pass", || {
            far.send(&frame(&[], 60, seed)).ok()?;
            let received = sink.receive(&mut *port.rx[0]).unwrap();
            received.frames.contains(&frame(&[], 60, seed)).then_some(())
        });
        while !sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty() {}
        source.send(&mut *port.tx[0], &frame(&[], 61, seed), Tags::NONE);
        until("the frame", || (far.receive() == frame(&[], 61, seed)).then_some(()));
    }
}

#[test]
fn a_device_that_is_deleted_or_moved_ends_the_queue_once_what_waits_is_taken() {
    enter();
    let host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    let far = host.run(|| Raw::open("eth0"));
    let mut sink = Sink::new();
    far.send(&frame(&[], 60, 1)).unwrap();
    until("the frame waits", || is_readable(port.rx[0].fd(), PATIENCE).then_some(()));
    ip("link del p1");
    assert!(!port.rx[0].rest());
    assert_eq!(sink.expect(&mut *port.rx[0], 1).frames, [frame(&[], 60, 1)]);
    let fault = sink.receive(&mut *port.rx[0]).err().expect("the queue ends");
    assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
    let mut source = Source::new();
    source.send(&mut *port.tx[0], &frame(&[], 60, 1), Tags::NONE);
    let tally = source.send(&mut *port.tx[0], &frame(&[], 60, 1), Tags::NONE);
    assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);

    let _host = Host::with_veth("p1");
    let (mut port, _) = open_xdp("p1");
    let elsewhere = Host::new();
    elsewhere.take("p1");
    assert!(!port.rx[0].rest());
    let fault = port.rx[0].receive(&mut Scratch::new()).err().expect("the queue ends");
    assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
}

#[test]
fn what_is_no_ethernet_device_is_refused() {
    enter();
    let open = |index| xdp::open(index).err().expect("it is refused");
    assert!(matches!(open(4711), OpenError::NoDevice));
    assert!(matches!(open(u32::MAX), OpenError::NoDevice));
    // The loopback device has index 1 in every namespace.
    assert!(matches!(open(1), OpenError::NotEthernet));
}

/// UDP over IPv4 of a flow of its own, which takes a queue by its hash.
fn datagram(flow: u16) -> Vec<u8> {
    let mut datagram = frame(&[], 14, 0);
    datagram[12..].copy_from_slice(&[0x08, 0x00]);
    datagram.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    datagram.extend(flow.to_be_bytes());
    datagram.extend([0, 7, 0, 26, 0, 0]);
    datagram.resize(60, 7);
    datagram
}

#[test]
fn every_queue_of_a_device_is_served() {
    const FLOWS: u16 = 64;
    enter();
    let host = Host::new();
    let queues = "numrxqueues 2 numtxqueues 2";
    ip(&format!("link add p1 {queues} type veth peer name far {queues}"));
    host.take("far");
    ip("link set p1 up");
    let (mut port, road) = until("the device has its carrier", || {
        ip("link show p1").contains("state UP").then(|| open_xdp("p1"))
    });
    assert_eq!((road.queues, port.rx.len(), port.tx.len()), (2, 2, 2));
    let far = host.run(|| Raw::open("eth0"));
    (0..FLOWS).for_each(|flow| far.send(&datagram(flow)).unwrap());
    let mut sink = Sink::new();
    let mut came = [vec![], vec![]];
    until("all frames", || {
        for (came, rx) in came.iter_mut().zip(&mut port.rx) {
            came.extend(sink.receive(&mut **rx).unwrap().frames);
        }
        (came[0].len() + came[1].len() == usize::from(FLOWS)).then_some(())
    });
    assert!(came.iter().all(|came| !came.is_empty()), "{} and {}", came[0].len(), came[1].len());
    let mut all = came.concat();
    all.sort();
    assert!(all.into_iter().eq((0..FLOWS).map(datagram)));
    let mut source = Source::new();
    for (queue, seed) in (0..2).zip(1..) {
        assert_eq!(source.send(&mut *port.tx[queue], &frame(&[], 99, seed), Tags::NONE).frames, 1);
        assert_eq!(far.receive(), frame(&[], 99, seed));
    }
}

/// The kernel binds a socket to a queue that only receives, and takes what it is given to send for nothing.
#[test]
fn every_queue_that_is_offered_for_sending_sends() {
    for (receiving, sending) in [(4, 1), (3, 2), (1, 2)] {
        enter();
        let host = Host::new();
        ip(&format!(
            "link add p1 numrxqueues {receiving} numtxqueues {sending} type veth peer name far \
             numrxqueues {sending} numtxqueues 1"
        ));
        host.take("far");
        ip("link set p1 up");
        let (mut port, road) = until("the device has its carrier", || {
            ip("link show p1").contains("state UP").then(|| open_xdp("p1"))
        });
        assert_eq!((road.queues, port.rx.len()), (receiving.max(sending), receiving.max(sending)));
        assert_eq!(port.tx.len(), sending);
        let far = host.run(|| Raw::open("eth0"));
        let mut source = Source::new();
        for (tx, seed) in port.tx.iter_mut().zip(1..) {
            assert_eq!(source.send(&mut **tx, &frame(&[], 99, seed), Tags::NONE).frames, 1);
            assert_eq!(far.receive(), frame(&[], 99, seed), "{receiving} {sending}");
        }
    }
}

#[test]
fn a_device_with_too_many_queues_is_refused() {
    enter();
    ip("link add p1 numrxqueues 65 numtxqueues 1 type veth peer name far");
    ip("link set p1 up");
    assert!(matches!(open_error("p1"), OpenError::TooManyQueues(64)));
}

/// The hosts' stacks leave checksums to their veths, which an XDP program is not told.
#[test]
fn stacks_talk_though_their_checksums_were_left_undone() {
    const BYTES: usize = 8_000_000;
    enter();
    let hosts = [("p1", 1), ("p2", 2)].map(|(device, number)| {
        let host = Host::with_veth(device);
        host.address(number);
        host
    });
    let mut ports = ["p1", "p2"].map(|device| open_xdp(device).0);
    let mut scratch = Scratch::new();
    let mut passed = [Passed::default(), Passed::default()];
    for to in ["10.0.0.2", "fd00::2"] {
        let transfer = Transfer::begin(&hosts[0], &hosts[1], to, BYTES);
        while !transfer.is_over() {
            let [a, b] = &mut ports;
            let keep = Tagging::Keep;
            pass(&mut *a.rx[0], &mut *b.tx[0], &mut scratch, keep, &mut passed[0]);
            pass(&mut *b.rx[0], &mut *a.tx[0], &mut scratch, keep, &mut passed[1]);
        }
        transfer.check();
    }
}

/// What a TAP brings whole, super-frames and undone checksums, is finished for a device that takes no promise.
#[test]
fn super_frames_are_cut_for_a_device() {
    const BYTES: usize = 8_000_000;
    enter();
    let near = Host::new();
    let mut tap = weft_ports::tap::open("t1", 1).unwrap();
    near.take("t1");
    near.address(1);
    let far = Host::with_veth("p2");
    far.address(2);
    let (mut port, _) = open_xdp("p2");
    let mut scratch = Scratch::new();
    let (mut out, mut back) = (Passed::default(), Passed::default());
    for to in ["10.0.0.2", "fd00::2"] {
        let transfer = Transfer::begin(&near, &far, to, BYTES);
        while !transfer.is_over() {
            let keep = Tagging::Keep;
            pass(&mut *tap.rx[0], &mut *port.tx[0], &mut scratch, keep, &mut out);
            pass(&mut *port.rx[0], &mut *tap.tx[0], &mut scratch, keep, &mut back);
        }
        transfer.check();
    }
    assert!(out.longest > 2000, "the stack sent no super-frame");
}

#[test]
fn a_vmm_s_tap_is_served() {
    enter();
    let mut guest = RawTap::open("tap0");
    let (mut port, road) = open_xdp("tap0");
    assert_eq!(road.hook, Hook::Native);
    let (mut sink, mut source) = (Sink::new(), Source::new());
    let vlan = tag(Tpid::Dot1Q, 10);
    for len in [60, 1514] {
        guest.send([0; 10], &frame(&[vlan], len, 4));
        let received = sink.expect(&mut *port.rx[0], 1);
        assert_eq!(received.frames, [frame(&[vlan], len, 4)]);
        assert_eq!(received.heads[0].tag(), Some(vlan));
        source.send_as_it_is(&mut *port.tx[0], &frame(&[vlan], len, 5));
        assert_eq!(guest.receive(), ([0; 10], frame(&[vlan], len, 5)));
    }
}

/// The device drops the frame that finds it full, and those behind it stay until they are asked for again, by whichever
/// worker watches the backlog.
#[test]
fn what_a_full_device_leaves_is_sent_once_it_has_room() {
    const ROOM: u32 = 4;
    enter();
    let mut guest = RawTap::open("tap0");
    ip(&format!("link set tap0 txqueuelen {ROOM}"));
    let (mut port, _) = open_xdp("tap0");
    let mut source = Source::new();
    let watched = Watched::new(&*port.tx[0]);
    watched.fired();
    for round in 0..3 {
        assert!(!watched.fired(), "round {round}");
        let frames: Vec<_> = (0..2 * ROOM).map(|seed| frame(&[], 60 + round, seed)).collect();
        source.send_together(&mut *port.tx[0], &frames);
        assert!(watched.fired(), "round {round}");
        for expected in &frames[..ROOM as usize] {
            assert_eq!(guest.receive().1, *expected, "round {round}");
        }
        port.tx[0].flush(&mut Tally::default());
        for expected in &frames[ROOM as usize + 1..] {
            assert_eq!(guest.receive().1, *expected, "round {round}");
        }
    }
}
