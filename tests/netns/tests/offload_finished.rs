//! What a sender left undone is finished where a frame leaves to a port that takes no promise: super-frames are cut,
//! checksums are right. A receiver of the test's own verifies each checksum, each length and each byte.
//!
//! ```text
//!   host, 10.0.0.1, fd00::1 ── weft0 (tap: TSO, unfinished checksums) ┐
//!                                                                     ├ switch
//!   TCP sink, 10.0.0.2, fd00::2 ── stream port, or TAP on netdev ─────┘
//! ```

use std::{fs, net::IpAddr, time::Instant};

use weft_netns::{
    Daemon, Host, Kind, Lab, Nic, PATIENCE, Process, StreamGuest, TcpSink, Wire,
    frame::{self, mac},
};

const BYTES: u32 = 3_000_000;

fn scene(
    workers: usize,
    kind: Kind,
    tap_vlan: &str,
    far_vlan: &str,
) -> (Lab, Daemon, Host, Box<dyn Wire>) {
    let lab = Lab::with_workers(workers);
    let nic = (kind != Kind::Stream).then(|| Nic::open(lab.switch(), "far"));
    let socket = lab.path("far.sock");
    let far = match kind {
        Kind::Netdev => "type = \"netdev\"\ndevice = \"far\"".to_owned(),
        Kind::Xdp => "type = \"netdev\"\ndevice = \"far\"\nio = \"xdp\"".to_owned(),
        Kind::Stream => format!("type = \"stream\"\nsocket = \"{}\"", socket.display()),
    };
    let daemon = lab.daemon(&format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nvlan = {tap_vlan}\n[port.far]\n{far}\nvlan = {far_vlan}\n"
    ));
    let host = Host::on_tap(&lab, &daemon, "weft0", "10.0.0.1/24");
    host.add_ipv6("fd00::1/64");
    let wire: Box<dyn Wire> = match nic {
        Some(nic) => Box::new(nic),
        None => Box::new(StreamGuest::connect(&socket)),
    };
    daemon.ctl().wait_for_state("far", "up");
    daemon.ctl().wait_for_state("host", "up");
    (lab, daemon, host, wire)
}

fn byte(at: u32) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn stream_into(kind: Kind, workers: usize, target: &str) {
    let (lab, daemon, host, mut wire) = scene(workers, kind, "{ access = 10 }", "{ access = 10 }");
    let file = lab.path("stream");
    fs::write(&file, (0..BYTES).map(byte).collect::<Vec<_>>()).unwrap();
    let address: IpAddr = target.parse().unwrap();
    let family = if address.is_ipv6() {
        format!("TCP6:[{target}]:5000")
    } else {
        format!("TCP4:{target}:5000")
    };
    let sender = Process::start_line(
        host.space(),
        &format!("socat -u -b 262144 OPEN:{} {family}", file.display()),
    );
    let sink = TcpSink { mac: mac(2), address };
    let swallowed = sink.swallow(&mut *wire, byte);
    assert_eq!(swallowed.bytes, BYTES);
    sender.finish();
    let port = daemon.ctl().port("host");
    let (frames, segments) =
        (port["rx"]["frames"].as_u64().unwrap(), u64::from(swallowed.segments));
    assert!(
        frames * 2 < segments,
        "{frames} frames, {segments} segments: the host sent no super-frames"
    );
    let far = daemon.ctl().port("far");
    assert!(far["tx"]["frames"].as_u64().unwrap() < segments, "a super-frame counts once: {far}");
    let lost = &far["tx"]["drops"]["queue-full"];
    assert!(lost.is_null(), "more was on its way than a port keeps for its reader: {far}");
}

fn tcp4_into_a_stream_port(workers: usize) {
    stream_into(Kind::Stream, workers, "10.0.0.2");
}

fn tcp6_into_a_stream_port(workers: usize) {
    stream_into(Kind::Stream, workers, "fd00::2");
}

fn tcp4_into_a_netdev_port(workers: usize) {
    stream_into(Kind::Netdev, workers, "10.0.0.2");
}

fn tcp6_into_a_netdev_port(workers: usize) {
    stream_into(Kind::Netdev, workers, "fd00::2");
}

fn tcp4_into_an_xdp_port(workers: usize) {
    stream_into(Kind::Xdp, workers, "10.0.0.2");
}

fn tcp6_into_an_xdp_port(workers: usize) {
    stream_into(Kind::Xdp, workers, "fd00::2");
}

/// Datagrams whose checksum the host left to its card, through a tag as well.
fn udp_checksums_are_finished(workers: usize) {
    for (far_vlan, tag) in [("{ access = 10 }", None), ("{ trunk = [10] }", Some(10))] {
        let (lab, _daemon, host, mut wire) =
            scene(workers, Kind::Stream, "{ access = 10 }", far_vlan);
        for target in ["10.0.0.2", "fd00::2"] {
            host.run(&format!("ip neigh add {target} lladdr 02:00:00:00:00:02 dev eth0"));
            for len in [1, 2, 17, 1000, 1400] {
                let text = "x".repeat(len);
                let file = lab.write("datagram", &text);
                host.run(&format!("socat -u OPEN:{} UDP:{}:7", file.display(), bracketed(target)));
                let frame = wire.expect("a datagram", &|frame| {
                    frame::behind_tags(frame).is_some_and(|(_, packet)| {
                        packet.first() == Some(&0x45) && packet[9] == 17
                            || packet.first().is_some_and(|first| first >> 4 == 6)
                                && packet[6] == 17
                    })
                });
                let ip = frame::verified_ip(&frame).unwrap();
                assert_eq!(&ip.payload[8..], text.as_bytes());
                let vid = (frame[12..14] == [0x81, 0])
                    .then(|| u16::from_be_bytes([frame[14], frame[15]]));
                assert_eq!(vid, tag);
            }
        }
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// A frame that arrives without a tag from TCP's own stack is cut the same behind the tag of a trunk.
fn super_frames_are_cut_behind_a_tag(workers: usize) {
    let (lab, _daemon, host, mut wire) =
        scene(workers, Kind::Stream, "{ access = 10 }", "{ trunk = [10] }");
    let file = lab.path("stream");
    fs::write(&file, (0..200_000).map(byte).collect::<Vec<_>>()).unwrap();
    host.run("ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0");
    let _sender = Process::start_line(
        host.space(),
        &format!("socat -u OPEN:{} TCP4:10.0.0.2:5000", file.display()),
    );
    let swallowed = TcpSink { mac: mac(2), address: [10, 0, 0, 2].into() }
        .swallow(&mut Tagged(&mut *wire), byte);
    assert_eq!(swallowed.bytes, 200_000);
}

/// A wire whose frames all have the tag of VLAN 10.
struct Tagged<'a>(&'a mut dyn Wire);

impl Wire for Tagged<'_> {
    fn send(&mut self, frame: &[u8]) {
        self.0.send(&[&frame[..12], &[0x81, 0, 0, 10], &frame[12..]].concat());
    }

    fn receive(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        let frame = self.0.receive(deadline.min(Instant::now() + PATIENCE))?;
        assert_eq!(frame[12..16], [0x81, 0, 0, 10], "{}", frame::describe(&frame));
        Some(frame)
    }
}

weft_netns::each_worker_count!(
    tcp4_into_a_stream_port,
    tcp6_into_a_stream_port,
    tcp4_into_a_netdev_port,
    tcp6_into_a_netdev_port,
    tcp4_into_an_xdp_port,
    tcp6_into_an_xdp_port,
    udp_checksums_are_finished,
    super_frames_are_cut_behind_a_tag,
);
