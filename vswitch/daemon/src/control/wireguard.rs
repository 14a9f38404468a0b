//! The life of WireGuard adapters: a port, sockets and a keeper for each that is configured and has its keys. An adapter
//! whose own settings change begins anew, and keeps its clients as long as it keeps its key: what they were last heard to say is
//! not believed twice. They come and go, and change, without it.

mod listening;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_config::{WireguardConfig, WireguardPeerConfig};
use weft_core::{Guards, Isolation, PortId, PortKind, PortSpec};
use weft_ports::udp::Socket;
use weft_vlan::{MacAddr, PortVlan, VlanSet};
use weft_vpn::{PeerState, PresharedKey, PrivateKey, PublicKey};
use weft_wireguard::{Adapter, AdapterConfig, Boring, BoringGate, Peer, PeerId, Peers, Server};

use self::listening::Ahead;
pub(crate) use self::listening::ListenError;
use super::{
    names::{Asking, Resolved, Whose, address_of},
    secrets::{Secrets, SecretsError, WireguardSecrets},
    state::{Control, DEFAULT_MTU, Port},
};
use crate::{
    plane::{Egress, PortCounters},
    wireguard::{self, Keeper},
};

/// Frames to an adapter may be as long as they like: to what it does not carry it answers itself.
const FRAME_MTU: u32 = 65_535;

/// The adapters, running or not.
#[derive(Default)]
pub(crate) struct Adapters {
    running: BTreeMap<String, Site>,
    /// Those that do not run although they are configured.
    failed: BTreeMap<String, Failed>,
    /// Sockets of those that are to listen elsewhere with the configuration that comes next.
    pub(super) ahead: Ahead,
}

/// An adapter that does not run.
struct Failed {
    trouble: String,
    /// Its keys, unless they are the trouble.
    keys: Option<WireguardSecrets>,
    /// What it had when it ran.
    before: Estate,
}

/// What an adapter has from the one that it takes the place of.
#[derive(Default)]
struct Estate {
    /// Where they are where it is to listen.
    sockets: Option<Vec<Socket>>,
    /// Whom clients know it as, and them.
    clients: Option<(PublicKey, Clients)>,
}

/// Clients by name.
type Clients = BTreeMap<String, Client>;

/// An adapter that runs.
pub(super) struct Site {
    pub(super) config: WireguardConfig,
    pub(super) own: PublicKey,
    pub(super) private: PrivateKey,
    pub(super) mac: MacAddr,
    pub(super) keeper: Keeper,
    sockets: Vec<Socket>,
    pub(super) clients: Clients,
    /// The name of its port.
    pub(super) port: String,
    pub(super) id: PortId,
    pub(super) counters: Arc<PortCounters>,
    pub(super) egress: Arc<Egress>,
}

/// A client of an adapter.
pub(super) struct Client {
    pub(super) peer: Arc<Peer>,
    pub(super) config: WireguardPeerConfig,
    pub(super) preshared: Option<PresharedKey>,
    asking: Asking,
}

impl Adapters {
    /// Returns those that run, by name.
    pub(super) fn running(&self) -> impl Iterator<Item = (&String, &Site)> {
        self.running.iter()
    }

    /// Returns one that runs.
    pub(super) fn get(&self, name: &str) -> Option<&Site> {
        self.running.get(name)
    }

    /// Returns why one does not run.
    pub(super) fn trouble(&self, name: &str) -> Option<&String> {
        self.failed.get(name).map(|failed| &failed.trouble)
    }

    /// Returns why those do not run that do not, by name.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&String, &String)> {
        self.failed.iter().map(|(name, failed)| (name, &failed.trouble))
    }

    /// Returns the key by which clients know one, where its key file can be used.
    pub(super) fn public_key(&self, name: &str) -> Option<PublicKey> {
        let running = self.running.get(name).map(|site| site.own);
        let keys = || self.failed.get(name)?.keys.as_ref();
        running.or_else(|| keys().map(|keys| keys.private.public()))
    }
}

impl Site {
    /// Returns the switch that it is on.
    pub(super) fn switch(&self) -> &str {
        &self.config.switch
    }

    /// Returns the port as the switch sees it.
    pub(super) fn spec(&self) -> PortSpec {
        PortSpec {
            id: self.id,
            kind: PortKind::Local,
            blocked: VlanSet::new(),
            vlan: self.vlan(),
            mtu: FRAME_MTU,
            mac_limit: None,
            guards: Guards::default(),
            isolation: Isolation::Open,
            flood_limit: None,
        }
    }

    /// Returns its VLAN mode.
    pub(super) fn vlan(&self) -> PortVlan {
        PortVlan::Access(self.config.vlan)
    }
}

/// Returns the name of an adapter's port.
pub(super) fn port_name(adapter: &str) -> String {
    format!("wireguard.{adapter}")
}

impl Control {
    /// Brings the adapters to what is configured, with these keys.
    pub(super) async fn put_wireguard(
        &mut self,
        mut secrets: BTreeMap<String, Result<WireguardSecrets, SecretsError>>,
    ) {
        let failed = std::mem::take(&mut self.adapters.failed);
        let stays = |name: &String, site: &Site| {
            let keys = secrets.get(name).and_then(|keys| keys.as_ref().ok());
            let config = self.config.wireguard.get(name);
            config.zip(keys).is_some_and(|(config, keys)| {
                apart_from_peers(config) == apart_from_peers(&site.config)
                    && keys.private.public() == site.own
            })
        };
        let (staying, mut leaving): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.adapters.running)
                .into_iter()
                .partition(|(name, site)| stays(name, site));
        self.adapters.running = staying;
        let mut estates: BTreeMap<String, Estate> =
            failed.into_iter().map(|(name, failed)| (name, failed.before)).collect();
        for (name, sockets) in std::mem::take(&mut self.adapters.ahead) {
            estates.entry(name).or_default().sockets = Some(sockets);
        }
        for (name, site) in &mut leaving {
            let Some(config) = self.config.wireguard.get(name) else { continue };
            let estate = estates.entry(name.clone()).or_default();
            if config.listen == site.config.listen {
                estate.sockets = Some(site.sockets.clone());
            }
            estate.clients = Some((site.own, std::mem::take(&mut site.clients)));
        }
        self.retire_adapters(leaving.into_values().collect()).await;
        for (name, config) in self.config.wireguard.clone() {
            let keys = secrets.remove(&name);
            let estate = estates.remove(&name).unwrap_or_default();
            if let Err(failed) = self.put_adapter(&name, config, keys, estate) {
                tracing::error!(wireguard = name, trouble = failed.trouble, "no adapter");
                self.adapters.failed.insert(name, *failed);
            }
        }
        self.put_in_force();
    }

    /// Tries adapters again that something stood in the way of which no event tells when it goes, as an address.
    pub(super) fn retry_failed_adapters(&mut self) {
        if self.adapters.failed.is_empty() {
            return;
        }
        let lack_keys = self.adapters.failed.values().any(|failed| failed.keys.is_none());
        let mut read =
            if lack_keys { Secrets::read(&self.config).wireguard } else { BTreeMap::new() };
        let before = std::mem::take(&mut self.adapters.failed);
        let tried = before.len();
        for (name, failed) in before {
            let Some(config) = self.config.wireguard.get(&name).cloned() else { continue };
            let keys = failed.keys.map(Ok).or_else(|| read.remove(&name));
            if let Err(again) = self.put_adapter(&name, config, keys, failed.before) {
                if again.trouble != failed.trouble {
                    tracing::error!(wireguard = name, trouble = again.trouble, "no adapter");
                }
                self.adapters.failed.insert(name, *again);
            }
        }
        if self.adapters.failed.len() < tried {
            self.put_in_force();
            self.show_adapters();
        }
    }

    /// Has `wg` find the adapters that run.
    pub(super) fn show_adapters(&mut self) {
        let adapters = self.adapters.running().map(|(name, _)| name.clone()).collect();
        self.uapi.put(&adapters);
    }

    /// Has an adapter run as it is configured, with these keys and what there is of it already.
    fn put_adapter(
        &mut self,
        name: &str,
        config: WireguardConfig,
        keys: Option<Result<WireguardSecrets, SecretsError>>,
        before: Estate,
    ) -> Result<(), Box<Failed>> {
        let clients = before.clients;
        let failed = |trouble, keys, clients| {
            Err(Box::new(Failed { trouble, keys, before: Estate { sockets: None, clients } }))
        };
        let keys = match keys {
            Some(Ok(keys)) => keys,
            Some(Err(error)) => return failed(error.to_string(), None, clients),
            None => return failed("its keys were not read".to_owned(), None, clients),
        };
        if !self.adapters.running.contains_key(name) {
            if let Err(trouble) = self.begin_adapter(name, &config, &keys, before.sockets) {
                return failed(trouble, Some(keys), clients);
            }
            // To another key, what clients say is new.
            let own = clients.filter(|(own, _)| *own == keys.private.public());
            if let (Some(site), Some((_, clients))) = (self.adapters.running.get_mut(name), own) {
                site.clients = clients;
            }
        }
        self.put_clients(name, config, &keys);
        Ok(())
    }

    /// Closes every adapter.
    pub(super) async fn end_wireguard(&mut self) {
        let leaving = std::mem::take(&mut self.adapters.running).into_values().collect();
        self.retire_adapters(leaving).await;
    }

    fn begin_adapter(
        &mut self,
        name: &str,
        config: &WireguardConfig,
        keys: &WireguardSecrets,
        sockets: Option<Vec<Socket>>,
    ) -> Result<(), String> {
        let own = keys.private.public();
        let mac = AdapterConfig::mac_of(own.as_bytes());
        let listen = config.listen;
        let opened = sockets.map_or_else(|| self.listen(listen), Ok);
        let sockets = opened.map_err(|error| ListenError { listen, error }.to_string())?;
        let first = sockets.first().ok_or("there is no worker")?.clone();
        let adapter = Adapter::new(AdapterConfig {
            mac,
            addresses: config.addresses.clone(),
            gateway_v4: config.gateway_v4,
            gateway_v6: config.gateway_v6,
            mtu: config.mtu,
            vlan_mtu: self.vlan_mtu(config),
        });
        let gate = BoringGate::new(&keys.private, &mut wireguard::random);
        let server = Server::new(Box::new(gate));
        let keeper = Keeper::start(server, adapter, first).map_err(|error| error.to_string())?;
        let opened = wireguard::open(keeper.site(), &sockets).map_err(|error| error.to_string())?;
        let id = self.free_ids.pop_first().ok_or("there are as many ports as there can be")?;
        let counters = Arc::new(PortCounters::new(self.pool.workers()));
        self.generations += 1;
        let egress = self.pool.attach(id, self.generations, opened, &counters);
        keeper.announce();
        let site = Site {
            config: config.clone(),
            own,
            private: keys.private.clone(),
            mac,
            keeper,
            sockets,
            clients: Clients::new(),
            port: port_name(name),
            id,
            counters,
            egress,
        };
        tracing::info!(wireguard = name, listen = %config.listen, "adapter begins");
        self.adapters.running.insert(name.to_owned(), site);
        Ok(())
    }

    /// Returns the bytes of the largest packet that every port of an adapter's VLAN takes.
    fn vlan_mtu(&self, config: &WireguardConfig) -> u16 {
        let ports = self.ports.values().filter(|port| {
            let of = &port.config;
            of.enabled && of.switch == config.switch && of.vlan.is_member(config.vlan)
        });
        let narrowest = ports.map(Port::mtu).min().unwrap_or(DEFAULT_MTU);
        u16::try_from(narrowest).unwrap_or(u16::MAX)
    }

    /// Has adapters know what the ports of their VLANs take.
    pub(super) fn put_vlan_mtus(&self) {
        for (_, site) in self.adapters.running() {
            site.keeper.site().adapter().set_vlan_mtu(self.vlan_mtu(&site.config));
        }
    }

    /// Brings the clients of an adapter to what is configured.
    fn put_clients(&mut self, name: &str, config: WireguardConfig, keys: &WireguardSecrets) {
        let Some(site) = self.adapters.running.get_mut(name) else { return };
        site.config = config;
        // Whoever has the key is the same, by whatever name.
        let before = std::mem::take(&mut site.clients).into_iter();
        let mut before: BTreeMap<PublicKey, (String, Client)> =
            before.map(|(name, client)| (client.config.public_key, (name, client))).collect();
        let mut used: BTreeSet<PeerId> =
            before.values().map(|(_, client)| client.peer.id()).collect();
        let mut calls = Vec::new();
        for (peer_name, config) in &site.config.peers {
            let preshared = keys.preshared.get(peer_name);
            let whose = || Whose::Client { adapter: name.to_owned(), peer: peer_name.clone() };
            let keepalive = config.persistent_keepalive.map(std::num::NonZeroU16::get);
            let client = match before.remove(&config.public_key) {
                Some((name_before, mut client)) => {
                    if name_before != *peer_name {
                        // What was asked for by the old name comes to nobody.
                        client.asking = Asking::default();
                        client.asking.ask(whose(), config.endpoint.as_ref(), &self.tunnels.news);
                    }
                    client.peer.set_allowed(config.allowed_ips.clone());
                    if client.config.endpoint != config.endpoint {
                        // A name is asked for; until there is an answer the client is where it was heard.
                        if let Some(address) = address_of(config.endpoint.as_ref()) {
                            client.peer.set_endpoint(Some(address));
                        }
                        client.asking.ask(whose(), config.endpoint.as_ref(), &self.tunnels.news);
                    }
                    if client.config.persistent_keepalive != config.persistent_keepalive {
                        client.peer.set_keepalive(keepalive);
                    }
                    if client.preshared.as_ref() != preshared {
                        let (key, id) = (config.public_key, client.peer.id());
                        let engine = Boring::new(&keys.private, key, preshared, id);
                        client.peer.set_engine(Box::new(engine));
                        client.preshared = preshared.cloned();
                    }
                    client.config = config.clone();
                    client
                }
                None => {
                    let id = free_id(&used);
                    used.insert(id);
                    let engine = Boring::new(&keys.private, config.public_key, preshared, id);
                    let peer = Arc::new(Peer::new(
                        id,
                        config.public_key,
                        Box::new(engine),
                        address_of(config.endpoint.as_ref()),
                        keepalive,
                        config.allowed_ips.clone(),
                    ));
                    let mut asking = Asking::default();
                    asking.ask(whose(), config.endpoint.as_ref(), &self.tunnels.news);
                    calls.extend(keepalive.map(|_| id));
                    Client { peer, config: config.clone(), preshared: preshared.cloned(), asking }
                }
            };
            site.clients.insert(peer_name.clone(), client);
        }
        let peers: Peers = site.clients.values().map(|client| client.peer.clone()).collect();
        site.keeper.site().set_peers(peers);
        for id in calls {
            site.keeper.call(id);
        }
    }

    /// Takes in what the name of a client's endpoint means.
    pub(super) fn client_resolved(&mut self, resolved: Resolved) {
        let Whose::Client { adapter, peer } = resolved.whose() else { return };
        let Some(site) = self.adapters.running.get_mut(adapter) else { return };
        let Some(client) = site.clients.get_mut(peer) else { return };
        let state = match client.peer.status().handshake_age {
            Some(_) => PeerState::Up,
            None => PeerState::Handshaking,
        };
        let endpoint = client.config.endpoint.as_ref();
        let Some(address) = client.asking.take(resolved, endpoint, state, &self.tunnels.news)
        else {
            return;
        };
        client.peer.set_endpoint(Some(address));
        if client.config.persistent_keepalive.is_some() {
            site.keeper.call(client.peer.id());
        }
    }

    /// Gives back what adapters held that are not to run any more.
    async fn retire_adapters(&mut self, leaving: Vec<Site>) {
        if leaving.is_empty() {
            return;
        }
        for site in &leaving {
            self.pool.detach(site.id);
        }
        self.put_in_force();
        self.pool.pass().await;
        for site in leaving {
            for switch in self.switches.values() {
                switch.fdb.forget_port(site.id);
            }
            self.free_ids.insert(site.id);
            tracing::info!(wireguard = site.port, "adapter ended");
        }
    }
}

/// Returns what an adapter is, whoever its clients are.
fn apart_from_peers(config: &WireguardConfig) -> WireguardConfig {
    WireguardConfig { peers: BTreeMap::new(), overlaps: Vec::new(), ..config.clone() }
}

/// Returns a number that nobody has, and nobody can guess.
fn free_id(used: &BTreeSet<PeerId>) -> PeerId {
    loop {
        let mut bytes = [0; 4];
        wireguard::random(&mut bytes);
        if let Some(id) = PeerId::new(u32::from_le_bytes(bytes) >> 8)
            && !used.contains(&id)
        {
            return id;
        }
    }
}
