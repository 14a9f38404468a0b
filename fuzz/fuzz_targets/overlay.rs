//! The overlay of a host under two peers, one of them hostile: messages of every type, any bytes, guests that come
//! and go, sessions that flap, time. The hostile peer never has more than it may, nothing is said of segments that
//! are not the listener's, and in the end a guest that speaks is here whatever was said of it.

#![no_main]

use std::{net::IpAddr, time::Duration};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use weft_overlay::{
    Answering, Hold, HostKey, LocalPort, Overlay, Owner, PeerId, PeerSpec, SegmentId,
    wire::{Body, Entry, Message, PAYLOAD_MAX, Stamp},
};
use weft_vlan::MacAddr;

const MAC_LIMIT: usize = 5;
const PEERS: [PeerId; 2] = [PeerId(0), PeerId(1)];
/// Peer 0 may carry the first two, peer 1 the first alone.
const SEGMENTS: [u32; 3] = [1, 2, 3];

#[derive(Arbitrary, Debug)]
enum Operation {
    Raw { peer: bool, bytes: Vec<u8> },
    Message { peer: bool, epoch: u8, session: u8, body: Said },
    Learned { segment: u8, mac: u8, is_static: bool },
    Forgotten { segment: u8, mac: u8 },
    Frame { segment: u8, bytes: Vec<u8> },
    Session { peer: bool, is_up: bool },
    Carry { peer: bool, segments: u8 },
    Wait(u32),
}

#[derive(Arbitrary, Debug)]
enum Said {
    Catalogue { revision: u8, from: u8, total: u8, items: Vec<(u8, u8)> },
    Claims { segment: u8, round: u8, from: u8, to: u8, full: u8, entries: Vec<Claim> },
    Ack { session: u8, catalogue: (u8, u8), logs: Vec<(u8, u8, u8)> },
    Dispute(Vec<(u8, u8, u64)>),
}

#[derive(Arbitrary, Debug)]
struct Claim {
    mac: u8,
    sequence: Option<u64>,
    ip: Option<IpAddr>,
}

fn segment(number: u8) -> SegmentId {
    SegmentId::new(SEGMENTS[usize::from(number) % SEGMENTS.len()]).expect("it is one")
}

fn mac(number: u8) -> MacAddr {
    // A few that cannot be sources among them.
    MacAddr::new([if number > 250 { 1 } else { 2 }, 0, 0, 0, 0, number % 8])
}

impl Said {
    fn into_body(self) -> Body {
        match self {
            Self::Catalogue { revision, from, total, items } => Body::Catalogue {
                revision: revision.into(),
                from: from.into(),
                total: total.into(),
                items: items
                    .into_iter()
                    .take(50)
                    .map(|(id, name)| (segment(id), format!("s{}", name % 4)))
                    .collect(),
            },
            Self::Claims { segment: of, round, from, to, full, entries } => Body::Claims {
                segment: segment(of),
                round: round.into(),
                from: from.into(),
                to: to.into(),
                full: full.into(),
                entries: entries
                    .into_iter()
                    .take(20)
                    .map(|claim| Entry {
                        mac: mac(claim.mac),
                        claim: claim
                            .sequence
                            .map(|sequence| (sequence, claim.ip.into_iter().collect())),
                    })
                    .collect(),
            },
            Self::Ack { session, catalogue: (revision, items), logs } => Body::Ack {
                of: Stamp { epoch: 1, session: (session % 4).into() },
                catalogue: (revision.into(), items.into()),
                logs: logs
                    .into_iter()
                    .take(50)
                    .map(|(id, round, version)| (segment(id), round.into(), version.into()))
                    .collect(),
            },
            Self::Dispute(disputed) => Body::Dispute(
                disputed
                    .into_iter()
                    .take(50)
                    .map(|(id, number, sequence)| (segment(id), mac(number), sequence))
                    .collect(),
            ),
        }
    }
}

fn spec(peer: PeerId, carried: u8) -> PeerSpec {
    let may = if peer.0 == 0 { 2 } else { 1 };
    let segments = (0..may)
        .filter(|number| carried & 1 << number == 0)
        .map(|number| (segment(number), format!("s{number}")))
        .collect();
    PeerSpec { key: HostKey::new([peer.0 as u8 * 9; 32]), segments, mac_limit: MAC_LIMIT }
}

fuzz_target!(|operations: Vec<Operation>| {
    let mut overlay = Overlay::new(HostKey::new([5; 32]), 1, 77);
    let mut now = Duration::from_secs(100);
    overlay.set_answering(segment(0), Answering::On);
    for peer in PEERS {
        overlay.set_peer(now, peer, &spec(peer, 0));
        overlay.session_up(now, peer);
    }
    for operation in operations.into_iter().take(200) {
        match operation {
            Operation::Raw { peer, bytes } => {
                overlay.receive(now, PEERS[usize::from(peer)], &bytes);
            }
            Operation::Message { peer, epoch, session, body } => {
                let stamp = Stamp { epoch: epoch.into(), session: session.into() };
                let payload = Message { stamp, body: body.into_body() }.to_bytes();
                overlay.receive(now, PEERS[usize::from(peer)], &payload);
            }
            Operation::Learned { segment: of, mac: number, is_static } => {
                let hold = if is_static { Hold::Static } else { Hold::Learned };
                overlay.learned(now, segment(of), mac(number), LocalPort(1), hold);
            }
            Operation::Forgotten { segment: of, mac: number } => {
                overlay.forgotten(now, segment(of), mac(number));
            }
            Operation::Frame { segment: of, bytes } => {
                overlay.observe(segment(of), &bytes);
                let _ = overlay.answer(segment(of), &bytes);
            }
            Operation::Session { peer, is_up: true } => {
                overlay.session_up(now, PEERS[usize::from(peer)]);
            }
            Operation::Session { peer, is_up: false } => {
                overlay.session_down(now, PEERS[usize::from(peer)]);
            }
            Operation::Carry { peer, segments } => {
                let peer = PEERS[usize::from(peer)];
                overlay.set_peer(now, peer, &spec(peer, segments));
            }
            Operation::Wait(millis) => {
                now += Duration::from_millis((millis % 400_000).into());
                overlay.handle_timeout(now);
            }
        }
        listen(&mut overlay, now);
    }
    ends_well(&mut overlay, now);
});

/// Takes what the overlay has to say.
fn listen(overlay: &mut Overlay, now: Duration) {
    for peer in PEERS {
        assert!(overlay.claimed_by(peer) <= MAC_LIMIT);
    }
    while overlay.poll_event().is_some() {}
    let mut budget = 1000;
    while let Some((peer, payload)) = overlay.poll_transmit(now) {
        assert!(payload.len() <= PAYLOAD_MAX);
        let message = Message::read(&payload).expect("what goes out can be read");
        let may = |segment: &SegmentId| segment.get() <= if peer.0 == 0 { 2 } else { 1 };
        match message.body {
            Body::Catalogue { items, .. } => assert!(items.iter().all(|(id, _)| may(id))),
            Body::Claims { segment, .. } => assert!(may(&segment)),
            Body::Ack { logs, .. } => assert!(logs.iter().all(|(id, ..)| may(id))),
            Body::Dispute(disputed) => assert!(disputed.iter().all(|(id, ..)| may(id))),
        }
        budget -= 1;
        assert!(budget > 0, "nothing is said for ever");
    }
}

/// Once nobody flaps, one frame brings a guest back.
fn ends_well(overlay: &mut Overlay, mut now: Duration) {
    for _ in 0..4 {
        now += Duration::from_secs(200);
        overlay.handle_timeout(now);
        listen(overlay, now);
    }
    for number in 0..8 {
        overlay.learned(now, segment(0), mac(number), LocalPort(1), Hold::Learned);
        assert_eq!(overlay.owner(segment(0), mac(number)), Some(Owner::Here));
    }
    for peer in PEERS {
        overlay.remove_peer(now, peer);
        assert_eq!(overlay.claimed_by(peer), 0);
    }
    for number in 0..8 {
        overlay.forgotten(now, segment(0), mac(number));
    }
    while overlay.poll_event().is_some() {}
}
