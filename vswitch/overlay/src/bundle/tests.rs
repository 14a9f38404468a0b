use proptest::{collection::vec, option, prelude::*};

use super::*;

fn segment(id: u32) -> SegmentId {
    SegmentId::new(id).unwrap()
}

#[test]
fn a_bundle_stands_on_the_wire_as_documented() {
    let mut buffer = [0xee; 40];
    let mut writer = BundleWriter::new(&mut buffer, segment(5010)).unwrap();
    writer.push(3, Priority::new(5, 1), None).unwrap().copy_from_slice(b"abc");
    let vnet = Some(&[1, 0, 0, 0, 0, 0, 34, 0, 16, 0]);
    writer.push(2, Priority::BEST_EFFORT, vnet).unwrap().copy_from_slice(b"de");
    assert_eq!((writer.count(), writer.written()), (2, 27));
    assert_eq!(
        buffer[..28],
        [
            0x92, 0x13, 0, 0, // segment 5010
            3, 0, 0, 0x0b, b'a', b'b', b'c', // PCP 5, DEI 1
            2, 0, 0, 0x80, 1, 0, 0, 0, 0, 0, 34, 0, 16, 0, b'd', b'e', //
            0xee,
        ]
    );
}

#[test]
fn what_is_not_a_bundle_is_refused_before_a_frame_comes_out() {
    use BundleError::{BadForm, BadLength, BadPadding, BadSegment, Empty, Short, TooMany};
    let one =
        |word: u32, rest: &[u8]| [&7u32.to_le_bytes()[..], &word.to_le_bytes(), rest].concat();
    let many = |count: usize| [&[7, 0, 0, 0][..], &[1, 0, 0, 0, 0xaa].repeat(count)].concat();
    #[rustfmt::skip]
    let table: [(Vec<u8>, Result<usize, BundleError>); 20] = [
        (vec![], Err(Short)),
        (vec![7, 0, 0], Err(Short)),
        (vec![0, 0, 0, 0, 1, 0, 0, 0, 9], Err(BadSegment)),
        (vec![0, 0, 0, 1, 1, 0, 0, 0, 9], Err(BadSegment)),
        (vec![7, 0, 0, 0], Err(Empty)),
        (vec![7, 0, 0, 0, 0, 0, 0, 0, 9], Err(Empty)),
        (one(1, &[9]), Ok(1)),
        (one(1, &[9, 0]), Ok(1)),
        (one(1, &[9, 0, 0, 0, 0, 0, 0]), Ok(1)),
        (one(1, &[9, 1]), Err(BadPadding)),
        (one(1, &[9, 0, 0, 0, 0, 0, 1]), Err(BadPadding)),
        (one(2, &[9]), Err(BadLength)),
        (one(0xff_ffff, &[9; 2000]), Err(BadLength)),
        // No length, and yet a form.
        (one(1 << 24, &[9]), Err(BadLength)),
        (one(1 << 31, &[9; 10]), Err(BadLength)),
        (one(1 << 31 | 1, &[9; 10]), Err(BadLength)),
        (one(1 << 31 | 1, &[9; 11]), Ok(1)),
        (one(1 << 28 | 1, &[9]), Err(BadForm)),
        (many(64), Ok(64)),
        (many(65), Err(TooMany)),
    ];
    for (payload, expected) in table {
        assert_eq!(frames(&payload).map(|bundle| bundle.count()), expected, "{payload:x?}");
    }
}

#[test]
fn a_writer_refuses_what_a_reader_would() {
    let mut buffer = vec![0; 1000];
    assert!(BundleWriter::new(&mut buffer[..3], segment(1)).is_none());
    let mut writer = BundleWriter::new(&mut buffer, segment(1)).unwrap();
    for len in [0, 1000, FRAME_MAX + 1, usize::MAX] {
        let pushed = writer.push(len.min(usize::MAX - 100), Priority::BEST_EFFORT, None);
        assert!(pushed.is_none(), "{len}");
    }
    assert_eq!((writer.count(), writer.written()), (0, BUNDLE_HEADER));
    for _ in 0..FRAMES_MAX {
        writer.push(1, Priority::BEST_EFFORT, None).unwrap();
    }
    assert!(writer.push(1, Priority::BEST_EFFORT, None).is_none());
}

#[test]
fn a_super_frame_of_64_kib_and_its_headers_is_carried() {
    let len = 65_535 + 14 + 4;
    let mut buffer = vec![0; BUNDLE_HEADER + size_in_bundle(len, Some(&[0; 10]))];
    let mut writer = BundleWriter::new(&mut buffer, segment(1)).unwrap();
    writer.push(len, Priority::BEST_EFFORT, Some(&[0; 10])).unwrap().fill(7);
    let bundle = frames(&buffer).unwrap();
    assert!(bundle.iter().eq([Frame {
        priority: Priority::BEST_EFFORT,
        vnet: Some(&[0; 10]),
        bytes: &vec![7; len],
    }]));
}

type Content = (u8, u8, Option<[u8; VNET_HEADER]>, Vec<u8>);

fn content() -> impl Strategy<Value = Content> {
    (0u8..8, 0u8..2, option::of(any::<[u8; VNET_HEADER]>()), vec(any::<u8>(), 1..200))
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        id in 1..=SegmentId::MAX,
        contents in vec(content(), 1..=FRAMES_MAX),
        padding in 0usize..20,
    ) {
        let mut buffer = vec![0; 20_000];
        let mut writer = BundleWriter::new(&mut buffer, segment(id)).unwrap();
        for (pcp, dei, vnet, bytes) in &contents {
            let priority = Priority::new(*pcp, *dei);
            writer
                .push(bytes.len(), priority, vnet.as_ref())
                .unwrap()
                .copy_from_slice(bytes);
        }
        let len = writer.written() + padding;
        let bundle = frames(&buffer[..len]).unwrap();
        prop_assert_eq!((bundle.segment(), bundle.count()), (segment(id), contents.len()));
        let read: Vec<Content> = bundle
            .iter()
            .map(|frame| {
                let priority = frame.priority;
                (priority.pcp(), priority.dei(), frame.vnet.copied(), frame.bytes.to_vec())
            })
            .collect();
        prop_assert_eq!(read, contents);
    }

    #[test]
    fn whatever_is_read_is_as_long_as_it_says(payload in vec(any::<u8>(), 0..300)) {
        if let Ok(bundle) = frames(&payload) {
            prop_assert_eq!(bundle.iter().count(), bundle.count());
            prop_assert!((1..=FRAMES_MAX).contains(&bundle.count()));
            let sizes = bundle.iter().map(|frame| size_in_bundle(frame.bytes.len(), frame.vnet));
            prop_assert!(BUNDLE_HEADER + sizes.sum::<usize>() <= payload.len());
        }
    }
}
