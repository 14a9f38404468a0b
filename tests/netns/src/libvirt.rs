//! A real libvirtd on a [`Machine`], with nothing of a service manager around it.

use std::{os::unix::net::UnixStream, time::Duration};

use crate::{
    BootFiles, Guest, KERNEL_ARGUMENTS, Lab, Machine, Namespace, Process, until_some, until_within,
};

/// How long libvirtd may take until it has found out what QEMU can.
const START: Duration = Duration::from_secs(90);

/// libvirtd, without what it would need of a machine's services. The shell is its domains' parent too, and reaps them.
const LIBVIRTD: &str = r#"
printf '%s\n' 'security_driver = "none"' 'stdio_handler = "file"' 'namespaces = []' 'cgroup_controllers = []' \
    >/etc/libvirt/qemu.conf
printf '%s\n' 'auth_unix_rw = "none"' 'auth_unix_ro = "none"' >/etc/libvirt/libvirtd.conf
libvirtd & wait $!
"#;

/// A libvirtd in the switch's namespace. Its domains end with it.
#[derive(Debug)]
pub struct Libvirt {
    space: Namespace,
    virsh: String,
    _process: Process,
}

impl Libvirt {
    /// Starts one, and waits until it serves.
    ///
    /// # Panics
    /// When it is not installed, or does not serve.
    #[track_caller]
    pub fn start(lab: &Lab, machine: &Machine) -> Self {
        let mut command = machine.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", LIBVIRTD]);
        let process = Process::start("libvirtd", lab.switch(), command);
        let virsh = format!("{} virsh -q -c qemu:///system", machine.wrapper().join(" "));
        let libvirt = Self { space: lab.switch().clone(), virsh, _process: process };
        until_within("libvirtd serves", START, || {
            libvirt.space.exec(&format!("{} list", libvirt.virsh)).status.success()
        });
        libvirt
    }

    /// Runs a command line of `virsh`, split at blanks, that must succeed, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn virsh(&self, line: &str) -> String {
        self.space.run(&format!("{} {line}", self.virsh))
    }

    /// Defines a domain of this name by its XML, that of a machine with KVM, a disk to boot from and a console: what it
    /// boots from, who computes and where its serial ports lead is the test's, all else stays as it is.
    ///
    /// # Panics
    /// When libvirt does not take it.
    #[track_caller]
    pub fn define(&self, lab: &Lab, name: &str, xml: &str) {
        let BootFiles { kernel, initrd } = BootFiles::write(lab, name);
        // With message-signalled interrupts QEMU 7.2 without KVM follows a null pointer, whoever the back-end is.
        let boot = format!(
            "<os>\n<kernel>{}</kernel>\n<initrd>{}</initrd>\n<cmdline>{KERNEL_ARGUMENTS} pci=nomsi</cmdline>",
            kernel.display(),
            initrd.display()
        );
        let serial = |port: usize| {
            format!(
                "<serial type='unix'>\n<source mode='bind' path='{}'/>\n<target port='{port}'/>\n</serial>\n",
                lab.path(&serial_port(name, port)).display()
            )
        };
        let mut xml = xml.to_owned();
        for (theirs, ours) in [
            ("<domain type='kvm'>", "<domain type='qemu'>".to_owned()),
            ("<os>", boot),
            ("<console type='pty'/>", [0, 1].map(serial).concat()),
        ] {
            assert!(xml.contains(theirs), "{theirs} is missing in\n{xml}");
            xml = xml.replace(theirs, &ours);
        }
        let file = lab.write(&format!("{name}.xml"), &xml);
        self.virsh(&format!("define --validate {}", file.display()));
    }

    /// Starts a domain that was defined, and waits until its guest takes commands.
    ///
    /// # Panics
    /// When it does not boot.
    #[track_caller]
    pub fn boot(&self, lab: &Lab, name: &str) -> Guest {
        self.virsh(&format!("start --paused {name}"));
        let serial_ports = [0, 1].map(|port| {
            let path = lab.path(&serial_port(name, port));
            until_some("QEMU opens its serial ports", || UnixStream::connect(&path).ok())
        });
        Guest::attend(lab, name, serial_ports, || {
            self.virsh(&format!("resume {name}"));
        })
    }
}

fn serial_port(domain: &str, port: usize) -> String {
    format!("{domain}.tty{port}")
}
