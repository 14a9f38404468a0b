//! A peer with good keys that lies about everything else: what it says costs itself alone, whoever it lies about is back
//! with one frame, and the daemons stay up.
//!
//! ```text
//!   card-a ── netdev ─ site a ══╦══ site c ─ netdev ── card-c
//!                               ║
//!                           the liar, in the place of site b
//! ```

use weft_netns::{
    Liar, Nic, Site, Sites, Underlay, Wire, each_worker_count,
    frame::{BROADCAST, Frame, Mac, mac, mac_text},
    liar::bundle,
    until,
    watch::contains,
};
use weft_vpn::Kind;

const OFFICE: u32 = 5010;
const A: usize = 0;
const LIAR: usize = 1;
const C: usize = 2;
/// The guests at a and c.
const AT_A: Mac = mac(1);
const AT_C: Mac = mac(3);

fn switch(site: &Site, more: &str) -> String {
    format!(
        "[port.card]\ntype = \"netdev\"\ndevice = \"card-{}\"\nvlan = {{ access = 10 }}\n\
         [segment.office]\nid = {OFFICE}\nvlan = 10\n{more}",
        site.name()
    )
}

struct Scene {
    sites: Sites,
    one: Nic,
    three: Nic,
    liar: Liar,
}

impl Scene {
    fn new(workers: usize, more: &str) -> Self {
        let mut sites = Underlay::between(3).workers(workers).build();
        let (one, three) = (sites[A].nic("card-a"), sites[C].nic("card-c"));
        for (own, other) in [(A, C), (C, A)] {
            let carries = "segments = [\"office\"]";
            let (own_site, others) = (&sites[own], [&sites[other], &sites[LIAR]]);
            let peers = others.map(|other| own_site.peer(other, carries)).concat();
            let text = [switch(own_site, more), own_site.vpn(), peers].concat();
            sites[own].start(&text);
            sites[own].ctl().wait_for_state("card", "up");
        }
        sites[A].wait_for_peer("c", "up");
        sites[C].wait_for_peer("a", "up");
        let mut liar = Liar::at(&sites[LIAR], &sites[A]);
        sites[A].wait_for_peer("b", "up");
        liar.catalogue(&[(OFFICE, "office")]);
        let mut scene = Self { sites, one, three, liar };
        scene.hello(A);
        scene.hello(C);
        scene.wait_for(A, AT_C, ("vpn.c", "remote"));
        scene.wait_for(C, AT_A, ("vpn.a", "remote"));
        scene
    }

    /// Has the guest of a site say a word.
    fn hello(&mut self, at: usize) {
        let (nic, guest) = if at == A { (&mut self.one, AT_A) } else { (&mut self.three, AT_C) };
        nic.send(&Frame::new(guest, BROADCAST).text("hello").bytes());
    }

    #[track_caller]
    fn wait_for(&self, at: usize, address: Mac, expected: (&str, &str)) {
        let ctl = self.sites[at].ctl();
        let place = Some((expected.0.to_owned(), expected.1.to_owned()));
        let what = format!("{} of {} is {expected:?}", mac_text(address), self.sites[at].name());
        until(&what, || ctl.fdb(10, &mac_text(address)) == place);
    }

    /// How often something of the liar's was refused at a.
    fn refused(&self, reason: &str) -> u64 {
        self.sites[A].peer_named("b")["refused"][reason].as_u64().unwrap_or_default()
    }

    /// Waits until a site has taken in all that the liar said before.
    #[track_caller]
    fn wait_until_heard(&mut self) {
        let known = mac(0xee);
        self.liar.claim(OFFICE, &[(known, 0, &[])]);
        self.wait_for(A, known, ("vpn.b", "remote"));
    }

    /// Sees to it that the guests of a and c still talk to each other alone.
    #[track_caller]
    fn talk(&mut self, text: &str) {
        let there = Frame::new(AT_A, AT_C).text(text).bytes();
        self.one.send(&there);
        self.three.expect_frame(&there);
        let back = Frame::new(AT_C, AT_A).text(text).bytes();
        self.three.send(&back);
        self.one.expect_frame(&back);
        let heard = self.liar.look();
        assert!(
            !heard.iter().any(|(_, payload)| contains(payload, text.as_bytes())),
            "what they say reaches the liar"
        );
    }
}

fn whose_address_is_taken_is_back_with_one_frame(workers: usize) {
    let mut scene = Scene::new(workers, "");
    scene.liar.claim(OFFICE, &[(AT_A, 1, &[]), (AT_C, 1, &[])]);
    scene.wait_for(A, AT_A, ("vpn.b", "remote"));
    scene.wait_for(A, AT_C, ("vpn.b", "remote"));
    scene.hello(A);
    scene.wait_for(A, AT_A, ("card", "dynamic"));
    scene.wait_for(C, AT_A, ("vpn.a", "remote"));
    // The liar told a alone: c hears of it from a, and claims its guest above that when it says a word.
    until("c's guest is back with a word", || {
        scene.hello(C);
        scene.sites[A].ctl().fdb(10, &mac_text(AT_C))
            == Some(("vpn.c".to_owned(), "remote".to_owned()))
    });
    scene.liar.look();
    scene.talk("after the theft");
}

fn the_highest_sequence_takes_nothing(workers: usize) {
    let mut scene = Scene::new(workers, "");
    for sequence in [u64::MAX, 1 << 40, (1 << 33) + 1] {
        scene.liar.claim(OFFICE, &[(AT_A, sequence, &[]), (AT_C, sequence, &[])]);
    }
    scene.wait_until_heard();
    scene.wait_for(A, AT_A, ("card", "dynamic"));
    scene.wait_for(A, AT_C, ("vpn.c", "remote"));
    until("jumps are told", || scene.refused("sequence-jump") > 0);
    scene.liar.look();
    scene.talk("after the jumps");
}

fn a_million_claims_cost_the_liar_alone(workers: usize) {
    let mut scene = Scene::new(workers, "");
    let before = scene.sites[A].daemon().own_memory_kib();
    let mut number = 0_u32;
    while number < 1_000_000 {
        let macs: Vec<Mac> = (number..number + 70)
            .map(|number| {
                let [a, b, c, d] = number.to_be_bytes();
                [2, 0xff, a, b, c, d]
            })
            .collect();
        let claims: Vec<(Mac, u64, &[[u8; 4]])> =
            macs.iter().map(|&mac| (mac, 0, &[][..])).collect();
        scene.liar.claim(OFFICE, &claims);
        number += 70;
        if number.is_multiple_of(70 * 500) {
            scene.liar.look();
        }
    }
    until("claims beyond its share are refused", || {
        scene.refused("mac-limit")
            + scene.refused("too-many-messages")
            + scene.refused("overlay-flood")
            > 0
    });
    scene.wait_for(A, AT_A, ("card", "dynamic"));
    scene.wait_for(A, AT_C, ("vpn.c", "remote"));
    scene.liar.look();
    scene.talk("after a million claims");
    let grown = scene.sites[A].daemon().own_memory_kib().saturating_sub(before);
    // Its share is 65 536 addresses; all of them would be ten times that.
    assert!(grown < 160 * 1024, "{grown} KiB more");
}

fn what_may_not_be_claimed_is_refused(workers: usize) {
    let mut scene = Scene::new(workers, "[segment.lab]\nid = 5020\nvlan = 20\n");
    scene.liar.claim(5020, &[(mac(9), 0, &[])]);
    scene
        .liar
        .claim(OFFICE, &[(BROADCAST, 0, &[]), ([0; 6], 0, &[]), ([1, 0, 0x5e, 0, 0, 1], 0, &[])]);
    scene.liar.overlay(9, b"nothing");
    scene.liar.overlay(2, b"short");
    scene.liar.say(Kind::Overlay, b"");
    scene.wait_until_heard();
    for (reason, count) in [("foreign-segment", 1), ("bad-address", 3), ("malformed", 3)] {
        until(reason, || scene.refused(reason) == count);
    }
    assert_eq!(scene.sites[A].ctl().fdb(20, &mac_text(mac(9))), None);
    scene.talk("after the refusals");
}

fn five_moves_freeze_an_address_where_it_was(workers: usize) {
    let mut scene = Scene::new(workers, "");
    // A claim and a word, by turns: each is a move.
    for round in 0..2 {
        scene.liar.claim(OFFICE, &[(AT_A, 2 * round + 1, &[])]);
        scene.wait_for(A, AT_A, ("vpn.b", "remote"));
        scene.hello(A);
        scene.wait_for(A, AT_A, ("card", "dynamic"));
    }
    scene.liar.claim(OFFICE, &[(AT_A, 5, &[])]);
    scene.sites[A].daemon().wait_for_log(0, "frozen");
    scene.liar.claim(OFFICE, &[(AT_A, 100, &[])]);
    scene.wait_until_heard();
    scene.hello(A);
    scene.wait_for(A, AT_A, ("card", "dynamic"));
    until("it is said", || {
        let status = scene.sites[A].ctl().run("status");
        status.contains(&format!("{} moved from host to host", mac_text(AT_A)))
    });
}

fn bundles_and_fragments_with_lying_lengths_bring_nothing(workers: usize) {
    let mut scene = Scene::new(workers, "");
    let frame = Frame::new(mac(2), BROADCAST).text("a lie").bytes();
    let good = bundle(OFFICE, &[(None, &frame), (None, &frame)]);
    let second = 4 + 4 + frame.len();
    let with = |at: usize, word: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        bytes
    };
    let mut offered = 0;
    let mut lie = |liar: &mut Liar, payload: &[u8]| {
        liar.say(Kind::Bundle, payload);
        offered += 1;
    };
    for len in [frame.len() as u32 + 1, 0x00ff_ffff, 0x8000_0000 | frame.len() as u32] {
        lie(&mut scene.liar, &with(second, len));
    }
    for word in [0x1000_0000 | frame.len() as u32, 0x7000_0000] {
        lie(&mut scene.liar, &with(second, word));
    }
    lie(&mut scene.liar, &with(0, 0));
    lie(&mut scene.liar, &with(0, 0x0100_0000));
    lie(&mut scene.liar, &good[..3]);
    lie(&mut scene.liar, &good[..4]);
    lie(&mut scene.liar, b"");
    lie(&mut scene.liar, &[&good[..second], &[0, 0, 0, 0, 7]].concat());
    let many: Vec<(Option<[u8; 10]>, &[u8])> =
        (0..65).map(|_| (None, &b"0123456789abcdef"[..])).collect();
    lie(&mut scene.liar, &bundle(OFFICE, &many));
    // Pieces: number, length, index, count.
    let piece = |id: u32, len: u32, index: u8, count: u8, bytes: &[u8]| {
        [&id.to_le_bytes()[..], &len.to_le_bytes(), &[index, count], bytes].concat()
    };
    let fill = [0x41; 1000];
    for payload in [
        piece(1, u32::MAX, 0, 2, &fill),
        piece(2, 2000, 7, 2, &fill),
        piece(3, 2000, 0, 0, &fill),
        piece(4, 2000, 0, 255, &fill),
        piece(5, 10, 0, 2, &fill),
        piece(6, 2000, 0, 2, b""),
        b"short".to_vec(),
    ] {
        scene.liar.say(Kind::Fragment, &payload);
        offered += 1;
    }
    // Two that do not agree about their bundle, and a whole one that is no bundle.
    scene.liar.say(Kind::Fragment, &piece(7, 1990, 0, 2, &fill));
    scene.liar.say(Kind::Fragment, &piece(7, 1500, 1, 2, &fill[..500]));
    scene.liar.say(Kind::Fragment, &piece(8, 2000, 0, 2, &fill));
    scene.liar.say(Kind::Fragment, &piece(8, 2000, 1, 2, &fill));
    offered += 2;
    // More that begin than are kept, none of which is ever whole.
    for id in 100..2000 {
        scene.liar.say(Kind::Fragment, &piece(id, 60_000, 0, 60, &fill));
    }
    until("the lies are counted", || {
        let refused = scene.sites[A].peer_named("b")["refused"].clone();
        let counts = refused.as_object().expect("an object").iter();
        let of = |kind: &str| {
            let reasons = counts.clone().filter(|(reason, _)| reason.starts_with(kind));
            reasons.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
        };
        of("bundle") + of("fragment") >= offered
    });
    let end = Frame::new(mac(2), BROADCAST).text("the truth").bytes();
    scene.liar.say(Kind::Bundle, &bundle(OFFICE, &[(None, &end)]));
    let before = scene.one.before_marker(&end);
    assert!(!before.iter().any(|frame| frame[6..12] == mac(2)), "{before:02x?}");
    // Nor does it reach c, whatever it is: in by a tunnel, never out by one.
    scene.talk("after the lies");
}

fn offload_metadata_that_lies_is_dropped(workers: usize) {
    let mut scene = Scene::new(workers, "");
    let ip = |last: u8| [10, 0, 0, last].into();
    let udp = Frame::new(mac(2), AT_A).udp(ip(2), ip(1), &[0x55; 600]).bytes();
    // flags, type of GSO, length of the headers, size of a segment, where the checksum begins and lies
    let vnet = |flags: u8, gso: u8, [header, size, start, offset]: [u16; 4]| {
        let mut bytes = [0; 10];
        (bytes[0], bytes[1]) = (flags, gso);
        for (at, value) in [header, size, start, offset].into_iter().enumerate() {
            bytes[2 + 2 * at..4 + 2 * at].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    };
    let lies = [
        vnet(1, 0, [0, 0, 0, 6]),
        vnet(1, 0, [0, 0, 14, 6]),
        vnet(1, 0, [0, 0, 34, 2000]),
        vnet(1, 0, [0, 0, u16::MAX, u16::MAX]),
        vnet(1, 1, [54, 100, 34, 16]),
        vnet(1, 4, [54, 100, 34, 16]),
        vnet(1, 5, [42, 0, 34, 6]),
        vnet(1, 5, [42, 1, 34, 6]),
        vnet(0, 5, [42, 100, 0, 0]),
        vnet(1, 77, [42, 100, 34, 6]),
    ];
    for lie in lies {
        scene.liar.say(Kind::Bundle, &bundle(OFFICE, &[(Some(lie), &udp)]));
    }
    let ctl = scene.sites[A].ctl();
    ctl.wait_for_drops("vpn.b", "rx", "bad-offload", lies.len() as u64);
    let end = Frame::new(mac(2), AT_A).text("the truth").bytes();
    scene.liar.say(Kind::Bundle, &bundle(OFFICE, &[(None, &end)]));
    let before = scene.one.before_marker(&end);
    assert!(!before.iter().any(|frame| frame[6..12] == mac(2)), "{before:02x?}");
}

fn a_gateway_that_the_liar_claims_to_be_is_asked_itself(workers: usize) {
    let mut scene = Scene::new(workers, "answer-arp = true\n");
    let gateway = [10, 0, 0, 1];
    // The gateway is at a, and known by its own word.
    scene.one.send(&Frame::new(AT_A, BROADCAST).arp(1, (AT_A, gateway), ([0; 6], gateway)).bytes());
    scene.liar.claim(OFFICE, &[(mac(2), 0, &[gateway])]);
    scene.wait_for(A, mac(2), ("vpn.b", "remote"));
    scene.sites[A].daemon().wait_for_log(0, "claim one address");
    let frozen = Frame::new(mac(4), BROADCAST).arp(1, (mac(4), [10, 0, 0, 4]), ([0; 6], gateway));
    // Asked at a, by another guest there: nobody answers for it, it is asked itself.
    scene.one.send(&frozen.bytes());
    scene.three.expect_frame(&frozen.bytes());
    let end = Frame::new(AT_C, BROADCAST).text("end").bytes();
    scene.three.send(&end);
    let answers = scene.one.before_marker(&end);
    assert!(answers.iter().all(|frame| frame[..6] != mac(4)), "{answers:02x?}");
}

each_worker_count!(
    whose_address_is_taken_is_back_with_one_frame,
    the_highest_sequence_takes_nothing,
    a_million_claims_cost_the_liar_alone,
    what_may_not_be_claimed_is_refused,
    five_moves_freeze_an_address_where_it_was,
    bundles_and_fragments_with_lying_lengths_bring_nothing,
    offload_metadata_that_lies_is_dropped,
    a_gateway_that_the_liar_claims_to_be_is_asked_itself,
);
