use proptest::{collection::vec, prelude::*};

use super::*;

/// Frames that are almost right: a good one, of which some bytes are others and the end is missing.
fn almost_right() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop_oneof![
        Just(frame(OURS, HOST, &udp(WEB, ALICE, &[7; 40]))),
        Just(frame(OURS, HOST, &udp(WEB6, ALICE6, &[7; 40]))),
        Just(frame(OURS, HOST, &tcp(WEB, ALICE, 2, &[1, 1, 2, 4, 5, 0xb4, 3, 3], b""))),
        Just(frame(OURS, HOST, &echo(WEB, SELF, 8, b"hello"))),
        Just(frame(OURS, HOST, &echo(ALICE6, SELF6, 128, b"hello"))),
        Just(frame(OURS, HOST, &udp(ALICE, WEB, &[7; 1500]))),
        Just(arp(ALL, HOST, 1, (HOST, WEB), ALICE)),
        Just(nd([ALL, HOST], [WEB6, "ff02::1:ff00:1"], 135, 0, SELF6, Some(HOST))),
        Just(nd([OURS, HOST], [WEB6, SELF6], 136, 0x60, WEB6, Some(HOST))),
        vec(any::<u8>(), 0..200),
    ];
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (frames, changes, 0..2000usize, any::<bool>()).prop_map(|(mut frame, changes, len, fix)| {
        for (at, byte) in changes {
            if !frame.is_empty() {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
        }
        frame.truncate(len);
        if fix && frame.len() > 34 && frame[14] >> 4 == 4 {
            let packet = ip::fixed(frame.split_off(14));
            frame.extend(packet);
        }
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_input_makes_it_panic_or_write_more_than_it_was_given(
        frames in vec((almost_right(), any::<bool>(), any::<bool>(), proptest::option::of(0..3000usize)), 1..12),
    ) {
        let mut adapter = adapter();
        meet(&mut adapter, WEB, HOST);
        let allowed = allowed();
        let mut out = Outbox::default();
        for (second, (mut bytes, is_frame, is_alice, largest)) in frames.into_iter().enumerate() {
            let now = NOW + Duration::from_secs(second as u64);
            let room = bytes.len();
            let peer = if is_alice { alice() } else { bob() };
            let onward = if is_frame {
                adapter.forward_frame(now, &mut bytes, largest, &allowed, &mut out)
            } else {
                adapter.forward_packet(now, peer, &mut bytes, &allowed, &mut out)
            };
            if let Ok(Onward::Vlan(len) | Onward::Peer(_, len)) = onward {
                prop_assert!(14 + len <= room);
            }
            adapter.peer_unreachable(now, &bytes, &mut out);
            adapter.other_unreachable(now, peer, &bytes, &mut out);
            adapter.tick(now, &mut out);
        }
        for (to, bytes) in out.iter() {
            let packet = if to == To::Vlan { &bytes[14..] } else { bytes };
            let is_arp = to == To::Vlan && bytes[12..14] == [8, 6];
            prop_assert!(is_arp || Packet::read(packet).is_ok());
        }
    }
}
