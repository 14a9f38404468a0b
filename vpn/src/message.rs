//! The three messages of a handshake, as bytes. Reads lengths, types and reserved bytes; authenticates nothing.
//!
//! | bytes | initiation | response | cookie |
//! | --- | --- | --- | --- |
//! | 0 | type, 1 | type, 2 | type, 3 |
//! | 1–3 | version 1, suite, 0 | zero | zero |
//! | 4–7 | sender's index | sender's index | receiver's index |
//! | 8– | Noise message 1: 32 + 48 + 12 + 16 | receiver's index 4, Noise message 2: 32 + 4 or 16, + 16 | nonce 24, sealed cookie 32 |
//! | last 32 | mac1 16, mac2 16 | mac1 16, mac2 16 | |
//!
//! Integers are little-endian. The first 8 bytes of an initiation are the handshake's prologue. Noise message 1
//! carries the sender's TAI64N; message 2 the responder's index once more, where nobody can change it, and the
//! greatest TAI64N known of the initiator if the responder holds the initiation for older than that and keeps no
//! session.

use crate::{Suite, Tai64n};

pub(crate) const VERSION: u8 = 1;

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const COOKIE: u8 = 3;

/// mac1 or mac2.
pub(crate) const MAC: usize = 16;
/// Both.
pub(crate) const MACS: usize = 2 * MAC;

const NOISE_1: usize = 32 + 48 + TIMESTAMP + 16;
pub(crate) const TIMESTAMP: usize = 12;
pub(crate) const INITIATION_LEN: usize = 8 + NOISE_1 + MACS;
const RESPONSE_HEADER: usize = 12;
/// An answer that begins a session.
pub(crate) const RESPONSE_LEN: usize = RESPONSE_HEADER + 32 + 4 + 16 + MACS;
/// An answer that says that timestamps went back.
pub(crate) const REFUSAL_LEN: usize = RESPONSE_LEN + TIMESTAMP;
pub(crate) const COOKIE_LEN: usize = 8 + NONCE + SEALED_COOKIE;
pub(crate) const NONCE: usize = 24;
pub(crate) const SEALED_COOKIE: usize = 16 + 16;

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed,
    Version,
    Suite,
}

pub(crate) enum Message<'a> {
    Initiation(Initiation<'a>),
    Response(Response<'a>),
    Cookie(Cookie<'a>),
}

pub(crate) struct Initiation<'a> {
    pub(crate) suite: Suite,
    pub(crate) sender: u32,
    pub(crate) prologue: &'a [u8; 8],
    pub(crate) noise: &'a [u8],
}

pub(crate) struct Response<'a> {
    pub(crate) sender: u32,
    pub(crate) receiver: u32,
    pub(crate) noise: &'a [u8],
}

pub(crate) struct Cookie<'a> {
    pub(crate) receiver: u32,
    pub(crate) nonce: &'a [u8; NONCE],
    pub(crate) sealed: &'a [u8; SEALED_COOKIE],
}

impl<'a> Message<'a> {
    pub(crate) fn read(datagram: &'a [u8]) -> Result<Self, Unreadable> {
        let (header, rest) = datagram.split_first_chunk::<8>().ok_or(Unreadable::Malformed)?;
        let &[kind, a, b, c, ref index @ ..] = header;
        let index = u32::from_le_bytes(*index);
        match (kind, [a, b, c], datagram.len()) {
            (INITIATION, [version, suite, 0], INITIATION_LEN) => {
                if version != VERSION {
                    return Err(Unreadable::Version);
                }
                let suite = Suite::from_byte(suite).ok_or(Unreadable::Suite)?;
                let noise = &rest[..NOISE_1];
                Ok(Self::Initiation(Initiation { suite, sender: index, prologue: header, noise }))
            }
            // A later version may be of another length.
            (INITIATION, [version, ..], _) if version != VERSION => Err(Unreadable::Version),
            (RESPONSE, [0, 0, 0], RESPONSE_LEN | REFUSAL_LEN) => {
                let (receiver, rest) = rest.split_first_chunk().ok_or(Unreadable::Malformed)?;
                let noise = &rest[..rest.len() - MACS];
                let receiver = u32::from_le_bytes(*receiver);
                Ok(Self::Response(Response { sender: index, receiver, noise }))
            }
            (COOKIE, [0, 0, 0], COOKIE_LEN) => {
                let (nonce, rest) = rest.split_first_chunk().ok_or(Unreadable::Malformed)?;
                let sealed = rest.first_chunk().ok_or(Unreadable::Malformed)?;
                Ok(Self::Cookie(Cookie { receiver: index, nonce, sealed }))
            }
            _ => Err(Unreadable::Malformed),
        }
    }
}

/// The first 8 bytes of an initiation, which are also its prologue.
pub(crate) fn initiation_header(suite: Suite, sender: u32) -> [u8; 8] {
    let [a, b, c, d] = sender.to_le_bytes();
    [INITIATION, VERSION, suite.byte(), 0, a, b, c, d]
}

/// An initiation with room for its macs.
pub(crate) fn initiation(header: [u8; 8], noise: &[u8]) -> Vec<u8> {
    sized(&[&header, noise], MACS)
}

/// A response with room for its macs.
pub(crate) fn response(sender: u32, receiver: u32, noise: &[u8]) -> Vec<u8> {
    let header = [RESPONSE, 0, 0, 0];
    sized(&[&header, &sender.to_le_bytes(), &receiver.to_le_bytes(), noise], MACS)
}

pub(crate) fn cookie(receiver: u32, nonce: &[u8; NONCE], sealed: &[u8]) -> Vec<u8> {
    sized(&[&[COOKIE, 0, 0, 0], &receiver.to_le_bytes(), nonce, sealed], 0)
}

fn sized(parts: &[&[u8]], room: usize) -> Vec<u8> {
    let mut message = parts.concat();
    message.resize(message.len() + room, 0);
    message
}

/// What Noise message 2 carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A session with the responder's index.
    Accepted(u32),
    /// None: the initiator's clock is behind this.
    Behind(u32, Tai64n),
}

impl Answer {
    pub(crate) fn write(self) -> Vec<u8> {
        match self {
            Self::Accepted(index) => index.to_le_bytes().to_vec(),
            Self::Behind(index, greatest) => {
                [&index.to_le_bytes()[..], &greatest.to_bytes()].concat()
            }
        }
    }

    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (index, rest) = payload.split_first_chunk()?;
        let index = u32::from_le_bytes(*index);
        if rest.is_empty() {
            return Some(Self::Accepted(index));
        }
        Some(Self::Behind(index, Tai64n::from_bytes(rest.try_into().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_answer_is_larger_than_its_question() {
        assert_eq!((INITIATION_LEN, RESPONSE_LEN, REFUSAL_LEN, COOKIE_LEN), (148, 96, 108, 64));
        let pairs = [
            (INITIATION_LEN, RESPONSE_LEN),
            (INITIATION_LEN, REFUSAL_LEN),
            (INITIATION_LEN, COOKIE_LEN),
            (RESPONSE_LEN, COOKIE_LEN),
        ];
        assert!(pairs.iter().all(|(question, answer)| answer <= question));
    }

    #[test]
    fn messages_are_read_as_they_are_written() {
        let header = initiation_header(Suite::ChaCha20Poly1305, 0x0403_0201);
        assert_eq!(header, [1, 1, 1, 0, 1, 2, 3, 4]);
        let initiation = initiation(header, &[7; NOISE_1]);
        let Ok(Message::Initiation(read)) = Message::read(&initiation) else { panic!() };
        assert_eq!((read.suite, read.sender), (Suite::ChaCha20Poly1305, 0x0403_0201));
        assert_eq!((read.prologue, read.noise), (&header, &[7; NOISE_1][..]));

        let response = response(5, 6, &[8; 52]);
        let Ok(Message::Response(read)) = Message::read(&response) else { panic!() };
        assert_eq!((read.sender, read.receiver, read.noise), (5, 6, &[8; 52][..]));

        let cookie = cookie(9, &[1; NONCE], &[2; SEALED_COOKIE]);
        let Ok(Message::Cookie(read)) = Message::read(&cookie) else { panic!() };
        assert_eq!((read.receiver, read.nonce, read.sealed), (9, &[1; 24], &[2; 32]));

        let label = Tai64n::from_unix(Duration::from_secs(3));
        for answer in [Answer::Accepted(77), Answer::Behind(77, label)] {
            assert_eq!(Answer::read(&answer.write()), Some(answer));
        }
        assert_eq!(Answer::read(&[0; 5]), None);
        assert_eq!(Answer::read(&[0; 3]), None);
    }

    #[test]
    fn what_is_no_message_has_its_reason() {
        let good = initiation(initiation_header(Suite::Aes256Gcm, 1), &[0; NOISE_1]);
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            Message::read(&bad).err()
        };
        assert_eq!(with(0, 0), Some(Unreadable::Malformed));
        assert_eq!(with(0, 4), Some(Unreadable::Malformed));
        assert_eq!(with(1, 2), Some(Unreadable::Version));
        assert_eq!(with(2, 2), Some(Unreadable::Suite));
        assert_eq!(with(3, 1), Some(Unreadable::Malformed));
        assert_eq!(with(4, 9), None);
        for len in 0..good.len() {
            assert_eq!(Message::read(&good[..len]).err(), Some(Unreadable::Malformed), "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(kind in 0..5_u8, bytes in prop::collection::vec(any::<u8>(), 0..160)) {
            let datagram = [&[kind, 0, 0, 0][..], &bytes].concat();
            let _ = Message::read(&datagram);
            let _ = Message::read(&bytes);
            let _ = Answer::read(&bytes);
        }
    }
}
