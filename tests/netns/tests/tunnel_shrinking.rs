//! A path that carries less all of a sudden, and says nothing of it, is no black hole: a stream goes on, whole, and full
//! frames of the guests cross again. When the path carries more again nothing is lost either.
//!
//! ```text
//!   one, 10.0.0.1 ── tap-a ─ site a ══ bridge whose ports shrink ══ site b ─ tap-b ── two, 10.0.0.2
//! ```

use weft_netns::{Flow, Site, Underlay, Version, each_worker_count, until};

fn switch(site: &Site) -> String {
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

fn path(site: &Site, peer: &str) -> u64 {
    site.peer_named(peer)["path-mtu"].as_u64().unwrap_or_default()
}

fn a_stream_survives_a_path_that_shrinks(workers: usize) {
    for version in [Version::V4, Version::V6] {
        let mut sites = Underlay::between(2).version(version).workers(workers).build();
        sites.start(switch, "segments = [\"office\"]");
        let one = sites[0].host("tap-a", "10.0.0.1/24");
        let two = sites[1].host("tap-b", "10.0.0.2/24");
        one.wait_for_ping("10.0.0.2");
        until("both ends have found the path", || {
            path(&sites[0], "b") > 1400 && path(&sites[1], "a") > 1400
        });
        // Each end looks after the path that its own frames need.
        let flows = [Flow::start(&one, &two, "10.0.0.2"), Flow::start(&two, &one, "10.0.0.1")];
        let go_on = || flows.iter().for_each(|flow| flow.wait_for(3_000_000));
        go_on();
        sites.narrow(1300);
        go_on();
        until("both ends know that the path is narrower", || {
            (1200..=1300).contains(&path(&sites[0], "b"))
                && (1200..=1300).contains(&path(&sites[1], "a"))
        });
        one.run("ping -c 20 -i 0.01 -W 5 -q -M do -s 1472 10.0.0.2");
        sites.narrow(1500);
        go_on();
        for flow in flows {
            flow.finish();
        }
    }
}

each_worker_count!(a_stream_survives_a_path_that_shrinks);
