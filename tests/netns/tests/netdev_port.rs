//! `netdev` ports on veth: super-frames cross whole where both ends take them, and are right where one does not.
//!
//! ```text
//!   host one, 10.0.0.1, fd00::1 ── v1 (netdev) ─ access 10 ┐
//!   host two, 10.0.0.2, fd00::2 ── v2 (netdev) ─ access 10 ┼ switch
//!   host tap, 10.0.0.3, fd00::3 ── weft0 (tap) ─ access 10 ┘
//! ```

use weft_netns::{Daemon, Host, Lab};

fn scene(workers: usize) -> (Lab, Daemon, [Host; 3]) {
    let lab = Lab::with_workers(workers);
    let one = Host::on_veth(&lab, "v1", "10.0.0.1/24");
    let two = Host::on_veth(&lab, "v2", "10.0.0.2/24");
    let port = |name: &str| {
        format!("[port.{name}]\ntype = \"netdev\"\ndevice = \"{name}\"\nvlan = {{ access = 10 }}\n")
    };
    let tap = "[port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nvlan = { access = 10 }\n";
    let daemon = lab.daemon(&[port("v1"), port("v2"), tap.to_owned()].concat());
    let tap = Host::on_tap(&lab, &daemon, "weft0", "10.0.0.3/24");
    let hosts = [one, two, tap];
    for (host, last) in hosts.iter().zip(1..) {
        host.add_ipv6(&format!("fd00::{last}/64"));
    }
    for name in ["v1", "v2", "host"] {
        daemon.ctl().wait_for_state(name, "up");
    }
    (lab, daemon, hosts)
}

fn super_frames_cross_whole(workers: usize) {
    let (_lab, daemon, [one, two, tap]) = scene(workers);
    one.streams_with(&two, 2);
    for name in ["v1", "v2"] {
        let port = daemon.ctl().port(name);
        for direction in ["rx", "tx"] {
            let count = |field: &str| port[direction][field].as_u64().unwrap();
            assert!(count("bytes") / count("frames") > 3000, "{direction}: {port}");
        }
    }
    one.streams_with(&tap, 3);
}

/// Each end in turn takes no offload, so that what the others leave undone has to be finished for it.
fn streams_are_right_without_offloads(workers: usize) {
    let (lab, _daemon, [one, two, tap]) = scene(workers);
    two.run("ethtool -K eth0 tx off tso off gso off gro off");
    // The switch's own end: frames that leave there are cut and summed by the kernel.
    lab.switch().run("ethtool -K v2 tx off tso off gso off");
    one.streams_with(&two, 2);
    tap.streams_with(&two, 2);
}

weft_netns::each_worker_count!(super_frames_cross_whole, streams_are_right_without_offloads);
