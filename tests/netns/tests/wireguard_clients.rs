//! Clients that nobody here wrote reach a VLAN, and the VLAN's hosts reach them: over IPv4 and IPv6, inside and outside,
//! whoever begins the handshake.
//!
//! ```text
//!   web, 10.10.0.5, fd10::5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.1, fd10::1 ══ underlay ══ site b: client
//!                                                                               10.10.0.201, fd10::201, device wg0
//! ```

use std::net::SocketAddr;

use weft_netns::{
    Client, ClientKey, Host, Program, Sites, Underlay, Version, each_worker_count, pings,
    preshared_key, until,
};

const INSIDE: [&str; 2] = ["10.10.0.201/32", "fd10::201/128"];
const NETWORKS: [&str; 2] = ["10.10.0.0/24", "fd10::/64"];
/// Bytes of a stream.
const SOME: &str = "8M";

/// What the adapter's own table says, with a peer that has these keys beside.
fn config(sites: &Sites, client: &ClientKey, keys: &str) -> String {
    format!(
        "[port.web]\ntype = \"tap\"\ndevice = \"tap-a\"\nvlan = {{ access = 10 }}\n\
         [wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\", \"fd10::1/64\"]\n\
         listen = \"[::]:51820\"\nprivate-key-file = \"{}\"\n\
         [wireguard.road.peer.alice]\npublic-key = \"{}\"\nallowed-ips = [\"{}\", \"{}\"]\n{keys}\n",
        sites[0].key_file().display(),
        client.public(),
        INSIDE[0],
        INSIDE[1],
    )
}

fn web(sites: &Sites) -> Host {
    let web = sites[0].host("tap-a", "10.10.0.5/24");
    web.add_ipv6("fd10::5/64");
    web
}

/// Where the adapter listens.
fn endpoint(sites: &Sites) -> String {
    SocketAddr::new(sites[0].address(), 51_820).to_string()
}

fn reach_each_other(sites: &Sites, web: &Host) {
    for (ours, theirs) in [("10.10.0.5", "10.10.0.201"), ("fd10::5", "fd10::201")] {
        until(&format!("the client reaches {ours}"), || pings(sites[1].space(), ours));
        until(&format!("the host reaches {theirs}"), || web.pings(theirs));
    }
    for adapter in ["10.10.0.1", "fd10::1"] {
        assert!(pings(sites[1].space(), adapter), "the client reaches the adapter's {adapter}");
        assert!(web.pings(adapter), "the host reaches the adapter's {adapter}");
    }
}

/// TCP both ways, over IPv4 and IPv6 inside.
fn streams_cross(sites: &Sites, web: &Host) {
    for address in ["10.10.0.5", "fd10::5"] {
        for direction in ["", "-R"] {
            let server = web.iperf_server();
            sites[1].space().run(&format!("iperf3 -c {address} -n {SOME} {direction}"));
            drop(server);
        }
    }
    web.assert_no_bad_checksums();
}

fn check(program: Program, version: Version, workers: usize) {
    let mut sites = Underlay::between(2).version(version).workers(workers).build();
    let key = ClientKey::new(&sites[1]);
    let text = config(&sites, &key, "");
    sites[0].start(&text);
    let web = web(&sites);
    let client = Client::start(&sites[1], program, &INSIDE, &NETWORKS);
    let server = sites[0].public_key().to_owned();
    let words = ["endpoint", &endpoint(&sites), "allowed-ips", "10.10.0.0/24,fd10::/64"];
    client.connect(&key, &server, &words);
    reach_each_other(&sites, &web);
    streams_cross(&sites, &web);
    let shown = sites[0].ctl().json("wireguard show road");
    let peer = &shown["peers"][0];
    assert!(peer["handshake-age-seconds"].as_u64().is_some_and(|age| age < 60), "{shown}");
    assert!(peer["rx-bytes"].as_u64() > Some(500), "{shown}");
    assert!(peer["tx-bytes"].as_u64() > Some(500), "{shown}");
    // boringtun-cli says there how long ago it was.
    assert!(program == Program::Boringtun || client.shown("latest-handshakes") != "0");
    let port = sites[0].ctl().port("wireguard.road");
    assert_eq!((&port["type"], &port["state"]), (&"wireguard".into(), &"up".into()));
}

fn wireguard_go_reaches_the_vlan(workers: usize) {
    check(Program::WireguardGo, Version::V4, workers);
    check(Program::WireguardGo, Version::V6, workers);
}

fn boringtun_reaches_the_vlan(workers: usize) {
    check(Program::Boringtun, Version::V4, workers);
    check(Program::Boringtun, Version::V6, workers);
}

/// The adapter has the client's address, and something to send to it; the client knows no address.
fn called_by_the_adapter(program: Program, version: Version, workers: usize) {
    let mut sites = Underlay::between(2).version(version).workers(workers).build();
    let key = ClientKey::new(&sites[1]);
    let secret = preshared_key(&sites[0], "psk");
    let there = format!(
        "endpoint = \"{}\"\npreshared-key-file = \"{}\"",
        SocketAddr::new(sites[1].address(), 51_821),
        secret.display()
    );
    let text = config(&sites, &key, &there);
    let client = Client::start(&sites[1], program, &INSIDE, &NETWORKS);
    let server = sites[0].public_key().to_owned();
    let words =
        ["allowed-ips", "10.10.0.0/24,fd10::/64", "preshared-key", secret.to_str().unwrap()];
    client.connect(&key, &server, &words);
    client.wg(&["set", "wg0", "listen-port", "51821"]);
    sites[0].start(&text);
    let web = web(&sites);
    until("the host reaches the client", || web.pings("10.10.0.201"));
    reach_each_other(&sites, &web);
    streams_cross(&sites, &web);
}

fn the_adapter_calls_wireguard_go(workers: usize) {
    called_by_the_adapter(Program::WireguardGo, Version::V4, workers);
    called_by_the_adapter(Program::WireguardGo, Version::V6, workers);
}

fn the_adapter_calls_boringtun(workers: usize) {
    called_by_the_adapter(Program::Boringtun, Version::V4, workers);
    called_by_the_adapter(Program::Boringtun, Version::V6, workers);
}

/// Two clients, each on a site of its own, reach each other by the adapter, and only from their own addresses.
fn clients_reach_each_other(workers: usize) {
    const BOB: [&str; 2] = ["10.10.0.202/32", "fd10::202/128"];
    let mut sites = Underlay::between(3).workers(workers).build();
    let [alice, bob] = [&sites[1], &sites[2]].map(ClientKey::new);
    let second = format!(
        "[wireguard.road.peer.bob]\npublic-key = \"{}\"\nallowed-ips = [\"{}\", \"{}\"]\n",
        bob.public(),
        BOB[0],
        BOB[1]
    );
    let text = config(&sites, &alice, "") + &second;
    sites[0].start(&text);
    let server = sites[0].public_key().to_owned();
    let endpoint = endpoint(&sites);
    let words = ["endpoint", &endpoint, "allowed-ips", "10.10.0.0/24,fd10::/64"];
    let clients = [(1, Program::WireguardGo, INSIDE, &alice), (2, Program::Boringtun, BOB, &bob)]
        .map(|(site, program, addresses, key)| {
            let client = Client::start(&sites[site], program, &addresses, &NETWORKS);
            client.connect(key, &server, &words);
            client
        });
    // Whom nobody has heard of cannot be sent to: each shows itself first.
    for site in sites.iter().skip(1) {
        until("the client reaches the adapter", || pings(site.space(), "10.10.0.1"));
    }
    for (from, to) in [(1, "10.10.0.202"), (1, "fd10::202"), (2, "10.10.0.201"), (2, "fd10::201")] {
        until(&format!("client {from} reaches {to}"), || pings(sites[from].space(), to));
    }
    // An address that is not the client's own: the adapter drops what comes from there.
    let not_allowed = || {
        let shown = sites[0].ctl().json("wireguard show road");
        let peers = shown["peers"].as_array().cloned().unwrap_or_default();
        let alice = peers.iter().find(|peer| peer["name"] == "alice").cloned();
        alice.map(|peer| peer["drops"]["not-allowed"].as_u64().unwrap_or(0))
    };
    assert_eq!(not_allowed(), Some(0));
    sites[1].space().run("ip addr add 10.10.0.77/32 dev wg0");
    let foreign = sites[1].space().exec("ping -c 3 -i 0.2 -W 1 -I 10.10.0.77 10.10.0.202");
    assert!(!foreign.status.success(), "a foreign source is answered");
    assert_eq!(not_allowed(), Some(3));
    drop(clients);
}

each_worker_count!(
    clients_reach_each_other,
    wireguard_go_reaches_the_vlan,
    boringtun_reaches_the_vlan,
    the_adapter_calls_wireguard_go,
    the_adapter_calls_boringtun,
);
