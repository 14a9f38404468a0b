//! Ports say which virtual machine is behind them: by the TAP that QEMU holds, by who is at the other end of a socket.
//!
//! ```text
//!   QEMU "web1" ── tap0 ── one (netdev) ┐
//!   QEMU "db1" ── stream socket ── two ─┤ switch
//!   this process ── stream socket ── three
//! ```

use std::process::Command;

use serde_json::Value;
use weft_netns::{Lab, Process, StreamGuest, until};

fn stopped_machine(lab: &Lab, name: &str, netdev: &str) -> Process {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-m", "64", "-S", "-display", "none", "-nodefaults"]);
    command.args(["-no-user-config", "-name", name, "-netdev", netdev]);
    Process::start("qemu", lab.switch(), command)
}

#[test]
fn ports_are_shown_with_their_machines() {
    let lab = Lab::with_workers(1);
    lab.switch().run("ip tuntap add tap0 mode tap");
    let [two, three] = ["two", "three"].map(|name| lab.path(&format!("{name}.sock")));
    let daemon = lab.daemon(&format!(
        "[port.one]\ntype = \"netdev\"\ndevice = \"tap0\"\nvlan = {{ access = 10 }}\n\
         [port.two]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.three]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.four]\ntype = \"tap\"\ndevice = \"weft0\"\nvlan = {{ access = 10 }}\n",
        two.display(),
        three.display(),
    ));
    let ctl = daemon.ctl();
    assert!(!ctl.run("status").contains(" VM "), "nobody is there yet");
    let web = stopped_machine(
        &lab,
        "guest=web1,debug-threads=on",
        "tap,id=n,ifname=tap0,script=no,downscript=no",
    );
    let stream = format!("stream,id=n,server=off,addr.type=unix,addr.path={}", two.display());
    let db = stopped_machine(&lab, "db1\u{1b}[31m", &stream);
    let _us = StreamGuest::connect(&three);
    let vm = |port: &str| ctl.port(port)["vm"].clone();
    until("the machines are known", || {
        ["one", "two", "three"].iter().all(|port| !vm(port).is_null())
    });
    assert_eq!(vm("one")["name"], "web1");
    assert_eq!(vm("one")["pid"], web.pid());
    assert_eq!(vm("two")["pid"], db.pid());
    assert_eq!(vm("three")["pid"], std::process::id());
    assert_eq!((vm("three")["name"].clone(), vm("four")), (Value::Null, Value::Null));
    for screen in ["status", "port list"] {
        let said = ctl.run(screen);
        assert!(
            said.contains("web1") && said.contains("db1") && !said.contains('\u{1b}'),
            "{said}"
        );
    }
    drop((web, db));
    until("they are gone", || vm("one").is_null() && vm("two").is_null());
}
