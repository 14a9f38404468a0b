use super::*;
use crate::Way;

fn interface(name: &str) -> Interface<'_> {
    Interface { name, description: "port web1, in", snaplen: 256, filter: "tcp port 80" }
}

fn packet<'a>(bytes: &'a [u8], comment: Option<&'a str>) -> Packet<'a> {
    let time = 0x1234_5678_9abc_def0;
    Packet { interface: 0, time, len: 1514, bytes, way: Way::Out, comment }
}

fn stream() -> Vec<u8> {
    let mut out = Vec::new();
    put_section(&mut out, "weftd");
    put_interface(&mut out, &interface("web1:in"));
    put_packet(&mut out, &packet(&[7; 61], Some("dropped: spoofed")));
    put_packet(&mut out, &packet(&[], None));
    let statistics = Statistics { start: 1, end: 2, received: 9, lost: 4, accepted: 5 };
    put_statistics(&mut out, 0, &statistics);
    out
}

fn told(block: &Block<'_>) -> String {
    match block {
        Block::Packet { bytes, time, comment, way, len, .. } => {
            format!("{} of {len} at {time:x} {way:?} {comment:?}", bytes.len())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read_again_however_it_comes() {
    let stream = stream();
    for piece in [1, 3, 64, stream.len()] {
        let mut blocks = Blocks::default();
        let mut seen = Vec::new();
        let mut bytes = Vec::new();
        for piece in stream.chunks(piece) {
            blocks.feed(piece);
            while let Some((block, whole)) = blocks.next().unwrap() {
                seen.push(told(&block));
                bytes.extend_from_slice(whole);
            }
        }
        assert_eq!(
            seen,
            [
                "Section",
                "Interface { name: \"web1:in\" }",
                "61 of 1514 at 123456789abcdef0 Out Some(\"dropped: spoofed\")",
                "0 of 1514 at 123456789abcdef0 Out None",
                "Statistics { interface: 0, lost: 4, accepted: 5 }",
            ]
        );
        assert_eq!((bytes == stream, blocks.waiting()), (true, 0));
    }
}

#[test]
fn every_block_ends_on_four_bytes_and_says_its_length_twice() {
    for len in 0..9 {
        let mut out = Vec::new();
        put_packet(&mut out, &packet(&vec![1; len], Some(&"x".repeat(len))));
        assert_eq!(out.len() % 4, 0);
        assert_eq!(out[4..8], out[out.len() - 4..]);
        assert_eq!(out[4..8], (out.len() as u32).to_ne_bytes());
    }
}

#[test]
fn hostile_texts_are_made_harmless() {
    let mut out = Vec::new();
    put_section(&mut out, "weftd");
    let name = format!("a\x1b[2J\0\u{9b}{}", "ä".repeat(3000));
    put_interface(&mut out, &interface(&name));
    let mut blocks = Blocks::default();
    blocks.feed(&out);
    blocks.next().unwrap();
    let Some((Block::Interface { name }, _)) = blocks.next().unwrap() else {
        panic!("no interface")
    };
    assert!(name.starts_with("a\u{fffd}[2J\u{fffd}\u{fffd}ä"), "{name}");
    assert!(!name.chars().any(char::is_control) && name.len() <= 1024);
}

#[test]
fn what_is_no_pcapng_is_refused_and_never_panics() {
    let stream = stream();
    for at in 0..stream.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut broken = stream.clone();
            broken[at] = value;
            let mut blocks = Blocks::default();
            blocks.feed(&broken);
            while let Ok(Some(_)) = blocks.next() {}
        }
    }
    for start in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[0; 64], &[0xff; 64], &stream[32..]] {
        let mut blocks = Blocks::default();
        blocks.feed(start);
        assert_eq!(blocks.next().map(|_| ()), Err(BrokenPcapng));
    }
}
