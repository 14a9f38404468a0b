//! Filters mean what tcpdump means by them: frames of every sort, filters of every sort, both ask the same.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

use weft_capture::{Filter, View, Way};

const HEADER: usize = 24;
const RECORD: usize = 16;

/// Returns a frame between two hosts, with this EtherType and payload.
fn frame(tags: &[u8], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1], tags, &ethertype.to_be_bytes(), payload]
        .concat()
}

fn ipv4(
    protocol: u8,
    options: usize,
    fragment: u16,
    ends: [[u8; 4]; 2],
    payload: &[u8],
) -> Vec<u8> {
    let words = 5 + options as u8;
    let len = (usize::from(words) * 4 + payload.len()) as u16;
    let mut packet = vec![0x40 | words, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(ends.concat());
    packet.extend(vec![1; options * 4]);
    packet.extend_from_slice(payload);
    packet
}

fn ipv6(next: u8, last: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for last in last {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.push(last);
    }
    packet.extend_from_slice(payload);
    packet
}

fn ports(source: u16, destination: u16, rest: &[u8]) -> Vec<u8> {
    [&source.to_be_bytes(), &destination.to_be_bytes(), rest].concat()
}

/// Packets of every sort, with their EtherTypes.
fn packets() -> Vec<(u16, Vec<u8>)> {
    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 1, 2];
    const GROUP: [u8; 4] = [239, 0, 0, 1];
    let tcp =
        |flags: u8| ports(40000, 80, &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    let udp = ports(53, 5353, &[0, 12, 0, 0, 1, 2, 3, 4]);
    let sctp = ports(7, 80, &[0; 8]);
    let mut packets = vec![];
    for (protocol, payload) in [
        (6, tcp(0x02)),
        (6, tcp(0x12)),
        (6, tcp(0x19)),
        (17, udp.clone()),
        (132, sctp),
        (1, vec![8, 0, 0, 0, 0, 1, 0, 1]),
        (1, vec![3, 1, 0, 0, 0, 0, 0, 0]),
        (2, vec![0x16, 0, 0, 0, 239, 0, 0, 1]),
        (50, vec![0; 16]),
        (47, vec![0; 8]),
    ] {
        packets.push((0x0800, ipv4(protocol, 0, 0x4000, [A, B], &payload)));
        packets.push((0x0800, ipv4(protocol, 0, 0, [B, A], &payload)));
    }
    packets.push((0x0800, ipv4(6, 3, 0, [A, B], &tcp(0x02))));
    packets.push((0x0800, ipv4(17, 0, 0x2000, [A, B], &udp)));
    packets.push((0x0800, ipv4(17, 0, 0x00b9, [A, B], &udp)));
    packets.push((0x0800, ipv4(17, 0, 0, [A, GROUP], &udp)));
    packets.push((0x86dd, ipv6(6, [1, 2], &tcp(0x02))));
    packets.push((0x86dd, ipv6(17, [2, 1], &udp)));
    packets.push((0x86dd, ipv6(58, [1, 2], &[128, 0, 0, 0, 0, 1, 0, 1])));
    packets.push((0x86dd, ipv6(58, [1, 2], &[135, 0, 0, 0, 0, 0, 0, 0])));
    packets.push((0x86dd, ipv6(44, [1, 2], &[&[17, 0, 0, 1, 0, 0, 0, 1], &udp[..]].concat())));
    for operation in [1, 2] {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation, 0x52, 0x54, 0, 0, 0, 1];
        arp.extend(A);
        arp.extend([0; 6]);
        arp.extend(B);
        packets.push((0x0806, arp));
    }
    packets.push((0x88cc, vec![2, 7, 4, 0, 0, 0, 0, 0, 1]));
    packets
}

/// Frames of these tags, some of them cut short, some to groups.
fn frames(tags: &[u8]) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> =
        packets().iter().map(|(ethertype, packet)| frame(tags, *ethertype, packet)).collect();
    let tcp = frames[0].clone();
    for len in [14, 18, 22, 30, 34, 36, 47, 48, 53] {
        frames.push(tcp[..(len + tags.len()).min(tcp.len())].to_vec());
    }
    let mut broadcast = tcp.clone();
    broadcast[..6].fill(0xff);
    let mut group = tcp;
    group[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]);
    frames.extend([broadcast, group]);
    frames
}

const FILTERS: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "esp",
    "ah",
    "pim",
    "not ip",
    "ip or ip6 and tcp",
    "ip6 and tcp or arp",
    "not tcp and not udp",
    "! (tcp or udp)",
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst host 10.0.0.1",
    "src or dst host 10.0.1.2",
    "src and dst host 10.0.0.1",
    "ip host 10.0.0.1",
    "arp host 10.0.0.1",
    "src 10.0.0.1",
    "dst 10.0.1.2 and not arp",
    "host fd00::1",
    "src host fd00::2",
    "ip6 host fd00::1",
    "host 10.0.0.1 or 10.0.1.2",
    "net 10.0.1.0/24",
    "src net 10.0.0.0/24",
    "dst net 10.0.0.0/16",
    "net 10.0.0.0 mask 255.255.0.0",
    "net 10.0.1",
    "net fd00::/64",
    "src net fd00::/127",
    "ip net 10.0.0.0/8",
    "net 0.0.0.0/0",
    "port 80",
    "src port 80",
    "dst port 80",
    "tcp port 80",
    "udp port 53",
    "tcp src port 40000",
    "sctp port 80",
    "port domain",
    "tcp port http or 22",
    "portrange 50-60",
    "udp portrange 5000-6000",
    "tcp dst portrange 1-1023",
    "ip and port 80",
    "ip6 and udp port 5353",
    "not port 80",
    "port 80 or port 53",
    "src port 40000 and dst port 80",
    "ether host 52:54:00:00:00:01",
    "ether src 52:54:00:00:00:01",
    "ether dst 52:54:00:00:00:01",
    "ether broadcast",
    "broadcast",
    "ether multicast",
    "multicast",
    "ip multicast",
    "ip6 multicast",
    "ether proto 0x88cc",
    "ether proto \\ip",
    "ether proto \\arp",
    "ip proto 47",
    "ip proto \\tcp",
    "ip6 proto 58",
    "proto 17",
    "less 60",
    "greater 60",
    "len > 50",
    "len <= 54",
    "len = 54 or len != 54",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[13] = 2",
    "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "tcp[2:2] = 80",
    "tcp[0:2] > 1024",
    "icmp[icmptype] = icmp-echo",
    "icmp[0] = 3 and icmp[1] = 1",
    "icmp6[icmp6type] = 135",
    "icmp6[0] = icmp6-echo",
    "ip[8] < 65",
    "ip[6:2] & 0x1fff = 0",
    "ip[6] & 0x20 != 0",
    "ip[0] & 0xf > 5",
    "ip[2:2] - 20 > 30",
    "ip6[6] = 17",
    "udp[4:2] = 12",
    "arp[6:2] = 1",
    "arp[7] = 2",
    "ether[0] & 1 = 0",
    "ether[12:2] = 0x0806",
    "ether[6:4] = 0x52540000",
    "(ip[0] & 0xf) << 2 = 20",
    "ip[9] * 2 = 12",
    "ip[9] / 3 = 2",
    "ip[9] % 4 = 1",
    "ip[9] ^ 6 = 0",
    "ip[9] | 1 = 7",
    "10 < len",
    "len - 14 = ip[2:2]",
    "tcp[tcp[12] >> 2] = 0",
    "not tcp[13] = 2",
    "ip[500] = 0",
    "not ip[500] = 0",
    "arp or ip[500] = 0",
    "ip6 or not ether[300] = 1",
];

/// Returns which frames tcpdump lets through.
fn by_tcpdump(frames: &[Vec<u8>], filter: &str) -> Vec<Vec<u8>> {
    let mut file = Vec::new();
    // Version 2.4, microseconds, Ethernet.
    for number in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(number.to_le_bytes());
    }
    for frame in frames {
        for number in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(number.to_le_bytes());
        }
        file.extend_from_slice(frame);
    }
    let mut tcpdump = Command::new("tcpdump")
        .args(["-r", "-", "-w", "-", filter])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump can be started: apt-get install tcpdump");
    let mut stdin = tcpdump.stdin.take().unwrap();
    let writer = thread::Builder::new().spawn(move || stdin.write_all(&file)).unwrap();
    let output = tcpdump.wait_with_output().unwrap();
    assert!(output.status.success(), "{filter}: {}", String::from_utf8_lossy(&output.stderr));
    writer.join().unwrap().unwrap();
    let mut passed = Vec::new();
    let mut rest = &output.stdout[HEADER..];
    while !rest.is_empty() {
        let len = u32::from_le_bytes(*rest[8..].first_chunk().unwrap()) as usize;
        passed.push(rest[RECORD..RECORD + len].to_vec());
        rest = &rest[RECORD + len..];
    }
    passed
}

#[track_caller]
fn same(frames: &[Vec<u8>], filter: &str) {
    let parsed = Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    let passes = |frame: &&Vec<u8>| parsed.matches(&View::new(frame, frame.len() as u32, Way::In));
    let ours: Vec<Vec<u8>> = frames.iter().filter(passes).cloned().collect();
    let theirs = by_tcpdump(frames, filter);
    let odd = ours.iter().chain(&theirs).find(|it| ours.contains(it) != theirs.contains(it));
    assert!(odd.is_none() && ours.len() == theirs.len(), "{filter}: {odd:02x?}");
}

#[test]
fn untagged_frames_pass_the_same_filters() {
    let frames = frames(&[]);
    FILTERS.iter().for_each(|filter| same(&frames, filter));
}

#[test]
fn tagged_frames_pass_the_same_filters_behind_their_tags() {
    let once = frames(&[0x81, 0, 0x60, 10]);
    let twice = frames(&[0x88, 0xa8, 1, 0x2c, 0x81, 0, 0, 20]);
    for filter in FILTERS {
        // Lengths and the frame's own bytes count from before the tag there, and from behind it here.
        if ["len", "ether[", "less", "greater"].iter().any(|word| filter.contains(word)) {
            continue;
        }
        same(&once, &format!("vlan 10 and ({filter})"));
        same(&twice, &format!("vlan 300 and vlan 20 and ({filter})"));
    }
    same(&once, "vlan 11");
    same(&once, "not vlan");
    same(&twice, "vlan 300 and vlan 21");
    same(&twice, "vlan and not vlan 20");
}
