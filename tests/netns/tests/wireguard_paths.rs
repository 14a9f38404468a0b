//! A way in the middle that carries less than `mtu` is no black hole: datagrams are cut for it, both ways, over IPv4 and IPv6.
//!
//! ```text
//!   web, 10.10.0.5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.1 ══ router ══ 1400 bytes ══ router ══ site b: client
//! ```

use weft_netns::{
    Client, ClientKey, Flow, Namespace, Program, Sites, Underlay, Version, each_worker_count,
    pings, until,
};

const SOME: u64 = 3_000_000;
const NARROW: u32 = 1400;

/// Puts site b behind two routers with a narrow link between; returns the second.
fn move_away(sites: &Sites, version: Version) -> Namespace {
    let far = Namespace::with_ipv6();
    let (near, b) = (sites.path(), sites[1].space());
    let [site_a, bridge, net_b, router_b, site_b, narrow_near, narrow_far, len] = match version {
        Version::V4 => [
            "10.99.0.0",
            "10.99.0.250",
            "10.98.0.0",
            "10.98.0.1",
            "10.98.0.2",
            "10.97.0.1",
            "10.97.0.2",
            "24",
        ],
        Version::V6 => {
            ["fd99::", "fd99::250", "fd98::", "fd98::1", "fd98::2", "fd97::1", "fd97::2", "64"]
        }
    };
    for space in [near, &far] {
        space.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.all.forwarding=1");
    }
    let link = format!("ip link add narrow type veth peer name narrow netns {}", far.path());
    near.run(&link);
    near.run(&format!("ip link set to-b nomaster netns {}", far.path()));
    for (space, own) in [(near, narrow_near), (&far, narrow_far)] {
        space.run(&format!("ip link set narrow mtu {NARROW} up"));
        space.run(&format!("ip addr add {own}/{len} dev narrow nodad"));
    }
    near.run("sysctl -qw net.ipv6.conf.bridge.disable_ipv6=0");
    near.run(&format!("ip addr add {bridge}/{len} dev bridge nodad"));
    near.run(&format!("ip route add {net_b}/{len} via {narrow_far}"));
    far.run("ip link set to-b up");
    far.run(&format!("ip addr add {router_b}/{len} dev to-b nodad"));
    far.run(&format!("ip route add {site_a}/{len} via {narrow_near}"));
    b.run("ip addr flush dev under scope global");
    b.run(&format!("ip addr add {site_b}/{len} dev under nodad"));
    b.run(&format!("ip route add {site_a}/{len} via {router_b}"));
    sites[0].space().run(&format!("ip route add {net_b}/{len} via {bridge}"));
    far
}

fn a_narrow_path_swallows_nothing(workers: usize) {
    for version in [Version::V4, Version::V6] {
        let mut sites = Underlay::between(2).version(version).workers(workers).build();
        let key = ClientKey::new(&sites[1]);
        let text = key.adapter(&sites[0]);
        sites[0].start(&text);
        let web = sites[0].host("tap-a", "10.10.0.5/24");
        let _far = move_away(&sites, version);
        let inside = ["10.10.0.201/32"];
        let client = Client::start(&sites[1], Program::WireguardGo, &inside, &["10.10.0.0/24"]);
        let endpoint = sites[0].endpoint().to_string();
        let words = ["endpoint", &endpoint, "allowed-ips", "10.10.0.0/24"];
        client.connect(&key, sites[0].public_key(), &words);
        until("the client reaches the host", || pings(sites[1].space(), "10.10.0.5"));
        // The largest packets that the adapter carries.
        until("full packets reach the client", || {
            let full = web.space().exec("ping -c 1 -W 1 -M do -s 1392 10.10.0.201");
            full.status.success()
        });
        let flows = [
            Flow::between(sites[1].space(), web.space(), "10.10.0.5"),
            Flow::between(web.space(), sites[1].space(), "10.10.0.201"),
        ];
        flows.iter().for_each(|flow| flow.wait_for(SOME));
        for flow in flows {
            flow.finish();
        }
    }
}

each_worker_count!(a_narrow_path_swallows_nothing);
