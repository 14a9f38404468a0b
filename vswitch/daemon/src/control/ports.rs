//! The life of ports: opened when their device or peer is there, closed when it goes, opened again when it
//! returns. What a port held is given back only when no worker can use it any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_config::{Config, NetdevIo, PortConfig, PortType};
use weft_core::PortId;
use weft_ports::{Opened, packet, tap};
use weft_vlan::VlanSet;

use super::{
    secrets::{Secrets, SecretsError},
    sockets::{Connected, SocketTask},
    state::{Control, DEFAULT_MTU, Link, Open, OpenDevice, Port},
    tunnels::read_secrets,
};
use crate::{
    device::{Change, Device, LinkEvent, LinkState, Refusal, Use},
    plane::{PortCounters, QueueEnded},
};

impl Control {
    /// Puts the first configuration in force. What a killed daemon left on devices that are no ports any more
    /// is undone first.
    pub(crate) async fn begin(&mut self, running: String, config: Config) {
        let secrets = read_secrets(&config);
        let devices: Vec<&str> =
            config.ports.values().filter(|port| port.enabled).filter_map(device_of).collect();
        for trouble in self.devices.undo_stale(&devices).await {
            tracing::warn!(%trouble, "could not undo what an earlier weftd left on a device");
        }
        self.put(running, config, secrets).await;
    }

    /// Puts a configuration in force: closes what it does not have or has otherwise, changes the rules for all
    /// at once, then opens what is new. What did not change is not touched.
    pub(super) async fn put(
        &mut self,
        running: String,
        config: Config,
        secrets: Result<Option<Secrets>, SecretsError>,
    ) {
        let leaving: Vec<String> = self
            .ports
            .iter()
            .filter(|(name, port)| {
                config.ports.get(*name).is_none_or(|new| must_reopen(&port.config, new))
            })
            .map(|(name, _)| name.clone())
            .collect();
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
        self.put_tunnels(secrets).await;
        self.open_ports().await;
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
    async fn open_ports_on(&mut self, device: &str) {
        self.open_those(|port| device_of(&port.config) == Some(device)).await;
    }

    /// Tries ports again that something stood in the way of which no event tells when it goes, as an address.
    pub(super) async fn retry_failed(&mut self) {
        let by_device = |port: &Port| device_of(&port.config).is_some();
        self.open_those(|port| by_device(port) && matches!(port.link, Link::Failed(_))).await;
    }

    async fn open_those(&mut self, concerned: impl Fn(&Port) -> bool) {
        let closed: Vec<String> = self
            .ports
            .iter()
            .filter(|(_, port)| port.config.enabled && !matches!(port.link, Link::Open(_)))
            .filter(|(_, port)| concerned(port))
            .map(|(name, _)| name.clone())
            .collect();
        let mut opened = false;
        for name in closed {
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
        let result = match &kind {
            PortType::Netdev { device, io: NetdevIo::Packet } => self.open_netdev(device).await,
            PortType::Tap { device, queues } => self.open_tap(device, *queues, mtu).await,
            PortType::Stream(socket) => {
                let connected = self.connected.clone();
                self.generations += 1;
                let incarnation = self.generations;
                let Some(port) = self.ports.get_mut(name) else { return false };
                match port.socket.as_ref().map(SocketTask::reason) {
                    Some(reason) => Err(Link::Waiting(reason)),
                    None => match SocketTask::start(name, incarnation, socket, connected) {
                        Ok(task) => {
                            let reason = task.reason();
                            port.socket = Some(task);
                            Err(Link::Waiting(reason))
                        }
                        Err(error) => Err(Link::Failed(error.to_string())),
                    },
                }
            }
        };
        match result {
            Ok((opened, device)) => {
                self.attach(name, id, opened, device);
                true
            }
            Err(link) => {
                self.settle(name, link);
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

    /// Hands an open port's queues to the workers.
    fn attach(&mut self, name: &str, id: PortId, opened: Opened, device: Option<Device>) {
        self.generations += 1;
        let generation = self.generations;
        if let Some(port) = self.ports.get_mut(name) {
            let egress = self.pool.attach(id, generation, opened, &port.counters);
            port.generation = generation;
            let mtu = device.as_ref().map_or(DEFAULT_MTU, |device| device.mtu);
            port.link = Link::Open(Open { egress, mtu, device: device.map(OpenDevice::from) });
            tracing::info!(port = name, "port open");
        }
    }

    fn settle(&mut self, name: &str, link: Link) {
        let Some(port) = self.ports.get_mut(name) else { return };
        match (&port.link, &link) {
            (Link::Waiting(old), Link::Waiting(new)) if old == new => {}
            (_, Link::Waiting(reason)) => tracing::info!(port = name, reason, "port waits"),
            (Link::Failed(old), Link::Failed(new)) if old == new => {}
            (_, Link::Failed(reason)) => tracing::warn!(port = name, reason, "port failed"),
            _ => {}
        }
        port.link = link;
    }

    /// Takes an open port out of operation, because its device or peer is gone.
    async fn close_port(&mut self, name: &str, reason: String) {
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
        else {
            return;
        };
        let name = name.clone();
        tracing::info!(port = name, reason = %ended.fault, "port lost");
        self.close_port(&name, ended.fault.to_string()).await;
        self.open_ports().await;
    }

    pub(super) async fn link_event(&mut self, event: LinkEvent) {
        match event.change {
            Change::Added(state) => {
                self.open_ports_on(&event.name).await;
                self.device_state(event.index, state).await;
            }
            Change::Renamed { from } => {
                self.device_renamed(event.index, &from, &event.name).await;
                self.open_ports_on(&event.name).await;
                self.open_ports_on(&from).await;
            }
            Change::Removed | Change::Moved => self.device_left(&event).await,
            Change::State(state) => {
                if !self.device_state(event.index, state).await {
                    // A master that stood in the way may be gone.
                    self.open_ports_on(&event.name).await;
                }
            }
            Change::Used => {
                let concerned = |(_, port): &(_, &Port)| port.device_index() == Some(event.index);
                if let Some((name, _)) = self.ports.iter().find(concerned) {
                    let name = name.clone();
                    self.follow_device(&name, event.index).await;
                }
            }
        }
    }

    /// Takes note of the state of the device of an open port; tells whether there is such a port.
    async fn device_state(&mut self, index: u32, mut state: LinkState) -> bool {
        let concerned = |(_, port): &(_, &mut Port)| port.device_index() == Some(index);
        let Some((name, port)) = self.ports.iter_mut().find(concerned) else { return false };
        let name = name.clone();
        let took_frames = port.takes_frames().is_some();
        if took_frames && !(state.up && state.running) {
            // Word may be older than what was seen when the port was opened.
            state = self.devices.state(index).await.unwrap_or(state);
        }
        let Link::Open(Open { mtu, device: Some(device), .. }) = &mut port.link else {
            return true;
        };
        let is_up_or_down = std::mem::replace(&mut device.up, state.up) != state.up;
        device.running = state.running;
        let is_other = device.kernel_mtu != state.mtu;
        let is_netdev = matches!(port.config.kind, PortType::Netdev { .. });
        if is_other && !is_netdev {
            (*mtu, device.kernel_mtu) = (state.mtu, state.mtu);
        }
        if port.takes_frames().is_some() != took_frames || is_other && !is_netdev {
            self.put_in_force();
        }
        // A device that goes down loses routes without a word.
        if is_netdev && (is_other || is_up_or_down) {
            self.follow_device(&name, index).await;
        }
        true
    }

    /// Takes note of what has changed on the device of an open `netdev` port.
    async fn follow_device(&mut self, name: &str, index: u32) {
        let device = match self.devices.follow(index).await {
            Ok(Some(device)) => device,
            // It is gone, and word of that will come.
            Ok(None) | Err(Refusal::Missing(_)) => return,
            Err(error) => {
                return tracing::warn!(port = name, %error, "the device cannot be followed");
            }
        };
        if self.know_device(name, device) {
            self.put_in_force();
        }
    }

    /// Puts the configured MTU on the device of a `tap` port that is open.
    async fn tune_tap(&mut self, name: &str) {
        let Some(port) = self.ports.get(name) else { return };
        let (PortType::Tap { device, .. }, Link::Open(open)) = (&port.config.kind, &port.link)
        else {
            return;
        };
        if open.device.is_none() {
            return tracing::warn!(
                port = name,
                device,
                "the MTU of a device in another namespace is to be set there"
            );
        }
        match self.devices.claim(device, Use::Tap { mtu: port.config.mtu }).await {
            Ok(device) => {
                self.know_device(name, device);
            }
            Err(error) => tracing::warn!(port = name, %error, "the device keeps its MTU"),
        }
    }

    /// Keeps what is known of the device of an open port; tells whether other frames than before can go there.
    fn know_device(&mut self, name: &str, device: Device) -> bool {
        let Some(port) = self.ports.get_mut(name) else { return false };
        let took_frames = port.takes_frames().is_some();
        let Link::Open(open) = &mut port.link else { return false };
        let is_other = std::mem::replace(&mut open.mtu, device.mtu) != device.mtu;
        let was_used = open.device.as_ref().is_some_and(|device| device.used.is_some());
        if let Some(used) = device.used.as_ref().filter(|_| !was_used) {
            tracing::warn!(port = name, used, "the host has begun to use a port's device");
        }
        open.device = Some(device.into());
        is_other || port.takes_frames().is_some() != took_frames
    }

    async fn device_left(&mut self, event: &LinkEvent) {
        let owner =
            self.ports.iter_mut().find(|(_, port)| port.device_index() == Some(event.index));
        let Some((name, port)) = owner else { return };
        let took_frames = port.takes_frames().is_some();
        if let (PortType::Tap { .. }, Link::Open(open)) = (&port.config.kind, &mut port.link) {
            // It was moved to another namespace, where its state is not seen and frames go on; or it was
            // removed, and then its queues say so.
            open.device = None;
            if !took_frames {
                self.put_in_force();
            }
            return;
        }
        let name = name.clone();
        self.close_port(&name, format!("device {} does not exist", event.name)).await;
        self.open_ports_on(&event.name).await;
    }

    /// A `netdev` port is attached by name: a device that has got another one is no longer the port's.
    async fn device_renamed(&mut self, index: u32, from: &str, to: &str) {
        let has_lost_it = |(_, port): &(&String, &Port)| {
            port.device_index() == Some(index)
                && matches!(&port.config.kind, PortType::Netdev { device, .. } if device != to)
        };
        let Some((name, _)) = self.ports.iter().find(has_lost_it) else { return };
        let name = name.clone();
        self.close_port(&name, format!("device {from} does not exist, it is called {to} now"))
            .await;
        if let Err(error) = self.devices.release(from).await {
            tracing::warn!(device = to, %error, "could not undo what was changed on the device");
        }
    }

    pub(super) async fn socket_connected(&mut self, connected: Connected) {
        let Connected { port: name, incarnation, stream } = connected;
        let Some(port) = self.ports.get(&name) else { return };
        // It may have been on its way while the port was removed and added again, perhaps with another socket.
        let is_its_own = port.socket.as_ref().is_some_and(|task| task.incarnation() == incarnation);
        if !is_its_own || matches!(port.link, Link::Open(_)) || !port.config.enabled {
            return;
        }
        let id = port.id;
        match weft_ports::stream::attach(stream) {
            Ok(opened) => {
                self.attach(&name, id, opened, None);
                self.put_in_force();
            }
            Err(error) => {
                tracing::warn!(port = name, %error, "connection not taken");
                if let Some(task) = self.ports.get_mut(&name).and_then(|port| port.socket.as_mut())
                {
                    task.disconnected();
                }
            }
        }
    }

    /// Closes every port and undoes what was changed on devices.
    pub(crate) async fn shut_down(&mut self) {
        self.config.ports.clear();
        self.end_tunnels().await;
        let closed = std::mem::take(&mut self.ports).into_iter().collect();
        self.put_in_force();
        self.retire(closed).await;
    }
}

impl Port {
    fn device_index(&self) -> Option<u32> {
        match &self.link {
            Link::Open(Open { device: Some(device), .. }) => Some(device.index),
            _ => None,
        }
    }
}

/// Tells whether a port has to be closed and opened to become what is wanted.
fn must_reopen(old: &PortConfig, new: &PortConfig) -> bool {
    old.kind != new.kind || old.switch != new.switch || old.enabled != new.enabled
}

pub(super) fn device_of(config: &PortConfig) -> Option<&str> {
    match &config.kind {
        PortType::Netdev { device, .. } | PortType::Tap { device, .. } => Some(device),
        PortType::Stream(_) => None,
    }
}

fn refused(refusal: Refusal) -> Link {
    match refusal {
        Refusal::Missing(_) => Link::Waiting(refusal.to_string()),
        Refusal::Unsuitable { .. } | Refusal::Io(_) => Link::Failed(refusal.to_string()),
    }
}

impl From<Device> for OpenDevice {
    fn from(device: Device) -> Self {
        let Device { index, up, running, kernel_mtu, used, .. } = device;
        Self { index, up, running, kernel_mtu, used }
    }
}
