//! Either end of a shared-memory port may die at any time: the other goes on, and so does the traffic, without a
//! command given to anyone.
//!
//! ```text
//!   guest g, 10.0.0.1 ── g.sock ─ vhost-user, access 10 ┐
//!   host h, 10.0.0.9 ─── taph ─ tap, access 10 ─────────┴ switch
//! ```

use nix::sys::signal::Signal;
use weft_netns::{Daemon, Guest, GuestNic, Host, Lab, VhostEnd, until};

fn scene(lab: &Lab, mode: &str) -> Daemon {
    lab.daemon(&format!(
        "[port.g]\ntype = \"vhost-user\"\nsocket = \"{}\"\nmode = \"{mode}\"\nvlan = {{ access = 10 }}\n\
         [port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 10 }}\n",
        lab.path("g.sock").display()
    ))
}

fn boot(lab: &Lab, name: &str, end: VhostEnd) -> Guest {
    let nic = GuestNic::VhostUser {
        socket: lab.path("g.sock"),
        end,
        mac: "52:54:00:00:00:01",
        properties: "",
    };
    Guest::boot(lab, name, &[nic])
}

fn guest_comes_and_goes(mode: &str, end: VhostEnd) {
    let lab = Lab::with_workers(1);
    let daemon = scene(&lab, mode);
    let ctl = daemon.ctl();
    let host = Host::on_tap(&lab, &daemon, "taph", "10.0.0.9/24");
    for life in 0..2 {
        let mut guest = boot(&lab, &format!("boot{life}"), end);
        guest.set_address("10.0.0.1/24");
        guest.wait_for_ping("10.0.0.9");
        assert!(host.pings("10.0.0.1"));
        drop(guest);
        let state = ctl.wait_for_state("g", "waiting");
        assert!(state["reason"].is_string(), "{state}");
        assert_eq!(ctl.fdb(10, "52:54:00:00:00:01"), None);
    }
}

#[test]
fn a_guest_comes_and_goes_where_the_switch_listens() {
    guest_comes_and_goes("server", VhostEnd::Connects);
}

#[test]
fn a_guest_comes_and_goes_where_its_vmm_listens() {
    guest_comes_and_goes("client", VhostEnd::Listens);
}

/// Makes the host of this life. The TAP is another one each time, and the guest knows its host by the address.
fn host(lab: &Lab, daemon: &Daemon) -> Host {
    let host = Host::on_tap(lab, daemon, "taph", "10.0.0.9/24");
    host.run("ip link set eth0 address 52:54:00:00:00:09");
    host
}

fn switch_comes_and_goes(mode: &str, end: VhostEnd) {
    let lab = Lab::with_workers(1);
    let mut daemon = scene(&lab, mode);
    let mut guest = boot(&lab, "g", end);
    guest.set_address("10.0.0.1/24");
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        let host = host(&lab, &daemon);
        guest.wait_for_ping("10.0.0.9");
        guest.run("(ping -f -s 1000 10.0.0.9 >/dev/null 2>&1 &) ; sleep 0.2");
        daemon.end_by(signal);
        drop(host);
        until("the guest's link is down", || {
            guest.run("cat /sys/class/net/eth0/carrier").trim() == "0"
        });
        daemon.restart();
        daemon.ctl().wait_for_state("g", "up");
        until("the guest's link is up", || {
            guest.run("cat /sys/class/net/eth0/carrier").trim() == "1"
        });
        guest.run("killall ping");
    }
    let host = host(&lab, &daemon);
    guest.wait_for_ping("10.0.0.9");
    let server = host.iperf_server();
    guest.iperf("-c 10.0.0.9 -t 1");
    drop(server);
    guest.assert_no_bad_checksums();
}

#[test]
fn the_switch_comes_and_goes_where_it_listens() {
    switch_comes_and_goes("server", VhostEnd::Connects);
}

#[test]
fn the_switch_comes_and_goes_where_the_vmm_listens() {
    switch_comes_and_goes("client", VhostEnd::Listens);
}
