//! WireGuard in userspace: whatever program, its keys and peers come by `wg` over its socket.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::underlay::{DEVICE, Ends};
use crate::{
    clock::wait_until,
    lab::{Lab, Process, run},
    site::PATIENCE,
};

const PORT: &str = "51820";

/// Starts `program` with `args` and the device's name on both gateways, and makes them peers.
///
/// # Errors
/// When it does not come up, or `wg` fails.
pub(super) fn start(lab: &Lab, ends: &Ends, program: &Path, args: &[&str]) -> Result<Vec<Process>> {
    let mut processes = Vec::new();
    for (end, _) in ends.both() {
        // Its socket lies under /run, by the device's name; each daemon gets a /run of its own.
        let mut command = end.namespace.command("sh");
        command.args(["-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]);
        command.arg(program).args(args).arg(DEVICE).env("WG_PROCESS_FOREGROUND", "1");
        processes.push(lab.spawn(&command, &format!("{}.log", end.name))?);
    }
    let public_keys = [make_key(lab, ends.far.name)?, make_key(lab, ends.near.name)?];
    for (((end, other), process), public_key) in
        ends.both().into_iter().zip(&processes).zip(&public_keys)
    {
        wait_until("the socket for `wg`", PATIENCE, || {
            lab.ensure_running(process)?;
            Ok(wg(process, &["show", DEVICE]).is_ok())
        })?;
        let own_key = key_file(lab, end.name).display().to_string();
        let (network, endpoint) =
            (format!("{}/32", other.inner), format!("{}:{PORT}", other.outer));
        let ours = ["set", DEVICE, "listen-port", PORT, "private-key", &own_key];
        let theirs = ["peer", public_key, "allowed-ips", &network, "endpoint", &endpoint];
        wg(process, &[ours, theirs].concat())?;
    }
    Ok(processes)
}

/// Makes a private key for the gateway `name` and returns the public one.
fn make_key(lab: &Lab, name: &str) -> Result<String> {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077 && wg genkey > \"$1\" && wg pubkey < \"$1\"", "sh"]);
    Ok(run(command.arg(key_file(lab, name)))?.trim().to_owned())
}

fn key_file(lab: &Lab, name: &str) -> PathBuf {
    lab.dir().join(format!("{name}.key"))
}

/// Runs `wg` where the daemon has its network and its socket.
fn wg(daemon: &Process, args: &[&str]) -> Result<String> {
    let mut command = Command::new("nsenter");
    command.args(["--target", &daemon.pid.to_string(), "--mount", "--net", "wg"]).args(args);
    run(&mut command)
}
