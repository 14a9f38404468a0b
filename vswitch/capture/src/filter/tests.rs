use super::*;
use crate::Way;

const A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

/// A TCP SYN from 10.0.0.1:40000 to 10.0.0.2:80, behind these tags.
fn syn(tags: &[u8]) -> Vec<u8> {
    let mut frame = [&B[..], &A, tags, &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0]);
    frame
}

#[track_caller]
fn matches(filter: &str, frame: &[u8]) -> bool {
    let filter = Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
    filter.matches(&View::new(frame, frame.len() as u32, Way::In))
}

#[test]
fn the_outermost_tag_hides_nothing() {
    let plain = syn(&[]);
    let tagged = syn(&[0x81, 0, 0xa0, 10]);
    let twice = syn(&[0x88, 0xa8, 1, 0x2c, 0x81, 0, 0, 20]);
    // filter, untagged, tagged 10, tagged 300 and 20
    for (filter, expected) in [
        ("", [true, true, true]),
        ("host 10.0.0.1", [true, true, false]),
        ("tcp port 80", [true, true, false]),
        ("vlan", [false, true, true]),
        ("vlan 10", [false, true, false]),
        ("vlan 10 and tcp port 80", [false, true, false]),
        ("vlan 300", [false, false, true]),
        ("vlan 300 and vlan 20", [false, false, true]),
        ("vlan 300 and vlan 20 and dst port 80", [false, false, true]),
        ("vlan 300 and dst port 80", [false, false, false]),
        ("vlan and vlan", [false, false, true]),
        ("not vlan", [true, false, false]),
        ("ether[12:2] = 0x8100", [false, false, true]),
        ("len = 54", [true, true, false]),
        ("inbound", [true, true, true]),
        ("outbound or not tcp", [false, false, true]),
    ] {
        let frames = [&plain, &tagged, &twice];
        assert_eq!(frames.map(|frame| matches(filter, frame)), expected, "{filter}");
    }
}

#[test]
fn and_and_or_bind_equally_from_left_to_right() {
    let frame = syn(&[]);
    for (filter, expected) in [
        ("tcp or udp and udp", false),
        ("tcp or (udp and udp)", true),
        ("udp and udp or tcp", true),
        ("not udp and tcp", true),
        ("not (udp or tcp)", false),
        ("! udp && tcp", true),
        ("not not tcp", true),
        ("port 22 or 80", true),
        ("port 22 or 23", false),
        ("host 10.0.0.9 or 10.0.0.2", true),
        ("src host 10.0.0.2 or 10.0.0.9", false),
        ("src port 80 or not 80", true),
    ] {
        assert_eq!(matches(filter, &frame), expected, "{filter}");
    }
}

#[test]
fn what_was_not_captured_ends_the_filter_with_no() {
    let frame = syn(&[]);
    let cut = |filter: &str, len: usize| {
        let view = View::new(&frame[..len], frame.len() as u32, Way::In);
        Filter::parse(filter).unwrap().matches(&view)
    };
    assert!(cut("tcp dst port 80", 38));
    assert!(!cut("tcp dst port 80", 37));
    assert!(!cut("not tcp dst port 80", 37));
    assert!(cut("ip or tcp dst port 81", 20));
    assert!(cut("len > 50", 14));
}

#[test]
fn mistakes_are_marked_and_told() {
    for (filter, marked, message, help) in [
        ("tcp prot 80", "prot", "two conditions", "join them"),
        ("tpc port 80", "tpc", "`tpc` means nothing", "did you mean `tcp`"),
        ("host web1.example.net", "web1.example.net", "no address", "not looked up"),
        ("host", "", "an address is missing", ""),
        ("port 70000", "70000", "no port", "0 to 65535"),
        ("port 1-10", "1-10", "no port", "portrange"),
        ("tcp and", "", "ends where a condition is missing", ""),
        ("(tcp", "(", "never closed", ""),
        ("tcp)", ")", "nothing was opened", ""),
        ("net 10.0.0.1/8", "8", "bits behind its network's", ""),
        ("net 10.0.0.0/33", "33", "length of 0 to 32", ""),
        ("ether host 10.0.0.1", "10.0.0.1", "no business of Ethernet's", "leave `ether` out"),
        ("host 52:54:00:12:34:56", "52:54:00:12:34:56", "MAC address", "ether host"),
        ("ip host fe80::1", "fe80::1", "IPv6", ""),
        ("arp port 80", "80", "no ports", "tcp, udp and sctp"),
        ("vlan office", "office", "0 to 4095", "--vlan"),
        ("vlan 4096", "4096", "0 to 4095", "--vlan"),
        ("tcp[13", "", "`]` is missing", ""),
        ("tcp[13:3] = 1", "3", "1, 2 or 4", ""),
        ("tcp[13]", "]", "a number alone", "compare it"),
        ("tcp + 1 = 2", "+", "works on numbers", ""),
        ("len / 0 = 2", "0", "divided by 0", ""),
        ("mpls", "mpls", "not known here", ""),
        ("ip broadcast", "broadcast", "broadcast addresses", "ether broadcast"),
        ("tcp; rm", ";", "has no meaning", ""),
        ("tcp \u{1b}[2J", "\u{1b}", "has no meaning", ""),
    ] {
        let error = Filter::parse(filter).expect_err(filter);
        assert_eq!(&filter[error.at.clone()], marked, "{filter}: {error}");
        assert!(error.message.contains(message), "{filter}: {error}");
        assert!(error.help.unwrap_or_default().contains(help), "{filter}");
    }
}

#[test]
fn a_mistake_is_pictured_below_its_place() {
    let text = "host 10.0.0.1 adn port 80";
    let error = Filter::parse(text).unwrap_err();
    assert_eq!(error.picture(text), format!("{text}\n              ^^^"));
    let text = "tcp \u{1b}";
    let error = Filter::parse(text).unwrap_err();
    assert_eq!(error.picture(text), "tcp \u{fffd}\n    ^");
}

#[test]
fn nesting_and_length_are_bounded() {
    let nested = |depth| format!("{}tcp{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(60)).is_ok());
    for text in
        [nested(2000), "not ".repeat(1000) + "tcp", "-".repeat(1000) + "1 = 1", "x".repeat(5000)]
    {
        assert!(Filter::parse(&text).is_err(), "{}", &text[..20]);
    }
    let long = vec!["tcp"; 500].join(" or ");
    assert!(matches(&long, &syn(&[])));
}

proptest::proptest! {
    #[test]
    fn no_text_and_no_frame_panics(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "tcp", "ip6", "host", "10.0.0.1", "::1", "net", "10", "/", "8", "mask", "port", "80", "and", "or", "not", "(", ")",
            "[", "]", ":", "2", "=", "&", "len", "-", "vlan", "src", "dst", "ether", "proto", "4294967295", "<<", "*", "%",
            "broadcast", "portrange", "1-2", "icmp6", "less", "tcp-syn", "inbound",
        ]), 0..12),
        frame in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        if let Ok(filter) = Filter::parse(&words.join(" ")) {
            filter.matches(&View::new(&frame, frame.len() as u32, Way::In));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        if let Err(error) = Filter::parse(&text) {
            error.picture(&text);
        }
    }
}
