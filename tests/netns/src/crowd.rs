//! Clients of one adapter that nobody here wrote, all at once: each implementation in both roles of the handshake, over IPv4
//! and over IPv6, each with a preshared key and behind a translator of its own. The kernel's are devices of one guest.
//!
//! ```text
//!   web, 10.10.0.5, fd10::5 ── tap-a ─ site a: weftd, wireguard.road 10.10.0.1, fd10::1
//!      ══ underlay ══╤═ nat ── site b: wireguard-go, device wg0, 10.10.0.201, fd10::201
//!                    ├═ nat ── site c: …
//!                    └═ nat ── guest: 10.99.0.99, fd99::99; device wg9 in a namespace of its own, 10.10.0.209, fd10::209 …
//! ```

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Command,
};

use crate::{
    Client, ClientKey, Daemon, Flow, Guest, GuestNic, Host, Lab, Nat, Process, Program, Sites,
    Underlay, Version, preshared_key, until,
};

/// Where clients listen whom the adapter calls; those of the guest one behind the other.
const PORT: u16 = 51_821;
/// Where clients send back what comes over IPv4 and IPv6.
const ECHOES: [u16; 2] = [5001, 5002];
const NETWORKS: [&str; 2] = ["10.10.0.0/24", "fd10::/64"];
/// Each client has something to say: nobody makes a new session for keepalives alone.
const TALK: &str = "while :; do ping -c 1 -W 1 10.10.0.5; sleep 1; done";
/// A client's device on its site.
const DEVICE: &str = "wg0";

/// Who speaks WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// A program on a site of its own.
    Program(Program),
    /// The kernel of a guest.
    Kernel,
}

/// Who begins the first handshake, since the other does not know where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The client, who has the adapter's address.
    Client,
    /// The adapter, which has the client's.
    Adapter,
}

const IMPLEMENTATIONS: [Implementation; 3] = [
    Implementation::Program(Program::WireguardGo),
    Implementation::Program(Program::Boringtun),
    Implementation::Kernel,
];
const CALLERS: [Caller; 2] = [Caller::Client, Caller::Adapter];
const VERSIONS: [Version; 2] = [Version::V4, Version::V6];

/// One of the clients.
#[derive(Debug)]
pub struct Stock {
    implementation: Implementation,
    caller: Caller,
    version: Version,
    /// From 1; of a program, of its site.
    number: u16,
    key: ClientKey,
    preshared: PathBuf,
    nat: Nat,
    client: Option<Client>,
}

/// The adapter, a host on its VLAN, and the clients.
#[derive(Debug)]
pub struct Crowd {
    stocks: Vec<Stock>,
    _servers: Vec<Process>,
    guest: Guest,
    _lab: Lab,
    web: Host,
    sites: Sites,
}

impl Crowd {
    /// Makes them; all have a session with the adapter.
    #[track_caller]
    pub fn new(workers: usize) -> Self {
        let kinds = IMPLEMENTATIONS.into_iter().flat_map(|implementation| {
            let both = CALLERS.into_iter().flat_map(|caller| VERSIONS.map(|it| (caller, it)));
            both.map(move |(caller, version)| (implementation, caller, version))
        });
        let kinds: Vec<_> = kinds.collect();
        let programs = kinds.iter().filter(|(it, ..)| *it != Implementation::Kernel).count();
        let mut sites = Underlay::between(1 + programs).workers(workers).build();
        let adapter = [sites[0].address(), sites[0].add_address(Version::V6)];
        let stocks =
            (1..).zip(kinds).map(|(number, kind)| Stock::new(&sites, adapter, number, kind));
        let stocks: Vec<_> = stocks.collect();
        let web = Host::on_veth(sites[0].lab(), "tap-a", "10.10.0.5/24");
        web.add_ipv6("fd10::5/64");
        let mut text = format!(
            "[port.web]\ntype = \"netdev\"\ndevice = \"tap-a\"\nvlan = {{ access = 10 }}\n\
             [wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\", \"fd10::1/64\"]\n\
             listen = \"[::]:51900\"\nprivate-key-file = \"{}\"\n",
            sites[0].key_file().display()
        );
        text.extend(stocks.iter().map(Stock::table));
        sites[0].start(&text);
        let lab = Lab::in_namespace(workers, sites.path().clone());
        let nic = GuestNic::VirtioTap { device: "tapg".into(), mac: "52:54:00:00:00:01" };
        let mut guest = Guest::boot(&lab, "g", &[nic]);
        sites.path().run("ip link set tapg master bridge up");
        guest.set_address("10.99.0.99/24");
        guest.run("ip addr add fd99::99/64 dev eth0 nodad");
        guest.run("mkdir -p /var/run && modprobe wireguard");
        let servers = stocks.iter().flat_map(|stock| stock.settle(&sites, &mut guest)).collect();
        let mut crowd = Self { stocks, _servers: servers, guest, _lab: lab, web, sites };
        crowd.start_clients();
        crowd
    }

    /// Returns the clients.
    pub fn stocks(&self) -> &[Stock] {
        &self.stocks
    }

    /// Returns the host on the VLAN.
    pub fn web(&self) -> &Host {
        &self.web
    }

    /// Returns the adapter's daemon.
    pub fn daemon(&self) -> &Daemon {
        self.sites[0].daemon()
    }

    /// Returns the adapter's daemon, to be ended and started.
    pub fn daemon_mut(&mut self) -> &mut Daemon {
        self.sites[0].daemon_mut()
    }

    /// Starts a stream to each client and back, inside over IPv4 and over IPv6.
    #[track_caller]
    pub fn streams(&self) -> Vec<Flow> {
        let ends = self.stocks.iter().flat_map(|stock| stock.inside().into_iter().zip(ECHOES));
        ends.map(|end| Flow::trickle(self.web.space(), end.into())).collect()
    }

    /// Ends each client and starts it anew, with what it was told before.
    #[track_caller]
    pub fn restart_clients(&mut self) {
        for stock in &mut self.stocks {
            stock.stop(&self.sites, &mut self.guest);
        }
        self.start_clients();
    }

    /// Has each translator forget its mapping.
    pub fn forget_mappings(&self) {
        self.stocks.iter().for_each(|stock| stock.nat.forget());
    }

    /// Tells what the adapter says of a client.
    #[track_caller]
    pub fn shown(&self, stock: &Stock) -> serde_json::Value {
        let shown = self.sites[0].ctl().json("wireguard show road");
        let mut peers = shown["peers"].as_array().into_iter().flatten();
        peers.find(|peer| peer["name"] == stock.name()).expect("the client is known").clone()
    }

    #[track_caller]
    fn start_clients(&mut self) {
        let server = self.sites[0].public_key().to_owned();
        for stock in &mut self.stocks {
            stock.start(&self.sites, &mut self.guest, &server);
        }
    }
}

impl Stock {
    #[track_caller]
    fn new(
        sites: &Sites,
        adapter: [IpAddr; 2],
        number: u16,
        (implementation, caller, version): (Implementation, Caller, Version),
    ) -> Self {
        let place = usize::from(number);
        let port = sites[0].endpoint().port();
        let nat = sites.nat_towards(SocketAddr::new(adapter[version as usize], port));
        let own = match (implementation, version) {
            (Implementation::Program(_), Version::V4) => sites[place].address(),
            (Implementation::Program(_), Version::V6) => sites[place].add_address(Version::V6),
            (Implementation::Kernel, Version::V4) => [10, 99, 0, 99].into(),
            (Implementation::Kernel, Version::V6) => [0xfd99, 0, 0, 0, 0, 0, 0, 0x99].into(),
        };
        nat.open_to(SocketAddr::new(own, Self::port(number)));
        let preshared = preshared_key(&sites[0], &format!("c{number}.psk"));
        let key = ClientKey::in_lab(sites[0].lab(), &format!("c{number}.key"));
        Self { implementation, caller, version, number, key, preshared, nat, client: None }
    }

    /// Returns its name as a peer.
    pub fn name(&self) -> String {
        let who = match self.implementation {
            Implementation::Program(Program::WireguardGo) => "go",
            Implementation::Program(Program::Boringtun) => "boringtun",
            Implementation::Kernel => "kernel",
        };
        let caller = if self.caller == Caller::Client { "calls" } else { "called" };
        format!("{who}-{caller}-{:?}", self.version).to_lowercase()
    }

    /// Returns its addresses inside.
    pub fn inside(&self) -> [IpAddr; 2] {
        let last = 200 + self.number;
        let v6 = format!("fd10::{last}").parse().expect("it is an address");
        [IpAddr::from([10, 10, 0, last as u8]), v6]
    }

    /// Returns where the adapter sees it.
    pub fn outside(&self) -> SocketAddr {
        self.nat.outside()
    }

    fn port(number: u16) -> u16 {
        PORT + number
    }

    /// Returns its table of the adapter's configuration.
    fn table(&self) -> String {
        let [v4, v6] = self.inside();
        let mut table = format!(
            "[wireguard.road.peer.{}]\npublic-key = \"{}\"\npreshared-key-file = \"{}\"\n\
             allowed-ips = [\"{v4}/32\", \"{v6}/128\"]\n",
            self.name(),
            self.key.public(),
            self.preshared.display()
        );
        if self.caller == Caller::Adapter {
            table += &format!("endpoint = \"{}\"\n", self.outside());
        }
        table
    }

    /// Begins what goes on when it begins anew; what of that runs outside the guest is returned.
    #[track_caller]
    fn settle(&self, sites: &Sites, guest: &mut Guest) -> Vec<Process> {
        let number = self.number;
        match self.implementation {
            Implementation::Program(_) => {
                let space = sites[usize::from(number)].space();
                let servers = ECHOES.into_iter().zip(["TCP4", "TCP6"]).map(|(port, family)| {
                    let line = format!("socat -t 60 {family}-LISTEN:{port},fork EXEC:cat");
                    Process::start_line(space, &line)
                });
                let mut talk = Command::new("sh");
                talk.args(["-c", TALK]);
                servers.chain([Process::start("talk", space, talk)]).collect()
            }
            Implementation::Kernel => {
                guest.run(&format!("ip netns add c{number}"));
                for port in ECHOES {
                    let line = format!("ip netns exec c{number} nc -l -p {port} -e cat");
                    guest.run(&format!("({line} >/dev/null 2>&1 &)"));
                }
                for (file, name) in [(self.key.file(), "key"), (&*self.preshared, "psk")] {
                    let secret = fs::read_to_string(file).expect("it is the test's own");
                    guest.run(&format!("echo {} >/tmp/c{number}.{name}", secret.trim()));
                }
                guest.run(&format!("(ip netns exec c{number} sh -c '{TALK}' >/dev/null 2>&1 &)"));
                Vec::new()
            }
        }
    }

    /// Starts it and has it reach the VLAN, or be reached.
    #[track_caller]
    fn start(&mut self, sites: &Sites, guest: &mut Guest, server: &str) {
        let (nat, networks) = (self.nat.inside().to_string(), NETWORKS.join(","));
        let mut words = vec!["allowed-ips", &networks];
        if self.caller == Caller::Client {
            words.extend(["endpoint", &nat]);
        }
        words.push("preshared-key");
        let (number, port) = (self.number, Self::port(self.number));
        match self.implementation {
            Implementation::Program(program) => {
                let [v4, v6] = self.inside();
                let inside = [format!("{v4}/32"), format!("{v6}/128")];
                let inside = inside.each_ref().map(String::as_str);
                let site = &sites[usize::from(number)];
                let client = Client::start(site, program, &inside, &NETWORKS);
                words.push(self.preshared.to_str().expect("a path of the test's own is text"));
                client.connect(&self.key, server, &words);
                client.wg(&["set", DEVICE, "listen-port", &port.to_string()]);
                self.client = Some(client);
            }
            Implementation::Kernel => {
                // Its socket stays where it was made.
                guest.run(&format!("ip link add wg{number} type wireguard"));
                guest.run(&format!("ip link set wg{number} netns c{number}"));
                let own = format!("listen-port {port} private-key /tmp/c{number}.key");
                let peer = format!("peer {server} {} /tmp/c{number}.psk", words.join(" "));
                guest.run(&format!("ip netns exec c{number} wg set wg{number} {own} {peer}"));
                let [v4, v6] = self.inside();
                guest.run(&format!("ip -n c{number} addr add {v4}/24 dev wg{number}"));
                guest.run(&format!("ip -n c{number} addr add {v6}/64 dev wg{number} nodad"));
                guest.run(&format!("ip -n c{number} link set wg{number} up"));
            }
        }
    }

    #[track_caller]
    fn stop(&mut self, sites: &Sites, guest: &mut Guest) {
        let number = self.number;
        match self.implementation {
            Implementation::Program(_) => {
                self.client = None;
                let space = sites[usize::from(number)].space();
                until("the client's device is gone", || !space.has_device(DEVICE));
            }
            Implementation::Kernel => {
                guest.run(&format!("ip -n c{number} link del wg{number}"));
            }
        }
    }
}
