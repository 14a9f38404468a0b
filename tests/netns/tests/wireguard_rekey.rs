//! Clients that nobody here wrote change their keys after two minutes, as WireGuard does, and nothing that is on the way
//! is lost: each sends and hears all the time.
//!
//! ```text
//!   web, 10.10.0.5 ── tap-a ─ site a: wireguard.road ══ underlay ══╤═ site b: wireguard-go, 10.10.0.201
//!                                                                 └═ site c: boringtun-cli, 10.10.0.202
//! ```

use std::{process::Output, thread};

use weft_netns::{Client, ClientKey, Program, Underlay, pings, until};

/// Longer than a session lives: Rekey-After-Time is 120 s.
const PINGS: u32 = 2700;

fn loss(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find(|line| line.contains("packets transmitted")).unwrap_or(&text).to_owned()
}

#[test]
fn nothing_is_lost_when_a_clients_keys_change() {
    let mut sites = Underlay::between(3).workers(2).build();
    let keys = [&sites[1], &sites[2]].map(ClientKey::new);
    let mut text = format!(
        "[port.web]\ntype = \"tap\"\ndevice = \"tap-a\"\nvlan = {{ access = 10 }}\n\
         [wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\"]\nlisten = \"[::]:51820\"\n\
         private-key-file = \"{}\"\n",
        sites[0].key_file().display()
    );
    for (number, key) in (201..).zip(&keys) {
        text += &format!(
            "[wireguard.road.peer.c{number}]\npublic-key = \"{}\"\n\
             allowed-ips = [\"10.10.0.{number}/32\"]\n",
            key.public()
        );
    }
    sites[0].start(&text);
    let web = sites[0].host("tap-a", "10.10.0.5/24");
    let server = sites[0].public_key().to_owned();
    let endpoint = std::net::SocketAddr::new(sites[0].address(), 51_820).to_string();
    let programs = [Program::WireguardGo, Program::Boringtun];
    let addresses = ["10.10.0.201/32", "10.10.0.202/32"];
    let clients: Vec<_> = (0..2)
        .map(|at| {
            let networks = ["10.10.0.0/24"];
            let site = &sites[at + 1];
            let client = Client::start(site, programs[at], &addresses[at..=at], &networks);
            let words = ["endpoint", &endpoint, "allowed-ips", "10.10.0.0/24"];
            client.connect(&keys[at], &server, &words);
            until("the client reaches the host", || pings(site.space(), "10.10.0.5"));
            client
        })
        .collect();

    let line = format!("ping -q -i 0.05 -c {PINGS} -W 5");
    let spaces = [sites[1].space(), sites[2].space()];
    let said: Vec<_> = thread::scope(|scope| {
        let to_web = spaces.map(|space| (space, "10.10.0.5"));
        let from_web = ["10.10.0.201", "10.10.0.202"].map(|client| (web.space(), client));
        let all = to_web.into_iter().chain(from_web);
        let begun: Vec<_> = all
            .map(|(space, address)| {
                let line = format!("{line} {address}");
                scope.spawn(move || loss(&space.exec(&line)))
            })
            .collect();
        begun.into_iter().map(|ping| ping.join().expect("a ping ends")).collect()
    });
    for line in said {
        assert!(line.contains(&format!("{PINGS} received")), "{line}");
    }
    let shown = sites[0].ctl().json("wireguard show road");
    for peer in shown["peers"].as_array().expect("a list") {
        let age = peer["handshake-age-seconds"].as_u64();
        assert!(age.is_some_and(|age| age < 60), "its keys have not changed: {peer}");
    }
    drop(clients);
}
