//! What the control plane knows: configuration, ports, forwarding databases; and how it becomes a plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use tokio::sync::{Mutex, mpsc};
use weft_config::{Config, PortConfig, api::Vm};
use weft_core::{
    Fdb, Guards, Isolation, PortId, PortKind, PortSpec, Rate, StaticEntry, Switch, SwitchSpec,
    Timestamp,
};
use weft_ports::{link::Queues, vhost::Line};
use weft_vlan::VlanSet;

use super::{
    candidate::Candidate,
    captures::Captures,
    events::Events,
    history::History,
    sockets::SocketTask,
    tunnels::{TunnelPort, Tunnels},
    uplinks::Uplinks,
    vms::Vms,
    wireguard::Adapters,
};
use crate::{
    clock,
    config_file::ConfigFile,
    device::Devices,
    overlay::Snoop,
    plane::{Egress, Plan, PlannedPort, Pool, PortCounters},
    uapi::Sockets,
};

/// MTU of a port whose device has none of its own.
pub(super) const DEFAULT_MTU: u32 = 1500;

/// The control plane behind its lock.
pub(crate) type Shared = Arc<Mutex<Control>>;

/// All that the control plane knows.
pub(crate) struct Control {
    pub(super) config: Config,
    pub(super) running: String,
    pub(super) file: ConfigFile,
    /// What happened.
    pub(super) events: Arc<Events>,
    /// Whether ports were up when it was told last, and why not.
    pub(super) told: BTreeMap<String, Option<String>>,
    /// Who captures.
    pub(super) captures: Captures,
    /// What the file held before.
    pub(super) history: History,
    /// What is in force until it is confirmed or taken back.
    pub(super) candidate: Option<Candidate>,
    pub(super) switches: BTreeMap<String, RunningSwitch>,
    pub(super) ports: BTreeMap<String, Port>,
    pub(super) free_ids: BTreeSet<PortId>,
    pub(super) pool: Pool,
    pub(super) devices: Devices,
    pub(super) tunnels: Tunnels,
    pub(super) adapters: Adapters,
    pub(super) uplinks: Uplinks,
    pub(super) vms: Vms,
    /// Where `wg` finds the adapters.
    pub(super) uapi: Sockets,
    pub(super) started: Timestamp,
    pub(super) generations: u64,
    /// Where tasks that serve sockets report; the receiver is [`super::tend::tend`]'s.
    pub(super) connected: mpsc::Sender<super::sockets::Connected>,
}

/// A switch that exists.
pub(super) struct RunningSwitch {
    pub(super) fdb: Arc<Fdb>,
    pub(super) compiled: Arc<Switch>,
}

/// A port that is configured, in operation or not.
pub(super) struct Port {
    pub(super) id: PortId,
    pub(super) config: PortConfig,
    pub(super) counters: Arc<PortCounters>,
    pub(super) link: Link,
    /// VLANs in which a loop was found behind it.
    pub(super) blocked: VlanSet,
    /// Tells this opening of the port from others.
    pub(super) generation: u64,
    /// Serves the port's socket, where it has one.
    pub(super) socket: Option<SocketTask>,
}

/// Whether frames can flow.
pub(super) enum Link {
    /// Switched off in the configuration.
    Disabled,
    /// Something is missing that may come by itself.
    Waiting(String),
    /// Cannot work until somebody changes something.
    Failed(String),
    /// Open.
    Open(Open),
}

/// What an open port has.
pub(super) struct Open {
    pub(super) egress: Arc<Egress>,
    /// Bytes behind the Ethernet header that the device takes.
    pub(super) mtu: u32,
    /// The device, where there is one that can be seen from here.
    pub(super) device: Option<OpenDevice>,
    /// The queues that the device of an `xdp` port had, each of which has a socket.
    pub(super) queues: Option<Queues>,
    /// The machine at the other end of the port's socket.
    pub(super) vm: Option<Vm>,
    /// The conversation with a vhost-user front-end; it ends with this.
    #[expect(dead_code, reason = "held for what its end does")]
    pub(super) line: Option<Line>,
}

impl Port {
    /// Returns what is open of a port that takes frames. A device that is down or has no carrier takes none; the kernel
    /// would lose them without a word.
    pub(super) fn takes_frames(&self) -> Option<&Open> {
        match &self.link {
            Link::Open(open) => open
                .device
                .as_ref()
                .is_none_or(|device| device.up && device.running)
                .then_some(open),
            _ => None,
        }
    }
}

/// The device behind an open port.
pub(super) struct OpenDevice {
    pub(super) index: u32,
    pub(super) up: bool,
    pub(super) running: bool,
    /// Its MTU as the kernel has it; see [`Open::mtu`] for the port's share of it.
    pub(super) kernel_mtu: u32,
    /// How the host has begun to use it itself since it was opened.
    pub(super) used: Option<String>,
}

impl Control {
    /// Starts with an empty switch "main" and no port. The configuration is applied afterwards.
    pub(crate) fn new(
        workers: Pool,
        devices: Devices,
        file: ConfigFile,
        connected: mpsc::Sender<super::sockets::Connected>,
        tunnels: Tunnels,
        uapi: Sockets,
    ) -> Self {
        let free_ids = (0..PortId::LIMIT)
            .filter_map(|index| PortId::new(u16::try_from(index).ok()?))
            .collect();
        Self {
            events: Arc::new(Events::new()),
            told: BTreeMap::new(),
            captures: Captures::default(),
            history: History::new(tunnels.state_dir()),
            candidate: None,
            config: Config::default(),
            running: String::new(),
            file,
            switches: BTreeMap::new(),
            ports: BTreeMap::new(),
            free_ids,
            pool: workers,
            devices,
            tunnels,
            adapters: Adapters::default(),
            uplinks: Uplinks::default(),
            vms: Vms::default(),
            uapi,
            started: clock::now(),
            generations: 0,
            connected,
        }
    }

    /// Returns what happened and will happen.
    pub(crate) fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// Returns where state is kept that outlives the daemon.
    pub(super) fn state_dir(&self) -> &Path {
        self.tunnels.state_dir()
    }

    /// Compiles the configuration and the open ports into a plan and puts it in force.
    pub(super) fn put_in_force(&mut self) {
        for name in self.config.switches.keys() {
            let spec = self.switch_spec(name);
            let fdb = self.fdb_for(name, &spec);
            let compiled = match self.switches.get(name) {
                Some(before) => before.compiled.successor(&spec, fdb.clone()),
                None => Switch::new(&spec, fdb.clone()),
            };
            let running = RunningSwitch { fdb, compiled: Arc::new(compiled) };
            self.switches.insert(name.clone(), running);
        }
        self.switches.retain(|name, _| self.config.switches.contains_key(name));
        self.put_vlan_mtus();
        let index: BTreeMap<&str, usize> =
            self.switches.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let snoops: BTreeMap<&str, Option<Arc<Snoop>>> =
            self.switches.keys().map(|name| (name.as_str(), self.snoop_on(name))).collect();
        let ports = self.ports.values().filter(|port| port.config.enabled).map(|port| {
            let planned = PlannedPort {
                switch: index[port.config.switch.as_str()],
                egress: port.takes_frames().map(|open| open.egress.clone()),
                counters: port.counters.clone(),
                snoop: snoops.get(port.config.switch.as_str()).cloned().flatten(),
            };
            (port.id, planned)
        });
        let tunnels = self.tunnels.ports().filter_map(|port| {
            let planned = PlannedPort {
                // The switch may be gone a moment before the tunnel's port is.
                switch: *index.get(port.switch.as_str())?,
                egress: Some(port.egress.clone()),
                counters: port.counters.clone(),
                snoop: None,
            };
            Some((port.id, planned))
        });
        let adapters = self.adapters.running().filter_map(|(_, site)| {
            let planned = PlannedPort {
                switch: *index.get(site.switch())?,
                egress: Some(site.egress.clone()),
                counters: site.counters.clone(),
                snoop: snoops.get(site.switch()).cloned().flatten(),
            };
            Some((site.id, planned))
        });
        let ports = ports.chain(tunnels).chain(adapters);
        let switches = self.switches.values().map(|switch| switch.compiled.clone()).collect();
        self.pool.swap(Plan::new(switches, ports));
        self.name_captured();
        self.tell_overlay();
    }

    /// Returns the switch's forwarding database, or a new one where the limit has changed, with what was learned.
    fn fdb_for(&self, name: &str, spec: &SwitchSpec) -> Arc<Fdb> {
        let mac_limit = spec.mac_limit;
        match self.switches.get(name) {
            Some(switch) if switch.fdb.mac_limit() == mac_limit => switch.fdb.clone(),
            Some(switch) => {
                let fdb = Fdb::new(mac_limit, secret());
                fdb.adopt(clock::now(), spec.ageing, &switch.fdb);
                Arc::new(fdb)
            }
            None => Arc::new(Fdb::new(mac_limit, secret())),
        }
    }

    fn switch_spec(&self, name: &str) -> SwitchSpec {
        let config = &self.config.switches[name];
        let members =
            || self.ports.values().filter(|port| port.config.switch == name && port.config.enabled);
        let tunnels = self.tunnels.ports().filter(|port| port.switch == name);
        let adapters = self.adapters.running().filter(|(_, site)| site.switch() == name);
        let statics =
            self.config.fdb.iter().filter(|entry| entry.switch == name).filter_map(|entry| {
                // One of a disabled port still says whose address it is.
                let port = self.ports.get(&entry.port)?;
                Some(StaticEntry { vlan: entry.vlan, mac: entry.mac, port: port.id })
            });
        SwitchSpec {
            ageing: config.mac_ageing,
            mac_limit: config.mac_limit,
            ports: members()
                .map(Port::spec)
                .chain(tunnels.map(TunnelPort::spec))
                .chain(adapters.map(|(_, site)| site.spec()))
                .collect(),
            statics: statics.collect(),
        }
    }

    /// Returns the number and the switch of the port with this name.
    pub(super) fn port_named(&self, name: &str) -> Option<(PortId, &str)> {
        if let Some(port) = self.ports.get(name) {
            return Some((port.id, &port.config.switch));
        }
        if let Some(port) = self.tunnels.ports().find(|port| port.name == name) {
            return Some((port.id, &port.switch));
        }
        let (_, site) = self.adapters.running().find(|(_, site)| site.port == name)?;
        Some((site.id, site.switch()))
    }

    /// Returns the name of the port with this id.
    pub(super) fn name_of(&self, id: PortId) -> Option<&str> {
        let ports = self.ports.iter().map(|(name, port)| (name, port.id));
        let tunnels = self.tunnels.ports().map(|port| (&port.name, port.id));
        let adapters = self.adapters.running().map(|(_, site)| (&site.port, site.id));
        ports
            .chain(tunnels)
            .chain(adapters)
            .find(|&(_, other)| other == id)
            .map(|(name, _)| name.as_str())
    }
}

impl Port {
    /// Returns the bytes behind the Ethernet header that a frame may have: the configured number, else the device's.
    pub(super) fn mtu(&self) -> u32 {
        let of_device = match &self.link {
            Link::Open(open) => open.mtu,
            _ => DEFAULT_MTU,
        };
        self.config.mtu.unwrap_or(of_device)
    }

    fn spec(&self) -> PortSpec {
        PortSpec {
            id: self.id,
            kind: PortKind::Local,
            blocked: self.blocked.clone(),
            vlan: self.config.vlan.clone(),
            mtu: self.mtu(),
            mac_limit: self.config.mac_limit,
            guards: Guards { macs: self.config.macs.clone(), ips: self.config.ips.clone() },
            isolation: if self.config.isolated { Isolation::Isolated } else { Isolation::Open },
            flood_limit: self.config.flood_limit.map(|rate| Rate { per_second: rate.get() }),
        }
    }
}

/// Returns a secret for the hash of a forwarding database, so that nobody can aim at one of its buckets.
fn secret() -> [u64; 2] {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Without a secret the table still works; only its resistance to aimed addresses suffers.
        tracing::warn!(%error, "no randomness for the forwarding database");
    }
    let (low, high) = bytes.split_at(8);
    [low, high].map(|half| half.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}
