//! What guests say is never on the underlay in plain: not through a tunnel, not while there is none, not after it has
//! gone, whatever is flooded, fragmented or cut.
//!
//! ```text
//!   one, 10.0.0.1 ── tap-a ┐                                 ┌ tap-b ── two, 10.0.0.2
//!                          ├ site a ══ underlay, watched ══ site b
//!            card-a ─ netdev ┘
//! ```

use weft_netns::{
    Datagram, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, mac},
    watch::contains,
};

const SECRET: &[u8] = b"the guest's own words, to be heard by nobody";
const IN_HEX: &str = "7468652067756573742773206f776e";

fn switch(site: &Site) -> String {
    let name = site.name();
    format!(
        "[port.host]\ntype = \"tap\"\ndevice = \"tap-{name}\"\nvlan = {{ access = 10 }}\n\
         [port.card]\ntype = \"netdev\"\ndevice = \"card-{name}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n"
    )
}

fn cards(sites: &Sites) -> Vec<weft_netns::Nic> {
    let card = |site: &Site| {
        let nic = site.nic(&format!("card-{}", site.name()));
        site.space().run(&format!("ip link set {} mtu 9000", nic.device()));
        nic
    };
    sites.iter().map(card).collect()
}

/// Nothing in these frames is a guest's, and no index of the tunnel's own is a counterexample to the search.
fn assert_secret(frames: &[Vec<u8>]) {
    for frame in frames {
        for wanted in [&SECRET[..15], &mac(1), &[10, 0, 0, 1, 10, 0, 0, 2]] {
            assert!(!contains(frame, wanted), "in plain on the underlay: {frame:02x?}");
        }
    }
}

fn nothing_crosses_in_plain(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let mut nics = cards(&sites);
    sites.start(switch, "segments = [\"office\"]");
    let one = sites[0].host("tap-a", "10.0.0.1/24");
    let _two = sites[1].host("tap-b", "10.0.0.2/24");
    one.wait_for_ping("10.0.0.2");
    sites[0].ctl().wait_for_state("card", "up");
    sites[1].ctl().wait_for_state("card", "up");
    let mut watch = sites.watch();
    one.run(&format!("ping -c 20 -i 0.01 -q -p {IN_HEX} -s 1400 10.0.0.2"));
    for size in [60, 1000, 1514, 4000, 9014] {
        let mut frame = Frame::new(mac(1), BROADCAST).text("").len(size).bytes();
        for chunk in frame[14..].chunks_exact_mut(SECRET.len()) {
            chunk.copy_from_slice(SECRET);
        }
        nics[0].send(&frame);
        nics[1].expect_frame(&frame);
    }
    let frames = watch.seen(&sites[0]);
    let records = frames
        .iter()
        .filter_map(|frame| Datagram::read(frame))
        .filter(|datagram| datagram.to == sites[1].endpoint() && datagram.payload[0] == 4);
    assert!(records.count() >= 30, "the tunnel was watched");
    assert_secret(&frames);
}

fn without_a_session_frames_are_dropped_and_counted(workers: usize) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let mut nics = cards(&sites);
    let (a, b) = sites.pair();
    let text = [switch(a), a.vpn(), a.peer(b, "segments = [\"office\"]")].concat();
    let mut watch = sites.watch();
    sites[0].start(&text);
    let ctl = sites[0].ctl();
    ctl.wait_for_state("card", "up");
    for number in 0..100u8 {
        let frame = Frame::new(mac(1), BROADCAST).text(&String::from_utf8_lossy(SECRET));
        nics[0].send(&frame.tag(0).bytes());
        nics[0].send(&Frame::new(mac(1), mac(number)).text("to whom it may concern").bytes());
    }
    ctl.wait_for_drops("vpn.b", "tx", "no-session", 199);
    let frames = watch.seen(&sites[0]);
    assert_secret(&frames);
    let records = frames.iter().filter_map(|frame| Datagram::read(frame));
    let records = records.filter(|datagram| datagram.payload[0] == 4).count();
    assert_eq!(records, 0, "records without a session");
}

each_worker_count!(nothing_crosses_in_plain, without_a_session_frames_are_dropped_and_counted);
