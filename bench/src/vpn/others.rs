//! The rivals that are no WireGuard: the kernel's VXLAN, VpnCloud, fastd, OpenVPN.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    gateways::{DEVICE, End, Ends},
    lab::{Lab, Process, run},
    site::PATIENCE,
};

/// The kernel's VXLAN: a device on each gateway, no process.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn vxlan(ends: &Ends) -> Result<Vec<Process>> {
    for (end, other) in ends.both() {
        let remote = other.outer;
        end.namespace.ip(&format!(
            "link add {DEVICE} type vxlan id 7 remote {remote} dstport 4789 dev u0"
        ))?;
    }
    Ok(Vec::new())
}

/// VpnCloud, as a switch of Ethernet frames, with the cipher that it finds fastest.
///
/// # Errors
/// When it cannot be started.
pub(super) fn vpncloud(lab: &Lab, ends: &Ends, program: &Path) -> Result<Vec<Process>> {
    start_both(ends, |end, other| {
        // It looks for its own address by the default route and gives up where there is none.
        end.namespace.ip(&format!("route add default via {}", other.outer))?;
        let mut command = end.namespace.command(program);
        command.args(["-t", "tap", "-m", "switch", "-l", "3210", "-p", "bench"]);
        command.args(["--no-port-forwarding", "-d", DEVICE, "--ip", &format!("{}/24", end.inner)]);
        command.args(["-c", &format!("{}:3210", other.outer)]).env("HOME", lab.dir());
        lab.spawn(&command, &log(end))
    })
}

/// fastd with TAPs, and the cipher of its own that is fastest where AES is in the processor.
///
/// # Errors
/// When a key cannot be made, or it cannot be started.
pub(super) fn fastd(lab: &Lab, ends: &Ends, program: &Path, mtu: u16) -> Result<Vec<Process>> {
    let mut keys = Vec::new();
    for end in [&ends.near, &ends.far] {
        let mut command = Command::new(program);
        let secret = run(command.args(["--generate-key", "--machine-readable"]))?;
        let secret = secret.trim().to_owned();
        let file = lab.dir().join(format!("{}.secret", end.name));
        fs::write(&file, format!("secret \"{secret}\";\n"))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).args(["--show-key", "--machine-readable"]);
        keys.push((secret, run(&mut command)?.trim().to_owned()));
    }
    let mut keys = [(&keys[0].0, &keys[1].1), (&keys[1].0, &keys[0].1)].into_iter();
    start_both(ends, |end, other| {
        let (secret, public) = keys.next().context("two keys")?;
        // The far one begins, once the near one listens: where both do at once, each may end up with a session
        // that the other forgot.
        let begins = end.name == ends.far.name;
        let remote = if begins { format!("remote {}:10000;", other.outer) } else { String::new() };
        let config = format!(
            "log level info;\nmode tap;\ninterface \"{DEVICE}\";\nmtu {mtu};\n\
             method \"aes128-ctr+umac\";\nbind {}:10000;\nsecret \"{secret}\";\n\
             peer \"other\" {{ key \"{public}\"; {remote} }}\n",
            end.outer
        );
        let file = lab.dir().join(format!("{}.conf", end.name));
        fs::write(&file, config)?;
        let mut command = end.namespace.command(program);
        let process = lab.spawn(command.arg("-c").arg(&file), &log(end))?;
        lab.wait_for_line(&process, &format!("bound to {}:10000", end.outer), PATIENCE)?;
        Ok(process)
    })
}

/// OpenVPN with TAPs, AES-256-GCM, peers known by their certificates' fingerprints.
///
/// # Errors
/// When a certificate cannot be made, or it cannot be started.
pub(super) fn openvpn(lab: &Lab, ends: &Ends, program: &Path, mtu: u16) -> Result<Vec<Process>> {
    let file = |end: &End, kind: &str| {
        lab.dir().join(format!("{}.{kind}", end.name)).display().to_string()
    };
    for end in [&ends.near, &ends.far] {
        let (key, certificate) = (file(end, "key"), file(end, "crt"));
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        command.args(["-nodes", "-keyout", &key, "-out", &certificate, "-days", "2"]);
        run(command.args(["-subj", &format!("/CN={}", end.name)]))?;
    }
    let fingerprint = |end: &End| -> Result<String> {
        let mut command = Command::new("openssl");
        command.args(["x509", "-in", &file(end, "crt"), "-noout", "-fingerprint", "-sha256"]);
        let said = run(&mut command)?;
        let (_, fingerprint) = said.trim().split_once('=').context("openssl's fingerprint")?;
        Ok(fingerprint.to_owned())
    };
    start_both(ends, |end, other| {
        let role = if end.name == ends.near.name { "--tls-server" } else { "--tls-client" };
        let mut command = end.namespace.command(program);
        command.args(["--dev", DEVICE, "--dev-type", "tap", "--proto", "udp"]);
        command.args(["--local", end.outer, "--remote", other.outer, role, "--dh", "none"]);
        command.args(["--cert", &file(end, "crt"), "--key", &file(end, "key")]);
        command.args(["--peer-fingerprint", &fingerprint(other)?]);
        command.args(["--data-ciphers", "AES-256-GCM", "--disable-dco"]);
        command.args(["--tun-mtu", &mtu.to_string(), "--mssfix", "0", "--txqueuelen", "1000"]);
        lab.spawn(&command, &log(end))
    })
}

fn start_both(
    ends: &Ends,
    mut start: impl FnMut(&End, &End) -> Result<Process>,
) -> Result<Vec<Process>> {
    ends.both().into_iter().map(|(end, other)| start(end, other)).collect()
}

fn log(end: &End) -> String {
    format!("{}.log", end.name)
}
