//! Network namespaces without a name: they live as long as a descriptor or a process holds them, so nothing
//! is left behind however a test ends.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    panic,
    process::{self, Command, Output, Stdio},
    sync::Arc,
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace whose loopback is up and whose new devices speak no IPv6 of their own accord.
    ///
    /// # Panics
    /// Without CAP_SYS_ADMIN.
    pub fn new() -> Self {
        let space = Self::with_ipv6();
        space.enter(|| {
            fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
                .expect("IPv6 of new devices is switched off");
        });
        space
    }

    /// Makes a namespace as the kernel makes it: each device that comes up speaks IPv6 at once.
    ///
    /// # Panics
    /// Without CAP_SYS_ADMIN.
    pub fn with_ipv6() -> Self {
        let file = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)
                    .expect("a network namespace can be made: run as root");
                File::open("/proc/thread-self/ns/net")
                    .expect("the thread's own namespace can be opened")
            });
            made.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        });
        let space = Self { file: Arc::new(file) };
        space.run("ip link set lo up");
        space
    }

    /// Runs `work` in a thread of its own inside the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.file, CloneFlags::CLONE_NEWNET).expect("the namespace can be entered");
                work()
            });
            inside.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
        })
    }

    /// Returns a path by which other programs of this process's children can name the namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }

    /// Runs a command line, split at blanks, and returns what it did.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn exec(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command has a name");
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null());
        match self.enter(|| command.output()) {
            Ok(output) => output,
            Err(error) => panic!("`{line}` cannot be started: {error}"),
        }
    }

    /// Runs a command line, split at blanks, that must succeed, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        let output = self.exec(line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "`{line}` failed with {}: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Returns a counter of the namespace's stack, say `TcpInCsumErrors` or `Udp6InDatagrams`.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.run("cat /proc/net/snmp /proc/net/snmp6 /proc/net/netstat");
        find_counter(&text, name).unwrap_or_else(|| panic!("no counter {name} in\n{text}"))
    }

    /// Tells whether a device of this name is there.
    pub fn has_device(&self, device: &str) -> bool {
        self.exec(&format!("ip link show dev {device}")).status.success()
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

fn find_counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((group, names)) = line.split_once(": ") {
            let values = lines.next()?.split_once(": ")?.1;
            let mut pairs = names.split_whitespace().zip(values.split_whitespace());
            if let Some((_, value)) = pairs.find(|(field, _)| format!("{group}{field}") == name) {
                return value.parse().ok();
            }
        } else if let Some((field, value)) = line.split_once(char::is_whitespace)
            && field == name
        {
            return value.trim().parse().ok();
        }
    }
    None
}
