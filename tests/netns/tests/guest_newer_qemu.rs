//! A newer QEMU than the installed one, Debian's from backports, comes to vhost-user ports as the installed one does,
//! which all other tests have: a guest whose card takes every offload and interrupts by messages, with a host on a TAP.
//!
//! ```text
//!   guest g, 10.0.0.1 ── g.sock ─ vhost-user, access 10 ┐
//!   host h, 10.0.0.9 ─── taph ─ tap, access 10 ─────────┴ switch
//! ```

use std::process::Command;

use weft_netns::{Daemon, Guest, GuestNic, Host, Lab, Process, VhostEnd, newer_qemu, until};

fn daemon(lab: &Lab, mode: &str, keys: &str) -> Daemon {
    lab.daemon(&format!(
        "[port.g]\ntype = \"vhost-user\"\nsocket = \"{}\"\nmode = \"{mode}\"\nvlan = {{ access = 10 }}\n{keys}\n\
         [port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 10 }}\n",
        lab.path("g.sock").display()
    ))
}

/// The host of each life of the switch has an address of its own, so that the guest asks for it.
fn streams_with_a_host(lab: &Lab, daemon: &Daemon, guest: &mut Guest, address: &str) {
    let host = Host::on_tap(lab, daemon, "taph", &format!("{address}/24"));
    guest.wait_for_ping(address);
    for direction in ["", "-R"] {
        let server = host.iperf_server();
        guest.iperf(&format!("-c {address} -t 1 {direction}"));
        drop(server);
    }
    guest.assert_no_bad_checksums();
    host.assert_no_bad_checksums();
}

fn guest_of_it(mode: &str, end: VhostEnd) {
    let lab = Lab::with_workers(1);
    let mut daemon = daemon(&lab, mode, "");
    let ctl = daemon.ctl();
    let nic = GuestNic::VhostUser {
        socket: lab.path("g.sock"),
        end,
        mac: "52:54:00:00:00:01",
        properties: ",vectors=4",
    };
    let mut guest = Guest::boot_on(&lab, "g", &newer_qemu(), &[nic]);
    ctl.wait_for_state("g", "up");
    guest.set_address("10.0.0.1/24");
    assert!(guest.run("ethtool -k eth0").contains("tcp-segmentation-offload: on"));
    assert!(guest.run("grep virtio /proc/interrupts").contains("MSI"));
    streams_with_a_host(&lab, &daemon, &mut guest, "10.0.0.9");
    daemon.kill9();
    let carrier = |guest: &mut Guest| guest.run("cat /sys/class/net/eth0/carrier").trim() == "1";
    until("the guest's link is down", || !carrier(&mut guest));
    daemon.restart();
    ctl.wait_for_state("g", "up");
    until("the guest's link is up", || carrier(&mut guest));
    streams_with_a_host(&lab, &daemon, &mut guest, "10.0.0.8");
    for way in ["rx", "tx"] {
        for reason in ["bad-offload", "malformed", "oversize"] {
            assert_eq!(ctl.drops("g", way, reason), 0, "{way} {reason}");
        }
    }
}

#[test]
fn where_the_switch_listens() {
    guest_of_it("server", VhostEnd::Connects);
}

#[test]
fn where_qemu_listens() {
    guest_of_it("client", VhostEnd::Listens);
}

#[test]
fn by_what_it_is_told() {
    let lab = Lab::with_workers(1);
    let daemon = daemon(&lab, "server", "queues = 2");
    let ctl = daemon.ctl();
    let told = ctl.json("port show g --qemu");
    let arguments = told["arguments"].as_array().expect("arguments are a list");
    let mut command = Command::new(newer_qemu());
    command.args(["-accel", "tcg", "-M", "q35", "-m", "1G", "-S", "-display", "none"]);
    command.args(["-nodefaults", "-no-user-config"]);
    command.args(arguments.iter().map(|word| word.as_str().expect("an argument is a string")));
    let _qemu = Process::start("qemu", lab.switch(), command);
    ctl.wait_for_state("g", "up");
}
