//! The README's laptop on a VLAN: its five commands, with the program that `wg-quick` starts where the kernel has no WireGuard.
//!
//! ```text
//!   web, 10.10.0.5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.250 ══ underlay ══ site b: laptop, device alice
//! ```

use std::process::Command;

use weft_netns::{Namespace, Sites, pings, until};

const WG_QUICK: &str = "mount -t tmpfs tmpfs /run && wg-quick up \"$0\" && ip link show alice";

/// Ends the program that `wg-quick` has started: it goes with its device.
struct Laptop<'s>(&'s Namespace);

impl Drop for Laptop<'_> {
    fn drop(&mut self) {
        self.0.exec("ip link del alice");
    }
}

#[test]
fn the_five_commands_put_a_laptop_on_a_vlan() {
    let mut sites = Sites::two();
    sites[0].start(
        "[vlan.office]\nid = 10\n\
         [port.web]\ntype = \"tap\"\ndevice = \"tap-a\"\nvlan = { access = 10 }\n",
    );
    let web = sites[0].host("tap-a", "10.10.0.5/24");
    let (ctl, lab) = (sites[0].ctl(), sites[0].lab());
    let path = |name: &str| lab.path(name).display().to_string();
    let (key, conf) = (path("road.key"), path("alice.conf"));
    ctl.run(&format!("key generate --out {key}"));
    ctl.run(&format!(
        "wireguard add road --vlan office --address 10.10.0.250/24 --private-key-file {key}"
    ));
    let server = sites[0].address();
    ctl.run(&format!("wireguard peer add road alice --new --server {server} --out {conf}"));
    let _laptop = Laptop(sites[1].space());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", WG_QUICK, &conf]);
    command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go");
    let output = sites[1].space().enter(|| command.output()).expect("wg-quick can be started");
    assert!(output.status.success(), "{output:?}");
    until("the laptop reaches the office", || pings(sites[1].space(), "10.10.0.5"));
    let shown = ctl.json("wireguard show road");
    let address = shown["peers"][0]["allowed-ips"][0].as_str().expect("alice has an address");
    let address = address.split('/').next().unwrap();
    until("the office reaches the laptop", || web.pings(address));
}
