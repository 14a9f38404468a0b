//! What did not change is not touched: a ping flood and a TCP stream lose nothing while a hundred other things on the
//! same switch change.
//!
//! ```text
//!   host one, 10.0.0.1 ── v1 (netdev) ─ access 10 ┐
//!   host two, 10.0.0.2 ── v2 (netdev) ─ access 10 ┼ switch
//!   ports that come, change and go: taps, streams ┘
//! ```

use nix::sys::signal::Signal;
use weft_netns::{Daemon, Host, Lab, Process, until};

const CONFIG: &str = "\
# The hosts' own ports.
[port.one]
type = \"netdev\"
device = \"v1\"
vlan = { access = 10 }

[port.two]
type = \"netdev\"
device = \"v2\"
vlan = { access = 10 }
";

fn scene(workers: usize) -> (Lab, Daemon, Host, Host) {
    let lab = Lab::with_workers(workers);
    let one = Host::on_veth(&lab, "v1", "10.0.0.1/24");
    let two = Host::on_veth(&lab, "v2", "10.0.0.2/24");
    let daemon = lab.daemon(CONFIG);
    one.wait_for_ping("10.0.0.2");
    (lab, daemon, one, two)
}

/// A hundred changes of every sort, by command, by reload and by apply.
fn change_a_hundred_things(lab: &Lab, daemon: &Daemon) {
    let ctl = daemon.ctl();
    for round in 0..10 {
        let socket = lab.path(&format!("s{round}.sock"));
        ctl.run(&format!(
            "port add s{round} --type stream --socket {} --access 10",
            socket.display()
        ));
        ctl.run(&format!(
            "port add t{round} --type tap --device weft{round} --trunk 10,20 --native 20"
        ));
        ctl.run(&format!("port set s{round} --access {}", 20 + round));
        ctl.run(&format!("port set t{round} --trunk 10-12,20,30"));
        ctl.run(&format!("vlan add name{round} --id {}", 100 + round));
        ctl.run(&format!("fdb add 02:00:00:00:10:0{round} --vlan 30 --port t{round}"));
        ctl.run(&format!("fdb flush --vlan {}", 20 + round));
    }
    for round in 0..10 {
        ctl.run(&format!("fdb remove 02:00:00:00:10:0{round} --vlan 30"));
        ctl.run(&format!("port remove s{round}"));
        if round % 2 == 0 {
            ctl.run(&format!("port remove t{round}"));
        }
        if round % 3 == 0 {
            let file = lab.write("candidate.toml", &(daemon.config() + "\n# applied\n"));
            ctl.run(&format!("apply {}", file.display()));
        } else {
            daemon.write_config(&(daemon.config() + "\n[switch.extra]\n"));
            daemon.reload();
            weft_netns::until("the reload adds a switch", || {
                ctl.run("switch list").contains("extra")
            });
            ctl.run("switch remove extra");
        }
    }
    assert!(ctl.run("diff").trim().is_empty() || !ctl.run("diff").contains("port.one"));
}

fn a_ping_flood_loses_nothing(workers: usize) {
    let (lab, daemon, one, _two) = scene(workers);
    let mut flood = Process::start_line(one.space(), "ping -q -i 0.002 -c 100000 10.0.0.2");
    change_a_hundred_things(&lab, &daemon);
    assert!(flood.ended().is_none(), "the flood outlasts the changes: {}", flood.said());
    flood.signal(Signal::SIGINT);
    let report = flood.finish();
    assert!(report.contains(" 0% packet loss") && !report.contains("error"), "{report}");
    let sent: u64 = report
        .lines()
        .find(|line| line.contains("transmitted"))
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(sent > 300, "{report}");
}

fn a_tcp_stream_loses_nothing(workers: usize) {
    let (lab, daemon, one, two) = scene(workers);
    let _server = two.iperf_server();
    let mut stream =
        Process::start_line(one.space(), "iperf3 -c 10.0.0.2 -t 100 -b 100M --forceflush");
    stream.wait_for("Retr");
    change_a_hundred_things(&lab, &daemon);
    assert!(stream.ended().is_none(), "the stream outlasts the changes: {}", stream.said());
    until("the stream has carried much", || two.counter("TcpInSegs") > 300);
    // The receiver never saw a gap, and found superfluous whatever came again: a busy machine makes the sender
    // probe, and its word that it had the segment already takes a round trip.
    assert_eq!(two.counter("TcpExtTCPOFOQueue"), 0);
    until("every segment that was sent again was superfluous", || {
        one.counter("TcpRetransSegs") == one.counter("TcpExtTCPDSACKRecv")
    });
    drop(stream);
    for port in ["one", "two"] {
        let port = daemon.ctl().port(port);
        for reason in ["queue-full", "port-down", "vlan-not-member"] {
            assert!(
                port["tx"]["drops"][reason].is_null() && port["rx"]["drops"][reason].is_null(),
                "{port}"
            );
        }
    }
}

/// Commands that ask for what is there already do not touch a port.
fn the_same_again_changes_nothing(workers: usize) {
    let (lab, daemon, one, _two) = scene(workers);
    let ctl = daemon.ctl();
    let log = daemon.log_len();
    let before = daemon.config();
    ctl.run("port set one --access 10");
    ctl.run("port add two --type netdev --device v2 --access 10 --may-exist");
    ctl.run(&format!("apply {}", daemon.config_path().display()));
    daemon.reload();
    daemon.wait_for_log(log, "onfig");
    assert_eq!(daemon.config(), before);
    assert!(
        !daemon.log().lines().skip(log).any(|line| line.contains("port open")),
        "a port was opened again"
    );
    assert!(one.pings("10.0.0.2"));
    drop(lab);
}

weft_netns::each_worker_count!(
    a_ping_flood_loses_nothing,
    a_tcp_stream_loses_nothing,
    the_same_again_changes_nothing
);
