//! Which segments a peer carries is each host's own word: what a peer does not carry is refused and counted, and what
//! does not fit between two ends is said in words at both.
//!
//! ```text
//!   trunk-a ── netdev, trunk 10, 20, 30 ─ site a ══ underlay ══ site b ─ trunk 10, 20, 30 ── trunk-b
//! ```

use weft_netns::{
    Nic, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac, mac_text},
    until,
};

fn trunk(site: &Site, segments: &str) -> String {
    format!(
        "[port.trunk]\ntype = \"netdev\"\ndevice = \"trunk-{}\"\nvlan = {{ trunk = [10, 20, 30] }}\n{segments}",
        site.name()
    )
}

fn segment(name: &str, id: u32, vlan: u32) -> String {
    format!("[segment.{name}]\nid = {id}\nvlan = {vlan}\n")
}

/// Starts both sites; each with its own segments, and what the other carries.
fn scene(workers: usize, ends: [(&str, &str); 2]) -> (Sites, [Nic; 2]) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let nics = [sites[0].nic("trunk-a"), sites[1].nic("trunk-b")];
    let (a, b) = sites.pair();
    let texts = [(a, b, ends[0]), (b, a, ends[1])].map(|(own, other, (segments, carried))| {
        let carried = format!("segments = {carried}");
        [trunk(own, segments), own.vpn(), own.peer(other, &carried)].concat()
    });
    for (index, text) in texts.iter().enumerate() {
        sites[index].start(text);
        sites[index].ctl().wait_for_state("trunk", "up");
    }
    sites.wait_for_tunnels();
    (sites, nics)
}

fn hello(vlan: u16, text: &str) -> Vec<u8> {
    Frame::new(mac(1), BROADCAST).text(text).untagged().tag(vlan).bytes()
}

fn a_segment_that_a_peer_does_not_carry_is_refused(workers: usize) {
    let segments = [segment("office", 5010, 10), segment("lab", 5020, 20)].concat();
    // Site b believes that a carries both.
    let ends = [(segments.as_str(), "[\"office\"]"), (segments.as_str(), "[\"office\", \"lab\"]")];
    let (sites, [mut one, mut two]) = scene(workers, ends);
    for number in 0..50 {
        two.send(&hello(20, &format!("to the lab, {number}")));
    }
    let end = hello(10, "end");
    two.send(&end);
    let before = one.before_marker(&end);
    let foreign = before.iter().filter(|frame| frame[..6] == BROADCAST).count();
    assert_eq!(foreign, 0, "frames of a segment that is not carried");
    let refused = sites[0].peer_named("b")["refused"]["foreign-segment"].clone();
    assert_eq!(refused, 50, "{}", sites[0].peer_named("b"));
    // Nor does a say anything there, nor believe an address.
    one.send(&hello(20, "to the lab"));
    one.send(&end);
    let before = two.before_marker(&end);
    assert!(!before.iter().any(|frame| frame[..6] == BROADCAST), "{before:02x?}");
    assert_eq!(sites[0].ctl().fdb(20, &mac_text(mac(1))).map(|it| it.1), Some("dynamic".into()));
}

fn told(site: &Site, peer: &str, words: &[&str]) -> bool {
    let peer = site.peer_named(peer);
    let problems = peer["problems"].as_array().cloned().unwrap_or_default();
    problems
        .iter()
        .filter_map(|problem| problem.as_str())
        .any(|problem| words.iter().all(|word| problem.contains(word)))
}

fn ids_that_differ_are_told_in_words_at_both_ends(workers: usize) {
    let ends = [segment("office", 5010, 10), segment("office", 5011, 10)];
    let both = [(ends[0].as_str(), "[\"office\"]"), (ends[1].as_str(), "[\"office\"]")];
    let (sites, [mut one, mut two]) = scene(workers, both);
    for (site, peer) in [(0, "b"), (1, "a")] {
        until("the ids are told", || told(&sites[site], peer, &["office", "5010", "5011"]));
        let status = sites[site].ctl().run("status");
        assert!(status.contains("5010") && status.contains("5011"), "{status}");
    }
    // Nothing crosses, and each end counts it.
    one.send(&hello(10, "hello"));
    two.send(&hello(10, "hello"));
    for (site, peer) in [(0, "b"), (1, "a")] {
        until("what comes is refused", || {
            sites[site].peer_named(peer)["refused"]["foreign-segment"] == 1
        });
    }
    // Put right by the command, at one end, it is forgotten.
    let config = sites[1].daemon().config();
    sites[1].daemon().write_config(&config.replace("5011", "5010"));
    sites[1].daemon().reload();
    until("frames cross", || {
        one.send(&hello(10, "again"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_millis(50);
        std::iter::from_fn(|| two.receive(deadline)).any(|frame| frame == hello(10, "again"))
    });
    for (site, peer) in [(0, "b"), (1, "a")] {
        until("nothing is wrong any more", || !told(&sites[site], peer, &["office"]));
    }
}

fn what_only_one_end_carries_is_told_at_both(workers: usize) {
    let segments = [segment("office", 5010, 10), segment("lab", 5020, 20)].concat();
    let ends = [(segments.as_str(), "[\"office\"]"), (segments.as_str(), "[\"office\", \"lab\"]")];
    let (sites, _nics) = scene(workers, ends);
    for (site, peer) in [(0, "b"), (1, "a")] {
        until("the segment is told", || told(&sites[site], peer, &["lab", "5020"]));
    }
}

each_worker_count!(
    a_segment_that_a_peer_does_not_carry_is_refused,
    ids_that_differ_are_told_in_words_at_both_ends,
    what_only_one_end_carries_is_told_at_both,
);
