//! ARP, neighbour discovery and loop probes: any bytes behind an Ethernet header. An answer goes to whom asked,
//! teaches what it says and is no question; a probe that is read is a probe.
//!
//! Input: a frame.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use weft_overlay::{
    neighbour::{Question, sender},
    probe::{PROBE_DESTINATION, Probe},
};
use weft_vlan::MacAddr;

fuzz_target!(|frame: &[u8]| -> Corpus {
    if let Some((mac, _)) = sender(frame) {
        assert!(mac.is_source());
        assert_eq!(mac.octets(), frame[6..12]);
    }
    if let Some(question) = Question::read(frame) {
        let mac = MacAddr::new([2, 0, 0, 0, 0, 9]);
        let answer = question.answer(mac);
        assert_eq!(answer[..6], question.asker().octets());
        assert!(answer.len() >= 60);
        assert_eq!(Question::read(&answer), None);
        let taught = sender(&answer);
        assert!(taught.is_none_or(|taught| taught == (mac, question.target())));
    }
    if let Some(probe) = Probe::read(frame) {
        assert!(Probe::may_be(frame) && frame.starts_with(&PROBE_DESTINATION.octets()));
        assert_eq!(Probe::read(&probe.to_frame()), Some(probe));
    }
    Corpus::Keep
});
