//! A daemon that is killed without a chance to tidy up is back in its tunnels when it starts again, with its state
//! directory and without it.
//!
//! ```text
//!   card-a ── netdev ─ site a ══ underlay ══ site b ─ netdev ── card-b
//! ```

use std::fs;

use weft_netns::Underlay;
use weft_netns::{
    Nic, Site, Sites, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac},
    until,
};

fn switch(site: &Site) -> String {
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

struct Scene {
    sites: Sites,
    nics: [Nic; 2],
    round: u32,
}

impl Scene {
    fn new(workers: usize) -> Self {
        let mut sites = Underlay::between(2).workers(workers).build();
        let nics = [sites[0].nic("card-a"), sites[1].nic("card-b")];
        sites.start(switch, "segments = [\"office\"]");
        let mut scene = Self { sites, nics, round: 0 };
        scene.talk();
        scene
    }

    /// Waits until frames cross both ways.
    fn talk(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            until(&format!("a frame from {from} reaches {to}"), || {
                self.round += 1;
                let text = format!("round {}", self.round);
                let frame = Frame::new(mac(from as u8), BROADCAST).text(&text).bytes();
                self.nics[from].send(&frame);
                let deadline = std::time::Instant::now() + std::time::Duration::from_millis(50);
                std::iter::from_fn(|| self.nics[to].receive(deadline)).any(|got| got == frame)
            });
        }
    }
}

fn a_killed_daemon_is_back_with_its_state(workers: usize) {
    let mut scene = Scene::new(workers);
    for site in [0, 1, 0] {
        scene.sites[site].daemon_mut().kill9();
        scene.sites[site].daemon_mut().restart();
        scene.talk();
        scene.sites.wait_for_tunnels();
    }
}

fn a_killed_daemon_is_back_without_its_state(workers: usize) {
    let mut scene = Scene::new(workers);
    for site in [0, 1] {
        let daemon = scene.sites[site].daemon_mut();
        daemon.kill9();
        fs::remove_dir_all(daemon.state_directory()).unwrap();
        daemon.restart();
        scene.talk();
        scene.sites.wait_for_tunnels();
    }
}

fn both_killed_at_once_are_back(workers: usize) {
    let mut scene = Scene::new(workers);
    for site in [0, 1] {
        scene.sites[site].daemon_mut().kill9();
    }
    for site in [0, 1] {
        scene.sites[site].daemon_mut().restart();
    }
    scene.talk();
}

each_worker_count!(
    a_killed_daemon_is_back_with_its_state,
    a_killed_daemon_is_back_without_its_state,
    both_killed_at_once_are_back,
);
