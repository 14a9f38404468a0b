//! Tunnel control payloads of a peer that lies, into the search for the path MTU: what is read would be written the
//! same, and nothing but an answer to a probe moves the size that is used.
//!
//! Input: records of how many 64 ms pass (1), a length (1) and a payload of that length; in a payload of 14 bytes
//! that is an answer, a nonce of all ones stands for the nonce of the last probe.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use weft_vpn::{Control, PathMtu, Probe};

const LARGEST: u16 = 8960;

fuzz_target!(|data: &[u8]| {
    let mut now = Duration::from_secs(77);
    let mut search = PathMtu::new(now, LARGEST);
    let mut probes: Vec<Probe> = Vec::new();
    let mut rest = data;
    while let [pause, len, behind @ ..] = rest {
        now += Duration::from_millis(64 * u64::from(*pause));
        let (payload, behind) = behind.split_at(behind.len().min((*len).into()));
        rest = behind;
        search.handle_timeout(now, u16::from(*len) * 8);
        probes.extend(search.poll_transmit(now));
        assert_eq!(search.poll_transmit(now), None);
        let Ok(message) = Control::read(payload) else { continue };
        let mut out = payload.to_vec();
        out.resize(payload.len().max(Control::ROOM), 0);
        let written = message.write(&mut out);
        assert_eq!(Control::read(&out[..written]), Ok(message));
        let Control::ProbeAnswer { nonce, size } = message else { continue };
        let nonce = match (nonce, probes.last()) {
            (u64::MAX, Some(probe)) => probe.nonce,
            _ => nonce,
        };
        let before = search.current();
        search.answered(now, nonce, size);
        let after = search.current();
        assert!(after == before || probes.contains(&Probe { nonce, size: after }));
        assert!(after >= before && after <= LARGEST);
        // What is due is done at once, and not due again.
        search.handle_timeout(now, 0);
        probes.extend(search.poll_transmit(now));
        assert!(search.poll_timeout().is_none_or(|at| at > now));
    }
});
