//! Frames in and frames out for every port mode. IEEE 802.1Q-2022 clauses 6.9 and 8.6.

use crate::common::*;
use weft_core::{DropReason, DropReason::*, PortId, Switch};

fn a1() -> PortId {
    port(1)
}

const A1: u16 = 1; // access 10
const A2: u16 = 2; // access 10
const T: u16 = 3; // trunk 10, 20
const N: u16 = 4; // trunk 10, 20, native 10
const M: u16 = 5; // trunk 10, 20, native 10 tagged
const S: u16 = 6; // trunk 10, 300, 802.1ad
const C: u16 = 7; // dot1q-tunnel 300
const K: u16 = 8; // dot1q-tunnel 300, customer 12
const SN: u16 = 9; // trunk 300, native 300, 802.1ad

fn all_modes() -> Switch {
    let modes = [
        (A1, access(10)),
        (A2, access(10)),
        (T, trunk(&[10, 20])),
        (N, native(&[10, 20], 10)),
        (M, native_tagged(&[10, 20], 10)),
        (S, service(&[10, 300], None)),
        (C, tunnel(300, None)),
        (K, tunnel(300, Some(&[12]))),
        (SN, service(&[300], Some(300))),
    ];
    switch(modes.into_iter().map(|(id, mode)| spec(port(id), mode)).collect())
}

/// A copy that leaves with these tags, or does not leave.
type Copy = (u16, Result<Vec<Tag>, DropReason>);
/// Ingress, tags on arrival, and what becomes of the frame.
type Case = (u16, Vec<Tag>, Result<Vec<Copy>, DropReason>);

fn to(id: u16, tags: &[Tag]) -> Copy {
    (id, Ok(tags.to_vec()))
}

fn not(id: u16, reason: DropReason) -> Copy {
    (id, Err(reason))
}

#[test]
fn broadcast_frames_enter_and_leave_every_mode_as_the_contract_says() {
    // Priority 5, drop eligible.
    let p = |vid: u16| 0xb000 | vid;
    let cases: Vec<Case> = vec![
        // Access: untagged and priority-tagged; the priority is kept.
        (
            A1,
            vec![],
            Ok(vec![to(A2, &[]), to(T, &[q(10)]), to(N, &[]), to(M, &[q(10)]), to(S, &[ad(10)])]),
        ),
        (
            A1,
            vec![q(p(0))],
            Ok(vec![
                to(A2, &[]),
                to(T, &[q(p(10))]),
                to(N, &[]),
                to(M, &[q(p(10))]),
                to(S, &[ad(p(10))]),
            ]),
        ),
        (A1, vec![q(10)], Err(TaggedOnAccess)),
        (A1, vec![q(20)], Err(TaggedOnAccess)),
        (A1, vec![q(4095)], Err(VlanReserved)),
        (A1, vec![q(0), q(10)], Err(Malformed)),
        // A priority tag in front of a service tag takes nothing from the frame.
        (
            A1,
            vec![q(0), ad(7)],
            Ok(vec![
                to(A2, &[ad(7)]),
                to(T, &[q(10), ad(7)]),
                to(N, &[ad(7)]),
                to(M, &[q(10), ad(7)]),
                to(S, &[ad(10), ad(7)]),
            ]),
        ),
        // A tag of another protocol is payload.
        (
            A1,
            vec![ad(10)],
            Ok(vec![
                to(A2, &[ad(10)]),
                to(T, &[q(10), ad(10)]),
                to(N, &[ad(10)]),
                to(M, &[q(10), ad(10)]),
                to(S, &[ad(10), ad(10)]),
            ]),
        ),
        // Trunk.
        (
            T,
            vec![q(p(10))],
            Ok(vec![to(A1, &[]), to(A2, &[]), to(N, &[]), to(M, &[q(p(10))]), to(S, &[ad(p(10))])]),
        ),
        (T, vec![q(20)], Ok(vec![to(N, &[q(20)]), to(M, &[q(20)])])),
        (T, vec![q(30)], Err(VlanNotMember)),
        (T, vec![q(4095)], Err(VlanReserved)),
        (T, vec![], Err(NoNativeVlan)),
        (T, vec![q(p(0))], Err(NoNativeVlan)),
        (T, vec![q(0), q(10)], Err(Malformed)),
        (T, vec![ad(10)], Err(NoNativeVlan)),
        // A second tag is payload; it must not become the VLAN's where the first one is taken off.
        (
            T,
            vec![q(10), q(20)],
            Ok(vec![
                to(A1, &[q(20)]),
                to(A2, &[q(20)]),
                not(N, AmbiguousTag),
                to(M, &[q(10), q(20)]),
                to(S, &[ad(10), q(20)]),
            ]),
        ),
        (
            T,
            vec![q(10), ad(20)],
            Ok(vec![
                to(A1, &[ad(20)]),
                to(A2, &[ad(20)]),
                to(N, &[ad(20)]),
                to(M, &[q(10), ad(20)]),
                to(S, &[ad(10), ad(20)]),
            ]),
        ),
        // Native.
        (
            N,
            vec![],
            Ok(vec![to(A1, &[]), to(A2, &[]), to(T, &[q(10)]), to(M, &[q(10)]), to(S, &[ad(10)])]),
        ),
        (
            N,
            vec![q(p(0))],
            Ok(vec![
                to(A1, &[]),
                to(A2, &[]),
                to(T, &[q(p(10))]),
                to(M, &[q(p(10))]),
                to(S, &[ad(p(10))]),
            ]),
        ),
        (
            N,
            vec![q(10)],
            Ok(vec![to(A1, &[]), to(A2, &[]), to(T, &[q(10)]), to(M, &[q(10)]), to(S, &[ad(10)])]),
        ),
        (N, vec![q(20)], Ok(vec![to(T, &[q(20)]), to(M, &[q(20)])])),
        (
            N,
            vec![ad(20)],
            Ok(vec![
                to(A1, &[ad(20)]),
                to(A2, &[ad(20)]),
                to(T, &[q(10), ad(20)]),
                to(M, &[q(10), ad(20)]),
                to(S, &[ad(10), ad(20)]),
            ]),
        ),
        (
            M,
            vec![],
            Ok(vec![to(A1, &[]), to(A2, &[]), to(T, &[q(10)]), to(N, &[]), to(S, &[ad(10)])]),
        ),
        // Service trunk: a customer tag is payload, its own tags are 0x88A8.
        (
            S,
            vec![ad(p(10))],
            Ok(vec![to(A1, &[]), to(A2, &[]), to(T, &[q(p(10))]), to(N, &[]), to(M, &[q(p(10))])]),
        ),
        (S, vec![q(10)], Err(NoNativeVlan)),
        (S, vec![ad(300), q(12)], Ok(vec![to(C, &[q(12)]), to(K, &[q(12)]), to(SN, &[q(12)])])),
        (
            S,
            vec![ad(300), q(13)],
            Ok(vec![to(C, &[q(13)]), not(K, CustomerVlanNotMember), to(SN, &[q(13)])]),
        ),
        (S, vec![ad(300)], Ok(vec![to(C, &[]), not(K, CustomerVlanNotMember), to(SN, &[])])),
        (
            S,
            vec![ad(300), q(0)],
            Ok(vec![to(C, &[q(0)]), not(K, CustomerVlanNotMember), to(SN, &[q(0)])]),
        ),
        (
            S,
            vec![ad(300), ad(12)],
            Ok(vec![to(C, &[ad(12)]), not(K, CustomerVlanNotMember), not(SN, AmbiguousTag)]),
        ),
        (S, vec![ad(0), ad(300)], Err(Malformed)),
        (S, vec![ad(4095)], Err(VlanReserved)),
        (SN, vec![q(12)], Ok(vec![to(S, &[ad(300), q(12)]), to(C, &[q(12)]), to(K, &[q(12)])])),
        (
            SN,
            vec![q(12), q(13)],
            Ok(vec![
                to(S, &[ad(300), q(12), q(13)]),
                to(C, &[q(12), q(13)]),
                to(K, &[q(12), q(13)]),
            ]),
        ),
        // Tunnel: whatever the customer sends is payload, its priority is copied.
        (C, vec![], Ok(vec![to(S, &[ad(300)]), not(K, CustomerVlanNotMember), to(SN, &[])])),
        (
            C,
            vec![q(p(12))],
            Ok(vec![to(S, &[ad(p(300)), q(p(12))]), to(K, &[q(p(12))]), to(SN, &[q(p(12))])]),
        ),
        (
            C,
            vec![q(p(0))],
            Ok(vec![
                to(S, &[ad(p(300)), q(p(0))]),
                not(K, CustomerVlanNotMember),
                to(SN, &[q(p(0))]),
            ]),
        ),
        (
            C,
            vec![q(4095)],
            Ok(vec![to(S, &[ad(300), q(4095)]), not(K, CustomerVlanNotMember), to(SN, &[q(4095)])]),
        ),
        (
            C,
            vec![q(0), q(12)],
            Ok(vec![
                to(S, &[ad(300), q(0), q(12)]),
                not(K, CustomerVlanNotMember),
                to(SN, &[q(0), q(12)]),
            ]),
        ),
        (
            C,
            vec![ad(p(12))],
            Ok(vec![
                to(S, &[ad(300), ad(p(12))]),
                not(K, CustomerVlanNotMember),
                not(SN, AmbiguousTag),
            ]),
        ),
        (
            K,
            vec![q(p(12))],
            Ok(vec![to(S, &[ad(p(300)), q(p(12))]), to(C, &[q(p(12))]), to(SN, &[q(p(12))])]),
        ),
        (
            K,
            vec![q(12), q(99)],
            Ok(vec![
                to(S, &[ad(300), q(12), q(99)]),
                to(C, &[q(12), q(99)]),
                to(SN, &[q(12), q(99)]),
            ]),
        ),
        (K, vec![q(13)], Err(CustomerVlanNotMember)),
        (K, vec![], Err(CustomerVlanNotMember)),
        (K, vec![q(0)], Err(CustomerVlanNotMember)),
        (K, vec![q(4095)], Err(CustomerVlanNotMember)),
        (K, vec![ad(12)], Err(CustomerVlanNotMember)),
    ];
    for (ingress, tags, expected) in cases {
        let switch = all_modes();
        let build = |tags: &[Tag]| frame(BROADCAST, host(1), tags, PAYLOAD);
        let expected: Outcome = expected.map(|copies| {
            let mut copies: Vec<_> = copies
                .into_iter()
                .map(|(id, copy)| (port(id), copy.map(|tags| build(&tags))))
                .collect();
            copies.sort_by_key(|copy| copy.0);
            copies
        });
        let input = build(&tags);
        assert_eq!(
            forward(&switch, seconds(0), port(ingress), &head(&input)),
            expected,
            "{ingress} {tags:x?}"
        );
        // A tag that the kernel stripped before is the same tag.
        if let Some(outer) = weft_vlan::WireTag::read(&input[12..]) {
            let bare = build(&tags[1..]);
            let stripped = weft_vlan::Head::read(&bare, bare.len(), Some(outer));
            assert_eq!(
                forward(&switch, seconds(0), port(ingress), &stripped),
                expected,
                "{ingress} {tags:x?}"
            );
        }
    }
}

#[test]
fn a_tag_cut_short_is_malformed_where_it_would_be_the_ports_own() {
    let cut = |tpid: u16, behind: &[u8]| {
        frame(BROADCAST, host(1), &[], &[&tpid.to_be_bytes(), behind].concat())
    };
    for behind in [&[][..], &[0], &[0, 10], &[0, 10, 8]] {
        let frame = cut(0x8100, behind);
        for ingress in [A1, T, N, M, C, K] {
            let outcome = forward(&all_modes(), seconds(0), port(ingress), &head(&frame));
            assert_eq!(outcome, Err(Malformed), "{ingress} {behind:?}");
        }
        let service = cut(0x88a8, behind);
        assert_eq!(forward(&all_modes(), seconds(0), port(S), &head(&service)), Err(Malformed));
        assert!(forward(&all_modes(), seconds(0), a1(), &head(&service)).is_ok());
    }
    // Behind a priority tag, too.
    let behind_priority = frame(BROADCAST, host(1), &[q(0)], &[0x81, 0x00, 0x00]);
    assert_eq!(forward(&all_modes(), seconds(0), a1(), &head(&behind_priority)), Err(Malformed));
    // Behind a member's tag it is payload, which may not leave a native trunk untagged.
    let behind_member = frame(BROADCAST, host(1), &[q(10)], &[0x81, 0x00, 0x00]);
    let copies = forward(&all_modes(), seconds(0), port(T), &head(&behind_member)).unwrap();
    assert!(copies.contains(&(port(N), Err(AmbiguousTag))));
    // And behind a service tag it is no customer's tag.
    let behind_service = frame(BROADCAST, host(1), &[ad(300)], &[0x81, 0x00, 0x00, 0x0c]);
    let copies = forward(&all_modes(), seconds(0), port(S), &head(&behind_service)).unwrap();
    assert!(copies.contains(&(port(K), Err(CustomerVlanNotMember))));
}

#[test]
fn frames_of_every_length_up_to_a_header_are_malformed() {
    let whole = frame(BROADCAST, host(1), &[], &[0x12, 0x34]);
    for len in 0..14 {
        assert_eq!(forward(&all_modes(), seconds(0), a1(), &head(&whole[..len])), Err(Malformed));
    }
    assert!(forward(&all_modes(), seconds(0), a1(), &head(&whole)).is_ok());
}

#[test]
fn a_port_of_another_switch_is_refused() {
    let frame = frame(BROADCAST, host(1), &[], PAYLOAD);
    assert_eq!(forward(&all_modes(), seconds(0), port(0), &head(&frame)), Err(PortDown));
    assert_eq!(forward(&all_modes(), seconds(0), port(4095), &head(&frame)), Err(PortDown));
}

#[test]
fn a_known_frame_leaves_each_mode_as_a_flooded_one_does() {
    // Destination's port, its tags when it speaks, the tags when it is spoken to from A1.
    let cases: [(u16, &[Tag], &[Tag]); 5] = [
        (A2, &[], &[]),
        (T, &[q(10)], &[q(10)]),
        (N, &[], &[]),
        (M, &[q(10)], &[q(10)]),
        (S, &[ad(10)], &[ad(10)]),
    ];
    for (id, speaks, hears) in cases {
        let switch = all_modes();
        let hello = frame(BROADCAST, host(2), speaks, PAYLOAD);
        assert!(forward(&switch, seconds(0), port(id), &head(&hello)).is_ok());
        let unicast = frame(host(2), host(1), &[], PAYLOAD);
        let expected = Ok(vec![(port(id), Ok(frame(host(2), host(1), hears, PAYLOAD)))]);
        assert_eq!(forward(&switch, seconds(0), a1(), &head(&unicast)), expected);
    }
}
