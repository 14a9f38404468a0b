//! The clients that the servers are measured with: programs on the near gateway, and the kernel's WireGuard in a guest beside
//! it, which takes over its address there.
//!
//! ```text
//!  near (vpn0 10.77.0.1) ── eth1 guest (wg0) eth0 10.99.0.1 ── br0 ── u0 ════ far
//! ```

use std::{fmt, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use clap::{ValueEnum, builder::PossibleValue};

use super::server::{INNER_MTU, NETWORK};
use crate::{
    gateways::{DEVICE, Ends},
    guest::{self, Image},
    lab::{Lab, Process},
    site::Tools,
    userspace::{self, Key, Other, PORT, Program},
};

/// What the guest's initramfs has to run as `/vm.sh`: it is the way from its second card to the server and back.
pub const SCRIPT: &str = r#"
word() { sed "s|.* $1=\([^ ]*\).*|\1|" /proc/cmdline; }
ip address add $(word outer)/24 dev eth0
ip link set eth0 up
modprobe wireguard
ip link add wg0 type wireguard
word private >/tmp/key
wg set wg0 private-key /tmp/key peer $(word server) allowed-ips $(word network) endpoint $(word endpoint)
ip link set wg0 mtu $(word mtu) up
ip route add $(word network) dev wg0
ip address add 10.77.0.254/32 dev eth1
ip link set eth1 up
ip route add $(word inner)/32 dev eth1
echo 1 >/proc/sys/net/ipv4/conf/eth1/proxy_arp
echo 1 >/proc/sys/net/ipv4/ip_forward
echo "weft-bench: ready"
while true; do sleep 3600; done
"#;

const READY: &str = "weft-bench: ready";
const BOOT: Duration = Duration::from_secs(60);
const MEMORY: &str = "384";

/// Who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A program on the near gateway.
    Program(Program),
    /// The kernel of a guest.
    Kernel,
}

impl Client {
    /// Returns what it is called.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Program(program) => program.name(),
            Self::Kernel => "the kernel's WireGuard in a guest",
        }
    }

    /// Returns the program that it is, where it is one.
    pub(super) const fn program(self) -> Option<Program> {
        match self {
            Self::Program(program) => Some(program),
            Self::Kernel => None,
        }
    }

    /// Starts it as the near gateway, with this key, for the server at the far one.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn start(
        self,
        lab: &Lab,
        (tools, image): (&Tools, &Image),
        ends: &Ends,
        key: &Key,
        server_key: &str,
    ) -> Result<Process> {
        let endpoint = format!("{}:{PORT}", ends.far.outer);
        let Self::Program(program) = self else {
            let image = image.paths().context("the guest's image")?;
            return boot(
                lab,
                image,
                ends,
                key,
                &format!("server={server_key} endpoint={endpoint}"),
            );
        };
        let process = program.start(lab, tools, &ends.near)?;
        let to = Other { public_key: server_key, allowed: NETWORK, endpoint: Some(&endpoint) };
        userspace::introduce(&process, &key.file, to)?;
        Ok(process)
    }
}

impl ValueEnum for Client {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Program(Program::WireguardGo),
            Self::Program(Program::Boringtun),
            Self::Program(Program::Gotatun),
            Self::Kernel,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Program(program) => program.to_possible_value(),
            Self::Kernel => Some(PossibleValue::new("kernel").help(self.name())),
        }
    }
}

impl fmt::Display for Client {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// Boots the guest and waits until it is a way.
fn boot(lab: &Lab, image: (&Path, &Path), ends: &Ends, key: &Key, words: &str) -> Result<Process> {
    let near = &ends.near.namespace;
    for line in [
        "addr flush dev u0",
        "link add br0 type bridge",
        "link set u0 master br0",
        "tuntap add outside mode tap vnet_hdr",
        "link set outside master br0 up",
        "link set br0 up",
        &format!("tuntap add {DEVICE} mode tap vnet_hdr"),
    ] {
        near.ip(line)?;
    }
    let private = fs::read_to_string(&key.file)?;
    let words = format!(
        "outer={} inner={} network={NETWORK} mtu={INNER_MTU} private={} {words}",
        ends.near.outer,
        ends.near.inner,
        private.trim()
    );
    let mut qemu = guest::machine(near, image, MEMORY, &words);
    for (number, tap) in ["outside", DEVICE].into_iter().enumerate() {
        qemu.args(["-netdev", &format!("tap,id=n{number},ifname={tap},script=no,downscript=no")]);
        let card = format!("virtio-net-pci,netdev=n{number},mac=52:54:00:00:00:0{number},romfile=");
        qemu.args(["-device", &card]);
    }
    let process = lab.spawn(qemu.args(["-serial", "stdio"]), "near.log")?;
    lab.wait_for_line(&process, READY, BOOT)?;
    Ok(process)
}
