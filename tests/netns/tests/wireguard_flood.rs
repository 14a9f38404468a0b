//! A flood of what looks like handshakes does not end a client's stream, and does not keep a client that begins anew from
//! getting in. Frames are counted, not time.
//!
//! ```text
//!   web, 10.10.0.5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.1 ══ underlay ══ site b: client 10.10.0.201
//!                                                                          ║
//!                                                                      flooder, in the name of 10.99.1.*
//! ```

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use weft_netns::{
    Client, ClientKey, Datagram, Flow, PATIENCE, Program, Underlay, Watch, each_worker_count,
    pings, until, until_within,
};

const INITIATION: usize = 148;
const MORE: u64 = 4_000_000;

/// One in four is a real initiation of earlier, the others are of the same form, with everything in them spoilt.
fn garbage(number: u64, template: &Datagram) -> Datagram {
    let mut datagram = template.clone();
    let [.., high, low] = number.to_be_bytes();
    datagram.from = SocketAddr::from((Ipv4Addr::new(10, 99, 1, low), 1000 + u16::from(high)));
    if number.is_multiple_of(4) {
        return datagram;
    }
    for (at, byte) in datagram.payload.iter_mut().enumerate().skip(4) {
        *byte ^= number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at as u32 * 7) as u8;
    }
    datagram
}

fn flood(watch: &mut Watch, template: &Datagram, stop: &AtomicBool, sent: &AtomicU64) {
    let mut number = 0;
    while !stop.load(Relaxed) {
        for _ in 0..16 {
            number += 1;
            watch.send(&garbage(number, template));
            sent.fetch_add(1, Relaxed);
        }
        thread::yield_now();
    }
}

/// Ends the flood however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn a_stream_and_a_new_handshake_outlive_a_flood(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let key = ClientKey::new(&sites[1]);
    let text = format!(
        "[port.web]\ntype = \"tap\"\ndevice = \"tap-a\"\nvlan = {{ access = 10 }}\n\
         [wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\"]\n\
         listen = \"[::]:51900\"\nprivate-key-file = \"{}\"\n\
         [wireguard.road.peer.alice]\npublic-key = \"{}\"\nallowed-ips = [\"10.10.0.201/32\"]\n",
        sites[0].key_file().display(),
        key.public(),
    );
    sites[0].start(&text);
    let web = sites[0].host("tap-a", "10.10.0.5/24");
    let mut watch = sites.watch();
    let inside = ["10.10.0.201/32"];
    let client = Client::start(&sites[1], Program::WireguardGo, &inside, &["10.10.0.0/24"]);
    let (endpoint, server) = (sites[0].endpoint().to_string(), sites[0].public_key().to_owned());
    let connect = || {
        let allowed = ["allowed-ips", "10.10.0.0/24", "persistent-keepalive", "1"];
        client.connect(&key, &server, &[&["endpoint", &endpoint][..], &allowed].concat());
    };
    connect();
    let template = watch.expect("an initiation", |datagram| {
        datagram.payload[0] == 1 && datagram.payload.len() == INITIATION
    });
    until("the client reaches the host", || pings(sites[1].space(), "10.10.0.5"));
    let flows = [
        Flow::between(sites[1].space(), web.space(), "10.10.0.5"),
        Flow::between(web.space(), sites[1].space(), "10.10.0.201"),
    ];
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| flood(&mut watch, &template, &stop, &sent));
        let stopped = Stop(&stop);
        until("the flood runs", || sent.load(Relaxed) > 50_000);
        for flow in flows {
            flow.wait_for(MORE);
            flow.finish();
        }
        client.wg(&["set", "wg0", "peer", &server, "remove"]);
        connect();
        until_within("a new handshake gets in", PATIENCE * 4, || {
            pings(sites[1].space(), "10.10.0.5")
        });
        drop(stopped);
    });
    let shown = sites[0].ctl().json("wireguard show road");
    let refused = shown["refused"].as_object().expect("refusals are counted");
    let refused: u64 = refused.values().filter_map(serde_json::Value::as_u64).sum();
    assert!(refused > 1000, "{shown}");
}

each_worker_count!(a_stream_and_a_new_handshake_outlive_a_flood);
