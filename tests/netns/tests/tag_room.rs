//! A frame may be its port's MTU long and have two tags more, whatever their EtherTypes: the device of a `netdev` port
//! is given room for them, and loses it with the port.
//!
//! ```text
//!   customer ── dot1q-tunnel 300 ────────┐
//!   provider ── trunk 300, 802.1ad tags ─┼ switch
//!   plain ───── trunk 300, 802.1Q tags ──┘
//! ```

use weft_netns::{
    Daemon, Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
};

const CONFIG: &str = "\
[port.customer]
type = \"netdev\"
device = \"customer\"
vlan = { dot1q-tunnel = 300 }
[port.provider]
type = \"netdev\"
device = \"provider\"
vlan = { trunk = [300], ethertype = \"802.1ad\" }
[port.plain]
type = \"netdev\"
device = \"plain\"
vlan = { trunk = [300] }
";

fn scene(workers: usize) -> (Lab, Daemon, [Nic; 3]) {
    let lab = Lab::with_workers(workers);
    let nics = ["customer", "provider", "plain"].map(|device| Nic::open(lab.switch(), device));
    let daemon = lab.daemon(CONFIG);
    for port in ["customer", "provider", "plain"] {
        daemon.ctl().wait_for_state(port, "up");
    }
    (lab, daemon, nics)
}

fn mtu_of(lab: &Lab, device: &str) -> u64 {
    let link = lab.switch().run(&format!("ip -o link show dev {device}"));
    link.split_once(" mtu ").unwrap().1.split(' ').next().unwrap().parse().unwrap()
}

fn full_size_frames_cross_with_every_tag(workers: usize) {
    let (_lab, daemon, [mut customer, mut provider, mut plain]) = scene(workers);
    let frame = |tags: &[(u16, u16)]| {
        let frame = Frame::new(mac(1), BROADCAST).text("full size").len(1514);
        tags.iter().fold(frame, |frame, &(tpid, tci)| frame.tag_with(tpid, tci)).bytes()
    };
    for own in [&[][..], &[(0x8100, 7)], &[(0x88a8, 7)]] {
        customer.send(&frame(own));
        provider.expect_nothing_before(&frame(&[&[(0x88a8, 300)], own].concat()));
        plain.expect_nothing_before(&frame(&[&[(0x8100, 300)], own].concat()));
    }
    for own in [&[][..], &[(0x8100, 7)]] {
        provider.send(&frame(&[&[(0x88a8, 300)], own].concat()));
        customer.expect_nothing_before(&frame(own));
        plain.expect_nothing_before(&frame(&[&[(0x8100, 300)], own].concat()));
    }
    let ctl = daemon.ctl();
    for port in ["customer", "provider", "plain"] {
        let port = ctl.port(port);
        assert_eq!((&port["mtu"], port["tx"]["drops"]["oversize"].as_u64()), (&1500.into(), None));
    }
    assert_eq!(ctl.json("status")["problems"], serde_json::json!([]));
    // No byte more than that.
    customer.send(&Frame::new(mac(1), BROADCAST).len(1515).bytes());
    ctl.wait_for_drops("customer", "rx", "oversize", 1);
}

fn the_mtu_follows_its_administrator(workers: usize) {
    let (lab, daemon, [mut customer, mut provider, _plain]) = scene(workers);
    let ctl = daemon.ctl();
    assert_eq!(mtu_of(&lab, "provider"), 1508);
    for device in ["customer", "provider"] {
        lab.switch().run(&format!("ip link set {device} mtu 4000"));
        until("the port has the new MTU", || ctl.port(device)["mtu"] == 4000);
        assert_eq!(mtu_of(&lab, device), 4008);
    }
    let frame = Frame::new(mac(1), BROADCAST).text("jumbo").len(4014);
    customer.send(&frame.clone().tag(7).bytes());
    provider.expect_frame(&frame.tag_with(0x88a8, 300).tag(7).bytes());
    // Whoever sets it back gets his way, and is told what that means.
    lab.switch().run("ip link set provider mtu 4000");
    until("it is told", || {
        let problems = ctl.json("status")["problems"].to_string();
        problems.contains("port provider") && problems.contains("ip link set provider mtu 4008")
    });
    assert_eq!((mtu_of(&lab, "provider"), &ctl.port("provider")["mtu"]), (4000, &4000.into()));
    ctl.run("port set provider --mtu 3992");
    assert_eq!(ctl.json("status")["problems"], serde_json::json!([]));
    ctl.run("port remove customer");
    ctl.run("port remove plain");
    assert_eq!((mtu_of(&lab, "customer"), mtu_of(&lab, "plain")), (4000, 1500));
}

/// A device that is as large as it can be.
fn a_device_that_takes_no_more_is_told(workers: usize) {
    let lab = Lab::with_workers(workers);
    lab.switch().run("ip link add full type veth peer name far");
    lab.switch().run("ip link set full mtu 65535");
    lab.switch().run("ip link set far up");
    let daemon = lab.daemon(
        "[port.full]\ntype = \"netdev\"\ndevice = \"full\"\nvlan = { trunk = [300], ethertype = \"802.1ad\" }\n",
    );
    let ctl = daemon.ctl();
    ctl.wait_for_state("full", "up");
    let problems = ctl.json("status")["problems"].to_string();
    assert!(problems.contains("port full: the MTU of its device is 65535"), "{problems}");
    assert_eq!(mtu_of(&lab, "full"), 65535);
}

weft_netns::each_worker_count!(
    full_size_frames_cross_with_every_tag,
    the_mtu_follows_its_administrator,
    a_device_that_takes_no_more_is_told,
);
