//! What the demo plays on: two hosts and the wire between them, machines and tables.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;
use weft_bench::{
    clock::wait_until,
    lab::{Lab, Namespace},
};

use super::{
    config,
    console::Console,
    machine::{Accelerator, Machine, Plan},
    weft::Weft,
};
use crate::say;

/// Every namespace of the demo.
pub(crate) const NAMESPACES: &[&str] = &[NORTH, SOUTH, DESK, TILL];
const NORTH: &str = "weft-demo-north";
const SOUTH: &str = "weft-demo-south";
pub(crate) const DESK: &str = "weft-demo-desk";
const TILL: &str = "weft-demo-till";
/// The device of both hosts at their ends of the wire.
pub(crate) const WIRE: &str = "wire";
const NORTH_ADDRESS: &str = "10.99.0.1";
pub(crate) const SOUTH_ADDRESS: &str = "10.99.0.2";
pub(crate) const DESK_ADDRESS: &str = "10.10.0.1";
pub(crate) const TILL_ADDRESS: &str = "10.10.0.2";
pub(crate) const WEB1_ADDRESS: &str = "10.10.0.11";
const DEV1_ADDRESS: &str = "10.10.0.12";
pub(crate) const WEB2_ADDRESS: &str = "10.10.0.13";
pub(crate) const DB1_ADDRESS: &str = "10.10.0.14";
const DESK_MAC: &str = "52:54:00:00:00:01";
pub(crate) const TILL_MAC: &str = "52:54:00:00:00:02";
pub(crate) const WEB1_MAC: &str = "52:54:00:00:00:11";
pub(crate) const DEV1_MAC: &str = "52:54:00:00:00:12";
pub(crate) const WEB2_MAC: &str = "52:54:00:00:00:13";
const DB1_MAC: &str = "52:54:00:00:00:14";
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// The file of a host's private key, in the host's directory.
const KEY: &str = "vpn.key";
const QEMU: &str = "qemu-system-x86_64";
/// How QEMU makes the TAP that a `netdev` port waits for.
const QEMU_TAP: &str = "tap,id=net,ifname=tap0,script=no,downscript=no";

/// Both hosts with what is attached to them, all up.
#[derive(Debug)]
pub(crate) struct Stage<'l> {
    pub(crate) lab: &'l Lab,
    pub(crate) north: Weft,
    pub(crate) south: Weft,
    pub(crate) desk: Namespace,
    pub(crate) till: Namespace,
    pub(crate) machines: Vec<Machine>,
    pub(crate) web1: Console,
    pub(crate) dev1: Console,
    pub(crate) web2: Console,
    pub(crate) db1: Console,
    /// How many checks went wrong.
    pub(crate) wrong: usize,
}

impl<'l> Stage<'l> {
    /// Sets everything up, told step by step.
    ///
    /// # Errors
    /// When something does not come up.
    pub(crate) fn set(lab: &'l Lab, image: &Path) -> Result<Self> {
        let north = Weft::new(lab, "north", NORTH)?;
        let south = Weft::new(lab, "south", SOUTH)?;
        lay_wire(&north.namespace, &south.namespace)?;
        say::heading("A key for each: the private half stays there, the public half is shown");
        let generate = ["key", "generate", "--out", KEY];
        let (north_key, south_key) = (north.show(&generate)?, south.show(&generate)?);
        let (dev1_socket, db1_socket) = (north.file("dev1.sock"), north.file("db1.sock"));
        start(lab, &north, &south, (&dev1_socket, &db1_socket))?;
        join((&north, north_key.trim_end()), (&south, south_key.trim_end()))?;

        say::heading("A desk and a till");
        let desk = interface(lab, &north, "desk", DESK, (DESK_ADDRESS, DESK_MAC))?;
        let till = interface(lab, &south, "till", TILL, (TILL_ADDRESS, TILL_MAC))?;

        say::heading("The virtual machines");
        let accelerator = Accelerator::probe(image);
        say::note(accelerator.describe());
        let web1 = Plan {
            name: "web1",
            address: WEB1_ADDRESS,
            mac: WEB1_MAC,
            card: "virtio-net-pci",
            netdev: QEMU_TAP.to_owned(),
            shares_memory_by: None,
        };
        let web2 = Plan { name: "web2", address: WEB2_ADDRESS, mac: WEB2_MAC, ..web1.clone() };
        let unix = format!("addr.type=unix,addr.path={}", dev1_socket.display());
        let dev1 = Plan {
            name: "dev1",
            address: DEV1_ADDRESS,
            mac: DEV1_MAC,
            card: "e1000",
            netdev: format!("stream,id=net,server=off,{unix}"),
            shares_memory_by: None,
        };
        let db1 = Plan {
            name: "db1",
            address: DB1_ADDRESS,
            mac: DB1_MAC,
            // QEMU 7.2 without KVM crashes with message-signalled interrupts here, whoever is at the other end.
            card: "virtio-net-pci,vectors=0",
            netdev: "vhost-user,id=net,chardev=shared".to_owned(),
            shares_memory_by: Some(db1_socket),
        };
        // QEMU holds the TAP, so it runs where the TAP is; a socket is reached from anywhere.
        let at = |weft: &Weft| weft.namespace.command(QEMU);
        let web1 = Machine::boot(lab, at(&north), image, accelerator, web1)?;
        let web2 = Machine::boot(lab, at(&south), image, accelerator, web2)?;
        let dev1 = Machine::boot(lab, Command::new(QEMU), image, accelerator, dev1)?;
        let db1 = Machine::boot(lab, Command::new(QEMU), image, accelerator, db1)?;
        for Weft { namespace, .. } in [&north, &south] {
            wait_until("QEMU's TAP", COMMAND_LIMIT, || Ok(namespace.ip("link show tap0").is_ok()))?;
            namespace.ip("link set tap0 up")?;
        }
        let web1_console = web1.wait(lab)?;
        say::good(&format!("web1 is {WEB1_ADDRESS} on north: virtio, QEMU's own TAP tap0"));
        let dev1_console = dev1.wait(lab)?;
        say::good(&format!(
            "dev1 is {DEV1_ADDRESS} on north: an emulated e1000 over a Unix socket"
        ));
        let db1_console = db1.wait(lab)?;
        say::good(&format!(
            "db1 is {DB1_ADDRESS} on north: virtio, in its own memory (vhost-user)"
        ));
        let web2_console = web2.wait(lab)?;
        say::good(&format!("web2 is {WEB2_ADDRESS} on south: virtio, QEMU's own TAP tap0"));
        north.wait_for_ports(&["web1", "dev1", "db1", "desk"])?;
        south.wait_for_ports(&["web2", "till"])?;
        north.show(&["port", "list"])?;
        south.show(&["port", "list"])?;
        Ok(Self {
            lab,
            north,
            south,
            desk,
            till,
            machines: vec![web1, dev1, db1, web2],
            web1: web1_console,
            dev1: dev1_console,
            web2: web2_console,
            db1: db1_console,
            wrong: 0,
        })
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

fn lay_wire(north: &Namespace, south: &Namespace) -> Result<()> {
    say::heading("Two hosts");
    north.ip(&format!("link add {WIRE} type veth peer name {WIRE} netns {SOUTH}"))?;
    for (end, address) in [(north, NORTH_ADDRESS), (south, SOUTH_ADDRESS)] {
        end.ip(&format!("address add {address}/24 dev {WIRE}"))?;
        end.ip(&format!("link set {WIRE} up"))?;
    }
    say::good(&format!("north is {NORTH_ADDRESS}: the network namespace {NORTH}"));
    say::good(&format!("south is {SOUTH_ADDRESS}: the network namespace {SOUTH}"));
    say::note("between them is one wire, that nobody has reason to trust");
    Ok(())
}

fn start(lab: &Lab, north: &Weft, south: &Weft, (dev1, db1): (&Path, &Path)) -> Result<()> {
    say::heading("The switches");
    let texts = [config::north(dev1, db1, &north.file(KEY)), config::south(&south.file(KEY))];
    for (weft, text) in [north, south].into_iter().zip(texts) {
        say::note(&format!(
            "the configuration file of {}, {}:",
            weft.host,
            weft.config().display()
        ));
        say::quote(&text);
        weft.start(lab, &text)?;
        say::good(&format!("weftd is ready on {}", weft.host));
    }
    Ok(())
}

/// Tells each host the other's public key and what the tunnel carries.
fn join(north: (&Weft, &str), south: (&Weft, &str)) -> Result<()> {
    say::heading("The tunnel: the segment \"office\" is VLAN 10 here and VLAN 110 there");
    let ends = [(north.0, south, SOUTH_ADDRESS), (south.0, north, NORTH_ADDRESS)];
    for (weft, (peer, key), address) in ends {
        weft.show(&["segment", "add", "office", "--id", "5010", "--vlan", "office"])?;
        let endpoint = format!("{address}:51900");
        let add = ["peer", "add", peer.host, "--public-key", key, "--endpoint", &endpoint];
        weft.show(&[&add[..], &["--segments", "office"]].concat())?;
    }
    for (weft, (peer, _), _) in ends {
        weft.wait_for_peer(peer.host)?;
        weft.show(&["peer", "list"])?;
    }
    say::good("a session in both directions, with keys that nobody else has");
    Ok(())
}

/// Moves a TAP of weft's own making into a namespace of its own, where somebody uses it.
fn interface(
    lab: &Lab,
    weft: &Weft,
    name: &str,
    namespace: &str,
    (address, mac): (&str, &str),
) -> Result<Namespace> {
    let own = lab.namespace(namespace)?;
    let device = format!("{name}0");
    weft.namespace.ip(&format!("link set {device} address {mac} netns {namespace}"))?;
    own.ip(&format!("address add {address}/24 dev {device}"))?;
    own.ip(&format!("link set {device} up"))?;
    say::good(&format!(
        "{name} is {address} on {}: weftd's TAP {device}, moved to the namespace {namespace}",
        weft.host
    ));
    Ok(own)
}
