//! Filters and pcapng: any text is a filter or refused with a place inside it, any frame is wanted or not, and never both
//! by a filter and by its opposite; any bytes are blocks or refused.
//!
//! Input: a filter, a line end, a frame.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use weft_capture::{Filter, View, Way, pcapng::Blocks};

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut blocks = Blocks::default();
    let mut whole = 0;
    for piece in data.chunks(7) {
        blocks.feed(piece);
        while let Ok(Some((_, block))) = blocks.next() {
            whole += block.len();
        }
    }
    assert!(whole <= data.len());
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let Ok(text) = str::from_utf8(&data[..end]) else { return Corpus::Reject };
    let frame = data.get(end + 1..).unwrap_or_default();
    let filter = match Filter::parse(text) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(error.at.start <= error.at.end && error.at.end <= text.len(), "{error:?}");
            assert_eq!(error.picture(text).lines().count(), 2);
            return Corpus::Keep;
        }
    };
    let opposite = Filter::parse(&format!("not ({text})"));
    for way in [Way::In, Way::Out] {
        let view = View::new(frame, frame.len() as u32, way);
        let is_wanted = filter.matches(&view);
        // An empty filter and a deep one have no opposite.
        if let Ok(opposite) = &opposite {
            assert!(!(is_wanted && opposite.matches(&view)), "{text}");
        }
        let _ = (view.ethertype(), view.addresses(), view.source());
    }
    Corpus::Keep
});
