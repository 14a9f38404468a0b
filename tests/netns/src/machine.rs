//! A machine's own directories, as packages of services lay them out, for programs that look for each other there: a
//! mount namespace, seen by nobody else and gone with its owner.

use std::{ffi::OsStr, process::Command};

use crate::{Lab, Process};

/// The user of guests that libvirt starts.
const USER: &str = "libvirt-qemu";

/// Makes the directories, and the users that Debian's package of libvirt's services makes, where the machine has none.
const SET_UP: &str = r#"
set -e
user=$1
for dir in /run /etc/libvirt /var/cache /var/lib /var/log; do
    mount -t tmpfs -o mode=755 tmpfs $dir
done
mkdir -p /var/lib/libvirt/images
for accounts in passwd group; do
    grep -v "^$user:" /etc/$accounts >/run/$accounts
done
echo "$user:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin" >>/run/passwd
echo "$user:x:64055:" >>/run/group
grep -q ^kvm: /run/group || echo kvm:x:64056: >>/run/group
for accounts in passwd group; do
    mount --bind /run/$accounts /etc/$accounts
done
echo the directories are made
exec sleep infinity
"#;

/// Directories of services that are empty, and a user for guests. Whatever else there is, and with it the lab, is the test's own.
#[derive(Debug)]
pub struct Machine {
    holder: Process,
}

impl Machine {
    /// Makes one.
    ///
    /// # Panics
    /// When the user who runs the test may not mount.
    #[track_caller]
    pub fn new(lab: &Lab) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SET_UP, "sh", USER]);
        let holder = Process::start("machine", lab.switch(), command);
        holder.wait_for("the directories are made");
        Self { holder }
    }

    /// Returns a command line that runs the one behind it on the machine.
    pub fn wrapper(&self) -> [String; 3] {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.pid());
        ["nsenter".to_owned(), namespace, "--".to_owned()]
    }

    /// Returns the command that runs a program on the machine, not started.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let [enter, arguments @ ..] = self.wrapper();
        let mut command = Command::new(enter);
        command.args(arguments).arg(program);
        command
    }

    /// Makes an empty disk in a file of this path on the machine.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    pub fn make_disk(&self, lab: &Lab, path: &str) {
        let [enter, namespace, _] = self.wrapper();
        lab.switch().run(&format!("{enter} {namespace} mkdir -p {}", parent(path)));
        lab.switch().run(&format!("{enter} {namespace} truncate --size 16M {path}"));
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(parent, _)| parent)
}
