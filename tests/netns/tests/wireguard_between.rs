//! What clients send each other crosses the adapter without the VLAN: streams whole, packets that are too large in pieces, and
//! what does not get there is counted, with its reason, where it came in and with whom it was for.
//!
//! ```text
//!   site a: weftd, wireguard.road 10.10.0.1, fd10::1 ══ underlay ══╤═ site b: wireguard-go, alice 10.10.0.201, fd10::201
//!                                                                 └═ site c: boringtun-cli, bob 10.10.0.202, fd10::202
//! ```

use serde_json::{Value, json};
use weft_netns::{
    Client, ClientKey, Flow, Program, Sites, Underlay, each_worker_count, pings, until,
};

const PORT: &str = "wireguard.road";
const NETWORKS: [&str; 2] = ["10.10.0.0/24", "fd10::/64"];
const SOME: u64 = 3_000_000;

struct Scene {
    sites: Sites,
    _clients: Vec<Client>,
}

impl Scene {
    fn new(workers: usize) -> Self {
        let mut sites = Underlay::between(3).workers(workers).build();
        let keys = [&sites[1], &sites[2]].map(ClientKey::new);
        // Of carol nobody has heard; where dave should be, nobody answers.
        let lab = sites[0].lab();
        let absent = ["carol.key", "dave.key"].map(|file| ClientKey::in_lab(lab, file));
        let dave = "endpoint = \"10.99.0.77:51820\"";
        let table = |name: &str, last: u8, key: &ClientKey, more: &str| {
            let key = key.public();
            format!(
                "[wireguard.road.peer.{name}]\npublic-key = \"{key}\"\n\
                 allowed-ips = [\"10.10.0.{last}/32\", \"fd10::{last}/128\"]\n{more}\n"
            )
        };
        let text = [
            format!(
                "[wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\", \"fd10::1/64\"]\n\
                 listen = \"[::]:51900\"\nprivate-key-file = \"{}\"\n",
                sites[0].key_file().display()
            ),
            table("alice", 201, &keys[0], ""),
            table("bob", 202, &keys[1], ""),
            table("carol", 203, &absent[0], ""),
            table("dave", 204, &absent[1], dave),
        ];
        sites[0].start(&text.concat());
        let endpoint = sites[0].endpoint().to_string();
        let words = ["endpoint", &endpoint, "allowed-ips", "10.10.0.0/24,fd10::/64"];
        let programs = [Program::WireguardGo, Program::Boringtun];
        let clients = (1..).zip(programs).zip(&keys).map(|((site, program), key)| {
            let inside = [format!("10.10.0.20{site}/32"), format!("fd10::20{site}/128")];
            let inside = inside.each_ref().map(String::as_str);
            let client = Client::start(&sites[site], program, &inside, &NETWORKS);
            client.connect(key, sites[0].public_key(), &words);
            // Whom nobody has heard of cannot be sent to: each shows itself first.
            until("the client reaches the adapter", || pings(sites[site].space(), "10.10.0.1"));
            client
        });
        let clients = clients.collect();
        let scene = Self { sites, _clients: clients };
        for (from, to) in [(1, "10.10.0.202"), (1, "fd10::202"), (2, "10.10.0.201")] {
            until(&format!("{from} reaches {to}"), || pings(scene.sites[from].space(), to));
        }
        scene
    }

    /// What was dropped at the adapter's port, both ways.
    fn drops(&self) -> [Value; 2] {
        let port = self.sites[0].ctl().port(PORT);
        ["rx", "tx"].map(|way| port[way]["drops"].clone())
    }

    /// How often something for a client was dropped for a reason.
    fn dropped(&self, name: &str, reason: &str) -> u64 {
        let shown = self.sites[0].ctl().json("wireguard show road");
        let mut peers = shown["peers"].as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["name"] == name).expect("the client is known");
        peer["drops"][reason].as_u64().unwrap_or(0)
    }
}

fn streams_between_clients_lose_nothing(workers: usize) {
    let scene = Scene::new(workers);
    let before = scene.drops();
    let [alice, bob] = [1, 2].map(|site| scene.sites[site].space());
    let flows = [
        Flow::between(alice, bob, "10.10.0.202"),
        Flow::between(bob, alice, "10.10.0.201"),
        Flow::between(alice, bob, "fd10::202"),
        Flow::between(bob, alice, "fd10::201"),
    ];
    flows.iter().for_each(|flow| flow.wait_for(SOME));
    for flow in flows {
        flow.finish();
    }
    assert_eq!(scene.drops(), before);
}

fn what_is_too_large_for_a_client_is_cut_or_refused(workers: usize) {
    let scene = Scene::new(workers);
    let alice = scene.sites[1].space();
    alice.run("ip link set wg0 mtu 1440");
    // What may be cut arrives, and its answer does.
    until("a ping in pieces", || {
        alice.exec("ping -M dont -c 1 -W 1 -s 1412 10.10.0.202").status.success()
    });
    let ping = alice.exec("ping -M do -c 1 -W 5 -s 1412 10.10.0.202");
    let said = String::from_utf8_lossy(&ping.stdout);
    assert!(!ping.status.success() && said.contains("mtu = 1420"), "{said}");
    scene.sites[0].ctl().wait_for_drops(PORT, "rx", "oversize", 1);
    assert_eq!(scene.dropped("alice", "too-big"), 1);
}

fn what_does_not_reach_a_client_is_counted(workers: usize) {
    let scene = Scene::new(workers);
    let alice = scene.sites[1].space();
    let ctl = scene.sites[0].ctl();
    let before = ctl.drops(PORT, "rx", "no-session");
    let ping = alice.exec("ping -c 3 -i 0.2 -W 5 10.10.0.203");
    let said = String::from_utf8_lossy(&ping.stdout);
    assert!(said.contains("From 10.10.0.1") && said.contains("Unreachable"), "{said}");
    until("it is counted", || ctl.drops(PORT, "rx", "no-session") == before + 3);
    assert_eq!(scene.dropped("carol", "no-endpoint"), 3);
    // Some wait for a session that nobody makes; what is more is lost, the oldest first.
    alice.exec("ping -c 80 -i 0.01 -W 1 10.10.0.204");
    until("what waited is counted", || ctl.drops(PORT, "rx", "no-session") == before + 3 + 80 - 64);
    assert_eq!(scene.dropped("dave", "no-session"), 80 - 64);
    assert_eq!(scene.drops()[1], json!({}));
    // Nothing has to be sent for what waited to be counted.
    ctl.run("wireguard peer remove road dave");
    until("what still waited is counted", || scene.drops()[1] == json!({"no-session": 64}));
}

each_worker_count!(
    streams_between_clients_lose_nothing,
    what_is_too_large_for_a_client_is_cut_or_refused,
    what_does_not_reach_a_client_is_counted,
);
