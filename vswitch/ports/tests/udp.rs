//! The underlay's sockets.
//!
//! ```text
//!   test's namespace        host
//!   u0 10.0.0.1, fd00::1 ── eth0 10.0.0.2, fd00::2
//! ```

mod lab;

use std::{
    collections::{HashMap, HashSet},
    ffi::c_int,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use lab::{Host, PATIENCE, Raw, enter, ip, is_readable, until};
use weft_core::DropReason;
use weft_offload::ecn::Codepoint;
use weft_ports::{
    Tally,
    udp::{self, Destination, LARGEST, Receiver, Segmentation, Socket},
};

/// Linux `udp.h`: datagrams over IPv6 without a checksum.
const UDP_NO_CHECK6_TX: c_int = 101;
const UDP_NO_CHECK6_RX: c_int = 102;
const KERNEL: Segmentation = Segmentation::Kernel;

/// Makes the two hosts of this file's drawing.
fn hosts() -> Host {
    enter();
    let host = Host::with_veth("u0");
    host.address(2);
    std::fs::write("/proc/sys/net/ipv6/conf/u0/disable_ipv6", "0").unwrap();
    ip("addr add 10.0.0.1/24 dev u0");
    ip("addr add fd00::1/64 dev u0 nodad");
    host
}

fn open(listen: &str, segmentation: Segmentation) -> Socket {
    udp::open(listen.parse().unwrap(), 1, segmentation).unwrap().remove(0)
}

/// Opens a socket on the host; returns where it is reached by each family.
fn open_far(host: &Host, segmentation: Segmentation) -> (Socket, [SocketAddr; 2]) {
    let socket = host.run(move || open("[::]:0", segmentation));
    let port = socket.address().unwrap().port();
    (socket, [([10, 0, 0, 2], port).into(), ([0xfd00, 0, 0, 0, 0, 0, 0, 2], port).into()])
}

/// A record of so many bytes that is told from others.
fn record(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + seed * 7) as u8).collect()
}

/// Sends records, a frame each.
fn send(socket: &Socket, to: &mut Destination, records: &[(Vec<u8>, Codepoint)]) -> Tally {
    let (mut sender, mut tally) = (socket.sender(), Tally::default());
    let mut batch = sender.batch(to, &mut tally);
    for (record, mark) in records {
        batch.room(record.len()).copy_from_slice(record);
        batch.commit(record.len(), *mark);
        batch.frame(record.len());
    }
    batch.send();
    tally
}

fn unmarked(records: impl IntoIterator<Item = Vec<u8>>) -> Vec<(Vec<u8>, Codepoint)> {
    records.into_iter().map(|record| (record, Codepoint::NotEct)).collect()
}

/// Receives this many records.
fn receive(receiver: &mut Receiver, count: usize) -> Vec<(Vec<u8>, SocketAddr, Codepoint)> {
    let mut all = Vec::new();
    until(&format!("{count} records"), || {
        if receiver.fill().unwrap() {
            all.extend(receiver.records().map(|got| (got.bytes.to_vec(), got.from, got.mark)));
        }
        (all.len() >= count).then_some(())
    });
    assert!(!receiver.fill().unwrap(), "nothing else was sent");
    all
}

fn set(socket: &impl AsRawFd, level: c_int, name: c_int, value: c_int) {
    // SAFETY: the kernel reads one integer.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), 4) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn records_of_all_lengths_cross_in_order_by_both_families() {
    let host = hosts();
    let lens = |position: usize| match position % 50 {
        0..44 => 1472 - 20,
        44 => 700,
        45 => 1,
        46 => 1452,
        47 => 3,
        _ => 64 + position,
    };
    let records: Vec<_> = (0..400).map(|position| record(lens(position), position)).collect();
    let bytes: usize = records.iter().map(Vec::len).sum();
    for far_segmentation in [KERNEL, Segmentation::None] {
        let (far, addresses) = open_far(&host, far_segmentation);
        let mut receiver = far.receiver();
        for (listen, to) in [
            ("10.0.0.1:0", addresses[0]),
            ("[::]:0", addresses[0]),
            ("[::]:0", addresses[1]),
            ("[fd00::1]:0", addresses[1]),
        ] {
            for segmentation in [KERNEL, Segmentation::None] {
                let near = open(listen, segmentation);
                let mut to = Destination::new(to, 0);
                let tally = send(&near, &mut to, &unmarked(records.clone()));
                assert_eq!((tally.frames, tally.bytes as usize), (400, bytes));
                assert_eq!(tally.drops, []);
                let port = near.address().unwrap().port();
                let ip = if to.address().is_ipv4() { "10.0.0.1" } else { "fd00::1" };
                let from = SocketAddr::new(ip.parse().unwrap(), port);
                let received = receive(&mut receiver, 400);
                assert_eq!(received.len(), 400);
                for ((bytes, source, mark), expected) in received.into_iter().zip(&records) {
                    assert_eq!((source, mark), (from, Codepoint::NotEct));
                    assert!(bytes == *expected, "{listen} {segmentation:?}");
                }
            }
        }
        assert_eq!(far.lost().unwrap(), 0);
    }
}

#[test]
fn more_than_the_buffer_holds_is_sent_all_the_same() {
    let host = hosts();
    let (far, addresses) = open_far(&host, KERNEL);
    let mut receiver = far.receiver();
    let near = open("[::]:0", KERNEL);
    let records: Vec<_> = (0..1500).map(|seed| record(1400, seed)).collect();
    let tally = send(&near, &mut Destination::new(addresses[1], 0), &unmarked(records.clone()));
    assert_eq!((tally.frames, &tally.drops[..]), (1500, &[][..]));
    let received = receive(&mut receiver, 1500);
    assert!(received.into_iter().map(|(bytes, ..)| bytes).eq(records));
}

#[test]
fn each_record_keeps_its_mark() {
    let host = hosts();
    let (far, addresses) = open_far(&host, KERNEL);
    let mut receiver = far.receiver();
    let marks = [Codepoint::NotEct, Codepoint::Ect0, Codepoint::Ect1, Codepoint::Ce];
    for (listen, to) in
        [("0.0.0.0:0", addresses[0]), ("[::]:0", addresses[0]), ("[::]:0", addresses[1])]
    {
        for dscp in [0, 46] {
            let near = open(listen, KERNEL);
            let records: Vec<_> =
                (0..64).map(|seed| (record(900, seed), marks[seed / 5 % 4])).collect();
            let tally = send(&near, &mut Destination::new(to, dscp), &records);
            assert_eq!(tally.frames, 64);
            let received = receive(&mut receiver, 64);
            let seen: Vec<_> = received.into_iter().map(|(bytes, _, mark)| (bytes, mark)).collect();
            assert!(seen == records, "{listen} to {to}, dscp {dscp}");
        }
    }
}

#[test]
fn what_is_larger_than_the_device_allows_is_refused_and_nothing_else() {
    let host = hosts();
    let (far, addresses) = open_far(&host, KERNEL);
    let mut receiver = far.receiver();
    let near = open("[::]:0", KERNEL);
    for (to, largest) in [(addresses[0], 1472), (addresses[1], 1452)] {
        near.send_to(&record(largest, 1), to).unwrap();
        let error = near.send_to(&record(largest + 1, 1), to).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE), "{to}");
        receive(&mut receiver, 1);
        let mut destination = Destination::new(to, 0);
        // Alone, many of a length, and ordinary records behind them.
        for (large, others) in [(1, 0), (20, 30), (1, 30)] {
            let records: Vec<_> = (0..large)
                .map(|seed| record(largest + 1, seed))
                .chain((0..others).map(|seed| record(largest - 100, seed)))
                .collect();
            let tally = send(&near, &mut destination, &unmarked(records.clone()));
            let [(reason, dropped)] = tally.drops[..] else { panic!("{tally:?}") };
            assert_eq!(reason, DropReason::Oversize);
            assert_eq!(tally.frames + dropped, records.len() as u64);
            // A message is refused as a whole: a shorter record at the end of one goes with it.
            assert!((large..=large + 1).contains(&(dropped as usize)), "{dropped} of {large}");
            receive(&mut receiver, tally.frames as usize);
        }
    }
}

#[test]
fn a_route_that_claims_less_is_not_believed() {
    let host = hosts();
    let (far, addresses) = open_far(&host, KERNEL);
    let mut receiver = far.receiver();
    let near = open("[::]:0", KERNEL);
    // What the kernel would remember of an ICMP message, as a route.
    ip("route add 10.0.0.2/32 dev u0 mtu 1000");
    ip("route add fd00::2/128 dev u0 mtu 1280");
    for (to, largest) in [(addresses[0], 1472), (addresses[1], 1452)] {
        near.send_to(&record(largest, 1), to).unwrap();
        let records = unmarked((0..10).map(|seed| record(largest, seed)));
        assert_eq!(send(&near, &mut Destination::new(to, 0), &records).frames, 10);
        receive(&mut receiver, 11);
    }
}

#[test]
fn where_the_kernel_will_not_cut_records_go_one_by_one_until_it_will() {
    let host = hosts();
    ip("link set u0 address 02:00:00:00:00:01");
    let wire = host.run(|| Raw::open("eth0"));
    let (far, addresses) = open_far(&host, KERNEL);
    let mut receiver = far.receiver();
    set(&far.as_fd(), libc::SOL_UDP, UDP_NO_CHECK6_RX, 1);
    let longest = |count: usize| {
        // Others are the kernel's own, which looks for its neighbours.
        let lens = std::iter::repeat_with(|| wire.receive().len()).filter(|&len| len > 1000);
        lens.take(count).max().unwrap()
    };
    for to in addresses {
        let near = open("[::]:0", KERNEL);
        let mut to = Destination::new(to, 0);
        let records = unmarked((0..4).map(|seed| record(1000, seed)));
        let mut pass = |cut: bool| {
            let tally = send(&near, &mut to, &records);
            assert_eq!((tally.frames, &tally.drops[..]), (4, &[][..]));
            assert_eq!(longest(if cut { 1 } else { 4 }) > 1500, cut);
            let received = receive(&mut receiver, 4);
            assert!(received.iter().zip(&records).all(|(got, sent)| got.0 == sent.0));
        };
        pass(true);
        // The kernel cuts nothing whose checksum it does not make, and says EINVAL.
        let fd = near.as_fd();
        set(&fd, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1);
        set(&fd, libc::SOL_UDP, UDP_NO_CHECK6_TX, 1);
        pass(false);
        set(&fd, libc::SOL_SOCKET, libc::SO_NO_CHECK, 0);
        set(&fd, libc::SOL_UDP, UDP_NO_CHECK6_TX, 0);
        pass(false);
        (0..1022).for_each(|_| pass(false));
        pass(true);
        pass(true);
    }
}

#[test]
fn lengths_that_a_stranger_chose_divide_only_what_he_sent() {
    let host = hosts();
    let far = host.run(|| open("0.0.0.0:0", KERNEL));
    let mut receiver = far.receiver();
    let to = ("10.0.0.2", far.address().unwrap().port());
    let stranger = UdpSocket::bind("10.0.0.1:0").unwrap();
    let friend = UdpSocket::bind("10.0.0.1:0").unwrap();
    for (segment, len) in [(1, 64), (3, 100), (700, 1400), (1471, 1472), (1472, 1472)] {
        set(&stranger, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        stranger.send_to(&record(len, 1), to).unwrap();
        friend.send_to(&record(1200, 2), to).unwrap();
        let pieces = len.div_ceil(segment as usize);
        let received = receive(&mut receiver, pieces + 1);
        assert_eq!(received.len(), pieces + 1);
        let (last, of_stranger) = received.split_last().unwrap();
        assert_eq!(last.0, record(1200, 2));
        let bytes: Vec<u8> = of_stranger.iter().flat_map(|got| got.0.clone()).collect();
        assert_eq!(bytes, record(len, 1));
        assert!(of_stranger.iter().all(|got| got.1 == stranger.local_addr().unwrap()));
    }
    // Nothing at all is a datagram too.
    friend.send_to(&[], to).unwrap();
    assert_eq!(receive(&mut receiver, 1)[0].0, []);
}

#[test]
fn what_is_not_taken_stays_where_it_was() {
    let host = hosts();
    let (far, addresses) = open_far(&host, KERNEL);
    let mut receiver = far.receiver();
    let near = open("[::]:0", KERNEL);
    let records: Vec<_> = (0..150).map(|seed| record(800 + seed / 60, seed)).collect();
    send(&near, &mut Destination::new(addresses[0], 0), &unmarked(records.clone()));
    let (mut seen, mut take) = (Vec::new(), 1);
    until("all records", || {
        let ready = receiver.fill().unwrap();
        assert_eq!(ready, receiver.holds_more());
        for got in receiver.records().take(take) {
            // What is opened in place changes nothing behind it.
            seen.push(got.bytes.to_vec());
            got.bytes.fill(0);
        }
        take = take % 7 + 1;
        (seen.len() == records.len()).then_some(())
    });
    assert!(!receiver.holds_more());
    assert_eq!(receiver.records().count(), 0);
    assert!(seen == records);
}

#[test]
fn the_largest_datagram_is_whole() {
    enter();
    let near = open("127.0.0.1:0", KERNEL);
    let far = open("127.0.0.1:0", KERNEL);
    let mut receiver = far.receiver();
    let to = far.address().unwrap();
    let records = unmarked([record(LARGEST, 1), record(LARGEST, 2)]);
    assert_eq!(send(&near, &mut Destination::new(to, 0), &records).frames, 2);
    let received = receive(&mut receiver, 2);
    assert!(received.iter().zip(&records).all(|(got, sent)| got.0 == sent.0));
}

#[test]
fn sockets_share_a_port_and_each_peer_has_one_of_them() {
    let host = hosts();
    let sockets = host.run(|| udp::open("[::]:0".parse().unwrap(), 4, KERNEL).unwrap());
    let port = sockets[0].address().unwrap().port();
    assert!(sockets.iter().all(|socket| socket.address().unwrap().port() == port));
    let mut receivers: Vec<_> = sockets.iter().map(Socket::receiver).collect();
    let peers: Vec<_> = (0..32).map(|_| UdpSocket::bind("10.0.0.1:0").unwrap()).collect();
    let mut places: HashMap<SocketAddr, HashSet<usize>> = HashMap::new();
    for _ in 0..3 {
        for peer in &peers {
            peer.send_to(b"record", ("10.0.0.2", port)).unwrap();
        }
        let mut count = 0;
        until("all records", || {
            for (place, receiver) in receivers.iter_mut().enumerate() {
                if receiver.fill().unwrap() {
                    for got in receiver.records() {
                        places.entry(got.from).or_default().insert(place);
                        count += 1;
                    }
                }
            }
            (count == peers.len()).then_some(())
        });
    }
    assert_eq!(places.len(), peers.len());
    assert!(places.values().all(|places| places.len() == 1), "a peer moved between sockets");
    let used: HashSet<_> = places.values().flatten().collect();
    assert!(used.len() > 1, "one socket got everything");
    // All of them answer from that port.
    for socket in &sockets {
        socket.send_to(b"answer", peers[0].local_addr().unwrap()).unwrap();
        assert!(is_readable(peers[0].as_fd(), PATIENCE));
        let (_, from) = peers[0].recv_from(&mut [0; 10]).unwrap();
        assert_eq!(from, SocketAddr::from(([10, 0, 0, 2], port)));
    }
}

#[test]
fn an_answer_leaves_from_the_address_that_was_called() {
    let host = hosts();
    host.run(|| {
        ip("addr add 10.0.0.3/24 dev eth0");
        ip("addr add fd00::3/64 dev eth0 nodad");
    });
    let called: [IpAddr; 2] = ["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()];
    for (listen, called) in [("0.0.0.0:0", &called[..1]), ("[::]:0", &called[..])] {
        let far = host.run(move || open(listen, KERNEL));
        far.report_own_addresses().unwrap();
        let port = far.address().unwrap().port();
        let mut receiver = far.receiver();
        for &called in called {
            let near = open(if called.is_ipv4() { "10.0.0.1:0" } else { "[fd00::1]:0" }, KERNEL);
            let mut answers = near.receiver();
            near.send_to(b"call", (called, port).into()).unwrap();
            let to = near.address().unwrap();
            let own = until("the call", || {
                receiver.fill().unwrap();
                let record = receiver.records().next()?;
                assert_eq!(record.from, to);
                Some(record.own)
            });
            assert_eq!(own, Some(called));
            let (mut sender, mut tally) = (far.sender(), Tally::default());
            let mut destination = Destination::new(to, 0);
            // One that is gone counts for nothing: the answer comes all the same.
            let gone = if called.is_ipv4() { "10.0.0.77" } else { "fd00::77" }.parse().unwrap();
            for (own, expected) in [(own, Some(called)), (Some(gone), None)] {
                far.send_from(own, b"answer", to).unwrap();
                destination.leave_from(own);
                let mut batch = sender.batch(&mut destination, &mut tally);
                for _ in 0..2 {
                    batch.room(6).copy_from_slice(b"answer");
                    batch.commit(6, Codepoint::NotEct);
                    batch.frame(6);
                }
                batch.send();
                let mut from = Vec::new();
                until("three answers", || {
                    answers.fill().unwrap();
                    from.extend(answers.records().map(|record| record.from.ip()));
                    (from.len() == 3).then_some(())
                });
                assert!(expected.is_none_or(|expected| from == [expected; 3]), "{from:?}");
                assert!(expected.is_some() || !from.contains(&gone), "{from:?}");
            }
            assert_eq!((tally.frames, &tally.drops[..]), (4, &[][..]));
        }
    }
}

#[test]
fn a_port_that_somebody_has_is_not_shared() {
    enter();
    for sockets in [1, 2] {
        let ours = udp::open("127.0.0.1:0".parse().unwrap(), sockets, KERNEL).unwrap();
        let address = ours[0].address().unwrap();
        assert!(udp::open(address, 1, KERNEL).is_err());
        assert!(udp::open(address, 2, KERNEL).is_err());
        assert!(UdpSocket::bind(address).is_err());
    }
}

#[test]
fn where_there_is_no_way_frames_are_dropped_with_a_reason() {
    enter();
    let near = open("0.0.0.0:0", KERNEL);
    for to in ["192.0.2.1:9", "[2001:db8::1]:9"] {
        let mut to = Destination::new(to.parse().unwrap(), 0);
        let tally = send(&near, &mut to, &unmarked((0..70).map(|seed| record(1000, seed))));
        assert_eq!((tally.frames, &tally.drops[..]), (0, &[(DropReason::PortDown, 70)][..]));
    }
}

#[test]
fn a_full_socket_drops_what_it_has_no_room_for() {
    let host = hosts();
    let (far, addresses) = open_far(&host, KERNEL);
    let near = open("[::]:0", KERNEL);
    // Nothing leaves the device, so that the socket keeps what is sent.
    ip("link set u0 txqueuelen 1000");
    ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:09 dev u0");
    tc("qdisc add dev u0 root tbf rate 8kbit burst 1600 limit 100000000");
    set(&near.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, 200_000);
    let records = unmarked((0..600).map(|seed| record(1400, seed)));
    let tally = send(&near, &mut Destination::new(addresses[0], 0), &records);
    let [(reason, dropped)] = tally.drops[..] else { panic!("{tally:?}") };
    assert_eq!(reason, DropReason::QueueFull);
    assert!(tally.frames > 0 && tally.frames + dropped == 600, "{tally:?}");
    drop(far);
}

fn tc(arguments: &str) {
    let output =
        std::process::Command::new("tc").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "tc {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
