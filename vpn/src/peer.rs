//! What the handshake thread and the workers share of a peer beside its sessions: when it was last spoken to and
//! heard.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A peer's number, chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// When there was something, in nanoseconds since the caller's origin plus one; 0 is never. Workers that pass one
/// `now` for a burst write once a burst.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Moment(AtomicU64);

impl Moment {
    fn set(&self, now: Duration) {
        let now = encode(now);
        if self.0.load(Relaxed) != now {
            self.0.store(now, Relaxed);
        }
    }

    fn get(&self) -> Option<Duration> {
        self.0.load(Relaxed).checked_sub(1).map(Duration::from_nanos)
    }
}

fn encode(now: Duration) -> u64 {
    // 584 years.
    (now.as_nanos() as u64).saturating_add(1)
}

/// Whether a peer lives, as its records tell, whatever session carries them.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    sent: Moment,
    heard: Moment,
    /// The first record since the last heard one that wants an answer.
    asked: Moment,
    /// When the latest session was made of those that opened a record.
    latest: Moment,
}

/// How far apart sessions of one time are made, at most: those that crossed.
const CROSSED: Duration = Duration::from_secs(5);

impl Pulse {
    /// A record left; `asks` if it is more than a keepalive.
    pub(crate) fn sent(&self, now: Duration, asks: bool) {
        self.sent.set(now);
        if asks && self.asked.0.load(Relaxed) == 0 {
            self.asked.0.store(encode(now), Relaxed);
        }
    }

    /// A record came, authenticated.
    pub(crate) fn heard(&self, now: Duration) {
        self.heard.set(now);
        if self.asked.0.load(Relaxed) != 0 {
            self.asked.0.store(0, Relaxed);
        }
    }

    /// A session made then opened a record. Says whether it is of the latest, whose records tell where the peer is.
    pub(crate) fn is_latest(&self, born: Duration) -> bool {
        match self.latest.get() {
            Some(latest) if latest > born => latest <= born + CROSSED,
            Some(latest) if latest == born => true,
            _ => {
                self.latest.0.fetch_max(encode(born), Relaxed);
                true
            }
        }
    }

    pub(crate) fn last_sent(&self) -> Option<Duration> {
        self.sent.get()
    }

    pub(crate) fn last_heard(&self) -> Option<Duration> {
        self.heard.get()
    }

    /// Since when there is no answer.
    pub(crate) fn unanswered_since(&self) -> Option<Duration> {
        self.asked.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_missed_from_the_first_question_on() {
        let at = Duration::from_secs;
        let pulse = Pulse::default();
        assert_eq!(
            (pulse.last_sent(), pulse.last_heard(), pulse.unanswered_since()),
            (None, None, None)
        );
        pulse.sent(at(0), false);
        assert_eq!((pulse.last_sent(), pulse.unanswered_since()), (Some(at(0)), None));
        pulse.sent(at(1), true);
        pulse.sent(at(2), true);
        assert_eq!((pulse.last_sent(), pulse.unanswered_since()), (Some(at(2)), Some(at(1))));
        pulse.heard(at(3));
        assert_eq!((pulse.last_heard(), pulse.unanswered_since()), (Some(at(3)), None));
    }
}
