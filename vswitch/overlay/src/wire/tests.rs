use proptest::{collection::vec, prelude::*};

use super::*;

fn segment() -> impl Strategy<Value = SegmentId> {
    (1..=SegmentId::MAX).prop_map(|id| SegmentId::new(id).unwrap())
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr::new)
}

fn entry() -> impl Strategy<Value = Entry> {
    let claim = (any::<u64>(), vec(any::<IpAddr>(), 0..=IPS_MAX));
    (mac(), proptest::option::of(claim)).prop_map(|(mac, claim)| Entry { mac, claim })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (any::<u32>(), any::<u16>(), any::<u16>(), vec((segment(), "[a-zäß]{1,8}"), 0..20))
            .prop_map(|(revision, from, total, items)| Body::Catalogue {
                revision,
                from,
                total,
                items
            }),
        (segment(), any::<[u64; 4]>(), vec(entry(), 0..=12)).prop_map(
            |(segment, [round, from, to, full], entries)| {
                Body::Claims { segment, round, from, to, full, entries }
            }
        ),
        (
            any::<(u64, u32)>(),
            any::<(u32, u16)>(),
            vec((segment(), any::<u64>(), any::<u64>()), 0..=ACKS_MAX)
        )
            .prop_map(|((epoch, session), catalogue, logs)| Body::Ack {
                of: Stamp { epoch, session },
                catalogue,
                logs,
            }),
        vec((segment(), mac(), any::<u64>()), 0..=DISPUTES_MAX).prop_map(Body::Dispute),
    ]
}

proptest! {
    #[test]
    fn a_message_reads_back_as_written(epoch: u64, session: u32, body in body()) {
        let message = Message { stamp: Stamp { epoch, session }, body };
        let bytes = message.to_bytes();
        prop_assert!(bytes.len() <= PAYLOAD_MAX);
        prop_assert_eq!(Message::read(&bytes), Ok(message));
    }

    #[test]
    fn a_message_cut_short_or_changed_is_read_as_what_it_says_or_refused(
        body in body(), cut in 0usize..PAYLOAD_MAX, at in 0usize..PAYLOAD_MAX, to: u8,
    ) {
        let mut bytes = Message { stamp: Stamp { epoch: 1, session: 1 }, body }.to_bytes();
        let len = bytes.len();
        bytes[at % len] = to;
        bytes.truncate(len.max(cut) - cut);
        if let Ok(message) = Message::read(&bytes) {
            prop_assert_eq!(message.to_bytes(), bytes);
        }
    }
}

#[test]
fn sizes_are_what_is_written() {
    let entries: Vec<Entry> = [None, Some(vec![]), Some(vec!["10.0.0.1", "fd00::1"])]
        .into_iter()
        .map(|ips| Entry {
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            claim: ips.map(|ips| (7, ips.iter().map(|ip| ip.parse().unwrap()).collect())),
        })
        .collect();
    let size = CLAIMS_HEADER + entries.iter().map(Entry::size).sum::<usize>();
    let segment = SegmentId::new(5).unwrap();
    let body = Body::Claims { segment, round: 1, from: 0, to: 1, full: 1, entries };
    assert_eq!(Message { stamp: Stamp { epoch: 1, session: 1 }, body }.to_bytes().len(), size);
}

#[test]
fn a_claim_stands_on_the_wire_as_documented() {
    let entries = vec![
        Entry {
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            claim: Some((3, vec!["10.0.0.1".parse().unwrap()])),
        },
        Entry { mac: MacAddr::new([2, 0, 0, 0, 0, 2]), claim: None },
    ];
    let segment = SegmentId::new(5010).unwrap();
    let body = Body::Claims { segment, round: 1, from: 2, to: 4, full: 3, entries };
    let bytes = Message { stamp: Stamp { epoch: 0x0102, session: 9 }, body }.to_bytes();
    #[rustfmt::skip]
    assert_eq!(bytes, [
        1, 2, 2, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0,
        0x92, 0x13, 0, 0,
        1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
        1, 2, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1,
        0x80, 2, 0, 0, 0, 0, 2,
    ]);
}

#[test]
fn names_that_would_upset_a_terminal_are_refused() {
    let segment = SegmentId::new(1).unwrap();
    for (name, is_fit) in [
        ("office".to_owned(), true),
        ("o".repeat(64), true),
        ("o".repeat(65), false),
        (String::new(), false),
        ("a\u{1b}[2J".to_owned(), false),
        ("a\nb".to_owned(), false),
    ] {
        let body = Body::Catalogue {
            revision: 1,
            from: 0,
            total: 1,
            items: vec![(segment, name.clone())],
        };
        let bytes = Message { stamp: Stamp { epoch: 1, session: 1 }, body }.to_bytes();
        assert_eq!(Message::read(&bytes).is_ok(), is_fit, "{name:?}");
    }
}
