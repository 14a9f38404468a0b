//! What a `set=1` means for the configuration: the edit that makes it so.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    num::NonZeroU16,
};

use ipnet::IpNet;
use serde_json::{Map, Value};
use weft_vpn::{PresharedKey, PrivateKey, PublicKey};

use super::{AllowedIp, EOPNOTSUPP, Refusal, Set, SetPeer};
use crate::{
    edit::{Edit, PeerChange},
    model::{Endpoint, WireguardConfig, WireguardPeerConfig},
    words::Defaults,
};

/// What is to be done for a `set=1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The change of the configuration; `None` where it says all that already.
    pub edit: Option<Edit>,
    /// Peers that are to be sought at these addresses from now on, wherever they were heard last.
    pub endpoints: Vec<(PublicKey, SocketAddr)>,
}

/// A secret of a request, which a configuration names by a file.
#[derive(Clone, Copy, Debug)]
pub enum Secret<'s> {
    /// The adapter's private key.
    Private(&'s PrivateKey),
    /// The preshared key of the peer with this name.
    Preshared(&'s str, &'s PresharedKey),
}

/// An adapter's peers while the lines of a request are done one after the other.
#[derive(Default)]
struct Peers {
    by_name: BTreeMap<String, Peer>,
    /// The names of those that are there, and of those that were.
    names: HashMap<PublicKey, String>,
    taken: HashSet<String>,
    /// Whose each network is.
    owners: HashMap<IpNet, String>,
}

struct Peer {
    /// What it is but for its networks.
    config: WireguardPeerConfig,
    preshared_key: Option<PresharedKey>,
    networks: BTreeSet<IpNet>,
}

impl Set {
    /// Says what is to be done with the adapter of this name. `private` and `preshared` are the keys that it has;
    /// `keep` puts a new secret into a file and says its path.
    ///
    /// # Errors
    /// A request for what is not done here, and the failure to keep a secret.
    pub fn plan(
        &self,
        adapter: &str,
        config: &WireguardConfig,
        (private, preshared): (&PrivateKey, &BTreeMap<String, PresharedKey>),
        mut keep: impl FnMut(Secret<'_>) -> Result<String, Refusal>,
    ) -> Result<Plan, Refusal> {
        let mut keys = Map::new();
        match &self.private_key {
            None => {}
            Some(Some(key)) if key == private => {}
            Some(Some(key)) => {
                let path = keep(Secret::Private(key))?;
                keys.insert("private-key-file".to_owned(), path.into());
            }
            Some(None) => return Err(unsupported("an adapter without a private key is none")),
        }
        if self.fwmark.is_some_and(|mark| mark != 0) {
            return Err(unsupported("packets are not marked here"));
        }
        // 0 asks for whichever port: the one that there is.
        if let Some(port) =
            self.listen_port.filter(|port| ![0, config.listen.port()].contains(port))
        {
            let listen = SocketAddr::new(config.listen.ip(), port);
            keys.insert("listen".to_owned(), listen.to_string().into());
        }
        let mut peers = Peers::of(config, preshared);
        if self.replace_peers {
            peers.clear();
        }
        let mut endpoints = HashMap::new();
        for change in &self.peers {
            peers.change(change);
            match change.endpoint {
                Some(endpoint) if !change.remove => {
                    endpoints.insert(change.public_key, endpoint);
                }
                _ => {}
            }
        }
        endpoints.retain(|key, _| {
            peers.names.get(key).is_some_and(|name| peers.by_name.contains_key(name))
        });
        let changes = peers.changes(config, preshared, &mut keep)?;
        let edit = (!keys.is_empty() || !changes.is_empty()).then(|| Edit::ChangeWireguard {
            adapter: adapter.to_owned(),
            keys,
            peers: changes,
        });
        Ok(Plan { edit, endpoints: endpoints.into_iter().collect() })
    }
}

impl Peers {
    fn of(config: &WireguardConfig, preshared: &BTreeMap<String, PresharedKey>) -> Self {
        let mut peers = Self::default();
        for (name, config) in &config.peers {
            peers.names.insert(config.public_key, name.clone());
            peers.taken.insert(name.clone());
            let networks = config.allowed_ips.iter();
            peers.owners.extend(networks.map(|network| (*network, name.clone())));
            let peer = Peer {
                config: config.clone(),
                preshared_key: preshared.get(name).cloned(),
                networks: config.allowed_ips.iter().copied().collect(),
            };
            peers.by_name.insert(name.clone(), peer);
        }
        peers
    }

    /// Removes all; one that comes back has its name again.
    fn clear(&mut self) {
        self.by_name.clear();
        self.owners.clear();
    }

    fn change(&mut self, change: &SetPeer) {
        let name = self.name_of(&change.public_key);
        if change.remove {
            self.take_networks(&name);
            self.by_name.remove(&name);
            return;
        }
        if change.update_only && !self.by_name.contains_key(&name) {
            return;
        }
        self.names.insert(change.public_key, name.clone());
        self.taken.insert(name.clone());
        let peer = self.by_name.entry(name.clone()).or_insert_with(|| Peer::new(change.public_key));
        if let Some(key) = &change.preshared_key {
            peer.preshared_key.clone_from(key);
        }
        if let Some(endpoint) = change.endpoint {
            peer.config.endpoint = Some(Endpoint::Address(endpoint));
        }
        if let Some(seconds) = change.persistent_keepalive {
            peer.config.persistent_keepalive = NonZeroU16::new(seconds);
        }
        if change.replace_allowed_ips {
            self.take_networks(&name);
        }
        for allowed in &change.allowed_ips {
            match allowed {
                AllowedIp::Add(network) => self.give(*network, &name),
                AllowedIp::Remove(network) if self.owners.get(network) == Some(&name) => {
                    self.take(network);
                }
                AllowedIp::Remove(_) => {}
            }
        }
    }

    fn give(&mut self, network: IpNet, name: &str) {
        self.take(&network);
        self.owners.insert(network, name.to_owned());
        if let Some(peer) = self.by_name.get_mut(name) {
            peer.networks.insert(network);
        }
    }

    fn take(&mut self, network: &IpNet) {
        let owner = self.owners.remove(network);
        if let Some(peer) = owner.and_then(|owner| self.by_name.get_mut(&owner)) {
            peer.networks.remove(network);
        }
    }

    fn take_networks(&mut self, name: &str) {
        let peer = self.by_name.get_mut(name);
        for network in peer.map(|peer| std::mem::take(&mut peer.networks)).unwrap_or_default() {
            self.owners.remove(&network);
        }
    }

    /// Returns the name of the peer with a key: of one that never had any, the beginning of its key.
    fn name_of(&self, key: &PublicKey) -> String {
        if let Some(name) = self.names.get(key) {
            return name.clone();
        }
        let digits: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut candidates =
            [8, 12, 16, 20, 24].map(|length| format!("wg-{}", &digits[..length])).into_iter();
        let free = candidates.find(|name| !self.taken.contains(name));
        free.unwrap_or_else(|| format!("wg-{}", &digits[..29]))
    }

    /// Returns what is different from before.
    fn changes(
        self,
        before: &WireguardConfig,
        preshared: &BTreeMap<String, PresharedKey>,
        keep: &mut impl FnMut(Secret<'_>) -> Result<String, Refusal>,
    ) -> Result<Vec<(String, PeerChange)>, Refusal> {
        let gone = before.peers.keys().filter(|name| !self.by_name.contains_key(*name));
        let mut changes: Vec<_> = gone.map(|name| (name.clone(), PeerChange::Remove)).collect();
        for (name, mut peer) in self.by_name {
            peer.config.allowed_ips = peer.networks.into_iter().collect();
            let old = before.peers.get(&name);
            let old_file = old.and_then(|old| old.preshared_key_file.clone());
            peer.config.preshared_key_file = match &peer.preshared_key {
                None => None,
                Some(key) if preshared.get(&name) == Some(key) && old_file.is_some() => old_file,
                Some(key) => Some(keep(Secret::Preshared(&name, key))?),
            };
            let new = peer.config.words(Defaults::Implied);
            match old {
                Some(old) if *old == peer.config => {}
                Some(old) => {
                    let keys = difference(&old.words(Defaults::Implied), &new);
                    changes.push((name, PeerChange::Set(keys)));
                }
                None => changes.push((name, PeerChange::Add(new))),
            }
        }
        Ok(changes)
    }
}

impl Peer {
    fn new(public_key: PublicKey) -> Self {
        let config = WireguardPeerConfig {
            public_key,
            preshared_key_file: None,
            allowed_ips: Vec::new(),
            endpoint: None,
            persistent_keepalive: None,
        };
        Self { config, preshared_key: None, networks: BTreeSet::new() }
    }
}

/// Returns the keys that are other than they were, null for those that go.
fn difference(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let gone = gone.map(|key| (key.clone(), Value::Null));
    changed.map(|(key, value)| (key.clone(), value.clone())).chain(gone).collect()
}

fn unsupported(what: &str) -> Refusal {
    Refusal { errno: EOPNOTSUPP, what: what.to_owned() }
}
