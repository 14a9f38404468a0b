//! The session that a command is typed into: the far ends of the TCP connections that the processes above this one hold.
//! `sudo` takes SSH_CONNECTION out of the environment, and tmux keeps that of whoever started it; the kernel knows better.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _, Write as _},
    net::IpAddr,
};

use procfs::{
    ProcResult,
    net::{TcpState, tcp, tcp6},
    process::{FDTarget, Process},
};

use crate::{failure::Failure, output::Output, render::clean_lines};

/// Processes above this one that are looked at.
const ANCESTORS: usize = 32;

/// Returns the far ends of the connections by which somebody may be sitting here.
pub(crate) fn far_ends() -> Vec<IpAddr> {
    let sockets = sockets_above();
    if sockets.is_empty() {
        return Vec::new();
    }
    let connections = [tcp(), tcp6()].into_iter().filter_map(ProcResult::ok).flatten();
    let far_ends: BTreeSet<IpAddr> = connections
        .filter(|entry| entry.state == TcpState::Established && sockets.contains(&entry.inode))
        .map(|entry| entry.remote_address.ip().to_canonical())
        .filter(|ip| !ip.is_loopback())
        .collect();
    far_ends.into_iter().collect()
}

/// Returns the sockets that processes above this one hold, as far as they can be seen.
fn sockets_above() -> BTreeSet<u64> {
    let mut sockets = BTreeSet::new();
    let mut process = Process::myself();
    for _ in 0..ANCESTORS {
        let Some(parent) =
            process.ok().and_then(|process| process.stat().ok()).map(|stat| stat.ppid)
        else {
            break;
        };
        if parent < 1 {
            break;
        }
        process = Process::new(parent);
        let descriptors = process.as_ref().ok().and_then(|process| process.fd().ok());
        sockets.extend(descriptors.into_iter().flatten().flatten().filter_map(|descriptor| {
            match descriptor.target {
                FDTarget::Socket(inode) => Some(inode),
                _ => None,
            }
        }));
    }
    sockets
}

/// Says what a change would cut, and returns whether it is to be made: whoever sits at a terminal is asked.
pub(crate) fn is_wanted(refusal: &Failure, output: Output) -> bool {
    let message = clean_lines(&refusal.body.message);
    let warning = output.stderr_paint().notice("warning:");
    let mut stderr = io::stderr().lock();
    // Nobody is left to be warned when stderr is gone.
    let _ = writeln!(stderr, "{warning} {message}");
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return true;
    }
    let help = refusal.body.help.as_deref().map(clean_lines).unwrap_or_default();
    let _ = write!(stderr, "  help: {help}\nGo on? [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
