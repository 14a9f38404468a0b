//! ARP for guests at another host: flooded to them by default; with `answer-arp` answered where it is asked, without a
//! frame through the tunnel, except where only the guest itself can answer.
//!
//! ```text
//!   card-a ── netdev ─ site a ══ underlay ══ site b ─ netdev ── card-b
//! ```

use weft_netns::{
    Nic, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac, mac_text},
    until,
};

const ASKER: ([u8; 6], [u8; 4]) = (mac(1), [10, 0, 0, 1]);
const GUEST: ([u8; 6], [u8; 4]) = (mac(2), [10, 0, 0, 2]);
const NOBODY: [u8; 6] = [0; 6];

fn switch(site: &Site, keys: &str) -> String {
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n{keys}\n",
        site.name()
    )
}

/// Both sites, with the guest at `b` known at `a`, address and all.
fn scene(workers: usize, keys: &str) -> (Sites, Nic, Nic) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let (mut one, mut two) = (sites[0].nic("card-a"), sites[1].nic("card-b"));
    sites.start(|site| switch(site, keys), "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("card", "up");
    }
    sites.wait_for_tunnels();
    // The guest says who it is.
    let hello = Frame::new(GUEST.0, BROADCAST).arp(1, GUEST, (NOBODY, GUEST.1)).bytes();
    two.send(&hello);
    one.expect_frame(&hello);
    until("a knows the guest at b", || {
        sites[0].ctl().fdb(10, &mac_text(GUEST.0)) == Some(("vpn.b".into(), "remote".into()))
    });
    (sites, one, two)
}

fn question() -> Vec<u8> {
    Frame::new(ASKER.0, BROADCAST).arp(1, ASKER, (NOBODY, GUEST.1)).bytes()
}

fn by_default_questions_go_to_the_guest(workers: usize) {
    let (_sites, mut one, mut two) = scene(workers, "");
    one.send(&question());
    two.expect_frame(&question());
    // Its own answer is the only one.
    let answer = Frame::new(GUEST.0, ASKER.0).arp(2, GUEST, ASKER).bytes();
    two.send(&answer);
    let answered = one.expect("answer", &|frame| frame[..6] == ASKER.0);
    assert_eq!(answered, answer);
}

fn with_answer_arp_the_question_stays_here(workers: usize) {
    let (_sites, mut one, mut two) = scene(workers, "answer-arp = true");
    // The guest's IP address comes with its claim, which may be a moment later than the address.
    let mut asked = 0;
    let mut answer = Vec::new();
    until("the question is answered", || {
        asked += 1;
        one.send(&question());
        let deadline = std::time::Instant::now() + std::time::Duration::from_millis(50);
        let found = std::iter::from_fn(|| one.receive(deadline)).find(|it| it[..6] == ASKER.0);
        found.map(|found| answer = found).is_some()
    });
    let expected = Frame::new(GUEST.0, ASKER.0).arp(2, GUEST, ASKER).bytes();
    assert_eq!(answer[..42], expected[..42], "it is what the guest would have said");
    // From here on no question reaches the guest.
    let begin = Frame::new(ASKER.0, BROADCAST).text("begin").bytes();
    one.send(&begin);
    two.before_marker(&begin);
    for _ in 0..20 {
        one.send(&question());
        one.expect("answer", &|frame| frame[..6] == ASKER.0);
    }
    let end = Frame::new(ASKER.0, BROADCAST).text("end").bytes();
    one.send(&end);
    let before = two.before_marker(&end);
    assert!(
        !before.contains(&question()),
        "of {asked} and 20 questions some crossed: {before:02x?}"
    );
    // A probe for a free address is the guest's alone to answer.
    let probe = Frame::new(ASKER.0, BROADCAST).arp(1, (ASKER.0, [0; 4]), (NOBODY, GUEST.1)).bytes();
    one.send(&probe);
    two.expect_frame(&probe);
    // An address that nobody has is asked for everywhere.
    let unknown = Frame::new(ASKER.0, BROADCAST).arp(1, ASKER, (NOBODY, [10, 0, 0, 77])).bytes();
    one.send(&unknown);
    two.expect_frame(&unknown);
    let end = Frame::new(mac(7), BROADCAST).text("end").bytes();
    two.send(&end);
    let before = one.before_marker(&end);
    assert!(
        !before.iter().any(|frame| frame[..6] == ASKER.0),
        "answered for nobody: {before:02x?}"
    );
}

each_worker_count!(by_default_questions_go_to_the_guest, with_answer_arp_the_question_stays_here);
