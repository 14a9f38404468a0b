//! The search on simulated paths: its end, its speed, and what it must not believe.

use proptest::prelude::*;

use super::*;

const BEGIN: Duration = Duration::from_secs(5000);
const ETHERNET: u16 = 1472;

/// A path on a virtual clock, with the search at its near end.
struct Path {
    now: Duration,
    search: PathMtu,
    /// The largest payload that passes.
    passes: u16,
    round_trip: Duration,
    /// Loses a probe when it says so.
    loses: Box<dyn FnMut() -> bool>,
    /// The size of the datagrams that are sent all the time.
    traffic: u16,
    /// Answers under way.
    answers: Vec<(Duration, Probe)>,
    probes: Vec<u16>,
}

impl Path {
    fn new(largest: u16, passes: u16) -> Self {
        Self {
            now: BEGIN,
            search: PathMtu::new(BEGIN, largest),
            passes,
            round_trip: Duration::from_millis(20),
            loses: Box::new(|| false),
            traffic: 0,
            answers: Vec::new(),
            probes: Vec::new(),
        }
    }

    fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            while let Some(probe) = self.search.poll_transmit(self.now) {
                assert_eq!(self.search.poll_transmit(self.now), None, "one probe in flight");
                self.probes.push(probe.size);
                if probe.size <= self.passes && !(self.loses)() {
                    self.answers.push((self.now + self.round_trip, probe));
                }
            }
            let answer = self.answers.iter().map(|&(at, _)| at).min();
            let timeout = self.search.poll_timeout();
            let Some(next) = [answer, timeout].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            self.now = next;
            let now = self.now;
            for (_, probe) in self.answers.extract_if(.., |&mut (at, _)| at <= now) {
                self.search.answered(now, probe.nonce, probe.size);
            }
            let sent = self.traffic.min(self.search.current());
            self.search.handle_timeout(self.now, sent);
            let again = self.search.poll_timeout();
            assert!(again.is_none_or(|again| again > self.now), "what was due is done");
            let current = self.search.current();
            assert!(
                (BASE..=self.search.largest).contains(&current) && current.is_multiple_of(STEP)
            );
        }
        self.now = end;
    }

    fn seconds(&mut self, seconds: u64) -> u16 {
        self.run_for(Duration::from_secs(seconds));
        self.search.current()
    }
}

/// The size that should be found on a path.
fn expected(largest: u16, passes: u16) -> u16 {
    (largest.min(passes) / STEP * STEP).max(BASE)
}

#[test]
fn a_clear_path_is_known_after_a_round_trip_a_step() {
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.run_for(Duration::from_millis(9 * 20));
    assert_eq!(path.search.current(), ETHERNET);
    assert_eq!(path.probes, [1200, 1232, 1248, 1360, 1392, 1408, 1440, 1456, 1472]);
    assert!(path.search.is_confirmed());
    // Nothing more to find, nothing sent: no more probes.
    path.seconds(7200);
    assert_eq!(path.probes.len(), 9);
}

#[test]
fn a_narrow_path_is_found_within_half_a_minute() {
    for passes in [1199, 1200, 1216, 1232, 1252, 1300, 1372, 1392, 1420, 1432, 1452, 1464, 1471] {
        let mut path = Path::new(ETHERNET, passes);
        assert_eq!(path.seconds(30), expected(ETHERNET, passes), "{passes}");
        assert_eq!(path.search.is_confirmed(), passes >= BASE);
    }
}

#[test]
fn a_limit_below_the_base_is_the_base() {
    for largest in [0, 576, 1200, 1215] {
        let mut path = Path::new(largest, u16::MAX);
        assert_eq!(path.seconds(3600), BASE);
        assert_eq!(path.probes, [BASE]);
    }
    assert_eq!(Path::new(u16::MAX, u16::MAX).seconds(60), 65_504);
}

#[test]
fn a_path_that_shrinks_is_no_black_hole_for_longer_than_six_seconds() {
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.traffic = ETHERNET;
    path.seconds(60);
    path.passes = 1300;
    assert_eq!(path.seconds(6), 1248);
    assert_eq!(path.seconds(30), 1296);
}

#[test]
fn an_idle_path_is_left_alone_until_it_is_used() {
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.seconds(1);
    let before = path.probes.len();
    path.traffic = BASE;
    path.passes = 1300;
    assert_eq!(path.seconds(3600), ETHERNET);
    assert_eq!(path.probes.len(), before);
    path.traffic = ETHERNET;
    assert!(path.seconds(6) <= 1300);
}

#[test]
fn a_path_that_grows_is_used_after_ten_minutes() {
    let mut path = Path::new(ETHERNET, 1392);
    path.seconds(60);
    path.passes = u16::MAX;
    assert_eq!(path.seconds(500), 1392);
    assert_eq!(path.seconds(100), ETHERNET);
}

#[test]
fn an_outage_is_no_narrow_path() {
    for begins in [0, 10, 30, 50, 70, 110, 170, 2000] {
        let mut path = Path::new(ETHERNET, u16::MAX);
        path.traffic = ETHERNET;
        path.run_for(Duration::from_millis(begins));
        let passes = std::mem::replace(&mut path.passes, 0);
        path.seconds(60);
        path.passes = passes;
        assert_eq!(path.seconds(31), ETHERNET, "{begins}");
    }
}

#[test]
fn another_endpoint_begins_the_search_anew_and_old_answers_do_not_count() {
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.seconds(1);
    path.search.restart(path.now);
    assert_eq!(path.search.current(), BASE);
    let probe = path.search.poll_transmit(path.now).unwrap();
    path.search.restart(path.now);
    path.search.answered(path.now, probe.nonce, probe.size);
    assert!(!path.search.is_confirmed());
    path.passes = 1392;
    assert_eq!(path.seconds(30), 1392);
}

#[test]
fn a_late_answer_counts() {
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.round_trip = Duration::from_secs(5);
    assert_eq!(path.seconds(120), ETHERNET);
    // And when queues fill somewhere: three probes are given up before their answers come.
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.traffic = ETHERNET;
    path.seconds(10);
    path.round_trip = Duration::from_secs(4);
    path.seconds(20);
    assert_eq!(path.seconds(100), ETHERNET);
}

#[test]
fn a_longer_round_trip_is_waited_for_from_the_first_answer_on() {
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.traffic = ETHERNET;
    path.seconds(10);
    path.round_trip = Duration::from_millis(1500);
    path.seconds(3);
    let before = path.probes.len();
    path.seconds(35);
    // One every 2 s, and 1.5 s until it is answered.
    assert_eq!(path.probes.len() - before, 10);
}

#[test]
fn an_answer_that_comes_after_its_size_was_given_up_is_believed_once() {
    let mut path = Path::new(ETHERNET, 1400);
    path.run_for(Duration::from_millis(5 * 20));
    let late = path.search.sent[0];
    assert_eq!(late.size, 1408);
    // Three probes are lost, and then the current size is verified.
    while path.search.too_large.is_none() {
        path.seconds(1);
    }
    assert_eq!((path.search.current(), path.search.too_large), (1392, Some(1408)));
    path.search.answered(path.now, late.nonce, late.size);
    assert_eq!((path.search.current(), path.search.too_large), (1408, None));
    path.search.restart(path.now);
    path.search.answered(path.now, late.nonce, late.size);
    assert_eq!(path.search.current(), BASE);
}

#[test]
fn an_answer_counts_once() {
    let mut search = PathMtu::new(BEGIN, ETHERNET);
    let mut last = None;
    while let Some(probe) = search.poll_transmit(BEGIN) {
        search.answered(BEGIN, probe.nonce, probe.size);
        last = Some(probe);
    }
    let Some(Probe { nonce, size: ETHERNET }) = last else { panic!("{last:?}") };
    let later = BEGIN + CONFIRMATION_TIMER;
    search.handle_timeout(later, ETHERNET);
    let probe = search.poll_transmit(later).unwrap();
    search.answered(later, nonce, ETHERNET);
    assert_eq!(search.phase, Phase::Confirm);
    search.answered(later, probe.nonce, ETHERNET);
    assert_eq!(search.phase, Phase::Complete);
}

#[test]
fn a_new_limit_is_obeyed_at_once_and_searched_up_to() {
    let mut path = Path::new(ETHERNET, u16::MAX);
    path.seconds(1);
    path.search.set_largest(path.now, 1400);
    assert_eq!(path.search.current(), 1392);
    assert_eq!(path.seconds(10), 1392);
    path.search.set_largest(path.now, 8972);
    assert_eq!(path.seconds(10), 8960);
    // Also by the answer to a probe that was under way.
    let mut search = PathMtu::new(BEGIN, ETHERNET);
    let probe = search.poll_transmit(BEGIN).unwrap();
    search.answered(BEGIN, probe.nonce, probe.size);
    let probe = search.poll_transmit(BEGIN).unwrap();
    search.set_largest(BEGIN, BASE);
    search.answered(BEGIN, probe.nonce, probe.size);
    assert_eq!(search.current(), BASE);
}

#[test]
fn a_size_that_the_own_interface_refuses_costs_no_time() {
    let mut search = PathMtu::new(BEGIN, ETHERNET);
    let mut probes = 0;
    while let Some(probe) = search.poll_transmit(BEGIN) {
        probes += 1;
        if probe.size > 1400 {
            search.refused(BEGIN, probe.nonce);
        } else {
            search.answered(BEGIN, probe.nonce, probe.size);
        }
    }
    assert_eq!((search.current(), probes), (1392, 6));

    // And when its limit has shrunk, it falls back at once, and waits if not even the base goes out.
    let later = BEGIN + CONFIRMATION_TIMER;
    search.handle_timeout(later, ETHERNET);
    let probe = search.poll_transmit(later).unwrap();
    search.refused(later, probe.nonce);
    assert_eq!(search.current(), BASE);
    let probe = search.poll_transmit(later).unwrap();
    search.refused(later, probe.nonce);
    assert_eq!(search.poll_transmit(later), None);
    assert_eq!(search.poll_timeout(), Some(later + PROBE_TIMER));
}

proptest! {
    #[test]
    fn every_path_is_found(
        largest in BASE..10_000,
        passes in BASE..10_000,
        millis in 1_u64..900,
    ) {
        let mut path = Path::new(largest, passes);
        path.round_trip = Duration::from_millis(millis);
        prop_assert_eq!(path.seconds(180), expected(largest, passes));
    }

    #[test]
    fn a_lossy_path_that_changes_is_found_when_it_settles(
        largest in BASE..9000,
        changes in prop::collection::vec((1000_u16..9000, 0_u64..100, 0_u32..8), 1..6),
        seed: u64,
    ) {
        let mut path = Path::new(largest, u16::MAX);
        path.traffic = largest;
        for (passes, seconds, lossy) in changes {
            path.passes = passes;
            let mut state = seed | 1;
            path.loses = Box::new(move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) % 10 < lossy.into()
            });
            path.seconds(seconds);
        }
        path.loses = Box::new(|| false);
        let passes = path.passes.max(BASE);
        path.passes = passes;
        // What was lost by chance is tried again by the raise timer.
        prop_assert_eq!(path.seconds(900), expected(largest, passes));
    }

    #[test]
    fn answers_to_no_probe_change_nothing(
        lies in prop::collection::vec((0_u64..12, any::<u16>(), 0_u64..4000), 0..100),
    ) {
        let mut search = PathMtu::new(BEGIN, 9000);
        let mut now = BEGIN;
        for (nonce, size, millis) in lies {
            now += Duration::from_millis(millis);
            search.handle_timeout(now, 0);
            let probe = search.poll_transmit(now);
            let known = search.sent.iter().any(|sent| (sent.nonce, sent.size) == (nonce, size));
            let before = format!("{search:?}");
            if !known && probe != Some(Probe { nonce, size }) {
                search.answered(now, nonce, size);
                prop_assert_eq!(before, format!("{:?}", search));
            }
            prop_assert_eq!(search.current(), BASE);
        }
    }
}
