//! `cargo xtask fuzz`: rounds of fuzzing. What an earlier round found is replayed by ordinary tests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use weft_bench::lab;

use crate::{
    layout, say,
    setup::{self, Need},
    step::{cargo, show},
};

/// What to fuzz, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// One target; all of them, one after the other, when not given.
    target: Option<String>,
    /// The length of each target's round.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

/// Fuzzes what the options name.
///
/// # Errors
/// When a target is not known or an input breaks it.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure_for(&[Need::Fuzz])?;
    let known = targets()?;
    let chosen = match &options.target {
        None => known,
        Some(target) => {
            ensure!(
                known.contains(target),
                "no fuzz target {target}; there are: {}",
                known.join(", ")
            );
            vec![target.clone()]
        }
    };
    for target in chosen {
        say::heading(&format!("Fuzzing {target} for {} min", options.minutes));
        one(&target, Duration::from_secs(options.minutes * 60))?;
    }
    Ok(())
}

/// Returns the names of the fuzz targets.
///
/// # Errors
/// When cargo-fuzz fails.
pub(crate) fn targets() -> Result<Vec<String>> {
    let listed = lab::run(&mut cargo(&["fuzz", "list"]))?;
    let targets: Vec<_> = listed.lines().map(|line| line.trim().to_owned()).collect();
    ensure!(!targets.is_empty(), "there is no fuzz target");
    Ok(targets)
}

/// Fuzzes one target, begun with what earlier rounds found worth keeping and with the seeds beside it.
///
/// # Errors
/// When an input breaks it.
pub(crate) fn one(target: &str, length: Duration) -> Result<()> {
    let fuzz = layout::root().join("fuzz");
    let corpus = fuzz.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)
        .with_context(|| format!("cannot make {}", corpus.display()))?;
    let mut command = cargo(&["fuzz", "run", target]);
    command.arg(corpus);
    let seeds = fuzz.join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let seconds = format!("-max_total_time={}", length.as_secs());
    command.args(["--", &seconds, "-verbosity=0", "-print_final_stats=1"]);
    let words = fuzz.join("dictionaries").join(format!("{target}.dict"));
    if words.is_file() {
        command.arg(format!("-dict={}", words.display()));
    }
    // The sanitizer's flags are the nightly compiler's; this makes a stable one take them.
    show(command.env("RUSTC_BOOTSTRAP", "1"))
}
