//! The lossless reference: every bundle that was sent, and what became of it. A bundle tells its number, and the
//! number all of its bytes, so that what is delivered is compared byte by byte without being kept.

use std::time::Duration;

use crate::dice::Dice;

/// The bytes of a bundle's number, with which it begins.
pub(crate) const SHORTEST: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: Vec<Sent>,
    delivered: u64,
}

#[derive(Debug)]
struct Sent {
    from: usize,
    to: usize,
    len: usize,
    at: Duration,
    must: Must,
    delivered: bool,
}

/// What is expected of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// It may be lost.
    May,
    /// It is delivered.
    Arrive,
}

impl Ledger {
    /// Writes down a bundle of `len` bytes; returns it.
    pub(crate) fn send(
        &mut self,
        now: Duration,
        from: usize,
        to: usize,
        len: usize,
        must: Must,
    ) -> Vec<u8> {
        let number = self.sent.len() as u64;
        let bundle = text(number, len);
        self.sent.push(Sent { from, to, len, at: now, must, delivered: false });
        bundle
    }

    /// Checks a bundle off; returns when it was sent.
    ///
    /// # Panics
    /// When nobody sent it, it came before, or it is for somebody else.
    pub(crate) fn deliver(&mut self, from: usize, to: usize, bundle: &[u8]) -> Duration {
        let number = bundle.first_chunk().map(|&number| u64::from_le_bytes(number));
        let sent = number.and_then(|number| self.sent.get_mut(usize::try_from(number).ok()?));
        let (Some(number), Some(sent)) = (number, sent) else {
            panic!("host {to} delivers {} bytes that nobody sent", bundle.len());
        };
        assert_eq!((sent.from, sent.to), (from, to), "bundle {number} between the wrong hosts");
        assert!(!sent.delivered, "bundle {number} of host {from} is delivered twice at host {to}");
        assert!(
            bundle.len() == sent.len && bundle == text(number, sent.len),
            "bundle {number} from host {from} to host {to} has changed on the way"
        );
        sent.delivered = true;
        self.delivered += 1;
        sent.at
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Checks that everything arrived that had to.
    ///
    /// # Panics
    /// With what is missing.
    pub(crate) fn close(&self, origin: Duration) {
        let missing: Vec<_> = (0..)
            .zip(&self.sent)
            .filter(|(_, sent)| sent.must == Must::Arrive && !sent.delivered)
            .map(|(number, sent): (u64, _)| {
                let Sent { from, to, len, at, .. } = sent;
                let at = at.saturating_sub(origin);
                format!("{number} ({len} bytes from host {from} to host {to} at {at:?})")
            })
            .collect();
        assert!(
            missing.is_empty(),
            "{} bundles were lost that nothing had to lose: {}",
            missing.len(),
            missing[..missing.len().min(8)].join(", ")
        );
    }
}

fn text(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(len.max(SHORTEST), 0);
    weft_vpn::Random::fill(&mut Dice::new(number), &mut bytes[SHORTEST..]);
    bytes
}
