//! An endpoint that is a name: asked for at the start, again while it has no answer, and again when the peer does not
//! answer where it was.
//!
//! ```text
//!   card-a ─ netdev ─ site a (hosts file of its own: berlin.example is …) ══ underlay ══ site b ─ netdev ─ card-b
//! ```

use std::{fs, path::PathBuf};

use weft_netns::{
    PATIENCE, Site, Sites, Underlay, Version, each_worker_count, until, until_within,
};

/// Starts the program behind the first argument, which is a file that stands for /etc/hosts there.
const WITH_HOSTS: &str = "mount --make-rprivate / && mount --bind \"$0\" /etc/hosts && exec \"$@\"";

fn switch() -> String {
    "[segment.office]\nid = 5010\nvlan = 10\n".to_owned()
}

struct Scene {
    sites: Sites,
    hosts: PathBuf,
}

impl Scene {
    /// Site `b` waits for `a`, which knows it by a name that means this at first.
    fn new(underlay: &Underlay, hosts: &str) -> Self {
        let mut sites = underlay.build();
        let carries = "segments = [\"office\"]";
        let (a, b) = sites.pair();
        let named = format!("endpoint = \"berlin.example:51900\"\n{carries}");
        let text = [switch(), a.vpn(), a.waited_for(b, &named)].concat();
        let other = [switch(), b.vpn(), b.waited_for(a, carries)].concat();
        let file = a.lab().write("hosts", hosts);
        sites[1].start(&other);
        let shown = file.display().to_string();
        sites[0].start_by(&text, &["unshare", "--mount", "sh", "-c", WITH_HOSTS, &shown]);
        Self { sites, hosts: file }
    }

    fn call(&self, hosts: &str) {
        // In place: what is bound is the file, not its name.
        fs::write(&self.hosts, hosts).unwrap();
    }
}

fn berlin(site: &Site) -> String {
    format!("127.0.0.1 localhost\n{} berlin.example\n", site.address())
}

fn a_name_is_asked_for(workers: usize) {
    for version in [Version::V4, Version::V6] {
        let underlay = Underlay::between(2).version(version).workers(workers);
        let last = match version {
            Version::V4 => "10.99.0.2",
            Version::V6 => "fd99::2",
        };
        let scene = Scene::new(&underlay, &format!("{last} berlin.example\n"));
        scene.sites.wait_for_tunnels();
    }
}

fn a_name_without_an_answer_is_asked_for_again(workers: usize) {
    let scene = Scene::new(&Underlay::between(2).workers(workers), "127.0.0.1 localhost\n");
    let a = &scene.sites[0];
    until("a says which name it has no address of", || {
        a.peer_named("b")["reason"].as_str().is_some_and(|text| text.contains("berlin.example"))
    });
    a.daemon().wait_for_log(0, "name not found");
    scene.call(&berlin(&scene.sites[1]));
    scene.sites.wait_for_tunnels();
}

fn a_name_that_means_another_address_is_followed(workers: usize) {
    let underlay = Underlay::between(2).workers(workers);
    // Nobody is there.
    let scene = Scene::new(&underlay, "10.99.0.99 berlin.example\n");
    until("a asks in vain", || scene.sites[0].peer_named("b")["state"] == "handshaking");
    scene.call(&berlin(&scene.sites[1]));
    // It is asked for again when three initiations had no answer, and that is tried with the next.
    until_within("both ends are up", 4 * PATIENCE, || {
        scene.sites.iter().all(|site| site.peers().iter().all(|peer| peer["state"] == "up"))
    });
}

each_worker_count!(
    a_name_is_asked_for,
    a_name_without_an_answer_is_asked_for_again,
    a_name_that_means_another_address_is_followed,
);
