//! Sites: hosts with a `weftd` each, joined by an underlay that their tunnels cross.
//!
//! ```text
//!   site a: weftd, under 10.99.0.1 ── to-a ┐
//!   site b: weftd, under 10.99.0.2 ── to-b ┼ bridge, in a namespace of its own: the path between the sites
//!   site c: weftd, under 10.99.0.3 ── to-c ┘
//! ```
//!
//! Over IPv6 the addresses are fd99::1 and so on. A test puts what it wants on the path: delays and losses, a capture,
//! a link set down, a link that carries less than the sites believe.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use serde_json::Value;

use crate::{Ctl, Daemon, Host, Lab, Namespace, Nat, Nic, Watch, http, until_some};

/// The UDP port that every site's tunnels use.
const PORT: u16 = 51_900;

/// What the underlay is to be like.
#[derive(Clone, Debug)]
pub struct Underlay {
    sites: usize,
    version: Version,
    mtu: u32,
    workers: Option<usize>,
}

/// The version of IP between sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Underlay {
    /// An IPv4 underlay between so many sites, with an MTU of 1500; the daemons have as many workers as
    /// [`Lab::new`]'s.
    pub fn between(sites: usize) -> Self {
        assert!((1..=26).contains(&sites), "a site is called by a letter");
        Self { sites, version: Version::V4, mtu: 1500, workers: None }
    }

    /// Sets the version of IP.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Sets the MTU of every link.
    #[must_use]
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu, ..self }
    }

    /// Sets how many workers the daemons have.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// Makes the namespaces and devices, and a key for each site. No daemon runs yet.
    #[track_caller]
    pub fn build(&self) -> Sites {
        let path = Namespace::new();
        path.run("ip link add bridge type bridge");
        path.run("ip link set bridge up");
        let sites = (0..self.sites).map(|index| Site::new(self, &path, index)).collect();
        Sites { path, sites, translators: AtomicU8::new(0) }
    }
}

/// Hosts that can reach each other.
#[derive(Debug)]
pub struct Sites {
    path: Namespace,
    sites: Vec<Site>,
    /// How many were put onto the path.
    translators: AtomicU8,
}

impl Sites {
    /// Makes two sites, `a` and `b`, with an underlay of the usual kind.
    #[track_caller]
    pub fn two() -> Self {
        Underlay::between(2).build()
    }

    /// Starts a daemon on every site, each with every other as a peer that is named like its site. `switch` returns the
    /// site's ports and segments as TOML; `peer` stands in the table of every peer, say `segments = ["office"]`.
    #[track_caller]
    pub fn start(&mut self, switch: impl Fn(&Site) -> String, peer: &str) {
        let texts: Vec<String> = self
            .sites
            .iter()
            .map(|site| {
                let others = self.sites.iter().filter(|other| other.name != site.name);
                let peers = others.map(|other| site.peer(other, peer));
                [switch(site), site.vpn()].into_iter().chain(peers).collect()
            })
            .collect();
        for (site, text) in self.sites.iter_mut().zip(texts) {
            site.start(&text);
        }
    }

    /// Waits until every site whose daemon runs has a session with each of its peers.
    ///
    /// # Panics
    /// When one has not.
    #[track_caller]
    pub fn wait_for_tunnels(&self) {
        for site in self.sites.iter().filter(|site| site.daemon.is_some()) {
            for peer in site.peers() {
                let name = peer["name"].as_str().expect("a peer has a name");
                site.wait_for_peer(name, "up");
            }
        }
    }

    /// Returns the namespace of the path: site `a`'s link ends in device `to-a`, a port of the bridge there.
    pub fn path(&self) -> &Namespace {
        &self.path
    }

    /// Begins to watch the path.
    #[track_caller]
    pub fn watch(&self) -> Watch {
        Watch::open(&self.path)
    }

    /// Puts a translator of addresses onto the path, through which a site is reached.
    #[track_caller]
    pub fn nat_to(&self, site: usize) -> Nat {
        self.nat_towards(self.sites[site].endpoint())
    }

    /// Puts a translator of addresses onto the path, through which this address is reached, and only this one answers.
    #[track_caller]
    pub fn nat_towards(&self, far: SocketAddr) -> Nat {
        Nat::open(&self.path, self.translators.fetch_add(1, Relaxed), far)
    }

    /// Lets the path carry less than the sites' own devices say: what is larger vanishes without a word.
    pub fn narrow(&self, mtu: u32) {
        for site in &self.sites {
            self.path.run(&format!("ip link set {} mtu {mtu}", site.link));
        }
    }

    /// Cuts the way between a site and all others.
    pub fn cut(&self, site: usize) {
        self.path.run(&format!("ip link set {} nomaster", self.sites[site].link));
    }

    /// Undoes a cut.
    pub fn mend(&self, site: usize) {
        self.path.run(&format!("ip link set {} master bridge", self.sites[site].link));
    }

    /// Returns every site.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter()
    }

    /// Returns the first two.
    #[track_caller]
    pub fn pair(&self) -> (&Site, &Site) {
        (&self.sites[0], &self.sites[1])
    }
}

impl std::ops::Index<usize> for Sites {
    type Output = Site;

    fn index(&self, index: usize) -> &Site {
        &self.sites[index]
    }
}

impl std::ops::IndexMut<usize> for Sites {
    fn index_mut(&mut self, index: usize) -> &mut Site {
        &mut self.sites[index]
    }
}

/// A host with a key and, once it was started, a daemon. Its namespace is the switch's too.
#[derive(Debug)]
pub struct Site {
    name: String,
    link: String,
    index: usize,
    address: IpAddr,
    public_key: String,
    daemon: Option<Daemon>,
    lab: Lab,
}

impl Site {
    #[track_caller]
    fn new(underlay: &Underlay, path: &Namespace, index: usize) -> Self {
        let lab = underlay.workers.map_or_else(Lab::new, Lab::with_workers);
        let letter = char::from(b'a' + u8::try_from(index).expect("there are few sites"));
        let link = format!("to-{letter}");
        let space = lab.switch();
        space.run(&format!("ip link add under type veth peer name {link} netns {}", path.path()));
        let address = add_address(space, underlay.version, index);
        space.run(&format!("ip link set under mtu {} up", underlay.mtu));
        path.run(&format!("ip link set {link} master bridge"));
        path.run(&format!("ip link set {link} mtu {} up", underlay.mtu));
        let key = lab.path("vpn.key").display().to_string();
        let keys = Ctl::new(Path::new("/nonexistent"));
        keys.run(&format!("key generate --out {key}"));
        let public_key = keys.run(&format!("key public {key}")).trim().to_owned();
        Self { name: letter.to_string(), link, index, address, public_key, daemon: None, lab }
    }

    /// Returns its name, a letter.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns its directory and namespace.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Returns its namespace.
    pub fn space(&self) -> &Namespace {
        self.lab.switch()
    }

    /// Returns its address on the underlay.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Gives it its address of another version as well, and returns that.
    #[track_caller]
    pub fn add_address(&self, version: Version) -> IpAddr {
        add_address(self.space(), version, self.index)
    }

    /// Returns where its tunnels listen.
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, PORT)
    }

    /// Returns its public key in base64.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Returns the path of its private key.
    pub fn key_file(&self) -> PathBuf {
        self.lab.path("vpn.key")
    }

    /// Returns the `[vpn]` table of this site, without peers.
    pub fn vpn(&self) -> String {
        format!(
            "\n[vpn]\nlisten = \"[::]:{PORT}\"\nprivate-key-file = \"{}\"\n",
            self.key_file().display()
        )
    }

    /// Returns the table of a peer of this site that is another one, with further keys.
    pub fn peer(&self, other: &Self, keys: &str) -> String {
        let endpoint = other.endpoint();
        self.waited_for(other, &format!("endpoint = \"{endpoint}\"\n{keys}"))
    }

    /// Returns the table of a peer of this site that is another one and has no endpoint, with further keys.
    pub fn waited_for(&self, other: &Self, keys: &str) -> String {
        format!("\n[vpn.peer.{}]\npublic-key = \"{}\"\n{keys}\n", other.name, other.public_key)
    }

    /// Starts its daemon with this configuration.
    #[track_caller]
    pub fn start(&mut self, config: &str) -> &mut Daemon {
        self.daemon.insert(Daemon::start(&self.lab, "weftd", config))
    }

    /// Starts its daemon with this configuration by a command, as [`Daemon::start_by`] does.
    #[track_caller]
    pub fn start_by(&mut self, config: &str, wrapper: &[&str]) -> &mut Daemon {
        self.daemon.insert(Daemon::start_by(&self.lab, "weftd", config, wrapper))
    }

    /// Returns its daemon.
    ///
    /// # Panics
    /// When none was started.
    #[track_caller]
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the site's daemon was started")
    }

    /// Returns its daemon, to be ended and started.
    ///
    /// # Panics
    /// When none was started.
    #[track_caller]
    pub fn daemon_mut(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the site's daemon was started")
    }

    /// Returns a `weftctl` that talks to its daemon.
    #[track_caller]
    pub fn ctl(&self) -> Ctl {
        self.daemon().ctl()
    }

    /// Makes a host of the kernel's on a `tap` port of this site.
    #[track_caller]
    pub fn host(&self, device: &str, address: &str) -> Host {
        Host::on_tap(&self.lab, self.daemon(), device, address)
    }

    /// Makes a network card for a `netdev` port of this site.
    #[track_caller]
    pub fn nic(&self, device: &str) -> Nic {
        Nic::open(self.space(), device)
    }

    /// Returns its peers, as the control API shows them.
    #[track_caller]
    pub fn peers(&self) -> Vec<Value> {
        let answer = http::request(&self.daemon().socket(), "GET", "/v1/peers", &[], "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json().as_array().expect("peers are a list").clone()
    }

    /// Returns one of its peers.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn peer_named(&self, name: &str) -> Value {
        let peer = self.peers().into_iter().find(|peer| peer["name"] == name);
        peer.unwrap_or_else(|| panic!("site {} has no peer {name}", self.name))
    }

    /// Waits until a peer is in this state and returns it.
    ///
    /// # Panics
    /// When it never is.
    #[track_caller]
    pub fn wait_for_peer(&self, name: &str, state: &str) -> Value {
        until_some(&format!("peer {name} of site {} is {state}", self.name), || {
            Some(self.peer_named(name)).filter(|peer| peer["state"] == state)
        })
    }
}

/// Gives a site on the underlay its address of a version.
#[track_caller]
fn add_address(space: &Namespace, version: Version, index: usize) -> IpAddr {
    let last = u16::try_from(index).expect("there are few sites") + 1;
    let (address, length): (IpAddr, u8) = match version {
        Version::V4 => (Ipv4Addr::from(0x0a63_0000 | u32::from(last)).into(), 24),
        Version::V6 => (Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, last).into(), 64),
    };
    if version == Version::V6 {
        space.run("sysctl -qw net.ipv6.conf.under.disable_ipv6=0");
    }
    space.run(&format!("ip addr add {address}/{length} dev under nodad"));
    address
}
