//! Stream ports: this end is the port, the other a VMM's. `-netdev stream` framing both ways.

mod lab;

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use lab::{PATIENCE, Sink, Watched, frame, framed, is_readable, read_framed, tag, until};
use weft_core::DropReason;
use weft_ports::{Burst, Fault, Job, OpenError, Opened, Receive, Scratch, Tally, Transmit, stream};
use weft_vlan::{Tags, Tpid};

/// Makes a port and the VMM's end of its connection.
fn connected() -> (Opened, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    (stream::attach(near.into()).unwrap(), far)
}

/// Receives until the queue says that nothing waits.
fn receive_all(rx: &mut dyn Receive) -> (Vec<usize>, Vec<(DropReason, u64)>) {
    let (mut lens, mut refused) = (Vec::new(), Vec::new());
    let mut scratch = Scratch::new();
    loop {
        let burst = rx.receive(&mut scratch).unwrap();
        if burst.is_empty() {
            return (lens, refused);
        }
        lens.extend(burst.frames().iter().map(|frame| frame.head.wire_len()));
        refused.extend(burst.refused());
    }
}

#[test]
fn frames_of_every_length_come_in_and_go_out_whole() {
    let (mut port, mut far) = connected();
    far.set_nonblocking(true).unwrap();
    let mut sink = Sink::new();
    let (mut near_end, mut scratch) = connected_source();
    let vlan = [tag(Tpid::Dot1Q, 10)];
    for len in (14..150).chain((1000..70_000).step_by(1733)).chain(65_540..65_550).chain([71_680]) {
        let sent = frame(if len < 18 { &[] } else { &vlan }, len, len as u32);
        // Out: from the stream of a second port.
        let mut tally = send_through(&mut near_end, &mut scratch, &mut *port.tx[0], &sent);
        let received = read_framed(&mut far, || port.tx[0].flush(&mut tally));
        assert!(received == [sent.clone()], "{len} bytes out");
        assert_eq!((tally.frames, tally.bytes), (1, len as u64));
        // In.
        let writer = write_in_background(&far, framed(&sent));
        let received = until("the frame", || sink.receive(&mut *port.rx[0]).unwrap().frames.pop());
        writer.join().unwrap();
        assert!(received == sent, "{len} bytes in");
    }
}

type Near = (Opened, UnixStream);

fn connected_source() -> (Near, Scratch) {
    (connected(), Scratch::new())
}

fn send_through(
    near: &mut Near,
    scratch: &mut Scratch,
    tx: &mut dyn Transmit,
    sent: &[u8],
) -> Tally {
    let writer = write_in_background(&near.1, framed(sent));
    let mut tally = Tally::default();
    until("the frame", || {
        let burst = near.0.rx[0].receive(scratch).unwrap();
        tx.send(&burst, &as_they_came(&burst), &mut tally);
        (!burst.is_empty()).then_some(())
    });
    writer.join().unwrap();
    tally
}

fn as_they_came(burst: &Burst<'_>) -> Vec<Job> {
    let frames = burst.frames().iter().zip(0..);
    frames
        .map(|(frame, position)| Job {
            frame: position,
            tags: Tags { vlan: frame.head.tag(), payload: None },
        })
        .collect()
}

fn write_in_background(far: &UnixStream, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut far = far.try_clone().unwrap();
    let write = move || {
        let mut rest = &bytes[..];
        until("the other end to read", || {
            match far.write(rest) {
                Ok(len) => rest = &rest[len..],
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            rest.is_empty().then_some(())
        });
    };
    std::thread::Builder::new().spawn(write).unwrap()
}

#[test]
fn what_has_no_header_is_handed_over_and_what_is_too_long_is_skipped() {
    let (mut port, far) = connected();
    let lens = [0, 1, 13, 14, 71_680, 71_681, 131_072, 60];
    let writer =
        write_in_background(&far, lens.iter().flat_map(|&len| framed(&vec![2; len])).collect());
    let (mut came, mut refused) = (Vec::new(), Vec::new());
    until("the last frame", || {
        let (lens, more) = receive_all(&mut *port.rx[0]);
        came.extend(lens);
        refused.extend(more);
        (came.last() == Some(&60)).then_some(())
    });
    writer.join().unwrap();
    assert_eq!(came, [0, 1, 13, 14, 71_680, 60]);
    assert!(refused.iter().all(|&(reason, _)| reason == DropReason::Oversize), "{refused:?}");
    assert_eq!(refused.iter().map(|(_, frames)| frames).sum::<u64>(), 2);
}

#[test]
fn a_length_that_no_frame_has_ends_the_queue_behind_the_frames_before_it() {
    for length in [131_073, u32::from_be_bytes(*b"GET "), u32::MAX] {
        let (mut port, mut far) = connected();
        far.write_all(
            &[framed(&[2; 60]), length.to_be_bytes().to_vec(), framed(&[2; 60])].concat(),
        )
        .unwrap();
        let mut scratch = Scratch::new();
        assert_eq!(port.rx[0].receive(&mut scratch).unwrap().frames().len(), 1);
        assert!(port.rx[0].holds_more());
        let fault = port.rx[0].receive(&mut scratch).err().expect("the queue ends");
        assert!(matches!(fault, Fault::BadFraming(announced) if announced == length), "{fault:?}");
    }
}

#[test]
fn frames_that_came_in_one_read_are_announced_until_the_last() {
    let (mut port, mut far) = connected();
    far.write_all(&framed(&[2; 60]).repeat(200)).unwrap();
    let (mut scratch, mut bursts) = (Scratch::new(), Vec::new());
    loop {
        bursts.push(port.rx[0].receive(&mut scratch).unwrap().frames().len());
        assert_eq!(port.rx[0].holds_more(), bursts.iter().sum::<usize>() < 200);
        if !port.rx[0].holds_more() {
            break;
        }
    }
    assert_eq!(bursts, [64, 64, 64, 8]);
    assert!(!is_readable(port.rx[0].fd(), std::time::Duration::ZERO));
}

#[test]
fn half_a_frame_waits_for_its_other_half() {
    let (mut port, mut far) = connected();
    let bytes = framed(&frame(&[], 100, 1));
    for byte in &bytes[..bytes.len() - 1] {
        far.write_all(&[*byte]).unwrap();
        assert_eq!(receive_all(&mut *port.rx[0]).0, []);
    }
    far.write_all(&bytes[bytes.len() - 1..]).unwrap();
    assert_eq!(receive_all(&mut *port.rx[0]).0, [100]);
}

#[test]
fn a_peer_that_hangs_up_ends_the_queue_behind_its_last_frame() {
    let (mut port, mut far) = connected();
    far.write_all(&framed(&frame(&[], 60, 1))).unwrap();
    // Half a frame is no frame.
    far.write_all(&framed(&frame(&[], 60, 2))[..40]).unwrap();
    drop(far);
    let mut scratch = Scratch::new();
    assert_eq!(port.rx[0].receive(&mut scratch).unwrap().frames().len(), 1);
    let fault = port.rx[0].receive(&mut scratch).err().expect("the queue ends");
    assert!(matches!(fault, Fault::Closed), "{fault:?}");
    let (mut near, mut scratch) = connected_source();
    for _ in 0..2 {
        let tally = send_through(&mut near, &mut scratch, &mut *port.tx[0], &frame(&[], 60, 3));
        assert_eq!((tally.frames, &tally.drops[..]), (0, &[(DropReason::PortDown, 1)][..]));
    }
}

#[test]
fn a_peer_that_only_stops_sending_ends_the_queue() {
    let (mut port, far) = connected();
    far.shutdown(Shutdown::Write).unwrap();
    assert!(is_readable(port.rx[0].fd(), PATIENCE));
    assert!(matches!(port.rx[0].receive(&mut Scratch::new()), Err(Fault::Closed)));
}

#[test]
fn a_slow_reader_loses_whole_frames_and_nothing_that_was_taken() {
    let (mut port, mut far) = connected();
    let (mut near, mut scratch) = connected_source();
    let epoll = Watched::new(&*port.tx[0]);
    for round in 0..3 {
        let (mut taken, mut dropped, mut total) = (Vec::new(), 0, Tally::default());
        // Nobody reads: the socket fills, then the backlog, and neither grows beyond its limit.
        for seed in 0..1000 {
            let sent = frame(&[], 60 + (seed as usize * 37) % 1454, seed);
            let tally = send_through(&mut near, &mut scratch, &mut *port.tx[0], &sent);
            total.frames += tally.frames;
            total.bytes += tally.bytes;
            match &tally.drops[..] {
                [] => taken.push(sent),
                drops => {
                    assert_eq!(drops, [(DropReason::QueueFull, 1)]);
                    dropped += 1;
                }
            }
        }
        assert!(
            dropped > 200 && taken.len() > 200 && total.frames + 200 < taken.len() as u64,
            "round {round}: {dropped} dropped, {} taken",
            taken.len()
        );
        // What was taken comes whole and in order, by the wake-ups of the backlog's descriptor alone.
        let bytes: Vec<u8> = taken.iter().flat_map(|frame| framed(frame)).collect();
        let (mut received, mut buffer) = (Vec::new(), vec![0; 30_000]);
        far.set_nonblocking(true).unwrap();
        until("all that was taken", || {
            match far.read(&mut buffer) {
                Ok(len) => received.extend_from_slice(&buffer[..len]),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            if epoll.fired() {
                port.tx[0].flush(&mut total);
            }
            (received.len() >= bytes.len()).then_some(())
        });
        assert!(received == bytes, "round {round}");
        let lens = taken.iter().map(|frame| frame.len() as u64).sum();
        assert_eq!((total.frames, total.bytes), (taken.len() as u64, lens), "round {round}");
    }
}

#[test]
fn what_waits_when_the_port_goes_is_dropped_and_the_sums_agree() {
    for hang_up in [true, false] {
        let (mut port, far) = connected();
        let (mut near, mut scratch) = connected_source();
        let mut total = Tally::default();
        for seed in 0..1000 {
            let sent = frame(&[], 1000, seed);
            let tally = send_through(&mut near, &mut scratch, &mut *port.tx[0], &sent);
            total.frames += tally.frames;
            total.drops.extend(tally.drops);
        }
        let (sent, full) = (total.frames, total.drops.len() as u64);
        assert!(sent > 0 && full > 0 && sent + full < 1000, "{sent} sent, {full} dropped");
        if hang_up {
            drop(far);
            port.tx[0].flush(&mut total);
        } else {
            port.tx[0].close(&mut total);
        }
        let waited = total.drops.iter().find(|(reason, _)| *reason == DropReason::PortDown);
        assert_eq!(waited, Some(&(DropReason::PortDown, 1000 - sent - full)));
        assert_eq!(total.frames, sent);
        // Nothing of it comes later, and what is sent later is dropped as well.
        let tally = send_through(&mut near, &mut scratch, &mut *port.tx[0], &frame(&[], 60, 3));
        assert_eq!((tally.frames, &tally.drops[..]), (0, &[(DropReason::PortDown, 1)][..]));
        port.tx[0].close(&mut total);
        assert_eq!(total.frames, sent);
    }
}

#[test]
fn what_is_no_stream_socket_is_refused() {
    let (datagram, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    assert!(matches!(stream::attach(datagram.into()), Err(OpenError::NotAStream)));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(stream::attach(file.into()).is_err());
}
