//! Child processes: what they say is kept line by line, and they end with their owner.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Namespace, until_some, wait::PATIENCE};

/// The lines that a process or a guest has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    readers: usize,
}

impl Log {
    /// Collects the lines of a source in a thread until it ends.
    pub(crate) fn collect(&self, source: impl Read + Send + 'static) {
        self.lock().readers += 1;
        let log = self.clone();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while matches!(source.read_until(b'\n', &mut line), Ok(1..)) {
                log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            log.lock().readers -= 1;
            log.shared.1.notify_all();
        });
    }

    fn push(&self, line: String) {
        self.lock().lines.push(line);
        self.shared.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().lines.len()
    }

    /// Returns the lines from `first` on.
    pub(crate) fn since(&self, first: usize) -> Vec<String> {
        self.lock().lines[first..].to_vec()
    }

    /// Waits for a line from `first` on and returns its number; `None` when the deadline passes or the source ends.
    pub(crate) fn find(
        &self,
        first: usize,
        patience: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<usize> {
        let deadline = Instant::now() + patience;
        let mut next = first;
        let mut lines = self.lock();
        loop {
            while next < lines.lines.len() {
                if wanted(&lines.lines[next]) {
                    return Some(next);
                }
                next += 1;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            if lines.readers == 0 {
                return None;
            }
            lines =
                self.shared.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A child process in a namespace; killed by its id when dropped. What it said is printed when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pub(crate) log: Log,
}

impl Process {
    /// Starts a command in a namespace.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn start(name: &str, space: &Namespace, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match space.enter(|| command.spawn()) {
            Ok(child) => child,
            Err(error) => panic!("{name} cannot be started: {error}"),
        };
        let log = Log::default();
        if let Some(stdout) = child.stdout.take() {
            log.collect(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            log.collect(stderr);
        }
        Self { name: name.to_owned(), child, log }
    }

    /// Starts a command line, split at blanks, in a namespace.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn start_line(space: &Namespace, line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a command has a name"));
        command.args(words);
        Self::start(line, space, command)
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that it said.
    pub fn said(&self) -> String {
        self.log.since(0).join("\n")
    }

    /// Waits until it says a line with this text.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let found = self.log.find(0, PATIENCE, |line| line.contains(text));
        assert!(found.is_some(), "{} never said `{text}`:\n{}", self.name, self.said());
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is positive"));
        if let Err(error) = kill(pid, signal) {
            panic!("{} takes no {signal}: {error}", self.name);
        }
    }

    /// Returns its status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|_| Some(ExitStatus::from_raw(0)))
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        until_some(&what, || self.ended())
    }

    /// Waits until it has ended well and returns what it said.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn finish(mut self) -> String {
        let deadline = Instant::now() + 8 * PATIENCE;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            thread::sleep(Duration::from_millis(10));
        };
        // The pipes end with the process; the readers may still hold its last words.
        self.log.find(0, PATIENCE, |_| false);
        assert!(status.success(), "{} failed with {status}:\n{}", self.name, self.said());
        self.said()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("-- {} said\n{}\n-- end of {}", self.name, self.said(), self.name);
        }
        // Both fail only where the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
