use std::collections::BTreeSet;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::test::{Dice, unhex};

const START: Duration = Duration::from_secs(1000);

fn keys(seal: u8, open: u8) -> Keys {
    Keys { seal: Zeroizing::new([seal; 32]), open: Zeroizing::new([open; 32]) }
}

/// The initiator's end and the responder's.
fn pair(suite: Suite) -> (Session, Session) {
    let end = |role, index, remote, keys| {
        let (peer, pulse) = (PeerId(7), Arc::default());
        Session::new(Terms { peer, suite, role, index, remote, born: START, pulse }, &keys)
    };
    (end(Role::Initiator, 1, 2, keys(1, 2)), end(Role::Responder, 2, 1, keys(2, 1)))
}

fn seal(session: &Session, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0xee; record_len(payload.len()) + 3];
    record[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(payload);
    let len = session.seal(START, kind, payload.len(), &mut record).unwrap();
    assert_eq!(len, record_len(payload.len()));
    record.truncate(len);
    record
}

#[test]
fn a_record_comes_out_as_it_went_in_and_only_once() {
    for suite in Suite::ALL {
        let (a, b) = pair(suite);
        for (at, len) in [0, 1, 13, 14, 15, 16, 100, 1400, 65_000].into_iter().enumerate() {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let sealed = seal(&a, Kind::Bundle, &payload);
            assert!(sealed.len().is_multiple_of(16));
            let mut record = sealed.clone();
            let opened = b.open(START, &mut record).unwrap();
            assert_eq!(opened.kind, Kind::Bundle);
            assert_eq!(record[opened.payload], payload);
            assert_eq!((opened.first, opened.newest), (at == 0, true));
            assert_eq!(b.open(START, &mut sealed.clone()), Err(OpenError::Replayed));
        }
    }
}

#[test]
fn a_record_is_these_bytes() {
    let (a, _) = pair(Suite::ChaCha20Poly1305);
    a.skip_to(0x0102);
    let record = seal(&a, Kind::Control, b"hello");
    assert_eq!(record.len(), 48);
    assert_eq!(record[..16], unhex("04000000020000000201000000000000"));
    // What is sealed, opened by hand.
    let key = UnboundKey::new(Suite::ChaCha20Poly1305.algorithm(), &[1; 32]).unwrap();
    let mut text = record[16..].to_vec();
    let nonce = Suite::ChaCha20Poly1305.nonce(0x0102);
    LessSafeKey::new(key).open_in_place(nonce, Aad::from(&record[..16]), &mut text).unwrap();
    assert_eq!(text[..16], *b"\x03\x09hello\0\0\0\0\0\0\0\0\0");
}

#[test]
fn every_changed_bit_is_noticed_and_harms_nothing() {
    for suite in Suite::ALL {
        let (a, b) = pair(suite);
        let sealed = seal(&a, Kind::Bundle, b"0123456789");
        for bit in 0..sealed.len() * 8 {
            let mut record = sealed.clone();
            record[bit / 8] ^= 1 << (bit % 8);
            let error = b.open(START, &mut record).unwrap_err();
            let expected = match bit / 8 {
                0..4 => OpenError::Malformed,
                4..8 => OpenError::OtherSession,
                // A counter far ahead is no counter.
                8..16 if matches!(error, OpenError::PastEnd) => OpenError::PastEnd,
                _ => OpenError::Forged,
            };
            assert_eq!(error, expected, "bit {bit}");
        }
        assert!(b.forged() > 0);
        assert!(b.open(START, &mut sealed.clone()).is_ok());
    }
}

#[test]
fn records_cut_short_or_drawn_out_are_malformed_or_forged() {
    let (a, b) = pair(Suite::Aes256Gcm);
    let sealed = seal(&a, Kind::Bundle, &[7; 60]);
    for len in 0..sealed.len() {
        let expected = if len < 48 || !len.is_multiple_of(16) {
            OpenError::Malformed
        } else {
            OpenError::Forged
        };
        assert_eq!(b.open(START, &mut sealed[..len].to_vec()), Err(expected), "{len}");
    }
    let mut long = sealed.clone();
    long.resize(sealed.len() + 16, 0);
    assert_eq!(b.open(START, &mut long), Err(OpenError::Forged));
    assert!(b.open(START, &mut sealed.clone()).is_ok());
}

/// Wycheproof's ways to spoil a tag.
#[test]
fn spoilt_tags_are_refused() {
    for suite in Suite::ALL {
        let (a, b) = pair(suite);
        let sealed = seal(&a, Kind::Overlay, b"Wycheproof");
        let at = sealed.len() - 16;
        let tags: [fn(&mut [u8]); 8] = [
            |tag| tag[0] ^= 1,
            |tag| tag[7] ^= 0x80,
            |tag| tag[15] ^= 0x80,
            |tag| tag.fill(0),
            |tag| tag.fill(0xff),
            |tag| tag.iter_mut().for_each(|byte| *byte ^= 0xff),
            |tag| tag.iter_mut().for_each(|byte| *byte ^= 0x80),
            |tag| tag.rotate_left(1),
        ];
        for spoil in tags {
            let mut record = sealed.clone();
            spoil(&mut record[at..]);
            assert_eq!(b.open(START, &mut record), Err(OpenError::Forged));
        }
        assert!(b.open(START, &mut sealed.clone()).is_ok());
    }
}

#[test]
fn a_record_does_not_open_at_its_own_sender() {
    let (a, _) = pair(Suite::Aes256Gcm);
    let mut record = seal(&a, Kind::Bundle, b"mirror");
    // Even if the attacker corrects the index, which is authenticated.
    record[4] = 1;
    assert_eq!(a.open(START, &mut record), Err(OpenError::Forged));
}

#[test]
fn authenticated_padding_that_is_none_is_refused() {
    let spoilt: [&[u8; 16]; 4] = [
        b"\x01\x0fsixteen bytes.",
        b"\x01\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x01\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
    ];
    for text in spoilt {
        assert_eq!(read(text), Err(OpenError::Malformed));
    }
    assert_eq!(read(b"\x09\x0e\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), Ok((Kind::Other(9), 0)));
}

#[test]
fn a_responders_session_seals_only_once_it_is_confirmed() {
    let (a, b) = pair(Suite::Aes256Gcm);
    let mut room = [0; 48];
    assert_eq!(b.seal(START, Kind::Empty, 0, &mut room), Err(SealError::Unconfirmed));
    b.open(START, &mut seal(&a, Kind::Empty, b"")).unwrap();
    assert_eq!(b.seal(START, Kind::Empty, 0, &mut room), Ok(48));
    assert!(a.open(START, &mut room).unwrap().first);
}

#[test]
fn a_session_ends_at_its_age() {
    let (a, b) = pair(Suite::Aes256Gcm);
    let mut record = seal(&a, Kind::Empty, b"");
    let (last, end) = (START + REJECT_AFTER - Duration::from_nanos(1), START + REJECT_AFTER);
    assert!(a.seal(last, Kind::Empty, 0, &mut [0; 48]).is_ok());
    assert_eq!(a.seal(end, Kind::Empty, 0, &mut [0; 48]), Err(SealError::Expired));
    assert_eq!(b.open(end, &mut record.clone()), Err(OpenError::Expired));
    assert!(b.open(last, &mut record).is_ok());
}

#[test]
fn a_key_seals_no_more_than_it_may() {
    for (suite, worn, end) in
        [(Suite::Aes256Gcm, 1 << 26, 1 << 28), (Suite::ChaCha20Poly1305, 1 << 44, 1_u64 << 45)]
    {
        let (a, b) = pair(suite);
        assert!(!a.is_worn());
        a.skip_to(worn);
        assert!(a.is_worn());
        a.skip_to(end - 1);
        let mut last = seal(&a, Kind::Empty, b"");
        for _ in 0..3 {
            assert_eq!(a.seal(START, Kind::Empty, 0, &mut [0; 48]), Err(SealError::Exhausted));
        }
        assert_eq!(a.sealed(), end);
        assert!(b.open(START, &mut last).is_ok());
        last[8..16].copy_from_slice(&end.to_le_bytes());
        assert_eq!(b.open(START, &mut last), Err(OpenError::PastEnd));
    }
}

#[test]
fn a_key_is_given_up_after_too_many_forgeries() {
    let (a, b) = pair(Suite::ChaCha20Poly1305);
    let mut record = seal(&a, Kind::Empty, b"");
    b.forged.0.store(FORGERIES - 1, Relaxed);
    let mut forged = record.clone();
    forged[47] ^= 1;
    assert_eq!(b.open(START, &mut forged.clone()), Err(OpenError::Forged));
    assert_eq!(b.open(START, &mut forged), Err(OpenError::Spent));
    assert_eq!(b.open(START, &mut record), Err(OpenError::Spent));
    assert!(b.is_over(START));
}

#[test]
fn a_short_buffer_costs_no_counter() {
    let (a, _) = pair(Suite::Aes256Gcm);
    assert_eq!(a.seal(START, Kind::Bundle, 15, &mut [0; 63]), Err(SealError::NoRoom));
    assert_eq!(a.sealed(), 0);
}

#[test]
fn room_and_length_agree() {
    assert_eq!(payload_room(47), None);
    for record in 48..2000 {
        let payload = payload_room(record).unwrap();
        assert!(record_len(payload) <= record && record_len(payload + 1) > record);
    }
}

/// Each (key, counter) carries one text, whoever seals, and none is lost among the threads that open.
#[test]
fn four_threads_share_a_session_without_repeating_a_counter() {
    const EACH: usize = 3000;
    let (a, b) = pair(Suite::Aes256Gcm);
    let seen = Mutex::new((BTreeSet::new(), BTreeSet::new(), 0));
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (a, b, seen) = (&a, &b, &seen);
            scope.spawn(move || {
                for at in 0..EACH as u32 {
                    let mut text = [0; 8];
                    text[..4].copy_from_slice(&thread.to_le_bytes());
                    text[4..].copy_from_slice(&at.to_le_bytes());
                    let mut record = seal(a, Kind::Bundle, &text);
                    let counter = record[8..16].to_vec();
                    let opened = b.open(START, &mut record);
                    let mut seen = seen.lock().unwrap();
                    assert!(seen.0.insert(counter), "a counter came twice");
                    // A thread that slept through a window finds its record too old.
                    if let Ok(opened) = opened {
                        assert!(seen.1.insert(record[opened.payload].to_vec()));
                        seen.2 += u32::from(opened.first);
                    }
                }
            });
        }
    });
    let (counters, _, firsts) = seen.into_inner().unwrap();
    assert_eq!((counters.len(), firsts), (4 * EACH, 1));
    assert_eq!(a.sealed(), 4 * EACH as u64);
}

/// Forged, truncated, replayed and reordered records between valid ones: none is taken, none of the valid is lost.
#[test]
fn valid_records_come_through_a_storm_of_bad_ones() {
    let (a, b) = pair(Suite::Aes256Gcm);
    let mut dice = Dice::new(5);
    let mut held: Vec<Vec<u8>> = Vec::new();
    let (mut sent, mut came) = (0, 0);
    for _ in 0..20_000 {
        let record = seal(&a, Kind::Bundle, &dice.roll().to_le_bytes());
        sent += 1;
        held.push(record);
        // At most 100 wait, so that each is inside the window when it comes.
        let at = dice.roll() as usize % held.len();
        let record = if held.len() > 100 { held.swap_remove(at) } else { continue };
        for _ in 0..3 {
            let mut bad = record.clone();
            match dice.roll() % 3 {
                0 => bad.truncate(dice.roll() as usize % record.len()),
                1 => bad[dice.roll() as usize % record.len()] ^= 1 << (dice.roll() % 8),
                _ => bad.extend(record.iter()),
            }
            assert!(bad == record || b.open(START, &mut bad).is_err());
        }
        assert!(b.open(START, &mut record.clone()).is_ok());
        came += 1;
        assert_eq!(b.open(START, &mut record.clone()), Err(OpenError::Replayed));
    }
    assert_eq!(came + held.len(), sent);
}

proptest! {
    #[test]
    fn no_datagram_brings_a_session_down(mut datagram in prop::collection::vec(any::<u8>(), 0..200), ours: bool) {
        let (_, b) = pair(Suite::Aes256Gcm);
        if ours && datagram.len() > 16 {
            datagram[..8].copy_from_slice(&[4, 0, 0, 0, 2, 0, 0, 0]);
            datagram[13..16].fill(0);
        }
        prop_assert!(b.open(START, &mut datagram).is_err());
    }
}
