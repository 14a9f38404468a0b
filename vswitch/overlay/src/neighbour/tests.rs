use proptest::{collection::vec, prelude::*};

use super::*;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const ALL: [u8; 6] = [0xff; 6];
const IP_A: [u8; 4] = [10, 0, 0, 1];
const IP_B: [u8; 4] = [10, 0, 0, 2];

fn arp(to: [u8; 6], from: [u8; 6], operation: u16, sender: [u8; 6], ips: [[u8; 4]; 2]) -> Vec<u8> {
    let [sender_ip, target_ip] = ips;
    let parts: [&[u8]; 9] = [
        &to,
        &from,
        &[8, 6],
        &ARP_IPV4,
        &operation.to_be_bytes(),
        &sender,
        &sender_ip,
        &[0; 6],
        &target_ip,
    ];
    parts.concat()
}

fn ip6(last: u8) -> Ipv6Addr {
    Ipv6Addr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

/// A message of neighbour discovery from A, with the options given.
fn nd(to: [u8; 6], kind: u8, flags: u8, ips: [Ipv6Addr; 2], options: &[u8]) -> Vec<u8> {
    let [source, target] = ips;
    let len = 24 + options.len() as u8;
    let parts: [&[u8]; 9] = [
        &to,
        &A,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, len, ICMPV6, 255],
        &source.octets(),
        &[0xff; 16],
        &[kind, 0, 0, 0, flags, 0, 0, 0],
        &target.octets(),
        options,
        &[],
    ];
    parts.concat()
}

fn option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

#[test]
fn what_a_frame_says_of_its_sender_is_learned_where_it_is_the_ethernet_source() {
    let none = [0; 4];
    #[rustfmt::skip]
    let table: [(&str, Vec<u8>, Option<IpAddr>); 15] = [
        ("request",        arp(ALL, A, 1, A, [IP_A, IP_B]), Some(IP_A.into())),
        ("reply",          arp(B, A, 2, A, [IP_A, IP_B]), Some(IP_A.into())),
        ("gratuitous",     arp(ALL, A, 1, A, [IP_A, IP_A]), Some(IP_A.into())),
        ("foreign sender", arp(ALL, A, 1, B, [IP_A, IP_B]), None),
        ("probe",          arp(ALL, A, 1, A, [none, IP_B]), None),
        ("broadcast IP",   arp(ALL, A, 1, A, [[255; 4], IP_B]), None),
        ("RARP",           arp(ALL, A, 3, A, [IP_A, IP_B]), None),
        ("group source",   arp(ALL, ALL, 1, ALL, [IP_A, IP_B]), None),
        ("advertisement",  nd(B, 136, 0x60, [ip6(1), ip6(1)], &option(2, A)), Some(ip6(1).into())),
        ("unsolicited",    nd(ALL, 136, 0x20, [ip6(1), ip6(1)], &option(2, A)), Some(ip6(1).into())),
        ("router",         nd(B, 136, 0xe0, [ip6(1), ip6(1)], &option(2, A)), None),
        ("anycast",        nd(B, 136, 0x40, [ip6(1), ip6(1)], &option(2, A)), None),
        ("foreign option", nd(B, 136, 0x60, [ip6(1), ip6(1)], &option(2, B)), None),
        ("no option",      nd(B, 136, 0x60, [ip6(1), ip6(1)], &[]), None),
        ("solicitation",   nd(ALL, 135, 0, [ip6(1), ip6(2)], &option(1, A)), None),
    ];
    for (name, frame, expected) in table {
        assert_eq!(sender(&frame), expected.map(|ip| (MacAddr::new(A), ip)), "{name}");
    }
}

#[test]
fn only_a_plain_question_to_all_is_one() {
    let none = [0; 4];
    let unspecified = Ipv6Addr::UNSPECIFIED;
    let twice = [option(1, A), option(1, A)].concat();
    #[rustfmt::skip]
    let table: [(&str, Vec<u8>, Option<IpAddr>); 15] = [
        ("request",           arp(ALL, A, 1, A, [IP_A, IP_B]), Some(IP_B.into())),
        ("unicast request",   arp(B, A, 1, A, [IP_A, IP_B]), None),
        ("reply",             arp(ALL, A, 2, A, [IP_A, IP_B]), None),
        ("probe",             arp(ALL, A, 1, A, [none, IP_B]), None),
        ("gratuitous",        arp(ALL, A, 1, A, [IP_A, IP_A]), None),
        ("foreign sender",    arp(ALL, A, 1, B, [IP_A, IP_B]), None),
        ("solicitation",      nd(ALL, 135, 0, [ip6(1), ip6(2)], &option(1, A)), Some(ip6(2).into())),
        ("after another",     nd(ALL, 135, 0, [ip6(1), ip6(2)], &[option(14, B), option(1, A)].concat()), Some(ip6(2).into())),
        ("unicast",           nd(B, 135, 0, [ip6(1), ip6(2)], &option(1, A)), None),
        ("DAD",               nd(ALL, 135, 0, [unspecified, ip6(2)], &[]), None),
        ("DAD with option",   nd(ALL, 135, 0, [unspecified, ip6(2)], &option(1, A)), None),
        ("foreign option",    nd(ALL, 135, 0, [ip6(1), ip6(2)], &option(1, B)), None),
        ("option twice",      nd(ALL, 135, 0, [ip6(1), ip6(2)], &twice), None),
        ("option of no size", nd(ALL, 135, 0, [ip6(1), ip6(2)], &[1, 0, 2, 0, 0, 0, 0, 0xa]), None),
        ("advertisement",     nd(ALL, 136, 0x20, [ip6(1), ip6(2)], &option(2, A)), None),
    ];
    for (name, frame, expected) in table {
        let question = Question::read(&frame);
        assert_eq!(question.map(|question| question.target()), expected, "{name}");
        assert!(question.is_none_or(|question| question.asker() == MacAddr::new(A)));
    }
    // Through a router it cannot have come.
    let mut routed = nd(ALL, 135, 0, [ip6(1), ip6(2)], &option(1, A));
    routed[21] = 254;
    assert_eq!(Question::read(&routed), None);
}

#[test]
fn an_arp_answer_is_what_the_host_would_have_said() {
    let question = Question::read(&arp(ALL, A, 1, A, [IP_A, IP_B])).unwrap();
    let answer = question.answer(MacAddr::new(B));
    let mut expected = arp(A, B, 2, B, [IP_B, IP_A]);
    expected[32..38].copy_from_slice(&A);
    expected.resize(60, 0);
    assert_eq!(answer, expected);
    assert_eq!(sender(&answer), Some((MacAddr::new(B), IP_B.into())));
}

#[test]
fn an_advertisement_is_what_the_host_would_have_said() {
    let question = Question::read(&nd(ALL, 135, 0, [ip6(1), ip6(2)], &option(1, A))).unwrap();
    let answer = question.answer(MacAddr::new(B));
    assert_eq!((&answer[..6], &answer[6..12]), (&A[..], &B[..]));
    assert_eq!(sender(&answer), Some((MacAddr::new(B), ip6(2).into())));
    // RFC 4443 §2.3, word for word.
    let pseudo = [&answer[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &answer[54..]].concat();
    assert_eq!(sum(&pseudo), 0xffff);
    assert_eq!(answer[58], 0x60);
}

proptest! {
    #[test]
    fn no_bytes_upset_it(bytes in vec(any::<u8>(), 0..120), start in prop::sample::select(vec![
        vec![], vec![8, 6], vec![8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 40, 58, 255],
    ])) {
        let frame = [&ALL[..], &A, &start, &bytes].concat();
        let _ = sender(&frame);
        if let Some(question) = Question::read(&frame) {
            let answer = question.answer(MacAddr::new(B));
            prop_assert!(answer.len() >= 60);
            prop_assert_eq!(&answer[..6], &question.asker().octets());
        }
    }
}
