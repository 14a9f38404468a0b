//! `weftd` killed with -9: nothing that it leaves is in the way of the next start.
//!
//! ```text
//!   tap0 ── netdev ─┐
//!   weft0 ─ tap ────┼ switch, killed and started
//!   s.sock ─ stream ┘
//! ```

use std::process::Command;

use nix::sys::signal::Signal;
use weft_netns::{
    Host, Lab, Nic, Process, StreamGuest, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
};

fn config(lab: &Lab) -> String {
    format!(
        "[port.nic]\ntype = \"netdev\"\ndevice = \"tap0\"\nvlan = {{ access = 10 }}\n\
         [port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nqueues = 2\nvlan = {{ access = 10 }}\n\
         [port.guest]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
        lab.path("s.sock").display()
    )
}

fn the_next_start_finds_its_way_free(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut nic = Nic::open(lab.switch(), "tap0");
    let mut daemon = lab.daemon(&config(&lab));
    let ctl = daemon.ctl();
    for round in 0..5 {
        let mut guest = StreamGuest::connect(&lab.path("s.sock"));
        for port in ["nic", "host", "guest"] {
            ctl.wait_for_state(port, "up");
        }
        let frame = Frame::new(mac(1), BROADCAST).text(&format!("round {round}")).bytes();
        nic.send(&frame);
        guest.expect_frame(&frame);
        let frame = Frame::new(mac(2), mac(1)).text(&format!("back {round}")).bytes();
        guest.send(&frame);
        nic.expect_frame(&frame);
        daemon.kill9();
        daemon.restart();
        ctl.wait_for_state("nic", "up");
    }
}

/// A host whose TAP went with the daemon gets it again under its name.
fn the_hosts_interface_comes_back(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut daemon = lab.daemon(&config(&lab));
    for _ in 0..3 {
        let host = Host::on_tap(&lab, &daemon, "weft0", "10.0.0.1/24");
        daemon.ctl().wait_for_state("host", "up");
        daemon.kill9();
        assert!(!host.space().has_device("eth0"), "the device lingers");
        daemon.restart();
        daemon.ctl().wait_for_state("host", "up");
    }
}

fn killed_in_the_middle_of_changes_it_starts_again(workers: usize) {
    let lab = Lab::with_workers(workers);
    let _nic = Nic::open(lab.switch(), "tap0");
    let mut daemon = lab.daemon(&config(&lab));
    let ctl = daemon.ctl();
    for round in 0..5 {
        let changes: Vec<_> = (0..6)
            .map(|n| {
                let device = format!("t{round}{n}");
                let arguments = [
                    "port", "add", &device, "--type", "tap", "--device", &device, "--access", "10",
                ];
                ctl.command(&arguments)
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        daemon.kill9();
        for mut change in changes {
            change.wait().unwrap();
        }
        // The file is old or new, never half.
        ctl.run(&format!("check {}", daemon.config_path().display()));
        daemon.restart();
        ctl.wait_for_state("nic", "up");
    }
    // What was half written when it was killed does not gather.
    ctl.run("vlan add last --id 99");
    let written = std::fs::read_dir(daemon.config_path().parent().unwrap()).unwrap();
    let written = written.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = written.filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A second daemon on the same socket or state gives way, and the first notices nothing.
fn two_daemons_do_not_share_a_socket_or_state(workers: usize) {
    let lab = Lab::with_workers(workers);
    let mut daemon = lab.daemon("");
    let (socket, state) = (daemon.socket(), daemon.config_path().with_file_name("state"));
    let (other_socket, other_state) = (lab.path("other.sock"), lab.path("other"));
    for (socket, state, why) in [
        (&socket, &other_state, "another weftd listens on"),
        (&other_socket, &state, "another weftd uses"),
    ] {
        let mut command = Command::new(daemon.binary());
        command.arg("--config").arg(lab.path("other.toml"));
        command.arg("--socket").arg(socket).arg("--state-dir").arg(state);
        let mut second = Process::start("weftd", lab.switch(), command);
        assert!(!second.wait().success());
        until("it says why", || second.said().contains(why));
        assert!(daemon.is_running());
        daemon.ctl().run("status");
    }
}

fn signals_end_it_cleanly(workers: usize) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let lab = Lab::with_workers(workers);
        let _nic = Nic::open(lab.switch(), "tap0");
        let mut daemon = lab.daemon(&config(&lab));
        let status = daemon.end_by(signal);
        assert!(status.success(), "{signal}: {status}");
        assert!(!daemon.socket().exists() && !lab.path("s.sock").exists(), "a socket lingers");
        assert!(!lab.switch().has_device("weft0"), "the device lingers");
    }
}

weft_netns::each_worker_count!(
    the_next_start_finds_its_way_free,
    the_hosts_interface_comes_back,
    killed_in_the_middle_of_changes_it_starts_again,
    two_daemons_do_not_share_a_socket_or_state,
    signals_end_it_cleanly,
);
