//! A real QEMU guest under TCG. Its init runs a small loop on the second serial port that takes command lines and
//! answers with their output and exit code, so that one boot serves many checks.

use std::{
    env, fs,
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Lab, Process, binaries::build_directory, process::Log, qmp::Qmp, until_some, until_within,
};

/// The installed QEMU.
const QEMU: &str = "qemu-system-x86_64";
/// How long a guest may take to boot on a loaded machine.
const BOOT: Duration = Duration::from_secs(90);
/// How long a guest may take to move to another machine under traffic.
const MOVE: Duration = Duration::from_secs(90);
/// How long a command in a guest may take.
const COMMAND: Duration = Duration::from_secs(60);

/// How a guest's card is attached.
#[derive(Clone, Debug)]
pub enum GuestNic {
    /// virtio-net on a TAP device in the switch's namespace.
    VirtioTap {
        /// The device that QEMU makes.
        device: String,
        /// The card's address.
        mac: &'static str,
    },
    /// An emulated e1000 on a stream socket that the switch listens at.
    E1000Stream {
        /// The socket.
        socket: PathBuf,
        /// The card's address.
        mac: &'static str,
    },
    /// virtio-net whose rings the switch serves in the guest's memory.
    VhostUser {
        /// The socket.
        socket: PathBuf,
        /// Who listens at it.
        end: VhostEnd,
        /// The card's address.
        mac: &'static str,
        /// Further properties of the card, each with a comma in front.
        properties: &'static str,
    },
}

/// Which end of a vhost-user socket QEMU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VhostEnd {
    /// It connects, and again each second while nobody is there.
    Connects,
    /// It listens, and boots without waiting for anybody.
    Listens,
}

/// A running guest; killed with its owner, if that has started it.
#[derive(Debug)]
pub struct Guest {
    name: String,
    /// Where QEMU's sockets lie.
    lab: PathBuf,
    /// QEMU, where nobody else has started it.
    _process: Option<Process>,
    console: Log,
    shell: UnixStream,
    answers: Log,
    asked: u32,
}

/// What a command in a guest said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its output and errors.
    pub text: String,
    /// Its exit code.
    pub code: i32,
}

impl Guest {
    /// Boots a guest with these cards and waits until it takes commands.
    ///
    /// # Panics
    /// When the guest image is missing, or it does not boot.
    #[track_caller]
    pub fn boot(lab: &Lab, name: &str, nics: &[GuestNic]) -> Self {
        let guest = Self::start(lab, name, Path::new(QEMU), nics, &[]);
        guest.wait_for(READY, BOOT);
        guest
    }

    /// Boots a guest as [`Guest::boot`] does, by another QEMU.
    ///
    /// # Panics
    /// As [`Guest::boot`] does.
    #[track_caller]
    pub fn boot_on(lab: &Lab, name: &str, qemu: &Path, nics: &[GuestNic]) -> Self {
        let guest = Self::start(lab, name, qemu, nics, &[]);
        guest.wait_for(READY, BOOT);
        guest
    }

    /// Starts a machine with these cards that waits for a guest to move to it: see [`Guest::migrate`].
    ///
    /// # Panics
    /// As [`Guest::boot`] does.
    #[track_caller]
    pub fn await_migration(lab: &Lab, name: &str, nics: &[GuestNic]) -> Self {
        let incoming = format!("unix:{}", lab.path(&format!("{name}.move")).display());
        Self::start(lab, name, Path::new(QEMU), nics, &["-incoming", &incoming])
    }

    /// Boots a guest by a command that starts QEMU with what is put behind its own arguments, and waits until it takes
    /// commands.
    ///
    /// # Panics
    /// As [`Guest::boot`] does.
    #[track_caller]
    pub fn boot_by(lab: &Lab, name: &str, command: Command) -> Self {
        let guest = Self::start_by(lab, name, command);
        guest.wait_for(READY, BOOT);
        guest
    }

    /// Talks to a guest that somebody else has made, with [`BootFiles`] and two serial ports, and waits until it takes
    /// commands. It must not have begun to boot.
    ///
    /// # Panics
    /// When it does not boot.
    #[track_caller]
    pub fn attend(
        lab: &Lab,
        name: &str,
        [console, shell]: [UnixStream; 2],
        begin: impl FnOnce(),
    ) -> Self {
        let log = Log::default();
        log.collect(console);
        let guest = Self::of(lab, name, None, log, shell);
        begin();
        guest.wait_for(READY, BOOT);
        guest
    }

    #[track_caller]
    fn start(lab: &Lab, name: &str, qemu: &Path, nics: &[GuestNic], further: &[&str]) -> Self {
        let mut command = Command::new(qemu);
        command.args(["-accel", "tcg", "-M", "q35", "-cpu", "max", "-smp", "1", "-m", "512"]);
        command.args(["-nodefaults", "-no-user-config"]);
        if nics.iter().any(|nic| matches!(nic, GuestNic::VhostUser { .. })) {
            command.args(["-object", "memory-backend-memfd,id=mem,size=512M,share=on"]);
            command.args(["-numa", "node,memdev=mem"]);
        }
        for (index, nic) in nics.iter().enumerate() {
            nic.arguments(index, &mut command);
        }
        command.args(further);
        Self::start_by(lab, name, command)
    }

    #[track_caller]
    fn start_by(lab: &Lab, name: &str, mut command: Command) -> Self {
        let BootFiles { kernel, initrd } = BootFiles::write(lab, name);
        let socket = lab.path(&format!("{name}.tty"));
        command.args(["-display", "none", "-no-reboot", "-serial", "stdio"]);
        command
            .arg("-chardev")
            .arg(format!("socket,id=shell,path={},server=on,wait=off", socket.display()));
        command.args(["-serial", "chardev:shell"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
        command.args(["-append", KERNEL_ARGUMENTS]);
        let qmp = lab.path(&format!("{name}.qmp"));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", qmp.display()));
        let process = Process::start(name, lab.switch(), command);
        let shell = until_some("QEMU opens the guest's second serial port", || {
            UnixStream::connect(&socket).ok()
        });
        let console = process.log.clone();
        Self::of(lab, name, Some(process), console, shell)
    }

    fn of(
        lab: &Lab,
        name: &str,
        process: Option<Process>,
        console: Log,
        shell: UnixStream,
    ) -> Self {
        let answers = Log::default();
        answers.collect(shell.try_clone().expect("a socket can be cloned"));
        let lab = lab.directory().to_owned();
        Self { name: name.to_owned(), lab, _process: process, console, shell, answers, asked: 0 }
    }

    /// Moves the guest, as it runs, to a machine that waits for it. What is left here stands still. `meanwhile` is called
    /// when all of the guest's memory has been sent once and it still runs here: what is written from then on is sent
    /// only if somebody says so.
    ///
    /// # Panics
    /// When it does not get there.
    #[track_caller]
    pub fn migrate(mut self, to: &Self, meanwhile: impl FnOnce(&mut Self)) {
        let mut qmp = Qmp::connect(&self.lab.join(format!("{}.qmp", self.name)));
        let target = to.lab.join(format!("{}.move", to.name));
        until_within("the other machine waits for the guest", MOVE, || target.exists());
        let wait = |qmp: &mut Qmp, what: &str, condition: &dyn Fn(&Value) -> bool| {
            until_within(what, MOVE, || {
                let info = qmp.run("query-migrate", &json!({}));
                assert!(info["status"] != "failed", "{info}");
                condition(&info)
            });
        };
        // In a millisecond few pages can be sent, and it does not leave while there are more: while it has traffic.
        let bounds = json!({"max-bandwidth": 32_u64 << 20, "downtime-limit": 1});
        qmp.run("migrate-set-parameters", &bounds);
        qmp.run("migrate", &json!({"uri": format!("unix:{}", target.display())}));
        wait(&mut qmp, "the guest's memory is sent once", &|info| {
            info["ram"]["dirty-sync-count"].as_u64() >= Some(2)
        });
        meanwhile(&mut self);
        let bounds = json!({"max-bandwidth": 1_u64 << 30, "downtime-limit": 5000});
        qmp.run("migrate-set-parameters", &bounds);
        wait(&mut qmp, "the guest has moved", &|info| info["status"] == "completed");
    }

    /// Has the guest boot again in the machine as it is, and waits until it takes commands.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.boot_again(|guest, _| {
            writeln!(guest.shell, "0 reboot -f").expect("the guest's serial port takes a line");
        });
    }

    /// Resets the machine, whatever the guest is at, and waits until it takes commands.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn reset(&mut self) {
        self.boot_again(|_, qmp| {
            qmp.run("system_reset", &json!({}));
        });
    }

    #[track_caller]
    fn boot_again(&mut self, begin: impl FnOnce(&mut Self, &mut Qmp)) {
        let mut qmp = Qmp::connect(&self.lab.join(format!("{}.qmp", self.name)));
        qmp.run("set-action", &json!({"reboot": "reset"}));
        let said = self.console.len();
        begin(self, &mut qmp);
        let found = self.console.find(said, BOOT, |line| line.contains(READY));
        assert!(found.is_some(), "guest {} does not boot again", self.name);
    }

    /// Waits for a line on the console.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for(&self, mark: &str, patience: Duration) {
        let found = self.console.find(0, patience, |line| line.contains(mark));
        assert!(found.is_some(), "guest {} never said `{mark}`", self.name);
    }

    /// Runs a line of shell in the guest.
    ///
    /// # Panics
    /// When the guest does not answer.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> Answer {
        self.asked += 1;
        let first = self.answers.len();
        let mark = format!("@@{} ", self.asked);
        writeln!(self.shell, "{} {line}", self.asked)
            .expect("the guest's serial port takes a line");
        let Some(end) = self.answers.find(first, COMMAND, |line| line.starts_with(&mark)) else {
            panic!("guest {} does not answer `{line}`: {:?}", self.name, self.answers.since(first))
        };
        let mut lines = self.answers.since(first);
        lines.truncate(end - first + 1);
        let code = lines.pop().and_then(|line| line[mark.len()..].parse().ok());
        Answer { text: lines.join("\n"), code: code.expect("an exit code is a number") }
    }

    /// Runs a line of shell in the guest that must succeed, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> String {
        let answer = self.ask(line);
        assert_eq!(answer.code, 0, "`{line}` in guest {}: {}", self.name, answer.text);
        answer.text
    }

    /// Tells whether a ping from the guest is answered within a second.
    #[track_caller]
    pub fn pings(&mut self, address: &str) -> bool {
        self.ask(&format!("ping -c 1 -W 1 -q {address}")).code == 0
    }

    /// Waits until a ping from the guest is answered.
    ///
    /// # Panics
    /// When none is.
    #[track_caller]
    pub fn wait_for_ping(&mut self, address: &str) {
        for _ in 0..15 {
            if self.pings(address) {
                return;
            }
        }
        panic!("{address} does not answer guest {}", self.name);
    }

    /// Runs an iperf3 client in the guest against a server that may still be at its last test, and returns its
    /// report.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn iperf(&mut self, arguments: &str) -> String {
        let line = format!("iperf3 {arguments}");
        until_some("the iperf3 server is free", || {
            let answer = self.ask(&line);
            let busy = ["busy", "refused", "reset"].iter().any(|word| answer.text.contains(word));
            assert!(answer.code == 0 || busy, "`{line}` in guest {}: {}", self.name, answer.text);
            (answer.code == 0).then_some(answer.text)
        })
    }

    /// Asserts that the guest's stack has seen no bad checksum of TCP.
    #[track_caller]
    pub fn assert_no_bad_checksums(&mut self) {
        let text = self.run("cat /proc/net/snmp");
        let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
        let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let found =
            names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "InCsumErrors");
        assert_eq!(found, Some(("InCsumErrors", "0")), "guest {}", self.name);
    }

    /// Gives the guest's card an address and sets it up.
    #[track_caller]
    pub fn set_address(&mut self, address: &str) {
        self.run(&format!("ip addr add {address} dev eth0 && ip link set eth0 up"));
    }
}

impl GuestNic {
    fn arguments(&self, index: usize, command: &mut Command) {
        match self {
            Self::VirtioTap { device, mac } => {
                command
                    .arg("-netdev")
                    .arg(format!("tap,id=n{index},ifname={device},script=no,downscript=no"));
                command.arg("-device").arg(format!("virtio-net-pci,netdev=n{index},mac={mac}"));
            }
            Self::E1000Stream { socket, mac } => {
                let socket = socket.display();
                command.arg("-netdev").arg(format!(
                    "stream,id=n{index},server=off,addr.type=unix,addr.path={socket}"
                ));
                command.arg("-device").arg(format!("e1000,netdev=n{index},mac={mac}"));
            }
            Self::VhostUser { socket, end, mac, properties } => {
                let end = match end {
                    VhostEnd::Connects => "reconnect=1",
                    VhostEnd::Listens => "server=on,wait=off",
                };
                let socket = socket.display();
                command.arg("-chardev").arg(format!("socket,id=c{index},path={socket},{end}"));
                command.arg("-netdev").arg(format!("vhost-user,id=n{index},chardev=c{index}"));
                // With message-signalled interrupts QEMU 7.2 without KVM follows a null pointer, whoever the back-end is.
                let card = "virtio-net-pci,vectors=0";
                command.arg("-device").arg(format!("{card},netdev=n{index},mac={mac}{properties}"));
            }
        }
    }
}

/// Returns the path of a QEMU that is newer than the installed one.
///
/// # Panics
/// When it is not there.
pub fn newer_qemu() -> PathBuf {
    let path = env::var_os("WEFT_NEWER_QEMU")
        .map_or_else(|| beside_the_build("qemu/qemu-system-x86_64"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: run `cargo xtask guest-image`", path.display());
    path
}

fn beside_the_build(name: &str) -> PathBuf {
    build_directory().parent().expect("a build directory lies in target").join(name)
}

fn image_directory() -> PathBuf {
    let directory =
        env::var_os("WEFT_GUEST_DIR").map_or_else(|| beside_the_build("guest"), PathBuf::from);
    for file in ["vmlinuz", "initrd.cpio"] {
        let path = directory.join(file);
        assert!(path.is_file(), "{} is missing: run `cargo xtask guest-image`", path.display());
    }
    directory
}

/// The kernel's arguments. Its console is the first serial port, the second takes commands.
pub const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1";

/// What a guest boots from: copies of the test's own, which a hypervisor may take for itself.
#[derive(Clone, Debug)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its first file system, with the loop that takes commands.
    pub initrd: PathBuf,
}

impl BootFiles {
    /// Writes them into the lab's directory, under the guest's name.
    ///
    /// # Panics
    /// When the guest image is missing.
    #[track_caller]
    pub fn write(lab: &Lab, name: &str) -> Self {
        let image = image_directory();
        let initrd = lab.path(&format!("{name}.cpio"));
        let mut archive =
            fs::read(image.join("initrd.cpio")).expect("the guest's initrd can be read");
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(cpio("vm.sh", SHELL.as_bytes()));
        fs::write(&initrd, archive).expect("the guest's initrd can be written");
        let kernel = lab.path(&format!("{name}.vmlinuz"));
        fs::copy(image.join("vmlinuz"), &kernel).expect("the guest's kernel can be copied");
        Self { kernel, initrd }
    }
}

/// What a guest says on its console once it takes commands.
const READY: &str = "WEFT-GUEST-READY";

/// What the guest's init runs: each line is a number and a command; the answer ends with `@@number code`.
const SHELL: &str = "\
for card in /sys/class/net/*; do
    name=${card##*/}
    [ $name = lo ] || [ $name = eth0 ] || ip link set $name name eth0
done
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo 115200
echo WEFT-GUEST-READY >/dev/ttyS0
while read -r number line; do
    sh -c \"$line\" </dev/null
    echo \"@@$number $?\"
done
";

/// Returns a `newc` archive with one file, as the kernel unpacks it over the one before.
fn cpio(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = entry(name, 0o100_755, content);
    archive.extend(entry("TRAILER!!!", 0, &[]));
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}

fn entry(name: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let fields = [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    let mut entry = b"070701".to_vec();
    for field in fields {
        entry.extend(format!("{field:08x}").bytes());
    }
    entry.extend(name.bytes());
    entry.push(0);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry.extend(content);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}
