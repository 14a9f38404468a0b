//! The harness by itself, with the kernel's bridge in the switch's place: what it says about frames, hosts and
//! namespaces can be believed.
//!
//! ```text
//!   Nic a ── pa ┐
//!               ├ bridge ── hv ── Host
//!   Nic b ── pb ┘
//! ```

use weft_netns::{
    Host, Lab, Namespace, Nic, Wire,
    frame::{BROADCAST, Frame, mac},
};

fn bridge(lab: &Lab, devices: &[&str]) {
    lab.switch().run("ip link add bridge type bridge");
    lab.switch().run("ip link set bridge up");
    for device in devices {
        lab.switch().run(&format!("ip link set {device} master bridge"));
    }
}

#[test]
fn frames_cross_with_their_tags_and_nothing_else_does() {
    let lab = Lab::new();
    let (mut a, mut b) = (Nic::open_up(lab.switch(), "pa"), Nic::open_up(lab.switch(), "pb"));
    bridge(&lab, &["pa", "pb"]);
    let tagged = Frame::new(mac(1), BROADCAST).tag(10).tag(20).text("tagged twice").bytes();
    let marker = Frame::new(mac(1), BROADCAST).text("marker").bytes();
    a.send(&tagged);
    a.send(&marker);
    b.expect_frame(&tagged);
    b.expect_nothing_before(&marker);
}

#[test]
fn a_host_answers_and_counts() {
    let lab = Lab::new();
    let host = Host::on_veth(&lab, "hv", "10.0.0.1/24");
    bridge(&lab, &["hv"]);
    lab.switch().run("ip addr add 10.0.0.2/24 dev bridge");
    host.wait_for_ping("10.0.0.2");
    assert!(!host.pings("10.0.0.3"));
    assert!(host.counter("IcmpInEchoReps") > 0);
    host.assert_no_bad_checksums();
}

#[test]
fn namespaces_see_their_own_devices_only() {
    let (one, other) = (Namespace::new(), Namespace::new());
    let _nic = Nic::open(&one, "mine");
    assert!(one.has_device("mine"));
    assert!(!other.has_device("mine"));
}
