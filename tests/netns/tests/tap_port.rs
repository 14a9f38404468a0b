//! `tap` ports: hosts of the kernel on the switch, across VLANs and not, on one queue and several, with and without
//! segmentation offload.
//!
//! ```text
//!   host one, 10.0.0.1, fd00::1 ── tap-one ─ access 10 ┐
//!   host two, 10.0.0.2, fd00::2 ── tap-two ─ access 10 ┼ switch
//!   host far, 10.0.0.3 ─────────── tap-far ─ access 20 ┘
//! ```

use weft_netns::{Daemon, Host, Lab};

fn config(queues: u32) -> String {
    let port = |name: &str, vlan: u32| {
        format!(
            "[port.{name}]\ntype = \"tap\"\ndevice = \"tap-{name}\"\nqueues = {queues}\n\
             vlan = {{ access = {vlan} }}\n"
        )
    };
    [port("one", 10), port("two", 10), port("far", 20)].concat()
}

fn scene(workers: usize, queues: u32) -> (Lab, Daemon, [Host; 3]) {
    let lab = Lab::with_workers(workers);
    let daemon = lab.daemon(&config(queues));
    let hosts = [("tap-one", 1), ("tap-two", 2), ("tap-far", 3)].map(|(device, last)| {
        let host = Host::on_tap(&lab, &daemon, device, &format!("10.0.0.{last}/24"));
        host.add_ipv6(&format!("fd00::{last}/64"));
        host
    });
    for name in ["one", "two", "far"] {
        daemon.ctl().wait_for_state(name, "up");
    }
    (lab, daemon, hosts)
}

fn hosts_talk_in_their_vlan_only(workers: usize) {
    let (_lab, daemon, [one, two, far]) = scene(workers, 1);
    one.wait_for_ping("10.0.0.2");
    one.wait_for_ping("fd00::2");
    two.wait_for_ping("fd00::1");
    assert!(!one.pings("10.0.0.3"));
    assert!(!far.pings("10.0.0.1"));
    let ctl = daemon.ctl();
    assert_eq!(ctl.fdb(10, &one.mac()), Some(("one".into(), "dynamic".into())));
    assert_eq!(ctl.fdb(20, &one.mac()), None);
    // Into the other VLAN by one command, live.
    ctl.run("port set far --access 10");
    far.wait_for_ping("10.0.0.1");
    ctl.run("port set far --access 20");
    assert!(!far.pings("10.0.0.1"));
    one.run("ping -c 200 -i 0.002 -q 10.0.0.2");
}

/// A TCP stream each way, over IPv4 and IPv6; the receiver's stack counts no bad checksum.
fn streams(one: &Host, two: &Host) {
    for target in ["10.0.0.2", "fd00::2"] {
        for direction in ["", "-R"] {
            let report = one.iperf(two, &format!("-c {target} -t 1 {direction}"));
            assert!(report.contains("receiver"), "{report}");
        }
        one.iperf(two, &format!("-c {target} -t 1 -u -b 50M -l 1400"));
    }
    one.assert_no_bad_checksums();
    two.assert_no_bad_checksums();
}

fn tcp_streams_cross_on_one_queue(workers: usize) {
    let (_lab, daemon, [one, two, _far]) = scene(workers, 1);
    streams(&one, &two);
    // Super-frames cross whole: far fewer frames than segments of 1500 bytes.
    let port = daemon.ctl().port("one");
    let (frames, bytes) =
        (port["rx"]["frames"].as_u64().unwrap(), port["rx"]["bytes"].as_u64().unwrap());
    assert!(bytes / frames > 3000, "{port}");
}

fn tcp_streams_cross_on_several_queues(workers: usize) {
    let (_lab, _daemon, [one, two, _far]) = scene(workers, 2);
    streams(&one, &two);
    // Several flows at once, over both queues.
    one.iperf(&two, "-c 10.0.0.2 -t 1 -P 4");
}

fn tcp_streams_cross_without_segmentation_offload(workers: usize) {
    let (_lab, daemon, [one, two, _far]) = scene(workers, 1);
    for host in [&one, &two] {
        host.run("ethtool -K eth0 tso off gso off gro off");
    }
    streams(&one, &two);
    // A sender that computes its own checksums, a receiver that verifies each.
    one.run("ethtool -K eth0 tx off");
    two.run("ethtool -K eth0 tx off");
    streams(&one, &two);
    let port = daemon.ctl().port("one");
    let drops = port["rx"]["drops"].as_object().unwrap();
    assert!(!drops.contains_key("bad-offload") && !drops.contains_key("oversize"), "{port}");
}

fn the_device_is_as_configured(workers: usize) {
    let lab = Lab::with_workers(workers);
    let daemon = lab.daemon(
        "[port.host]\ntype = \"tap\"\ndevice = \"weft0\"\nqueues = 2\nmtu = 1400\nvlan = { access = 10 }\n",
    );
    daemon.ctl().wait_for_state("host", "up");
    let link = lab.switch().run("ip -d link show dev weft0");
    assert!(
        link.contains("mtu 1400") && link.contains("vnet_hdr") && link.contains("multi_queue"),
        "{link}"
    );
    // Another MTU is put on it while it runs, and its own again.
    let ctl = daemon.ctl();
    let log = daemon.log_len();
    for (change, mtu) in [("--mtu 9000", 9000), ("--unset mtu", 1500), ("--mtu 1400", 1400)] {
        ctl.run(&format!("port set host {change}"));
        let link = lab.switch().run("ip link show dev weft0");
        assert!(link.contains(&format!("mtu {mtu} ")), "{change}: {link}");
        assert_eq!(ctl.port("host")["mtu"], mtu);
    }
    // One that the kernel does not take is told.
    ctl.run("port set host --mtu 65535");
    let problems = ctl.json("status")["problems"].to_string();
    assert!(problems.contains("the MTU of its device is 1400, not 65535"), "{problems}");
    ctl.run("port set host --mtu 1400");
    assert_eq!(ctl.json("status")["problems"], serde_json::json!([]));
    assert!(!daemon.log().lines().skip(log).any(|line| line.contains("port open")), "opened again");
    let features = lab.switch().run("ethtool -k weft0");
    assert!(features.contains("tcp-segmentation-offload: on"), "{features}");
    // The host's stack is not silent here: it is the host's own interface.
    lab.switch().run("ip addr add 10.0.0.9/24 dev weft0");
    daemon.ctl().wait_for_state("host", "up");
    daemon.ctl().run("port remove host");
    weft_netns::until("the device goes with its port", || !lab.switch().has_device("weft0"));
}

weft_netns::each_worker_count!(
    hosts_talk_in_their_vlan_only,
    tcp_streams_cross_on_one_queue,
    tcp_streams_cross_on_several_queues,
    tcp_streams_cross_without_segmentation_offload,
    the_device_is_as_configured,
);
