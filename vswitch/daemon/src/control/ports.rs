//! The life of ports: opened when their device or peer is there, closed when it goes, opened again when it
//! returns. What a port held is given back only when no worker can use it any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_config::{
    Config, NetdevIo, PortConfig, PortType, SocketConfig,
    api::{Happening, PortState},
};
use weft_core::PortId;
use weft_ports::{Opened, packet, tap, vhost::Line, xdp};
use weft_vlan::VlanSet;

use super::{
    candidate::Candidate,
    secrets::Secrets,
    sockets::SocketTask,
    state::{Control, DEFAULT_MTU, Link, Open, OpenDevice, Port},
};
use crate::{
    device::{Device, Refusal, Use},
    plane::{PortCounters, QueueEnded},
};

impl Control {
    /// Puts the first configuration in force. What a killed daemon left on devices that are no ports any more
    /// is undone first. A candidate that an earlier daemon had in force stands in for the file's.
    pub(crate) async fn begin(&mut self, file: String, config: Config) {
        let (running, config) = match Candidate::resume(self.state_dir(), (&file, &config)) {
            Ok(Some((candidate, candidates))) => {
                let seconds = candidate.left().as_secs();
                tracing::warn!(
                    seconds,
                    "a configuration is in force that waits for its confirmation"
                );
                let text = candidate.text.clone();
                self.candidate = Some(candidate);
                (text, candidates)
            }
            Ok(None) => {
                Candidate::forget(self.state_dir());
                (file, config)
            }
            Err(reason) => {
                tracing::warn!(%reason, "a configuration that was not confirmed is gone: the file's is in force");
                Candidate::forget(self.state_dir());
                (file, config)
            }
        };
        let secrets = Secrets::read(&config);
        self.give_back_unless_wanted(&config).await;
        let devices: Vec<&str> =
            config.ports.values().filter(|port| port.enabled).filter_map(device_of).collect();
        for trouble in self.devices.undo_stale(&devices).await {
            tracing::warn!(%trouble, "could not undo what an earlier weftd left on a device");
        }
        self.put(running, config, secrets).await;
        self.give_back_what_has_no_heir().await;
    }

    /// Puts a configuration in force: closes what it does not have or has otherwise, changes the rules for all
    /// at once, then opens what is new. What did not change is not touched.
    pub(super) async fn put(&mut self, running: String, config: Config, secrets: Secrets) {
        let mut leaving: Vec<String> = self
            .ports
            .iter()
            .filter(|(name, port)| {
                config.ports.get(*name).is_none_or(|new| must_reopen(&port.config, new))
            })
            .map(|(name, _)| name.clone())
            .collect();
        self.give_back_leaving(&config, &mut leaving).await;
        let mut closed = Vec::new();
        for name in leaving {
            closed.extend(self.ports.remove(&name).map(|port| (name, port)));
        }
        self.running = running;
        self.config = config;
        let mut rewired = BTreeSet::new();
        let mut other_mtu = Vec::new();
        for (name, port) in &mut self.ports {
            let config = &self.config.ports[name];
            if port.config.vlan != config.vlan {
                rewired.insert(config.switch.clone());
            }
            if port.config.mtu != config.mtu {
                other_mtu.push(name.clone());
            }
            port.config.clone_from(config);
        }
        // A port that is opened anew keeps its number and its counters.
        let before: BTreeMap<String, (PortId, Arc<PortCounters>)> = closed
            .iter()
            .map(|(name, port)| (name.clone(), (port.id, port.counters.clone())))
            .collect();
        self.put_in_force();
        self.retire(closed).await;
        self.forget_left_vlans(&rewired).await;
        let missing = |name: &&String| !self.ports.contains_key(*name);
        let missing: Vec<String> = self.config.ports.keys().filter(missing).cloned().collect();
        let (again, new): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|name| before.contains_key(name));
        for name in again {
            let (id, counters) = before[&name].clone();
            self.free_ids.remove(&id);
            self.place(name, id, counters);
        }
        for name in new {
            // The parser allows no more ports than there are numbers.
            let Some(id) = self.free_ids.pop_first() else { break };
            self.place(name, id, Arc::new(PortCounters::new(self.pool.workers())));
        }
        for name in other_mtu {
            self.tune_tap(&name).await;
        }
        self.put_in_force();
        self.put_tunnels(secrets.vpn).await;
        self.put_wireguard(secrets.wireguard).await;
        self.show_adapters();
        self.open_ports().await;
        self.tell_ports();
    }

    /// Tells of ports that went up or down or away since it was told last.
    pub(super) fn tell_ports(&mut self) {
        self.told.retain(|name, _| {
            let is_there = self.ports.contains_key(name);
            if !is_there {
                self.events.tell(Happening::PortRemoved { port: name.clone() });
            }
            is_there
        });
        for (name, port) in &self.ports {
            let (state, reason) = port.state();
            let reason = (state != PortState::Up).then(|| reason.unwrap_or_default());
            if self.told.get(name) == Some(&reason) {
                continue;
            }
            self.told.insert(name.clone(), reason.clone());
            let port = name.clone();
            self.events.tell(match reason {
                Some(reason) => Happening::PortDown { port, reason },
                None => Happening::PortUp { port },
            });
        }
    }

    /// Puts a configured port in the table, not open yet.
    fn place(&mut self, name: String, id: PortId, counters: Arc<PortCounters>) {
        let blocked = VlanSet::new();
        let config = self.config.ports[&name].clone();
        let link = if config.enabled {
            Link::Waiting("it is being opened".into())
        } else {
            Link::Disabled
        };
        self.ports.insert(
            name,
            Port { id, config, counters, link, blocked, generation: 0, socket: None },
        );
    }

    /// Gives back what ports held that are no longer in force.
    async fn retire(&mut self, closed: Vec<(String, Port)>) {
        if closed.is_empty() {
            return;
        }
        for (_, port) in &closed {
            self.pool.detach(port.id);
        }
        self.pool.pass().await;
        for (name, mut port) in closed {
            let id = port.id;
            let device = device_of(&port.config).map(str::to_owned);
            port.link = Link::Disabled;
            if let Some(task) = port.socket.take() {
                task.end().await;
            }
            for switch in self.switches.values() {
                switch.fdb.forget_port(id);
            }
            if let Some(device) = device {
                self.release_unless_wanted(&device).await;
            }
            if !self.ports.values().any(|other| other.id == id) {
                self.free_ids.insert(id);
            }
            tracing::info!(port = name, "port closed");
        }
    }

    /// Forgets, on switches whose ports have other VLANs, what was learned in those that a port has left.
    async fn forget_left_vlans(&self, rewired: &BTreeSet<String>) {
        if rewired.is_empty() {
            return;
        }
        // Until then a worker may learn by the plan of before.
        self.pool.pass().await;
        for switch in rewired.iter().filter_map(|name| self.switches.get(name)) {
            switch.compiled.forget_left_vlans();
        }
    }

    async fn release_unless_wanted(&self, device: &str) {
        let wanted = self.config.ports.values().any(|port| {
            port.enabled
                && matches!(&port.kind, PortType::Netdev { device: other, .. } if other == device)
        });
        if !wanted && let Err(error) = self.devices.release(device).await {
            tracing::warn!(device, %error, "could not undo what was changed on the device");
        }
    }

    /// Opens every port that could be open and is not.
    async fn open_ports(&mut self) {
        self.open_those(|_| true).await;
    }

    /// Opens the port on a device of which there is news.
    pub(super) async fn open_ports_on(&mut self, device: &str) {
        self.open_those(|port| device_of(&port.config) == Some(device)).await;
    }

    /// Tries ports again that something stood in the way of which no event tells when it goes, as an address.
    pub(super) async fn retry_failed(&mut self) {
        let uplinks: BTreeSet<String> = self.config.uplinks.keys().cloned().collect();
        // An uplink that failed has its addresses back, and is tried again by itself, less often.
        let by_device =
            |port: &Port| device_of(&port.config).is_some_and(|device| !uplinks.contains(device));
        self.open_those(|port| by_device(port) && matches!(port.link, Link::Failed(_))).await;
    }

    async fn open_those(&mut self, concerned: impl Fn(&Port) -> bool) {
        let closed = self
            .ports
            .iter()
            .filter(|(_, port)| port.config.enabled && !matches!(port.link, Link::Open(_)))
            .filter(|(_, port)| concerned(port) || self.heir_of(port).is_some_and(&concerned));
        let mut closed: Vec<(bool, String)> =
            closed.map(|(name, port)| (self.heir_of(port).is_some(), name.clone())).collect();
        // Heirs before those whose addresses they take.
        closed.sort();
        let mut opened = false;
        for (_, name) in closed {
            opened |= self.open_port(&name).await;
        }
        if opened {
            self.put_in_force();
        }
    }

    /// Tries to open one port; tells whether it is open now.
    async fn open_port(&mut self, name: &str) -> bool {
        let Some(port) = self.ports.get(name) else { return false };
        let (id, kind, mtu) = (port.id, port.config.kind.clone(), port.config.mtu);
        let mut queues = None;
        let result = match &kind {
            PortType::Netdev { device, io } => match self.adopt(device).await {
                Err(link) => Err(link),
                Ok(()) if *io == NetdevIo::Packet => self.open_netdev(device).await,
                Ok(()) => {
                    queues = self.devices.queues(device).await;
                    self.open_xdp(name, device).await
                }
            },
            PortType::Tap { device, queues } => self.open_tap(device, *queues, mtu).await,
            PortType::Stream(socket) | PortType::VhostUser { socket, .. } => {
                Err(self.open_socket(name, socket))
            }
        };
        match result {
            Ok((opened, device)) => {
                self.attach(name, id, opened, device, None);
                if let Some(Port { link: Link::Open(open), .. }) = self.ports.get_mut(name) {
                    open.queues = queues;
                }
                self.fill_heir(name).await;
                true
            }
            Err(link) => {
                self.settle(name, link);
                if let PortType::Netdev { device, .. } = &kind {
                    self.give_back(device).await;
                    self.retry_later(device);
                }
                false
            }
        }
    }

    async fn open_netdev(&self, device: &str) -> Result<(Opened, Option<Device>), Link> {
        let claimed = self.devices.claim(device, Use::Netdev).await.map_err(refused)?;
        let opened = packet::open(claimed.index)
            .map_err(|error| Link::Failed(format!("device {device}: {error}")))?;
        Ok((opened, Some(claimed)))
    }

    async fn open_xdp(&self, name: &str, device: &str) -> Result<(Opened, Option<Device>), Link> {
        let claimed = self.devices.claim(device, Use::Xdp).await.map_err(refused)?;
        let index = claimed.index;
        // A queue that an earlier socket has just left may be waited for.
        let opened = tokio::task::spawn_blocking(move || xdp::open(index)).await;
        let (opened, road) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(Link::Failed(format!("device {device}: {error}"))),
            Err(error) => return Err(Link::Failed(format!("device {device}: {error}"))),
        };
        tracing::info!(port = name, device, %road, "the device's frames come by AF_XDP");
        Ok((opened, Some(claimed)))
    }

    async fn open_tap(
        &self,
        device: &str,
        queues: u16,
        mtu: Option<u32>,
    ) -> Result<(Opened, Option<Device>), Link> {
        let opened = tap::open(device, usize::from(queues))
            .map_err(|error| Link::Failed(format!("device {device}: {error}")))?;
        let claimed = self.devices.claim(device, Use::Tap { mtu }).await.map_err(refused)?;
        Ok((opened, Some(claimed)))
    }

    /// Has a port's socket served, if it is not yet; the port waits for who connects.
    fn open_socket(&mut self, name: &str, socket: &SocketConfig) -> Link {
        let connected = self.connected.clone();
        self.generations += 1;
        let incarnation = self.generations;
        let Some(port) = self.ports.get_mut(name) else { return Link::Disabled };
        if let Some(task) = &port.socket {
            return Link::Waiting(task.reason());
        }
        match SocketTask::start(name, incarnation, socket, connected) {
            Ok(task) => Link::Waiting(port.socket.insert(task).reason()),
            Err(error) => Link::Failed(error.to_string()),
        }
    }

    /// Hands an open port's queues to the workers.
    pub(super) fn attach(
        &mut self,
        name: &str,
        id: PortId,
        opened: Opened,
        device: Option<Device>,
        line: Option<Line>,
    ) {
        self.generations += 1;
        let generation = self.generations;
        if let Some(port) = self.ports.get_mut(name) {
            let egress = self.pool.attach(id, generation, opened, &port.counters);
            port.generation = generation;
            let mtu = device.as_ref().map_or(DEFAULT_MTU, |device| device.mtu);
            let device = device.map(OpenDevice::from);
            port.link = Link::Open(Open { egress, mtu, device, queues: None, vm: None, line });
            tracing::info!(port = name, "port open");
        }
    }

    fn settle(&mut self, name: &str, link: Link) {
        if let Some(port) = self.ports.get_mut(name) {
            port.link = link;
        }
    }

    /// Takes an open port out of operation, because its device or peer is gone.
    pub(super) async fn close_port(&mut self, name: &str, reason: String) {
        let Some(port) = self.ports.get_mut(name) else { return };
        let (id, task) = (port.id, port.socket.as_ref().map(SocketTask::reason));
        port.link = Link::Waiting(task.unwrap_or(reason));
        self.pool.detach(id);
        self.put_in_force();
        self.pool.pass().await;
        for switch in self.switches.values() {
            switch.fdb.forget_port(id);
        }
        if let Some(port) = self.ports.get_mut(name)
            && let Some(task) = &mut port.socket
        {
            task.disconnected();
        }
    }

    pub(super) async fn queue_ended(&mut self, ended: QueueEnded) {
        let Some((name, _)) = self
            .ports
            .iter()
            .find(|(_, port)| port.id == ended.port && port.generation == ended.generation)
            // Each queue of a port says so by itself.
            .filter(|(_, port)| matches!(port.link, Link::Open(_)))
        else {
            return;
        };
        let name = name.clone();
        tracing::info!(port = name, reason = %ended.fault, "port lost");
        self.close_port(&name, ended.fault.to_string()).await;
        self.open_ports().await;
    }

    /// Closes every port and undoes what was changed on devices.
    pub(crate) async fn shut_down(&mut self) {
        self.stop_captures();
        self.give_back_leaving(&Config::default(), &mut Vec::new()).await;
        self.config.ports.clear();
        self.end_tunnels().await;
        self.uapi.put(&BTreeSet::new());
        self.end_wireguard().await;
        let closed = std::mem::take(&mut self.ports).into_iter().collect();
        self.put_in_force();
        self.retire(closed).await;
    }
}

/// Tells whether a port has to be closed and opened to become what is wanted.
fn must_reopen(old: &PortConfig, new: &PortConfig) -> bool {
    old.kind != new.kind || old.switch != new.switch || old.enabled != new.enabled
}

pub(super) fn device_of(config: &PortConfig) -> Option<&str> {
    match &config.kind {
        PortType::Netdev { device, .. } | PortType::Tap { device, .. } => Some(device),
        PortType::Stream(_) | PortType::VhostUser { .. } => None,
    }
}

pub(super) fn refused(refusal: Refusal) -> Link {
    match refusal {
        Refusal::Missing(_) => Link::Waiting(refusal.to_string()),
        Refusal::Unsuitable { .. } | Refusal::Io(_) => Link::Failed(refusal.to_string()),
    }
}
