//! The harness of several hosts by itself: the underlay is what was asked for, and a tunnel joins the guests of two
//! sites whose segments have other VLANs.
//!
//! ```text
//!   host a, 10.0.0.1 ── tap-a ─ access 10 ─ site a ══ underlay ══ site b ─ access 20 ─ tap-b ── host b, 10.0.0.2
//! ```

use weft_netns::{Site, Sites, Underlay, Version, each_worker_count, until};

fn switch(site: &Site) -> String {
    let (name, vlan) = (site.name(), 10 * (site.index() + 1));
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{name}\"\nvlan = {{ access = {vlan} }}\n\
         [segment.office]\nid = 5010\nvlan = {vlan}\n"
    )
}

fn reaches(from: &Site, to: &Site, size: u32) -> bool {
    let to = to.address();
    from.space().exec(&format!("ping -c 1 -W 1 -q -M do -s {size} {to}")).status.success()
}

#[test]
fn the_underlay_is_cut_mended_and_narrowed() {
    for (version, headers) in [(Version::V4, 28), (Version::V6, 48)] {
        let sites = Underlay::between(3).version(version).mtu(1400).build();
        until("the sites reach each other", || {
            sites.iter().all(|from| {
                sites.iter().all(|to| from.name() == to.name() || reaches(from, to, 1400 - headers))
            })
        });
        let (a, b) = sites.pair();
        assert!(!reaches(a, b, 1401 - headers), "{version:?}");
        sites.narrow(1300);
        assert!(reaches(a, b, 1300 - headers), "{version:?}");
        assert!(!reaches(a, b, 1301 - headers), "{version:?}");
        sites.cut(1);
        assert!(!reaches(a, b, 100), "{version:?}");
        assert!(reaches(a, &sites[2], 100), "{version:?}");
        sites.mend(1);
        until("the sites reach each other again", || reaches(a, b, 100));
    }
}

fn a_tunnel_joins_two_sites(workers: usize) {
    for version in [Version::V4, Version::V6] {
        let mut sites = Underlay::between(2).version(version).workers(workers).build();
        sites.start(switch, "segments = [\"office\"]");
        let one = sites[0].host("tap-a", "10.0.0.1/24");
        let two = sites[1].host("tap-b", "10.0.0.2/24");
        one.wait_for_ping("10.0.0.2");
        two.run("ping -c 200 -i 0.002 -q 10.0.0.1");
        // A frame that no record takes whole.
        one.run("ping -c 3 -i 0.01 -M do -s 1472 10.0.0.2");
        assert!(!sites[0].space().has_device("tap-b"), "the sites are in namespaces of their own");
    }
}

each_worker_count!(a_tunnel_joins_two_sites);

#[test]
fn a_peer_without_an_endpoint_is_waited_for() {
    let mut sites = Sites::two();
    let (a, b) = sites.pair();
    let carries = "segments = [\"office\"]";
    let texts = [
        [switch(a), a.vpn(), a.waited_for(b, carries)].concat(),
        [switch(b), b.vpn(), b.peer(a, carries)].concat(),
    ];
    for (index, text) in texts.iter().enumerate() {
        sites[index].start(text);
    }
    let one = sites[0].host("tap-a", "10.0.0.1/24");
    let _two = sites[1].host("tap-b", "10.0.0.2/24");
    one.wait_for_ping("10.0.0.2");
}
