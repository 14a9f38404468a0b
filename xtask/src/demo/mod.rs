//! `cargo xtask demo`: real machines on VLANs of a real switch.
//!
//! ```text
//!   web1 (QEMU, virtio) ── tap0 ──┐
//!   dev1 (QEMU, e1000) ─ socket ──┤ weftd in the namespace weft-demo-switch
//!   desk (namespace) ──── desk0 ──┘
//!
//!   VLAN 10 "office": web1, desk        VLAN 20 "lab": dev1, until it is moved
//! ```

mod console;
mod kept;
mod machine;
mod weft;

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use weft_bench::{
    clock::wait_until,
    ear,
    lab::{Lab, Lifetime, Namespace, run as run_to_end},
};

use self::{
    console::Console,
    kept::Kept,
    machine::{Accelerator, Machine, Plan},
    weft::{Weft, shorter},
};
use crate::{
    containment, guest, layout, say,
    setup::{self, Need},
    step::{cargo, show},
};

/// What to do with the demo.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Leave everything up at the end and say how to look around.
    #[arg(long)]
    keep: bool,
    /// Type in the shell of a machine of a kept demo.
    #[arg(long, value_name = "MACHINE", conflicts_with = "keep")]
    shell: Option<String>,
    /// End a kept demo.
    #[arg(long, conflicts_with_all = ["keep", "shell"])]
    end: bool,
    /// The second half: everything is built.
    #[arg(long, hide = true)]
    built: bool,
}

const SWITCH: &str = "weft-demo-switch";
const DESK: &str = "weft-demo-desk";
const DESK_ADDRESS: &str = "10.10.0.1";
const WEB1_ADDRESS: &str = "10.10.0.11";
const DEV1_ADDRESS: &str = "10.10.0.12";
const DEV1_MAC: &str = "52:54:00:00:00:12";
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Runs, looks into or ends the demo.
///
/// # Errors
/// When something cannot be set up, or anything turns out otherwise than it must.
pub(crate) fn run(options: &Options) -> Result<()> {
    let kept = Kept::load()?;
    if let Some(machine) = &options.shell {
        let kept = kept.context("no demo is kept; start one with: cargo xtask demo --keep")?;
        say::note("no prompt, no echo from the machine: type a command and Enter; Ctrl-C leaves");
        return console::attach(kept.console(machine)?);
    }
    if options.end {
        return kept.context("no demo is kept; there is nothing to end")?.end();
    }
    if let Some(kept) = kept {
        say::note("a demo was kept: ending it first");
        kept.end()?;
    }
    if !options.built {
        setup::ensure_for(&[Need::Guests])?;
        say::heading("Build weftd and weftctl");
        show(&mut cargo(&["build", "--release", "--locked", "-p", "weftd", "-p", "weftctl"]))?;
        guest::ensure_image()?;
        if !containment::is_root() {
            say::note("not root: the demo runs in a user namespace");
            return containment::enter(&["--built"]);
        }
    }
    perform(options)
}

fn perform(options: &Options) -> Result<()> {
    let begin = say::now();
    let image = layout::guest();
    let lifetime = if options.keep { Lifetime::Kept } else { Lifetime::Run };
    let dir = tempfile::Builder::new().prefix("weft-demo-").tempdir()?.keep();
    clear_namespaces()?;
    let lab = Lab::new(&dir, lifetime)?;
    lab.end_on_signal()?;

    let mut stage = Stage::set(&lab, &image)?;
    stage.same_vlan_talks()?;
    stage.other_vlan_is_apart()?;
    stage.tag_does_not_help()?;
    stage.moves_live()?;
    stage.speed()?;
    stage.look()?;

    let Stage { weft, machines, wrong, .. } = stage;
    say::heading("The end");
    if wrong > 0 {
        bail!("{wrong} of the checks went wrong; see the lines with ✗");
    }
    say::good(&format!("everything was as it must be, in {}", say::duration(begin.elapsed())));
    if options.keep {
        keep(lab, &weft, &machines)?;
    } else {
        lab.end();
        say::good("cleaned up: processes, namespaces and files are gone");
    }
    Ok(())
}

/// The switch, the machines and the host, all up.
struct Stage<'l> {
    lab: &'l Lab,
    weft: Weft,
    desk: Namespace,
    machines: Vec<Machine>,
    web1: Console,
    dev1: Console,
    wrong: usize,
}

impl<'l> Stage<'l> {
    fn set(lab: &'l Lab, image: &Path) -> Result<Self> {
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

    fn same_vlan_talks(&mut self) -> Result<()> {
        say::heading("web1 and desk are in VLAN 10: they talk");
        let outcome =
            self.web1.run(&format!("ping -c 3 -i 0.2 -W 2 {DESK_ADDRESS}"), COMMAND_LIMIT)?;
        outcome.quote();
        self.check(outcome.success, "web1 reaches desk");
        let back = pings(&self.desk, WEB1_ADDRESS)?;
        self.check(back, "desk reaches web1");
        Ok(())
    }

    fn other_vlan_is_apart(&mut self) -> Result<()> {
        say::heading("dev1 is in VLAN 20: it is apart, though its address is of the same subnet");
        let mut ear = self.desk.command(std::env::current_exe()?);
        let ear = self.lab.spawn(ear.args(["hear", "desk0", DEV1_MAC]), "ear.log")?;
        wait_until("listening at desk", COMMAND_LIMIT, || {
            Ok(ear.output()?.contains(ear::LISTENING))
        })?;
        for (name, address) in [("web1", WEB1_ADDRESS), ("desk", DESK_ADDRESS)] {
            let outcome =
                self.dev1.run(&format!("ping -c 2 -i 0.2 -W 1 {address}"), COMMAND_LIMIT)?;
            self.check(!outcome.success, &format!("dev1 does not reach {name}"));
        }
        self.lab.stop(&ear);
        let heard = ear.output()?.lines().filter(|line| *line == ear::HEARD).count();
        self.check(heard == 0, "not even its ARP broadcasts arrive at desk");
        Ok(())
    }

    fn tag_does_not_help(&mut self) -> Result<()> {
        say::heading("dev1 tags its own frames for VLAN 10: an access port takes no tags");
        let before = self.weft.rx_drops("dev1", "tagged-on-access")?;
        let hop = format!(
            "modprobe 8021q && ip link add link eth0 name hop type vlan id 10 && \
             ip address add 10.10.0.99/24 dev hop && ip link set hop up; \
             ping -c 2 -i 0.2 -W 1 -I hop {WEB1_ADDRESS}"
        );
        let outcome = self.dev1.run(&hop, COMMAND_LIMIT)?;
        self.check(!outcome.success, "the tagged frames reach nobody");
        let dropped = self.weft.rx_drops("dev1", "tagged-on-access")? - before;
        self.check(dropped > 0, &format!("the switch counted them: {dropped} × tagged-on-access"));
        self.weft.show(&["drops"])?;
        // QEMU's e1000 takes nothing in for a second after its driver has changed a filter.
        self.dev1.run("ip link del hop && sleep 1", COMMAND_LIMIT)?;
        Ok(())
    }

    fn moves_live(&mut self) -> Result<()> {
        say::heading("dev1 is moved to VLAN 10, live");
        let mut untouched = self.desk.command("ping");
        untouched.args(["-i", "0.02", "-c", "150", "-W", "2", "-q", WEB1_ADDRESS]);
        let untouched = self.lab.spawn(&untouched, "untouched.log")?;
        // What the guest remembers of its failures would delay it, not the switch.
        self.dev1.run("ip neigh flush dev eth0", COMMAND_LIMIT)?;
        let begin = say::now();
        self.weft.show(&["port", "set", "dev1", "--access", "office"])?;
        let reached = wait_until("dev1 reaching desk", COMMAND_LIMIT, || {
            Ok(self.dev1.run(&format!("ping -c 1 -W 1 {DESK_ADDRESS}"), COMMAND_LIMIT)?.success)
        });
        let length = say::duration(begin.elapsed());
        self.check(
            reached.is_ok(),
            &format!("dev1 reaches desk, {length} after the command was typed"),
        );
        let to_web1 =
            self.dev1.run(&format!("ping -c 2 -i 0.2 -W 2 {WEB1_ADDRESS}"), COMMAND_LIMIT)?;
        self.check(to_web1.success, "dev1 reaches web1");
        let pinged =
            self.lab.finish(&untouched, COMMAND_LIMIT).unwrap_or_else(|error| format!("{error:#}"));
        self.check(
            pinged.contains(" 0% packet loss"),
            "150 pings between desk and web1 meanwhile: none lost",
        );
        let file = fs::read_to_string(&self.weft.config)?;
        let section: Vec<_> =
            file.lines().skip_while(|line| !line.contains("[port.dev1]")).take(4).collect();
        say::note("the file has it, too, comments kept:");
        say::quote(&section.join("\n"));
        let kept = file.contains("# An emulated card")
            && section.iter().any(|line| line.contains("office"));
        self.check(kept, "the configuration file was rewritten in place");
        Ok(())
    }

    fn speed(&mut self) -> Result<()> {
        say::heading(
            "A TCP stream from web1 to desk, segmentation left to whoever comes later (TSO)",
        );
        let mut server = self.desk.command("iperf3");
        let server = self.lab.spawn(server.args(["-s", "-1", "--forceflush"]), "iperf3.log")?;
        wait_until("iperf3 listening", COMMAND_LIMIT, || {
            Ok(server.output()?.contains("listening"))
        })?;
        let outcome =
            self.web1.run(&format!("iperf3 -c {DESK_ADDRESS} -t 3 -f m"), COMMAND_LIMIT)?;
        let received = outcome.output.lines().find(|line| line.contains("receiver"));
        let words: Vec<_> = received.unwrap_or_default().split_whitespace().collect();
        let rate = words.iter().position(|word| word.ends_with("bits/sec")).filter(|at| *at > 0);
        let rate = rate.map_or("nothing".to_owned(), |at| words[at - 1..=at].join(" "));
        self.check(outcome.success && received.is_some(), &format!("desk received {rate}"));
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        say::heading("What an administrator sees");
        self.weft.show(&["status"])?;
        self.weft.show(&["fdb", "list"])?;
        let trace = ["trace", "--port", "dev1", "--src", DEV1_MAC, "--dst", "52:54:00:00:00:11"];
        self.weft.show(&trace)?;
        let tagged = [&trace[..], &["--tag", "10"]].concat();
        self.weft.show(&tagged)
    }

    fn check(&mut self, right: bool, what: &str) {
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

/// Tells of each frame that arrives at a device from a sender, until killed.
///
/// # Errors
/// When the address is none, or the device cannot be opened.
pub(crate) fn hear(device: &str, sender: &str) -> Result<()> {
    let bytes: Option<Vec<_>> =
        sender.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let Some(Ok(sender)) = bytes.map(TryInto::try_into) else {
        bail!("{sender} is no MAC address")
    };
    ear::listen(device, sender)
}

fn pings(from: &Namespace, address: &str) -> Result<bool> {
    let mut ping = from.command("ping");
    Ok(ping.args(["-c", "3", "-i", "0.2", "-W", "2", "-q", address]).output()?.status.success())
}

/// Deletes the namespaces of a demo that was killed.
fn clear_namespaces() -> Result<()> {
    let known = run_to_end(Command::new("ip").args(["netns", "list"]))?;
    for name in [SWITCH, DESK] {
        if known.lines().any(|line| line.split_whitespace().next() == Some(name)) {
            run_to_end(Command::new("ip").args(["netns", "del", name]))?;
        }
    }
    Ok(())
}

fn keep(lab: Lab, weft: &Weft, machines: &[Machine]) -> Result<()> {
    let consoles =
        machines.iter().map(|machine| (machine.plan.name.to_owned(), machine.socket.clone()));
    let kept = Kept { consoles: consoles.collect(), leftovers: lab.keep() };
    kept.save()?;
    // In a user namespace, the names of the network namespaces are known inside only.
    let enter = match kept.leftovers.processes.first() {
        Some((pid, _)) if containment::in_user_namespace() => {
            format!("nsenter --preserve-credentials --user --mount --target {pid} ")
        }
        _ => String::new(),
    };
    say::heading("Everything stays up");
    say::note("look at the switch and change it:");
    say::quote(&format!("{} status", weft.command_line()));
    say::note("be on desk:");
    say::quote(&format!("{enter}ip netns exec {DESK} ping {WEB1_ADDRESS}"));
    say::note("be on a machine:");
    say::quote("cargo xtask demo --shell web1\ncargo xtask demo --shell dev1");
    say::note("read the logs and the configuration:");
    say::quote(&format!("ls {}", shorter(&kept.leftovers.dir)));
    say::note("end it:");
    say::quote("cargo xtask demo --end");
    Ok(())
}
