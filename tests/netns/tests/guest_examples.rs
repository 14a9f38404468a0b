//! What `packaging/examples/vhost-user` holds does what it says: a real libvirtd starts its domain, whose XML is what
//! `weftctl` prints, and QEMU is started by its script. What they find on their machine is a mount namespace's.
//!
//! ```text
//!   guest db1, 10.0.0.1 ── libvirtd's QEMU ─ db1.sock ─ vhost-user, access 20 ──┐
//!   guest web1, 10.0.0.2 ─ web1.sh's QEMU ── web1.sock ─ vhost-user, access 20 ─┼ switch
//!   host h, 10.0.0.9 ─────────────────────── taph ─ tap, access 20 ─────────────┘
//! ```

use std::{fs, path::PathBuf};

use weft_netns::{Ctl, Daemon, Guest, Host, Lab, Libvirt, Machine};

fn example(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/examples/vhost-user"))
        .join(name)
}

fn text_of(name: &str) -> String {
    fs::read_to_string(example(name)).expect("the example is there")
}

fn daemon(lab: &Lab, machine: &Machine) -> Daemon {
    let host = "[port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = { access = 20 }\n";
    let config = format!("{}\n{host}", text_of("weft.toml"));
    let wrapper = machine.wrapper();
    Daemon::start_by(lab, "weftd", &config, &wrapper.each_ref().map(String::as_str))
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

/// Asserts that the XML holds what is printed for a port, but for blanks in front of lines.
fn assert_is_what_is_printed(xml: &str, ctl: &Ctl, port: &str) {
    let printed = ctl.json(&format!("port show {port} --libvirt"));
    for part in ["memory", "interface"] {
        let part = lines(printed[part].as_str().expect("XML is text"));
        assert!(lines(xml).windows(part.len()).any(|window| window == part), "{printed}\n{xml}");
    }
}

#[test]
fn libvirt_starts_the_domain() {
    let lab = Lab::with_workers(1);
    let machine = Machine::new(&lab);
    machine.make_disk(&lab, "/var/lib/libvirt/images/db1.img");
    let mut daemon = daemon(&lab, &machine);
    let ctl = daemon.ctl();
    let xml = text_of("db1.xml");
    assert_is_what_is_printed(&xml, &ctl, "db1");

    let libvirt = Libvirt::start(&lab, &machine);
    libvirt.define(&lab, "db1", &xml);
    for (life, address) in ["10.0.0.9", "10.0.0.8"].into_iter().enumerate() {
        let mut guest = libvirt.boot(&lab, "db1");
        ctl.wait_for_state("db1", "up");
        guest.set_address("10.0.0.1/24");
        if life > 0 {
            // What is printed has QEMU come back.
            daemon.kill9();
            daemon.restart();
            ctl.wait_for_state("db1", "up");
        }
        let host = Host::on_tap(&lab, &daemon, "taph", &format!("{address}/24"));
        guest.wait_for_ping(address);
        host.wait_for_ping("10.0.0.1");
        assert_eq!(ctl.fdb(20, "52:54:00:20:00:01"), Some(("db1".into(), "dynamic".into())));
        libvirt.virsh("destroy db1");
        ctl.wait_for_state("db1", "waiting");
        assert_eq!(ctl.fdb(20, "52:54:00:20:00:01"), None);
    }
}

#[test]
fn libvirt_starts_a_domain_that_listens_with_several_queues() {
    let lab = Lab::with_workers(1);
    let machine = Machine::new(&lab);
    machine.make_disk(&lab, "/var/lib/libvirt/images/db1.img");
    let config = r#"[port.db2]
type = "vhost-user"
mode = "client"
socket = "/var/lib/libvirt/qemu/it's <&>.sock"
queues = 2
vlan = { access = 20 }
owner = "libvirt-qemu""#;
    let wrapper = machine.wrapper();
    let daemon = Daemon::start_by(&lab, "weftd", config, &wrapper.each_ref().map(String::as_str));
    let ctl = daemon.ctl();
    let printed = ctl.json("port show db2 --libvirt");
    let interface = printed["interface"].as_str().expect("XML is text");
    let xml = text_of("db1.xml");
    let (before, rest) = xml.split_once("<interface").expect("the domain has a card");
    let (_, after) = rest.split_once("</interface>").expect("the card ends");
    let libvirt = Libvirt::start(&lab, &machine);
    libvirt.define(&lab, "db1", &format!("{before}{interface}{after}"));
    for _ in 0..2 {
        libvirt.virsh("start --paused db1");
        ctl.wait_for_state("db2", "up");
        libvirt.virsh("destroy db1");
        ctl.wait_for_state("db2", "waiting");
    }
}

#[test]
fn the_commands_of_the_documentation_make_a_port_and_tell_of_it() {
    const DOCUMENT: &str = include_str!("../../../docs/vhost-user.md");
    let lab = Lab::with_workers(1);
    let machine = Machine::new(&lab);
    let wrapper = machine.wrapper();
    let daemon = Daemon::start_by(&lab, "weftd", "", &wrapper.each_ref().map(String::as_str));
    let commands = DOCUMENT.lines().filter_map(|line| line.strip_prefix("weftctl "));
    let said: Vec<_> = commands
        .map(|line| daemon.ctl().run(line.split(" # ").next().expect("a line has a beginning")))
        .collect();
    let [_added, qemu, libvirt] = &said[..] else { panic!("{said:?}") };
    daemon.ctl().wait_for_state("db1", "waiting");
    let socket = "/run/weft/ports/db1/db1.sock";
    assert!(qemu.contains(&format!("-chardev socket,id=db1,path={socket},reconnect=1")), "{qemu}");
    assert!(libvirt.contains(&format!("path='{socket}' mode='client'")), "{libvirt}");
    let [enter, namespace, _] = &wrapper;
    let owner = lab.switch().run(&format!("{enter} {namespace} stat -c %U:%a {socket}"));
    assert_eq!(owner.trim(), "libvirt-qemu:600");
}

#[test]
fn the_script_starts_qemu() {
    let lab = Lab::with_workers(1);
    let machine = Machine::new(&lab);
    machine.make_disk(&lab, "/var/lib/weft/web1.img");
    let daemon = daemon(&lab, &machine);
    let host = Host::on_tap(&lab, &daemon, "taph", "10.0.0.9/24");
    let mut command = machine.command(example("web1.sh"));
    command.env("ACCEL", "tcg");
    let mut guest = Guest::boot_by(&lab, "web1", command);
    daemon.ctl().wait_for_state("web1", "up");
    guest.set_address("10.0.0.2/24");
    guest.wait_for_ping("10.0.0.9");
    host.wait_for_ping("10.0.0.2");
    drop(guest);
    daemon.ctl().wait_for_state("web1", "waiting");
}
