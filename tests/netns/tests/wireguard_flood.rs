//! A flood of what looks like handshakes does not end a client's stream, and does not keep a client that begins anew from
//! getting in. Frames are counted, not time.
//!
//! ```text
//!   web, 10.10.0.5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.1 ══ underlay ══ site b: client 10.10.0.201
//!                                                                          ║
//!                                                                      flooder, in the name of 10.99.1.*
//! ```

use weft_netns::{
    Client, ClientKey, Flood, Flow, PATIENCE, Program, Underlay, each_worker_count, pings, until,
    until_within,
};

const INITIATION: usize = 148;
const MORE: u64 = 4_000_000;

fn a_stream_and_a_new_handshake_outlive_a_flood(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let key = ClientKey::new(&sites[1]);
    let text = key.adapter(&sites[0]);
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
    let flood = Flood::of(template);
    flood.beside(&mut watch, || {
        until("the flood runs", || flood.datagrams() > 50_000);
        for flow in flows {
            flow.wait_for(MORE);
            flow.finish();
        }
        // Among so many, the client has to prove its address, and comes again with the cookie that it was given.
        until_within("the client is given a cookie", PATIENCE * 8, || {
            client.wg(&["set", "wg0", "peer", &server, "remove"]);
            connect();
            until_within("a new handshake gets in", PATIENCE * 4, || {
                pings(sites[1].space(), "10.10.0.5")
            });
            client.said().contains("Receiving cookie response")
        });
    });
    let shown = sites[0].ctl().json("wireguard show road");
    let refused = shown["refused"].as_object().expect("refusals are counted");
    let refused: u64 = refused.values().filter_map(serde_json::Value::as_u64).sum();
    assert!(refused > 1000, "{shown}");
}

each_worker_count!(a_stream_and_a_new_handshake_outlive_a_flood);
