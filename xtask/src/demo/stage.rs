//! What the demo plays on: the switch, the machines and the host.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;
use weft_bench::{
    clock::wait_until,
    lab::{Lab, Namespace},
};

use super::{
    console::Console,
    machine::{Accelerator, Machine, Plan},
    weft::Weft,
};
use crate::say;

pub(crate) const SWITCH: &str = "weft-demo-switch";
pub(crate) const DESK: &str = "weft-demo-desk";
pub(crate) const DESK_ADDRESS: &str = "10.10.0.1";
pub(crate) const WEB1_ADDRESS: &str = "10.10.0.11";
pub(crate) const DEV1_ADDRESS: &str = "10.10.0.12";
pub(crate) const DEV1_MAC: &str = "52:54:00:00:00:12";
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// The switch, the machines and the host, all up.
#[derive(Debug)]
pub(crate) struct Stage<'l> {
    pub(crate) lab: &'l Lab,
    pub(crate) weft: Weft,
    pub(crate) desk: Namespace,
    pub(crate) machines: Vec<Machine>,
    pub(crate) web1: Console,
    pub(crate) dev1: Console,
    /// How many checks went wrong.
    pub(crate) wrong: usize,
}

impl<'l> Stage<'l> {
    /// Sets everything up, told step by step.
    ///
    /// # Errors
    /// When something does not come up.
    pub(crate) fn set(lab: &'l Lab, image: &Path) -> Result<Self> {
        say::heading("The switch");
        let switch = lab.namespace(SWITCH)?;
        let desk = lab.namespace(DESK)?;
        let dev1_socket = lab.dir().join("dev1.sock");
        let config = configuration(&dev1_socket);
        say::note(&format!("the configuration file, {}:", lab.dir().join("weft.toml").display()));
        say::quote(&config);
        let weft = Weft::start(lab, &switch, &config)?;
        say::good(&format!("weftd is ready in the network namespace {SWITCH}"));

        say::heading("The host");
        switch.ip(&format!("link set desk0 netns {DESK}"))?;
        desk.ip(&format!("address add {DESK_ADDRESS}/24 dev desk0"))?;
        desk.ip("link set desk0 up")?;
        say::good(&format!(
            "desk is {DESK_ADDRESS}: weftd's TAP desk0, moved to the namespace {DESK}"
        ));

        say::heading("The virtual machines");
        let accelerator = Accelerator::probe(image);
        say::note(accelerator.describe());
        let web1 = Plan {
            name: "web1",
            address: WEB1_ADDRESS,
            mac: "52:54:00:00:00:11",
            card: "virtio-net-pci",
            netdev: "tap,id=net,ifname=tap0,script=no,downscript=no".to_owned(),
        };
        let dev1 = Plan {
            name: "dev1",
            address: DEV1_ADDRESS,
            mac: DEV1_MAC,
            card: "e1000",
            netdev: format!(
                "stream,id=net,server=off,addr.type=unix,addr.path={}",
                dev1_socket.display()
            ),
        };
        let qemu = "qemu-system-x86_64";
        // QEMU holds the TAP, so it runs where the TAP is; a socket is reached from anywhere.
        let web1 = Machine::boot(lab, switch.command(qemu), image, accelerator, web1)?;
        let dev1 = Machine::boot(lab, Command::new(qemu), image, accelerator, dev1)?;
        wait_until("QEMU's TAP", COMMAND_LIMIT, || Ok(switch.ip("link show tap0").is_ok()))?;
        switch.ip("link set tap0 up")?;
        let web1_console = web1.wait(lab)?;
        say::good(&format!("web1 is {WEB1_ADDRESS}: virtio, QEMU's own TAP tap0"));
        let dev1_console = dev1.wait(lab)?;
        say::good(&format!("dev1 is {DEV1_ADDRESS}: an emulated e1000 over a Unix socket"));
        weft.wait_for_ports(&["web1", "dev1", "desk"])?;
        weft.show(&["port", "list"])?;
        let machines = vec![web1, dev1];
        Ok(Self { lab, weft, desk, machines, web1: web1_console, dev1: dev1_console, wrong: 0 })
    }

    /// Says whether something is as it must be, and counts it when not.
    pub(crate) fn check(&mut self, right: bool, what: &str) {
        if right {
            say::good(what);
        } else {
            say::bad(what);
            self.wrong += 1;
        }
    }
}

fn configuration(dev1_socket: &Path) -> String {
    format!(
        r#"[vlan.office]
id = 10

[vlan.lab]
id = 20

# A virtio machine. QEMU makes the TAP and holds it; weft waits for it to come.
[port.web1]
type = "netdev"
device = "tap0"
vlan = {{ access = "office" }}

# An emulated card. QEMU connects to the socket; no privileges needed.
[port.dev1]
type = "stream"
socket = "{}"
vlan = {{ access = "lab" }}

# A TAP of weft's own making, for a host.
[port.desk]
type = "tap"
device = "desk0"
vlan = {{ access = "office" }}
"#,
        dev1_socket.display()
    )
}
