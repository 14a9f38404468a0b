//! `weftctl wireguard`: adapters that let stock WireGuard clients into a VLAN, and the clients.

mod address;
mod import;
mod new;
mod show;

use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use serde_json::{Map, Value};
use weft_config::api::{
    AddWireguard, AddWireguardPeer, Changed, SetWireguard, SetWireguardPeer, Wireguard,
};
use weft_vpn::PublicKey;

pub(crate) use self::show::{problems, table};
use self::{import::Import, new::New};
use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Persistence, Request},
    failure::Failure,
    output::Output,
    render::clean,
    vlan::VlanRef,
};

const PATH: &str = "/v1/wireguard";

/// What to do with WireGuard adapters.
#[derive(Debug, Subcommand)]
pub(crate) enum WireguardCommand {
    /// List the adapters with their VLANs, addresses, peers and counters
    #[command(after_help = "Examples:\n  weftctl wireguard list\n  weftctl --json wireguard list")]
    List,
    /// Show everything about an adapter and its peers, as `wg show` does
    #[command(
        after_help = "Examples:\n  weftctl wireguard show road\n  weftctl --json wireguard show road"
    )]
    Show(AdapterName),
    /// Add an adapter
    #[command(after_help = "\
Examples:
  weftctl key generate --out /etc/weft/road.key
  weftctl wireguard add road --vlan office --address 10.10.0.1/24
  weftctl wireguard add lab --vlan 20 --address 10.20.0.1/24 --listen [::]:51821

Its address is one of the VLAN that nobody has; hosts there reach the clients
without a route, and the clients reach them and what is behind the gateway.")]
    Add(AdapterAdd),
    /// Change an adapter: only what is named changes
    #[command(after_help = "\
Examples:
  weftctl wireguard set road --gateway 10.10.0.254
  weftctl wireguard set road --unset gateway --mtu 1380")]
    Set(AdapterSet),
    /// Remove an adapter with its peers; its port goes at once
    #[command(
        after_help = "Examples:\n  weftctl wireguard remove road\n  weftctl wireguard remove road --if-exists"
    )]
    Remove(AdapterRemove),
    /// Add, change and remove the clients of an adapter
    #[command(
        subcommand,
        after_help = "\
Examples:
  weftctl wireguard peer add road alice --new --server vpn.example.net
  weftctl wireguard peer remove road alice"
    )]
    Peer(PeerCommand),
    /// Make an adapter of an existing wg-quick configuration
    Import(Import),
}

/// What to do with the clients of an adapter.
#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// Add a client, or make one with --new: its key, its address and its configuration
    #[command(after_help = "\
Examples:
  weftctl wireguard peer add road alice --new --server vpn.example.net
  weftctl wireguard peer add road bob --new --server 192.0.2.1 --dns 10.10.0.254
  weftctl wireguard peer set road bob --allowed-ips 10.10.0.202,192.168.7.0/24

With --new the client's key is made here and written into its configuration alone,
a new file that only you can open; on a terminal it is shown as a QR code, too.
A client that has a key is added with --public-key KEY and its --allowed-ips; one that
another peer has is taken from it.")]
    Add(PeerAdd),
    /// Change a client: only what is named changes
    #[command(after_help = "\
Examples:
  weftctl wireguard peer set road alice --allowed-ips 10.10.0.201,10.10.0.211
  weftctl wireguard peer set road site --endpoint 192.0.2.7:51820

--allowed-ips replaces the whole list; what another peer has is taken from it.")]
    Set(PeerSet),
    /// Remove a client; its session ends at once
    #[command(
        after_help = "Examples:\n  weftctl wireguard peer remove road alice\n  weftctl wireguard peer remove road alice --if-exists"
    )]
    Remove(PeerRemove),
}

/// An adapter that is there.
#[derive(Debug, Args)]
pub(crate) struct AdapterName {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
}

/// What an adapter may be told.
#[derive(Debug, Args)]
pub(crate) struct AdapterFlags {
    /// The ways out of the VLAN, one for IPv4 and one for IPv6
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    gateway: Option<Vec<String>>,
    /// Where datagrams come in; [::]:51820 when absent
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Bytes of the largest IP packet through its tunnels; 1420 when absent
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,
    /// The switch that the VLAN is on; main when absent
    #[arg(long, value_name = "NAME")]
    switch: Option<String>,
}

/// An adapter to be added.
#[derive(Debug, Args)]
pub(crate) struct AdapterAdd {
    /// Its name, up to 15 characters
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// The VLAN, by ID or name
    #[arg(long)]
    vlan: VlanRef,
    /// Its own addresses in the VLAN with their prefix lengths
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    address: Vec<String>,
    /// A file, on weftd's host, with its private key; /etc/weft/NAME.key when absent
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<String>,
    #[command(flatten)]
    flags: AdapterFlags,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// An adapter to be changed.
#[derive(Debug, Args)]
pub(crate) struct AdapterSet {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// The VLAN, by ID or name
    #[arg(long)]
    vlan: Option<VlanRef>,
    /// Its own addresses in the VLAN with their prefix lengths
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    address: Option<Vec<String>>,
    /// A file, on weftd's host, with its private key
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<String>,
    #[command(flatten)]
    flags: AdapterFlags,
    /// Take a key away, so that its default counts
    #[arg(long, value_name = "KEY")]
    unset: Vec<AdapterKey>,
    #[command(flatten)]
    transient: Transient,
}

/// A key of an adapter that has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum AdapterKey {
    /// No way out
    Gateway,
    /// Every address, port 51820
    Listen,
    /// 1420 bytes
    Mtu,
    /// The switch main
    Switch,
}

/// An adapter to be removed.
#[derive(Debug, Args)]
pub(crate) struct AdapterRemove {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

/// Which client.
#[derive(Debug, Args)]
pub(crate) struct PeerName {
    /// The adapter
    #[arg(value_name = "ADAPTER", value_parser = NonEmptyStringValueParser::new())]
    adapter: String,
    /// The client's name
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    peer: String,
}

/// What a client may be told.
#[derive(Debug, Args)]
pub(crate) struct PeerFlags {
    /// The networks behind it: its own addresses, at least
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    allowed_ips: Option<Vec<String>>,
    /// Where it is: HOST:PORT; one without is waited for
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// Seconds after which it hears from here even if there is nothing to say
    #[arg(long, value_name = "SECONDS")]
    persistent_keepalive: Option<u16>,
    /// A file, on weftd's host, with the secret that is shared with it alone
    #[arg(long, value_name = "FILE")]
    preshared_key_file: Option<String>,
}

/// A client to be added.
#[derive(Debug, Args)]
pub(crate) struct PeerAdd {
    #[command(flatten)]
    name: PeerName,
    /// Its public key in base64
    #[arg(long, value_name = "KEY", required_unless_present = "new", conflicts_with = "new")]
    public_key: Option<String>,
    #[command(flatten)]
    new: New,
    #[command(flatten)]
    flags: PeerFlags,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// A client to be changed.
#[derive(Debug, Args)]
pub(crate) struct PeerSet {
    #[command(flatten)]
    name: PeerName,
    /// Its public key in base64
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    #[command(flatten)]
    flags: PeerFlags,
    /// Take a key away, so that its default counts
    #[arg(long, value_name = "KEY")]
    unset: Vec<PeerKey>,
    #[command(flatten)]
    transient: Transient,
}

/// A key of a client that has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum PeerKey {
    /// Nothing is behind it
    AllowedIps,
    /// It is waited for
    Endpoint,
    /// It hears nothing while there is nothing to say
    PersistentKeepalive,
    /// No secret beside the keys
    PresharedKeyFile,
}

/// A client to be removed.
#[derive(Debug, Args)]
pub(crate) struct PeerRemove {
    #[command(flatten)]
    name: PeerName,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl WireguardCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List => output
                .show(&client.send(Request::get(PATH))?, |adapters| show::list(adapters, paint)),
            Self::Show(AdapterName { name }) => {
                let adapter = client.send::<Wireguard>(Request::get(PATH).segment(&name))?;
                output.show(&adapter, |adapter| show::describe(adapter, paint))
            }
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let mut wireguard = add.flags.keys();
                wireguard.insert("vlan".to_owned(), add.vlan.to_value());
                wireguard.insert("address".to_owned(), add.address.into());
                let key =
                    add.private_key_file.unwrap_or_else(|| format!("/etc/weft/{}.key", add.name));
                wireguard.insert("private-key-file".to_owned(), key.into());
                let may_exist = add.may_exist.may_exist;
                let body = AddWireguard { name: add.name, wireguard, may_exist };
                change(client, Request::post(PATH).body(&body), persistence, output)
            }
            Self::Set(set) => set.run(client, output),
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let request = Request::delete(PATH).segment(&remove.name).persistence(persistence);
                let removed = client.remove(request, remove.if_exists.missing())?;
                show_removed(output, &removed, &format!("wireguard {}", remove.name), persistence)
            }
            Self::Peer(command) => command.run(client, output),
            Self::Import(import) => import.run(client, output),
        }
    }
}

impl PeerCommand {
    fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Add(add) if add.new.is_wanted() => add.run_new(client, output),
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let mut peer = add.flags.keys();
                if let Some(key) = &add.public_key {
                    peer.insert("public-key".to_owned(), public_key(key)?);
                }
                let may_exist = add.may_exist.may_exist;
                let body = AddWireguardPeer { name: add.name.peer, peer, may_exist };
                let request = Request::post(PATH).segment(&add.name.adapter).segment("peers");
                change(client, request.body(&body), persistence, output)
            }
            Self::Set(set) => set.run(client, output),
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let removed = client.remove(
                    remove.name.request(Request::delete(PATH)).persistence(persistence),
                    remove.if_exists.missing(),
                )?;
                let PeerName { adapter, peer } = &remove.name;
                let what = format!("wireguard {adapter} peer {peer}");
                show_removed(output, &removed, &what, persistence)
            }
        }
    }
}

impl PeerName {
    /// Makes a request one about this client.
    fn request(&self, request: Request) -> Request {
        request.segment(&self.adapter).segment("peers").segment(&self.peer)
    }
}

impl AdapterFlags {
    /// Returns the keys that were named.
    fn keys(self) -> Map<String, Value> {
        let gateway = self.gateway.map(|list| match <[String; 1]>::try_from(list) {
            Ok([one]) => Value::from(one),
            Err(several) => Value::from(several),
        });
        named([
            ("gateway", gateway),
            ("listen", self.listen.map(Value::from)),
            ("mtu", self.mtu.map(Value::from)),
            ("switch", self.switch.map(Value::from)),
        ])
    }
}

impl AdapterSet {
    fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let mut wireguard = self.flags.keys();
        wireguard.extend(named([
            ("vlan", self.vlan.map(|vlan| vlan.to_value())),
            ("address", self.address.map(Value::from)),
            ("private-key-file", self.private_key_file.map(Value::from)),
        ]));
        wireguard.extend(self.unset.iter().map(|key| (word(*key), Value::Null)));
        if wireguard.is_empty() {
            return Err(nothing_named(&format!("wireguard {}", clean(&self.name)), "set"));
        }
        let request = Request::patch(PATH).segment(&self.name).body(&SetWireguard { wireguard });
        change(client, request, self.transient.persistence(), output)
    }
}

impl PeerFlags {
    /// Returns the keys that were named.
    fn keys(self) -> Map<String, Value> {
        named([
            ("allowed-ips", self.allowed_ips.map(Value::from)),
            ("endpoint", self.endpoint.map(Value::from)),
            ("persistent-keepalive", self.persistent_keepalive.map(Value::from)),
            ("preshared-key-file", self.preshared_key_file.map(Value::from)),
        ])
    }
}

impl PeerSet {
    fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let mut peer = self.flags.keys();
        if let Some(key) = &self.public_key {
            peer.insert("public-key".to_owned(), public_key(key)?);
        }
        peer.extend(self.unset.iter().map(|key| (word(*key), Value::Null)));
        if peer.is_empty() {
            let PeerName { adapter, peer } = &self.name;
            let what = format!("wireguard {} peer {}", clean(adapter), clean(peer));
            return Err(nothing_named(&what, "peer set"));
        }
        let request = self.name.request(Request::patch(PATH)).body(&SetWireguardPeer { peer });
        change(client, request, self.transient.persistence(), output)
    }
}

/// Returns the keys that have a value.
fn named<const N: usize>(keys: [(&str, Option<Value>); N]) -> Map<String, Value> {
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Returns the word of a key, which is the file's.
fn word(key: impl ValueEnum) -> String {
    key.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn nothing_named(what: &str, command: &str) -> Failure {
    Failure::usage(format!("{what}: nothing to change was named")).help(format!(
        "`weftctl wireguard {command} --help` lists what can be changed, with examples"
    ))
}

/// Has the daemon change something, and tells what changed.
fn change(
    client: &Client,
    request: Request,
    persistence: Persistence,
    output: Output,
) -> Result<(), Failure> {
    let answer = client.send::<Changed>(request.persistence(persistence))?;
    let paint = output.paint();
    output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
}

/// Checks a public key here: what somebody typed may be a private one, and goes no further then.
fn public_key(text: &str) -> Result<Value, Failure> {
    match text.parse::<PublicKey>() {
        Ok(key) => Ok(key.to_string().into()),
        Err(error) => Err(Failure::usage(format!("--public-key: {error}"))
            .help("it is what `wg pubkey` or `wg show` says at the client, or --new makes one")),
    }
}
