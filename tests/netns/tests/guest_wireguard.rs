//! The kernel's own WireGuard, in a real guest, reaches a VLAN over a VLAN: whoever begins the handshake, IPv4 and IPv6
//! inside and outside, and from another address afterwards.
//!
//! ```text
//!   guest: eth0 192.0.2.2, fd92::2 ── tapg ─ netdev, access 20 ┐
//!          wg0 10.10.0.201, fd10::201                          ┼ switch
//!   weftd, 192.0.2.1, fd92::1 ─────── under ─ tap, access 20 ──┤
//!     wireguard.road 10.10.0.1, fd10::1, access 10 ────────────┤
//!   web, 10.10.0.5, fd10::5 ── taph ─ tap, access 10 ──────────┘
//! ```

use std::fs;

use weft_netns::{Caller, ClientKey, Daemon, Guest, GuestNic, Host, Lab, pings, until};

const NETWORKS: &str = "10.10.0.0/24,fd10::/64";
const INSIDE: &str = "10.10.0.201/32,fd10::201/128";
/// Who calls whom, and where the other is; then where the guest's address changes to.
const TABLE: [(Caller, &str, [&str; 2]); 4] = [
    (Caller::Client, "192.0.2.1:51820", ["192.0.2.2/24", "192.0.2.3/24"]),
    (Caller::Adapter, "192.0.2.3:51821", ["192.0.2.3/24", "192.0.2.4/24"]),
    (Caller::Client, "[fd92::1]:51820", ["fd92::2/64", "fd92::3/64"]),
    (Caller::Adapter, "[fd92::3]:51821", ["fd92::3/64", "fd92::4/64"]),
];

fn start(lab: &Lab, adapter: &ClientKey, client: &ClientKey) -> Daemon {
    let daemon = lab.daemon(&format!(
        "[port.g]\ntype = \"netdev\"\ndevice = \"tapg\"\nvlan = {{ access = 20 }}\n\
         [port.under]\ntype = \"tap\"\ndevice = \"under\"\nvlan = {{ access = 20 }}\n\
         [port.web]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 10 }}\n\
         [wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\", \"fd10::1/64\"]\n\
         listen = \"[::]:51820\"\nprivate-key-file = \"{}\"\n\
         [wireguard.road.peer.guest]\npublic-key = \"{}\"\n\
         allowed-ips = [\"10.10.0.201/32\", \"fd10::201/128\"]\n",
        adapter.file().display(),
        client.public()
    ));
    until("the daemon makes a device", || lab.switch().has_device("under"));
    lab.switch().run("sysctl -qw net.ipv6.conf.under.disable_ipv6=0");
    lab.switch().run("ip addr add 192.0.2.1/24 dev under");
    lab.switch().run("ip addr add fd92::1/64 dev under nodad");
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
}

/// TCP both ways, over IPv4 and IPv6 inside.
fn streams_cross(guest: &mut Guest, web: &Host) {
    for arguments in ["10.10.0.5", "10.10.0.5 -R", "fd10::5", "fd10::5 -R"] {
        let server = web.iperf_server();
        let report = guest.iperf(&format!("-n 4M -c {arguments}"));
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
    guest.run("ip link set eth0 up");
    let peer = format!("set road peer {}", client.public());

    for (caller, other, [address, moved]) in TABLE {
        guest.run(&format!("ip addr replace {address} dev eth0 nodad"));
        match caller {
            Caller::Client => connect(&mut guest, &client, &adapter, &format!("endpoint {other}")),
            // The adapter knows where the guest is, the guest knows nothing.
            Caller::Adapter => {
                connect(&mut guest, &client, &adapter, "");
                let words = format!("{peer} allowed-ips {INSIDE} endpoint {other}");
                assert!(daemon.wg(&words).status.success());
                until("the host reaches the guest", || web.pings("10.10.0.201"));
            }
        }
        reach_each_other(&mut guest, &web);
        streams_cross(&mut guest, &web);

        // The session goes along to another address.
        let before = guest.run("wg show wg0 latest-handshakes");
        guest.run(&format!("ip addr del {address} dev eth0 && ip addr add {moved} dev eth0 nodad"));
        reach_each_other(&mut guest, &web);
        assert_eq!(guest.run("wg show wg0 latest-handshakes"), before);
        let shown = daemon.ctl().json("wireguard show road");
        let (ip, _) = moved.split_once('/').expect("an address has a length");
        let endpoint = shown["peers"][0]["endpoint"].as_str().expect("it was heard");
        assert!(endpoint.contains(ip), "{shown}");

        guest.run(&format!("ip link del wg0 && ip addr del {moved} dev eth0"));
        assert!(daemon.wg(&format!("{peer} remove")).status.success());
        assert!(daemon.wg(&format!("{peer} allowed-ips {INSIDE}")).status.success());
    }
}
