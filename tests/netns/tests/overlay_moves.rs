//! A guest that moves to another host is found there with its first frame: traffic follows, the old place forgets it, and
//! a third host that never saw it move sends to the right one.
//!
//! ```text
//!   card-a ─ netdev ┐                                              ┌ netdev ─ card-b
//!                   ├ site a ══╦══ site b ─────────────────────────┤
//!   tap-a ── guest ─┘          ║                                   └─ guest ── tap-b
//!                            site c ─ netdev ─ card-c, tap-c ── far, 10.0.0.3
//! ```

use std::time::{Duration, Instant};

use weft_netns::{
    Nic, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac, mac_text},
    until,
};

const GUEST: [u8; 6] = mac(1);

fn switch(site: &Site) -> String {
    let name = site.name();
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{name}\"\nvlan = {{ access = 10 }}\n\
         [port.host]\ntype = \"tap\"\ndevice = \"tap-{name}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n"
    )
}

fn scene(workers: usize) -> (Sites, Vec<Nic>) {
    let mut sites = Underlay::between(3).workers(workers).build();
    let nics = sites.iter().map(|site| site.nic(&format!("card-{}", site.name()))).collect();
    sites.start(switch, "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("card", "up");
    }
    sites.wait_for_tunnels();
    (sites, nics)
}

/// A gratuitous request, as a guest sends one where it comes up.
fn gratuitous() -> Vec<u8> {
    let own = (GUEST, [10, 0, 0, 1]);
    Frame::new(GUEST, BROADCAST).arp(1, own, ([0; 6], own.1)).bytes()
}

/// Waits until everybody knows that the guest is at a site.
fn wait_until_known(sites: &Sites, at: usize) {
    for site in sites.iter() {
        let wanted = match site.index() == at {
            true => ("card".to_owned(), "dynamic".to_owned()),
            false => (format!("vpn.{}", sites[at].name()), "remote".to_owned()),
        };
        until(&format!("site {} knows that the guest is at {at}", site.name()), || {
            site.ctl().fdb(10, &mac_text(GUEST)) == Some(wanted.clone())
        });
    }
}

fn traffic_follows_a_guest_that_moves(workers: usize) {
    let (sites, mut nics) = scene(workers);
    // To and fro, once; more than that in three minutes would freeze it.
    for (round, at) in [0, 1, 0].into_iter().enumerate() {
        nics[at].send(&gratuitous());
        wait_until_known(&sites, at);
        for from in 0..3 {
            if from == at {
                continue;
            }
            let text = format!("round {round}, from {from}");
            let frame = Frame::new(mac(0x10 + from as u8), GUEST).text(&text).bytes();
            nics[from].send(&frame);
            nics[at].expect_frame(&frame);
            // It went to one place.
            let end = Frame::new(mac(0x10 + from as u8), BROADCAST).text(&text).bytes();
            nics[from].send(&end);
            for other in (0..3).filter(|&other| other != at && other != from) {
                let before = nics[other].before_marker(&end);
                assert!(!before.contains(&frame), "{text} came to {other} too");
            }
        }
    }
}

fn a_stream_of_frames_follows_in_time(workers: usize) {
    let (sites, mut nics) = scene(workers);
    nics[0].send(&gratuitous());
    wait_until_known(&sites, 0);
    nics[1].send(&gratuitous());
    let (mut number, begin) = (0, Instant::now());
    // Frames go on to the old place until the first that is sent to the new one; then all go there.
    let arrived = loop {
        number += 1;
        let frame = Frame::new(mac(0x12), GUEST).text(&format!("number {number}")).bytes();
        nics[2].send(&frame);
        let deadline = Instant::now() + Duration::from_millis(10);
        if std::iter::from_fn(|| nics[1].receive(deadline)).any(|got| got == frame) {
            break frame;
        }
        assert!(begin.elapsed() < weft_netns::PATIENCE, "the traffic never follows");
    };
    for number in 0..100 {
        let frame = Frame::new(mac(0x12), GUEST).text(&format!("later {number}")).bytes();
        nics[2].send(&frame);
        nics[1].expect_frame(&frame);
    }
    let end = Frame::new(mac(0x12), BROADCAST).text("end").bytes();
    nics[2].send(&end);
    let before = nics[0].before_marker(&end);
    assert!(!before.contains(&arrived));
    assert!(!before.iter().any(|frame| frame[14..].starts_with(b"later")), "{before:02x?}");
}

fn a_host_of_the_kernels_moves_with_its_address(workers: usize) {
    let (sites, _nics) = scene(workers);
    let guest = mac_text(mac(0x31));
    let far = sites[2].host("tap-c", "10.0.0.3/24");
    let places = [(0, "tap-a"), (1, "tap-b")].map(|(site, device)| {
        let host = sites[site].host(device, "10.0.0.1/24");
        host.run("ip link set eth0 down");
        host.run(&format!("ip link set eth0 address {guest}"));
        // It says that it is there when it comes up.
        host.run("sysctl -qw net.ipv4.conf.eth0.arp_notify=1");
        host
    });
    for (here, there) in [(0, 1), (1, 0)] {
        places[there].run("ip link set eth0 down");
        places[here].run("ip link set eth0 up");
        far.wait_for_ping("10.0.0.1");
        let wanted = (format!("vpn.{}", sites[here].name()), "remote".to_owned());
        until("the far site knows where it is", || {
            sites[2].ctl().fdb(10, &guest) == Some(wanted.clone())
        });
        far.run("ping -c 50 -i 0.01 -W 5 -q 10.0.0.1");
    }
}

each_worker_count!(
    traffic_follows_a_guest_that_moves,
    a_stream_of_frames_follows_in_time,
    a_host_of_the_kernels_moves_with_its_address,
);
