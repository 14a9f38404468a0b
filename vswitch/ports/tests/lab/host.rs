//! A network namespace with a thread in it.

use std::{
    process::Command,
    sync::mpsc::{Sender, channel},
    thread::{Builder, JoinHandle},
};

use super::until;

type Work = Box<dyn FnOnce() + Send>;

/// Moves this thread into a new network namespace, which goes with its last thread and descriptor.
pub(crate) fn enter() {
    // SAFETY: the call takes no memory; it changes this thread's namespace only.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "this test makes network namespaces and must run as root: {error}");
    // Only what a test sends is to be seen.
    for setting in ["all", "default"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{setting}/disable_ipv6"), "1").unwrap();
    }
    ip("link set lo up");
}

/// Waits until a device of this thread's namespace passes frames: the kernel gives it its queue only some time after
/// it has seen the carrier.
fn carries(device: &str) {
    until(&format!("{device} has its carrier"), || {
        ip(&format!("link show {device}")).contains("state UP").then_some(())
    });
}

/// Runs `ip` in this thread's namespace; returns what it says.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("ip (iproute2) is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ip writes text")
}

/// A host: a namespace of its own.
pub(crate) struct Host {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    id: i32,
}

impl Host {
    pub(crate) fn new() -> Self {
        let (work, todo) = channel::<Work>();
        let (tell, id) = channel();
        let thread = Builder::new().name("host".into()).spawn(move || {
            enter();
            // SAFETY: the call takes no memory.
            tell.send(unsafe { libc::gettid() }).unwrap();
            todo.into_iter().for_each(|work| work());
        });
        Self {
            work: Some(work),
            thread: Some(thread.unwrap()),
            id: id.recv().expect("the host's thread began"),
        }
    }

    /// Makes a veth pair: `device` in this thread's namespace and `eth0` in the host's, both up and passing frames.
    pub(crate) fn with_veth(device: &str) -> Self {
        let host = Self::new();
        ip(&format!("link add {device} type veth peer name eth0 netns {}", host.id));
        ip(&format!("link set {device} up"));
        host.run(|| {
            ip("link set eth0 up");
            carries("eth0");
        });
        carries(device);
        host
    }

    /// Moves a device into the host, as its `eth0`, and sets it up.
    pub(crate) fn take(&self, device: &str) {
        ip(&format!("link set {device} netns {} name eth0", self.id));
        self.run(|| drop(ip("link set eth0 up")));
    }

    /// Gives `eth0` the host's addresses 10.0.0.N and fd00::N.
    pub(crate) fn address(&self, number: u8) {
        self.run(move || {
            std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0").unwrap();
            ip(&format!("addr add 10.0.0.{number}/24 dev eth0"));
            ip(&format!("addr add fd00::{number}/64 dev eth0 nodad"));
        });
    }

    /// Runs `ip` on the host.
    pub(crate) fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || drop(ip(&arguments)));
    }

    /// Runs something on the host and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.begin(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs something on the host in a thread of its own.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let (tell, thread) = channel();
        let begin = move || tell.send(Builder::new().spawn(work).unwrap()).unwrap();
        self.work.as_ref().unwrap().send(Box::new(begin)).unwrap();
        thread.recv().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
