//! QEMU takes the arguments that `weftctl port show NAME --qemu` prints, and comes to the port by them, whoever listens
//! and with one queue pair or several.
//!
//! ```text
//!   QEMU, its machine stopped ── "with, comma.sock" ─ vhost-user, access 10 ─ switch
//! ```

use std::process::Command;

use weft_netns::{Lab, Process};

fn qemu_comes_by_what_it_is_told(keys: &str) {
    let lab = Lab::with_workers(1);
    let daemon = lab.daemon(&format!(
        "[port.g]\ntype = \"vhost-user\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n{keys}\n",
        lab.path("with, comma.sock").display()
    ));
    let ctl = daemon.ctl();
    ctl.wait_for_state("g", "waiting");
    let told = ctl.json("port show g --qemu");
    let arguments = told["arguments"].as_array().expect("arguments are a list");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-M", "q35", "-m", "1G", "-S", "-display", "none"]);
    command.args(["-nodefaults", "-no-user-config"]);
    command.args(arguments.iter().map(|word| word.as_str().expect("an argument is a string")));
    let qemu = Process::start("qemu", lab.switch(), command);
    ctl.wait_for_state("g", "up");
    // That it waits, where it listens, and nothing else.
    assert!(qemu.said().lines().all(|line| line.contains(" info: ")), "{}", qemu.said());
    drop(qemu);
    ctl.wait_for_state("g", "waiting");
}

#[test]
fn where_the_switch_listens() {
    qemu_comes_by_what_it_is_told("macs = [\"52:54:00:00:00:01\"]");
}

#[test]
fn where_qemu_listens() {
    qemu_comes_by_what_it_is_told("mode = \"client\"");
}

#[test]
fn with_several_queues() {
    qemu_comes_by_what_it_is_told("queues = 2");
}
