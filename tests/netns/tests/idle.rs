//! A daemon with nothing to do does nothing: its workers sleep on, and it needs little memory.
//!
//! ```text
//!   four TAPs, two taps, two streams ── switch
//! ```

use std::{ffi::OsString, fs};

use weft_netns::{Lab, Nic, StreamGuest, until};

/// A thread of the daemon.
struct Thread {
    id: OsString,
    name: String,
    sleeps_now: bool,
    /// How often it has gone to sleep.
    sleeps: u64,
}

impl Thread {
    fn all(pid: u32) -> Vec<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let read = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let field =
                |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            Some(Self {
                id: task.file_name(),
                name: field("Name:")?.to_owned(),
                sleeps_now: field("State:")?.starts_with('S'),
                sleeps: field("voluntary_ctxt_switches:")?.parse().ok()?,
            })
        };
        tasks.filter_map(|task| read(task.unwrap())).collect()
    }

    fn is_worker(&self) -> bool {
        self.name.starts_with("weft-worker")
    }
}

/// How often each worker has gone to sleep; `None` while one is awake.
fn sleeping_workers(threads: &[Thread]) -> Option<Vec<(&str, u64)>> {
    let workers = threads.iter().filter(|thread| thread.is_worker());
    workers.map(|worker| worker.sleeps_now.then_some((&worker.name[..], worker.sleeps))).collect()
}

/// How often the threads of the control plane that were there before have gone to sleep since: they wake for its
/// rounds.
fn rounds(before: &[Thread], after: &[Thread]) -> u64 {
    let control = before.iter().filter(|thread| !thread.is_worker());
    let since = control.filter_map(|former| {
        let thread = after.iter().find(|thread| thread.id == former.id)?;
        Some(thread.sleeps.saturating_sub(former.sleeps))
    });
    since.sum()
}

fn an_idle_daemon_uses_nothing(workers: usize) {
    let lab = Lab::with_workers(workers);
    let _nics: Vec<_> = (0..4).map(|n| Nic::open(lab.switch(), &format!("nic{n}"))).collect();
    let mut config = String::new();
    for n in 0..4 {
        config += &format!(
            "[port.nic{n}]\ntype = \"netdev\"\ndevice = \"nic{n}\"\nvlan = {{ access = 10 }}\n"
        );
    }
    for n in 0..2 {
        let socket = lab.path(&format!("s{n}.sock"));
        config += &format!(
            "[port.tap{n}]\ntype = \"tap\"\ndevice = \"weft{n}\"\nvlan = {{ trunk = \"all\" }}\n"
        );
        config += &format!(
            "[port.s{n}]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
            socket.display()
        );
    }
    let daemon = lab.daemon(&config);
    let _guests = [0, 1].map(|n| StreamGuest::connect(&lab.path(&format!("s{n}.sock"))));
    for port in ["nic0", "nic3", "tap1", "s0", "s1"] {
        daemon.ctl().wait_for_state(port, "up");
    }
    until("the workers sleep while the control plane makes its rounds", || {
        let before = Thread::all(daemon.pid());
        assert_eq!(before.iter().filter(|thread| thread.is_worker()).count(), workers);
        until("the control plane makes its rounds", || {
            rounds(&before, &Thread::all(daemon.pid())) >= 5
        });
        let after = Thread::all(daemon.pid());
        sleeping_workers(&before).is_some_and(|slept| sleeping_workers(&after) == Some(slept))
    });
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 64 * 1024, "{resident} KiB resident");
}

weft_netns::each_worker_count!(an_idle_daemon_uses_nothing);
