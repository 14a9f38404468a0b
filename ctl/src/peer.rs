//! `weftctl peer`: the hosts at the other ends of tunnels.

mod ping;
mod show;

use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use serde_json::{Map, Value};
use weft_config::api::{AddPeer, Changed, Peer, PeerReset, SetPeer};
use weft_vpn::PublicKey;

use self::ping::PeerPing;
pub(crate) use self::show::{own_end, reasons, table};
use crate::{
    changes::{Told, show_removed, tell},
    cli::{IfExists, MayExist, Transient},
    client::{Client, Request},
    failure::Failure,
    output::Output,
    render::clean,
};

const PATH: &str = "/v1/peers";

/// What to do with peers.
#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// List the peers with their states, endpoints and counters
    #[command(after_help = "Examples:\n  weftctl peer list\n  weftctl --json peer list")]
    List,
    /// Show everything about a peer: keys, session, path, counters by reason, problems
    #[command(
        after_help = "Examples:\n  weftctl peer show berlin\n  weftctl --json peer show berlin"
    )]
    Show(PeerName),
    /// Add a peer
    #[command(after_help = "\
Examples:
  weftctl peer add berlin --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
  weftctl peer set berlin --endpoint berlin.example.net:51900 --segments office

Its public key is what `weftctl key public` says there. A peer without an endpoint
is waited for. It carries no segment that is not named.")]
    Add(PeerAdd),
    /// Change a peer: only what is named changes
    #[command(after_help = "\
Examples:
  weftctl peer set berlin --segments office,voice
  weftctl peer set berlin --endpoint 192.0.2.1:51900 --unset ciphers

--segments and --ciphers replace the whole list.")]
    Set(PeerSet),
    /// Remove a peer; its sessions end at once
    #[command(
        after_help = "Examples:\n  weftctl peer remove berlin\n  weftctl peer remove berlin --if-exists"
    )]
    Remove(PeerRemove),
    /// Ask a peer for an answer through its tunnel
    Ping(PeerPing),
    /// End a peer's sessions and forget its clock, then begin anew
    #[command(after_help = "\
Examples:
  weftctl peer reset berlin

For a peer that lost its state while its clock was set back: its handshakes are
refused until its clock has caught up, or until this; `weftctl status` on that
host says so. A peer that is up needs no reset: its sessions would end.")]
    Reset(PeerName),
}

/// A peer that is there.
#[derive(Debug, Args)]
pub(crate) struct PeerName {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
}

/// What a peer may be told.
#[derive(Debug, Args)]
pub(crate) struct PeerFlags {
    /// Where it is: HOST:PORT, an address or a name, IPv6 in brackets
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// A file, on weftd's host, with the secret that is shared with it alone
    #[arg(long, value_name = "FILE")]
    preshared_key_file: Option<String>,
    /// The ciphers that may be used with it, the preferred one first
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ciphers: Option<Vec<CipherName>>,
    /// The segments that it may carry, as in office,voice
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    segments: Option<Vec<String>>,
}

/// A cipher by its name in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CipherName {
    /// Fast where the CPU has instructions for it
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// Fast on every CPU
    #[value(name = "chacha20-poly1305")]
    Chacha20Poly1305,
}

impl CipherName {
    fn word(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Chacha20Poly1305 => "chacha20-poly1305",
        }
    }
}

/// A peer to be added.
#[derive(Debug, Args)]
pub(crate) struct PeerAdd {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    /// Its public key in base64
    #[arg(long, value_name = "KEY")]
    public_key: String,
    #[command(flatten)]
    flags: PeerFlags,
    #[command(flatten)]
    may_exist: MayExist,
    #[command(flatten)]
    transient: Transient,
}

/// A peer to be changed.
#[derive(Debug, Args)]
pub(crate) struct PeerSet {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
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

/// A key of a peer that has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum PeerKey {
    /// It is waited for
    Endpoint,
    /// No secret beside the keys
    PresharedKeyFile,
    /// All ciphers
    Ciphers,
    /// No segments
    Segments,
}

impl PeerKey {
    fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::PresharedKeyFile => "preshared-key-file",
            Self::Ciphers => "ciphers",
            Self::Segments => "segments",
        }
    }
}

/// A peer to be removed.
#[derive(Debug, Args)]
pub(crate) struct PeerRemove {
    /// Its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,
    #[command(flatten)]
    if_exists: IfExists,
    #[command(flatten)]
    transient: Transient,
}

impl PeerCommand {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let paint = output.paint();
        match self {
            Self::List => {
                output.show(&client.send(Request::get(PATH))?, |peers| show::list(peers, paint))
            }
            Self::Show(PeerName { name }) => {
                let peer = client.send::<Peer>(Request::get(PATH).segment(&name))?;
                output.show(&peer, |peer| show::describe(peer, paint))
            }
            Self::Add(add) => {
                let persistence = add.transient.persistence();
                let mut peer = add.flags.keys();
                peer.insert("public-key".to_owned(), public_key(&add.public_key)?);
                let body = AddPeer { name: add.name, peer, may_exist: add.may_exist.may_exist };
                let answer = client
                    .send::<Changed>(Request::post(PATH).persistence(persistence).body(&body))?;
                output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
            }
            Self::Set(set) => set.run(client, output),
            Self::Remove(remove) => {
                let persistence = remove.transient.persistence();
                let request = Request::delete(PATH).segment(&remove.name).persistence(persistence);
                let removed = client.remove(request, remove.if_exists.missing())?;
                show_removed(output, &removed, &format!("peer {}", remove.name), persistence)
            }
            Self::Ping(ping) => ping.run(client, output),
            Self::Reset(PeerName { name }) => {
                let request = Request::post(PATH).segment(&name).segment("reset");
                output.show(&client.send::<PeerReset>(request)?, |reset| was_reset(&name, *reset))
            }
        }
    }
}

impl PeerFlags {
    /// Returns the keys that were named.
    fn keys(self) -> Map<String, Value> {
        let ciphers = self.ciphers.map(|list| {
            list.into_iter().map(|cipher| Value::from(cipher.word())).collect::<Vec<_>>()
        });
        let keys = [
            ("endpoint", self.endpoint.map(Value::from)),
            ("preshared-key-file", self.preshared_key_file.map(Value::from)),
            ("ciphers", ciphers.map(Value::from)),
            ("segments", self.segments.map(Value::from)),
        ];
        keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

impl PeerSet {
    fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let mut peer = self.flags.keys();
        if let Some(key) = &self.public_key {
            peer.insert("public-key".to_owned(), public_key(key)?);
        }
        peer.extend(self.unset.iter().map(|key| (key.word().to_owned(), Value::Null)));
        if peer.is_empty() {
            return Err(Failure::usage(format!(
                "peer {}: nothing to change was named",
                clean(&self.name)
            ))
            .help("`weftctl peer set --help` lists what can be changed, with examples"));
        }
        let persistence = self.transient.persistence();
        let request = Request::patch(PATH).segment(&self.name).persistence(persistence);
        let answer = client.send::<Changed>(request.body(&SetPeer { peer }))?;
        let paint = output.paint();
        output.show(&answer, |changed| tell(changed, Told::Done(persistence), paint))
    }
}

/// Checks a public key here: what somebody typed may be a private one, and goes no further then.
fn public_key(text: &str) -> Result<Value, Failure> {
    match text.parse::<PublicKey>() {
        Ok(key) => Ok(key.to_string().into()),
        Err(error) => Err(Failure::usage(format!("--public-key: {error}"))
            .help("it is what `weftctl key public` says on the peer's host")),
    }
}

fn was_reset(name: &str, reset: PeerReset) -> String {
    let sessions = match reset.sessions {
        0 => "there was no session".to_owned(),
        1 => "a session was ended".to_owned(),
        count => format!("{count} sessions were ended"),
    };
    let clock = if reset.timestamp { ", its clock was forgotten" } else { "" };
    format!("peer {}: {sessions}{clock}; it begins anew\n", clean(name))
}
