//! Bundles: any bytes. What is read has the lengths that it says, and written anew it is the same bundle.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use weft_overlay::bundle::{BUNDLE_HEADER, BundleWriter, FRAMES_MAX, frames, size_in_bundle};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(bundle) = frames(data) else { return Corpus::Keep };
    assert!((1..=FRAMES_MAX).contains(&bundle.count()));
    assert_eq!(bundle.iter().count(), bundle.count());
    let sizes = bundle.iter().map(|frame| size_in_bundle(frame.bytes.len(), frame.vnet));
    let len = BUNDLE_HEADER + sizes.sum::<usize>();
    assert!(len <= data.len());
    assert!(data[len..].iter().all(|&byte| byte == 0));

    let mut written = vec![0; len];
    let mut writer = BundleWriter::new(&mut written, bundle.segment()).expect("there is room");
    for frame in bundle {
        writer
            .push(frame.bytes.len(), frame.priority, frame.vnet)
            .expect("it has room for what was read")
            .copy_from_slice(frame.bytes);
    }
    assert_eq!(writer.written(), len);
    assert_eq!(written, data[..len]);
    Corpus::Keep
});
