//! What weftd changes on a device is undone: when the port goes, when the daemon ends, and by the next start after
//! a kill.
//!
//! ```text
//!   tap0 (up, IPv6 on) ┐
//!                      ├ switch
//!   tap1 (down) ───────┘
//! ```

use weft_netns::{Daemon, Lab, Namespace, Nic, eventually, until};

const CONFIG: &str = "\
[port.web]
type = \"netdev\"
device = \"tap0\"
vlan = { access = 10 }
[port.db]
type = \"netdev\"
device = \"tap1\"
vlan = { access = 10 }
";

/// Everything about the devices that an administrator can see.
fn look(lab: &Lab) -> Vec<String> {
    let mut seen = Vec::new();
    for device in ["tap0", "tap1"] {
        let link = lab.switch().run(&format!("ip -d -o link show dev {device}"));
        for key in ["mtu ", "addrgenmode ", "promiscuity ", "allmulti "] {
            let value = link.split(key).nth(1).and_then(|rest| rest.split_whitespace().next());
            seen.push(format!("{device} {key}{}", value.unwrap_or("-")));
        }
        seen.push(format!("{device} up: {}", link.contains(",UP") || link.contains("<UP")));
        // The kernel makes a root qdisc when a device comes up for the first time; that one is not weft's.
        let qdiscs = lab.switch().run(&format!("tc qdisc show dev {device}"));
        seen.extend(qdiscs.lines().filter(|line| !line.contains(" root ")).map(str::to_owned));
        seen.push(lab.switch().run(&format!("tc filter show dev {device} ingress")));
        seen.push(lab.switch().run(&format!("ethtool -k {device}")));
    }
    seen
}

fn scene() -> (Lab, Nic, Nic, Vec<String>, Daemon) {
    let lab = Lab::in_namespace(1, Namespace::with_ipv6());
    let web = Nic::open_up(lab.switch(), "tap0");
    let db = Nic::open(lab.switch(), "tap1");
    until("the kernel makes a link-local address", || has_link_local(&lab));
    let before = look(&lab);
    let daemon = lab.daemon(CONFIG);
    assert_ne!(look(&lab), before, "weftd changes something on a device");
    assert!(!has_link_local(&lab));
    (lab, web, db, before, daemon)
}

fn has_link_local(lab: &Lab) -> bool {
    lab.switch().run("ip -6 addr show dev tap0").contains("fe80::")
}

#[track_caller]
fn assert_undone(lab: &Lab, before: &[String]) {
    eventually(|| (look(lab) == before).then_some(()));
    for (now, before) in look(lab).iter().zip(before) {
        assert_eq!(now, before);
    }
    until("the link-local address is back", || has_link_local(lab));
}

#[test]
fn removing_the_ports_undoes_it() {
    let (lab, _web, _db, before, daemon) = scene();
    daemon.ctl().run("port remove web");
    daemon.ctl().run("port remove db");
    assert_undone(&lab, &before);
}

#[test]
fn a_removed_port_in_a_reloaded_file_undoes_it() {
    let (lab, _web, _db, before, daemon) = scene();
    daemon.write_config("");
    daemon.reload();
    assert_undone(&lab, &before);
}

#[test]
fn a_clean_end_undoes_it() {
    let (lab, _web, _db, before, mut daemon) = scene();
    assert!(daemon.terminate().success());
    assert_undone(&lab, &before);
}

#[test]
fn after_a_kill_the_next_start_undoes_it() {
    let (lab, _web, _db, before, mut daemon) = scene();
    daemon.kill9();
    assert_ne!(look(&lab), before, "the devices stay closed while no weftd runs");
    daemon.write_config("");
    daemon.restart();
    assert_undone(&lab, &before);
}

#[test]
fn after_a_kill_the_next_start_goes_on_and_its_end_undoes_it() {
    let (lab, _web, _db, before, mut daemon) = scene();
    daemon.kill9();
    daemon.restart();
    daemon.ctl().wait_for_state("web", "up");
    daemon.ctl().wait_for_state("db", "up");
    assert!(daemon.terminate().success());
    assert_undone(&lab, &before);
}
