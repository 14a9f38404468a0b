//! weft's own tunnel: one segment, gateways whose guest side is a `tap` port.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;
use weft_vpn::PublicKey;

use crate::{
    gateways::{DEVICE, End, Ends},
    lab::{Lab, Process, run},
    site::Tools,
    weft::Weft,
};

pub(super) const PORT: u16 = 51900;

/// How records are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    /// Returns the name in the configuration.
    fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

/// Two gateways that are each other's peer.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) near: Weft,
    pub(super) far: Weft,
    /// What the far one is known by.
    pub(super) far_key: PublicKey,
}

impl Pair {
    /// Returns both daemons.
    pub(super) fn processes(self) -> Vec<Process> {
        vec![self.near.process, self.far.process]
    }
}

/// Starts a daemon on each gateway.
///
/// # Errors
/// When a key cannot be made, or a daemon does not become ready.
pub(super) fn join(lab: &Lab, tools: &Tools, ends: &Ends, cipher: Cipher) -> Result<Pair> {
    let keys =
        [Key::generate(lab, tools, ends.near.name)?, Key::generate(lab, tools, ends.far.name)?];
    let start = |end: &End, own: &Key, other: &End, others: &Key| {
        let port = format!(
            "[port.guest]\ntype = \"tap\"\ndevice = \"{DEVICE}\"\nvlan = {{ access = 10 }}\n\n"
        );
        let peer = peer("other", &others.public, (other.outer, PORT), cipher);
        let config = gateway((end.outer, PORT), own) + &port + &peer;
        Weft::start(lab, tools, &end.namespace, end.name, &config)
    };
    let [near, far] = &keys;
    Ok(Pair {
        near: start(&ends.near, near, &ends.far, far)?,
        far: start(&ends.far, far, &ends.near, near)?,
        far_key: far.public.parse().context("weftctl writes keys")?,
    })
}

/// A key pair, the private part in a file.
#[derive(Debug)]
pub(super) struct Key {
    file: PathBuf,
    pub(super) public: String,
}

impl Key {
    /// Makes one by `weftctl`.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn generate(lab: &Lab, tools: &Tools, name: &str) -> Result<Self> {
        let file = lab.dir().join(format!("{name}.vpn-key"));
        run(Command::new(&tools.weftctl).args(["key", "generate", "--out"]).arg(&file))?;
        let public = run(Command::new(&tools.weftctl).args(["key", "public"]).arg(&file))?;
        Ok(Self { file, public: public.trim().to_owned() })
    }
}

/// The part of a configuration that makes a gateway with one segment.
pub(super) fn gateway((address, port): (&str, u16), key: &Key) -> String {
    format!(
        "[segment.bench]\nid = 7\nvlan = 10\n\n\
         [vpn]\nlisten = \"{address}:{port}\"\nprivate-key-file = \"{}\"\n\n",
        key.file.display()
    )
}

/// The part of a configuration that names a peer.
pub(super) fn peer(
    name: &str,
    public_key: &str,
    (address, port): (&str, u16),
    cipher: Cipher,
) -> String {
    format!(
        "[vpn.peer.{name}]\npublic-key = \"{public_key}\"\nendpoint = \"{address}:{port}\"\n\
         ciphers = [\"{}\"]\nsegments = [\"bench\"]\n\n",
        cipher.name()
    )
}

/// Asks a daemon for its peers.
///
/// # Errors
/// When it does not answer with a list.
pub(super) fn peers(weft: &Weft) -> Result<Vec<Value>> {
    let answer = weft.ask(&["peer", "list"])?;
    answer.as_array().cloned().with_context(|| format!("a list of peers: {answer}"))
}
