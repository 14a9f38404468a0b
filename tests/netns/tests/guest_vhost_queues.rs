//! A guest with two queue pairs uses one, then both again, while TCP goes on both ways. Neither guest nor switch leaves a
//! checksum to anybody, so that both ends verify each.
//!
//! ```text
//!   guest g, 10.0.0.1 ── g.sock ─ vhost-user, 2 queues, access 10 ┐
//!   host h, 10.0.0.9 ─── taph ─ tap, access 10 ───────────────────┴ switch
//! ```

use std::process::Command;

use weft_netns::{Guest, Host, Lab, Process, each_worker_count};

/// What the switch finishes for the guest.
const NO_OFFLOADS: &str =
    ",guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";
const PORTS: [u16; 2] = [5201, 5202];

fn boot(lab: &Lab) -> Guest {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-M", "q35", "-cpu", "max", "-smp", "1", "-m", "512"]);
    command.args(["-nodefaults", "-no-user-config"]);
    command.args(["-object", "memory-backend-memfd,id=mem,size=512M,share=on"]);
    command.args(["-numa", "node,memdev=mem"]);
    let socket = lab.path("g.sock");
    command.arg("-chardev").arg(format!("socket,id=c,path={},reconnect=1", socket.display()));
    command.args(["-netdev", "vhost-user,id=n,chardev=c,queues=2"]);
    // As the other tests' guests: without message-signalled interrupts, at which QEMU 7.2 crashes without KVM.
    command
        .arg("-device")
        .arg(format!("virtio-net-pci,netdev=n,mac=52:54:00:00:00:01,mq=on,vectors=0{NO_OFFLOADS}"));
    Guest::boot_by(lab, "g", command)
}

fn queues_go_and_come_under_traffic(workers: usize) {
    let lab = Lab::with_workers(workers);
    let daemon = lab.daemon(&format!(
        "[port.g]\ntype = \"vhost-user\"\nsocket = \"{}\"\nqueues = 2\nvlan = {{ access = 10 }}\n\
         [port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 10 }}\n",
        lab.path("g.sock").display()
    ));
    let ctl = daemon.ctl();
    let host = Host::on_tap(&lab, &daemon, "taph", "10.0.0.9/24");
    let mut guest = boot(&lab);
    ctl.wait_for_state("g", "up");
    guest.set_address("10.0.0.1/24");
    guest.run("ethtool -L eth0 combined 2");
    guest.run("ethtool -K eth0 tx off");
    guest.wait_for_ping("10.0.0.9");

    let servers = PORTS.map(|port| {
        let server =
            Process::start_line(host.space(), &format!("iperf3 -s -1 --forceflush -p {port}"));
        server.wait_for("Server listening");
        server
    });
    for (port, way) in PORTS.into_iter().zip(["", "-R"]) {
        guest.run(&format!(
            "(iperf3 -c 10.0.0.9 -p {port} -P 4 -t 4 {way} >/iperf.{port} 2>&1; echo $? >/code.{port}) &"
        ));
    }
    let running = |guest: &mut Guest| {
        PORTS.iter().any(|port| guest.ask(&format!("test -e /code.{port}")).code != 0)
    };
    let mut changes = 0;
    while running(&mut guest) {
        for queues in [1, 2] {
            guest.run(&format!("ethtool -L eth0 combined {queues}"));
            guest.wait_for_ping("10.0.0.9");
            changes += 1;
        }
    }
    assert!(changes >= 2, "{changes} changes while streams ran");
    for port in PORTS {
        let report = guest.run(&format!("cat /iperf.{port}; exit $(cat /code.{port})"));
        assert!(report.contains("receiver"), "{report}");
    }
    drop(servers);
    let sent = guest.run("ethtool -S eth0 | grep -E 'tx_queue_[01]_packets'");
    let sent: Vec<u64> =
        sent.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(sent.len() == 2 && !sent.contains(&0), "{sent:?}");
    guest.assert_no_bad_checksums();
    host.assert_no_bad_checksums();
    for way in ["rx", "tx"] {
        for reason in ["bad-offload", "malformed", "oversize"] {
            assert_eq!(ctl.drops("g", way, reason), 0, "{way} {reason}");
        }
    }
}

each_worker_count!(queues_go_and_come_under_traffic);
