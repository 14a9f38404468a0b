//! The stacks of two hosts talk through ports, offloads on: what a stack left undone is carried to the other end,
//! or finished where it cannot be.
//!
//! ```text
//!   host A ─── port ⇄ port ─ … ─ port ⇄ port ─── host B
//! ```

mod lab;

use std::{
    io::Write,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{fd::AsRawFd, unix::net::UnixStream},
    time::Duration,
};

use lab::{
    Host, Passed, RawTap, Tagging, Transfer, enter, ip, jobs_for, open_packet, pass, tag, until,
};
use weft_core::DropReason;
use weft_ports::{Opened, Scratch, Tally, stream, tap};
use weft_vlan::Tpid;

const BYTES: usize = 6 << 20;

/// Two ports and what happens to frames on their way from the left to the right, and back.
struct Hop {
    left: Opened,
    right: Opened,
    rightward: Tagging,
    leftward: Tagging,
}

/// Passes frames both ways over every hop until the transfer is over; returns what passed the first hop rightward
/// and the last one leftward.
fn carry(hops: &mut [Hop], transfer: Transfer) -> [Passed; 2] {
    let mut scratch = Scratch::new();
    let mut passed: Vec<[Passed; 2]> = hops.iter().map(|_| Default::default()).collect();
    while !transfer.is_over() {
        for (hop, [rightward, leftward]) in hops.iter_mut().zip(&mut passed) {
            let Hop { left, right, rightward: there, leftward: back } = hop;
            pass(&mut *left.rx[0], &mut *right.tx[0], &mut scratch, *there, rightward);
            pass(&mut *right.rx[0], &mut *left.tx[0], &mut scratch, *back, leftward);
            left.tx[0].flush(&mut leftward.tally);
            right.tx[0].flush(&mut rightward.tally);
        }
    }
    transfer.check();
    let [first, ..] = &mut passed[0];
    let first = std::mem::take(first);
    let [.., last] = passed.pop().unwrap();
    [first, last]
}

/// Carries TCP both ways, over IPv4 and IPv6, and checks that it came in super-frames of nearly 64 KiB.
fn carry_tcp(hops: &mut [Hop], hosts: [&Host; 2]) {
    let [a, b] = hosts;
    for (client, server, to) in
        [(a, b, "10.0.0.2"), (b, a, "10.0.0.1"), (a, b, "fd00::2"), (b, a, "fd00::1")]
    {
        let transfer = Transfer::begin(client, server, to, BYTES);
        let [rightward, leftward] = carry(hops, transfer);
        let passed = if to.ends_with('2') { rightward } else { leftward };
        assert!(
            passed.longest > 40_000,
            "to {to}: the longest super-frame had {} bytes",
            passed.longest
        );
        assert!(passed.frames < (BYTES / 1448) as u64, "to {to}: {} frames", passed.frames);
    }
}

fn address(a: &Host, b: &Host) {
    a.address(1);
    b.address(2);
}

fn keep(left: Opened, right: Opened) -> Hop {
    Hop { left, right, rightward: Tagging::Keep, leftward: Tagging::Keep }
}

#[test]
fn super_frames_cross_packet_ports_whole() {
    enter();
    let (a, b) = (Host::with_veth("p1"), Host::with_veth("p2"));
    address(&a, &b);
    carry_tcp(&mut [keep(open_packet("p1"), open_packet("p2"))], [&a, &b]);
}

#[test]
fn super_frames_cross_taps_whole() {
    enter();
    let (a, b) = (Host::new(), Host::new());
    let hop = keep(tap::open("t1", 1).unwrap(), tap::open("t2", 1).unwrap());
    a.take("t1");
    b.take("t2");
    address(&a, &b);
    carry_tcp(&mut [hop], [&a, &b]);
}

#[test]
fn super_frames_cross_between_a_tap_and_a_packet_port_whole() {
    enter();
    let (a, b) = (Host::new(), Host::with_veth("p2"));
    let hop = keep(tap::open("t1", 1).unwrap(), open_packet("p2"));
    a.take("t1");
    address(&a, &b);
    carry_tcp(&mut [hop], [&a, &b]);
}

#[test]
fn tagged_super_frames_cross_a_device_whole() {
    enter();
    let (a, b) = (Host::with_veth("p1"), Host::with_veth("p2"));
    ip("link add trunk1 type veth peer name trunk2");
    ip("link set trunk1 up");
    ip("link set trunk2 up");
    let vlan = tag(Tpid::Dot1Q, 10);
    let tagging = Hop {
        left: open_packet("p1"),
        right: open_packet("trunk1"),
        rightward: Tagging::Push(vlan),
        leftward: Tagging::Remove,
    };
    let untagging = Hop {
        left: open_packet("trunk2"),
        right: open_packet("p2"),
        rightward: Tagging::Remove,
        leftward: Tagging::Push(vlan),
    };
    address(&a, &b);
    carry_tcp(&mut [tagging, untagging], [&a, &b]);
}

#[test]
fn a_stream_takes_finished_frames_that_the_far_stack_verifies() {
    enter();
    let (a, b) = (Host::with_veth("p1"), Host::with_veth("p2"));
    address(&a, &b);
    let (near, far) = UnixStream::pair().unwrap();
    let mut hops = [
        keep(open_packet("p1"), stream::attach(near.into()).unwrap()),
        keep(stream::attach(far.into()).unwrap(), open_packet("p2")),
    ];
    for (client, server, to) in [(&a, &b, "10.0.0.2"), (&b, &a, "10.0.0.1"), (&a, &b, "fd00::2")] {
        let transfer = Transfer::begin(client, server, to, BYTES / 4);
        let [rightward, leftward] = carry(&mut hops, transfer);
        let longest = rightward.longest.max(leftward.longest);
        assert!(longest == 0 || longest > 1514, "{longest}");
    }
    // What a stream delivers promises nothing, so every segment above was verified in software; none was bad.
    for host in [&a, &b] {
        let errors = host.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
        let in_csum_errors = counter(&errors, "Tcp:", "InCsumErrors");
        assert_eq!(in_csum_errors, 0);
    }
}

/// Returns a counter of the kernel's table of names and values.
fn counter(table: &str, protocol: &str, name: &str) -> u64 {
    let mut lines =
        table.lines().filter(|line| line.starts_with(protocol)).map(str::split_whitespace);
    let position = lines.next().unwrap().position(|word| word == name).unwrap();
    lines.next().unwrap().nth(position).unwrap().parse().unwrap()
}

const SIZE: usize = 1000;
const COUNT: usize = 40;

/// Makes the content of the datagrams that [`send_datagrams`] sends.
fn datagrams() -> Vec<u8> {
    (0..COUNT * SIZE).map(|position| (position / 7) as u8).collect()
}

/// Sends `COUNT` datagrams of `SIZE` bytes to 10.0.0.2:7000 as one super-frame; returns the socket.
fn send_datagrams(from: &Host) -> UdpSocket {
    from.run(|| {
        let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
        let size = SIZE as libc::c_int;
        // SAFETY: the kernel reads one `int`.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw const size).cast(),
                4,
            )
        };
        assert_eq!(set, 0);
        socket.send_to(&datagrams(), "10.0.0.2:7000").unwrap();
        socket
    })
}

#[test]
fn udp_super_frames_arrive_as_datagrams() {
    enter();
    let (a, b) = (Host::new(), Host::with_veth("p2"));
    let mut hop = keep(tap::open("t1", 1).unwrap(), open_packet("p2"));
    a.take("t1");
    address(&a, &b);
    let receiver = b.run(|| UdpSocket::bind("10.0.0.2:7000").unwrap());
    receiver.set_nonblocking(true).unwrap();
    let _sender = send_datagrams(&a);
    let (mut scratch, mut rightward, mut leftward) =
        (Scratch::new(), Passed::default(), Passed::default());
    let (mut received, mut datagram) = (Vec::new(), [0; 65_536]);
    until("the datagrams", || {
        pass(
            &mut *hop.left.rx[0],
            &mut *hop.right.tx[0],
            &mut scratch,
            Tagging::Keep,
            &mut rightward,
        );
        pass(
            &mut *hop.right.rx[0],
            &mut *hop.left.tx[0],
            &mut scratch,
            Tagging::Keep,
            &mut leftward,
        );
        while let Ok(len) = receiver.recv(&mut datagram) {
            assert_eq!(len, SIZE);
            received.extend_from_slice(&datagram[..len]);
        }
        (received.len() >= COUNT * SIZE).then_some(())
    });
    assert!(received == datagrams());
    assert!(rightward.longest > COUNT * SIZE, "the datagrams did not come as one super-frame");
}

#[test]
fn super_frames_inside_a_tunnel_are_marked_as_lying_and_the_port_goes_on() {
    enter();
    let (a, b) = (Host::with_veth("p1"), Host::with_veth("p2"));
    address(&a, &b);
    let mut hop = keep(open_packet("p1"), open_packet("p2"));
    for (host, near, far) in [(&a, 1, 2), (&b, 2, 1)] {
        host.ip(&format!(
            "link add vx type vxlan id 5 dstport 4789 local 10.0.0.{near} remote 10.0.0.{far} dev eth0"
        ));
        host.ip(&format!("addr add 10.1.0.{near}/24 dev vx"));
        host.ip("link set vx up");
    }
    let _listener = b.run(|| TcpListener::bind("10.1.0.2:80").unwrap());
    let sender = a.begin(|| {
        let mut stream = TcpStream::connect("10.1.0.2:80").unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        // The kernel names the inner segmentation and is silent about the outer headers.
        let _ = stream.write_all(&vec![0; 1 << 20]);
    });
    let (mut scratch, mut back, mut lying) = (Scratch::new(), Passed::default(), 0);
    until("lying super-frames and the sender's end", || {
        let burst = hop.left.rx[0].receive(&mut scratch).unwrap();
        let jobs = jobs_for(&burst, Tagging::Keep);
        let mut tally = Tally::default();
        hop.right.tx[0].send(&burst, &jobs, &mut tally);
        let bad =
            burst.frames().iter().filter(|frame| frame.head.offload().is_err()).count() as u64;
        assert_eq!(tally.drops, Vec::from_iter((bad > 0).then_some((DropReason::BadOffload, bad))));
        lying += bad;
        pass(&mut *hop.right.rx[0], &mut *hop.left.tx[0], &mut scratch, Tagging::Keep, &mut back);
        (lying > 0 && sender.is_finished()).then_some(())
    });
    carry_tcp(&mut [hop], [&a, &b]);
}

#[test]
fn a_super_frame_is_cut_for_a_guest_that_takes_none() {
    enter();
    let host = Host::with_veth("p1");
    host.ip("link set eth0 address 02:00:00:00:00:01");
    host.address(1);
    host.ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0");
    // Its VMM asked its TAP for no offloads.
    let mut guest = RawTap::open("tap0");
    let mut hop = keep(open_packet("p1"), open_packet("tap0"));
    let _sender = send_datagrams(&host);
    let (mut scratch, mut rightward) = (Scratch::new(), Passed::default());
    until("the super-frame", || {
        pass(
            &mut *hop.left.rx[0],
            &mut *hop.right.tx[0],
            &mut scratch,
            Tagging::Keep,
            &mut rightward,
        );
        (rightward.longest > COUNT * SIZE).then_some(())
    });
    assert_eq!(rightward.tally.drops, []);
    let mut received = Vec::new();
    while received.len() < COUNT * SIZE {
        let (metadata, frame) = guest.receive();
        if frame[12..14] == [0x08, 0x00] && frame[23] == 17 {
            assert_eq!((metadata, frame.len()), ([0; 10], 42 + SIZE));
            assert_eq!(
                sum(&[&[0, 17, 0x03, 0xf0], &frame[26..34], &frame[34..]].concat()),
                0xffff,
                "the checksum"
            );
            received.extend_from_slice(&frame[42..]);
        }
    }
    assert!(received == datagrams());
}

/// Adds up 16-bit words in ones' complement. RFC 1071.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| low.into()));
    words.fold(0, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

#[test]
fn a_frame_beyond_64_kib_is_refused_and_not_cut_short() {
    enter();
    let (a, b) = (Host::with_veth("p1"), Host::with_veth("p2"));
    address(&a, &b);
    let mut hop = keep(open_packet("p1"), open_packet("p2"));
    a.ip("link set eth0 gso_max_size 180000");
    let listener = b.run(|| TcpListener::bind("[fd00::2]:80").unwrap());
    let sender = a.begin(|| {
        let mut stream = TcpStream::connect("[fd00::2]:80").unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let _ = stream.write_all(&vec![0; 8 << 20]);
    });
    let reader =
        b.begin(move || std::io::copy(&mut listener.accept().unwrap().0, &mut std::io::sink()));
    let (mut scratch, mut back, mut oversize) = (Scratch::new(), Passed::default(), 0);
    until("a refused frame and the sender's end", || {
        let burst = hop.left.rx[0].receive(&mut scratch).unwrap();
        for &(reason, frames) in burst.refused() {
            assert_eq!(reason, DropReason::Oversize);
            oversize += frames;
        }
        assert!(burst.frames().iter().all(|frame| frame.head.wire_len() <= 70 * 1024));
        hop.right.tx[0].send(&burst, &jobs_for(&burst, Tagging::Keep), &mut Tally::default());
        pass(&mut *hop.right.rx[0], &mut *hop.left.tx[0], &mut scratch, Tagging::Keep, &mut back);
        (oversize > 0 && sender.is_finished()).then_some(())
    });
    drop((hop, reader));
}
