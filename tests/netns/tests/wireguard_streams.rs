//! TCP between a client and a host on the VLAN, every byte compared, both ways: over a path of 1500 bytes, and while the client
//! or the adapter comes from another address.
//!
//! ```text
//!   web, 10.10.0.5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.1 ══ underlay ══ site b: client 10.10.0.201
//! ```

use std::net::SocketAddr;

use weft_netns::{
    Client, ClientKey, Flow, Host, PATIENCE, Program, Sites, Underlay, Version, each_worker_count,
    pings, until, until_within,
};

const SOME: u64 = 3_000_000;

struct Scene {
    sites: Sites,
    web: Host,
    client: Client,
    key: ClientKey,
}

impl Scene {
    fn new(program: Program, workers: usize) -> Self {
        let mut sites = Underlay::between(2).workers(workers).build();
        let key = ClientKey::new(&sites[1]);
        let text = key.adapter(&sites[0]);
        sites[0].start(&text);
        let web = sites[0].host("tap-a", "10.10.0.5/24");
        let client = Client::start(&sites[1], program, &["10.10.0.201/32"], &["10.10.0.0/24"]);
        connect(&client, &sites, &key, &sites[0].endpoint().to_string());
        let scene = Self { sites, web, client, key };
        scene.wait_for_ping();
        scene
    }

    /// Has the client forget the adapter and know it again there, by this key.
    fn reconnect(&self, key: &ClientKey, endpoint: &str) {
        self.client.wg(&["set", "wg0", "peer", self.sites[0].public_key(), "remove"]);
        connect(&self.client, &self.sites, key, endpoint);
    }

    fn wait_for_ping(&self) {
        // A client that has no answer any more begins a new handshake after 15 s.
        until_within("the client reaches the host", PATIENCE * 4, || {
            pings(self.sites[1].space(), "10.10.0.5")
        });
    }

    fn streams(&self) -> [Flow; 2] {
        let (web, client) = (self.web.space(), self.sites[1].space());
        let flows =
            [Flow::between(client, web, "10.10.0.5"), Flow::between(web, client, "10.10.0.201")];
        flows.iter().for_each(|flow| flow.wait_for(SOME));
        flows
    }

    fn alice(&self) -> serde_json::Value {
        self.sites[0].ctl().json("wireguard show road")["peers"][0].clone()
    }
}

fn connect(client: &Client, sites: &Sites, key: &ClientKey, endpoint: &str) {
    let words = ["endpoint", endpoint, "allowed-ips", "10.10.0.0/24", "persistent-keepalive", "1"];
    client.connect(key, sites[0].public_key(), &words);
}

fn streams_cross(program: Program, workers: usize) {
    let scene = Scene::new(program, workers);
    for flow in scene.streams() {
        flow.finish();
    }
    scene.web.assert_no_bad_checksums();
    let port = scene.sites[0].ctl().port("wireguard.road");
    assert_eq!(port["rx"]["drops"], serde_json::json!({}), "{port}");
    assert_eq!(port["tx"]["drops"], serde_json::json!({}), "{port}");
}

fn streams_of_wireguard_go_cross(workers: usize) {
    streams_cross(Program::WireguardGo, workers);
}

fn streams_of_boringtun_cross(workers: usize) {
    streams_cross(Program::Boringtun, workers);
}

/// The client is behind a translator that forgets its mapping.
fn roams(program: Program, workers: usize) {
    let scene = Scene::new(program, workers);
    let nat = scene.sites.nat_to(0);
    scene.reconnect(&scene.key, &nat.inside().to_string());
    let follows = || {
        until("the adapter follows", || scene.alice()["endpoint"] == nat.outside().to_string());
    };
    follows();
    let flows = scene.streams();
    for _ in 0..3 {
        let before = nat.outside();
        nat.forget();
        assert_ne!(nat.outside(), before);
        flows.iter().for_each(|flow| flow.wait_for(SOME));
        follows();
    }
    for flow in flows {
        flow.finish();
    }
}

fn wireguard_go_roams_in_mid_stream(workers: usize) {
    roams(Program::WireguardGo, workers);
}

fn boringtun_roams_in_mid_stream(workers: usize) {
    roams(Program::Boringtun, workers);
}

/// A translator lets nothing through but answers from where the client has called, which is not the address that the kernel
/// would choose.
fn a_client_is_answered_from_the_address_that_it_calls(workers: usize) {
    let scene = Scene::new(Program::WireguardGo, workers);
    scene.sites[0].space().run("ip addr add 10.99.0.111/24 dev under");
    let second = SocketAddr::from(([10, 99, 0, 111], scene.sites[0].endpoint().port()));
    let nat = scene.sites.nat_towards(second);
    scene.reconnect(&scene.key, &nat.inside().to_string());
    until("the client calls", || scene.alice()["endpoint"] == nat.outside().to_string());
    scene.wait_for_ping();
    for flow in scene.streams() {
        flow.finish();
    }
}

/// The adapter's host is given another address, and loses the one that the client calls.
fn a_client_follows_the_adapter_in_mid_stream(workers: usize) {
    let scene = Scene::new(Program::WireguardGo, workers);
    let flows = scene.streams();
    let host = scene.sites[0].space();
    host.run("sysctl -qw net.ipv4.conf.under.promote_secondaries=1");
    host.run("ip addr add 10.99.0.111/24 dev under");
    host.run("ip addr del 10.99.0.1/24 dev under");
    flows.iter().for_each(|flow| flow.wait_for(SOME));
    until("the client follows", || scene.client.shown("endpoints") == "10.99.0.111:51900");
    for flow in flows {
        flow.finish();
    }
}

/// The session goes along, back from an address that the client has not called before.
fn a_client_goes_over_to_ipv6_in_mid_stream(workers: usize) {
    let scene = Scene::new(Program::WireguardGo, workers);
    let flows = scene.streams();
    let handshake = scene.client.shown("latest-handshakes");
    let [adapter, client] = [0, 1].map(|site| scene.sites[site].add_address(Version::V6));
    let port = scene.sites[0].endpoint().port();
    let endpoint = SocketAddr::new(adapter, port).to_string();
    let peer = ["set", "wg0", "peer", scene.sites[0].public_key(), "endpoint", &endpoint];
    until("the adapter follows", || {
        // What was on its way from the adapter's other address brings the client back there.
        scene.client.wg(&peer);
        scene.alice()["endpoint"].as_str().is_some_and(|it| it.contains(&client.to_string()))
    });
    flows.iter().for_each(|flow| flow.wait_for(SOME));
    for flow in flows {
        flow.finish();
    }
    assert_eq!(scene.client.shown("latest-handshakes"), handshake);
}

/// Nothing of what the client may not say reaches the VLAN, and what it may goes on.
fn a_source_that_is_not_the_clients_is_dropped_and_counted(workers: usize) {
    let scene = Scene::new(Program::WireguardGo, workers);
    let space = scene.sites[1].space();
    space.run("ip addr add 10.10.0.99/32 dev wg0");
    let before = scene.web.run("cat /proc/net/snmp");
    assert!(!space.exec("ping -c 3 -i 0.2 -W 1 -I 10.10.0.99 10.10.0.5").status.success());
    until("it is counted", || scene.alice()["drops"]["not-allowed"].as_u64() >= Some(3));
    let echoes = |text: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
        let names: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        let at = names.iter().position(|name| *name == "InEchos").unwrap();
        lines.next().unwrap().split_whitespace().nth(at).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(echoes(&scene.web.run("cat /proc/net/snmp")), echoes(&before));
    scene.wait_for_ping();
}

/// A change of the peers takes effect at once and does not disturb others.
fn a_client_that_is_removed_is_silent_at_once(workers: usize) {
    let scene = Scene::new(Program::WireguardGo, workers);
    scene.sites[0].ctl().run("wireguard peer remove road alice");
    assert!(!pings(scene.sites[1].space(), "10.10.0.5"));
    let add = format!(
        "wireguard peer add road alice --public-key {} --allowed-ips 10.10.0.201/32",
        scene.key.public()
    );
    scene.sites[0].ctl().run(&add);
    // The client would begin a new handshake only once its records have had no answer for long enough.
    scene.reconnect(&scene.key, &scene.sites[0].endpoint().to_string());
    scene.wait_for_ping();
}

/// Who is told another keepalive has the session that it had: the adapter knows no address of it but that.
fn another_keepalive_leaves_the_session(workers: usize) {
    let scene = Scene::new(Program::WireguardGo, workers);
    let flows = scene.streams();
    let handshake = scene.client.shown("latest-handshakes");
    for keepalive in ["25", "7", "off"] {
        let set = format!("set road peer {} persistent-keepalive {keepalive}", scene.key.public());
        let done = scene.sites[0].daemon().wg(&set);
        assert!(done.status.success(), "{done:?}");
        flows.iter().for_each(|flow| flow.wait_for(SOME));
    }
    for flow in flows {
        flow.finish();
    }
    assert_eq!(scene.client.shown("latest-handshakes"), handshake);
}

/// What the underlay shows of strangers: nothing comes back, whatever is sent.
fn a_stranger_hears_nothing(workers: usize) {
    let scene = Scene::new(Program::WireguardGo, workers);
    let stranger = ClientKey::new(&scene.sites[1]);
    scene.reconnect(&stranger, &scene.sites[0].endpoint().to_string());
    assert!(!pings(scene.sites[1].space(), "10.10.0.5"));
    until("it is counted", || {
        let shown = scene.sites[0].ctl().json("wireguard show road");
        shown["refused"]["unknown-peer"].as_u64() >= Some(1)
    });
    assert_eq!(scene.client.shown("latest-handshakes"), "0");
    // `transfer`: received first.
    assert!(scene.client.shown("transfer").starts_with("0 "));
}

each_worker_count!(
    streams_of_wireguard_go_cross,
    streams_of_boringtun_cross,
    wireguard_go_roams_in_mid_stream,
    boringtun_roams_in_mid_stream,
    a_client_is_answered_from_the_address_that_it_calls,
    a_client_follows_the_adapter_in_mid_stream,
    a_client_goes_over_to_ipv6_in_mid_stream,
    a_source_that_is_not_the_clients_is_dropped_and_counted,
    a_client_that_is_removed_is_silent_at_once,
    another_keepalive_leaves_the_session,
    a_stranger_hears_nothing,
);
