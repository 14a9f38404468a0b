//! `netdev` ports with `io = "xdp"` on veth: stacks talk through them, what is changed for it is undone, however the
//! daemon ends, and what stands in the way is named.
//!
//! ```text
//!   host one, 10.0.0.1, fd00::1 ── v1 (netdev, xdp) ─ access 10 ┐
//!   host two, 10.0.0.2, fd00::2 ── v2 (netdev, xdp) ─ access 10 ┼ switch
//!   host tap, 10.0.0.3, fd00::3 ── weft0 (tap) ────── access 10 ┘
//! ```

use weft_netns::{Daemon, Host, Lab, until};
use weft_ports::{link::Links, xdp};

fn config(io: &str) -> String {
    let port = |name: &str| {
        format!(
            "[port.{name}]\ntype = \"netdev\"\ndevice = \"{name}\"\nio = \"{io}\"\nvlan = {{ access = 10 }}\n"
        )
    };
    let tap = "[port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nvlan = { access = 10 }\n";
    [port("v1"), port("v2"), tap.to_owned()].concat()
}

fn scene(workers: usize, io: &str) -> (Lab, Daemon, [Host; 2]) {
    let lab = Lab::with_workers(workers);
    let hosts = [("v1", 1), ("v2", 2)].map(|(device, last)| {
        let host = Host::on_veth(&lab, device, &format!("10.0.0.{last}/24"));
        host.add_ipv6(&format!("fd00::{last}/64"));
        host
    });
    let daemon = lab.daemon(&config(io));
    for name in ["v1", "v2"] {
        daemon.ctl().wait_for_state(name, "up");
    }
    (lab, daemon, hosts)
}

/// Whether an XDP program is at the device, and whether it may strip VLAN tags.
fn dress(lab: &Lab, device: &str) -> (bool, bool) {
    let has_program = lab.switch().run(&format!("ip link show {device}")).contains("xdp");
    let features = lab.switch().run(&format!("ethtool -k {device}"));
    let strips =
        ["rx-vlan-offload: on", "rx-vlan-stag-hw-parse: on"].map(|tags| features.contains(tags));
    assert_eq!(strips[0], strips[1], "{features}");
    (has_program, strips[0])
}

const AS_A_PORT: (bool, bool) = (true, false);
const AS_BEFORE: (bool, bool) = (false, true);

fn stacks_talk_with_all_offloads_on(workers: usize) {
    let (lab, daemon, [one, two]) = scene(workers, "xdp");
    one.streams_with(&two, 2);
    let tap = Host::on_tap(&lab, &daemon, "weft0", "10.0.0.3/24");
    tap.add_ipv6("fd00::3/64");
    daemon.ctl().wait_for_state("host", "up");
    // The TAP hands super-frames over, which are cut for the device.
    tap.streams_with(&two, 2);
    for reason in ["oversize", "bad-offload", "unsupported-offload"] {
        for port in ["v1", "v2"] {
            assert_eq!(daemon.ctl().drops(port, "tx", reason), 0, "{port} {reason}");
        }
    }
}

fn what_is_changed_goes_with_the_daemon_and_its_port(workers: usize) {
    let (lab, mut daemon, [one, _two]) = scene(workers, "xdp");
    for round in 0..3 {
        one.wait_for_ping("10.0.0.2");
        assert_eq!(dress(&lab, "v1"), AS_A_PORT, "round {round}");
        daemon.kill9();
        until("the program is gone", || !dress(&lab, "v1").0);
        assert!(!one.pings("10.0.0.2"));
        daemon.restart();
        daemon.ctl().wait_for_state("v1", "up");
        daemon.ctl().wait_for_state("v2", "up");
    }
    daemon.ctl().run("port remove v1");
    until("the device is as it was", || dress(&lab, "v1") == AS_BEFORE);
    assert_eq!(dress(&lab, "v2"), AS_A_PORT);
    assert!(daemon.terminate().success());
    assert_eq!(dress(&lab, "v2"), AS_BEFORE);
}

fn a_running_port_takes_the_other_road_and_returns(workers: usize) {
    let (lab, daemon, [one, _two]) = scene(workers, "packet");
    let ctl = daemon.ctl();
    let mut frames = 0;
    for round in 0..3 {
        one.wait_for_ping("10.0.0.2");
        assert_eq!(dress(&lab, "v1"), AS_BEFORE, "round {round}");
        for name in ["v1", "v2"] {
            ctl.run(&format!("port set {name} --io xdp"));
            ctl.wait_for_state(name, "up");
        }
        one.wait_for_ping("10.0.0.2");
        assert_eq!(dress(&lab, "v1"), AS_A_PORT, "round {round}");
        assert!(daemon.config().contains("io = \"xdp\""));
        for name in ["v1", "v2"] {
            ctl.run(&format!("port set {name} --io packet"));
            ctl.wait_for_state(name, "up");
        }
        let counted = ctl.port("v1")["rx"]["frames"].as_u64().unwrap();
        assert!(counted > frames, "counters go on");
        frames = counted;
    }
}

fn a_program_of_somebody_else_is_in_the_way(workers: usize) {
    let lab = Lab::with_workers(workers);
    let _one = Host::on_veth(&lab, "v1", "10.0.0.1/24");
    let _two = Host::on_veth(&lab, "v2", "10.0.0.2/24");
    let other = lab
        .switch()
        .enter(|| xdp::open(Links::open()?.index("v1")?).map_err(std::io::Error::other));
    let other = other.unwrap();
    let daemon = lab.daemon(&config("xdp"));
    let ctl = daemon.ctl();
    let port = ctl.wait_for_state("v1", "failed");
    let reason = port["reason"].as_str().unwrap();
    assert!(
        reason.contains("device v1") && reason.contains("an XDP program of somebody else"),
        "{reason}"
    );
    ctl.wait_for_state("v2", "up");
    assert!(dress(&lab, "v1").0, "the other's program stays");
    drop(other);
    ctl.wait_for_state("v1", "up");
}

fn what_the_daemon_may_not_is_named(workers: usize) {
    for (without, reason) in [
        (
            "-bpf,-sys_admin",
            "device v1: the kernel does not permit to load an XDP program: CAP_BPF is missing",
        ),
        ("-net_admin", "CAP_NET_ADMIN"),
    ] {
        let lab = Lab::with_workers(workers);
        let _one = Host::on_veth(&lab, "v1", "10.0.0.1/24");
        let _two = Host::on_veth(&lab, "v2", "10.0.0.2/24");
        let bounding = format!("--bounding-set={without}");
        let config = config("xdp").replace("type = \"tap\"", "enabled = false\ntype = \"tap\"");
        let daemon = Daemon::start_by(&lab, "weftd", &config, &["setpriv", &bounding]);
        for name in ["v1", "v2"] {
            let port = daemon.ctl().wait_for_state(name, "failed");
            let said = port["reason"].as_str().unwrap();
            assert!(said.contains(&reason.replace("v1", name)), "{said}");
            assert!(!dress(&lab, name).0);
        }
    }
}

fn a_device_that_is_replaced_or_renamed_is_followed(workers: usize) {
    let (lab, daemon, [one, two]) = scene(workers, "xdp");
    let ctl = daemon.ctl();
    lab.switch().run("ip link set v1 down");
    lab.switch().run("ip link set v1 name elsewhere");
    lab.switch().run("ip link set elsewhere up");
    let port = ctl.wait_for_state("v1", "waiting");
    assert!(port["reason"].as_str().unwrap().contains("v1 does not exist"), "{port}");
    until("the device is as it was", || dress(&lab, "elsewhere") == AS_BEFORE);
    drop(one);
    for _ in 0..2 {
        let again = Host::on_veth(&lab, "v1", "10.0.0.1/24");
        ctl.wait_for_state("v1", "up");
        again.wait_for_ping("10.0.0.2");
        again.run("ip link del eth0");
        ctl.wait_for_state("v1", "waiting");
    }
    two.run("ip link set eth0 down");
    ctl.wait_for_state("v2", "down");
    two.run("ip link set eth0 up");
    ctl.wait_for_state("v2", "up");
}

fn the_lines_of_the_documentation_make_a_port(workers: usize) {
    const DOCUMENT: &str = include_str!("../../../docs/xdp.md");
    let lab = Lab::with_workers(workers);
    let _one = Host::on_veth(&lab, "eth1", "10.0.0.1/24");
    let lines = DOCUMENT.lines().filter_map(|line| line.strip_prefix("    "));
    let (commands, config): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("weftctl "));
    let config = config.join("\n");
    let daemon = lab.daemon(&config.replace("\"xdp\" ", "\"packet\" "));
    let ctl = daemon.ctl();
    ctl.wait_for_state("uplink", "up");
    assert_eq!(dress(&lab, "eth1"), AS_BEFORE);
    for command in &commands {
        let command = command.split(" # ").next().expect("a line has a beginning");
        ctl.run(command.trim_start_matches("weftctl "));
    }
    ctl.wait_for_state("uplink", "up");
    assert_eq!(dress(&lab, "eth1"), AS_A_PORT);
    assert_eq!(daemon.config().split("\n\n").last(), Some(&*config), "{}", daemon.config());
}

fn queues_that_the_device_gets_later_are_served(workers: usize) {
    let lab = Lab::with_workers(workers);
    let one = Host::on_veth_with_queues(&lab, "v1", "10.0.0.1/24", 4);
    let two = Host::on_veth(&lab, "v2", "10.0.0.2/24");
    one.run("ethtool -L eth0 rx 1 tx 1");
    lab.switch().run("ethtool -L v1 rx 1 tx 1");
    let daemon = lab.daemon(&config("xdp"));
    let ctl = daemon.ctl();
    for name in ["v1", "v2"] {
        ctl.wait_for_state(name, "up");
    }
    one.wait_for_ping("10.0.0.2");
    let frames = |way: &str| ctl.port("v1")[way]["frames"].as_u64().expect("frames are counted");
    let counted = (frames("rx"), frames("tx"));
    for (rx, tx) in [(2, 1), (4, 3)] {
        let said = daemon.log_len();
        lab.switch().run(&format!("ethtool -L v1 rx {rx} tx {tx}"));
        daemon.wait_for_log(said, &format!("native copy mode, {rx} queues"));
        // The other end may never send by more queues than this one receives by.
        one.run(&format!("ethtool -L eth0 rx {tx} tx {rx}"));
        ctl.wait_for_state("v1", "up");
        one.wait_for_ping("10.0.0.2");
        // Streams, each by the queue that the sender's hash finds.
        for direction in ["", "-R"] {
            one.iperf(&two, &format!("-c 10.0.0.2 -P 8 -t 1 {direction}"));
        }
        assert_eq!(dress(&lab, "v1"), AS_A_PORT);
    }
    assert!(frames("rx") > counted.0 && frames("tx") > counted.1, "counters go on");
}

/// They run the program where their tags stand beside the frame.
fn devices_that_hide_their_tags_are_refused(workers: usize) {
    let lab = Lab::with_workers(workers);
    let _one = Host::on_veth(&lab, "v1", "10.0.0.1/24");
    let devices = ["macvlan", "bridge"];
    lab.switch().run("ip link add macvlan link v1 type macvlan mode passthru");
    lab.switch().run("ip link add bridge type bridge");
    let config: String = devices
        .iter()
        .map(|device| {
            format!(
                "[port.{device}]\ntype = \"netdev\"\ndevice = \"{device}\"\nio = \"xdp\"\nvlan = {{ access = 10 }}\n"
            )
        })
        .collect();
    let daemon = lab.daemon(&config);
    let ctl = daemon.ctl();
    for device in devices {
        let port = ctl.wait_for_state(device, "failed");
        let reason = port["reason"].as_str().unwrap();
        let said = format!("is a {device} device, and the kernel does not tell XDP programs");
        assert!(reason.contains(&said), "{reason}");
        assert!(!dress(&lab, device).0);
        ctl.run(&format!("port set {device} --io packet"));
        until("packet sockets serve it", || {
            ["up", "down"].iter().any(|state| ctl.port(device)["state"] == *state)
        });
    }
}

weft_netns::each_worker_count!(
    stacks_talk_with_all_offloads_on,
    what_is_changed_goes_with_the_daemon_and_its_port,
    a_running_port_takes_the_other_road_and_returns,
    a_program_of_somebody_else_is_in_the_way,
    what_the_daemon_may_not_is_named,
    a_device_that_is_replaced_or_renamed_is_followed,
    the_lines_of_the_documentation_make_a_port,
    queues_that_the_device_gets_later_are_served,
    devices_that_hide_their_tags_are_refused,
);
