//! A flood of what looks like handshakes, from many addresses: a tunnel that stands goes on, a peer that begins anew gets
//! in, and nobody who does not speak for itself is sent more than it sent.
//!
//! ```text
//!   one ── tap-a ─ site a ══ underlay ══ site b ─ tap-b ── two
//!                               ║
//!                           flooder, in the name of 10.99.1.*
//! ```

use weft_netns::{Datagram, Flood, Flow, Site, Sites, Underlay, Watch, each_worker_count, until};

const INITIATION: usize = 148;
const MORE: u64 = 4_000_000;

fn switch(site: &Site) -> String {
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

/// The site's answers to the flooder's addresses leave by a route of their own, so that they can be counted.
fn route_answers(site: &Site) {
    for line in [
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.under.rp_filter=0",
        "ip link add answers type veth peer name nowhere",
        "ip link set nowhere up",
        "ip link set answers arp off up",
        "ip route add 10.99.1.0/24 dev answers",
    ] {
        site.space().run(line);
    }
}

fn answered(site: &Site) -> u64 {
    let text = site.space().run("ip -s -j link show dev answers");
    let links: serde_json::Value = serde_json::from_str(&text).expect("ip writes JSON");
    links[0]["stats64"]["tx"]["bytes"].as_u64().expect("a counter is a number")
}

fn scene(workers: usize) -> (Sites, Watch, Datagram) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let mut watch = sites.watch();
    let carries = "segments = [\"office\"]";
    let (a, b) = sites.pair();
    // Site a begins, so that what it says is for b.
    let texts = [
        [switch(a), a.vpn(), a.peer(b, carries)].concat(),
        [switch(b), b.vpn(), b.waited_for(a, carries)].concat(),
    ];
    for (index, text) in texts.iter().enumerate().rev() {
        sites[index].start(text);
    }
    let initiation = watch.expect("initiation", |datagram| {
        datagram.payload[0] == 1 && datagram.payload.len() == INITIATION
    });
    sites.wait_for_tunnels();
    (sites, watch, initiation)
}

fn a_tunnel_and_a_handshake_outlive_a_flood(workers: usize) {
    let (mut sites, mut watch, template) = scene(workers);
    route_answers(&sites[1]);
    let one = sites[0].host("tap-a", "10.0.0.1/24");
    let two = sites[1].host("tap-b", "10.0.0.2/24");
    one.wait_for_ping("10.0.0.2");
    let flows = [Flow::start(&one, &two, "10.0.0.2"), Flow::start(&two, &one, "10.0.0.1")];
    let flood = Flood::of(template);
    flood.beside(&mut watch, || {
        until("the flood runs", || flood.bytes() > 200_000);
        flows.into_iter().for_each(|flow| {
            flow.wait_for(MORE);
            flow.finish();
        });
        // A handshake in the middle of it.
        sites[0].daemon_mut().kill9();
        sites[0].daemon_mut().restart();
        sites.wait_for_tunnels();
    });
    let (sent, answered) = (flood.bytes(), answered(&sites[1]));
    assert!(answered <= sent, "{answered} bytes were answered to {sent}");
    let status = sites[1].ctl().json("status");
    let refused = status["vpn"]["refused"].as_object().expect("refusals are counted");
    let refused: u64 = refused.values().filter_map(serde_json::Value::as_u64).sum();
    assert!(refused > 1000, "{status}");
}

each_worker_count!(a_tunnel_and_a_handshake_outlive_a_flood);
