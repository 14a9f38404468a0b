//! The kernel's own WireGuard, in a real guest, reaches a VLAN over a VLAN: whoever begins the handshake, IPv4 and IPv6
//! inside, and from another address in the middle.
//!
//! ```text
//!   guest: eth0 192.0.2.2 ── tapg ─ netdev, access 20 ┐
//!          wg0 10.10.0.201, fd10::201                 ┼ switch
//!   weftd, 192.0.2.1 ─────── under ─ tap, access 20 ──┤
//!     wireguard.road 10.10.0.1, fd10::1, access 10 ───┤
//!   web, 10.10.0.5, fd10::5 ── taph ─ tap, access 10 ─┘
//! ```

use std::fs;

use weft_netns::{ClientKey, Daemon, Guest, GuestNic, Host, Lab, pings, until};

const NETWORKS: &str = "10.10.0.0/24,fd10::/64";
const INSIDE: &str = "10.10.0.201/32,fd10::201/128";

fn start(lab: &Lab, adapter: &ClientKey, client: &ClientKey) -> Daemon {
    let daemon = lab.daemon(&format!(
        "[port.g]\ntype = \"netdev\"\ndevice = \"tapg\"\nvlan = {{ access = 20 }}\n\
         [port.under]\ntype = \"tap\"\ndevice = \"under\"\nvlan = {{ access = 20 }}\n\
         [port.web]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 10 }}\n\
         [wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\", \"fd10::1/64\"]\n\
         listen = \"0.0.0.0:51820\"\nprivate-key-file = \"{}\"\n\
         [wireguard.road.peer.guest]\npublic-key = \"{}\"\n\
         allowed-ips = [\"10.10.0.201/32\", \"fd10::201/128\"]\n",
        adapter.file().display(),
        client.public()
    ));
    until("the daemon makes a device", || lab.switch().has_device("under"));
    lab.switch().run("ip addr add 192.0.2.1/24 dev under");
    lab.switch().run("ip link set under up");
    daemon
}

/// Makes the guest's device, with these words about its one peer.
fn connect(guest: &mut Guest, key: &ClientKey, adapter: &ClientKey, words: &str) {
    let private = fs::read_to_string(key.file()).expect("the key is our own");
    guest.run(&format!("echo {private} >/tmp/key"));
    guest.run("modprobe wireguard && ip link add wg0 type wireguard");
    let peer = format!("peer {} allowed-ips {NETWORKS} {words}", adapter.public());
    guest.run(&format!("wg set wg0 listen-port 51821 private-key /tmp/key {peer}"));
    guest.run("ip addr add 10.10.0.201/24 dev wg0 && ip addr add fd10::201/64 dev wg0 nodad");
    guest.run("ip link set wg0 up");
}

fn reach_each_other(guest: &mut Guest, web: &Host) {
    for address in ["10.10.0.5", "fd10::5", "10.10.0.1", "fd10::1"] {
        guest.wait_for_ping(address);
    }
    for address in ["10.10.0.201", "fd10::201"] {
        until(&format!("the host reaches {address}"), || pings(web.space(), address));
    }
    for arguments in ["10.10.0.5", "10.10.0.5 -R", "fd10::5", "fd10::5 -R"] {
        let server = web.iperf_server();
        let report = guest.iperf(&format!("-t 1 -c {arguments}"));
        assert!(report.contains("receiver"), "{report}");
        drop(server);
    }
    web.assert_no_bad_checksums();
}

#[test]
fn the_kernels_wireguard_reaches_the_vlan() {
    let lab = Lab::with_workers(2);
    let [adapter, client] = ["road.key", "client.key"].map(|file| ClientKey::in_lab(&lab, file));
    let daemon = start(&lab, &adapter, &client);
    let web = Host::on_tap(&lab, &daemon, "taph", "10.10.0.5/24");
    web.add_ipv6("fd10::5/64");
    let nic = GuestNic::VirtioTap { device: "tapg".into(), mac: "52:54:00:00:00:01" };
    let mut guest = Guest::boot(&lab, "g", &[nic]);
    daemon.ctl().wait_for_state("g", "up");
    guest.set_address("192.0.2.2/24");
    guest.wait_for_ping("192.0.2.1");

    connect(&mut guest, &client, &adapter, "endpoint 192.0.2.1:51820");
    reach_each_other(&mut guest, &web);

    // The session goes along to another address.
    let before = guest.run("wg show wg0 latest-handshakes");
    guest.run("ip addr del 192.0.2.2/24 dev eth0 && ip addr add 192.0.2.3/24 dev eth0");
    reach_each_other(&mut guest, &web);
    assert_eq!(guest.run("wg show wg0 latest-handshakes"), before);
    let shown = daemon.ctl().json("wireguard show road");
    assert_eq!(shown["peers"][0]["endpoint"], "192.0.2.3:51821", "{shown}");

    // The other way round: the adapter knows where the guest is, the guest knows nothing.
    guest.run("ip link del wg0");
    let peer = format!("set road peer {}", client.public());
    assert!(daemon.wg(&format!("{peer} remove")).status.success());
    connect(&mut guest, &client, &adapter, "");
    let words = format!("{peer} allowed-ips {INSIDE} endpoint 192.0.2.3:51821");
    assert!(daemon.wg(&words).status.success());
    until("the host reaches the guest", || web.pings("10.10.0.201"));
    reach_each_other(&mut guest, &web);
}
