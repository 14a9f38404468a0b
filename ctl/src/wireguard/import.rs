//! `weftctl wireguard import`: an adapter made of an existing wg-quick configuration. Its keys go into files of their
//! own, which weftd is told of by name.

mod quick;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};
use weft_config::api::{AddWireguard, Changed};

use self::quick::{Peer, Quick};
use super::PATH;
use crate::{
    changes::{Told, tell},
    cli::Transient,
    client::{Client, Request},
    failure::Failure,
    keyfile::NewFiles,
    output::Output,
    render::clean,
    vlan::VlanRef,
};

/// What to import.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl wireguard import /etc/wireguard/wg0.conf --vlan office
  weftctl wireguard import wg0.conf --vlan 10 --name road --key-dir /etc/weft/keys

Keys are put into new files that only you can open, NAME.key and NAME-PEER.psk; the
file itself is left as it is. What only wg-quick does is left out, and said.")]
pub(crate) struct Import {
    /// The file, as wg-quick reads it
    file: PathBuf,
    /// The VLAN that its clients come into, by ID or name
    #[arg(long)]
    vlan: VlanRef,
    /// The adapter's name; the file's when absent
    #[arg(long)]
    name: Option<String>,
    /// The switch that the VLAN is on; main when absent
    #[arg(long, value_name = "NAME")]
    switch: Option<String>,
    /// The directory for the keys
    #[arg(long, value_name = "DIR", default_value = "/etc/weft")]
    key_dir: PathBuf,
    #[command(flatten)]
    transient: Transient,
}

/// What was imported, without any secret.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Imported<'a> {
    key_files: &'a [String],
    left_out: &'a [String],
    #[serde(flatten)]
    changed: &'a Changed,
}

impl Import {
    pub(super) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let persistence = self.transient.persistence();
        let quick = Quick::read(&self.file)?;
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = self.name.or(stem).unwrap_or_default();
        let mut keys =
            Keys { directory: self.key_dir, files: NewFiles::default(), names: Vec::new() };
        let key_file = keys.put(&format!("{name}.key"), &quick.private_key.to_base64())?;
        let mut wireguard = Map::new();
        let mut put = |key: &str, value: Value| wireguard.insert(key.to_owned(), value);
        put("vlan", self.vlan.to_value());
        put("address", quick.address.clone().into());
        put("private-key-file", key_file.into());
        if let Some(port) = quick.listen_port {
            put("listen", format!("[::]:{port}").into());
        }
        if let Some(mtu) = quick.mtu {
            put("mtu", mtu.into());
        }
        if let Some(switch) = self.switch {
            put("switch", switch.into());
        }
        let mut peers = Map::new();
        for (peer, config) in quick.named_peers() {
            let table = table(config, |secret| keys.put(&format!("{name}-{peer}.psk"), secret))?;
            peers.insert(peer.clone(), Value::Object(table));
        }
        if !peers.is_empty() {
            put("peer", Value::Object(peers));
        }
        let body = AddWireguard { name, wireguard, may_exist: false };
        let request = Request::post(PATH).persistence(persistence).body(&body);
        let changed = client.send::<Changed>(request).and_then(|answer| answer.value());
        let changed = keys.files.settle(changed)?;
        let imported =
            Imported { key_files: &keys.names, left_out: &quick.left_out, changed: &changed };
        let paint = output.paint();
        output.value(&imported, |imported| {
            let mut text = tell(&changed, Told::Done(persistence), paint);
            for file in imported.key_files {
                text.push_str(&format!("a key is in {}\n", clean(file)));
            }
            for line in imported.left_out {
                text.push_str(&format!("note: {} was left out\n", clean(line)));
            }
            text
        })
    }
}

/// The files that keys are put into.
struct Keys {
    directory: PathBuf,
    files: NewFiles,
    names: Vec<String>,
}

impl Keys {
    fn put(&mut self, name: &str, secret: &str) -> Result<String, Failure> {
        let directory = std::path::absolute(&self.directory);
        let directory = directory.unwrap_or_else(|_| self.directory.clone());
        if Path::new(name).components().count() != 1 {
            return Err(Failure::usage(format!("\"{}\" is no name", clean(name)))
                .help("name the adapter with --name"));
        }
        let path = self.files.put(&directory.join(name), secret)?;
        self.names.push(path.clone());
        Ok(path)
    }
}

/// Returns the table of a peer; `keep` puts its secret into a file and returns the file's name.
fn table(
    peer: &Peer,
    keep: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<Map<String, Value>, Failure> {
    let mut table = Map::new();
    table.insert("public-key".to_owned(), peer.public_key.to_string().into());
    if let Some(key) = &peer.preshared_key {
        table.insert("preshared-key-file".to_owned(), keep(&key.to_base64())?.into());
    }
    table.insert("allowed-ips".to_owned(), peer.allowed_ips.clone().into());
    if let Some(endpoint) = &peer.endpoint {
        table.insert("endpoint".to_owned(), endpoint.clone().into());
    }
    if peer.persistent_keepalive > 0 {
        table.insert("persistent-keepalive".to_owned(), peer.persistent_keepalive.into());
    }
    Ok(table)
}
