//! No number of a record stands on two texts: four workers that share each session, sends that the kernel refuses while
//! they go on, a daemon that is killed with -9 in the middle.
//!
//! ```text
//!   one ── tap-a ─ site a ══ underlay, watched ══ site b ─ tap-b ── two
//! ```

use std::collections::HashMap;

use weft_netns::{Datagram, Flow, Site, Sites, Underlay, Watch};

const RECORD: u8 = 4;
const MORE: u64 = 3_000_000;

fn switch(site: &Site) -> String {
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{}\"\nqueues = 4\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

/// The text of each record that was seen, by whom it is for and the number that it carries.
#[derive(Default)]
struct Ledger(HashMap<(std::net::SocketAddr, [u8; 12]), Vec<u8>>);

impl Ledger {
    fn read(&mut self, watch: &mut Watch, sites: &Sites) {
        for frame in watch.seen(&sites[0]) {
            let Some(Datagram { to, payload, .. }) = Datagram::read(&frame) else { continue };
            let Some(&number) = payload.get(4..16).and_then(|bytes| bytes.first_chunk()) else {
                continue;
            };
            if payload[0] != RECORD {
                continue;
            }
            let known = self.0.entry((to, number)).or_insert_with(|| payload.clone());
            assert_eq!(*known, payload, "two texts of number {number:02x?}");
        }
    }
}

/// Streams both ways while `disturb` does its worst.
fn stream(sites: &Sites, watch: &mut Watch, ledger: &mut Ledger, disturb: impl Fn(&Site)) {
    let one = sites[0].host("tap-a", "10.0.0.1/24");
    let two = sites[1].host("tap-b", "10.0.0.2/24");
    one.wait_for_ping("10.0.0.2");
    let flows = [Flow::start(&one, &two, "10.0.0.2"), Flow::start(&two, &one, "10.0.0.1")];
    for _ in 0..5 {
        disturb(&sites[0]);
    }
    for flow in flows {
        flow.wait_for(MORE);
        flow.finish();
    }
    // What found no place in the queue of the watch is missed, and the rest is read in peace.
    ledger.read(watch, sites);
}

#[test]
fn no_number_stands_on_two_texts() {
    let mut sites = Underlay::between(2).workers(4).build();
    let mut watch = sites.watch();
    let mut ledger = Ledger::default();
    sites.start(switch, "segments = [\"office\"]");
    sites.wait_for_tunnels();
    stream(&sites, &mut watch, &mut ledger, |site| {
        // Too large for the device, then no way at all, then a queue that is full.
        for line in [
            "ip link set under mtu 1300",
            "ip link set under mtu 1500",
            "ip route add unreachable 10.99.0.2/32",
            "ip route del unreachable 10.99.0.2/32",
            "ip link set under down",
            "ip link set under up",
            "tc qdisc replace dev under root tbf rate 2mbit burst 4kb limit 4kb",
            "tc qdisc del dev under root",
        ] {
            site.space().run(line);
        }
    });
    let before = ledger.0.len();
    assert!(before > 2000, "{before} records were seen");
    // The same keys, addresses and mark: nothing is said again under a number of before.
    sites[0].daemon_mut().kill9();
    sites[0].daemon_mut().restart();
    sites.wait_for_tunnels();
    stream(&sites, &mut watch, &mut ledger, |_| {});
    assert!(ledger.0.len() > before + 2000);
}
