//! TAP ports.
//!
//! ```text
//!   test's namespace        host
//!   port on t1 ──────────── eth0   raw socket, or the host's stack
//! ```

mod lab;

use std::{collections::HashSet, net::UdpSocket};

use lab::{Host, PATIENCE, Raw, RawTap, Sink, Source, enter, frame, ip, is_readable, tag, until};
use weft_core::DropReason;
use weft_ports::{Fault, OpenError, link::Links, tap};
use weft_vlan::{Tags, Tpid};

#[test]
fn frames_of_every_length_cross_with_their_tags() {
    enter();
    let mut port = tap::open("t1", 1).unwrap();
    ip("link set t1 mtu 65521");
    let host = Host::new();
    host.take("t1");
    let far = host.run(|| Raw::open("eth0"));
    let (mut sink, mut source) = (Sink::new(), Source::new());
    let (vlan, payload) = (tag(Tpid::Dot1ad, 0x612c), tag(Tpid::Dot1Q, 7));
    let lens =
        (14..160).chain(1500..1530).chain((3000..65_500).step_by(2113)).chain(65_530..=65_535);
    for (len, seed) in lens.zip(0..) {
        for tags in [&[][..], &[payload], &[vlan, payload]] {
            let len = if tags.is_empty() { len } else { len.clamp(22, 65_530) };
            let sent = frame(tags, len, seed);
            assert_eq!(source.send_as_it_is(&mut *port.tx[0], &sent).drops, [], "{len} bytes");
            assert!(far.receive() == sent, "{len} bytes in, {tags:?}");
            far.send(&sent).unwrap();
            let received = sink.expect(&mut *port.rx[0], 1);
            assert!(received.frames == [sent], "{len} bytes out, {tags:?}");
            assert_eq!(received.heads[0].tag(), tags.first().copied());
        }
    }
    let pushed = Tags { vlan: Some(vlan), payload: Some(payload) };
    let tally = source.send(&mut *port.tx[0], &frame(&[], 500, 1), pushed);
    assert_eq!((tally.frames, tally.bytes), (1, 508));
    assert_eq!(far.receive(), frame(&[vlan, payload], 508, 1));
}

#[test]
fn a_burst_is_delivered_in_order() {
    enter();
    let mut port = tap::open("t1", 1).unwrap();
    let host = Host::new();
    host.take("t1");
    let far = host.run(|| Raw::open("eth0"));
    (0..200).for_each(|seed| far.send(&frame(&[], 60 + seed as usize * 7, seed)).unwrap());
    let received = Sink::new().expect(&mut *port.rx[0], 200);
    assert!(received.frames.into_iter().eq((0..200).map(|seed| frame(
        &[],
        60 + seed as usize * 7,
        seed
    ))));
}

#[test]
fn every_queue_of_several_sends_and_receives() {
    const FLOWS: u16 = 64;
    enter();
    let mut port = tap::open("t1", 4).unwrap();
    assert_eq!((port.rx.len(), port.tx.len()), (4, 4));
    let host = Host::new();
    host.take("t1");
    let far = host.run(|| Raw::open("eth0"));
    let (mut sink, mut source) = (Sink::new(), Source::new());
    for (queue, seed) in port.tx.iter_mut().zip(0..) {
        source.send_as_it_is(&mut **queue, &frame(&[], 100, seed));
        assert_eq!(far.receive(), frame(&[], 100, seed));
    }
    host.address(1);
    host.ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0");
    host.run(|| {
        for flow in 0..FLOWS {
            let socket = UdpSocket::bind(("10.0.0.1", 20_000 + flow)).unwrap();
            socket.send_to(&flow.to_be_bytes(), "10.0.0.2:9").unwrap();
        }
    });
    let (mut flows, mut used) = (HashSet::new(), HashSet::new());
    until("all flows", || {
        for (position, queue) in port.rx.iter_mut().enumerate() {
            for frame in sink.receive(&mut **queue).unwrap().frames {
                if frame.len() >= 44 && frame[12..14] == [8, 0] && frame[23] == 17 {
                    flows.insert([frame[34], frame[35]]);
                    used.insert(position);
                }
            }
        }
        (flows.len() == usize::from(FLOWS)).then_some(())
    });
    assert!(used.len() > 1, "all flows came by one queue");
}

#[test]
fn a_device_that_goes_down_and_up_goes_on() {
    enter();
    let mut port = tap::open("t1", 1).unwrap();
    let host = Host::new();
    host.take("t1");
    let (mut sink, mut source) = (Sink::new(), Source::new());
    for seed in 0..3 {
        host.ip("link set eth0 down");
        let tally = source.send(&mut *port.tx[0], &frame(&[], 60, seed), Tags::NONE);
        assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
        until("emptiness", || {
            sink.receive(&mut *port.rx[0]).unwrap().frames.is_empty().then_some(())
        });
        host.ip("link set eth0 up");
        let far = host.run(|| Raw::open("eth0"));
        far.send(&frame(&[], 60, seed)).unwrap();
        assert_eq!(sink.expect(&mut *port.rx[0], 1).frames, [frame(&[], 60, seed)]);
        source.send(&mut *port.tx[0], &frame(&[], 61, seed), Tags::NONE);
        assert_eq!(far.receive(), frame(&[], 61, seed));
    }
}

#[test]
fn a_deleted_device_ends_its_queues() {
    enter();
    for queues in [1, 2] {
        let mut port = tap::open("t1", queues).unwrap();
        ip("link set t1 up");
        ip("link del t1");
        for rx in &mut port.rx {
            assert!(is_readable(rx.fd(), PATIENCE));
            let fault = Sink::new().receive(&mut **rx).err().expect("the queue ends");
            assert!(matches!(fault, Fault::DeviceGone), "{fault:?}");
        }
        let tally = Source::new().send(&mut *port.tx[0], &frame(&[], 60, 1), Tags::NONE);
        assert_eq!(tally.drops, [(DropReason::PortDown, 1)]);
    }
}

#[test]
fn a_device_goes_with_its_port() {
    enter();
    let links = Links::open().unwrap();
    let port = tap::open("t1", 2).unwrap();
    assert!(links.index("t1").is_ok());
    drop(port);
    assert!(links.index("t1").is_err());
}

#[test]
fn a_device_that_exists_is_taken_as_it_was_made() {
    enter();
    ip("tuntap add single mode tap");
    ip("tuntap add many mode tap multi_queue");
    ip("tuntap add layer3 mode tun");
    ip("link add other type veth peer name end");
    let open = |device, queues| tap::open(device, queues);
    assert_eq!(open("single", 1).unwrap().rx.len(), 1);
    assert_eq!(open("many", 1).unwrap().rx.len(), 1);
    assert_eq!(open("many", 2).unwrap().rx.len(), 2);
    for (device, queues) in [("single", 2), ("layer3", 1), ("other", 1)] {
        let error = open(device, queues).err().expect(device);
        assert!(matches!(error, OpenError::OtherKind), "{device}: {error:?}");
    }
    let _held = RawTap::open("held");
    let error = open("held", 1).err().expect("it is held");
    assert!(matches!(error, OpenError::Busy), "{error:?}");
}

#[test]
fn what_cannot_be_a_tap_is_refused_without_a_trace() {
    enter();
    for device in ["", "a-name-beyond-15", "a/b", "a b", "a:b", "tap%d", "..", "t\0p"] {
        assert!(matches!(tap::open(device, 1), Err(OpenError::BadName(_))), "{device:?}");
    }
    for queues in [0, 257] {
        assert!(matches!(tap::open("t1", queues), Err(OpenError::BadQueues(_))));
    }
    assert!(Links::open().unwrap().index("t1").is_err());
}
