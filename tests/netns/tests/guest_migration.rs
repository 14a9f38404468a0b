//! A guest moves from one switch to another while it talks: the stream goes on with every byte right, its memory is what
//! it was, and the network learns where it is, from the guest or, where the guest does not announce itself, from the port.
//!
//! ```text
//!   host h, 10.0.0.9 ── taph ─ tap, access 10 ┐                                              ┌ vhost-user, access 10
//!   guest g, 10.0.0.1 ── vhost-user, access 10 ┴ switch a ── wire ── veth ── wire ── switch b ┘   └ guest g, afterwards
//! ```

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
};

use weft_netns::{Daemon, Flow, Guest, GuestNic, Host, Lab, Process, VhostEnd, until};

const MAC: &str = "52:54:00:00:00:01";
const ECHO: &str = "10.0.0.1:5001";

/// Starts a switch with a port for the guest and a trunk to the other one.
fn switch(lab: &Lab, further: &str) -> Daemon {
    lab.daemon(&format!(
        "[port.g]\ntype = \"vhost-user\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.wire]\ntype = \"netdev\"\ndevice = \"wire\"\nvlan = {{ trunk = [10] }}\n{further}",
        lab.path("g.sock").display()
    ))
}

fn card(lab: &Lab, properties: &'static str) -> GuestNic {
    GuestNic::VhostUser {
        socket: lab.path("g.sock"),
        end: VhostEnd::Connects,
        mac: MAC,
        properties,
    }
}

/// Reads nothing before it is told to; as `printf` writes it.
const LATE: &str = r"#!/bin/sh\nwhile [ ! -f /tmp/go ]; do sleep 1; done\nsha256sum >/tmp/sum; mv /tmp/sum /tmp/done\n";
/// Less than a guest takes without reading.
const UNREAD: usize = 40_000;

/// Sends the guest what it leaves where the port has written it.
fn leave_unread(lab: &Lab, host: &Host) {
    let bytes: Vec<u8> = (0..UNREAD).map(|at| (at % 251) as u8).collect();
    fs::write(lab.path("unread"), &bytes).expect("a file of the test's own");
    let mut stream =
        host.space().enter(|| TcpStream::connect("10.0.0.1:5002")).expect("a listener");
    stream.write_all(&bytes).expect("the guest has room");
    drop(stream);
    until("the guest has it", || {
        let line = host.run("ss -tnH state fin-wait-2 dst 10.0.0.1:5002");
        !line.trim().is_empty()
    });
}

fn moves(properties: &'static str, announcement: &str) {
    let (a, b) = (Lab::with_workers(2), Lab::with_workers(1));
    a.switch()
        .run(&format!("ip link add wire type veth peer name wire netns {}", b.switch().path()));
    for lab in [&a, &b] {
        lab.switch().run("ip link set wire up");
    }
    let host_port = "[port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = { access = 10 }\n";
    let (first, second) = (switch(&a, host_port), switch(&b, ""));
    let (ctl_a, ctl_b) = (first.ctl(), second.ctl());
    for ctl in [&ctl_a, &ctl_b] {
        ctl.wait_for_state("wire", "up");
    }
    let host = Host::on_tap(&a, &first, "taph", "10.0.0.9/24");
    let watch = Process::start_line(host.space(), "tcpdump -l -n -i eth0 arp or rarp");
    watch.wait_for("listening on");

    let mut guest = Guest::boot(&a, "here", &[card(&a, properties)]);
    guest.set_address("10.0.0.1/24");
    guest.wait_for_ping("10.0.0.9");
    assert_eq!(ctl_a.fdb(10, MAC), Some(("g".into(), "dynamic".into())));
    guest.run("head -c 40000000 /dev/urandom >/tmp/data");
    let sum = guest.run("sha256sum </tmp/data");
    guest.run("(nc -l -p 5001 -e cat >/dev/null 2>&1 &)");
    let echo: SocketAddr = ECHO.parse().expect("an address");
    let flow = Flow::echoed(host.space(), echo);
    flow.wait_for(10 << 20);

    guest.run(&format!("printf '{LATE}' >/tmp/late; chmod +x /tmp/late"));
    guest.run("(nc -l -p 5002 -e /tmp/late >/dev/null 2>&1 &)");

    let mut there = Guest::await_migration(&b, "there", &[card(&b, properties)]);
    guest.migrate(&there, |_| leave_unread(&a, &host));
    watch.wait_for(announcement);
    flow.wait_for(10 << 20);
    until("switch a knows the way", || {
        ctl_a.fdb(10, MAC) == Some(("wire".into(), "dynamic".into()))
    });
    assert_eq!(ctl_b.fdb(10, MAC), Some(("g".into(), "dynamic".into())));
    ctl_a.wait_for_state("g", "waiting");
    flow.finish();
    assert_eq!(there.run("sha256sum </tmp/data"), sum);
    there.run("touch /tmp/go");
    until("the guest has read what came before it moved", || {
        there.ask("[ -f /tmp/done ]").code == 0
    });
    let sent = host.run(&format!("sha256sum {}", a.path("unread").display()));
    assert_eq!(there.run("cat /tmp/done").split(' ').next(), sent.split(' ').next());
    there.wait_for_ping("10.0.0.9");
    there.assert_no_bad_checksums();
    host.assert_no_bad_checksums();
}

#[test]
fn a_guest_that_announces_itself_moves_under_traffic() {
    moves("", "who-has 10.0.0.1 tell 10.0.0.1");
}

#[test]
fn a_guest_that_does_not_announce_itself_moves_under_traffic() {
    moves(",guest_announce=off", "Reverse Request who-is 52:54:00:00:00:01");
}
