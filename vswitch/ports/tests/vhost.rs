//! Guests on shared memory: a front-end and a driver of the test's own at one end, the port's queues at the other.

mod lab;

use lab::{
    Sink, Source,
    driver::{Driver, Port, Shape, connect, feature, was_signalled},
    frame, tag, until,
};
use weft_core::DropReason;
use weft_offload::sum;
use weft_ports::{Job, Receive, Scratch, Tally};
use weft_vlan::{HEAD_MAX, Tags, Tpid};

const MODERN: u64 = feature::VERSION_1 | feature::PROTOCOL;
const PLAIN: Shape = Shape { pieces: 1, indirect: false };

/// Sends a frame from the guest and returns what comes out of the port.
fn through(
    port: &mut Port,
    driver: &mut Driver,
    sink: &mut Sink,
    bytes: &[u8],
    shape: Shape,
) -> Vec<u8> {
    let header = vec![0; driver.header_len()];
    driver.send_frame(0, &header, bytes, shape);
    until("the frame", || sink.receive(&mut *port.opened.rx[0]).unwrap().frames.pop())
}

fn feature_sets() -> impl Iterator<Item = u64> {
    let optional = [
        feature::VERSION_1,
        feature::MRG_RXBUF,
        feature::INDIRECT,
        feature::EVENT_IDX,
        feature::PROTOCOL,
    ];
    (0..1_u32 << optional.len()).map(move |set| {
        optional.iter().zip(0..).filter(|(_, bit)| set & (1 << bit) != 0).map(|(bit, _)| bit).sum()
    })
}

#[test]
fn frames_of_every_length_cross_whole_with_every_set_of_features() {
    let mut source = Source::new();
    let mut sink = Sink::new();
    for features in feature_sets() {
        let (mut port, mut driver) = connect(1, features);
        driver.start();
        let indirect = features & feature::INDIRECT != 0;
        let shapes = [(1, false), (2, false), (7, false), (17, indirect)];
        let mut shapes =
            shapes.iter().map(|&(pieces, indirect)| Shape { pieces, indirect }).cycle();
        for len in (14..150).step_by(7).chain([1514, 9000, 65_549, 71_000]) {
            let sent = frame(&[], len, len as u32);
            let shape = shapes.next().unwrap();
            let came = through(&mut port, &mut driver, &mut sink, &sent, shape);
            assert!(came == sent, "{len} bytes from the guest, {features:#x}, {shape:?}");

            let (buffers, room) = if features & feature::MRG_RXBUF == 0 {
                (1, 71_100)
            } else {
                (len / 1500 + 1, 1526)
            };
            driver.offer(0, buffers, room);
            let tally = source.send_as_it_is(&mut *port.opened.tx[0], &sent);
            assert_eq!((tally.frames, tally.bytes, &tally.drops[..]), (1, len as u64, &[][..]));
            let received = driver.received(0);
            assert!(
                received.len() == 1 && received[0].1 == sent,
                "{len} bytes to the guest, {features:#x}"
            );
            port.opened.rx[0].rest();
            assert_eq!(
                driver.reap(1).len(),
                1,
                "the buffer comes back when the frame is done with"
            );
        }
    }
}

#[test]
fn a_burst_of_large_frames_in_many_pieces_stays_within_its_bounds() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let sent = frame(&[], 71_000, 5);
    for _ in 0..3 {
        driver.send_frame(0, &[0; 12], &sent, Shape { pieces: 80, indirect: false });
    }
    let (mut sink, mut came) = (Sink::new(), Vec::new());
    until("three frames", || {
        came.extend(sink.receive(&mut *port.opened.rx[0]).unwrap().frames);
        (came.len() == 3).then_some(())
    });
    assert!(came.iter().all(|frame| *frame == sent));
}

#[test]
fn a_frame_of_two_regions_and_of_more_pieces_than_a_system_call_takes_crosses_whole() {
    let (mut port, mut driver) = connect(1, MODERN | feature::INDIRECT);
    driver.start();
    let mut sink = Sink::new();
    for (len, pieces) in [(60_000, 64), (60_000, 63), (20_000, 60)] {
        let sent = frame(&[], len, pieces as u32);
        let shape = Shape { pieces, indirect: true };
        assert!(
            through(&mut port, &mut driver, &mut sink, &sent, shape) == sent,
            "{pieces} pieces"
        );
    }
    let sent = frame(&[], 50_000, 9);
    let shape = Shape { pieces: 200, indirect: false };
    assert!(through(&mut port, &mut driver, &mut sink, &sent, shape) == sent, "200 pieces");
}

#[test]
fn tags_are_taken_off_and_put_on() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let (mut sink, mut source) = (Sink::new(), Source::new());
    let tagged = frame(&[tag(Tpid::Dot1Q, 10), tag(Tpid::Dot1Q, 20)], 200, 1);
    let came = through(&mut port, &mut driver, &mut sink, &tagged, PLAIN);
    assert_eq!(came, tagged);
    driver.offer(0, 1, 2000);
    let vlan = Some(tag(Tpid::Dot1ad, 300));
    source.send(&mut *port.opened.tx[0], &frame(&[], 100, 2), Tags { vlan, payload: None });
    assert_eq!(driver.received(0)[0].1, frame(&[tag(Tpid::Dot1ad, 300)], 104, 2));
}

/// Sends what waits of one port to another, as a worker does.
fn forward(from: &mut dyn Receive, to: &mut Port, tally: &mut Tally) {
    let mut scratch = Scratch::new();
    let burst = from.receive(&mut scratch).unwrap();
    let jobs: Vec<Job> = (0..burst.frames().len() as u16)
        .map(|frame| Job { frame, tags: Tags { vlan: None, payload: None } })
        .collect();
    to.opened.tx[0].send(&burst, &jobs, tally);
}

#[test]
fn thousands_of_frames_from_guest_to_guest_keep_their_order_round_the_rings() {
    let (mut near, mut from) = connect(1, MODERN | feature::EVENT_IDX);
    let (mut far, mut to) = connect(1, MODERN | feature::MRG_RXBUF);
    from.start();
    to.start();
    let mut tally = Tally::default();
    let mut expected = 0;
    for round in 0..800_u32 {
        to.offer(0, 100, 1600);
        for number in 0..100 {
            let shape = Shape { pieces: 1 + number as usize % 2, indirect: false };
            from.send_frame(
                0,
                &[0; 12],
                &frame(&[], 60 + number as usize, round * 100 + number),
                shape,
            );
        }
        until("the frames", || {
            forward(&mut *near.opened.rx[0], &mut far, &mut tally);
            (tally.frames == u64::from(round + 1) * 100).then_some(())
        });
        for (_, came) in to.received(0) {
            assert!(came == frame(&[], 60 + expected as usize % 100, expected), "frame {expected}");
            expected += 1;
        }
        near.opened.rx[0].rest();
        assert_eq!(from.reap(1).len(), 100);
    }
    assert_eq!(expected, 80_000);
    assert!(tally.drops.is_empty());
}

/// A TCP segment over IPv4 with the pseudo header's sum in its checksum field.
fn super_frame(payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    let total = (40 + payload) as u16;
    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let check = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&check.to_be_bytes());
    frame.extend([
        0x13, 0x88, 0x13, 0x89, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    let mut pseudo = frame[26..34].to_vec();
    pseudo.extend([0, 6]);
    pseudo.extend((20 + payload as u16).to_be_bytes());
    let partial = sum(&pseudo);
    frame[50..52].copy_from_slice(&partial.to_be_bytes());
    frame.extend((0..payload).map(|byte| (byte % 251) as u8));
    frame
}

/// NEEDS_CSUM, TCPV4, header 54, segments of 1460, checksum at 34 + 16.
const TSO: [u8; 12] = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];

fn tcp_checksum_is_right(frame: &[u8]) -> bool {
    let mut pseudo = frame[26..34].to_vec();
    pseudo.extend([0, 6]);
    pseudo.extend((frame.len() as u16 - 34).to_be_bytes());
    pseudo.extend(&frame[34..]);
    sum(&pseudo) == 0xffff && sum(&frame[14..34]) == 0xffff
}

#[test]
fn a_super_frame_goes_whole_to_who_takes_it_and_cut_to_who_does_not() {
    let (mut near, mut from) = connect(1, MODERN);
    from.start();
    let payload = 1460 * 40 + 100;
    let sent = super_frame(payload);
    let all = feature::GUEST_CSUM | feature::GUEST_TSO4;
    for (features, frames) in [(all, 1), (feature::GUEST_CSUM, 41), (0, 41)] {
        let (mut far, mut to) = connect(1, MODERN | feature::MRG_RXBUF | features);
        to.start();
        to.offer(0, 100, 1600);
        from.send_frame(0, &TSO, &sent, Shape { pieces: 5, indirect: false });
        let mut tally = Tally::default();
        until("the frame", || {
            forward(&mut *near.opened.rx[0], &mut far, &mut tally);
            (tally.frames == 1).then_some(())
        });
        let received = to.received(0);
        assert_eq!(received.len(), frames, "features {features:#x}");
        let mut bytes: Vec<u8> = Vec::new();
        for (header, frame) in &received {
            bytes.extend(&frame[54..]);
            if frames == 1 {
                assert_eq!((&header[..10], frame), (&TSO[..10], &sent));
            } else {
                assert_eq!(header[..10], [0; 10]);
                assert!(frame.len() <= 54 + 1460 && tcp_checksum_is_right(frame));
            }
        }
        assert!(bytes == sent[54..], "the stream is the same");
    }
}

#[test]
fn a_checksum_is_finished_for_a_driver_that_does_not_take_it_undone() {
    let (mut near, mut from) = connect(1, MODERN);
    from.start();
    let header = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    for features in [0, feature::GUEST_CSUM] {
        let (mut far, mut to) = connect(1, MODERN | features);
        to.start();
        to.offer(0, 1, 2000);
        from.send_frame(0, &header, &super_frame(700), PLAIN);
        let mut tally = Tally::default();
        until("the frame", || {
            forward(&mut *near.opened.rx[0], &mut far, &mut tally);
            (tally.frames == 1).then_some(())
        });
        let (came_with, came) = to.received(0).remove(0);
        assert_eq!(tcp_checksum_is_right(&came), features == 0);
        assert_eq!(came_with[0], u8::from(features != 0));
    }
}

#[test]
fn what_was_decided_on_is_delivered_whatever_the_guest_writes_there_meanwhile() {
    let (mut near, mut from) = connect(1, MODERN | feature::INDIRECT);
    let takes_all = feature::GUEST_CSUM | feature::GUEST_TSO4 | feature::MRG_RXBUF;
    let (mut far, mut to) = connect(1, MODERN | takes_all);
    from.start();
    to.start();
    let sent = super_frame(3000);
    let mut scratch = Scratch::new();
    // The head in one piece, in several, and the rest copied together.
    for pieces in [1, 60, 200] {
        let shape = Shape { pieces, indirect: pieces == 60 };
        to.offer(0, 1, 4000);
        let place = from.put(1, TSO.len() + sent.len(), 0, shape);
        from.memory.write(place, &TSO);
        from.memory.write(place + TSO.len() as u64, &sent);
        from.show(1);
        until("the frame", || {
            let burst = near.opened.rx[0].receive(&mut scratch).unwrap();
            let frame = burst.frames().first()?;
            let decided_on = frame.head.clone();
            from.memory.write(place, &vec![0xff; TSO.len() + sent.len()]);
            let job = Job { frame: 0, tags: Tags { vlan: None, payload: None } };
            let mut tally = Tally::default();
            far.opened.tx[0].send(&burst, &[job], &mut tally);
            assert_eq!((tally.frames, &tally.drops[..]), (1, &[][..]));
            assert_eq!(decided_on.bytes(), &sent[..HEAD_MAX]);
            Some(())
        });
        let (header, came) = to.received(0).remove(0);
        assert_eq!(header[..10], TSO[..10], "{pieces} pieces");
        assert_eq!(came[..HEAD_MAX], sent[..HEAD_MAX], "{pieces} pieces");
        let behind = if pieces > 64 { &sent[HEAD_MAX..] } else { &[0xff; 3000 + 54 - HEAD_MAX] };
        assert!(came[HEAD_MAX..] == *behind, "{pieces} pieces");
    }
}

#[test]
fn metadata_that_lies_is_found_and_a_frame_without_room_for_a_header_is_malformed() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let mut scratch = Scratch::new();
    let lies = [1, 1, 54, 0, 0xb4, 5, 0xff, 0xff, 16, 0, 0, 0];
    driver.send_frame(0, &lies, &super_frame(3000), PLAIN);
    driver.send_frame(0, &[0; 4], &[], PLAIN);
    driver.send_frame(0, &[0; 12], &frame(&[], 72_000, 1), PLAIN);
    driver.send_frame(0, &[0; 12], &[], PLAIN);
    let mut refused = Vec::new();
    let mut heads = Vec::new();
    until("the frames", || {
        let burst = port.opened.rx[0].receive(&mut scratch).unwrap();
        refused.extend(burst.refused().iter().copied());
        heads.extend(burst.frames().iter().map(|frame| frame.head.clone()));
        (heads.len() == 2).then_some(())
    });
    assert!(heads[0].offload().is_err());
    assert_eq!(heads[1].untagged_len(), 0);
    assert_eq!(refused, [(DropReason::Malformed, 1), (DropReason::Oversize, 1)]);
}

#[test]
fn a_guest_without_buffers_is_not_waited_for_and_one_that_is_too_small_takes_nothing() {
    let (mut port, mut driver) = connect(1, MODERN);
    driver.start();
    let mut source = Source::new();
    let sent = frame(&[], 1000, 3);
    let drops = |tally: Tally| tally.drops;
    let tx = &mut *port.opened.tx[0];
    assert_eq!(drops(source.send_as_it_is(tx, &sent)), [(DropReason::QueueFull, 1)]);
    driver.offer(0, 1, 500);
    assert_eq!(drops(source.send_as_it_is(tx, &sent)), [(DropReason::Oversize, 1)]);
    assert_eq!(driver.reap(0), []);
    driver.state(18, 0, 0);
    driver.sync();
    assert_eq!(drops(source.send_as_it_is(tx, &sent)), [(DropReason::PortDown, 1)]);
}

#[test]
fn buffers_are_used_in_the_order_in_which_they_were_offered_whatever_comes_of_them() {
    let (mut port, mut driver) = connect(1, MODERN | feature::IN_ORDER | feature::MRG_RXBUF);
    driver.start();
    let heads = |used: Vec<(u32, u32)>| -> Vec<u32> { used.iter().map(|used| used.0).collect() };
    let mut source = Source::new();
    driver.offer(0, 40, 200);
    // One and six buffers, then more than there are.
    for len in [60, 1000, 20_000, 150, 300] {
        source.send_as_it_is(&mut *port.opened.tx[0], &frame(&[], len, 1));
    }
    assert_eq!(heads(driver.reap(0)), (0..10).collect::<Vec<_>>());

    let two = Shape { pieces: 2, indirect: false };
    driver.send_frame(0, &[0; 4], &[], PLAIN);
    driver.send_frame(0, &[0; 12], &frame(&[], 60, 1), two);
    driver.send_frame(0, &[0; 12], &frame(&[], 72_000, 1), PLAIN);
    driver.send_frame(0, &[0; 12], &frame(&[], 60, 2), PLAIN);
    let mut sink = Sink::new();
    let mut came = 0;
    until("the frames", || {
        came += sink.receive(&mut *port.opened.rx[0]).unwrap().frames.len();
        (came == 2).then_some(())
    });
    assert!(port.opened.rx[0].rest());
    assert_eq!(heads(driver.reap(1)), [0, 1, 3, 4]);
}

#[test]
fn a_driver_kicks_a_port_that_rests_and_no_other() {
    for features in [MODERN, MODERN | feature::EVENT_IDX] {
        let (mut port, mut driver) = connect(1, features);
        driver.start();
        let rx = &mut port.opened.rx[0];
        assert!(rx.is_polled());
        let mut scratch = Scratch::new();
        let mut kicks = 0;
        let mut came = 0;
        let send = |driver: &mut Driver| {
            let place = driver.put(1, 72, 0, PLAIN);
            driver.memory.write(place + 12, &frame(&[], 60, 1));
            driver.show(1)
        };
        rx.announced();
        assert!(rx.rest(), "nothing waits");
        assert!(!lab::is_readable(rx.fd(), std::time::Duration::ZERO));
        assert!(send(&mut driver), "the first frame is announced");
        assert!(lab::is_readable(rx.fd(), lab::PATIENCE));
        rx.announced();
        for _ in 0..200 {
            came += rx.receive(&mut scratch).unwrap().frames().len();
            kicks += usize::from(send(&mut driver));
        }
        came += rx.receive(&mut scratch).unwrap().frames().len();
        assert_eq!((came, kicks), (201, 0), "nothing is announced to a port that is awake");
        assert!(send(&mut driver) || !rx.rest(), "what comes in between is not overlooked");
    }
}

#[test]
fn a_guest_is_woken_once_a_burst_and_only_when_it_wants_to_be() {
    let (mut port, mut driver) = connect(1, MODERN | feature::EVENT_IDX);
    driver.start();
    let mut source = Source::new();
    driver.offer(0, 8, 2000);
    let event = driver.available_place(0) + 4 + 2 * 256;
    driver.memory.write16(event, 2);
    let mut woken = Vec::new();
    for _ in 0..4 {
        source.send_as_it_is(&mut *port.opened.tx[0], &frame(&[], 100, 1));
        woken.push(was_signalled(&driver.rings[0].call));
    }
    assert_eq!(woken, [false, false, true, false]);
}

#[test]
fn queues_beyond_those_that_a_guest_uses_lead_to_the_first_that_it_does() {
    let (mut port, mut driver) = connect(4, MODERN);
    driver.greet();
    assert_eq!(driver.ask_word(17), 4);
    for ring in 0..4 {
        driver.start_ring(ring);
        driver.state(18, ring, 1);
    }
    driver.sync();
    let mut source = Source::new();
    driver.offer(0, 8, 2000);
    driver.offer(1, 8, 2000);
    for queue in 0..4 {
        let tally =
            source.send_as_it_is(&mut *port.opened.tx[queue], &frame(&[], 100, queue as u32));
        assert_eq!(tally.frames, 1, "queue {queue}");
    }
    let seeds = |driver: &mut Driver, pair| -> Vec<usize> {
        let came = driver.received(pair);
        let seed = |came: &Vec<u8>| (0..4).find(|&seed| *came == frame(&[], 100, seed as u32));
        came.iter().map(|(_, came)| seed(came).unwrap()).collect()
    };
    assert_eq!(seeds(&mut driver, 0), [0, 2, 3]);
    assert_eq!(seeds(&mut driver, 1), [1]);
    let mut sink = Sink::new();
    driver.send_frame(1, &[0; 12], &frame(&[], 99, 7), PLAIN);
    let rx = &mut *port.opened.rx[1];
    assert_eq!(until("the frame", || sink.receive(rx).unwrap().frames.pop()), frame(&[], 99, 7));
}
