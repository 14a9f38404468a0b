//! WireGuard clients that nobody here wrote: wireguard-go and boringtun-cli, driven by `wg`, each on a site of its own.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Lab, Namespace, Process, Site, binaries::build_directory, until};

/// The device of the client.
const DEVICE: &str = "wg0";

/// A program that speaks WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// wireguard-go, from the distribution.
    WireguardGo,
    /// boringtun-cli, as `cargo xtask test` installs it.
    Boringtun,
}

impl Program {
    fn path(self) -> PathBuf {
        match self {
            Self::WireguardGo => "wireguard-go".into(),
            Self::Boringtun => {
                let build = build_directory();
                let target = build.parent().expect("a build directory lies in target");
                let path = target.join("rivals/bin/boringtun-cli");
                assert!(
                    path.is_file(),
                    "{} is missing: run `cargo install --locked boringtun-cli --root {}`",
                    path.display(),
                    target.join("rivals").display()
                );
                path
            }
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::WireguardGo => &["--foreground"],
            // It would change its user to one that may not open devices.
            Self::Boringtun => &["--foreground", "--disable-drop-privileges"],
        }
    }
}

/// The keys of a client.
#[derive(Debug)]
pub struct ClientKey {
    file: PathBuf,
    public: String,
}

impl ClientKey {
    /// Makes the key of a client on this site.
    #[track_caller]
    pub fn new(site: &Site) -> Self {
        Self::in_lab(site.lab(), "client.key")
    }

    /// Makes a key whose private half is in this file of a lab.
    #[track_caller]
    pub fn in_lab(lab: &Lab, file: &str) -> Self {
        let private = wg_command(&["genkey"], "");
        let file = private_file(lab, file, &private);
        Self { file, public: wg_command(&["pubkey"], &private) }
    }

    /// Returns the file of the private key.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the configuration of a site whose adapter has one client, alice with this key, and a host, web, on the VLAN
    /// behind it.
    pub fn adapter(&self, site: &Site) -> String {
        format!(
            "[port.web]\ntype = \"tap\"\ndevice = \"tap-a\"\nvlan = {{ access = 10 }}\n\
             [wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\"]\n\
             listen = \"[::]:51900\"\nprivate-key-file = \"{}\"\n\
             [wireguard.road.peer.alice]\npublic-key = \"{}\"\nallowed-ips = [\"10.10.0.201/32\"]\n",
            site.key_file().display(),
            self.public(),
        )
    }

    /// Returns the public key in base64.
    pub fn public(&self) -> &str {
        &self.public
    }
}

/// A client that runs.
#[derive(Debug)]
pub struct Client {
    process: Process,
}

impl Client {
    /// Starts a program on a site, with these addresses; everything in `networks` goes through it.
    #[track_caller]
    pub fn start(site: &Site, program: Program, addresses: &[&str], networks: &[&str]) -> Self {
        let space = site.space();
        // Its socket lies under /run by the device's name: each client has a /run of its own.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]);
        command.arg(program.path()).args(program.arguments()).arg(DEVICE);
        command.env("WG_PROCESS_FOREGROUND", "1").env("LOG_LEVEL", "verbose");
        let client = Self { process: Process::start("client", space, command) };
        // `wg` itself would remove a socket that does not listen yet.
        until("the client's socket listens", || {
            space.run("cat /proc/net/unix").lines().any(listens)
        });
        space.run(&format!("sysctl -qw net.ipv6.conf.{DEVICE}.disable_ipv6=0"));
        for address in addresses {
            space.run(&format!("ip addr add {address} dev {DEVICE}"));
        }
        space.run(&format!("ip link set {DEVICE} mtu 1420 up"));
        for network in networks {
            space.run(&format!("ip route add {network} dev {DEVICE}"));
        }
        client
    }

    /// Gives it its key and its one peer, with further words for `wg set`.
    #[track_caller]
    pub fn connect(&self, key: &ClientKey, server: &str, words: &[&str]) {
        let file = path(&key.file);
        let own = ["set", DEVICE, "private-key", file, "peer", server];
        self.wg(&[&own, words].concat());
    }

    /// Runs `wg` where the client has its socket; its answer.
    ///
    /// # Panics
    /// When `wg` fails.
    #[track_caller]
    pub fn wg(&self, arguments: &[&str]) -> String {
        let pid = self.process.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--mount", "--net", "wg"]).args(arguments);
        let output = command.output().expect("nsenter can be run");
        assert!(output.status.success(), "wg {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns everything that it has said: of wireguard-go, each message of a handshake.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Returns what `wg show` says of its peer: the words behind the public key.
    #[track_caller]
    pub fn shown(&self, what: &str) -> String {
        let shown = self.wg(&["show", DEVICE, what]);
        shown.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    }
}

/// Tells whether a line of /proc/net/unix is of a client's socket that listens.
fn listens(line: &str) -> bool {
    const ACCEPTS: &str = "00010000";
    line.ends_with(&format!("{DEVICE}.sock")) && line.split_whitespace().nth(3) == Some(ACCEPTS)
}

/// Makes a preshared key in a file.
#[track_caller]
pub fn preshared_key(site: &Site, name: &str) -> PathBuf {
    private_file(site.lab(), name, &wg_command(&["genpsk"], ""))
}

/// Tells whether a single ping from a namespace is answered within a second.
pub fn pings(from: &Namespace, address: &str) -> bool {
    from.exec(&format!("ping -c 1 -W 1 {address}")).status.success()
}

fn private_file(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let path = lab.write(name, text);
    let ours = Permissions::from_mode(0o600);
    fs::set_permissions(&path, ours).expect("the file is our own");
    path
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of the test's own is text")
}

fn wg_command(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("wg")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wg can be run: apt-get install wireguard-tools");
    let mut stdin = child.stdin.take().expect("it was asked for");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("wg reads");
    drop(stdin);
    let output = child.wait_with_output().expect("wg ends");
    assert!(output.status.success(), "wg {arguments:?}");
    String::from_utf8(output.stdout).expect("a key is text").trim().to_owned()
}
