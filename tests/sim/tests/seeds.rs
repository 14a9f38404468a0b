//! Many seeds, in pieces that run beside each other. `WEFT_SIM_SEEDS` runs more of them, `WEFT_SIM_SEED` one, which
//! then tells what happens.

use std::{env, thread};

use weft_sim::{Summary, Tell, run};

const SEEDS: u64 = 10_000;
const PIECES: u64 = 8;

/// Tells which seed failed.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {0} failed; to see it again: WEFT_SIM_SEED={0}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn piece(piece: u64) {
    if let Some(seed) = number("WEFT_SIM_SEED") {
        if seed % PIECES == piece {
            let _running = Running(seed);
            eprintln!("{:?}", run(seed, Tell::All));
        }
        return;
    }
    let seeds = number("WEFT_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut all, mut slowest) = (Summary::default(), 0);
    for seed in (piece..seeds).step_by(PIECES as usize) {
        let _running = Running(seed);
        let summary = run(seed, Tell::Nothing);
        assert!(summary.delivered > 0, "nothing was sent, so nothing was shown");
        if summary.settled > all.settled {
            (all.settled, slowest) = (summary.settled, seed);
        }
        all.delivered += summary.delivered;
        all.datagrams += summary.datagrams;
        all.initiations += summary.initiations;
        all.hostile += summary.hostile;
    }
    eprintln!("{all:?}, slowest to settle: seed {slowest}");
}

macro_rules! pieces {
    ($($name:ident = $piece:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                piece($piece);
            }
        )*
    };
}

pieces! {
    nothing_is_forged_doubled_or_lost_in_peace_0 = 0,
    nothing_is_forged_doubled_or_lost_in_peace_1 = 1,
    nothing_is_forged_doubled_or_lost_in_peace_2 = 2,
    nothing_is_forged_doubled_or_lost_in_peace_3 = 3,
    nothing_is_forged_doubled_or_lost_in_peace_4 = 4,
    nothing_is_forged_doubled_or_lost_in_peace_5 = 5,
    nothing_is_forged_doubled_or_lost_in_peace_6 = 6,
    nothing_is_forged_doubled_or_lost_in_peace_7 = 7,
}
