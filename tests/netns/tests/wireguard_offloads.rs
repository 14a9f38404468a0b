//! Super-frames of a host on the VLAN are cut once, into packets that a client takes, and many of those cross the underlay as
//! one message; what a client sends in one message becomes a super-frame again. The kernel counts the messages: each is one
//! datagram to it, for whoever cuts and merges himself.
//!
//! ```text
//!   web, 10.10.0.5, fd10::5 ── tap-a (TSO) ─ site a: weftd, wireguard.road 10.10.0.1 ══ underlay ══ site b: a client of
//!                                                                            the test's own, 10.10.0.201, fd10::201
//! ```

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    time::Instant,
};

use weft_netns::{
    ClientKey, Forger, Host, Process, Sites, TcpSink, Underlay, Wire, each_worker_count,
    frame::{self, Frame, Segment, mac},
    send_together, until,
};

const BYTES: u32 = 2_000_000;
/// What the client takes.
const MTU: usize = 1380;
/// The host and the client, over IPv4 and IPv6 inside, and the bytes of the headers in front of a segment's.
const INSIDE: [(&str, &str, usize); 2] =
    [("10.10.0.5", "10.10.0.201", 40), ("fd10::5", "fd10::201", 60)];

struct Scene {
    sites: Sites,
    web: Host,
    forger: Forger,
}

impl Scene {
    fn new(workers: usize) -> Self {
        let mut sites = Underlay::between(2).workers(workers).build();
        let key = ClientKey::new(&sites[1]);
        let text = key.adapter(&sites[0]);
        let text = text.replace("10.10.0.1/24\"", "10.10.0.1/24\", \"fd10::1/64\"");
        let text = text.replace("10.10.0.201/32\"", "10.10.0.201/32\", \"fd10::201/128\"");
        let text = text.replace("listen =", &format!("mtu = {MTU}\nlisten ="));
        sites[0].start(&text);
        let web = sites[0].host("tap-a", "10.10.0.5/24");
        web.add_ipv6("fd10::5/64");
        let mut forger = Forger::at(&sites[1], &key, &sites[0]);
        forger.connect();
        Self { sites, web, forger }
    }
}

/// The client as the end of a wire: frames are sealed without their Ethernet headers.
struct Client<'s> {
    forger: &'s mut Forger,
    longest: usize,
    /// The length of each packet that brought some of a stream.
    lens: Vec<usize>,
    headers: usize,
}

impl Wire for Client<'_> {
    fn send(&mut self, frame: &[u8]) {
        let record = self.forger.seal(&frame[14..]);
        self.forger.send(&record);
    }

    fn receive(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        while Instant::now() < deadline {
            let Some(packet) = self.forger.packet() else { continue };
            let ethertype: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
            self.longest = self.longest.max(packet.len());
            self.lens.extend(Some(packet.len()).filter(|len| *len > self.headers));
            return Some([&[2; 12][..], &ethertype, &packet].concat());
        }
        None
    }
}

/// Sets the flag of a TCP segment over IPv4 by which its identification says nothing: RFC 6864 §4.
fn atomic(mut frame: Vec<u8>) -> Vec<u8> {
    const DONT_FRAGMENT: u8 = 0x40;
    if frame[14] >> 4 == 4 {
        frame[20] |= DONT_FRAGMENT;
        let (sum, carried) = u16::from_be_bytes([frame[24], frame[25]])
            .overflowing_sub(u16::from(DONT_FRAGMENT) << 8);
        frame[24..26].copy_from_slice(&(sum - u16::from(carried)).to_be_bytes());
    }
    frame
}

fn byte(at: u32) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Segments that a cut leaves short end a super-frame: there are no more of them than frames that came in.
fn super_frames_are_cut_once_and_leave_many_in_one_message(workers: usize) {
    let mut scene = Scene::new(workers);
    let file = scene.sites[0].lab().path("stream");
    fs::write(&file, (0..BYTES).map(byte).collect::<Vec<_>>()).expect("a file of the test's own");
    for (_, inside, headers) in INSIDE {
        let address: IpAddr = inside.parse().expect("an address");
        let frames = |scene: &Scene| {
            scene.sites[0].ctl().port("web")["rx"]["frames"].as_u64().expect("frames are counted")
        };
        let (sent, came) = (scene.sites[0].space().counter("UdpOutDatagrams"), frames(&scene));
        let target =
            if address.is_ipv6() { format!("TCP6:[{inside}]") } else { format!("TCP4:{inside}") };
        let line = format!("socat -u -b 262144 OPEN:{} {target}:5000", file.display());
        let sender = Process::start_line(scene.web.space(), &line);
        let mut client =
            Client { forger: &mut scene.forger, longest: 0, lens: Vec::new(), headers };
        let swallowed = TcpSink { mac: mac(2), address }.swallow(&mut client, byte);
        let Client { longest, lens, .. } = client;
        sender.finish();
        assert_eq!(swallowed.bytes, BYTES);
        assert_eq!(longest, MTU, "the longest packet over {inside}");
        let sent = scene.sites[0].space().counter("UdpOutDatagrams") - sent;
        let came = frames(&scene) - came;
        let short = lens.iter().filter(|len| **len < MTU).count() as u64;
        let packets = lens.len() as u64;
        assert!(came * 4 < packets, "{came} frames, {packets} packets: no super-frames");
        assert!(sent * 4 < packets, "{sent} messages, {packets} packets");
        assert!(short <= came, "{came} frames, {short} short packets");
    }
}

/// As QUIC sends: a host hands its card datagrams of one length together.
fn datagrams_of_one_super_frame_leave_as_they_were(workers: usize) {
    const DATAGRAMS: u8 = 40;
    const LEN: usize = 1200;
    let mut scene = Scene::new(workers);
    // Before Linux 6.2 a TAP's kernel cuts them itself.
    let together = scene.web.run("ethtool -k eth0").contains("tx-udp-segmentation: on");
    for (web, inside, _) in INSIDE {
        let to: IpAddr = inside.parse().expect("an address");
        let socket = scene.web.space().enter(|| {
            let socket = UdpSocket::bind((web.parse::<IpAddr>().expect("an address"), 0))?;
            socket.connect((to, 4000)).map(|()| socket)
        });
        let socket = socket.expect("the host has its address");
        let mut client =
            Client { forger: &mut scene.forger, longest: 0, lens: Vec::new(), headers: 0 };
        let mut carried = |wanted: u8| {
            let frame = client.expect("a datagram", &|frame| {
                frame::verified_ip(frame).is_some_and(|ip| {
                    ip.protocol == frame::UDP && ip.destination == to && ip.payload[8] == wanted
                })
            });
            frame::verified_ip(&frame).expect("it was read before").payload[8..].to_vec()
        };
        // The host and the adapter know each other from here on.
        socket.send(&[u8::MAX]).expect("the host's stack takes it");
        assert_eq!(carried(u8::MAX), [u8::MAX]);
        let frames = || scene.sites[0].ctl().port("web")["rx"]["frames"].as_u64();
        let before = frames();
        let datagrams: Vec<_> = (0..DATAGRAMS).map(|number| vec![number; LEN]).collect();
        send_together(&socket, &datagrams);
        for datagram in &datagrams {
            assert!(carried(datagram[0]) == *datagram, "datagram {} over {inside}", datagram[0]);
        }
        // The host asks and answers who is where meanwhile.
        let came = frames().zip(before).map(|(after, before)| after - before);
        let is_one = came.is_some_and(|came| came < u64::from(DATAGRAMS) / 4);
        assert!(is_one || !together, "{came:?} frames over {inside}");
    }
}

fn what_comes_in_one_message_is_one_super_frame(workers: usize) {
    const SEGMENTS: u32 = 40;
    const LEN: usize = 1000;
    let mut scene = Scene::new(workers);
    for (web, inside, headers) in INSIDE {
        let [to, from] = [web, inside].map(|text| text.parse::<IpAddr>().expect("an address"));

        // The adapter knows the host from here on.
        until("the host reaches it", || {
            scene.web.pings(if to.is_ipv6() { "fd10::1" } else { "10.10.0.1" })
        });
        let records: Vec<_> = (0..SEGMENTS)
            .map(|number| {
                let segment = Segment {
                    ports: (4000, 4001),
                    sequence: number * LEN as u32,
                    acknowledgement: 1,
                    flags: 16,
                    options: &[],
                    payload: &[7; LEN],
                };
                let frame = Frame::new(mac(2), mac(4)).tcp(from, to, &segment);
                scene.forger.seal(&atomic(frame.bytes())[14..])
            })
            .collect();
        let octets = if to.is_ipv6() { "Ip6InOctets" } else { "IpExtInOctets" };
        let counted = |scene: &Scene| {
            let messages = scene.sites[0].space().counter("UdpInDatagrams");
            (scene.web.counter("TcpInSegs"), messages)
        };
        let (bytes, (segments, messages)) = (scene.web.counter(octets), counted(&scene));
        scene.forger.send_together(&records);
        let all = (headers + SEGMENTS as usize * LEN) as u64;
        until("all has come", || scene.web.counter(octets) >= bytes + all);
        until("the host has looked at it", || counted(&scene).0 > segments);
        assert_eq!(counted(&scene), (segments + 1, messages + 1), "over {web}");
    }
}

each_worker_count!(
    super_frames_are_cut_once_and_leave_many_in_one_message,
    datagrams_of_one_super_frame_leave_as_they_were,
    what_comes_in_one_message_is_one_super_frame,
);
