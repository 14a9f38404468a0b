//! Which virtual machine is behind a port, where it can be known: the process that has the device's descriptor, or is at
//! the other end of the port's socket, and what its command line calls the machine. proc(5).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use weft_config::{PortType, api::Vm};

use super::state::{Control, Link, Port, Shared};
use crate::clock;

/// How long what was found is believed.
const FRESH: Duration = Duration::from_secs(2);
/// Bytes of a command line that are read.
const COMMAND_LINE_MAX: u64 = 64 * 1024;
/// Characters of a machine's name that are told.
const NAME_MAX: usize = 64;
/// What stands before a machine's name: QEMU's option, and VirtualBox's.
const NAME_OPTIONS: [&str; 2] = ["-name", "--comment"];

/// The machines behind devices.
#[derive(Default)]
pub(super) struct Vms {
    by_device: BTreeMap<String, Vm>,
    /// When they were looked for, since the daemon's start.
    looked: Option<Duration>,
}

/// Looks for the machines behind devices, unless that was done just now. Not under the lock: there may be many processes.
pub(crate) async fn look_for_vms(control: &Shared) {
    let devices = {
        let mut control = control.lock().await;
        let now = clock::elapsed();
        if control.vms.looked.is_some_and(|looked| now < looked + FRESH) {
            return;
        }
        control.vms.looked = Some(now);
        control.netdevs()
    };
    let found = if devices.is_empty() {
        BTreeMap::new()
    } else {
        tokio::task::spawn_blocking(move || behind(&devices)).await.unwrap_or_default()
    };
    control.lock().await.vms.by_device = found;
}

impl Control {
    /// Returns the devices of `netdev` ports that are open.
    fn netdevs(&self) -> BTreeSet<String> {
        let open = self.ports.values().filter(|port| matches!(port.link, Link::Open(_)));
        open.filter_map(|port| match &port.config.kind {
            PortType::Netdev { device, .. } => Some(device.clone()),
            _ => None,
        })
        .collect()
    }

    /// Returns the machine behind a port.
    pub(super) fn vm_behind(&self, port: &Port) -> Option<Vm> {
        match (&port.link, &port.config.kind) {
            (Link::Open(open), PortType::Stream(_) | PortType::VhostUser { .. }) => open.vm.clone(),
            (Link::Open(_), PortType::Netdev { device, .. }) => {
                self.vms.by_device.get(device).cloned()
            }
            _ => None,
        }
    }
}

/// Finds who has the descriptors of TAP devices.
fn behind(devices: &BTreeSet<String>) -> BTreeMap<String, Vm> {
    let mut found = BTreeMap::new();
    let here = fs::metadata("/proc/self/ns/net").ok().map(|space| space.ino());
    for process in entries(Path::new("/proc")) {
        let pid = process.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else { continue };
        // The same name elsewhere is another device.
        if fs::metadata(process.join("ns/net")).ok().map(|space| space.ino()) != here {
            continue;
        }
        for descriptor in entries(&process.join("fd")) {
            if !fs::read_link(&descriptor).is_ok_and(|path| path == Path::new("/dev/net/tun")) {
                continue;
            }
            let Some(number) = descriptor.file_name() else { continue };
            let info = fs::read_to_string(process.join("fdinfo").join(number)).unwrap_or_default();
            let device = info.lines().find_map(|line| line.strip_prefix("iff:")).map(str::trim);
            if let Some(device) = device.filter(|device| devices.contains(*device)) {
                found.extend(vm_of(pid).map(|vm| (device.to_owned(), vm)));
            }
        }
    }
    found
}

fn entries(directory: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    // Processes come and go, and some are none of ours.
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Returns the machine that a process runs.
pub(super) fn vm_of(pid: u32) -> Option<Vm> {
    let mut line = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(COMMAND_LINE_MAX).read_to_end(&mut line).ok()?;
    let arguments: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let program = arguments.first().filter(|program| !program.is_empty())?;
    let program = program.rsplit('/').next().unwrap_or(program).chars().take(NAME_MAX).collect();
    Some(Vm { name: name_in(&arguments), program, pid })
}

/// Returns what a command line calls its machine.
fn name_in(arguments: &[String]) -> Option<String> {
    let at = arguments.iter().position(|word| NAME_OPTIONS.contains(&word.as_str()))?;
    let value = arguments.get(at + 1)?;
    // A comma in a value is written twice.
    let mut name = String::new();
    let mut rest = value.strip_prefix("guest=").unwrap_or(value).chars().peekable();
    while let Some(c) = rest.next() {
        if c == ',' && rest.next_if_eq(&',').is_none() {
            break;
        }
        name.push(c);
    }
    Some(name.chars().take(NAME_MAX).collect()).filter(|name: &String| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_what_its_command_line_calls_it() {
        let table = [
            (&["qemu", "-name", "guest=web1,debug-threads=on"][..], Some("web1")),
            (&["qemu", "-name", "web1,process=kvm"], Some("web1")),
            (&["qemu", "-name", "a,,b"], Some("a,b")),
            (&["qemu", "-name", ""], None),
            (&["qemu", "-name"], None),
            (&["qemu", "-m", "64"], None),
            (&["VBoxHeadless", "--comment", "desk", "--startvm", "1"], Some("desk")),
        ];
        for (arguments, expected) in table {
            let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(name_in(&arguments).as_deref(), expected, "{arguments:?}");
        }
        assert_eq!(
            name_in(&["-name".to_owned(), "ä".repeat(99)]).unwrap().chars().count(),
            NAME_MAX
        );
    }

    #[test]
    fn a_process_that_is_gone_runs_nothing() {
        assert_eq!(vm_of(u32::MAX), None);
        assert_eq!(vm_of(std::process::id()).unwrap().pid, std::process::id());
    }
}
