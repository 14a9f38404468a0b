//! How far two cores are from each other: the time that a word takes from one to the other and back. A hypervisor moves a
//! virtual machine's cores about, under load most of all, and two that share no cache take four times as long. What is
//! copied from core to core slows down with it, small frames by a third and large ones by more than half, so that
//! figures can be compared only when they are of the same distance.

use std::{
    hint,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    clock,
    lab::{Lab, Process},
    site::Tools,
};

/// A word's way there and back within a cache that both cores share takes a third to a half of this, in ns.
const NEAR_NS: f64 = 250.0;
const BETWEEN_GAMES: Duration = Duration::from_millis(100);
/// How often the word goes there and back in one game: with a fifth of a permille of either core nobody notices.
const ROUNDS: u64 = 200;
/// How long either core waits for the other one.
const PATIENCE: Duration = Duration::from_millis(2);
const SPINS_BETWEEN_LOOKS: u32 = 64;

/// Watches two cores on which something else runs.
#[derive(Debug)]
pub(crate) struct Watch {
    process: Process,
    /// Games that were told of already.
    told: usize,
    last: Option<f64>,
}

impl Watch {
    /// Begins. Where nobody may go before what runs, nothing is seen.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub(crate) fn start(lab: &Lab, tools: &Tools, cores: [&str; 2]) -> Result<Self> {
        let mut command = Command::new("chrt");
        command.args(["--fifo", "1"]).arg(&tools.bench).arg("apart").args(cores);
        Ok(Self { process: lab.spawn(&command, "apart.log")?, told: 0, last: None })
    }

    /// Returns the longest way there and back since it was asked the last time, in ns; `None` where nothing was seen.
    ///
    /// # Errors
    /// When what it noted cannot be read.
    pub(crate) fn since_last(&mut self) -> Result<Option<f64>> {
        let output = self.process.output()?;
        let games: Vec<f64> = output.lines().filter_map(|line| line.parse().ok()).collect();
        // The one before may have been at the beginning of this time.
        let last = self.last.take();
        let new = games[self.told.min(games.len())..].iter().copied();
        let longest = last.into_iter().chain(new).reduce(f64::max);
        (self.told, self.last) = (games.len(), games.last().copied());
        Ok(longest)
    }

    /// Ends it.
    pub(crate) fn stop(self, lab: &Lab) {
        lab.stop(&self.process);
    }
}

/// Tells whether cores of this distance share a cache.
pub(crate) fn is_near(ns: f64) -> bool {
    ns < NEAR_NS
}

/// Prints how far two cores are from each other, in ns, again and again until it is killed.
///
/// # Errors
/// When there are no such cores.
pub fn watch(cores: [usize; 2]) -> Result<()> {
    ensure!(cores[0] != cores[1], "a core is not apart from itself");
    let ball = AtomicU64::new(0);
    let begin = clock::now();
    // Both are there at the same moment, whatever else their cores do.
    let wait_for_game = |number: u32| {
        let at = begin + BETWEEN_GAMES * number;
        thread::sleep(at.saturating_duration_since(clock::now()));
    };
    thread::scope(|scope| {
        let far = thread::Builder::new().spawn_scoped(scope, || -> Result<()> {
            stay_on(cores[1])?;
            for number in 1.. {
                wait_for_game(number);
                return_ball(&ball);
            }
            Ok(())
        })?;
        stay_on(cores[0])?;
        for number in 1.. {
            wait_for_game(number);
            if let Some(ns) = play(&ball) {
                println!("{ns:.0}");
            }
            if far.is_finished() {
                break;
            }
        }
        far.join().unwrap_or(Ok(()))
    })
}

fn stay_on(core: usize) -> Result<()> {
    ensure!(core < CpuSet::MAX_CPU, "no core {core}");
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("core {core}"))
}

/// Throws the ball and waits for it, a game long; returns the ns of one way there and back, `None` when nobody returns it.
fn play(ball: &AtomicU64) -> Option<f64> {
    let mut at = ball.load(Ordering::Acquire).next_multiple_of(2);
    let mut throw = || {
        ball.store(at + 1, Ordering::Release);
        at += 2;
        wait_for(ball, |now| now == at)
    };
    // The other one may still be on its way.
    throw()?;
    let begin = clock::now();
    for _ in 0..ROUNDS {
        throw()?;
    }
    Some(begin.elapsed().as_nanos() as f64 / ROUNDS as f64)
}

/// Returns what is thrown, a game long, or until nothing comes.
fn return_ball(ball: &AtomicU64) {
    for _ in 0..=ROUNDS {
        let Some(thrown) = wait_for(ball, |now| now % 2 == 1) else { return };
        ball.store(thrown + 1, Ordering::Release);
    }
}

fn wait_for(ball: &AtomicU64, is_there: impl Fn(u64) -> bool) -> Option<u64> {
    let begin = clock::now();
    loop {
        for _ in 0..SPINS_BETWEEN_LOOKS {
            let now = ball.load(Ordering::Acquire);
            if is_there(now) {
                return Some(now);
            }
            hint::spin_loop();
        }
        if begin.elapsed() > PATIENCE {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_ball_that_nobody_returns_ends_the_game() {
        let ball = AtomicU64::new(0);
        assert_eq!(play(&ball), None);
        // It lies where it was thrown to, and does not count as returned the next time.
        assert_eq!(ball.load(Ordering::Relaxed), 1);
        assert_eq!(play(&ball), None);
    }

    #[test]
    fn a_ball_comes_back() {
        let (ball, done) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    return_ball(&ball);
                }
            });
            // On a busy machine the two seldom meet.
            let ns = std::iter::from_fn(|| Some(play(&ball))).flatten().next();
            done.store(true, Ordering::Relaxed);
            assert!(ns.is_some_and(|ns| ns > 0.0));
        });
    }
}
