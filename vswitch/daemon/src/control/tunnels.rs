//! The life of tunnels: sockets and keeper while `[vpn]` is configured, and for each peer a port on every switch that
//! it has a segment on. What did not change is not touched: sessions outlive a change of other things.

mod happened;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::sync::{mpsc, oneshot};
use weft_config::{Cipher, PeerConfig, VpnConfig};
use weft_core::{Guards, Isolation, PortId, PortKind, PortSpec};
use weft_overlay::{SegmentId, probe::ProbeEvent};
use weft_ports::udp::{self, Segmentation, Socket};
use weft_vlan::{MacAddr, PortVlan, Tpid, VlanId, VlanSet};
use weft_vpn::{DownReason, HostConfig, PeerId, PeerState, PublicKey, Suite, Suites};

use super::{
    names::{Asking, Resolved, Whose, address_of},
    secrets::{SecretsError, VpnSecrets},
    state::Control,
};
use crate::{
    overlay::{Office, Order, SNOOPED_MAX, Snooped, Sources},
    plane::{Egress, Pool, PortCounters},
    tunnel::{
        Carried, Command, Directory, Incoming, Keeper, News, Notes, OVERLAY_MAX, Outgoing,
        OverlayMessage, Peer, SharedSender, Stamps, notes,
    },
};

/// Frames of guests may be as long as they like: what the path does not carry is cut.
pub(super) const TUNNEL_MTU: u32 = 65_535;
/// Troubles of a peer that are remembered.
const TROUBLES: usize = 8;

/// Frozen addresses that are told.
const FROZEN: usize = 64;

/// The tunnels, running or not.
pub(crate) struct Tunnels {
    state_dir: PathBuf,
    /// What stands behind [`Control::tunnel_news`].
    pub(super) news: mpsc::UnboundedSender<Happened>,
    overlay: mpsc::Sender<OverlayMessage>,
    orders: mpsc::UnboundedSender<Order>,
    snooped: mpsc::Sender<Snooped>,
    running: Option<Running>,
    /// Addresses that moved too often, and where they stay.
    frozen: BTreeMap<(SegmentId, MacAddr), String>,
    /// Why they do not run although they are configured.
    pub(super) trouble: Option<String>,
}

/// What happened to a tunnel.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The keeper says so.
    Told(News),
    /// The name of a peer's endpoint was asked for.
    Resolved(Resolved),
    /// A loop was found behind a port, or is gone.
    Loop(ProbeEvent),
}

struct Running {
    listen: SocketAddr,
    dscp: u8,
    /// This host's public key.
    own: PublicKey,
    sockets: Vec<Socket>,
    keeper: Keeper,
    notes: Notes,
    senders: Vec<SharedSender>,
    peers: BTreeMap<String, Tunnel>,
}

/// One peer.
pub(super) struct Tunnel {
    pub(super) peer: Arc<Peer>,
    pub(super) config: PeerConfig,
    pub(super) state: PeerState,
    /// What was told last: that it is up, or why not.
    told: Option<Option<&'static str>>,
    /// What is wrong, the latest last.
    troubles: Vec<String>,
    /// What does not fit between the peer's segments and this host's.
    mismatches: Vec<String>,
    asking: Asking,
    pub(super) ports: Vec<TunnelPort>,
}

/// A peer's port on one switch.
pub(super) struct TunnelPort {
    pub(super) name: String,
    pub(super) id: PortId,
    pub(super) switch: String,
    pub(super) segments: Vec<(SegmentId, VlanId)>,
    pub(super) counters: Arc<PortCounters>,
    pub(super) egress: Arc<Egress>,
}

impl Tunnels {
    /// None yet; the overlay, which has a task of its own, rests. Also returns where it is told what happens.
    pub(crate) fn begin(
        state_dir: &Path,
        pool: &Pool,
    ) -> (Self, mpsc::UnboundedReceiver<Happened>) {
        let (news, happened) = mpsc::unbounded_channel();
        let (overlay, messages) = mpsc::channel(OVERLAY_MAX);
        let (orders, ordered) = mpsc::unbounded_channel();
        let (snooped, handed_over) = mpsc::channel(SNOOPED_MAX);
        if let Some(injector) = pool.injector() {
            let sources = Sources { orders: ordered, messages, snooped: handed_over };
            tokio::spawn(Office::new(news.clone(), injector).run(sources));
        }
        let state_dir = state_dir.to_owned();
        let tunnels = Self {
            state_dir,
            news,
            overlay,
            orders,
            snooped,
            running: None,
            frozen: BTreeMap::new(),
            trouble: None,
        };
        (tunnels, happened)
    }

    /// Returns where state is kept that outlives a restart.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Returns where frames are handed over to the overlay, while there are tunnels.
    pub(super) fn snooped(&self) -> Option<mpsc::Sender<Snooped>> {
        self.running.as_ref().map(|_| self.snooped.clone())
    }

    /// Returns the peers, by name.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&String, &Tunnel)> {
        self.running.iter().flat_map(|running| &running.peers)
    }

    /// Returns a peer.
    pub(super) fn peer(&self, name: &str) -> Option<&Tunnel> {
        self.running.as_ref()?.peers.get(name)
    }

    /// Returns every port of every peer.
    pub(super) fn ports(&self) -> impl Iterator<Item = &TunnelPort> {
        self.peers().flat_map(|(_, tunnel)| &tunnel.ports)
    }

    /// Returns every port with its peer, and the peer's name.
    pub(super) fn ports_of_peers(&self) -> impl Iterator<Item = (&String, &Tunnel, &TunnelPort)> {
        self.peers()
            .flat_map(|(name, tunnel)| tunnel.ports.iter().map(move |port| (name, tunnel, port)))
    }

    /// Returns where datagrams come in, and what this host is known by; `None` where no tunnel runs.
    pub(super) fn end(&self) -> Option<(SocketAddr, PublicKey)> {
        self.running.as_ref().map(|running| (running.listen, running.own))
    }

    /// Returns the frozen addresses of a segment in words.
    pub(super) fn frozen(&self, segment: u32) -> impl Iterator<Item = String> {
        let frozen = self.frozen.iter().filter(move |((id, _), _)| id.get() == segment);
        frozen.map(|((_, mac), stays)| {
            format!("{mac} moved from host to host five times in 180 s: it stays {stays} until it is quiet")
        })
    }

    fn find(&mut self, id: PeerId) -> Option<(&String, &mut Tunnel)> {
        let peers = self.running.iter_mut().flat_map(|running| &mut running.peers);
        peers.into_iter().find(|(_, tunnel)| tunnel.peer.id() == id)
    }

    /// Has the keeper do something, where there is one.
    pub(super) fn command(&self, command: Command) {
        if let Some(running) = &self.running {
            running.keeper.command(command);
        }
    }

    /// Takes in what the name of a peer's endpoint means.
    fn resolved(&mut self, resolved: Resolved) {
        let peers = self.running.as_mut().map(|running| &mut running.peers);
        let Whose::Peer(name) = resolved.whose() else { return };
        let Some(tunnel) = peers.and_then(|peers| peers.get_mut(name)) else { return };
        let (id, endpoint) = (tunnel.peer.id(), tunnel.config.endpoint.as_ref());
        if let Some(address) = tunnel.asking.take(resolved, endpoint, tunnel.state, &self.news) {
            self.command(Command::SetEndpoint(id, Some(address)));
        }
    }

    /// Asks the keeper something. Its answer is waited for without the control plane's lock.
    pub(super) fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<oneshot::Receiver<T>> {
        let (sender, answer) = oneshot::channel();
        self.running.as_ref()?.keeper.command(command(sender));
        Some(answer)
    }

    /// Returns handshakes and records that belong to no peer: datagrams lost in a flood, records of no session.
    pub(super) fn lost(&self) -> (u64, u64) {
        self.running.as_ref().map_or((0, 0), |running| running.notes.lost())
    }
}

impl Tunnel {
    /// Returns what is wrong, in words.
    pub(super) fn problems(&self) -> impl Iterator<Item = &String> {
        self.troubles.iter().chain(&self.mismatches)
    }
}

impl TunnelPort {
    /// Returns the port as the switch sees it: a trunk of the segments' VLANs.
    pub(super) fn spec(&self) -> PortSpec {
        PortSpec {
            id: self.id,
            kind: PortKind::Tunnel,
            blocked: VlanSet::new(),
            vlan: self.vlan(),
            mtu: TUNNEL_MTU,
            mac_limit: None,
            guards: Guards::default(),
            isolation: Isolation::Open,
            flood_limit: None,
        }
    }

    /// Returns its VLAN mode.
    pub(super) fn vlan(&self) -> PortVlan {
        let members = self.segments.iter().map(|&(_, vlan)| vlan).collect();
        PortVlan::Trunk { members, native: None, tpid: Tpid::Dot1Q }
    }
}

impl Control {
    /// Brings the tunnels to what is configured, with these keys.
    pub(super) async fn put_tunnels(&mut self, secrets: Option<Result<VpnSecrets, SecretsError>>) {
        self.tunnels.trouble = None;
        let Some(vpn) = self.config.vpn.clone() else { return self.end_tunnels().await };
        let secrets = match secrets {
            Some(Ok(secrets)) => secrets,
            None => return,
            Some(Err(error)) => {
                self.end_tunnels().await;
                tracing::error!(%error, help = error.help(), "no tunnels");
                self.tunnels.trouble = Some(format!("no tunnels: {error}"));
                return;
            }
        };
        let is_other = |running: &Running| (running.listen, running.dscp) != (vpn.listen, vpn.dscp);
        if self.tunnels.running.as_ref().is_some_and(is_other) {
            self.end_tunnels().await;
        }
        let begun = match self.tunnels.running {
            Some(_) => self.change_keys(&secrets).await,
            None => self.begin_tunnels(&vpn, &secrets),
        };
        if let Err(trouble) = begun {
            tracing::error!(trouble, "no tunnels");
            self.tunnels.trouble = Some(trouble);
            return;
        }
        self.put_peers(&vpn, &secrets).await;
    }

    fn begin_tunnels(&mut self, vpn: &VpnConfig, secrets: &VpnSecrets) -> Result<(), String> {
        let workers = self.pool.workers();
        let sockets = udp::open(vpn.listen, workers, Segmentation::Kernel)
            .map_err(|error| format!("no tunnels: cannot listen on {}: {error}", vpn.listen))?;
        let stamps = Stamps::load(&self.tunnels.state_dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "the handshakes of earlier are forgotten");
            Stamps::default()
        });
        let config = HostConfig {
            private_key: secrets.private.clone(),
            previous_private_key: secrets.previous.clone(),
            mark: stamps.mark(),
        };
        let directory = Arc::new(Directory::default());
        let (notes, inbox) = notes(self.tunnels.overlay.clone());
        let happened = self.tunnels.news.clone();
        let tell = move |news| {
            let _ = happened.send(Happened::Told(news));
        };
        let first = sockets.first().ok_or("no tunnels: there is no worker")?.clone();
        let inbox = (notes.clone(), inbox);
        let keeper = Keeper::start(config, stamps, first, directory.clone(), inbox, Box::new(tell))
            .map_err(|error| format!("no tunnels: {error}"))?;
        let incoming = sockets
            .iter()
            .map(|socket| Incoming::new(socket.receiver(), directory.clone(), notes.clone()));
        self.pool.attach_tunnels(incoming);
        let senders = sockets.iter().map(|socket| Arc::new(Mutex::new(socket.sender()))).collect();
        self.tunnels.running = Some(Running {
            listen: vpn.listen,
            dscp: vpn.dscp,
            own: secrets.private.public(),
            sockets,
            keeper,
            notes,
            senders,
            peers: BTreeMap::new(),
        });
        tracing::info!(listen = %vpn.listen, "tunnels begin");
        Ok(())
    }

    async fn change_keys(&mut self, secrets: &VpnSecrets) -> Result<(), String> {
        let (answer, changed) = oneshot::channel();
        self.tunnels.command(Command::SetKeys(
            secrets.private.clone(),
            secrets.previous.clone(),
            answer,
        ));
        match changed.await {
            Ok(Ok(())) => {
                if let Some(running) = &mut self.tunnels.running {
                    running.own = secrets.private.public();
                }
                Ok(())
            }
            Ok(Err(error)) => Err(format!("the keys stay as they were: {error}")),
            Err(_) => Err("the keeper of the tunnels has ended".to_owned()),
        }
    }

    /// Closes every tunnel.
    pub(super) async fn end_tunnels(&mut self) {
        let Some(running) = self.tunnels.running.take() else { return };
        self.pool.detach_tunnels();
        self.tunnels.frozen.clear();
        self.put_in_force();
        let ports = running.peers.into_values().flat_map(|tunnel| tunnel.ports).collect();
        self.retire_tunnel_ports(ports).await;
        tracing::info!("tunnels ended");
    }

    /// Brings the peers to what is configured.
    async fn put_peers(&mut self, vpn: &VpnConfig, secrets: &VpnSecrets) {
        let Some(mut running) = self.tunnels.running.take() else { return };
        let mut leaving = Vec::new();
        for (name, tunnel) in std::mem::take(&mut running.peers) {
            let key = vpn.peers.get(&name).map(|new| new.public_key);
            if key == Some(tunnel.config.public_key) {
                running.peers.insert(name, tunnel);
                continue;
            }
            running.keeper.remove(tunnel.peer.id()).await;
            leaving.extend(tunnel.ports);
            tracing::info!(peer = name, "peer removed");
        }
        for (name, config) in &vpn.peers {
            let preshared = secrets.preshared.get(name).cloned();
            match running.peers.get_mut(name) {
                Some(tunnel) => {
                    let id = tunnel.peer.id();
                    running.keeper.command(Command::SetPresharedKey(id, preshared));
                    if tunnel.config.ciphers != config.ciphers {
                        running.keeper.command(Command::SetSuites(id, suites(&config.ciphers)));
                    }
                    if tunnel.config.endpoint != config.endpoint {
                        let address = address_of(config.endpoint.as_ref());
                        running.keeper.command(Command::SetEndpoint(id, address));
                        tunnel.asking.ask(
                            Whose::Peer(name.clone()),
                            config.endpoint.as_ref(),
                            &self.tunnels.news,
                        );
                    }
                    tunnel.config = config.clone();
                }
                None => {
                    let Some(id) = free_id(&running.peers) else { break };
                    let peer = Arc::new(Peer::new(id, getrandom::u32().unwrap_or_default()));
                    let endpoint = address_of(config.endpoint.as_ref());
                    let to_keeper = weft_vpn::PeerConfig {
                        key: config.public_key,
                        preshared_key: preshared,
                        endpoint,
                        suites: suites(&config.ciphers),
                        greatest: None,
                    };
                    let added = running.keeper.add(peer.clone(), to_keeper).await;
                    let troubles = added.err().map(|error| error.to_string()).into_iter().collect();
                    let mut asking = Asking::default();
                    asking.ask(
                        Whose::Peer(name.clone()),
                        config.endpoint.as_ref(),
                        &self.tunnels.news,
                    );
                    let reason = endpoint.map_or(DownReason::Waiting, |_| DownReason::NoSession);
                    let tunnel = Tunnel {
                        peer,
                        config: config.clone(),
                        state: PeerState::Down(reason),
                        told: None,
                        troubles,
                        mismatches: Vec::new(),
                        asking,
                        ports: Vec::new(),
                    };
                    running.peers.insert(name.clone(), tunnel);
                }
            }
        }
        for (name, tunnel) in &mut running.peers {
            let wanted = self.segments_of(&tunnel.config);
            let stays = |port: &TunnelPort| wanted.contains_key(&port.switch);
            leaving.extend(tunnel.ports.extract_if(.., |port| !stays(port)));
            for (position, (switch, segments)) in wanted.into_iter().enumerate() {
                if let Some(port) = tunnel.ports.iter_mut().find(|port| port.switch == switch) {
                    port.segments = segments;
                    continue;
                }
                let Some(id) = self.free_ids.pop_first() else { break };
                let queue = |sender: &SharedSender| {
                    let queue = Outgoing::new(
                        id,
                        tunnel.peer.clone(),
                        sender.clone(),
                        running.notes.clone(),
                        running.dscp,
                    );
                    Box::new(queue) as _
                };
                let egress = Arc::new(Egress::new(running.senders.iter().map(queue).collect()));
                let name = match position {
                    0 => format!("vpn.{name}"),
                    _ => format!("vpn.{name}@{switch}"),
                };
                let counters = Arc::new(PortCounters::new(self.pool.workers()));
                tunnel.ports.push(TunnelPort { name, id, switch, segments, counters, egress });
            }
            tunnel.peer.carry(carried(&tunnel.ports));
        }
        self.tunnels.running = Some(running);
        self.put_in_force();
        self.retire_tunnel_ports(leaving).await;
    }

    /// Returns the segments that a peer may carry, by switch.
    fn segments_of(&self, config: &PeerConfig) -> BTreeMap<String, Vec<(SegmentId, VlanId)>> {
        let mut by_switch: BTreeMap<String, Vec<(SegmentId, VlanId)>> = BTreeMap::new();
        for segment in config.segments.iter().filter_map(|name| self.config.segments.get(name)) {
            if let Some(id) = SegmentId::new(segment.id.get()) {
                by_switch.entry(segment.switch.clone()).or_default().push((id, segment.vlan));
            }
        }
        by_switch
    }

    /// Gives back what ports of tunnels held that are not in force any more.
    async fn retire_tunnel_ports(&mut self, ports: Vec<TunnelPort>) {
        if ports.is_empty() {
            return;
        }
        self.pool.pass().await;
        for port in ports {
            for switch in self.switches.values() {
                switch.fdb.forget_port(port.id);
            }
            self.free_ids.insert(port.id);
        }
    }
}

fn carried(ports: &[TunnelPort]) -> Carried {
    let segments = ports
        .iter()
        .flat_map(|port| port.segments.iter().map(|&(segment, vlan)| (segment, port.id, vlan)));
    segments.collect()
}

fn free_id(peers: &BTreeMap<String, Tunnel>) -> Option<PeerId> {
    let used: BTreeSet<PeerId> = peers.values().map(|tunnel| tunnel.peer.id()).collect();
    (0..=u16::MAX).map(PeerId).find(|id| !used.contains(id))
}

/// Returns the suites that a list of ciphers allows; an empty list allows all, AES first where the processor has it.
fn suites(ciphers: &[Cipher]) -> Suites {
    let named = ciphers.iter().map(|cipher| match cipher {
        Cipher::Aes256Gcm => Suite::Aes256Gcm,
        Cipher::Chacha20Poly1305 => Suite::ChaCha20Poly1305,
    });
    Suites::new(named).unwrap_or_default()
}
