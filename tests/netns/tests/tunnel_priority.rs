//! What a tag says besides its VLAN crosses the tunnel: priority and drop eligibility, whatever VLAN the segment has at
//! the far end, and a guest's own tags inside it.
//!
//! ```text
//!   trunk-a ── netdev, trunk 10 ─ site a ══ underlay ══ site b ─ trunk 20, netdev ── trunk-b
//! ```

use weft_netns::{
    Nic, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, DOT1AD, DOT1Q, Frame, mac},
};

fn switch(site: &Site) -> String {
    let (name, vlan) = (site.name(), 10 * (site.index() + 1));
    format!(
        "[port.trunk]\ntype = \"netdev\"\ndevice = \"trunk-{name}\"\nvlan = {{ trunk = [{vlan}] }}\n\
         [segment.office]\nid = 5010\nvlan = {vlan}\n"
    )
}

fn scene(workers: usize) -> (Sites, Nic, Nic) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let (one, two) = (sites[0].nic("trunk-a"), sites[1].nic("trunk-b"));
    sites.start(switch, "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("trunk", "up");
    }
    sites.wait_for_tunnels();
    (sites, one, two)
}

fn priority_and_inner_tags_cross(workers: usize) {
    let (_sites, mut one, mut two) = scene(workers);
    for priority in 0..16u16 {
        let frame = Frame::new(mac(1), BROADCAST).text(&format!("priority {priority}"));
        let tagged = |vlan: u16| frame.clone().untagged().tag_with(DOT1Q, priority << 12 | vlan);
        one.send(&tagged(10).bytes());
        two.expect_frame(&tagged(20).bytes());
        two.send(&tagged(20).bytes());
        one.expect_frame(&tagged(10).bytes());
        // The guest's own tags are payload.
        for inner in [DOT1Q, DOT1AD] {
            one.send(&tagged(10).tag_with(inner, 0xefed).bytes());
            two.expect_frame(&tagged(20).tag_with(inner, 0xefed).bytes());
        }
    }
}

each_worker_count!(priority_and_inner_tags_cross);
