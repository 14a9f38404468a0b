//! What WireGuard promises of what is not to be believed, on the wire: no answer to strangers, to what is old or was there
//! before, and no harm by clients that lie. WireGuard paper §5. Where nothing may come back, something that is answered is
//! sent behind, and its answer is the first thing that comes.
//!
//! ```text
//!   web, 10.10.0.5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.1 ══ underlay ══ site b: a client of the test's own
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_netns::{
    ClientKey, Forger, Sites, Underlay, each_worker_count,
    frame::{Frame, Segment},
    until,
};

const ALICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 201));
const ALICE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 0x201));
const ADAPTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 1));
const ADAPTER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 1));
const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 5));
/// A point of order 8: with it, all agree on zero. The same in base64.
#[rustfmt::skip]
const ORDER_8: [u8; 32] = [
    0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
    0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
];
const LOW_ORDER: &str = "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=";

struct Scene {
    sites: Sites,
    forger: Forger,
}

impl Scene {
    fn new(workers: usize) -> Self {
        Self::in_network(workers, 24)
    }

    /// Makes one whose VLAN has a network of this length.
    fn in_network(workers: usize, len: u8) -> Self {
        let mut sites = Underlay::between(2).workers(workers).build();
        let key = ClientKey::new(&sites[1]);
        let text = key.adapter(&sites[0]);
        let own = format!("10.10.0.1/{len}\", \"fd10::1/64\"");
        let text = text.replace("10.10.0.1/24\"", &own);
        let text = text.replace("10.10.0.201/32\"", "10.10.0.201/32\", \"fd10::201/128\"");
        sites[0].start(&text);
        let forger = Forger::at(&sites[1], &key, &sites[0]);
        Self { sites, forger }
    }

    /// How often something was refused that was nobody's, of one reason or of all.
    fn refused(&self, reason: Option<&str>) -> u64 {
        let shown = self.sites[0].ctl().json("wireguard show road");
        let refused = shown["refused"].as_object().expect("refusals are counted").iter();
        let wanted = refused.filter(|(name, _)| reason.is_none_or(|reason| *name == reason));
        wanted.filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// How often something of the client's was dropped for a reason.
    fn dropped(&self, reason: &str) -> u64 {
        let shown = self.sites[0].ctl().json("wireguard show road");
        shown["peers"][0]["drops"][reason].as_u64().unwrap_or(0)
    }

    /// Sends a datagram until it was refused for this reason; one source may not come often.
    fn send_until_refused(&self, datagram: &[u8], reason: &str) {
        let before = self.refused(Some(reason));
        until(&format!("{reason} is counted"), || {
            self.forger.send(datagram);
            self.refused(Some(reason)) > before
        });
    }

    /// The adapter answers a ping of the client's; what else it says before is of other packets.
    #[track_caller]
    fn wait_for_ping(&mut self, sequence: u16) {
        self.wait_for_pings(&[ADAPTER], sequence);
    }

    /// All of them answer.
    #[track_caller]
    fn wait_for_pings(&mut self, hosts: &[IpAddr], sequence: u16) {
        let mut silent = hosts.to_vec();
        until("all answer", || {
            for host in &silent {
                let ping = self.forger.seal(&echo(ALICE, *host, 8, sequence));
                self.forger.send(&ping);
            }
            while !silent.is_empty() {
                let Some(packet) = self.forger.packet() else { break };
                silent.retain(|host| !answers(&packet, *host, sequence));
            }
            silent.is_empty()
        });
    }
}

/// Makes the packet of a frame that the test's own tools build.
fn packet(frame: &Frame) -> Vec<u8> {
    frame.bytes()[14..].to_vec()
}

fn frame() -> Frame {
    Frame::new([2; 6], [4; 6])
}

fn echo(from: IpAddr, to: IpAddr, kind: u8, sequence: u16) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0, 0, 1][..], &sequence.to_be_bytes(), b"promised"].concat();
    let words = message.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(&frame().ip(from, to, 1, &message))
}

/// Tells whether a packet answers the client's ping of a host; addresses and what is behind them say so.
fn answers(packet: &[u8], host: IpAddr, sequence: u16) -> bool {
    const ADDRESSES: usize = 12;
    packet.get(ADDRESSES..) == echo(host, ALICE, 0, sequence).get(ADDRESSES..)
}

/// Numbers that are the same in each run.
fn dice(mut state: u64) -> impl FnMut(usize) -> usize {
    move |sides| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % sides
    }
}

fn a_stranger_is_met_with_silence(workers: usize) {
    let mut scene = Scene::new(workers);
    let initiation = scene.forger.initiation();
    let without_mac1 = [&initiation[..116], &[0; 32]].concat();
    let altered = {
        let mut message = initiation.clone();
        message[40] ^= 1;
        message
    };
    let mut roll = dice(5);
    let garbage =
        (0..200).chain([1472, 9000, 65_000]).flat_map(|len| (0..6).map(move |kind| (kind, len)));
    let garbage = garbage.map(|(kind, len): (u8, usize)| {
        let mut bytes: Vec<_> = (0..len).map(|_| roll(256) as u8).collect();
        let word = [kind, 0, 0, 0];
        let common = len.min(word.len());
        bytes[..common].copy_from_slice(&word[..common]);
        bytes
    });
    let (mut sent, before) = (0, scene.refused(None));
    let counted = |scene: &Scene, sent| {
        until("all is counted, once", || scene.refused(None) >= before + sent);
        assert_eq!(scene.refused(None), before + sent);
    };
    for datagram in [without_mac1, altered].into_iter().chain(garbage) {
        scene.forger.send(&datagram);
        sent += 1;
        // No more than a socket holds.
        if sent % 64 == 0 || datagram.len() > 1472 {
            counted(&scene, sent);
        }
    }
    counted(&scene, sent);
    assert!(scene.refused(Some("forged")) >= 2);
    scene.forger.connect();
    scene.wait_for_ping(1);
}

fn an_initiation_that_is_not_newer_is_not_answered(workers: usize) {
    let mut scene = Scene::new(workers);
    let older = scene.forger.initiation();
    let newer = scene.forger.initiation();
    scene.forger.connect();
    scene.wait_for_ping(1);
    for initiation in [older, newer.clone(), newer] {
        scene.send_until_refused(&initiation, "old-timestamp");
    }
    // The session that there is lives on, and a new one is to be had.
    scene.wait_for_ping(2);
    scene.forger.connect();
    scene.wait_for_ping(3);
}

/// A client stays who it is while its adapter has the same key: whatever else of it changes, and by whatever name it goes.
fn a_change_of_the_adapter_has_nobody_believe_anything_twice(workers: usize) {
    let mut scene = Scene::new(workers);
    let recorded = scene.forger.initiation();
    scene.forger.connect();
    scene.wait_for_ping(1);
    let text = scene.sites[0].daemon().config();
    let renamed = text.replace("[wireguard.road.peer.alice]", "[wireguard.road.peer.alicia]");
    assert_ne!(renamed, text);
    let wider = renamed.replace("[wireguard.road]\n", "[wireguard.road]\nmtu = 1380\n");
    assert_ne!(wider, renamed);
    for (sequence, text) in (2..).step_by(2).zip([renamed, wider, text]) {
        let file = scene.sites[0].lab().path("changed.toml");
        std::fs::write(&file, text).expect("the lab is our own");
        scene.sites[0].ctl().run(&format!("apply {}", file.display()));
        // The session lives on, and the endpoint is known.
        scene.wait_for_ping(sequence);
        scene.send_until_refused(&recorded, "old-timestamp");
        scene.wait_for_ping(sequence + 1);
    }
    scene.forger.connect();
    scene.wait_for_ping(9);
}

fn a_record_that_comes_again_is_dropped(workers: usize) {
    let mut scene = Scene::new(workers);
    scene.forger.connect();
    scene.wait_for_ping(1);
    let ping = scene.forger.seal(&echo(ALICE, ADAPTER, 8, 2));
    for _ in 0..4 {
        scene.forger.send(&ping);
    }
    until("it is counted", || scene.dropped("replayed") == 3);
    let last = scene.forger.seal(&echo(ALICE, ADAPTER, 8, 3));
    scene.forger.send(&last);
    let mut came = Vec::new();
    until("two answers", || {
        came.extend(scene.forger.packet().filter(|packet| !answers(packet, ADAPTER, 1)));
        came.len() == 2
    });
    assert!(answers(&came[0], ADAPTER, 2) && answers(&came[1], ADAPTER, 3), "{came:?}");
    assert_eq!(scene.dropped("replayed"), 3);
}

/// An ephemeral key with which all would agree on the same secret is refused before it is used.
fn ephemeral_keys_of_low_order_are_not_answered(workers: usize) {
    let mut scene = Scene::new(workers);
    let point = |first: u8| [&[first][..], &[0; 31]].concat();
    for low in [point(0), point(1), ORDER_8.to_vec()] {
        let mut initiation = scene.forger.initiation();
        initiation[8..40].copy_from_slice(&low);
        let initiation = scene.forger.with_mac1(initiation);
        scene.send_until_refused(&initiation, "low-order");
    }
    scene.forger.connect();
    scene.wait_for_ping(1);
}

fn a_peers_key_of_low_order_is_refused(workers: usize) {
    let mut scene = Scene::new(workers);
    let before = scene.sites[0].daemon().config();
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for key in [LOW_ORDER, zeros] {
        let add = format!("wireguard peer add road eve --public-key {key} --allowed-ips fd10::9");
        let output = scene.sites[0].ctl().line(&add);
        assert_ne!(output.code, Some(0), "{key}");
        assert!(output.stderr.contains("protects nothing"), "{}", output.stderr);
        let set = format!("set road peer {key} allowed-ips 10.10.0.9/32");
        assert!(!scene.sites[0].daemon().wg(&set).status.success(), "{key}");
    }
    assert_eq!(scene.sites[0].daemon().config(), before);
    scene.forger.connect();
    scene.wait_for_ping(1);
}

fn a_client_that_lies_about_lengths_is_dropped_and_counted(workers: usize) {
    let mut scene = Scene::new(workers);
    scene.forger.connect();
    scene.wait_for_ping(1);
    let good = packet(&frame().udp(ALICE, WEB, &[7; 20]));
    let good6 = packet(&frame().udp(ALICE6, ADAPTER6, &[7; 20]));
    let with = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    let mut longer6 = good6.clone();
    longer6[5] += 1;
    let lies = [
        ("one byte", vec![0x45]),
        ("no version", vec![0; 40]),
        ("another version", with(0, 0x55)),
        ("a header cut short", good[..19].to_vec()),
        ("a header of 16 bytes", with(0, 0x44)),
        ("a header longer than all", with(0, 0x4f)),
        ("longer than it is", with(3, good[3] + 1)),
        ("much longer", with(2, 0xff)),
        ("no length", with(3, 0)),
        ("shorter than its header", with(3, 19)),
        ("a header of IPv6 cut short", good6[..39].to_vec()),
        ("IPv6, longer than it is", longer6),
    ];
    for (count, (name, lie)) in (1..).zip(lies) {
        let record = scene.forger.seal(&lie);
        scene.forger.send(&record);
        until(&format!("{name} is counted"), || scene.dropped("malformed") == count);
    }
    scene.wait_for_ping(2);
}

/// Whatever a client puts into its session, the next right packet is served.
fn a_client_that_says_anything_does_no_harm(workers: usize) {
    let mut scene = Scene::new(workers);
    let web = scene.sites[0].host("tap-a", "10.10.0.5/24");
    scene.forger.connect();
    scene.wait_for_ping(0);
    let segment = Segment {
        ports: (4000, 4001),
        sequence: 1,
        acknowledgement: 0,
        flags: 2,
        options: &[2, 4, 5, 0xb4, 1, 3, 3, 7],
        payload: &[],
    };
    let truths = [
        packet(&frame().udp(ALICE, WEB, &[7; 40])),
        packet(&frame().tcp(ALICE, WEB, &segment)),
        packet(&frame().udp(ALICE6, ADAPTER6, &[7; 40])),
        packet(&frame().too_big(ALICE, WEB, 1000, &echo(WEB, ALICE, 8, 9))),
        echo(ALICE, ADAPTER, 8, 9),
    ];
    let mut roll = dice(7);
    for round in 1..=40 {
        for _ in 0..50 {
            let mut lie = truths[roll(truths.len())].clone();
            for _ in 0..=roll(4) {
                // What is checked first is spared mostly, so that the rest is looked at.
                let at = if roll(4) == 0 { roll(lie.len()) } else { roll(lie.len() - 20) + 20 };
                lie[at] = roll(256) as u8;
            }
            let len = if roll(3) == 0 { roll(lie.len()) + 1 } else { lie.len() };
            let record = scene.forger.seal(&lie[..len]);
            scene.forger.send(&record);
        }
        scene.wait_for_ping(round);
    }
    assert!(scene.dropped("malformed") > 0);
    assert!(scene.sites[0].daemon_mut().is_running());
    let log = scene.sites[0].daemon().log();
    assert!(!log.contains("panicked"), "{log}");
    drop(web);
}

/// A client scans more addresses than the adapter keeps in mind, and a host answers for all of them.
fn a_client_that_scans_leaves_the_vlan_within_reach(workers: usize) {
    const MORE_THAN_ARE_KEPT: u16 = 5000;
    let mut scene = Scene::in_network(workers, 16);
    let web = scene.sites[0].host("tap-a", "10.10.0.5/16");
    web.run("ip addr add 10.10.0.6/16 dev eth0");
    web.run("ip route add local 10.10.128.0/17 dev lo");
    scene.forger.connect();
    scene.wait_for_pings(&[WEB], 1);
    let scanned = (0..MORE_THAN_ARE_KEPT).map(|number| {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([10, 10, 128 + high, low])
    });
    for some in scanned.collect::<Vec<_>>().chunks(32) {
        scene.wait_for_pings(some, 2);
    }
    // Nobody has sent to it yet.
    scene.wait_for_pings(&[IpAddr::from([10, 10, 0, 6]), WEB], 3);
}

each_worker_count!(
    a_client_that_scans_leaves_the_vlan_within_reach,
    a_stranger_is_met_with_silence,
    an_initiation_that_is_not_newer_is_not_answered,
    a_change_of_the_adapter_has_nobody_believe_anything_twice,
    a_record_that_comes_again_is_dropped,
    ephemeral_keys_of_low_order_are_not_answered,
    a_peers_key_of_low_order_is_refused,
    a_client_that_lies_about_lengths_is_dropped_and_counted,
    a_client_that_says_anything_does_no_harm,
);
