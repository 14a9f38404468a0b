//! The timestamps of this host's own initiations: never twice the same and never back, whatever its clock does.

use std::time::Duration;

use crate::Tai64n;

/// How far the mark is ahead of the timestamps below it.
const AHEAD: Duration = Duration::from_secs(60);

pub(super) struct Stamps {
    last: Option<Tai64n>,
    mark: Option<Tai64n>,
    told: bool,
}

/// A timestamp, and what to say of it.
pub(super) struct Stamp {
    pub(super) timestamp: Tai64n,
    /// A new mark, to be kept.
    pub(super) mark: Option<Tai64n>,
    /// The clock shows this, far behind the last timestamp: said once.
    pub(super) behind: Option<Tai64n>,
}

impl Stamps {
    /// Goes on from the mark that the last start left.
    pub(super) fn new(mark: Option<Tai64n>) -> Self {
        Self { last: mark, mark, told: false }
    }

    pub(super) fn next(&mut self, wall: Duration) -> Stamp {
        let clock = Tai64n::from_unix(wall);
        let timestamp = match self.last {
            Some(last) => clock.max(last.next()),
            None => clock,
        };
        let behind = self.last.filter(|&last| clock.later(AHEAD) < last && !self.told);
        self.told |= behind.is_some();
        self.last = Some(timestamp);
        let mut mark = None;
        if self.mark.is_none_or(|mark| timestamp >= mark) {
            mark = Some(timestamp.later(AHEAD));
            self.mark = mark;
        }
        Stamp { timestamp, mark, behind: behind.map(|_| clock) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn timestamps_rise_whatever_the_clock_does_and_across_starts() {
        let mut stamps = Stamps::new(None);
        let mut last = Tai64n::from_unix(Duration::ZERO);
        let mut mark = None;
        for step in [0, 0, 1, -100, 5, -1_000_000, 70] {
            let wall = CLOCK.as_secs().saturating_add_signed(step);
            let stamp = stamps.next(Duration::from_secs(wall));
            assert!(stamp.timestamp > last);
            last = stamp.timestamp;
            mark = stamp.mark.or(mark);
            assert!(mark.unwrap() > last, "the mark is ahead of what was sent");
        }
        let mut stamps = Stamps::new(mark);
        assert!(stamps.next(Duration::ZERO).timestamp > last);
    }

    #[test]
    fn a_mark_serves_for_a_minute() {
        let mut stamps = Stamps::new(None);
        let marks =
            (0..180).filter(|&at| stamps.next(CLOCK + Duration::from_secs(at)).mark.is_some());
        assert_eq!(marks.collect::<Vec<_>>(), [0, 60, 120]);
    }

    #[test]
    fn a_clock_behind_its_mark_is_told_once() {
        let mark = Tai64n::from_unix(CLOCK);
        let mut stamps = Stamps::new(Some(mark));
        let near = CLOCK - Duration::from_secs(59);
        assert!(stamps.next(near).behind.is_none());
        let far = CLOCK - Duration::from_secs(3600);
        assert_eq!(stamps.next(far).behind, Some(Tai64n::from_unix(far)));
        assert!(stamps.next(far).behind.is_none());
    }
}
