//! What the two ends of a tunnel tell each other in records of kind 3: probes of the path and their answers, pings
//! and pongs. Authenticated, and still from a peer that may lie. Decides nothing; `path_mtu` does.
//!
//! | bytes | probe | answer | ping | pong |
//! | --- | --- | --- | --- | --- |
//! | 0 | 1 | 2 | 3 | 4 |
//! | 1–3 | zero | zero | zero | zero |
//! | 4–11 | nonce | the probe's nonce | nonce | the ping's nonce |
//! | 12– | anything, up to the probed size | the datagram's size that came, 2 bytes | time, 8 bytes | the ping's time |
//!
//! Integers are little-endian. Kinds 5 and 6 are what hosts tell each other of suites: `preferences.rs`.

/// A tunnel control payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Asks whether a datagram of its size arrives; to be answered at once.
    Probe {
        /// Tells this probe from others of its sender.
        nonce: u64,
    },
    /// A probe arrived.
    ProbeAnswer {
        /// The probe's.
        nonce: u64,
        /// The size of the UDP payload that it arrived in.
        size: u16,
    },
    /// Asks for a pong.
    Ping {
        /// Tells this ping from others of its sender.
        nonce: u64,
        /// Its sender's clock; means nothing to anybody else.
        time: u64,
    },
    /// A ping arrived.
    Pong {
        /// The ping's.
        nonce: u64,
        /// The ping's.
        time: u64,
    },
}

/// Why a payload of kind 3 is no control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum MalformedControl {
    /// It ends before its header or fields do.
    #[error("tunnel control message of {0} bytes is cut short")]
    Short(usize),
    /// It goes on behind its fields.
    #[error("tunnel control message of {0} bytes is too long for its kind")]
    Long(usize),
    /// No message has this number: it is for [`Host::control`](crate::Host::control), or the peer is of a later
    /// version.
    #[error("tunnel control message of unknown kind {0}")]
    Kind(u8),
    /// Bytes that are zero in this version are not.
    #[error("tunnel control message with something in its reserved bytes")]
    Reserved,
}

const PROBE: u8 = 1;
const ANSWER: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;

/// The length of kind, reserved bytes and nonce.
const HEADER: usize = 12;

impl Control {
    /// The length of the longest message, and of the shortest probe.
    pub const ROOM: usize = HEADER + 8;

    /// Writes the message to the beginning of `out`; returns its length. A probe takes all of `out`, and its filling
    /// is zero.
    ///
    /// # Panics
    /// When `out` is shorter than [`Control::ROOM`].
    pub fn write(self, out: &mut [u8]) -> usize {
        let (kind, nonce, len) = match self {
            Self::Probe { nonce } => {
                out[HEADER..].fill(0);
                (PROBE, nonce, out.len())
            }
            Self::ProbeAnswer { nonce, size } => {
                out[HEADER..HEADER + 2].copy_from_slice(&size.to_le_bytes());
                (ANSWER, nonce, HEADER + 2)
            }
            Self::Ping { nonce, time } => {
                out[HEADER..HEADER + 8].copy_from_slice(&time.to_le_bytes());
                (PING, nonce, HEADER + 8)
            }
            Self::Pong { nonce, time } => {
                out[HEADER..HEADER + 8].copy_from_slice(&time.to_le_bytes());
                (PONG, nonce, HEADER + 8)
            }
        };
        out[..4].copy_from_slice(&[kind, 0, 0, 0]);
        out[4..HEADER].copy_from_slice(&nonce.to_le_bytes());
        len
    }

    /// Reads a payload of kind 3.
    ///
    /// # Errors
    /// When it is no message, with the reason.
    pub fn read(payload: &[u8]) -> Result<Self, MalformedControl> {
        let short = MalformedControl::Short(payload.len());
        let (&[kind, reserved @ ..], rest) = payload.split_first_chunk::<4>().ok_or(short)?;
        if !(PROBE..=PONG).contains(&kind) {
            return Err(MalformedControl::Kind(kind));
        }
        if reserved != [0; 3] {
            return Err(MalformedControl::Reserved);
        }
        let (&nonce, rest) = rest.split_first_chunk().ok_or(short)?;
        let nonce = u64::from_le_bytes(nonce);
        match kind {
            PROBE if payload.len() < Self::ROOM => Err(short),
            PROBE => Ok(Self::Probe { nonce }),
            ANSWER => {
                let size = u16::from_le_bytes(*last(payload, rest)?);
                Ok(Self::ProbeAnswer { nonce, size })
            }
            PING => Ok(Self::Ping { nonce, time: u64::from_le_bytes(*last(payload, rest)?) }),
            _ => Ok(Self::Pong { nonce, time: u64::from_le_bytes(*last(payload, rest)?) }),
        }
    }
}

/// Returns the last field of a payload.
fn last<'a, const N: usize>(
    payload: &[u8],
    rest: &'a [u8],
) -> Result<&'a [u8; N], MalformedControl> {
    match rest.split_first_chunk() {
        None => Err(MalformedControl::Short(payload.len())),
        Some((field, [])) => Ok(field),
        Some(_) => Err(MalformedControl::Long(payload.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Control> {
        let nonce = any::<u64>();
        prop_oneof![
            nonce.prop_map(|nonce| Control::Probe { nonce }),
            (nonce, any::<u16>()).prop_map(|(nonce, size)| Control::ProbeAnswer { nonce, size }),
            (nonce, any::<u64>()).prop_map(|(nonce, time)| Control::Ping { nonce, time }),
            (nonce, any::<u64>()).prop_map(|(nonce, time)| Control::Pong { nonce, time }),
        ]
    }

    #[test]
    fn messages_are_these_bytes() {
        let nonce = 0x0807_0605_0403_0201;
        let time = 0x1817_1615_1413_1211;
        for (message, kind, behind) in [
            (Control::Probe { nonce }, 1, &[0; 12][..]),
            (Control::ProbeAnswer { nonce, size: 0x05c0 }, 2, &[0xc0, 5]),
            (Control::Ping { nonce, time }, 3, &[17, 18, 19, 20, 21, 22, 23, 24]),
            (Control::Pong { nonce, time }, 4, &[17, 18, 19, 20, 21, 22, 23, 24]),
        ] {
            let mut out = [0xff; 24];
            let len = message.write(&mut out);
            let expected = [&[kind, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], behind].concat();
            assert_eq!(out[..len], expected);
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_reason() {
        use MalformedControl::{Kind, Long, Reserved, Short};
        for (kind, len, expected) in [
            (0, 20, Kind(0)),
            (5, 20, Kind(5)),
            (255, 20, Kind(255)),
            (0, 3, Short(3)),
            (1, 19, Short(19)),
            (2, 11, Short(11)),
            (2, 13, Short(13)),
            (2, 15, Long(15)),
            (3, 19, Short(19)),
            (3, 21, Long(21)),
            (4, 19, Short(19)),
            (4, 1400, Long(1400)),
        ] {
            let mut payload = vec![0; len];
            payload[0] = kind;
            assert_eq!(Control::read(&payload), Err(expected));
        }
        assert_eq!(Control::read(&[]), Err(Short(0)));
        for at in 1..4 {
            let mut payload = [0; 20];
            Control::Ping { nonce: 1, time: 2 }.write(&mut payload);
            payload[at] = 1;
            assert_eq!(Control::read(&payload), Err(Reserved));
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(message in message(), room in Control::ROOM..2000) {
            let mut out = vec![0xa5; room];
            let len = message.write(&mut out);
            prop_assert_eq!(Control::read(&out[..len]), Ok(message));
            let is_probe = matches!(message, Control::Probe { .. });
            prop_assert!(is_probe || len <= Control::ROOM);
        }

        #[test]
        fn what_is_read_would_be_written_so(
            kind in 0_u8..6,
            rest in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..40),
        ) {
            let payload = [&[kind][..], &rest].concat();
            if let Ok(message) = Control::read(&payload) {
                let mut out = payload.clone();
                out.resize(payload.len().max(Control::ROOM), 0);
                let len = message.write(&mut out);
                prop_assert_eq!(len.min(payload.len()), payload.len());
                prop_assert_eq!(&out[..12], &payload[..12]);
                prop_assert_eq!(Control::read(&out[..len]), Ok(message));
            }
        }
    }
}
