//! Guests of another host that had to make room in a full forwarding database are known again once there is room, though
//! nobody says a word.
//!
//! ```text
//!   card-a ── netdev ─ site a, 64 addresses at most ══ underlay ══ site b ─ netdev ── card-b
//! ```

use weft_netns::{
    Site, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac},
    until,
};

const GUESTS: u8 = 40;

fn switch(site: &Site) -> String {
    let limit = if site.name() == "a" { "[switch.main]\nmac-limit = 64\n" } else { "" };
    format!(
        "{limit}[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

/// Returns how many addresses of each kind a site knows.
fn known(site: &Site) -> (usize, usize) {
    let entries = site.ctl().json("fdb list");
    let entries = entries.as_array().expect("entries are a list");
    let count = |kind: &str| entries.iter().filter(|entry| entry["kind"] == kind).count();
    (count("dynamic"), count("remote"))
}

fn what_had_to_make_room_is_known_again_when_there_is_room(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let (mut one, mut two) = (sites[0].nic("card-a"), sites[1].nic("card-b"));
    sites.start(switch, "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("card", "up");
    }
    sites.wait_for_tunnels();
    let guests = usize::from(GUESTS);
    let hello = |last: u8| Frame::new(mac(last), BROADCAST).text("hello").bytes();
    (0..GUESTS).for_each(|last| two.send(&hello(100 + last)));
    until("a knows the guests of b", || known(&sites[0]).1 == guests);
    (0..GUESTS).for_each(|last| one.send(&hello(last)));
    until("guests of b made room", || {
        let (here, there) = known(&sites[0]);
        here > 64 - guests && there < guests
    });
    sites[0].ctl().run("fdb flush --port card");
    until("a knows them again", || known(&sites[0]) == (0, guests));
}

each_worker_count!(what_had_to_make_room_is_known_again_when_there_is_room);
