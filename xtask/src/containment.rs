//! Rights over namespaces for a user who is not root: a user namespace in which `ip netns` and TAPs work.

use std::{env, ffi::OsStr, fs::OpenOptions, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, bail};

use crate::layout;

const TUN: &str = "/dev/net/tun";

/// Tells whether this process may do everything, really or in its user namespace.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Prepares a command that may make network namespaces. For one who is not root, it runs as root of a user
/// namespace, with an empty network and a `/run` of its own.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    // `ip netns` keeps its names under /run, which must be writable and not the machine's.
    command.args(["--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c"]);
    command
        .arg("mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$@\"")
        .arg("sh")
        .arg(program);
    command
}

/// Tells whether this process is in a user namespace of [`command`]'s making.
pub(crate) fn in_user_namespace() -> bool {
    // The first namespace maps all there is; one for a single user maps a single id.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("1")
}

/// Runs this program anew as root of a user namespace, with `more` arguments.
///
/// # Errors
/// When the kernel does not allow it; otherwise it does not return.
pub(crate) fn enter(more: &[&str]) -> Result<()> {
    ensure_possible()?;
    let program = env::current_exe().context("this program's own path")?;
    Err(command(program).args(env::args_os().skip(1)).args(more).exec())
        .context("enter a user namespace")
}

/// Makes sure that one who is not root can do here what [`command`] is for.
///
/// # Errors
/// What stands in the way, and what would remove it.
pub(crate) fn ensure_possible() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let mut trial = Command::new("unshare");
    trial.args(["--user", "--map-root-user", "--net", "--mount", "true"]);
    if !trial.output().is_ok_and(|output| output.status.success()) {
        bail!(
            "this needs root, or a kernel that lets users make namespaces\n\
             try: sudo sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        );
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open(TUN) {
        bail!(
            "this needs root, or a {TUN} that users may open ({error})\ntry: sudo chmod 0666 {TUN}"
        );
    }
    Ok(())
}

/// Runs this program anew when the search path lacks the system's directories, as it does for users on
/// Debian.
///
/// # Errors
/// When it cannot be started anew.
pub(crate) fn complete_path() -> Result<()> {
    if layout::find_program("depmod").is_some() {
        return Ok(());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
    if env::split_paths(&path).any(|dir| dir.as_os_str() == system[1]) {
        return Ok(());
    }
    let path = env::join_paths(env::split_paths(&path).chain(system.iter().map(Into::into)))?;
    let program = env::current_exe().context("this program's own path")?;
    Err(Command::new(program).args(env::args_os().skip(1)).env("PATH", path).exec())
        .context("start anew with the system's directories in PATH")
}
