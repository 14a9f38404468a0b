//! Records that are forged, cut short, drawn out, repeated and sent from elsewhere, put onto the underlay between valid
//! ones: none is accepted, none of the valid is lost, the endpoint stays, all are counted, and no memory is kept for them.
//! `WEFT_VALID=84000` makes a million of them.
//!
//! ```text
//!   card-a ── netdev ─ site a ══ underlay ══ site b ─ netdev ── card-b
//!                                   ║
//!                                attacker
//! ```

use std::collections::BTreeMap;

use weft_netns::{
    Datagram, Nic, Site, Sites, Underlay, Wire, each_worker_count, eventually,
    frame::{BROADCAST, Frame, mac, mac_text},
    until,
};

const RECORD: u8 = 4;
const COUNTER: usize = 8;
const HEADER: usize = 16;
/// Valid records, each with a dozen bad ones behind it.
const VALID: usize = 200;
/// What a daemon may need more than before, in KiB: less than a byte for each of a million.
const SPARE: u64 = 900;

fn switch(site: &Site) -> String {
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = 5010\nvlan = 10\n",
        site.name()
    )
}

fn scene(workers: usize) -> (Sites, Nic, Nic) {
    let mut sites = Underlay::between(2).workers(workers).build();
    let (mut one, mut two) = (sites[0].nic("card-a"), sites[1].nic("card-b"));
    sites.start(switch, "segments = [\"office\"]");
    for site in sites.iter() {
        site.ctl().wait_for_state("card", "up");
    }
    sites.wait_for_tunnels();
    let hello = |last| Frame::new(mac(last), BROADCAST).text("hello").bytes();
    one.send(&hello(1));
    two.expect_frame(&hello(1));
    two.send(&hello(2));
    one.expect_frame(&hello(2));
    until("a knows the guest at b", || sites[0].ctl().fdb(10, &mac_text(mac(2))).is_some());
    (sites, one, two)
}

/// What an attacker makes of a record, and why it is refused.
fn spoilt(record: &Datagram) -> Vec<(&'static str, Datagram)> {
    let with = |spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut datagram = record.clone();
        spoil(&mut datagram.payload);
        datagram
    };
    let last = record.payload.len() - 1;
    // With a counter that is ahead of all, or it would be refused for that alone.
    let forged = |spoil: &dyn Fn(&mut Vec<u8>)| {
        with(&|bytes| {
            bytes[COUNTER + 2] = 0xff;
            spoil(bytes);
        })
    };
    let stranger = ([10, 99, 0, 66], 666).into();
    vec![
        ("forged", forged(&|_| {})),
        ("forged", forged(&|bytes| bytes[last] ^= 1)),
        ("forged", forged(&|bytes| bytes[HEADER] ^= 0x80)),
        ("forged", forged(&|bytes| bytes.truncate(bytes.len() - 16))),
        ("forged", forged(&|bytes| bytes.extend([0; 16]))),
        ("forged", Datagram { from: stranger, ..forged(&|bytes| bytes[last] ^= 1) }),
        ("malformed", with(&|bytes| bytes.truncate(bytes.len() - 1))),
        ("malformed", with(&|bytes| bytes.truncate(HEADER))),
        ("replayed", record.clone()),
        ("replayed", with(&|bytes| bytes[last] ^= 1)),
        ("replayed", Datagram { from: stranger, ..record.clone() }),
        ("unknown-session", with(&|bytes| bytes[4] ^= 0x55)),
    ]
}

fn spoilt_records_between_valid_ones_change_nothing(workers: usize) {
    let (sites, mut one, mut two) = scene(workers);
    let mut watch = sites.watch();
    let (from, to) = (sites[0].endpoint(), sites[1].endpoint());
    let mut offered: BTreeMap<&str, u64> = BTreeMap::new();
    let frame =
        |number: usize| Frame::new(mac(1), mac(2)).text(&format!("number {number:08}")).len(400);
    let valid = std::env::var("WEFT_VALID").map_or(VALID, |text| text.parse().expect("a number"));
    let mut before = 0;
    for number in 0..valid {
        if number == valid / 2 {
            before = sites[1].daemon().own_memory_kib();
        }
        one.send(&frame(number).bytes());
        let record = watch.expect("record", |datagram| {
            (datagram.from, datagram.to) == (from, to)
                && datagram.payload[0] == RECORD
                && datagram.payload.len() > 400
        });
        for (reason, datagram) in spoilt(&record) {
            watch.send(&datagram);
            *offered.entry(reason).or_default() += 1;
        }
        assert_eq!(two.expect("frame", &|got| got[6..12] == mac(1)), frame(number).bytes());
    }
    // All that was offered has been refused, each for its reason.
    let count =
        |refused: &serde_json::Value, reason: &str| refused[reason].as_u64().unwrap_or_default();
    let refused = || {
        let peer = sites[1].peer_named("a")["refused"].clone();
        let host = sites[1].ctl().json("status")["vpn"]["refused"].clone();
        let reasons = offered.keys().copied();
        let counts = reasons.map(|reason| (reason, count(&peer, reason) + count(&host, reason)));
        counts.collect::<BTreeMap<_, _>>()
    };
    let all_is_refused = eventually(|| (refused() == offered).then_some(()));
    assert!(all_is_refused.is_some(), "{:?} of {offered:?}", refused());
    let memory = sites[1].daemon().own_memory_kib();
    assert!(memory <= before + SPARE, "{before} KiB became {memory} KiB");
    // None brought a frame a second time, and none moved the tunnel.
    let end = Frame::new(mac(1), BROADCAST).text("end").bytes();
    one.send(&end);
    let again = two.before_marker(&end).iter().filter(|frame| frame[6..12] == mac(1)).count();
    assert_eq!(again, 0, "frames that came again");
    assert_eq!(sites[1].peer_named("a")["endpoint"], from.to_string());
    two.send(&Frame::new(mac(2), mac(1)).text("and back").bytes());
    one.expect_frame(&Frame::new(mac(2), mac(1)).text("and back").bytes());
}

each_worker_count!(spoilt_records_between_valid_ones_change_nothing);
