//! Frames of every length from 0 to 70 000 bytes: each is carried or counted as dropped, and nobody else notices.
//!
//! ```text
//!   in ─── stream or TAP, access 10 ┐
//!   one, two ── TAPs, access 10 ────┴ switch
//! ```

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use weft_netns::{
    Kind, Lab, Nic, StreamGuest, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
};

/// Every length that a header, a tag or an MTU makes special, and steps in between.
fn lengths() -> Vec<usize> {
    let mut lengths: Vec<usize> = (0..150).collect();
    lengths.extend((150..1490).step_by(37));
    lengths.extend(1490..1530);
    lengths.extend((1530..70_000).step_by(911));
    for edge in [2048, 4096, 8192, 9014, 16384, 32768, 65535, 65536, 65549, 65550, 65553, 70_000] {
        lengths.extend(edge - 1..=edge + 1);
    }
    lengths
}

/// Tells the others to end, after a panic too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check(kind: Kind, workers: usize) {
    let lab = Lab::with_workers(workers);
    let (mut one, mut two) = (Nic::open(lab.switch(), "one"), Nic::open(lab.switch(), "two"));
    let nic = (kind != Kind::Stream).then(|| Nic::open(lab.switch(), "in"));
    let socket = lab.path("in.sock");
    let attachment = match kind {
        Kind::Netdev => "type = \"netdev\"\ndevice = \"in\"".to_owned(),
        Kind::Xdp => "type = \"netdev\"\ndevice = \"in\"\nio = \"xdp\"".to_owned(),
        Kind::Stream => format!("type = \"stream\"\nsocket = \"{}\"", socket.display()),
    };
    let mut daemon = lab.daemon(&format!(
        "[port.in]\n{attachment}\nvlan = {{ trunk = [10], native = 10 }}\n\
         [port.one]\ntype = \"netdev\"\ndevice = \"one\"\nvlan = {{ access = 20 }}\n\
         [port.two]\ntype = \"netdev\"\ndevice = \"two\"\nvlan = {{ access = 20 }}\n\
         [port.out]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
        lab.path("out.sock").display(),
    ));
    let ctl = daemon.ctl();
    let mut out = StreamGuest::connect(&lab.path("out.sock"));
    let mut wire: Box<dyn Wire> = match nic {
        Some(nic) => Box::new(nic),
        None => Box::new(StreamGuest::connect(&socket)),
    };
    for port in ["in", "one", "two", "out"] {
        ctl.wait_for_state(port, "up");
    }
    let done = AtomicBool::new(false);
    let mut sent = 0;
    thread::scope(|scope| {
        let _end = End(&done);
        scope.spawn(|| {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                let frame = Frame::new(mac(1), mac(2)).text(&format!("number {number}")).bytes();
                one.send(&frame);
                two.expect_nothing_before(&frame);
                number += 1;
            }
            assert!(number > 10);
        });
        for tag in [None, Some(10), Some(4095)] {
            for len in lengths() {
                let whole = Frame::new(mac(3), BROADCAST);
                let whole = tag.map_or(whole.clone(), |vid| whole.tag(vid)).len(70_100).bytes();
                let frame = &whole[..len];
                // A TAP's guest cannot send less than a header.
                if kind == Kind::Netdev && len < 14 {
                    continue;
                }
                // Nor does the kernel hand on a tag with less than two bytes behind its EtherType.
                if kind == Kind::Netdev && tag.is_some() && len < 20 {
                    continue;
                }
                wire.send(frame);
                sent += 1;
                let untagged = len - if tag.is_some() && len >= 18 { 4 } else { 0 };
                let carried = tag != Some(4095)
                    && (14..=1514).contains(&untagged)
                    && (tag.is_none() || len >= 18);
                if carried {
                    let expected = if tag.is_some() {
                        [&frame[..12], &frame[16..]].concat()
                    } else {
                        frame.to_vec()
                    };
                    out.expect_nothing_before(&expected);
                }
            }
        }
    });
    let marker = Frame::new(mac(3), BROADCAST).text("marker").bytes();
    wire.send(&marker);
    out.expect_nothing_before(&marker);
    sent += 1;
    until("every frame is counted", || ctl.port("in")["rx"]["frames"] == sent);
    let port = ctl.port("in");
    let dropped: u64 = port["rx"]["drops"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    let carried = ctl.port("out")["tx"]["frames"].as_u64().unwrap();
    assert_eq!(sent, dropped + carried, "{port}");
    assert!(daemon.is_running());
}

fn into_a_stream_port(workers: usize) {
    check(Kind::Stream, workers);
}

fn into_a_netdev_port(workers: usize) {
    check(Kind::Netdev, workers);
}

weft_netns::each_worker_count!(into_a_stream_port, into_a_netdev_port);
