//! Keepers that talk over loopback; the test is the workers of both ends.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::sync::mpsc;
use weft_ports::{
    Scratch,
    udp::{self, Segmentation, Socket},
};
use weft_vpn::{HostConfig, PeerConfig, PeerId, PrivateKey, Suites};

use super::{Directory, Incoming, Keeper, Notes, Peer, Stamps, keeper::random, notes::notes};
use crate::clock;

const PEER: PeerId = PeerId(0);
const PATIENCE: Duration = Duration::from_secs(20);

struct End {
    keeper: Keeper,
    incoming: Incoming,
    directory: Arc<Directory>,
    notes: Notes,
    peer: Arc<Peer>,
    key: PrivateKey,
    address: SocketAddr,
    /// What the overlay would read.
    _overlay: mpsc::Receiver<super::OverlayMessage>,
}

impl End {
    fn new() -> Self {
        let key = PrivateKey::generate(&mut random);
        let config =
            HostConfig { private_key: key.clone(), previous_private_key: None, mark: None };
        let listen = "127.0.0.1:0".parse().unwrap();
        let socket: Socket = udp::open(listen, 1, Segmentation::Kernel).unwrap().remove(0);
        let receiver = socket.receiver();

        let address = socket.address().unwrap();
        let directory = Arc::new(Directory::default());
        let (overlay, heard) = mpsc::channel(16);
        let (notes, inbox) = notes(overlay);
        let incoming = Incoming::new(receiver, directory.clone(), notes.clone());
        let inbox = (notes.clone(), inbox);
        let stamps = Stamps::default();
        let keeper =
            Keeper::start(config, stamps, socket, directory.clone(), inbox, Box::new(drop));
        Self {
            keeper: keeper.unwrap(),
            incoming,
            directory,
            notes,
            peer: Arc::new(Peer::new(PEER, 0)),
            key,
            address,
            _overlay: heard,
        }
    }

    async fn add(&self, other: &Self) {
        let config = PeerConfig {
            key: other.key.public(),
            preshared_key: None,
            endpoint: Some(other.address),
            suites: Suites::default(),
            greatest: None,
        };
        self.keeper.add(self.peer.clone(), config).await.unwrap();
    }
}

/// Does the workers' part until the condition holds.
fn serve_until(what: &str, ends: &mut [End; 2], condition: impl Fn(&[End; 2]) -> bool) {
    let begin = clock::elapsed();
    let mut scratch = Scratch::new();
    while !condition(ends) {
        assert!(clock::elapsed() < begin + PATIENCE, "{what}");
        for end in &mut *ends {
            end.incoming.serve(&mut scratch, |_, _| {}).unwrap();
        }
        std::thread::yield_now();
    }
}

async fn joined() -> [End; 2] {
    let mut ends = [End::new(), End::new()];
    ends[0].add(&ends[1]).await;
    ends[1].add(&ends[0]).await;
    serve_until("a session at both ends", &mut ends, |ends| {
        ends.iter().all(|end| end.peer.way().is_some())
    });
    ends
}

#[tokio::test]
async fn a_removed_peer_is_silent_when_the_removal_returns() {
    let mut ends = joined().await;
    assert!(!ends[0].directory.sessions().is_empty());
    {
        // In the middle of a burst.
        let way = ends[0].peer.way();
        let mut removal = pin!(ends[0].keeper.remove(PEER));
        let mut poll_once = async || {
            poll_fn(|context| Poll::Ready(removal.as_mut().poll(context).is_ready())).await
        };
        let begin = clock::elapsed();
        while !poll_once().await && ends[0].peer.way().is_some() {
            assert!(clock::elapsed() < begin + PATIENCE, "the way stays");
            std::thread::yield_now();
        }
        assert!(!poll_once().await, "removed, and a worker still sends");
        drop(way);
        removal.await;
    }
    assert!(ends[0].peer.way().is_none());
    assert!(ends[0].directory.sessions().is_empty());
    // What the other end says is nobody's.
    let (_, stray) = ends[0].notes.lost();
    let way = ends[1].peer.way().clone().unwrap();
    let mut record = [0; weft_vpn::record_len(0)];
    way.session.seal(clock::elapsed(), weft_vpn::Kind::Empty, 0, &mut record).unwrap();
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&record, way.address).unwrap();
    serve_until("a record of no session", &mut ends, |ends| ends[0].notes.lost().1 > stray);
}

#[tokio::test]
async fn nobody_sends_when_the_keeper_has_ended() {
    let [one, other] = joined().await;
    let peer = one.peer.clone();
    drop(one.keeper);
    assert!(peer.way().is_none());
    drop(other);
}
