//! The scratch surroundings of one run: network namespaces, processes, a directory. All of it goes when the
//! [`Lab`] is dropped or a signal ends the run, unless it is kept on purpose.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::clock;

const PATIENCE_AT_END: Duration = Duration::from_secs(3);

/// Whether what was started outlives the program that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It ends with the run, even when the run is killed.
    Run,
    /// It may be left behind by [`Lab::keep`].
    Kept,
}

/// Namespaces, processes and files of one run.
#[derive(Debug)]
pub struct Lab {
    held: Arc<Mutex<Held>>,
    dir: PathBuf,
    lifetime: Lifetime,
}

#[derive(Debug, Default)]
struct Held {
    ended: bool,
    processes: Vec<Child>,
    namespaces: Vec<String>,
    dir: Option<PathBuf>,
}

/// What [`Lab::keep`] leaves behind; enough to end it later.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Leftovers {
    /// Processes by id and, against reused ids, the kernel's start time.
    pub processes: Vec<(i32, u64)>,
    /// Named network namespaces.
    pub namespaces: Vec<String>,
    /// The scratch directory.
    pub dir: PathBuf,
}

/// A network namespace with a name.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

/// A process of the lab.
#[derive(Clone, Debug)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Lab {
    /// Creates a lab whose scratch directory is `dir`, which must not hold anything yet.
    ///
    /// # Errors
    /// When the directory cannot be made or holds something.
    pub fn new(dir: &Path, lifetime: Lifetime) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        ensure!(fs::read_dir(dir)?.next().is_none(), "{} holds something already", dir.display());
        let held = Held { dir: Some(dir.to_owned()), ..Held::default() };
        Ok(Self { held: Arc::new(Mutex::new(held)), dir: dir.to_owned(), lifetime })
    }

    /// Cleans up and exits when SIGINT, SIGTERM or SIGHUP arrives.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn end_on_signal(&self) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let held = Arc::clone(&self.held);
        thread::Builder::new().name("signals".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                eprintln!("\ninterrupted: cleaning up");
                lock(&held).end();
                std::process::exit(128 + signal);
            }
        })?;
        Ok(())
    }

    /// Returns the scratch directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates a namespace with its loopback up and IPv6 off, so that nothing in it speaks unasked.
    ///
    /// # Errors
    /// When the kernel or `ip` refuses, or the name is taken.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        {
            let mut held = lock(&self.held);
            ensure!(!held.ended, "the run is over");
            run(Command::new("ip").args(["netns", "add", name]))?;
            held.namespaces.push(name.to_owned());
        }
        let namespace = Namespace { name: name.to_owned() };
        namespace.ip("link set lo up")?;
        let quiet =
            "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done";
        if Path::new("/proc/sys/net/ipv6").exists() {
            run(namespace.command("sh").args(["-c", quiet]))?;
        }
        Ok(namespace)
    }

    /// Starts a process in the background, with its output in `log` of the scratch directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &Command, log: &str) -> Result<Process> {
        let path = self.dir.join(log);
        let out = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut command = match self.lifetime {
            Lifetime::Run => bound_to_this_run(command),
            Lifetime::Kept => copy_of(command, command.get_program(), Vec::new()),
        };
        // A group of its own: a terminal's ctrl-c reaches this program alone, which then ends things in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let mut held = lock(&self.held);
        ensure!(!held.ended, "the run is over");
        let child =
            command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        let pid = child.id();
        held.processes.push(child);
        Ok(Process { pid, log: path })
    }

    /// Returns how a process ended, `None` while it runs.
    ///
    /// # Errors
    /// When it is not a process of this lab.
    pub fn exited(&self, process: &Process) -> Result<Option<ExitStatus>> {
        let mut held = lock(&self.held);
        let child = held.processes.iter_mut().find(|child| child.id() == process.pid);
        let Some(child) = child else { bail!("process {} is not of this run", process.pid) };
        Ok(child.try_wait()?)
    }

    /// Waits for a process to end by itself and returns its output.
    ///
    /// # Errors
    /// When it does not end within `limit`, or not well.
    pub fn finish(&self, process: &Process, limit: Duration) -> Result<String> {
        let mut status = None;
        clock::wait_until("a process ending", limit, || {
            status = self.exited(process)?;
            Ok(status.is_some())
        })?;
        let output = process.output()?;
        lock(&self.held).processes.retain(|child| child.id() != process.pid);
        match status {
            Some(status) if status.success() => Ok(output),
            Some(status) => bail!("it ended with {status}: {}", output.trim_end()),
            None => bail!("it did not end"),
        }
    }

    /// Ends a process, gently at first.
    pub fn stop(&self, process: &Process) {
        let mut held = lock(&self.held);
        if let Some(at) = held.processes.iter().position(|child| child.id() == process.pid) {
            let child = held.processes.remove(at);
            end_all(vec![child]);
        }
    }

    /// Waits until a process has said a line that ends in `line`.
    ///
    /// # Errors
    /// When it does not within `limit`, or ends, with what it said.
    pub fn wait_for_line(&self, process: &Process, line: &str, limit: Duration) -> Result<()> {
        clock::wait_until(&format!("the line `{line}`"), limit, || {
            let output = process.output()?;
            self.ensure_running(process)?;
            Ok(output.lines().any(|said| said.trim_end().ends_with(line)))
        })
    }

    /// Makes sure that a process has not ended.
    ///
    /// # Errors
    /// When it has, with what it said.
    pub fn ensure_running(&self, process: &Process) -> Result<()> {
        if let Some(status) = self.exited(process)? {
            bail!("it ended with {status}: {}", process.output()?.trim_end());
        }
        Ok(())
    }

    /// Ends what was started and empties the scratch directory. The lab itself goes on.
    ///
    /// # Errors
    /// When the directory cannot be emptied.
    pub fn clear(&self) -> Result<()> {
        let mut held = lock(&self.held);
        held.clear();
        fs::remove_dir_all(&self.dir)
            .and_then(|()| fs::create_dir(&self.dir))
            .with_context(|| format!("empty {}", self.dir.display()))
    }

    /// Ends everything: processes, newest first, then namespaces, then the directory.
    pub fn end(&self) {
        lock(&self.held).end();
    }

    /// Leaves everything up and returns what is needed to end it.
    pub fn keep(self) -> Leftovers {
        let mut held = lock(&self.held);
        held.ended = true;
        let processes = held.processes.drain(..).filter_map(|child| {
            let pid = i32::try_from(child.id()).ok()?;
            Some((pid, started_at(pid)?))
        });
        let processes = processes.collect();
        let namespaces = std::mem::take(&mut held.namespaces);
        held.dir = None;
        Leftovers { processes, namespaces, dir: self.dir.clone() }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        lock(&self.held).end();
    }
}

impl Held {
    fn clear(&mut self) {
        end_all(self.processes.drain(..).rev().collect());
        for name in self.namespaces.drain(..) {
            if let Err(error) = run(Command::new("ip").args(["netns", "del", &name])) {
                eprintln!("could not delete namespace {name}: {error:#}");
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.clear();
        if let Some(dir) = self.dir.take()
            && let Err(error) = fs::remove_dir_all(&dir)
        {
            eprintln!("could not remove {}: {error}", dir.display());
        }
    }
}

impl Leftovers {
    /// Ends what was left behind.
    ///
    /// # Errors
    /// When a namespace or the directory resists.
    pub fn end(&self) -> Result<()> {
        let alive = |signal: Option<Signal>| {
            let ours =
                self.processes.iter().filter(|(pid, start)| started_at(*pid) == Some(*start));
            ours.filter_map(|(pid, _)| Pid::from_raw(*pid))
                .inspect(|pid| {
                    if let Some(signal) = signal {
                        // It may be gone by now, which is what is wanted.
                        let _ = kill_process(*pid, signal);
                    }
                })
                .count()
        };
        alive(Some(Signal::TERM));
        if clock::wait_until("processes ending", PATIENCE_AT_END, || Ok(alive(None) == 0)).is_err()
        {
            alive(Some(Signal::KILL));
        }
        let known = run(Command::new("ip").args(["netns", "list"]))?;
        for name in &self.namespaces {
            if known.lines().any(|line| line.split_whitespace().next() == Some(name)) {
                run(Command::new("ip").args(["netns", "del", name]))?;
            }
        }
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)
                .with_context(|| format!("remove {}", self.dir.display()))?;
        }
        Ok(())
    }
}

impl Namespace {
    /// Returns the name that `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Prepares a command that runs inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip` inside, with arguments separated by blanks.
    ///
    /// # Errors
    /// When `ip` fails, with what it said.
    pub fn ip(&self, args: &str) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.name]).args(args.split_whitespace()))
    }
}

impl Process {
    /// Returns what it has written so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails, with the command line and what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    if !status.success() {
        let words: Vec<_> =
            std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let line = words.join(OsStr::new(" "));
        let said = String::from_utf8_lossy(&stderr);
        bail!("`{}` failed ({status}): {}", line.to_string_lossy(), said.trim_end());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same command behind `setpriv`: the kernel kills it when the thread that started it is gone.
fn bound_to_this_run(command: &Command) -> Command {
    let args = ["--pdeathsig", "KILL"].map(OsString::from).to_vec();
    let inner = command.get_program().to_owned();
    copy_of(command, OsStr::new("setpriv"), [args, vec![inner]].concat())
}

fn copy_of(command: &Command, program: &OsStr, before: Vec<OsString>) -> Command {
    let mut copy = Command::new(program);
    copy.args(before).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(key, value),
            None => copy.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        copy.current_dir(dir);
    }
    copy
}

fn end_all(mut children: Vec<Child>) {
    for child in &mut children {
        if matches!(child.try_wait(), Ok(None))
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // Our own child that was not waited for: the id is still its own.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let ended = clock::wait_until("processes ending", PATIENCE_AT_END, || {
        Ok(children.iter_mut().all(|child| !matches!(child.try_wait(), Ok(None))))
    });
    if ended.is_err() {
        for child in &mut children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// When a process started, in the kernel's ticks since boot; `None` when there is none.
fn started_at(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks; the fields count from behind it, the state being the third.
    let (_, fields) = stat.rsplit_once(") ")?;
    if fields.starts_with('Z') {
        return None;
    }
    fields.split(' ').nth(19)?.parse().ok()
}
