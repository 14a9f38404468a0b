//! Packet ports on veth pairs.
//!
//! ```text
//!   test's namespace        host
//!   port on p1 ─── veth ─── eth0   raw socket, or the host's stack
//! ```

mod lab;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lab::{
    Host, PATIENCE, Raw, RawTap, Sink, Source, enter, frame, ip, is_experiment, is_readable,
    open_packet, put_tags_on, tag, until,
};
use weft_core::DropReason;
use weft_ports::{Fault, OpenError, Scratch, packet};
use weft_vlan::{Tags, Tpid};

#[test]
fn tags_that_the_kernel_strips_stand_beside_the_frame() {
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
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
        assert_eq!((head.wire_len(), head.in_band_tag_len()), (100, 0), "{tags:?}");
    }
}

#[test]
fn tags_are_put_on_outermost_first() {
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    put_tags_on(&mut *port.tx[0], &far);
}

#[test]
fn frames_of_every_length_cross_whole_and_in_order() {
    enter();
    let host = Host::with_veth("p1");
    ip("link set p1 mtu 65535");
    host.ip("link set eth0 mtu 65535");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    let (mut sink, mut source) = (Sink::new(), Source::new());
    let lens = (14..160)
        .chain(1500..1530)
        .chain(1940..2100)
        .chain((3000..65_500).step_by(2113))
        .chain(65_540..=65_549);
    let vlan = tag(Tpid::Dot1Q, 99);
    for (len, seed) in lens.zip(0..) {
        // Small and large ones, tagged and not, wait together: they come in different ways and in one order.
        let sent = [
            frame(&[vlan], len.clamp(20, 65_545) + 4, seed),
            frame(&[], 60, seed),
            frame(&[], len, seed),
        ];
        sent.iter().for_each(|frame| far.send(frame).unwrap());
        let received = sink.expect(&mut *port.rx[0], 3);
        assert!(received.frames == sent, "{len} bytes");
        assert_eq!(
            received.heads.iter().map(|head| head.tag()).collect::<Vec<_>>(),
            [Some(vlan), None, None]
        );
        assert_eq!(source.send_as_it_is(&mut *port.tx[0], &sent[2]).drops, [], "{len} bytes");
        assert!(far.receive() == sent[2], "{len} bytes");
    }
}

#[test]
fn frames_that_were_sent_do_not_come_back() {
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    let mut sink = Sink::new();
    Source::new().send_as_it_is(&mut *port.tx[0], &frame(&[], 60, 1));
    far.receive();
    far.send(&frame(&[], 60, 2)).unwrap();
    assert_eq!(sink.expect(&mut *port.rx[0], 1).frames, [frame(&[], 60, 2)]);
}

#[test]
fn every_frame_is_delivered_or_counted_when_nobody_takes_them() {
    const SENT: u64 = 6000;
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    for seed in 0..SENT {
        far.send(&frame(&[], 60, seed as u32)).unwrap();
    }
    // The kernel says what it lost beside the next frame that it keeps.
    let mut sink = Sink::new();
    let (mut came, mut lost, mut last) = (0, 0, None);
    until("all frames", || {
        let burst = sink.receive(&mut *port.rx[0]).unwrap();
        assert_eq!(burst.refused(DropReason::UnsupportedOffload), 0);
        lost += burst.refused(DropReason::QueueFull);
        came += burst.frames.iter().filter(|frame| lab::is_experiment(frame)).count() as u64;
        if burst.frames.is_empty() && last.is_none() {
            far.send(&frame(&[], 61, 0)).unwrap();
            last = Some(());
        }
        (came + lost == SENT + 1 && last.is_some()).then_some(())
    });
    assert!(came >= 1000 && lost > 0, "{came} came, {lost} were lost");
}

#[test]
fn a_frame_beyond_the_device_s_mtu_is_tallied() {
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    let mut source = Source::new();
    let vlan = Tags { vlan: Some(tag(Tpid::Dot1Q, 10)), payload: None };
    // Four bytes more for a tag of 0x8100.
    assert_eq!(source.send(&mut *port.tx[0], &frame(&[], 1514, 1), vlan).frames, 1);
    assert_eq!(far.receive().len(), 1518);
    for (len, tags) in [(1515, Tags::NONE), (1515, vlan)] {
        let tally = source.send(&mut *port.tx[0], &frame(&[], len, 2), tags);
        assert_eq!((tally.frames, &tally.drops[..]), (0, &[(DropReason::Oversize, 1)][..]));
    }
    let refused_among_others = [60, 1515, 61]
        .map(|len| source.send(&mut *port.tx[0], &frame(&[], len, 3), Tags::NONE).frames);
    assert_eq!(refused_among_others, [1, 0, 1]);
}

#[test]
fn a_device_that_goes_down_and_up_goes_on() {
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let (mut sink, mut source) = (Sink::new(), Source::new());
    for seed in 0..3 {
        ip("link set p1 down");
        let tally = source.send(&mut *port.tx[0], &frame(&[], 60, seed), Tags::NONE);
        assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
        for _ in 0..3 {
            assert!(sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty());
        }
        ip("link set p1 up");
        let far = host.run(|| Raw::open("eth0"));
        far.send(&frame(&[], 60, seed)).unwrap();
        assert_eq!(sink.expect(&mut *port.rx[0], 1).frames, [frame(&[], 60, seed)]);
        source.send(&mut *port.tx[0], &frame(&[], 61, seed), Tags::NONE);
        assert_eq!(far.receive(), frame(&[], 61, seed));
    }
}

#[test]
fn a_deleted_device_ends_the_queue_once_what_waits_is_taken() {
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    far.send(&frame(&[], 60, 1)).unwrap();
    far.send(&frame(&[], 60, 2)).unwrap();
    ip("link del p1");
    let mut sink = Sink::new();
    assert_eq!(sink.expect(&mut *port.rx[0], 2).frames, [frame(&[], 60, 1), frame(&[], 60, 2)]);
    let fault = until("the end", || sink.receive(&mut *port.rx[0]).err());
    assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
    let tally = Source::new().send(&mut *port.tx[0], &frame(&[], 60, 1), Tags::NONE);
    assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
}

#[test]
fn a_deleted_device_ends_the_queue_though_large_frames_waited() {
    enter();
    let host = Host::with_veth("p1");
    ip("link set p1 mtu 9000");
    host.ip("link set eth0 mtu 9000");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    far.send(&frame(&[], 9000, 1)).unwrap();
    ip("link del p1");
    let mut sink = Sink::new();
    assert_eq!(sink.expect(&mut *port.rx[0], 1).frames, [frame(&[], 9000, 1)]);
    let fault = until("the end", || sink.receive(&mut *port.rx[0]).err());
    assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
}

#[test]
fn a_device_deleted_while_it_is_down_ends_the_queue() {
    enter();
    let _host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let mut scratch = Scratch::new();
    ip("link set p1 down");
    assert!(port.rx[0].receive(&mut scratch).unwrap().is_empty());
    ip("link del p1");
    let fault = port.rx[0].receive(&mut scratch).err().expect("the queue ends");
    assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
}

#[test]
fn a_device_that_moves_to_another_namespace_is_gone() {
    enter();
    let _host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let elsewhere = Host::new();
    elsewhere.take("p1");
    let fault = port.rx[0].receive(&mut Scratch::new()).err().expect("the queue ends");
    assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
}

#[test]
fn what_is_no_ethernet_device_is_refused() {
    enter();
    let open = |index| packet::open(index).err().expect("it is refused");
    assert!(matches!(open(4711), OpenError::NoDevice));
    assert!(matches!(open(u32::MAX), OpenError::NoDevice));
    // The loopback device has index 1 in every namespace.
    assert!(matches!(open(1), OpenError::NotEthernet));
}

/// The metadata of [`fragmented_datagram`].
const FRAGMENTED: [u8; 10] = [1, 3, 42, 0, 0xc8, 0x05, 34, 0, 6, 0];

/// Returns UDP that is to be fragmented by IP: a TAP takes it, a packet socket has no way to hand it over.
fn fragmented_datagram() -> Vec<u8> {
    let mut datagram = frame(&[], 14, 0);
    datagram[12..].copy_from_slice(&[0x08, 0x00]);
    datagram.extend([0x45, 0, 0x0b, 0xcc, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    datagram.extend([0, 7, 0, 7, 0x0b, 0xb8, 0, 0]);
    datagram.resize(14 + 3020, 0);
    datagram
}

#[test]
fn a_super_frame_that_virtio_net_cannot_name_is_counted_as_unsupported() {
    enter();
    let mut guest = RawTap::open("tap0");
    let mut port = open_packet("tap0");
    let mut sink = Sink::new();
    let datagram = fragmented_datagram();
    assert!(sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty());
    assert!(!is_readable(port.rx[0].fd(), Duration::ZERO));
    guest.send(FRAGMENTED, &datagram);
    // The drop alone has to wake the worker: nothing comes any more through a ring that has dropped such a frame.
    assert!(is_readable(port.rx[0].fd(), PATIENCE));
    let refused = sink.receive(&mut *port.rx[0]).unwrap().refused;
    assert_eq!(refused, [(DropReason::UnsupportedOffload, 1)]);
    let vlan = tag(Tpid::Dot1ad, 0x300a);
    for round in 0..3 {
        let sent = [frame(&[vlan], 104, round), frame(&[], 60, round)];
        guest.send([0; 10], &sent[0]);
        guest.send(FRAGMENTED, &datagram);
        guest.send([0; 10], &sent[1]);
        assert!(is_readable(port.rx[0].fd(), PATIENCE));
        let received = sink.expect(&mut *port.rx[0], 2);
        assert_eq!(received.frames, sent);
        assert_eq!((received.heads[0].tag(), received.heads[1].tag()), (Some(vlan), None));
        assert_eq!(received.refused, [(DropReason::UnsupportedOffload, 1)]);
    }
    ip("link del tap0");
    assert!(is_readable(port.rx[0].fd(), PATIENCE));
    let fault = until("the end", || sink.receive(&mut *port.rx[0]).err());
    assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
}

#[test]
fn what_comes_while_the_ring_is_given_up_is_taken_or_counted() {
    const SENT: u64 = 50_000;
    // Fewer than the kernel lets wait before it looks for a socket (net.core.netdev_max_backlog is 1000).
    const UNDERWAY: u64 = 500;
    enter();
    let mut guest = RawTap::open("tap0");
    let mut port = open_packet("tap0");
    let mut sink = Sink::new();
    let seen = Arc::new(AtomicU64::new(0));
    let sending = std::thread::Builder::new()
        .spawn({
            let seen = Arc::clone(&seen);
            move || {
                for seed in 0..SENT {
                    while seed > seen.load(Ordering::Relaxed) + UNDERWAY {
                        std::thread::yield_now();
                    }
                    if seed == SENT / 4 {
                        guest.send(FRAGMENTED, &fragmented_datagram());
                    }
                    guest.send([0; 10], &frame(&[], 60, seed as u32));
                }
                guest
            }
        })
        .unwrap();
    let (mut unsupported, mut behind) = (0, 0);
    until("everything is taken or counted", || {
        let received = sink.receive(&mut *port.rx[0]).unwrap();
        let taken = received.frames.iter().filter(|frame| is_experiment(frame)).count() as u64;
        let counted: u64 = received.refused.iter().map(|(_, frames)| frames).sum();
        behind += if unsupported > 0 { taken } else { 0 };
        unsupported += received.refused(DropReason::UnsupportedOffload);
        // The one that cannot be named is among them.
        let before = seen.fetch_add(taken + counted, Ordering::Relaxed);
        (before + taken + counted > SENT).then_some(())
    });
    drop(sending.join().unwrap());
    assert!(
        unsupported > 0 && behind > SENT / 2,
        "{unsupported} refused, {behind} taken thereafter"
    );
}

#[test]
fn a_queue_is_readable_while_frames_wait_and_not_longer() {
    enter();
    let host = Host::with_veth("p1");
    let mut port = open_packet("p1");
    let far = host.run(|| Raw::open("eth0"));
    let mut sink = Sink::new();
    while !sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty() {}
    assert!(!is_readable(port.rx[0].fd(), Duration::ZERO));
    for count in [1, 63, 64, 65, 200] {
        (0..count).for_each(|seed| far.send(&frame(&[], 60, seed)).unwrap());
        let mut received = Vec::new();
        while received.len() < count as usize {
            assert!(is_readable(port.rx[0].fd(), PATIENCE), "{} of {count}", received.len());
            received.extend(sink.receive(&mut *port.rx[0]).unwrap().frames);
        }
        assert!(received.into_iter().eq((0..count).map(|seed| frame(&[], 60, seed))));
        let _ = sink.receive(&mut *port.rx[0]).unwrap();
        assert!(!is_readable(port.rx[0].fd(), Duration::ZERO));
    }
}

#[test]
fn a_guest_behind_its_vmm_s_tap_gets_frames_and_metadata() {
    enter();
    let mut guest = RawTap::open("tap0");
    let mut port = open_packet("tap0");
    let mut source = Source::new();
    let vlan = tag(Tpid::Dot1Q, 10);
    for len in [60, 1514] {
        source.send(
            &mut *port.tx[0],
            &frame(&[], len, 4),
            Tags { vlan: Some(vlan), payload: None },
        );
        assert_eq!(guest.receive(), ([0; 10], frame(&[vlan], len + 4, 4)));
        guest.send([0; 10], &frame(&[vlan], len, 5));
        assert_eq!(Sink::new().expect(&mut *port.rx[0], 1).frames, [frame(&[vlan], len, 5)]);
    }
}

#[test]
fn metadata_that_lies_is_marked_at_the_frame_it_came_with() {
    enter();
    let mut guest = RawTap::open("tap0");
    let mut port = open_packet("tap0");
    let mut sink = Sink::new();
    guest.send([0; 10], &frame(&[], 100, 1));
    let honest = sink.expect(&mut *port.rx[0], 1);
    assert!(honest.heads[0].offload().is_ok());
    // A checksum to be finished at an offset that no protocol has there.
    let mut lying = frame(&[], 200, 2);
    lying[12..14].copy_from_slice(&[0x08, 0x00]);
    guest.send([1, 0, 0, 0, 0, 0, 60, 0, 2, 0], &lying);
    let mut scratch = Scratch::new();
    let bad = until("the frame", || {
        let burst = port.rx[0].receive(&mut scratch).unwrap();
        burst
            .frames()
            .iter()
            .find(|frame| frame.head.untagged_len() == 200)
            .map(|frame| frame.head.offload().is_err())
    });
    assert!(bad);
}
