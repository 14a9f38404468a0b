//! Tunnels at the control API: peers with their state, ports, addresses and traces; pings and resets; changes.
//!
//! ```text
//!   host a, 10.0.0.1 ── tap-a ─ access 10 ─ site a ┐
//!   host b, 10.0.0.2 ── tap-b ─ access 20 ─ site b ┼ underlay
//!   host c, 10.0.0.3 ── tap-c ─ access 30 ─ site c ┘
//! ```

use std::net::UdpSocket;

use serde_json::{Value, json};
use weft_netns::{
    Host, Site, Sites, Underlay, Version, each_worker_count,
    http::{Response, request},
    liar::strange_initiations,
    until, until_some,
};

const CARRIES: &str = "segments = [\"office\"]";

fn switch(site: &Site) -> String {
    let (name, vlan) = (site.name(), 10 * (site.index() + 1));
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{name}\"\nvlan = {{ access = {vlan} }}\n\
         [segment.office]\nid = 5010\nvlan = {vlan}\n"
    )
}

fn host(site: &Site) -> Host {
    site.host(&format!("tap-{}", site.name()), &format!("10.0.0.{}/24", site.index() + 1))
}

#[track_caller]
fn ask(site: &Site, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(&site.daemon().socket(), method, path, &[], &body)
}

/// Asks a peer for an answer, which must be taken for a ping.
#[track_caller]
fn ping(site: &Site, peer: &str, body: &Value) -> Value {
    let answer = ask(site, "POST", &format!("/v1/peers/{peer}/ping"), body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn a_peer_is_shown_with_all_that_is_known(workers: usize) {
    for (version, path_mtu) in [(Version::V4, 1500), (Version::V6, 1488)] {
        let mut sites = Underlay::between(2).version(version).workers(workers).build();
        sites.start(switch, &format!("{CARRIES}\nciphers = [\"chacha20-poly1305\"]"));
        let hosts = [host(&sites[0]), host(&sites[1])];
        hosts[0].wait_for_ping("10.0.0.2");
        sites.wait_for_tunnels();
        let (a, b) = sites.pair();
        let peer = until_some("the path is searched to its end", || {
            Some(a.peer_named("b")).filter(|peer| peer["path-mtu"] == path_mtu)
        });
        assert_eq!(peer["public-key"], b.public_key());
        assert_eq!(peer["endpoint"], b.endpoint().to_string());
        assert_eq!(peer["cipher"], "chacha20-poly1305");
        assert_eq!(peer["segments"], json!(["office"]));
        assert_eq!(peer["problems"], json!([]));
        assert!(peer["handshake-age-seconds"].is_u64(), "{peer}");
        assert!(peer["rtt-ms"].as_f64().is_some_and(|rtt| rtt > 0.0), "{peer}");
        assert_eq!(ask(a, "GET", "/v1/peers/b", &Value::Null).json()["name"], "b");

        // The port of the tunnel counts what the peer is said to have sent and received.
        let before = a.ctl().port("vpn.b");
        assert_eq!((&before["type"], &before["state"]), (&json!("tunnel"), &json!("up")));
        assert_eq!(before["vlan"], json!({ "trunk": [10] }));
        hosts[0].run("ping -c 50 -i 0.002 -q 10.0.0.2");
        until("the pings are counted at the port and at the peer", || {
            let (port, peer) = (a.ctl().port("vpn.b"), a.peer_named("b"));
            ["rx", "tx"].iter().all(|&way| {
                let frames = |view: &Value| view[way]["frames"].as_u64().unwrap();
                frames(&port) >= frames(&before) + 50 && frames(&peer) >= frames(&before) + 50
            })
        });
        let status = a.ctl().json("status");
        assert_eq!(status["peers"][0]["state"], "up");
        assert_eq!(status["segments"][0]["peers"], json!(["b"]));
        assert_eq!(status["vpn"]["public-key"], a.public_key());
        assert_eq!(status["problems"], json!([]));
        assert!(a.ctl().run("peer list").contains(&b.endpoint().to_string()));
    }
}

fn pings_come_back_and_say_why_not(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    sites.start(switch, CARRIES);
    sites.wait_for_tunnels();
    let (a, b) = sites.pair();
    let least = ping(a, "b", &json!({}));
    assert_eq!(
        (&least["size"], &least["endpoint"]),
        (&json!(64), &json!(b.endpoint().to_string()))
    );
    assert!(least["rtt-ms"].as_f64().is_some_and(|rtt| rtt > 0.0), "{least}");
    // The largest that the underlay carries; sizes go by 16.
    let largest = ping(a, "b", &json!({ "size": 1480 - 8 }));
    assert_eq!(largest["size"], 1472);
    assert!(largest["rtt-ms"].is_number(), "{largest}");
    let refused = ping(a, "b", &json!({ "size": 1488 }));
    assert!(refused["reason"].as_str().unwrap().contains("own device"), "{refused}");
    // A path that carries less than the device says keeps silent about it.
    sites.narrow(1400);
    let lost = ping(a, "b", &json!({ "size": 1472, "timeout-ms": 100 }));
    assert_eq!((&lost["size"], lost.get("rtt-ms")), (&json!(1472), None));
    assert!(lost["reason"].as_str().unwrap().contains("within 100 ms"), "{lost}");
    assert!(ping(a, "b", &json!({ "size": 1300 }))["rtt-ms"].is_number());
    a.ctl().run("peer ping b --count 1");

    for (body, status) in [(json!({ "size": 10 }), 400), (json!({ "timeout-ms": 60_000 }), 400)] {
        assert_eq!(ask(a, "POST", "/v1/peers/b/ping", &body).status, status);
    }
    for path in ["/v1/peers/x", "/v1/peers/x/ping", "/v1/peers/x/reset"] {
        let method = if path.ends_with('x') { "GET" } else { "POST" };
        assert_eq!(ask(a, method, path, &json!({})).status, 404);
    }
    // The control plane answers while a ping waits.
    sites.cut(1);
    let (socket, waits) = (a.daemon().socket(), json!({ "timeout-ms": 2000 }).to_string());
    let answers = std::thread::scope(|scope| {
        let asked = scope.spawn(|| request(&socket, "POST", "/v1/peers/b/ping", &[], &waits));
        let mut answers = 0;
        while !asked.is_finished() {
            assert!(a.ctl().json("port list").is_array());
            answers += 1;
        }
        answers
    });
    // One may have come before the ping was asked for, one may have waited for its end.
    assert!(answers > 2, "{answers} answers");
}

#[test]
fn a_reset_ends_the_sessions_and_another_begins() {
    let mut sites = Sites::two();
    sites.start(switch, CARRIES);
    sites.wait_for_tunnels();
    let hosts = [host(&sites[0]), host(&sites[1])];
    hosts[0].wait_for_ping("10.0.0.2");
    for site in [0, 1] {
        let other = ["b", "a"][site];
        let reset = ask(&sites[site], "POST", &format!("/v1/peers/{other}/reset"), &json!({}));
        assert_eq!(reset.status, 200, "{}", reset.body);
        assert!(reset.json()["sessions"].as_u64().unwrap() >= 1, "{}", reset.body);
        sites.wait_for_tunnels();
        hosts[0].wait_for_ping("10.0.0.2");
        hosts[1].wait_for_ping("10.0.0.1");
    }
    // By now each has begun once, and each has the other's timestamp.
    assert_eq!(ask(&sites[0], "POST", "/v1/peers/b/reset", &json!({})).json()["timestamp"], true);
    sites.wait_for_tunnels();
    sites[0].ctl().run("peer reset b");
    hosts[0].wait_for_ping("10.0.0.2");
}

#[test]
fn peers_and_segments_come_and_go_and_stay_in_the_file() {
    let mut sites = Sites::two();
    let vpn = |site: &Site| switch(site) + &site.vpn();
    let text = |site: &Site| vpn(site).replace("[segment.office]", "[segment.old]");
    let (a, b) = sites.pair();
    let texts = [text(a), vpn(b) + &b.waited_for(a, CARRIES)];
    for (index, text) in texts.iter().enumerate() {
        sites[index].start(text);
    }
    let hosts = [host(&sites[0]), host(&sites[1])];
    let (a, b) = sites.pair();
    let changed = |method: &str, path: &str, body: Value| {
        let answer = ask(a, method, path, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let refused = |method: &str, path: &str, body: Value, status: u16, code: &str| {
        let before = a.daemon().config();
        let answer = ask(a, method, path, &body);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)));
        assert_eq!(a.daemon().config(), before);
    };
    changed("DELETE", "/v1/segments/old", Value::Null);
    changed(
        "POST",
        "/v1/segments",
        json!({ "name": "office", "segment": { "id": 5010, "vlan": 10 } }),
    );
    let endpoint = b.endpoint().to_string();
    let peer = json!({ "public-key": b.public_key(), "endpoint": endpoint });
    changed("POST", "/v1/peers", json!({ "name": "b", "peer": peer }));
    a.wait_for_peer("b", "up");
    assert!(!hosts[0].pings("10.0.0.2"), "the peer carries no segment");
    changed("PATCH", "/v1/peers/b", json!({ "peer": { "segments": ["office"] } }));
    hosts[0].wait_for_ping("10.0.0.2");
    assert!(a.daemon().config().contains(&endpoint), "{}", a.daemon().config());

    let again = json!({ "name": "b", "peer": peer });
    refused("POST", "/v1/peers", again, 409, "exists");
    let own = json!({ "name": "me", "peer": { "public-key": a.public_key() } });
    refused("POST", "/v1/peers", own, 422, "invalid-config");
    let secret = json!({ "peer": { "preshared-key-file": "/nonexistent/psk" } });
    refused("PATCH", "/v1/peers/b", secret, 422, "invalid-config");
    refused("DELETE", "/v1/segments/office", Value::Null, 409, "in-use");
    refused("DELETE", "/v1/peers/x", Value::Null, 404, "not-found");
    hosts[0].wait_for_ping("10.0.0.2");

    changed("DELETE", "/v1/peers/b", Value::Null);
    assert_eq!(a.peers(), [] as [Value; 0]);
    assert!(!hosts[0].pings("10.0.0.2"));
    assert!(!a.daemon().config().contains(&endpoint));
}

fn addresses_behind_tunnels_are_traced_to_their_peers(workers: usize) {
    let mut sites = Underlay::between(3).workers(workers).build();
    sites.start(switch, CARRIES);
    sites.wait_for_tunnels();
    let hosts = [host(&sites[0]), host(&sites[1]), host(&sites[2])];
    hosts[0].wait_for_ping("10.0.0.2");
    hosts[0].wait_for_ping("10.0.0.3");
    let ctl = sites[0].ctl();
    let entry = |mac: String| {
        until_some("a peer tells of the address", || {
            let entries = ctl.json("fdb list --vlan 10");
            entries.as_array()?.iter().find(|entry| entry["mac"] == *mac).cloned()
        })
    };
    for (index, name) in [(1, "b"), (2, "c")] {
        let entry = entry(hosts[index].mac());
        assert_eq!((&entry["kind"], &entry["peer"]), (&json!("remote"), &json!(name)));
        assert_eq!(entry["port"], format!("vpn.{name}"));
    }
    assert_eq!(ctl.json("fdb list --port vpn.b").as_array().unwrap().len(), 1);
    let segments = ask(&sites[0], "GET", "/v1/segments", &Value::Null).json();
    assert_eq!(segments[0]["remote-macs"], 2);

    let trace = |port: &str, from: &Host, to: &Host, rest: &str| {
        ctl.json(&format!("trace --port {port} --src {} --dst {} {rest}", from.mac(), to.mac()))
    };
    let there = trace("host", &hosts[0], &hosts[1], "");
    assert_eq!(
        (&there["verdict"], &there["egress"][0]["port"]),
        (&json!("forward"), &json!("vpn.b"))
    );
    assert!(there.to_string().contains("to peer b in segment 5010"), "{there}");
    let here = trace("vpn.b", &hosts[1], &hosts[0], "--tag 10");
    assert_eq!((&here["verdict"], &here["egress"][0]["port"]), (&json!("forward"), &json!("host")));
    let across = trace("vpn.b", &hosts[1], &hosts[2], "--tag 10");
    assert_eq!((&across["verdict"], &across["reason"]), (&json!("drop"), &json!("split-horizon")));
    assert!(across.to_string().contains("behind a tunnel, and the frame came by one"), "{across}");
}

each_worker_count!(
    a_peer_is_shown_with_all_that_is_known,
    pings_come_back_and_say_why_not,
    addresses_behind_tunnels_are_traced_to_their_peers,
);

#[test]
fn what_is_refused_of_nobody_is_counted() {
    let mut sites = Sites::two();
    sites.start(switch, CARRIES);
    sites.wait_for_tunnels();
    let (a, b) = sites.pair();
    let refused = |reason: &str| a.ctl().json("status")["vpn"]["refused"][reason].as_u64();
    assert_eq!(refused("unknown-session"), None);
    let stranger = b.space().enter(|| UdpSocket::bind((b.address(), 0)).unwrap());
    let mut record = [0; 64];
    record[0] = 4;
    stranger.send_to(&record, a.endpoint()).unwrap();
    stranger.send_to(b"nonsense", a.endpoint()).unwrap();
    until("the record of no session is counted", || refused("unknown-session") == Some(1));
    until("the nonsense is counted", || refused("malformed") == Some(1));
    assert_eq!(a.peer_named("b")["refused"], json!({}));
}

#[test]
fn strangers_do_not_fill_the_log() {
    let mut sites = Sites::two();
    sites.start(switch, CARRIES);
    sites.wait_for_tunnels();
    let (a, b) = sites.pair();
    let stranger = b.space().enter(|| UdpSocket::bind((b.address(), 0)).unwrap());
    let refused =
        || a.ctl().json("status")["vpn"]["refused"]["unknown-peer"].as_u64().unwrap_or_default();
    let (few, all) = (16, 160);
    for (at, lot) in strange_initiations(a, all).chunks(few).enumerate() {
        for initiation in lot {
            stranger.send_to(initiation, a.endpoint()).unwrap();
        }
        // So few at once that each is looked at.
        until("they are refused", || refused() == ((at + 1) * few) as u64);
    }
    let told = a.daemon().log().matches("unknown key").count();
    assert!((1..all / 2).contains(&told), "{told} lines");
}

#[test]
fn keys_that_cannot_be_used_are_said_and_leave_the_rest_running() {
    let mut sites = Sites::two();
    let (a, b) = sites.pair();
    let text = switch(a) + &a.vpn().replace("vpn.key", "none.key") + &a.peer(b, CARRIES);
    sites[0].start(&text);
    let a = &sites[0];
    let status = a.ctl().json("status");
    let missing = a.lab().path("none.key").display().to_string();
    assert!(status["problems"].to_string().contains(&missing), "{status}");
    let peer = a.peer_named("b");
    assert_eq!(peer["state"], "down");
    assert!(peer["reason"].as_str().unwrap().contains(&missing), "{peer}");
    assert!(ping(a, "b", &json!({}))["reason"].as_str().unwrap().contains(&missing));
    assert_eq!(a.ctl().port("host")["state"], "up");
}
