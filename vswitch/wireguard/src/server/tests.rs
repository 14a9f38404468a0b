use std::net::{IpAddr, SocketAddr};

use boringtun::noise::{Tunn, TunnResult};
use ipnet::IpNet;
use proptest::prelude::*;
use weft_vpn::{PresharedKey, PrivateKey};

use super::*;
use crate::{Boring, BoringGate, LONGEST_MESSAGE, Opened, PeerStatus, Sealed, test::udp};

const NOW: Duration = Duration::from_secs(1000);
const ROOM: usize = 2048;

/// Bytes that tell one key from another, and no secret of anyone.
fn dice(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut next = seed;
    move |out: &mut [u8]| {
        for byte in out {
            next = next.wrapping_mul(141).wrapping_add(89);
            *byte = next;
        }
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::generate(&mut dice(seed))
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, host]), 51820)
}

/// One end: a server with one peer.
struct End {
    server: Server,
    peer: Arc<Peer>,
}

impl End {
    fn new(
        own: &PrivateKey,
        peer: &PrivateKey,
        preshared: Option<&PresharedKey>,
        number: u32,
    ) -> Self {
        let id = PeerId::new(number).unwrap();
        let engine = Boring::new(own, peer.public(), preshared, id);
        let allowed: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let peer = Arc::new(Peer::new(id, peer.public(), Box::new(engine), None, None, allowed));
        let server = Server::new(Box::new(BoringGate::new(own, &mut dice(9))));
        server.set_peers([peer.clone()].into_iter().collect());
        Self { server, peer }
    }

    fn initiation(&self) -> Vec<u8> {
        let mut room = [0; ROOM];
        let (len, _) = self.peer.initiate(&mut room).unwrap();
        room[..len].to_vec()
    }

    fn handshake(&self, from: SocketAddr, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut room = [0; ROOM];
        let handled = self.server.handshake(NOW, from, message, &mut room)?;
        Ok(room[..handled.reply].to_vec())
    }

    fn seal(&self, packet: &[u8]) -> Vec<u8> {
        let mut room = [0; ROOM];
        match self.peer.seal(packet, &mut room) {
            Ok(Sealed::Record(len, _)) => room[..len].to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn open(&self, from: SocketAddr, record: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut room = [0; ROOM];
        match self.peer.open(from, record, &mut room)?.opened {
            Opened::Keepalive => Ok(vec![]),
            Opened::Packet(len) => Ok(room[..len].to_vec()),
        }
    }

    fn status(&self) -> PeerStatus {
        self.peer.status()
    }
}

/// A client and a server that know each other.
fn ends(preshared: [Option<PresharedKey>; 2]) -> (End, End) {
    let (client, server) = (key(1), key(2));
    let ends = (
        End::new(&client, &server, preshared[0].as_ref(), 7),
        End::new(&server, &client, preshared[1].as_ref(), 0xff_ffff),
    );
    ends.0.peer.set_endpoint(Some(at(2)));
    ends
}

fn connected() -> (End, End) {
    let (client, server) = ends([None, None]);
    let response = server.handshake(at(1), &client.initiation()).unwrap();
    let keepalive = client.handshake(at(2), &response).unwrap();
    assert_eq!(server.open(at(1), &keepalive), Ok(vec![]));
    (client, server)
}

#[test]
fn packets_go_both_ways_after_a_handshake_that_either_began() {
    let (client, server) = connected();
    let (up, down) = (udp("10.0.0.1", "10.0.0.2", b"up"), udp("10.0.0.2", "10.0.0.1", b"down"));
    assert_eq!(server.open(at(1), &client.seal(&up)), Ok(up));
    assert_eq!(client.open(at(2), &server.seal(&down)), Ok(down));
    assert_eq!(server.status().endpoint, Some(at(1)));
    assert!(server.status().handshake_age.is_some());
}

#[test]
fn a_preshared_key_is_one_that_both_have() {
    let secret = |seed| Some(PresharedKey::generate(&mut dice(seed)));
    for (ours, theirs, fits) in
        [(secret(5), secret(5), true), (secret(5), secret(6), false), (secret(5), None, false)]
    {
        let (client, server) = ends([ours, theirs]);
        let response = server.handshake(at(1), &client.initiation()).unwrap();
        assert_eq!(client.handshake(at(2), &response).is_ok(), fits);
    }
}

#[test]
fn what_waits_for_a_session_is_sent_in_order_when_it_is_there() {
    let (client, server) = ends([None, None]);
    let packets: Vec<_> = (0..3).map(|at| udp("10.0.0.1", "10.0.0.2", &[at])).collect();
    let mut room = [0; ROOM];
    for packet in &packets {
        assert_eq!(client.peer.seal(packet, &mut room), Ok(Sealed::Waits));
    }
    let response = server.handshake(at(1), &client.initiation()).unwrap();
    let handled = client.server.handshake(NOW, at(2), &response, &mut room).unwrap();
    assert!(handled.came.is_some());
    let mut arrived = vec![];
    client.peer.flush(&mut room, |record, to| {
        assert_eq!(to, at(2).into());
        arrived.push(server.open(at(1), record).unwrap());
    });
    assert_eq!(arrived, packets);
}

#[test]
fn a_responder_is_silent_until_its_client_has_confirmed() {
    let (client, server) = ends([None, None]);
    let response = server.handshake(at(1), &client.initiation()).unwrap();
    let mut room = [0; ROOM];
    let packet = udp("10.0.0.2", "10.0.0.1", b"x");
    assert_eq!(server.peer.seal(&packet, &mut room), Ok(Sealed::Waits));
    let keepalive = client.handshake(at(2), &response).unwrap();
    let arrived = server.peer.open(at(1), &keepalive, &mut room).unwrap();
    assert!(arrived.came);
    let mut flushed = 0;
    server.peer.flush(&mut room, |record, _| {
        assert_eq!(client.open(at(2), record).as_ref(), Ok(&packet));
        flushed += 1;
    });
    assert_eq!(flushed, 1);
}

#[test]
fn a_peer_is_where_it_was_heard_last_and_nobody_else_moves_it() {
    let (client, server) = connected();
    let mut forged = client.seal(&udp("10.0.0.1", "10.0.0.2", b"x"));
    let good = client.seal(&udp("10.0.0.1", "10.0.0.2", b"y"));
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(server.open(at(66), &forged), Err(Refusal::Forged));
    assert_eq!(server.status().endpoint, Some(at(1)));
    assert!(server.open(at(3), &good).is_ok());
    assert_eq!(server.status().endpoint, Some(at(3)));
    assert_eq!(server.open(at(66), &good), Err(Refusal::Replayed));
    assert_eq!(server.status().endpoint, Some(at(3)));
    // It is answered from the address that it sent to, until that is another one.
    for own in [Some(IpAddr::from([198, 51, 100, 1])), None] {
        let here = Endpoint { address: at(3), own };
        let record = client.seal(&udp("10.0.0.1", "10.0.0.2", b"z"));
        server.peer.open(here, &record, &mut [0; ROOM]).unwrap();
        let mut room = [0; ROOM];
        let sealed = server.peer.seal(&udp("10.0.0.2", "10.0.0.1", b"z"), &mut room).unwrap();
        assert!(matches!(sealed, Sealed::Record(_, to) if to == here), "{sealed:?}");
    }
}

#[test]
fn messages_that_are_not_to_be_believed_are_refused_in_silence() {
    let (client, server) = ends([None, None]);
    let stranger = End::new(&key(3), &key(2), None, 5);
    stranger.peer.set_endpoint(Some(at(2)));
    let good = client.initiation();
    let with = |at: usize, bytes: &[u8]| {
        let mut message = good.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    #[rustfmt::skip]
    let table = [
        ("mac1",          with(116, &[0; 16]),        Refusal::Forged),
        ("ephemeral",     with(8, &[9; 32]),          Refusal::Forged),
        ("stranger",      stranger.initiation(),      Refusal::UnknownPeer),
        ("cut short",     good[..147].to_vec(),       Refusal::Malformed),
        ("nothing",       vec![],                     Refusal::Malformed),
    ];
    for (name, message, refusal) in table {
        assert_eq!(server.handshake(at(66), &message), Err(refusal), "{name}");
    }
    assert_eq!(server.status().endpoint, None);
    assert!(server.handshake(at(1), &good).is_ok());
    assert_eq!(server.handshake(at(66), &good), Err(Refusal::OldTimestamp));
    assert_eq!(server.status().endpoint, Some(at(1)));
}

/// Makes the mac1 of a message right, as anybody can who knows the public key. WireGuard paper §5.4.4.
fn with_mac1(mut message: Vec<u8>, key: &PublicKey) -> Vec<u8> {
    use blake2::{
        Blake2s256, Blake2sMac, Digest,
        digest::{FixedOutput, KeyInit, Update, consts::U16},
    };
    let label = Blake2s256::new().chain(b"mac1----").chain(key.as_bytes()).finalize();
    let end = message.len() - 32;
    let mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&label).unwrap();
    let (covered, macs) = message.split_at_mut(end);
    macs[..16].copy_from_slice(&mac.chain(covered).finalize_fixed());
    message
}

#[test]
fn ephemeral_keys_of_low_order_are_refused_before_they_are_used() {
    let (_, server) = ends([None, None]);
    let mut point = [0; 32];
    let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    for (byte, digits) in point.iter_mut().zip(order_8.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    }
    for low in [[0; 32], [&[1][..], &[0; 31]].concat().try_into().unwrap(), point] {
        let mut initiation = vec![0; 148];
        initiation[0] = 1;
        initiation[8..40].copy_from_slice(&low);
        let initiation = with_mac1(initiation, &key(2).public());
        assert_eq!(server.handshake(at(1), &initiation), Err(Refusal::LowOrder));
        let mut response = vec![0; 92];
        response[0] = 2;
        response[12..44].copy_from_slice(&low);
        let response = with_mac1(response, &key(2).public());
        assert_eq!(server.handshake(at(2), &response), Err(Refusal::LowOrder));
    }
}

#[test]
fn an_index_that_nobody_has_and_rooms_that_are_too_small_are_refused() {
    let (client, server) = connected();
    let record = client.seal(&udp("10.0.0.1", "10.0.0.2", b"x"));
    assert_eq!(Message::of(&record), Ok(Message::Record(server.peer.id())));
    let mut small = [0; 20];
    assert_eq!(server.peer.open(at(1), &record, &mut small).map(drop), Err(Refusal::TooBig));
    assert_eq!(server.peer.seal(&[0; 20], &mut small).map(drop), Err(Refusal::TooBig));
    let mut other_session = record.clone();
    other_session[4] ^= 0xf0;
    assert_eq!(server.open(at(1), &other_session), Err(Refusal::NoSession));
    assert!(server.server.peers().get(PeerId::new(1).unwrap()).is_none());
    assert!(server.open(at(1), &record).is_ok());
}

#[test]
fn counters_at_the_end_of_their_range_are_refused() {
    let (client, server) = connected();
    for counter in [u64::MAX, u64::MAX - (1 << 13)] {
        let mut record = client.seal(&udp("10.0.0.1", "10.0.0.2", b"x"));
        record[8..16].copy_from_slice(&counter.to_le_bytes());
        assert_eq!(server.open(at(1), &record), Err(Refusal::Replayed), "{counter}");
    }
}

#[test]
fn a_flood_of_initiations_has_to_prove_where_it_comes_from() {
    let (_, server) = ends([None, None]);
    let stranger = End::new(&key(3), &key(2), None, 5);
    stranger.peer.set_endpoint(Some(at(2)));
    let initiation = stranger.initiation();
    let (mut computed, mut cookies) = (0, 0);
    for host in 0..250 {
        match server.handshake(at(host), &initiation) {
            Err(Refusal::UnknownPeer) => computed += 1,
            Ok(cookie) => {
                assert_eq!(cookie.len(), 64);
                cookies += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((computed, cookies), (100, 150));
}

#[test]
fn under_load_one_source_makes_the_host_compute_a_few_times_only() {
    let (_, server) = ends([None, None]);
    let (own, far) = ((*key(3).as_bytes()).into(), (*key(2).public().as_bytes()).into());
    let mut stranger = Tunn::new(own, far, None, None, 5, None);
    let initiation = |stranger: &mut Tunn| {
        let mut room = [0; ROOM];
        match stranger.format_handshake_initiation(&mut room, true) {
            TunnResult::WriteToNetwork(message) => message.to_vec(),
            other => panic!("{other:?}"),
        }
    };
    let first = initiation(&mut stranger);
    for _ in 0..100 {
        assert_eq!(server.handshake(at(3), &first), Err(Refusal::UnknownPeer));
    }
    let cookie = server.handshake(at(3), &first).unwrap();
    assert_eq!(cookie.len(), 64);
    assert!(matches!(stranger.decapsulate(None, &cookie, &mut [0; ROOM]), TunnResult::Done));
    let proven = initiation(&mut stranger);
    let refusals: Vec<_> = (0..20).map(|_| server.handshake(at(3), &proven).unwrap_err()).collect();
    assert_eq!(refusals.iter().filter(|refusal| **refusal == Refusal::UnknownPeer).count(), 5);
    assert_eq!(refusals.iter().filter(|refusal| **refusal == Refusal::UnderLoad).count(), 15);
}

#[test]
fn what_strangers_send_in_anothers_name_keeps_nobody_out() {
    let (client, server) = ends([None, None]);
    let stranger = End::new(&key(3), &key(2), None, 5);
    stranger.peer.set_endpoint(Some(at(2)));
    let initiation = stranger.initiation();
    for _ in 0..95 {
        assert_eq!(server.handshake(at(1), &initiation), Err(Refusal::UnknownPeer));
    }
    assert_eq!(server.handshake(at(1), &client.initiation()).map(|reply| reply.len()), Ok(92));
}

#[test]
fn a_datagram_is_what_its_first_word_and_length_say() {
    let datagram = |kind: u8, len: usize| {
        let mut datagram = vec![0; len];
        datagram[0] = kind;
        datagram
    };
    let record = Message::Record(PeerId::new(0).unwrap());
    #[rustfmt::skip]
    let table = [
        (datagram(1, 148), Ok(Message::Handshake)),
        (datagram(2, 92),  Ok(Message::Handshake)),
        (datagram(3, 64),  Ok(Message::Handshake)),
        (datagram(4, 32),  Ok(record)),
        (datagram(4, 9000), Ok(record)),
        (datagram(4, 31),  Err(Refusal::Malformed)),
        (datagram(1, 149), Err(Refusal::Malformed)),
        (datagram(2, 148), Err(Refusal::Malformed)),
        (datagram(5, 64),  Err(Refusal::Malformed)),
        (vec![1, 0, 0],    Err(Refusal::Malformed)),
        ([&[1, 0, 0, 1][..], &[0; 144]].concat(), Err(Refusal::Malformed)),
        (vec![],           Err(Refusal::Malformed)),
    ];
    for (datagram, expected) in table {
        assert_eq!(Message::of(&datagram), expected, "{} bytes", datagram.len());
    }
}

#[test]
fn a_peer_without_an_address_is_not_sent_to() {
    let (_, server) = ends([None, None]);
    let mut room = [0; ROOM];
    assert_eq!(server.peer.seal(b"x", &mut room), Err(Refusal::NoEndpoint));
    assert_eq!(server.peer.initiate(&mut room), None);
    assert_eq!(server.peer.tick(NOW, &mut [0; LONGEST_MESSAGE]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_datagram_makes_it_panic(
        mut datagram in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0..6u8,
        length in prop::sample::select(vec![148, 92, 64, 32, 48]),
        exact: bool,
    ) {
        let (client, server) = connected();
        if exact {
            datagram.resize(length, 0);
        }
        if let Some(head) = datagram.first_chunk_mut() {
            *head = u32::from(kind).to_le_bytes();
        }
        let _ = server.handshake(at(66), &datagram);
        prop_assert!(server.open(at(66), &datagram).is_err());
        prop_assert_eq!(server.status().endpoint, Some(at(1)));
        let packet = udp("10.0.0.1", "10.0.0.2", b"x");
        prop_assert_eq!(server.open(at(1), &client.seal(&packet)), Ok(packet));
    }

    #[test]
    fn whatever_is_in_a_record_comes_out_as_a_packet_or_not_at_all(
        inner in proptest::collection::vec(any::<u8>(), 0..100),
        version in prop::sample::select(vec![0x45u8, 0x60, 0x00, 0xff]),
    ) {
        let (client, server) = connected();
        let mut inner = inner;
        if let Some(first) = inner.first_mut() {
            *first = version;
        }
        match server.open(at(1), &client.seal(&inner)) {
            Ok(packet) => prop_assert!(inner.starts_with(&packet)),
            Err(refusal) => prop_assert_eq!(refusal, Refusal::Malformed),
        }
    }
}

#[test]
fn what_waited_and_was_thrown_away_is_counted() {
    let (client, _) = ends([None, None]);
    let mut room = [0; ROOM];
    for at in 0..70 {
        let packet = udp("10.0.0.1", "10.0.0.2", &[at]);
        assert_eq!(client.peer.seal(&packet, &mut room), Ok(Sealed::Waits));
    }
    assert_eq!(client.peer.take_lost(), 6);
    assert_eq!(client.peer.take_lost(), 0);
    client.peer.give_up();
    assert_eq!(client.peer.take_lost(), 64);
}

#[test]
fn another_keepalive_or_preshared_key_makes_no_old_initiation_new() {
    let (client, server) = ends([None, None]);
    let initiation = client.initiation();
    server.handshake(at(1), &initiation).unwrap();
    server.peer.set_keepalive(Some(25));
    assert_eq!(server.handshake(at(66), &initiation), Err(Refusal::OldTimestamp));
    for seed in [5, 6] {
        let secret = PresharedKey::generate(&mut dice(seed));
        let engine = Boring::new(&key(2), key(1).public(), Some(&secret), server.peer.id());
        server.peer.set_engine(Box::new(engine));
        assert_eq!(server.handshake(at(66), &initiation), Err(Refusal::OldTimestamp));
    }
    assert_eq!(server.status().endpoint, Some(at(1)));
    let client = End::new(&key(1), &key(2), None, 8);
    client.peer.set_endpoint(Some(at(2)));
    let newer = client.initiation();
    server.handshake(at(1), &newer).unwrap();
    assert_eq!(server.handshake(at(66), &newer), Err(Refusal::OldTimestamp));
    assert_eq!(server.handshake(at(66), &initiation), Err(Refusal::OldTimestamp));
}

#[test]
fn a_keepalive_is_sent_when_nothing_else_was_for_so_long() {
    let (client, server) = connected();
    let mut room = [0; ROOM];
    let mut tick = |secs| client.peer.tick(Duration::from_secs(secs), &mut room).is_some();
    assert!(!tick(100));
    client.peer.set_keepalive(Some(10));
    assert!(tick(100), "the first is due at once");
    assert!(!tick(109));
    assert!(!tick(111), "the first one was something");
    server.open(at(1), &client.seal(&udp("10.0.0.1", "10.0.0.2", b"x"))).unwrap();
    assert!(!tick(115));
    assert!(!tick(124));
    assert!(tick(125));
    client.peer.set_keepalive(None);
    assert!(!tick(500));
}

#[test]
fn a_new_session_in_the_middle_loses_nothing_of_the_old_one() {
    let (client, server) = connected();
    let packets: Vec<_> = (0..8).map(|at| udp("10.0.0.1", "10.0.0.2", &[at])).collect();
    let old: Vec<_> = packets.iter().map(|packet| client.seal(packet)).collect();
    let response = server.handshake(at(1), &client.initiation()).unwrap();
    assert_eq!(server.open(at(1), &old[0]).as_ref(), Ok(&packets[0]));
    let down = udp("10.0.0.2", "10.0.0.1", b"before it is confirmed");
    assert_eq!(client.open(at(2), &server.seal(&down)), Ok(down));
    let confirmation = client.handshake(at(2), &response).unwrap();
    assert_eq!(server.open(at(1), &old[1]).as_ref(), Ok(&packets[1]));
    assert_eq!(server.open(at(1), &confirmation), Ok(vec![]));
    let new = client.seal(&packets[0]);
    assert_eq!(server.open(at(1), &new).as_ref(), Ok(&packets[0]));
    for (record, packet) in old.iter().zip(&packets).skip(2) {
        assert_eq!(server.open(at(1), record).as_ref(), Ok(packet));
    }
    assert_eq!(server.open(at(1), &old[3]), Err(Refusal::Replayed));
}
