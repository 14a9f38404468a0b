//! A running `weftd` with files of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
};

use nix::sys::signal::Signal;

use crate::{Ctl, Lab, Namespace, Process, binaries::binary, wait::PATIENCE};

/// A `weftd` in a namespace. It ends with its owner, and its log is printed when the test fails.
#[derive(Debug)]
pub struct Daemon {
    space: Namespace,
    directory: PathBuf,
    wrapper: Vec<String>,
    process: Process,
    /// Earlier runs on the same files, kept for what they said.
    earlier: Vec<Process>,
}

impl Daemon {
    /// Starts a daemon with this configuration and waits until it is ready. Its files lie in the lab's directory,
    /// in a folder of this name. A `[daemon]` table with the lab's number of workers is put in front of a
    /// configuration that has none.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(lab: &Lab, name: &str, config: &str) -> Self {
        Self::start_by(lab, name, config, &[])
    }

    /// Starts a daemon as [`Daemon::start`] does, by a command that gets the daemon's command line behind its own
    /// arguments and ends in it.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start_by(lab: &Lab, name: &str, config: &str, wrapper: &[&str]) -> Self {
        let directory = lab.path(name);
        fs::create_dir_all(&directory).expect("a directory for the daemon can be made");
        let config = if config.contains("[daemon]") {
            config.to_owned()
        } else {
            format!("[daemon]\nworkers = {}\n\n{config}", lab.workers())
        };
        fs::write(directory.join("weft.toml"), config).expect("the configuration can be written");
        let wrapper = wrapper.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let process = Process::start("weftd", lab.switch(), command(&directory, &wrapper));
        Self { space: lab.switch().clone(), directory, wrapper, process, earlier: Vec::new() }
            .ready()
    }

    /// Returns the command that starts a daemon on the same files.
    pub fn command(&self) -> Command {
        command(&self.directory, &self.wrapper)
    }

    /// Returns the path of the program.
    pub fn binary(&self) -> PathBuf {
        binary("weftd")
    }

    #[track_caller]
    fn ready(self) -> Self {
        let found = self.process.log.find(0, PATIENCE, |line| line.contains("weftd: ready"));
        assert!(found.is_some(), "the daemon never said `weftd: ready`");
        self
    }

    /// Returns the path of the configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.directory.join("weft.toml")
    }

    /// Returns the configuration file's text.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn config(&self) -> String {
        fs::read_to_string(self.config_path()).expect("the configuration file can be read")
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_config(&self, text: &str) {
        fs::write(self.config_path(), text).expect("the configuration file can be written");
    }

    /// Returns the path of the control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("weftd.sock")
    }

    /// Returns the state directory.
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Runs a command line of `wg`, split at blanks, for which this daemon's WireGuard sockets lie where `wg` looks.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn wg(&self, line: &str) -> Output {
        self.wg_as(&[], line)
    }

    /// Runs a command line of `wg` as [`Daemon::wg`] does, by a command that ends in it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn wg_as(&self, wrapper: &[&str], line: &str) -> Output {
        // A mount namespace of its own: nobody else sees this `/run`.
        let run = self.directory.join("run");
        fs::create_dir_all(&run).expect("a directory can be made");
        let script = "mount --bind \"$0\" /run && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(run);
        command.args(wrapper).arg("wg").args(line.split_whitespace()).stdin(Stdio::null());
        self.space
            .enter(|| command.output())
            .expect("wg can be started: apt-get install wireguard-tools")
    }

    /// Returns a `weftctl` that talks to this daemon.
    pub fn ctl(&self) -> Ctl {
        Ctl::new(&self.socket())
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns what the daemon has logged.
    pub fn log(&self) -> String {
        self.process.said()
    }

    /// Waits for a line of the log behind the first `from`.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for_log(&self, from: usize, text: &str) {
        let found = self.process.log.find(from, PATIENCE, |line| line.contains(text));
        assert!(found.is_some(), "the daemon never logged `{text}`");
    }

    /// Returns how many lines the log has.
    pub fn log_len(&self) -> usize {
        self.process.log.len()
    }

    /// Asks it to read its file again.
    pub fn reload(&self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// Ends it by SIGTERM.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.end_by(Signal::SIGTERM)
    }

    /// Ends it by a signal.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn end_by(&mut self, signal: Signal) -> ExitStatus {
        self.process.signal(signal);
        self.process.wait()
    }

    /// Kills it without a chance to tidy up.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn kill9(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait();
    }

    /// Starts it again on the same files and waits until it is ready.
    ///
    /// # Panics
    /// When it still runs, or does not become ready.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "the daemon still runs");
        let next = Process::start("weftd", &self.space, self.command());
        self.earlier.push(std::mem::replace(&mut self.process, next));
        let found = self.process.log.find(0, PATIENCE, |line| line.contains("weftd: ready"));
        assert!(found.is_some(), "the daemon never said `weftd: ready` after a restart");
    }

    /// Returns the memory of its own in KiB, without what is shared with the kernel.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn own_memory_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("a process has an RssAnon");
        line.trim().trim_end_matches(" kB").parse().expect("RssAnon is a number of kB")
    }

    /// Tells whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }
}

fn command(directory: &Path, wrapper: &[String]) -> Command {
    let mut command = match wrapper.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary("weftd"));
            command
        }
        None => Command::new(binary("weftd")),
    };
    command.arg("--config").arg(directory.join("weft.toml"));
    command.arg("--socket").arg(directory.join("weftd.sock"));
    command.arg("--state-dir").arg(directory.join("state"));
    command.arg("--wireguard-dir").arg(directory.join("run/wireguard"));
    command
}
