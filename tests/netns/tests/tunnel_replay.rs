//! An initiation of before, sent again from a foreign address: while the tunnel is up, after a restart that kept its state
//! and after one that did not, nothing moves to whoever sends it, nor is anybody alarmed.
//!
//! ```text
//!   card-a ── netdev ─ site a ══ underlay, watched ══ site b ─ netdev ── card-b
//!                                     ║
//!                               10.99.0.66, which repeats
//! ```

use std::{fs, net::SocketAddr};

use weft_netns::{
    Datagram, Site, Sites, Underlay, Watch, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac},
    until,
};

const INITIATION: u8 = 1;

fn switch(site: &Site) -> String {
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

fn stranger() -> SocketAddr {
    ([10, 99, 0, 66], 666).into()
}

/// Has site b get an initiation again, which it must know.
fn replay(sites: &Sites, watch: &mut Watch, initiation: &Datagram) {
    let refused = || {
        let refused = sites[1].ctl().json("status")["vpn"]["refused"].clone();
        let of = |reason: &str| refused[reason].as_u64().unwrap_or_default();
        of("replayed") + of("rolled-back")
    };
    let before = refused();
    watch.send(&Datagram { from: stranger(), ..initiation.clone() });
    until("it is refused", || refused() > before);
}

fn a_replayed_initiation_moves_nothing(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let mut cards = [sites[0].nic("card-a"), sites[1].nic("card-b")];
    let mut watch = sites.watch();
    // Site a begins, so that what it says is for b.
    let (a, b) = sites.pair();
    let carries = "segments = [\"office\"]";
    let texts = [
        [switch(a), a.vpn(), a.peer(b, carries)].concat(),
        [switch(b), b.vpn(), b.waited_for(a, carries)].concat(),
    ];
    sites[1].start(&texts[1]);
    sites[0].start(&texts[0]);
    let at_b = sites[1].endpoint();
    let initiation = |watch: &mut Watch| {
        watch.expect("initiation", |datagram| {
            datagram.to == at_b && datagram.payload.first() == Some(&INITIATION)
        })
    };
    let first = initiation(&mut watch);
    sites.wait_for_tunnels();
    let known = sites[0].endpoint().to_string();
    // The tunnel is up: the same again, and one that is older than the last.
    replay(&sites, &mut watch, &first);
    sites[0].daemon_mut().kill9();
    sites[0].daemon_mut().restart();
    initiation(&mut watch);
    sites.wait_for_tunnels();
    replay(&sites, &mut watch, &first);
    assert_eq!(sites[1].peer_named("a")["problems"], serde_json::json!([]), "it is a replay");
    assert_eq!(sites[1].peer_named("a")["endpoint"], known);
    // Restarted with its state, b knows it while a is not there.
    sites[0].daemon_mut().kill9();
    until("the timestamp is kept", || {
        let file = sites[1].daemon().state_directory().join("handshakes.json");
        fs::read_to_string(file).is_ok_and(|text| text.contains(sites[0].public_key()))
    });
    sites[1].daemon_mut().kill9();
    sites[1].daemon_mut().restart();
    replay(&sites, &mut watch, &first);
    assert_eq!(sites[1].peer_named("a")["endpoint"], serde_json::Value::Null);
    // Without it, b answers: to no avail.
    let state = sites[1].daemon().state_directory();
    sites[1].daemon_mut().kill9();
    fs::remove_dir_all(state).unwrap();
    sites[1].daemon_mut().restart();
    watch.send(&Datagram { from: stranger(), ..first.clone() });
    replay(&sites, &mut watch, &first);
    let peer = sites[1].peer_named("a");
    assert_eq!((&peer["state"], &peer["endpoint"]), (&"down".into(), &serde_json::Value::Null));
    // And a is back as ever.
    sites[0].daemon_mut().restart();
    sites.wait_for_tunnels();
    assert_eq!(sites[1].peer_named("a")["endpoint"], known);
    for (from, to) in [(0, 1), (1, 0)] {
        let frame = Frame::new(mac(from as u8), BROADCAST).text("after all").bytes();
        cards[from].send(&frame);
        cards[to].expect_frame(&frame);
    }
}

each_worker_count!(a_replayed_initiation_moves_nothing);
