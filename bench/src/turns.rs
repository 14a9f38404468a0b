//! What the benches side by side share: everybody once a run, run after run, so that what drifts hits all
//! alike. One who fails is noted, and the others go on.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use crate::{
    clock,
    lab::{Lab, Lifetime, run},
    probe::{self, Effort},
    report::{Failure, Head, Rival, Sample, Samples, one_line},
    site::{Site, Tools},
};

/// How often, and how long.
#[derive(Clone, Copy, Debug, Args)]
pub struct Turns {
    /// How often each peer is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// One run with shorter streams.
    #[arg(long)]
    pub quick: bool,
}

impl Turns {
    /// Returns the number of runs.
    pub fn count(self) -> usize {
        if self.quick { 1 } else { usize::from(self.runs) }
    }

    /// Returns how long a TCP stream lasts.
    pub fn tcp(self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 5 })
    }

    /// Returns the arguments that say the same.
    pub fn arguments(self) -> Vec<String> {
        let mut arguments = vec!["--runs".to_owned(), self.runs.to_string()];
        if self.quick {
            arguments.push("--quick".to_owned());
        }
        arguments
    }
}

/// A bench at work: its lab, where its tables go, how far it is.
#[derive(Debug)]
pub struct Bench {
    lab: Lab,
    out: PathBuf,
    // Held while the bench runs.
    _lock: fs::File,
    begin: Instant,
    done: usize,
    of: usize,
}

impl Bench {
    /// Begins a bench of `of` attempts that writes to the directory `out`.
    ///
    /// # Errors
    /// When another bench runs, or the directory is not to be had.
    pub fn begin(out: &Path, of: usize) -> Result<Self> {
        fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
        // What is started elsewhere has to find it, too.
        let out = out.canonicalize()?;
        let lock = fs::File::create(out.join("lock")).context("the lock of the bench")?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another bench runs here; two at once measure each other");
        }
        let scratch = out.join("scratch");
        if scratch.exists() {
            // Of a bench that was killed; the lock says that none runs.
            fs::remove_dir_all(&scratch)?;
        }
        let lab = Lab::new(&scratch, Lifetime::Run)?;
        lab.end_on_signal()?;
        Ok(Self { lab, out, _lock: lock, begin: clock::now(), done: 0, of })
    }

    /// Says that an attempt begins, makes it, and clears away whatever it set up.
    ///
    /// # Errors
    /// What the attempt fails with.
    pub fn attempt<T>(&mut self, what: &str, work: impl FnOnce(&Lab) -> Result<T>) -> Result<T> {
        self.done += 1;
        let seconds = self.begin.elapsed().as_secs();
        println!("[{}/{}, {}:{:02} min] {what}", self.done, self.of, seconds / 60, seconds % 60);
        let result = work(&self.lab);
        self.lab.clear()?;
        if let Err(error) = &result {
            println!("    failed: {}", one_line(&format!("{error:#}")));
        }
        result
    }

    /// Measures a peer once and notes its figures, or why there are none.
    pub fn take<P: Rival>(
        &mut self,
        samples: &mut Samples<P>,
        what: &str,
        (run, peer): (usize, P),
        (tools, effort): (&Tools, Effort),
        build: impl FnOnce(&Lab) -> Result<Site>,
    ) {
        self.note(samples, what, (run, peer), |lab| {
            let site = build(lab).context("set up")?;
            probe::measure(lab, tools, &site, effort).context("measure")
        });
    }

    /// Makes an attempt and notes the figures that it gives, or why there are none.
    pub fn note<P: Rival, F: fmt::Display>(
        &mut self,
        samples: &mut Samples<P, F>,
        what: &str,
        (run, peer): (usize, P),
        work: impl FnOnce(&Lab) -> Result<F>,
    ) {
        match self.attempt(what, work) {
            Ok(figures) => {
                println!("    {figures}");
                samples.taken.push(Sample { run, peer, figures });
            }
            Err(error) => {
                samples.failed.push(Failure { run, peer, reason: format!("{error:#}") });
            }
        }
    }

    /// Writes what there is to `NAME.md` and `NAME.json`, so that an interrupted bench leaves something.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, name: &str, markdown: &str, report: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string_pretty(report)?;
        for (extension, text) in [("md", markdown), ("json", &json)] {
            let path = self.path(name, extension);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Prints the tables and where they lie.
    pub fn show(&self, name: &str, markdown: &str) {
        println!("\n{markdown}");
        for extension in ["md", "json"] {
            println!("written: {}", self.path(name, extension).display());
        }
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.out.join(format!("{name}.{extension}"))
    }
}

/// Returns where and when a bench with such turns runs.
///
/// # Errors
/// When the machine does not tell.
pub fn head(turns: Turns) -> Result<Head> {
    Ok(Head {
        date: run(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?.trim().to_owned(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        cores: thread::available_parallelism()?.get(),
        tcp_seconds: turns.tcp().as_secs(),
    })
}
