//! Behind a `netdev` port the host's own stack hears nothing and says nothing.
//!
//! ```text
//!   Nic one ── one ┐
//!                  ├ switch      the namespace has IPv6 on and the address 10.0.0.1 on another device
//!   Nic two ── two ┘
//! ```

use weft_netns::{
    Lab, Namespace, Nic, Wire,
    frame::{self, BROADCAST, Frame, IPV6, Mac, Neighbour, mac},
    until,
};

const CONFIG: &str = "\
[port.one]
type = \"netdev\"
device = \"one\"
vlan = { access = 10 }
[port.two]
type = \"netdev\"
device = \"two\"
vlan = { access = 10 }
";

fn lab() -> Lab {
    let lab = Lab::in_namespace(1, Namespace::with_ipv6());
    lab.switch().run("ip link add host type veth peer name other");
    lab.switch().run("ip addr add 10.0.0.1/24 dev host");
    lab.switch().run("ip addr add fd00::1/64 dev host nodad");
    lab.switch().run("ip link set host up");
    lab.switch().run("ip link set other up");
    // The host would answer for any address on any device, were it not for weft.
    lab.switch().run("sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward=1");
    lab
}

fn device_mac(lab: &Lab, device: &str) -> Mac {
    let line = lab.switch().run(&format!("ip -o link show dev {device}"));
    let text = line.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// Frames that a host's stack would answer or act on.
fn provocations(device: Mac) -> Vec<Frame> {
    let own = Frame::new(mac(1), BROADCAST);
    let (v4, v6) = ([10, 0, 0, 1], [0xfd00, 0, 0, 0, 0, 0, 0, 1].into());
    let sender = [0xfd00, 0, 0, 0, 0, 0, 0, 2].into();
    let echo = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let to_device = Frame::new(mac(1), device);
    vec![
        own.clone().arp(1, (mac(1), [10, 0, 0, 2]), ([0; 6], v4)),
        own.clone().ip([10, 0, 0, 2].into(), v4.into(), frame::ICMP, &echo),
        own.neighbour(Neighbour::Solicitation, sender, v6, v6, mac(1)),
        to_device.clone().ip([10, 0, 0, 2].into(), v4.into(), frame::ICMP, &echo),
        to_device.clone().udp([10, 0, 0, 2].into(), v4.into(), b"a closed port"),
        to_device.clone().udp(sender, v6, b"a closed port"),
        // To be routed on.
        to_device.udp([10, 0, 0, 2].into(), [10, 0, 9, 9].into(), b"elsewhere"),
    ]
}

#[test]
fn nothing_is_answered_and_everything_is_switched() {
    let lab = lab();
    let (mut one, mut two) = (Nic::open(lab.switch(), "one"), Nic::open(lab.switch(), "two"));
    let _daemon = lab.daemon(CONFIG);
    let device = device_mac(&lab, "one");
    let arp_before = lab.switch().run("ip neigh show");
    for (round, frame) in provocations(device).iter().enumerate() {
        one.send(&frame.bytes());
        two.expect_frame(&frame.bytes());
        // An answer would come before the echo of a marker that goes there and back.
        let marker = Frame::new(mac(2), mac(1)).text(&format!("back {round}")).bytes();
        two.send(&marker);
        one.expect_nothing_before(&marker);
    }
    assert_eq!(lab.switch().run("ip neigh show"), arp_before);
    assert!(!lab.switch().exec("ping -c 1 -W 1 10.0.0.2").status.success());
}

/// The same frames do get answers where weft is not: the test above can fail.
#[test]
fn without_weft_the_host_answers() {
    let lab = lab();
    let mut one = Nic::open_up(lab.switch(), "one");
    let device = device_mac(&lab, "one");
    let arp = &provocations(device)[0];
    one.send(&arp.bytes());
    one.expect("an ARP answer", &|frame| {
        frame::behind_tags(frame)
            .is_some_and(|(ethertype, packet)| ethertype == frame::ARP && packet[7] == 2)
    });
}

/// From the moment that the port is up the device says nothing by itself: no link-local address, no duplicate
/// address detection, no router solicitation, no multicast listener report.
#[test]
fn the_device_itself_stays_silent() {
    for up_before in [false, true] {
        let lab = lab();
        let mut one = Nic::open(lab.switch(), "one");
        let mut two = Nic::open(lab.switch(), "two");
        if up_before {
            lab.switch().run("ip link set one up");
            lab.switch().run("ip link set two up");
            until("the kernel makes a link-local address", || {
                lab.switch().run("ip -6 addr show dev one").contains("fe80::")
            });
        }
        let daemon = lab.daemon(CONFIG);
        daemon.ctl().wait_for_state("one", "up");
        assert!(!lab.switch().run("ip -6 addr show dev one").contains("inet6"));
        // What the kernel said before weft came may still be queued.
        let marker = Frame::new(mac(2), BROADCAST).text("begin").bytes();
        two.send(&marker);
        let before = one.before_marker(&marker);
        assert!(up_before || before.is_empty(), "{before:x?}");
        // Things that make a host's stack speak up on a device.
        lab.switch().run("sysctl -qw net.ipv6.conf.one.accept_dad=1");
        lab.switch().exec("ip -6 route get fd00:9::1");
        one.send(
            &Frame::new(mac(1), [0x33, 0x33, 0, 0, 0, 1])
                .payload(IPV6, &router_advertisement())
                .bytes(),
        );
        let marker = Frame::new(mac(2), mac(1)).text("end").bytes();
        two.send(&marker);
        one.expect_nothing_before(&marker);
        assert!(!lab.switch().run("ip -6 addr show dev one").contains("inet6"));
        assert!(!lab.switch().run("ip -6 route").contains("dev one"));
    }
}

/// A router advertisement with the prefix fd00:5::/64.
fn router_advertisement() -> Vec<u8> {
    let router = [0xfe80, 0, 0, 0, 0, 0, 0, 9].into();
    let head = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let prefix = [3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0, 0xfd, 0, 0, 5];
    let message = [&head[..], &prefix, &[0; 12]].concat();
    let frame =
        Frame::new(mac(1), mac(1)).ip(router, [0xff02, 0, 0, 0, 0, 0, 0, 1].into(), 58, &message);
    frame.bytes()[14..].to_vec()
}

/// The drop fails closed: it stands while no weftd runs.
#[test]
fn the_host_stays_silent_while_weftd_is_dead() {
    let lab = lab();
    let mut one = Nic::open(lab.switch(), "one");
    let mut two = Nic::open(lab.switch(), "two");
    let mut daemon = lab.daemon(CONFIG);
    let device = device_mac(&lab, "one");
    daemon.kill9();
    for frame in provocations(device) {
        one.send(&frame.bytes());
    }
    daemon.restart();
    let marker = Frame::new(mac(2), BROADCAST).text("marker").bytes();
    two.send(&marker);
    one.expect_nothing_before(&marker);
}
