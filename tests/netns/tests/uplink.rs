//! The host's own NIC becomes a port, and the host goes on by a tap port: sessions survive, whoever would lock himself
//! out is let in again, and however weftd ends the host has its network.
//!
//! ```text
//!   far, 198.51.100.2 ── gateway, 192.0.2.1 ── eth0 ┄ the host's stack
//!                                              (then: eth0 ── switch ── weft0 ┄ the host's stack)
//! ```

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;
use weft_netns::{Daemon, Flow, Lab, Namespace, Process, each_worker_count, until};

const CONFIG: &str = "\
# The host's way to its guests.
[port.host]
type = \"tap\"
device = \"weft0\"
vlan = { access = 10 }
";
const UPLINK: &str = "\n[port.eth0]\ntype = \"netdev\"\ndevice = \"eth0\"\nvlan = { access = 10 }\n\n[uplink.eth0]\nport = \"host\"\n";
const SOME: u64 = 300_000;
const ADDRESSES: [&str; 3] = ["192.0.2.2/24", "192.0.2.3/24", "fd00:2::2/64"];
const FAR: [&str; 2] = ["198.51.100.2", "fd00:1::2"];
const HOST: [&str; 2] = ["192.0.2.2", "fd00:2::2"];

/// A host with a NIC, a gateway and somebody behind it.
struct Scene {
    lab: Lab,
    gateway: Namespace,
    far: Namespace,
}

impl Scene {
    fn new(workers: usize) -> Self {
        let [host, gateway, far] = [(); 3].map(|()| Namespace::with_ipv6());
        let lab = Lab::in_namespace(workers, host);
        for (space, device, peer, other, addresses) in [
            (lab.switch(), "eth0", "lan", &gateway, ["192.0.2.1/24", "fd00:2::1/64"]),
            (&far, "eth0", "wan", &gateway, ["198.51.100.1/24", "fd00:1::1/64"]),
        ] {
            space.run(&format!(
                "ip link add {device} type veth peer name {peer} netns {}",
                other.path()
            ));
            for address in addresses {
                other.run(&format!("ip addr add {address} dev {peer} nodad"));
            }
            other.run(&format!("ip link set dev {peer} up"));
            space.run(&format!("ip link set dev {device} up"));
        }
        for space in [lab.switch(), &gateway, &far] {
            space.run("ip link set lo up");
        }
        gateway.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        for address in ["198.51.100.2/24", "fd00:1::2/64"] {
            far.run(&format!("ip addr add {address} dev eth0 nodad"));
        }
        far.run("ip route add default via 198.51.100.1");
        far.run("ip route add default via fd00:1::1");
        let scene = Self { lab, gateway, far };
        for address in ADDRESSES {
            scene.run(&format!("ip addr add {address} dev eth0 nodad"));
        }
        scene.run("ip route add default via 192.0.2.1 dev eth0 metric 50 mtu 1400");
        scene.run("ip route add 203.0.113.0/24 via 192.0.2.1 dev eth0 table 77");
        scene.run("ip route add default via fd00:2::1 dev eth0");
        scene.wait_until_reached();
        scene
    }

    /// Runs a command on the host.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        self.lab.switch().run(line)
    }

    fn daemon(&self) -> Daemon {
        self.lab.daemon(CONFIG)
    }

    /// The addresses of a device, but the link-local ones.
    fn addresses(&self, device: &str) -> Vec<String> {
        let text = self.lab.switch().exec(&format!("ip -o addr show dev {device} scope global"));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        text.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect()
    }

    /// The routes by a device that somebody put there.
    fn routes(&self, device: &str) -> Vec<String> {
        let list = |family: &str| {
            let line = format!("ip {family} route show table all dev {device} proto boot");
            let output = self.lab.switch().exec(&line);
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let text = list("-4") + &list("-6");
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    fn mac(&self, device: &str) -> String {
        let line = self.run(&format!("ip -o link show dev {device}"));
        let mut words = line.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).expect("a device has a MAC address").to_owned()
    }

    fn is_reached(&self) -> bool {
        HOST.iter()
            .all(|address| self.far.exec(&format!("ping -c 1 -W 1 -q {address}")).status.success())
    }

    #[track_caller]
    fn wait_until_reached(&self) {
        until("the host is reached", || self.is_reached());
    }

    /// Streams to the host and from it, IPv4 and IPv6.
    fn sessions(&self) -> Vec<Flow> {
        let in_and_out = HOST.iter().zip(FAR).flat_map(|(host, far)| {
            let inwards = Flow::between(&self.far, self.lab.switch(), host);
            let outwards = Flow::between(self.lab.switch(), &self.far, far);
            [inwards, outwards]
        });
        let flows: Vec<Flow> = in_and_out.collect();
        go_on(&flows);
        flows
    }

    #[track_caller]
    fn is_on(&self, device: &str) {
        assert_eq!(self.addresses(device), ADDRESSES, "{device}");
        let routes = self.routes(device);
        assert_eq!(
            routes,
            [
                "203.0.113.0/24 via 192.0.2.1 table 77",
                "default via 192.0.2.1 metric 50 mtu 1400",
                "default via fd00:2::1 metric 1024 pref medium"
            ],
            "{device}"
        );
    }
}

#[track_caller]
fn go_on(flows: &[Flow]) {
    flows.iter().for_each(|flow| flow.wait_for(SOME));
}

fn finish(flows: Vec<Flow>) {
    flows.into_iter().for_each(|flow| {
        flow.finish();
    });
}

fn sessions_survive(workers: usize) {
    let scene = Scene::new(workers);
    let (daemon, flows) = (scene.daemon(), scene.sessions());
    let (ctl, own) = (daemon.ctl(), scene.mac("weft0"));
    let before = daemon.config();
    let said = ctl.run("uplink adopt eth0 --port host");
    assert!(said.contains("weft0") && said.contains("written to"), "{said}");
    go_on(&flows);
    scene.is_on("weft0");
    assert_eq!(scene.addresses("eth0"), [""; 0]);
    assert_eq!(scene.mac("weft0"), scene.mac("eth0"));
    assert!(daemon.config().starts_with(&before), "{}", daemon.config());
    let uplinks = ctl.json("uplink list");
    assert_eq!(uplinks[0]["addresses"], json!(ADDRESSES), "{uplinks}");
    assert_eq!(
        uplinks[0]["routes"],
        json!([
            "203.0.113.0/24 via 192.0.2.1 table 77",
            "default via 192.0.2.1 metric 50",
            "default (IPv6) via fd00:2::1 metric 1024"
        ])
    );
    ctl.run("uplink adopt eth0 --port host --may-exist");
    let refused = ctl.refused(1, "port remove host");
    assert!(refused.contains("uplink eth0"), "{refused}");

    let released = ctl.run("uplink release eth0");
    assert!(released.contains("removed  uplink.eth0"), "{released}");
    go_on(&flows);
    scene.is_on("eth0");
    assert_eq!(scene.addresses("weft0"), [""; 0]);
    assert_eq!(scene.mac("weft0"), own);
    assert_eq!(daemon.config().trim_end(), before.trim_end());
    ctl.run("uplink release eth0 --if-exists");
    finish(flows);
}

each_worker_count!(sessions_survive);

#[test]
fn who_adopts_into_the_wrong_vlan_keeps_his_session() {
    let scene = Scene::new(1);
    let daemon = scene.daemon();
    daemon.ctl().run("port add nic --type netdev --device eth0 --access 20");
    let (flows, before) = (scene.sessions(), daemon.config());
    let refused = daemon.ctl().refused(1, "--json uplink adopt eth0 --port host");
    assert!(refused.contains("gateway-silent") && refused.contains("192.0.2.1"), "{refused}");
    go_on(&flows);
    scene.is_on("eth0");
    assert_eq!(daemon.config(), before);
    assert!(daemon.ctl().json("config show")["candidate"].is_null());
    finish(flows);
}

#[test]
fn without_a_gateway_that_answers_it_is_asked_for_explicitly() {
    let scene = Scene::new(1);
    let daemon = scene.daemon();
    scene.gateway.run("ip addr flush dev lan");
    let refused = daemon.ctl().refused(1, "uplink adopt eth0 --port host");
    assert!(
        refused.contains("no gateway of eth0 answers") && refused.contains("--unchecked"),
        "{refused}"
    );
    scene.is_on("eth0");
    daemon.ctl().run("uplink adopt eth0 --port host --unchecked");
    scene.is_on("weft0");
}

#[test]
fn what_cannot_be_adopted_stays_as_it_is() {
    let scene = Scene::new(1);
    let daemon = scene.daemon();
    scene.run("ip link add up0 link eth0 type macvlan");
    let refused = daemon.ctl().refused(1, "--json uplink adopt eth0 --port host");
    assert!(refused.contains("not-adopted") && refused.contains("up0"), "{refused}");
    scene.is_on("eth0");
    scene.wait_until_reached();
    let refused = daemon.ctl().refused(1, "--json uplink adopt nope --port host");
    assert!(refused.contains("does not exist"), "{refused}");
}

#[test]
fn the_host_has_its_network_however_the_daemon_ends() {
    let scene = Scene::new(1);
    let (mut daemon, flows) = (scene.daemon(), scene.sessions());
    daemon.ctl().run("uplink adopt eth0 --port host");
    go_on(&flows);

    // An orderly end, and a start.
    daemon.terminate();
    scene.is_on("eth0");
    go_on(&flows);
    daemon.restart();
    scene.is_on("weft0");
    go_on(&flows);

    // A crash, and a start.
    daemon.kill9();
    assert_eq!(scene.addresses("eth0"), [""; 0]);
    daemon.restart();
    scene.is_on("weft0");
    go_on(&flows);

    // A crash, and no start.
    daemon.kill9();
    let give_back = || {
        let mut command = daemon.command();
        command.arg("--give-back");
        let mut process = Process::start("weftd --give-back", scene.lab.switch(), command);
        (process.wait(), process.said())
    };
    let (status, said) = give_back();
    assert!(status.success(), "{said}");
    scene.is_on("eth0");
    go_on(&flows);
    // There is nothing left to give back.
    let (status, said) = give_back();
    assert!(status.success(), "{said}");

    daemon.restart();
    scene.is_on("weft0");
    // A running daemon is not disturbed.
    let mut command = daemon.command();
    command.arg("--give-back");
    let mut process = Process::start("weftd --give-back", scene.lab.switch(), command);
    assert!(!process.wait().success());
    scene.is_on("weft0");
    go_on(&flows);
    finish(flows);
}

#[test]
fn an_uplink_that_went_out_of_the_file_meanwhile_is_given_back() {
    let scene = Scene::new(1);
    let mut daemon = scene.daemon();
    let before = daemon.config();
    daemon.ctl().run("uplink adopt eth0 --port host");
    daemon.kill9();
    daemon.write_config(&before);
    daemon.restart();
    scene.is_on("eth0");
    scene.wait_until_reached();
}

#[test]
fn a_crash_before_the_gateway_has_answered_changes_nothing() {
    let scene = Scene::new(1);
    let mut daemon = scene.daemon();
    daemon.ctl().run("port add nic --type netdev --device eth0 --access 20");
    let before = daemon.config();
    let adopting = daemon.ctl().command(&["uplink", "adopt", "eth0", "--port", "host"]);
    let mut adopting = Process::start("weftctl uplink adopt", scene.lab.switch(), adopting);
    until("the addresses are on their way", || scene.addresses("weft0") == ADDRESSES);
    daemon.end_by(Signal::SIGKILL);
    adopting.wait();
    assert_eq!(daemon.config(), before);
    let mut command = daemon.command();
    command.arg("--give-back");
    assert!(Process::start("weftd --give-back", scene.lab.switch(), command).wait().success());
    scene.is_on("eth0");
    scene.wait_until_reached();
}

#[test]
fn what_comes_to_the_nic_later_is_carried_over_too() {
    let scene = Scene::new(1);
    let mut daemon = scene.daemon();
    daemon.ctl().run("uplink adopt eth0 --port host");
    // As a DHCP client does: an address that does not live for ever, and a route by it.
    scene.run("ip addr add 192.0.2.9/24 dev eth0 valid_lft 1000 preferred_lft 900");
    scene.run("ip route add 203.0.113.128/25 via 192.0.2.1 dev eth0");
    until("they are with the heir", || {
        scene.addresses("weft0").contains(&"192.0.2.9/24".to_owned())
            && scene.routes("weft0").iter().any(|route| route.starts_with("203.0.113.128/25"))
    });
    assert_eq!(scene.addresses("eth0"), [""; 0]);
    let lifetimes = scene.run("ip addr show dev weft0 to 192.0.2.9");
    assert!(!lifetimes.contains("valid_lft forever"), "{lifetimes}");
    // What is taken off the heir is not given back, and what is put there outlives a crash.
    scene.run("ip addr del 192.0.2.3/24 dev weft0");
    scene.run("ip addr add 192.0.2.4/24 dev weft0");
    let record = daemon.state_directory().join("uplinks/eth0.json");
    until("it is written down", || {
        let text = fs::read_to_string(&record).expect("there is a record");
        text.contains("192.0.2.4/24") && !text.contains("192.0.2.3/24")
    });
    daemon.kill9();
    daemon.restart();
    let mut addresses = scene.addresses("weft0");
    addresses.sort();
    assert_eq!(addresses, ["192.0.2.2/24", "192.0.2.4/24", "192.0.2.9/24", "fd00:2::2/64"]);
    scene.wait_until_reached();
}

#[test]
fn an_heir_that_is_deleted_gets_everything_again() {
    let scene = Scene::new(1);
    let (daemon, flows) = (scene.daemon(), scene.sessions());
    daemon.ctl().run("uplink adopt eth0 --port host");
    scene.run("ip link del weft0");
    until("the heir is back", || scene.addresses("weft0") == ADDRESSES);
    scene.is_on("weft0");
    go_on(&flows);
    // An heir that leaves for good leaves the host its NIC.
    let elsewhere = Namespace::new();
    scene.run(&format!("ip link set weft0 netns {}", elsewhere.path()));
    until("the NIC has them", || scene.addresses("eth0") == ADDRESSES);
    go_on(&flows);
    finish(flows);
}

#[test]
fn ports_that_are_switched_off_give_back_what_they_have() {
    let scene = Scene::new(1);
    let daemon = scene.daemon();
    let ctl = daemon.ctl();
    ctl.run("uplink adopt eth0 --port host");
    for port in ["host", "eth0"] {
        ctl.run(&format!("port set {port} --disabled"));
        scene.is_on("eth0");
        scene.wait_until_reached();
        let uplinks = ctl.json("uplink list");
        assert_eq!(uplinks[0]["adopted"], false, "{uplinks}");
        ctl.run(&format!("port set {port} --enabled"));
        until("they are adopted again", || ctl.json("uplink list")[0]["adopted"] == true);
        scene.is_on("weft0");
        scene.wait_until_reached();
    }
}

#[test]
fn after_a_reboot_the_machines_own_configuration_is_carried_over() {
    let scene = Scene::new(1);
    let mut daemon = scene.daemon();
    daemon.ctl().run("uplink adopt eth0 --port host");
    daemon.kill9();
    // The machine comes up: what was kept is of another life, and eth0 has other addresses now.
    for record in ["uplinks/eth0.json", "devices/eth0.json", "devices/weft0.json"] {
        let path = daemon.state_directory().join(record);
        let text = fs::read_to_string(&path).expect("there is a record");
        let mut record: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        record["place"]["boot-id"] = "another".into();
        fs::write(&path, record.to_string()).expect("a record can be written");
    }
    scene.run("tc qdisc del dev eth0 clsact");
    scene.run("ip addr add 192.0.2.5/24 dev eth0");
    scene.run("ip route add default via 192.0.2.1 dev eth0");
    daemon.restart();
    assert_eq!(scene.addresses("weft0"), ["192.0.2.5/24"]);
    assert_eq!(scene.routes("weft0"), ["default via 192.0.2.1"]);
    until("the host is reached", || scene.far.exec("ping -c 1 -W 1 -q 192.0.2.5").status.success());
}

#[test]
fn a_nic_that_weftd_set_up_stays_up_once_it_is_used() {
    // The boot order "weftd before the network".
    let scene = Scene::new(1);
    scene.run("ip link set dev eth0 down");
    scene.run("ip addr flush dev eth0");
    let mut daemon = scene.lab.daemon(&format!("{CONFIG}{UPLINK}"));
    assert_eq!(daemon.ctl().json("uplink list")[0]["adopted"], true);
    scene.run("ip addr add 192.0.2.2/24 dev eth0");
    scene.run("ip route add default via 192.0.2.1 dev eth0");
    until("they are with the heir", || scene.routes("weft0").len() == 1);
    daemon.terminate();
    assert_eq!(scene.addresses("eth0"), ["192.0.2.2/24"]);
    assert_eq!(scene.routes("eth0"), ["default via 192.0.2.1"]);
    until("the host is reached", || scene.far.exec("ping -c 1 -W 1 -q 192.0.2.2").status.success());
}

#[test]
fn what_network_managers_call_the_kernels_is_carried_over() {
    let scene = Scene::new(1);
    scene.run("ip addr flush dev eth0");
    scene.run("ip -6 route flush dev eth0");
    scene.run("ip addr add 192.0.2.2/24 dev eth0 noprefixroute");
    scene
        .run("ip route add 192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2 metric 100");
    scene.run("ip route add default via 192.0.2.1 dev eth0 proto static metric 100");
    let daemon = scene.daemon();
    let is_reached = || scene.far.exec("ping -c 1 -W 1 -q 192.0.2.2").status.success();
    daemon.ctl().run("uplink adopt eth0 --port host");
    until("the host is reached", is_reached);
    daemon.ctl().run("uplink release eth0");
    let routes = scene.run("ip route show dev eth0");
    assert!(
        routes.contains("192.0.2.0/24 proto kernel scope link src 192.0.2.2 metric 100"),
        "{routes}"
    );
    until("the host is reached", is_reached);
}

#[test]
fn hops_of_a_multipath_route_by_other_devices_stay() {
    let scene = Scene::new(1);
    scene.run("ip link add eth1 type veth peer name eth1-far");
    scene.run("ip link set dev eth1 up");
    scene.run("ip link set dev eth1-far up");
    scene.run("ip addr add fd00:3::2/64 dev eth1 nodad");
    scene.run("ip addr add 192.0.3.2/24 dev eth1");
    scene.run("ip -6 route add 2001:db8::/32 nexthop via fd00:2::1 dev eth0 nexthop via fd00:3::1 dev eth1");
    scene.run(
        "ip route add 203.0.113.0/25 nexthop via 192.0.2.1 dev eth0 nexthop via 192.0.3.1 dev eth1",
    );
    let hops = |device: &str| {
        let text = scene.run("ip -6 route show 2001:db8::/32")
            + &scene.run("ip route show 203.0.113.0/25");
        text.matches(&format!("dev {device} ")).count()
    };
    assert_eq!((hops("eth0"), hops("eth1")), (2, 2));
    let daemon = scene.daemon();
    daemon.ctl().run("uplink adopt eth0 --port host");
    assert_eq!((hops("weft0"), hops("eth0"), hops("eth1")), (2, 0, 2));
    daemon.ctl().run("uplink release eth0");
    assert_eq!((hops("weft0"), hops("eth0"), hops("eth1")), (0, 2, 2));
}

#[test]
fn what_cannot_be_given_back_keeps_nothing_else() {
    let scene = Scene::new(1);
    let mut daemon = scene.daemon();
    daemon.ctl().run("uplink adopt eth0 --port host");
    scene.run("ip nexthop add id 5 via 192.0.2.1 dev weft0");
    scene.run("ip route add 203.0.113.128/25 nhid 5");
    scene.run("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1");
    daemon.terminate();
    assert_eq!(scene.addresses("eth0"), ["192.0.2.2/24", "192.0.2.3/24"]);
    assert_eq!(scene.routes("eth0").len(), 2);
    until("the host is reached", || scene.far.exec("ping -c 1 -W 1 -q 192.0.2.2").status.success());
}

#[test]
fn a_nic_that_is_renamed_has_its_addresses_under_its_new_name() {
    let scene = Scene::new(1);
    let daemon = scene.daemon();
    daemon.ctl().run("uplink adopt eth0 --port host");
    scene.run("ip link set dev eth0 name lan0");
    until("it has them", || scene.addresses("lan0").len() == ADDRESSES.len());
    scene.wait_until_reached();
    scene.run("ip link set dev lan0 name eth0");
    until("it is an uplink again", || daemon.ctl().json("uplink list")[0]["adopted"] == true);
    scene.wait_until_reached();
}

#[test]
fn an_uplink_that_cannot_be_adopted_anew_leaves_the_host_its_nic() {
    let scene = Scene::new(1);
    let daemon = scene.daemon();
    daemon.ctl().run("uplink adopt eth0 --port host");
    scene.run("ip link add up0 link eth0 type macvlan");
    scene.run("ip link del weft0");
    until("the NIC has its addresses", || scene.addresses("eth0").len() == ADDRESSES.len());
    scene.wait_until_reached();
    let uplinks = daemon.ctl().json("uplink list");
    assert_eq!(uplinks[0]["adopted"], false);
    assert!(
        uplinks[0]["reason"].as_str().is_some_and(|reason| reason.contains("up0")),
        "{uplinks}"
    );
}

#[test]
fn an_adoption_that_failed_leaves_nothing_behind() {
    let scene = Scene::new(1);
    let daemon = scene.daemon();
    let own = scene.mac("weft0");
    // The heir can have no IPv6 address.
    scene.run("sysctl -qw net.ipv6.conf.weft0.disable_ipv6=1");
    let refused = daemon.ctl().refused(1, "--json uplink adopt eth0 --port host");
    assert!(refused.contains("not-adopted"), "{refused}");
    assert_eq!(scene.addresses("eth0"), ADDRESSES);
    assert_eq!((scene.addresses("weft0"), scene.mac("weft0")), (Vec::new(), own));
    assert!(!daemon.state_directory().join("uplinks/eth0.json").exists());
    scene.wait_until_reached();
}
