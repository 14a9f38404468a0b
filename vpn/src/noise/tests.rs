use std::time::Duration;

use aws_lc_rs::aead::{Aad, LessSafeKey, UnboundKey};

use super::*;
use crate::test::{Dice, bytes, hex, unhex};
use crate::x25519::tests::LOW_ORDER;

/// One vector: its lines, by name.
struct Vector<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Vector<'a> {
    fn all() -> Vec<Vector<'static>> {
        let mut vectors: Vec<Vector<'static>> = Vec::new();
        for line in include_str!("ikpsk2.txt").lines() {
            match line.split_once(' ') {
                Some(("#", _)) | None => {}
                Some(("protocol", name)) => vectors.push(Vector(vec![("protocol", name)])),
                Some(pair) => vectors.last_mut().unwrap().0.push(pair),
            }
        }
        vectors
    }

    fn named(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(is, _)| *is == name).map(|(_, value)| *value)
    }

    fn only(&self, name: &'a str) -> &'a str {
        self.named(name).next().unwrap()
    }

    fn private(&self, name: &'a str) -> PrivateKey {
        PrivateKey::generate(&mut |out: &mut [u8]| out.copy_from_slice(&unhex(self.only(name))))
    }

    fn ephemeral(&self, name: &'a str) -> Ephemeral {
        Ephemeral(Zeroizing::new(bytes(self.only(name))))
    }
}

/// Handshake messages, hash, and the transport messages under the raw split keys with our nonces.
#[test]
fn the_published_vectors_hold() {
    let vectors = Vector::all();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let suite =
            Suite::ALL.into_iter().find(|suite| suite.noise() == vector.only("protocol")).unwrap();
        let psk = bytes(vector.only("psk"));
        let prologue = unhex(vector.only("prologue"));
        let (ours, theirs) = (vector.private("init-static"), vector.private("resp-static"));
        let remote = theirs.public();
        assert_eq!(hex(remote.as_bytes()), vector.only("init-remote-static"));

        let ephemeral = vector.ephemeral("init-ephemeral");
        let initiator = builder(suite, &prologue, ephemeral, &ours).unwrap();
        let initiator = initiator.remote_public_key(remote.as_bytes()).unwrap();
        let mut initiator = initiator.psk(2, &psk).unwrap().build_initiator().unwrap();
        let ephemeral = vector.ephemeral("resp-ephemeral");
        let responder = builder(suite, &prologue, ephemeral, &theirs).unwrap();
        let mut responder = responder.build_responder().unwrap();

        let mut messages: Vec<_> =
            vector.named("payload").map(unhex).zip(vector.named("ciphertext").map(unhex)).collect();
        let transport = messages.split_off(2);
        assert_eq!(write(&mut initiator, &messages[0].0).unwrap(), messages[0].1);
        assert_eq!(read(&mut responder, &messages[0].1).unwrap(), messages[0].0);
        assert_eq!(responder.get_remote_static(), Some(&ours.public().as_bytes()[..]));
        responder.set_psk(2, &psk).unwrap();
        assert_eq!(write(&mut responder, &messages[1].0).unwrap(), messages[1].1);
        assert_eq!(read(&mut initiator, &messages[1].1).unwrap(), messages[1].0);
        assert_eq!(hex(initiator.get_handshake_hash()), vector.only("handshake-hash"));

        let ours = Initiator(initiator).keys();
        let theirs = split(&mut responder);
        assert_eq!((&ours.seal, &ours.open), (&theirs.0, &theirs.1));
        assert!(transport.len() >= 4);
        for (at, (payload, ciphertext)) in transport.into_iter().enumerate() {
            let key = if at % 2 == 0 { &ours.seal } else { &ours.open };
            let key = LessSafeKey::new(UnboundKey::new(suite.algorithm(), &**key).unwrap());
            let mut sealed = payload;
            let nonce = suite.nonce(at as u64 / 2);
            key.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).unwrap();
            assert_eq!(sealed, ciphertext);
        }
    }
}

struct Pair {
    ours: PrivateKey,
    theirs: PrivateKey,
    psk: PresharedKey,
    dice: Dice,
}

const LABEL: Duration = Duration::from_secs(1_700_000_000);

impl Pair {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            ours: PrivateKey::generate(&mut dice),
            theirs: PrivateKey::generate(&mut dice),
            psk: PresharedKey::generate(&mut dice),
            dice,
        }
    }

    fn begin(&mut self, prologue: &[u8]) -> (Initiator, Vec<u8>) {
        let ephemeral = Ephemeral::draw(&mut self.dice);
        let remote = self.theirs.public();
        let label = Tai64n::from_unix(LABEL);
        let psk = Some(&self.psk);
        Initiator::begin(Suite::Aes256Gcm, prologue, ephemeral, &self.ours, &remote, psk, label)
            .unwrap()
    }

    fn read(&mut self, prologue: &[u8], message: &[u8]) -> Result<Begun, NoiseError> {
        let ephemeral = Ephemeral::draw(&mut self.dice);
        Responder::read(Suite::Aes256Gcm, prologue, ephemeral, &self.theirs, message)
    }
}

#[test]
fn two_hosts_get_each_others_keys_and_know_each_other() {
    let mut pair = Pair::new(1);
    let (mut initiator, first) = pair.begin(b"header");
    let begun = pair.read(b"header", &first).unwrap();
    assert_eq!(begun.remote, pair.ours.public());
    assert_eq!(begun.timestamp, Tai64n::from_unix(LABEL));
    let (second, theirs) = begun.responder.answer(Some(&pair.psk), b"hi").unwrap();
    assert_eq!(initiator.read(&second).unwrap(), b"hi");
    let ours = initiator.keys();
    assert_eq!((&ours.seal, &ours.open), (&theirs.open, &theirs.seal));
    assert_ne!(ours.seal, ours.open);
}

#[test]
fn nothing_fits_that_was_changed_anywhere() {
    let mut pair = Pair::new(2);
    let (mut initiator, first) = pair.begin(b"header");
    for byte in 0..first.len() {
        let mut changed = first.clone();
        changed[byte] ^= 1;
        assert!(pair.read(b"header", &changed).is_err(), "byte {byte}");
    }
    assert!(pair.read(b"headeR", &first).is_err(), "the prologue");
    let begun = pair.read(b"header", &first).unwrap();
    let (second, _) = begun.responder.answer(Some(&pair.psk), b"hi").unwrap();
    for byte in 0..second.len() {
        let mut changed = second.clone();
        changed[byte] ^= 1;
        assert!(initiator.read(&changed).is_err(), "byte {byte}");
    }
    assert_eq!(initiator.read(&second).unwrap(), b"hi", "a forged answer does no harm");
}

#[test]
fn another_preshared_key_or_none_does_not_fit() {
    let mut pair = Pair::new(3);
    let other = PresharedKey::generate(&mut pair.dice);
    for psk in [None, Some(&other)] {
        let (mut initiator, first) = pair.begin(b"");
        let (second, _) = pair.read(b"", &first).unwrap().responder.answer(psk, b"").unwrap();
        assert_eq!(initiator.read(&second), Err(NoiseError::Undecipherable));
    }
}

#[test]
fn ephemeral_points_of_low_order_end_a_handshake() {
    let mut pair = Pair::new(4);
    for point in LOW_ORDER {
        let (mut initiator, mut first) = pair.begin(b"");
        let second = pair.read(b"", &first).unwrap().responder.answer(Some(&pair.psk), b"");
        let mut second = second.unwrap().0;
        first[..32].copy_from_slice(&unhex(point));
        second[..32].copy_from_slice(&unhex(point));
        assert_eq!(pair.read(b"", &first).err(), Some(NoiseError::LowOrder), "{point}");
        assert_eq!(initiator.read(&second), Err(NoiseError::LowOrder), "{point}");
    }
}

#[test]
fn an_ephemeral_key_is_given_once() {
    let mut once = Once(Some(Zeroizing::new([7; 32])));
    let mut out = [0; 32];
    assert!(once.try_fill_bytes(&mut out).is_ok());
    assert_eq!(out, [7; 32]);
    assert_eq!(once.try_fill_bytes(&mut out), Err(snow::Error::Rng));
}
