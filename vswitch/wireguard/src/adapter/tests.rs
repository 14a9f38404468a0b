mod any_input;

use super::*;
use crate::test::{echo, ip, packet, tcp, udp};

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 5];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
const ALL: [u8; 6] = [0xff; 6];
const NOBODY: [u8; 6] = [0; 6];
const NOW: Duration = Duration::from_secs(1000);

const ALICE: &str = "10.10.0.201";
const ALICE6: &str = "fd00::201";
const BOB: &str = "10.10.0.202";
const SELF: &str = "10.10.0.1";
const SELF6: &str = "fd00::1";
const WEB: &str = "10.10.0.5";
const WEB6: &str = "fd00::5";

fn alice() -> PeerId {
    PeerId::new(1).unwrap()
}

fn bob() -> PeerId {
    PeerId::new(2).unwrap()
}

/// Alice has single addresses of the VLAN, Bob one and a network behind it.
fn allowed() -> AllowedIps {
    let networks = [
        ("10.10.0.201/32", alice()),
        ("fd00::201/128", alice()),
        ("10.10.0.202/32", bob()),
        ("192.168.7.0/24", bob()),
    ];
    networks.into_iter().map(|(network, peer)| (network.parse().unwrap(), peer)).collect()
}

fn adapter() -> Adapter {
    Adapter::new(AdapterConfig {
        mac: MacAddr::new(OURS),
        addresses: vec!["10.10.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()],
        gateway_v4: Some(Ipv4Addr::new(10, 10, 0, 254)),
        gateway_v6: None,
        mtu: 1420,
        vlan_mtu: 1500,
    })
}

fn frame(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&to[..], &from, &ethertype, packet].concat()
}

fn arp(
    to: [u8; 6],
    from: [u8; 6],
    operation: u8,
    sender: ([u8; 6], &str),
    target: &str,
) -> Vec<u8> {
    let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
    let head = [&to[..], &from, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    [&head[..], &sender.0, &ip(sender.1), &NOBODY, &ip(target)].concat()
}

/// A message of neighbour discovery with one option.
fn nd(
    mac: [[u8; 6]; 2],
    ips: [&str; 2],
    kind: u8,
    flags: u8,
    target: &str,
    option: Option<[u8; 6]>,
) -> Vec<u8> {
    let target = target.parse::<Ipv6Addr>().unwrap().octets();
    let option_kind = if kind == 135 { 1 } else { 2 };
    let option = option.map(|mac| [&[option_kind, 1][..], &mac].concat()).unwrap_or_default();
    let message = [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target, &option].concat();
    let mut packet = packet(ips[0], ips[1], 58, &message, Some(2));
    packet[7] = 255;
    frame(mac[0], mac[1], &packet)
}

/// What came out: where it went, and what it was.
#[derive(Debug, PartialEq, Eq)]
struct Happened {
    onward: Result<Onward, Refusal>,
    said: Vec<(To, Vec<u8>)>,
}

fn said(out: &Outbox) -> Vec<(To, Vec<u8>)> {
    out.iter().map(|(to, bytes)| (to, bytes.to_vec())).collect()
}

fn from_vlan(adapter: &mut Adapter, frame: &mut [u8]) -> Happened {
    let mut out = Outbox::default();
    let onward = adapter.forward_frame(NOW, frame, None, &allowed(), &mut out);
    Happened { onward, said: said(&out) }
}

fn from_peer(adapter: &mut Adapter, peer: PeerId, packet: &[u8]) -> (Happened, Vec<u8>) {
    let mut out = Outbox::default();
    let mut room = [&[0; 14][..], packet].concat();
    let onward = adapter.forward_packet(NOW, peer, &mut room, &allowed(), &mut out);
    (Happened { onward, said: said(&out) }, room)
}

/// Has the adapter know a neighbour.
fn meet(adapter: &mut Adapter, ip: &str, mac: [u8; 6]) {
    let mut question = arp(ALL, mac, 1, (mac, ip), SELF);
    assert_eq!(from_vlan(adapter, &mut question).onward, Ok(Onward::Done));
}

/// One hop less.
fn passed(mut packet: Vec<u8>) -> Vec<u8> {
    crate::packet::pass_router(&mut packet);
    packet
}

#[test]
fn arp_is_answered_for_itself_and_for_peers() {
    let reply = |ip: &str, to: &str| {
        let mut reply = arp(HOST, OURS, 2, (OURS, ip), to);
        reply[32..38].copy_from_slice(&HOST);
        reply.resize(60, 0);
        vec![(To::Vlan, reply)]
    };
    #[rustfmt::skip]
    let table = [
        ("own address",        arp(ALL, HOST, 1, (HOST, WEB), SELF),           Ok(reply(SELF, WEB))),
        ("asked directly",     arp(OURS, HOST, 1, (HOST, WEB), SELF),          Ok(reply(SELF, WEB))),
        ("peer's address",     arp(ALL, HOST, 1, (HOST, WEB), ALICE),          Ok(reply(ALICE, WEB))),
        ("probe of a peer's",  arp(ALL, HOST, 1, (HOST, "0.0.0.0"), ALICE),    Ok(reply(ALICE, "0.0.0.0"))),
        ("another host's",     arp(ALL, HOST, 1, (HOST, WEB), "10.10.0.9"),    Err(Refusal::NotForUs)),
        ("behind a peer",      arp(ALL, HOST, 1, (HOST, WEB), "192.168.7.1"),  Err(Refusal::NotForUs)),
        ("announcement",       arp(ALL, HOST, 1, (HOST, WEB), WEB),            Err(Refusal::NotForUs)),
        ("claims ours",        arp(ALL, HOST, 1, (HOST, SELF), SELF),          Err(Refusal::BadSource)),
        ("claims a peer's",    arp(ALL, HOST, 1, (HOST, ALICE), ALICE),        Err(Refusal::BadSource)),
        ("foreign sender",     arp(ALL, HOST, 1, (ROUTER, WEB), SELF),         Err(Refusal::BadSource)),
        ("from ourselves",     arp(ALL, OURS, 1, (OURS, SELF), ALICE),         Err(Refusal::BadSource)),
        ("RARP",               arp(ALL, HOST, 3, (HOST, WEB), SELF),           Err(Refusal::Malformed)),
        ("to somebody else",   arp(ROUTER, HOST, 1, (HOST, WEB), SELF),        Err(Refusal::NotForUs)),
        ("cut short",          arp(ALL, HOST, 1, (HOST, WEB), SELF)[..41].to_vec(), Err(Refusal::Malformed)),
    ];
    for (name, mut question, expected) in table {
        let happened = from_vlan(&mut adapter(), &mut question);
        let got = happened.onward.map(|_| happened.said);
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn a_peer_that_has_the_whole_vlan_or_more_does_not_take_it_over() {
    for network in ["10.10.0.0/24", "10.0.0.0/8", "0.0.0.0/0"] {
        let allowed: AllowedIps = [(network.parse().unwrap(), alice())].into_iter().collect();
        let mut out = Outbox::default();
        let mut question = arp(ALL, HOST, 1, (HOST, WEB), "10.10.0.9");
        let asked = adapter().forward_frame(NOW, &mut question, None, &allowed, &mut out);
        assert_eq!(asked, Err(Refusal::NotForUs), "{network}");
        assert_eq!(
            adapter().route("10.10.0.9".parse().unwrap(), &allowed),
            Route::Vlan("10.10.0.9".parse().unwrap())
        );
    }
}

#[test]
fn a_peer_that_is_allowed_half_the_vlan_does_not_take_the_way_out_of_it_over() {
    let mut adapter = adapter();
    let networks = [("10.10.0.128/25", alice()), ("10.10.0.254/32", alice())];
    let allowed: AllowedIps =
        networks.iter().map(|(network, peer)| (network.parse().unwrap(), *peer)).collect();
    let mut out = Outbox::default();
    let mut question = arp(ALL, HOST, 1, (HOST, WEB), "10.10.0.254");
    let asked = adapter.forward_frame(NOW, &mut question, None, &allowed, &mut out);
    assert_eq!(asked, Err(Refusal::NotForUs));
    let mut packet = [&[0; 14][..], &udp(ALICE, "8.8.8.8", b"x")].concat();
    let waits = adapter.forward_packet(NOW, alice(), &mut packet, &allowed, &mut out);
    assert_eq!(waits, Ok(Onward::Done));
    // What the gateway says of itself is believed, and what it sends goes on.
    out.clear();
    let mut answer = arp(OURS, ROUTER, 2, (ROUTER, "10.10.0.254"), SELF);
    let heard = adapter.forward_frame(NOW, &mut answer, None, &allowed, &mut out);
    assert_eq!((heard, said(&out).len()), (Ok(Onward::Done), 1));
    let mut bytes = frame(OURS, ROUTER, &udp("10.10.0.254", ALICE, b"x"));
    let onward = adapter.forward_frame(NOW, &mut bytes, None, &allowed, &mut out);
    assert_eq!(onward, Ok(Onward::Peer(alice(), 29)));
}

#[test]
fn solicitations_are_answered_for_itself_and_for_peers() {
    let group = [0x33, 0x33, 0xff, 0, 2, 1];
    let answer = |flags, target: &str, asker: &str| {
        vec![(To::Vlan, nd([HOST, OURS], [target, asker], 136, flags, target, Some(OURS)))]
    };
    let to_all = |flags, target: &str| {
        let macs = [[0x33, 0x33, 0, 0, 0, 1], OURS];
        vec![(To::Vlan, nd(macs, [target, "ff02::1"], 136, flags, target, Some(OURS)))]
    };
    let own_link_local = "fe80::1";
    assert_eq!(
        adapter().link_local,
        own_link_local.replace("::1", "::ff:fe00:1").parse::<Ipv6Addr>().unwrap()
    );
    let asked = |ips: [&str; 2], target: &str| nd([group, HOST], ips, 135, 0, target, Some(HOST));
    let unanswered = |name, frame: Vec<u8>, refusal| (name, frame, Err(refusal));
    let broken = |at: usize, byte: u8| {
        let mut frame = asked([WEB6, "ff02::1:ff00:1"], SELF6);
        frame[at] = byte;
        frame
    };
    #[rustfmt::skip]
    let table = [
        ("own address",     asked([WEB6, "ff02::1:ff00:1"], SELF6),          Ok(answer(0xe0, SELF6, WEB6))),
        ("by link-local",   asked(["fe80::5", "ff02::1:ff00:1"], SELF6),     Ok(answer(0xe0, SELF6, "fe80::5"))),
        ("peer's address",  asked([WEB6, "ff02::1:ff00:201"], ALICE6),       Ok(answer(0xc0, ALICE6, WEB6))),
        ("directly",        nd([OURS, HOST], [WEB6, SELF6], 135, 0, SELF6, None), Ok(answer(0xe0, SELF6, WEB6))),
        ("own link-local",  asked([WEB6, "ff02::1:ff00:1"], "fe80::ff:fe00:1"), Ok(answer(0xe0, "fe80::ff:fe00:1", WEB6))),
        ("DAD of a peer's", nd([group, HOST], ["::", "ff02::1:ff00:201"], 135, 0, ALICE6, None), Ok(to_all(0x80, ALICE6))),
        unanswered("another host's", asked([WEB6, "ff02::1:ff00:9"], "fd00::9"), Refusal::NotForUs),
        unanswered("DAD with an option", asked(["::", "ff02::1:ff00:201"], ALICE6), Refusal::Malformed),
        unanswered("claims a peer's", asked([ALICE6, "ff02::1:ff00:1"], SELF6), Refusal::BadSource),
        unanswered("foreign option", nd([group, HOST], [WEB6, "ff02::1:ff00:1"], 135, 0, SELF6, Some(ROUTER)), Refusal::BadSource),
        unanswered("forwarded", broken(21, 254), Refusal::Malformed),
        unanswered("checksum", broken(57, 1), Refusal::Malformed),
        unanswered("option of no length", broken(79, 0), Refusal::Malformed),
    ];
    for (name, mut question, expected) in table {
        let happened = from_vlan(&mut adapter(), &mut question);
        let got = happened.onward.map(|_| happened.said);
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn packets_for_peers_leave_to_them() {
    #[rustfmt::skip]
    let table = [
        ("a peer's address", udp(WEB, ALICE, b"x"), alice()),
        ("another peer's",   udp(WEB, BOB, b"x"), bob()),
        ("behind a peer",    udp(WEB, "192.168.7.9", b"x"), bob()),
        ("from elsewhere",   udp("8.8.8.8", ALICE, b"x"), alice()),
        ("IPv6",             udp(WEB6, ALICE6, b"x"), alice()),
        ("as large as fits", udp(WEB, ALICE, &[7; 1392]), alice()),
    ];
    for (name, packet, peer) in table {
        let mut bytes = [&frame(OURS, HOST, &packet)[..], &[0; 7]].concat();
        let happened = from_vlan(&mut adapter(), &mut bytes);
        assert_eq!(happened.onward, Ok(Onward::Peer(peer, packet.len())), "{name}");
        assert_eq!(happened.said, [], "{name}");
        assert_eq!(bytes[14..14 + packet.len()], passed(packet), "{name}");
    }
}

#[test]
fn what_does_not_go_to_a_peer_is_refused_with_its_reason_and_answered_as_routers_do() {
    let hops = |packet: Vec<u8>, hops: u8| {
        let at = if packet[0] >> 4 == 4 { 8 } else { 7 };
        let mut packet = packet;
        packet[at] = hops;
        if at == 8 { ip::fixed(packet) } else { packet }
    };
    // What ICMP says: type, code and second word.
    let error = |kind: u8, code: u8, word: u32| Some((kind, code, word));
    let icmp_error = packet(WEB, ALICE, 1, &[3, 0, 0, 0, 0, 0, 0, 0], Some(2));
    let later_fragment = {
        let mut packet = hops(udp(WEB, ALICE, &[7; 40]), 1);
        packet[6..8].copy_from_slice(&[0, 9]);
        ip::fixed(packet)
    };
    #[rustfmt::skip]
    let table = [
        ("too big",            OURS, udp(WEB, ALICE, &[7; 1393]),      Refusal::TooBig,    error(3, 4, 1420)),
        ("too big, IPv6",      OURS, udp(WEB6, ALICE6, &[7; 1393]),    Refusal::TooBig,    error(2, 0, 1420)),
        ("last hop",           OURS, hops(udp(WEB, ALICE, b"x"), 1),   Refusal::Expired,   error(11, 0, 0)),
        ("last hop, IPv6",     OURS, hops(udp(WEB6, ALICE6, b"x"), 1), Refusal::Expired,   error(3, 0, 0)),
        ("no hop",             OURS, hops(udp(WEB, ALICE, b"x"), 0),   Refusal::Expired,   error(11, 0, 0)),
        ("no route",           OURS, udp(WEB6, "2001:db8::1", b"x"),   Refusal::NoRoute,   error(1, 0, 0)),
        ("to the gateway",     OURS, udp(WEB, "8.8.8.8", b"x"),        Refusal::NoRoute,   error(3, 0, 0)),
        ("to the VLAN",        OURS, udp(WEB, "10.10.0.9", b"x"),      Refusal::NoRoute,   error(3, 0, 0)),
        ("no service",         OURS, udp(WEB, SELF, b"x"),             Refusal::NotServed, error(3, 3, 0)),
        ("no service, IPv6",   OURS, tcp(WEB6, SELF6, 2, &[], b""),    Refusal::NotServed, error(1, 4, 0)),
        ("about an error",     OURS, hops(icmp_error, 1),              Refusal::Expired,   None),
        ("about a fragment",   OURS, later_fragment,                   Refusal::Expired,   None),
        ("from a peer's",      OURS, udp(BOB, ALICE, b"x"),            Refusal::BadSource, None),
        ("from ours",          OURS, udp(SELF, ALICE, b"x"),           Refusal::BadSource, None),
        ("from a group",       OURS, udp("224.0.0.5", ALICE, b"x"),    Refusal::BadSource, None),
        ("from nobody",        OURS, udp("0.0.0.0", ALICE, b"x"),      Refusal::BadSource, None),
        ("to a group",         OURS, udp(WEB, "224.0.0.5", b"x"),      Refusal::Multicast, None),
        ("to the network",     OURS, udp(WEB, "10.10.0.255", b"x"),    Refusal::Multicast, None),
        ("link-local",         OURS, udp("fe80::5", ALICE6, b"x"),     Refusal::NoRoute,   None),
        ("to all hosts",       ALL,  udp(WEB, "255.255.255.255", b"x"), Refusal::NotForUs, None),
        ("another host's",     ROUTER, udp(WEB, ALICE, b"x"),          Refusal::NotForUs,  None),
    ];
    for (name, to, packet, refusal, error) in table {
        let happened = from_vlan(&mut adapter(), &mut frame(to, HOST, &packet));
        assert_eq!(happened.onward, Err(refusal), "{name}");
        assert_eq!(happened.said.len(), usize::from(error.is_some()), "{name}");
        if let Some((kind, code, word)) = error {
            let (to, bytes) = &happened.said[0];
            assert_eq!(*to, To::Vlan, "{name}");
            assert_eq!((&bytes[..6], &bytes[6..12]), (&HOST[..], &OURS[..]), "{name}");
            let read = Packet::read(&bytes[14..]).unwrap();
            let message = &bytes[14 + read.payload..];
            assert_eq!((message[0], message[1]), (kind, code), "{name}");
            assert_eq!(message[4..8], word.to_be_bytes(), "{name}");
            assert_eq!(read.destination, Packet::read(&packet).unwrap().source, "{name}");
        }
    }
}

#[test]
fn frames_that_lie_are_malformed() {
    let good = frame(OURS, HOST, &udp(WEB, ALICE, &[7; 20]));
    let table = [
        ("short", good[..13].to_vec()),
        ("header alone", good[..14].to_vec()),
        ("cut short", good[..60].to_vec()),
        ("another version", [&good[..12], &[0x86, 0xdd], &good[14..]].concat()),
    ];
    for (name, mut frame) in table {
        assert_eq!(from_vlan(&mut adapter(), &mut frame).onward, Err(Refusal::Malformed), "{name}");
    }
}

#[test]
fn a_packet_that_may_be_cut_arrives_in_pieces() {
    let mut packet = udp(WEB, ALICE, &[7; 2000]);
    packet[6] = 0;
    let packet = ip::fixed(packet);
    let happened = from_vlan(&mut adapter(), &mut frame(OURS, HOST, &packet));
    assert_eq!(happened.onward, Ok(Onward::Done));
    let lens: Vec<_> = happened.said.iter().map(|(to, bytes)| (*to, bytes.len())).collect();
    assert_eq!(lens, [(To::Peer(alice()), 1420), (To::Peer(alice()), 628)]);
    for (_, fragment) in &happened.said {
        assert_eq!(Packet::read(fragment).unwrap().hops, 63);
    }
}

#[test]
fn a_super_frame_goes_by_what_it_is_cut_into() {
    for (largest, expected) in [(1420, None), (1421, Some(Refusal::TooBig))] {
        let mut out = Outbox::default();
        let mut bytes = frame(OURS, HOST, &tcp(WEB, ALICE, 0x10, &[], &[7; 9000]));
        let onward = adapter().forward_frame(NOW, &mut bytes, Some(largest), &allowed(), &mut out);
        assert_eq!(onward.err(), expected, "{largest}");
        assert_eq!(out.is_empty(), expected.is_none(), "{largest}");
    }
}

#[test]
fn the_adapter_answers_pings_from_both_sides() {
    for (from, to, kinds) in [(WEB, SELF, (8, 0)), (WEB6, SELF6, (128, 129))] {
        let ping = echo(from, to, kinds.0, b"hello");
        let pong = echo(to, from, kinds.1, b"hello");
        let happened = from_vlan(&mut adapter(), &mut frame(OURS, HOST, &ping));
        let expected = vec![(To::Vlan, frame(HOST, OURS, &pong))];
        assert_eq!(happened, Happened { onward: Ok(Onward::Done), said: expected });
    }
    for (from, to, kinds) in [(ALICE, SELF, (8, 0)), (ALICE6, SELF6, (128, 129))] {
        let (happened, _) = from_peer(&mut adapter(), alice(), &echo(from, to, kinds.0, b"hello"));
        let expected = vec![(To::Peer(alice()), echo(to, from, kinds.1, b"hello"))];
        assert_eq!(happened, Happened { onward: Ok(Onward::Done), said: expected });
    }
}

#[test]
fn packets_from_peers_wait_for_their_neighbour_and_follow_each_other() {
    let mut adapter = adapter();
    let packets = [udp(ALICE, WEB, b"1"), udp(ALICE, WEB, b"2")];
    let question = {
        let mut question = arp(ALL, OURS, 1, (OURS, SELF), WEB);
        question.resize(60, 0);
        vec![(To::Vlan, question)]
    };
    assert_eq!(
        from_peer(&mut adapter, alice(), &packets[0]).0,
        Happened { onward: Ok(Onward::Done), said: question }
    );
    assert_eq!(
        from_peer(&mut adapter, alice(), &packets[1]).0,
        Happened { onward: Ok(Onward::Done), said: vec![] }
    );
    let mut answer = arp(OURS, HOST, 2, (HOST, WEB), SELF);
    let happened = from_vlan(&mut adapter, &mut answer);
    let expected: Vec<_> = packets
        .iter()
        .map(|packet| (To::Vlan, frame(HOST, OURS, &passed(packet.clone()))))
        .collect();
    assert_eq!(happened, Happened { onward: Ok(Onward::Done), said: expected });
    let (happened, room) = from_peer(&mut adapter, alice(), &packets[0]);
    assert_eq!(happened, Happened { onward: Ok(Onward::Vlan(packets[0].len())), said: vec![] });
    assert_eq!(room, frame(HOST, OURS, &passed(packets[0].clone())));
}

#[test]
fn ipv6_neighbours_are_asked_and_heard_too() {
    let mut adapter = adapter();
    let packet = udp(ALICE6, WEB6, b"1");
    let group = [0x33, 0x33, 0xff, 0, 0, 5];
    let question = nd([group, OURS], [SELF6, "ff02::1:ff00:5"], 135, 0, WEB6, Some(OURS));
    let (happened, _) = from_peer(&mut adapter, alice(), &packet);
    assert_eq!(happened.said, [(To::Vlan, question)]);
    let mut answer = nd([OURS, HOST], [WEB6, SELF6], 136, 0x60, WEB6, Some(HOST));
    let happened = from_vlan(&mut adapter, &mut answer);
    assert_eq!(happened.said, [(To::Vlan, frame(HOST, OURS, &passed(packet)))]);
}

#[test]
fn a_neighbour_that_never_answers_makes_its_hosts_unreachable() {
    let mut adapter = adapter();
    let packet = udp(ALICE, WEB, b"1");
    from_peer(&mut adapter, alice(), &packet);
    let mut out = Outbox::default();
    for second in 1..=3 {
        adapter.tick(NOW + Duration::from_secs(second), &mut out);
    }
    let said = said(&out);
    let [.., (to, error)] = &said[..] else { panic!("nothing was said") };
    assert_eq!((said.len(), *to), (3, To::Peer(alice())));
    let read = Packet::read(error).unwrap();
    assert_eq!(error[read.payload..][..2], [3, 1]);
    assert_eq!(error[read.payload + 8..], passed(packet));
    let lost: Vec<_> = adapter.take_lost().collect();
    assert_eq!(lost, [(alice(), Refusal::Unreachable, 1)]);
    assert_eq!(adapter.take_lost().count(), 0);
}

#[test]
fn packets_from_peers_are_routed() {
    let mut adapter = adapter();
    meet(&mut adapter, WEB, HOST);
    meet(&mut adapter, "10.10.0.254", ROUTER);
    #[rustfmt::skip]
    let table = [
        ("a host",         alice(), udp(ALICE, WEB, b"x"),              Ok(Onward::Vlan(29)), Some(HOST)),
        ("the gateway",    alice(), udp(ALICE, "8.8.8.8", b"x"),        Ok(Onward::Vlan(29)), Some(ROUTER)),
        ("another peer",   alice(), udp(ALICE, BOB, b"x"),              Ok(Onward::Peer(bob(), 29)), None),
        ("behind a peer",  alice(), udp(ALICE, "192.168.7.9", b"x"),    Ok(Onward::Peer(bob(), 29)), None),
        ("from behind it", bob(),   udp("192.168.7.9", WEB, b"x"),      Ok(Onward::Vlan(29)), Some(HOST)),
        ("no gateway",     alice(), udp(ALICE6, "2001:db8::1", b"x"),   Err(Refusal::NoRoute), None),
        ("back to itself", bob(),   udp(BOB, "192.168.7.9", b"x"),      Err(Refusal::NoRoute), None),
        ("a group",        alice(), udp(ALICE, "224.0.0.251", b"x"),    Err(Refusal::Multicast), None),
        ("all of a group", alice(), udp(ALICE6, "ff02::1", b"x"),       Err(Refusal::Multicast), None),
        ("the network",    alice(), udp(ALICE, "10.10.0.255", b"x"),    Err(Refusal::Multicast), None),
        ("this host",      alice(), udp(ALICE, "127.0.0.1", b"x"),      Err(Refusal::Multicast), None),
        ("link-local",     alice(), udp(ALICE6, "fe80::5", b"x"),       Err(Refusal::NoRoute), None),
        ("too big",        alice(), udp(ALICE, WEB, &[7; 1473]),        Err(Refusal::TooBig), None),
        ("no service",     alice(), udp(ALICE, SELF, b"x"),             Err(Refusal::NotServed), None),
    ];
    for (name, peer, packet, expected, mac) in table {
        let (happened, room) = from_peer(&mut adapter, peer, &packet);
        assert_eq!(happened.onward, expected, "{name}");
        if expected.is_ok() {
            assert_eq!(room[14..], passed(packet), "{name}");
        }
        if let Some(mac) = mac {
            assert_eq!((&room[..6], &room[6..12]), (&mac[..], &OURS[..]), "{name}");
        }
    }
}

#[test]
fn a_source_that_is_not_the_peers_is_dropped_in_silence() {
    let wide: AllowedIps = [("0.0.0.0/0".parse().unwrap(), alice())].into_iter().collect();
    #[rustfmt::skip]
    let table = [
        ("another peer's",   allowed(), udp(BOB, WEB, b"x"),         Refusal::NotAllowed),
        ("a host's",         allowed(), udp(WEB, "10.10.0.9", b"x"), Refusal::NotAllowed),
        ("of no family",     allowed(), udp("fd00::202", WEB6, b"x"), Refusal::NotAllowed),
        ("expired as well",  allowed(), { let mut p = udp(BOB, WEB, b"x"); p[8] = 1; ip::fixed(p) }, Refusal::NotAllowed),
        ("loopback",         wide.clone(), udp("127.0.0.1", WEB, b"x"), Refusal::BadSource),
        ("ours",             wide.clone(), udp(SELF, WEB, b"x"),     Refusal::BadSource),
        ("a group",          wide, udp("224.0.0.1", WEB, b"x"),      Refusal::BadSource),
    ];
    for (name, allowed, packet, refusal) in table {
        let mut out = Outbox::default();
        let mut room = [&[0; 14][..], &packet].concat();
        let onward = adapter().forward_packet(NOW, alice(), &mut room, &allowed, &mut out);
        assert_eq!(onward, Err(refusal), "{name}");
        assert!(out.is_empty(), "{name}");
    }
}

#[test]
fn packets_of_peers_that_lie_are_malformed() {
    let good = udp(ALICE, WEB, &[7; 20]);
    let mut longer = good.clone();
    longer[3] += 1;
    let mut version = good.clone();
    version[0] = 0x55;
    for (name, packet) in [
        ("nothing", vec![]),
        ("one byte", vec![0x45]),
        ("cut short", good[..47].to_vec()),
        ("longer than it is", ip::fixed(longer)),
        ("another version", version),
    ] {
        let (happened, _) = from_peer(&mut adapter(), alice(), &packet);
        assert_eq!(happened.onward, Err(Refusal::Malformed), "{name}");
    }
}

#[test]
fn both_ways_announce_segments_that_fit() {
    let size = |value: u16| [&[2, 4][..], &value.to_be_bytes()].concat();
    let mut adapter = adapter();
    meet(&mut adapter, WEB, HOST);
    let (_, room) = from_peer(&mut adapter, alice(), &tcp(ALICE, WEB, 2, &size(1460), b""));
    assert_eq!(room[14..], passed(tcp(ALICE, WEB, 2, &size(1380), b"")));
    let mut bytes = frame(OURS, HOST, &tcp(WEB, ALICE, 0x12, &size(1460), b""));
    from_vlan(&mut adapter, &mut bytes);
    assert_eq!(bytes[14..], passed(tcp(WEB, ALICE, 0x12, &size(1380), b"")));
}

#[test]
fn a_peer_that_comes_is_announced_with_its_single_addresses_in_the_vlan() {
    let networks: Vec<IpNet> =
        ["10.10.0.201/32", "fd00::201/128", "192.168.7.1/32", "10.10.0.128/25"]
            .map(|network| network.parse().unwrap())
            .to_vec();
    let allowed: AllowedIps = networks.iter().map(|network| (*network, alice())).collect();
    let mut out = Outbox::default();
    adapter().announce_peer(&networks, &allowed, &mut out);
    let mut told = arp(ALL, OURS, 1, (OURS, ALICE), ALICE);
    told.resize(60, 0);
    let macs = [[0x33, 0x33, 0, 0, 0, 1], OURS];
    let told6 = nd(macs, [ALICE6, "ff02::1"], 136, 0xa0, ALICE6, Some(OURS));
    assert_eq!(said(&out), [(To::Vlan, told), (To::Vlan, told6)]);
}

#[test]
fn who_sends_to_a_peer_that_is_away_hears_of_it() {
    let mut out = Outbox::default();
    let packet = udp(WEB, ALICE, b"x");
    adapter().peer_unreachable(NOW, &frame(OURS, HOST, &packet), &mut out);
    adapter().other_unreachable(NOW, bob(), &udp(BOB, ALICE, b"x"), &mut out);
    let said = said(&out);
    assert_eq!(said.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [To::Vlan, To::Peer(bob())]);
    assert_eq!((&said[0].1[..6], &said[0].1[34..36]), (&HOST[..], &[3, 1][..]));
    assert_eq!(said[1].1[20..22], [3, 1]);
}

#[test]
fn who_asks_for_errors_without_end_keeps_nobody_else_from_hearing_of_his() {
    let mut adapter = adapter();
    let far = udp(ALICE6, "2001:db8::1", b"x");
    let answered = (0..1000).filter(|_| !from_peer(&mut adapter, alice(), &far).0.said.is_empty());
    assert!(answered.count() < 100);
    let (from_bob, _) = from_peer(&mut adapter, bob(), &udp(BOB, WEB, &[7; 1473]));
    assert_eq!((from_bob.onward, from_bob.said.len()), (Err(Refusal::TooBig), 1));
    let too_big = frame(OURS, HOST, &udp(WEB, ALICE, &[7; 1393]));
    let answered =
        (0..1000).filter(|_| !from_vlan(&mut adapter, &mut too_big.clone()).said.is_empty());
    assert!((1..100).contains(&answered.count()));
    let mut too_big = frame(OURS, ROUTER, &udp("8.8.8.8", ALICE, &[7; 1393]));
    assert_eq!(from_vlan(&mut adapter, &mut too_big).said.len(), 1);
}

#[test]
fn the_mac_address_comes_from_the_key_and_is_locally_administered() {
    let mac = AdapterConfig::mac_of(&[0xff; 32]);
    assert_eq!(mac.octets(), [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(mac.is_source() && AdapterConfig::mac_of(&[0; 32]).is_source());
}

/// A datagram that routers may cut.
fn cuttable(from: &str, to: &str, payload: usize) -> Vec<u8> {
    let mut packet = udp(from, to, &vec![7; payload]);
    packet[6] = 0;
    ip::fixed(packet)
}

#[test]
fn what_may_be_cut_is_cut_for_where_it_goes() {
    let lens = |happened: &Happened| {
        let said = happened.said.iter();
        said.map(|(to, bytes)| (*to, bytes.len())).collect::<Vec<_>>()
    };
    let mut adapter = adapter();
    meet(&mut adapter, WEB, HOST);
    let (into_vlan, _) = from_peer(&mut adapter, alice(), &cuttable(ALICE, WEB, 3000));
    assert_eq!(into_vlan.onward, Ok(Onward::Done));
    assert_eq!(lens(&into_vlan), [(To::Vlan, 1514), (To::Vlan, 1514), (To::Vlan, 82)]);
    for (_, piece) in &into_vlan.said {
        assert_eq!(
            (&piece[..6], &piece[6..12], &piece[12..14]),
            (&HOST[..], &OURS[..], &[8, 0][..])
        );
        assert_eq!(Packet::read(&piece[14..]).unwrap().hops, 63);
    }
    let (to_bob, _) = from_peer(&mut adapter, alice(), &cuttable(ALICE, BOB, 1500));
    assert_eq!(to_bob.onward, Ok(Onward::Done));
    assert_eq!(lens(&to_bob), [(To::Peer(bob()), 1420), (To::Peer(bob()), 128)]);
    let (whole, _) = from_peer(&mut adapter, alice(), &udp(ALICE, BOB, &[7; 1500]));
    assert_eq!(whole.onward, Err(Refusal::TooBig));
}

#[test]
fn pieces_wait_for_a_neighbour_like_any_packet() {
    let mut adapter = adapter();
    let (happened, _) = from_peer(&mut adapter, alice(), &cuttable(ALICE, WEB, 3000));
    assert_eq!((happened.onward, happened.said.len()), (Ok(Onward::Done), 1));
    let mut answer = arp(OURS, HOST, 2, (HOST, WEB), SELF);
    let lens = from_vlan(&mut adapter, &mut answer).said.into_iter().map(|(_, bytes)| bytes.len());
    assert_eq!(lens.collect::<Vec<_>>(), [1514, 1514, 82]);
}

#[test]
fn the_vlan_carries_what_its_ports_carry() {
    let mut adapter = adapter();
    meet(&mut adapter, WEB, HOST);
    for (mtu, expected) in [(9000, Ok(Onward::Vlan(3028))), (1400, Err(Refusal::TooBig))] {
        adapter.set_vlan_mtu(mtu);
        let (happened, _) = from_peer(&mut adapter, alice(), &udp(ALICE, WEB, &[7; 3000]));
        assert_eq!(happened.onward, expected, "{mtu}");
    }
    // Segments of both directions are to fit the narrower side.
    let syn = tcp(WEB, ALICE, 2, &[2, 4, 0x23, 0], b"");
    let mut syn = frame(OURS, HOST, &syn);
    assert!(from_vlan(&mut adapter, &mut syn).onward.is_ok());
    assert_eq!(syn[14 + 42..14 + 44], 1360_u16.to_be_bytes());
}

#[test]
fn an_echo_that_would_not_fit_on_its_way_back_is_told_so() {
    let ping = echo(ALICE, SELF, 8, &[7; 1400]);
    let (happened, _) = from_peer(&mut adapter(), alice(), &ping);
    assert_eq!((happened.onward, happened.said.len()), (Err(Refusal::TooBig), 1));
    assert_eq!(happened.said[0].1[20..22], [3, 4]);
}
