//! mac1, mac2 and cookies: what a message must carry before anybody computes with it. WireGuard paper §5.3 and
//! §5.4.4, with labels of our own.
//!
//! mac1 shows that the sender knows whom it talks to, mac2 that it receives at the address it writes from.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use blake2::digest::consts::{U16, U32};
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s, Blake2sMac, Digest};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, Payload};
use zeroize::Zeroizing;

use crate::message::{MAC, MACS, NONCE, SEALED_COOKIE};
use crate::random::draw;
use crate::{PublicKey, Random};

/// The same for every suite: version 1 of the tunnel's messages.
const MAC1_LABEL: &[u8] = b"weft tunnel 1 mac1";
const COOKIE_LABEL: &[u8] = b"weft tunnel 1 cookie";

/// How long a secret makes cookies, and how long it is then still known.
const ROTATION: Duration = Duration::from_secs(120);

/// How long a cookie is used: as long as its maker surely knows it.
const FRESH: Duration = Duration::from_secs(115);

pub(crate) type Cookie = [u8; 16];

/// What messages to one host are marked with.
#[derive(Clone)]
pub(crate) struct MacKeys {
    mac1: [u8; 32],
    cookie: [u8; 32],
}

impl MacKeys {
    pub(crate) fn new(receiver: &PublicKey) -> Self {
        let hash = |label: &[u8]| {
            let hash = <Blake2s<U32> as Digest>::new().chain_update(label);
            hash.chain_update(receiver.as_bytes()).finalize().into()
        };
        Self { mac1: hash(MAC1_LABEL), cookie: hash(COOKIE_LABEL) }
    }

    /// Writes mac1, and mac2 where there is a cookie, to the end of `message`; returns mac1.
    pub(crate) fn mark(&self, message: &mut [u8], cookie: Option<&Cookie>) -> [u8; MAC] {
        let at = message.len() - MACS;
        let mac1 = mac(&self.mac1, &message[..at]);
        message[at..at + MAC].copy_from_slice(&mac1);
        let mac2 = match cookie {
            Some(cookie) => mac(cookie, &message[..at + MAC]),
            None => [0; MAC],
        };
        message[at + MAC..].copy_from_slice(&mac2);
        mac1
    }

    /// Whether `message`, which has macs, carries a right mac1.
    pub(crate) fn knows_us(&self, message: &[u8]) -> bool {
        let (body, macs) = message.split_at(message.len() - MACS);
        verify_slices_are_equal(&mac(&self.mac1, body), &macs[..MAC]).is_ok()
    }

    /// The cookie that an answer to the message with `mac1` carries.
    pub(crate) fn open(
        &self,
        mac1: &[u8; MAC],
        nonce: &[u8; NONCE],
        sealed: &[u8; SEALED_COOKIE],
    ) -> Option<Cookie> {
        let cookie = self.cipher().decrypt(&(*nonce).into(), Payload { msg: sealed, aad: mac1 });
        cookie.ok()?.try_into().ok()
    }

    fn seal(&self, mac1: &[u8], nonce: &[u8; NONCE], cookie: &Cookie) -> Vec<u8> {
        let sealed = self.cipher().encrypt(&(*nonce).into(), Payload { msg: cookie, aad: mac1 });
        sealed.expect("16 bytes can be sealed")
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.cookie.into())
    }
}

/// Makes cookies and knows them again, without remembering whom they were given to.
pub(crate) struct Baker {
    secret: Zeroizing<[u8; 32]>,
    before: Zeroizing<[u8; 32]>,
    since: Duration,
}

impl Baker {
    pub(crate) fn new(now: Duration, random: &mut impl Random) -> Self {
        Self { secret: secret(random), before: secret(random), since: now }
    }

    /// A sealed cookie for the sender of `message`, and its nonce.
    pub(crate) fn bake(
        &mut self,
        now: Duration,
        random: &mut impl Random,
        keys: &MacKeys,
        from: SocketAddr,
        message: &[u8],
    ) -> ([u8; NONCE], Vec<u8>) {
        self.rotate(now, random);
        let nonce = draw(random);
        let at = message.len() - MACS;
        let cookie = mac(&*self.secret, &place(from));
        (nonce, keys.seal(&message[at..at + MAC], &nonce, &cookie))
    }

    /// Whether `message`, which has macs, carries a mac2 that only a receiver at `from` could make.
    pub(crate) fn recognises(
        &mut self,
        now: Duration,
        random: &mut impl Random,
        from: SocketAddr,
        message: &[u8],
    ) -> bool {
        self.rotate(now, random);
        let (body, mac2) = message.split_at(message.len() - MAC);
        let place = place(from);
        let right = |secret: &[u8; 32]| {
            let cookie = mac(secret, &place);
            verify_slices_are_equal(&mac(&cookie, body), mac2).is_ok()
        };
        right(&self.secret) || right(&self.before)
    }

    fn rotate(&mut self, now: Duration, random: &mut impl Random) {
        let age = now.saturating_sub(self.since);
        if age < ROTATION {
            return;
        }
        let last = std::mem::replace(&mut self.secret, secret(random));
        if age < 2 * ROTATION {
            (self.before, self.since) = (last, self.since + ROTATION);
        } else {
            (self.before, self.since) = (secret(random), now);
        }
    }
}

/// A cookie that a peer gave.
#[derive(Clone, Copy)]
pub(crate) struct Jar {
    cookie: Cookie,
    since: Duration,
}

impl Jar {
    pub(crate) fn new(now: Duration, cookie: Cookie) -> Self {
        Self { cookie, since: now }
    }

    pub(crate) fn fresh(&self, now: Duration) -> Option<&Cookie> {
        (now.saturating_sub(self.since) < FRESH).then_some(&self.cookie)
    }
}

fn secret(random: &mut impl Random) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0; 32]);
    random.fill(&mut *secret);
    secret
}

/// An address and port as bytes; an IPv4 address is the same whichever socket it came by.
fn place(from: SocketAddr) -> Vec<u8> {
    let port = from.port().to_be_bytes();
    match from.ip().to_canonical() {
        IpAddr::V4(address) => [&address.octets()[..], &port].concat(),
        IpAddr::V6(address) => [&address.octets()[..], &port].concat(),
    }
}

fn mac(key: &[u8], data: &[u8]) -> [u8; MAC] {
    let mut mac =
        <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("a key of 16 or 32 bytes");
    Update::update(&mut mac, data);
    mac.finalize_fixed().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::{Dice, bytes, hex};

    const SECOND: Duration = Duration::from_secs(1);

    fn keys() -> MacKeys {
        // RFC 7748 §6.1, Alice.
        let key = bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        MacKeys::new(&PublicKey::new(key).unwrap())
    }

    fn message() -> Vec<u8> {
        (0..40).chain([0; MACS]).collect()
    }

    /// Computed with Python's hashlib.
    #[test]
    fn macs_are_those_of_an_independent_blake2s() {
        let mut message = message();
        let mac1 = keys().mark(&mut message, Some(&[0xc0; 16]));
        assert_eq!(hex(&mac1), "1bc86107df41654c41bbb83c82fa21c4");
        assert_eq!(message[40..56], mac1);
        assert_eq!(hex(&message[56..]), "3372bfc544dc23f51aeb475da622e725");
        let cookie = mac(&[7; 32], &place("192.0.2.1:51900".parse().unwrap()));
        assert_eq!(hex(&cookie), "650013968dd0bc4d93e9c393034e372c");
    }

    #[test]
    fn mac1_covers_every_byte_before_it_and_is_for_one_host() {
        let mut message = message();
        keys().mark(&mut message, None);
        assert!(keys().knows_us(&message));
        for byte in 0..56 {
            let mut changed = message.clone();
            changed[byte] ^= 1;
            assert!(!keys().knows_us(&changed), "byte {byte}");
        }
        let other = MacKeys::new(&crate::PrivateKey::generate(&mut Dice::new(1)).public());
        assert!(!other.knows_us(&message));
    }

    #[test]
    fn a_cookie_goes_to_one_message_and_comes_back_from_one_place() {
        let (mut dice, mut message) = (Dice::new(2), message());
        let mut baker = Baker::new(SECOND, &mut dice);
        let from = "192.0.2.1:51900".parse().unwrap();
        let mac1 = keys().mark(&mut message, None);
        assert!(!baker.recognises(SECOND, &mut dice, from, &message), "no mac2");

        let (nonce, sealed) = baker.bake(SECOND, &mut dice, &keys(), from, &message);
        let sealed: [u8; SEALED_COOKIE] = sealed.try_into().unwrap();
        assert_eq!(keys().open(&[0; MAC], &nonce, &sealed), None, "it answers another message");
        let cookie = keys().open(&mac1, &nonce, &sealed).unwrap();
        keys().mark(&mut message, Some(&cookie));
        for (place, known) in [
            ("192.0.2.1:51900", true),
            ("[::ffff:192.0.2.1]:51900", true),
            ("192.0.2.1:51901", false),
            ("192.0.2.2:51900", false),
            ("[2001:db8::1]:51900", false),
        ] {
            let place = place.parse().unwrap();
            assert_eq!(baker.recognises(SECOND, &mut dice, place, &message), known, "{place}");
        }
    }

    #[test]
    fn a_cookie_lives_through_one_change_of_the_secret_and_not_through_two() {
        for (after, known) in
            [(0, true), (119, true), (121, true), (239, true), (240, false), (9999, false)]
        {
            let (mut dice, mut message) = (Dice::new(3), message());
            let mut baker = Baker::new(SECOND, &mut dice);
            let from = "[2001:db8::1]:1".parse().unwrap();
            let mac1 = keys().mark(&mut message, None);
            let (nonce, sealed) = baker.bake(SECOND, &mut dice, &keys(), from, &message);
            let cookie = keys().open(&mac1, &nonce, &sealed.try_into().unwrap()).unwrap();
            keys().mark(&mut message, Some(&cookie));
            let now = SECOND * (1 + after);
            assert_eq!(baker.recognises(now, &mut dice, from, &message), known, "{after} s");
        }
        let jar = Jar::new(SECOND, [1; 16]);
        assert!(jar.fresh(SECOND * 115).is_some() && jar.fresh(SECOND * 116).is_none());
    }
}
