//! Key files that must not be used: refused with words that say why and what to do, and that do not quote them. What
//! switches locally goes on. Two hosts with one key connect to nobody.
//!
//! ```text
//!   site a, whose key file is readable by all, rubbish, missing, … ══ underlay ══ site b
//! ```

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use weft_netns::{
    Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac},
    until,
};

fn switch(site: &Site) -> String {
    let name = site.name();
    format!(
        "[port.one]\ntype = \"netdev\"\ndevice = \"one-{name}\"\nvlan = {{ access = 10 }}\n\
         [port.two]\ntype = \"netdev\"\ndevice = \"two-{name}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n"
    )
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What is done to the key file, and a word that says what is wrong with it.
type Spoil = (fn(&Path), &'static str);

const SPOILT: [Spoil; 6] = [
    (|path| set_mode(path, 0o644), "mode 0644"),
    (|path| set_mode(path, 0o640), "mode 0640"),
    (|path| fs::remove_file(path).unwrap(), "cannot read"),
    (|path| rewrite(path, "c2VjcmV0LXNlY3JldC1zZWNyZXQ=\n"), "key"),
    (|path| rewrite(path, "rubbish-that-is-secret\n"), "key"),
    (|path| rewrite(path, ""), "key"),
];

fn rewrite(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    set_mode(path, 0o600);
}

fn a_key_file_that_must_not_be_used_is_refused_without_a_quote(workers: usize) {
    for (number, (spoil, word)) in SPOILT.into_iter().enumerate() {
        let mut sites = Underlay::between(2).workers(workers).build();
        let mut nics = [sites[0].nic("one-a"), sites[0].nic("two-a")];
        let (a, b) = sites.pair();
        let key = a.key_file();
        let good = fs::read_to_string(&key).unwrap();
        spoil(&key);
        let spoilt = fs::read_to_string(&key).unwrap_or_default();
        let text = [switch(a), a.vpn(), a.peer(b, "segments = [\"office\"]")].concat();
        sites[0].start(&text);
        let a = &sites[0];
        let status = a.ctl().run("status");
        let peer = a.peer_named("b");
        let said = [a.daemon().log(), status.clone(), peer.to_string()].concat();
        assert!(status.contains(word), "{number}: {status}");
        assert!(status.contains("vpn.key"), "{number}: {status}");
        assert_eq!(peer["state"], "down", "{number}");
        for secret in [&good, &spoilt].map(|text| text.trim()).into_iter().filter(|it| it.len() > 4)
        {
            assert!(!said.contains(secret), "{number}: quoted in {said}");
            assert!(!said.contains(&secret[..secret.len() / 2]), "{number}: quoted in {said}");
        }
        // What is local goes on.
        let frame = Frame::new(mac(1), BROADCAST).text("in this house").bytes();
        let [one, two] = &mut nics;
        a.ctl().wait_for_state("one", "up");
        a.ctl().wait_for_state("two", "up");
        one.send(&frame);
        two.expect_frame(&frame);
        // With a good key and a reload the tunnel is there.
        rewrite(&key, &good);
        let text = {
            let b = &sites[1];
            [switch(b), b.vpn(), b.peer(&sites[0], "segments = [\"office\"]")].concat()
        };
        sites[1].start(&text);
        sites[0].daemon().reload();
        sites.wait_for_tunnels();
    }
}

fn two_hosts_with_one_key_connect_to_nobody(workers: usize) {
    let mut sites = Underlay::between(3).workers(workers).build();
    // Site c is a copy of a, its key included, and at another address. Each knows b and is known to b.
    let key = fs::read(sites[0].key_file()).unwrap();
    fs::write(sites[2].key_file(), key).unwrap();
    let carries = "segments = [\"office\"]";
    let (a, b, c) = (&sites[0], &sites[1], &sites[2]);
    let of_a = [switch(a), a.vpn(), a.peer(b, carries)].concat();
    let of_b = [switch(b), b.vpn(), b.waited_for(a, carries)].concat();
    let own = format!("\n[vpn.peer.twin]\npublic-key = \"{}\"\n{carries}\n", a.public_key());
    let of_c = [switch(c), c.vpn(), own].concat();
    sites[1].start(&of_b);
    sites[0].start(&of_a);
    sites.wait_for_tunnels();
    // A host that has its own key for a peer says so, and has no tunnels.
    sites[2].start(&of_c);
    let status = sites[2].ctl().run("status");
    assert!(status.contains("own key") || status.contains("this host's"), "{status}");
    assert_eq!(sites[2].peer_named("twin")["state"], "down");
    assert_eq!(sites[0].peer_named("b")["state"], "up");
    until("b goes on with a", || {
        sites[1].peer_named("a")["endpoint"] == sites[0].endpoint().to_string()
    });
}

#[test]
fn sites_have_keys_of_their_own() {
    let sites = Sites::two();
    assert_ne!(sites[0].public_key(), sites[1].public_key());
}

each_worker_count!(
    a_key_file_that_must_not_be_used_is_refused_without_a_quote,
    two_hosts_with_one_key_connect_to_nobody,
);
