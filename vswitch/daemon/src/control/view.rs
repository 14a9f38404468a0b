//! Answers: the state of the control plane in the words of the API.

use std::collections::{BTreeMap, BTreeSet};

use weft_config::{
    PortType,
    api::{
        ConfigDocument, Direction, FdbEntry, FdbKind, Port as PortView, PortState, Status,
        Switch as SwitchView, Trace, TraceEgress, TraceRequest, TraceStep, Verdict,
        Vlan as VlanView,
    },
    vlan_json,
};
use weft_core::{DirectionCounters, DropReason, EntryKind, PortId, Scope, Timestamp};
use weft_vlan::{Head, MacAddr, Native, PortVlan, Priority, Tci, Tpid, VlanId, WireTag};

use super::state::{Control, Link, Open, OpenDevice, Port};
use crate::{clock, device::TWO_TAGS};

/// Addresses of a port that `status` shows.
const MACS_PER_PORT: usize = 16;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// Nothing has this name.
    #[error("there is no {kind} `{name}`")]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// What it was called.
        name: String,
    },
    /// The port is not in operation.
    #[error("port `{0}` is disabled: no frame enters it")]
    Disabled(String),
    /// The request describes no frame.
    #[error("{0}")]
    BadFrame(String),
}

/// Which forwarding entries are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct FdbFilter {
    pub(crate) switch: Option<String>,
    pub(crate) vlan: Option<VlanId>,
    pub(crate) port: Option<String>,
}

impl Control {
    /// Returns every port, by name.
    pub(crate) fn view_ports(&self) -> Vec<PortView> {
        self.ports.iter().map(|(name, port)| port.view(name)).collect()
    }

    /// Returns one port.
    pub(crate) fn view_port(&self, name: &str) -> Result<PortView, ViewError> {
        let port = self.ports.get(name).ok_or_else(|| unknown("port", name))?;
        Ok(port.view(name))
    }

    /// Returns every switch, by name.
    pub(crate) fn view_switches(&self) -> Vec<SwitchView> {
        let view = |(name, config): (&String, &weft_config::SwitchConfig)| SwitchView {
            name: name.clone(),
            mac_ageing_seconds: config.mac_ageing.as_secs(),
            mac_limit: config.mac_limit,
            macs: self.switches.get(name).map_or(0, |switch| switch.fdb.len()),
            ports: self
                .ports
                .iter()
                .filter(|(_, port)| port.config.switch == *name)
                .map(|(port, _)| port.clone())
                .collect(),
        };
        self.config.switches.iter().map(view).collect()
    }

    /// Returns the VLANs of every switch: those that are named, native or on an access or dot1q-tunnel port,
    /// and those that a trunk names one by one or that hold an address.
    pub(crate) fn view_vlans(&self) -> Vec<VlanView> {
        let names: BTreeMap<VlanId, &String> =
            self.config.vlans.iter().map(|(name, &vlan)| (vlan, name)).collect();
        let mut views = Vec::new();
        for switch in self.config.switches.keys() {
            let ports: Vec<_> =
                self.ports.iter().filter(|(_, port)| port.config.switch == *switch).collect();
            let mut macs: BTreeMap<VlanId, usize> = BTreeMap::new();
            for entry in self.entries(switch) {
                *macs.entry(entry.vlan).or_default() += 1;
            }
            let mut vlans: BTreeSet<VlanId> = names.keys().chain(macs.keys()).copied().collect();
            for (_, port) in &ports {
                match &port.config.vlan {
                    PortVlan::Access(vlan) | PortVlan::Dot1qTunnel { vlan, .. } => {
                        vlans.insert(*vlan);
                    }
                    PortVlan::Trunk { members, native, .. } => {
                        vlans.extend(native.map(Native::vlan));
                        // A range says what may be there, not what is.
                        vlans.extend(
                            members
                                .ranges()
                                .into_iter()
                                .filter(|(first, last)| first == last)
                                .map(|(vlan, _)| vlan),
                        );
                    }
                }
            }
            for vlan in vlans {
                let of = |tagged: bool| {
                    let leaves = |port: &Port| {
                        port.config.vlan.is_member(vlan)
                            && leaves_tagged(&port.config.vlan, vlan) == tagged
                    };
                    ports
                        .iter()
                        .filter(|(_, port)| leaves(port))
                        .map(|(name, _)| (*name).clone())
                        .collect()
                };
                views.push(VlanView {
                    switch: switch.clone(),
                    vlan: vlan.get(),
                    name: names.get(&vlan).map(|&name| name.clone()),
                    untagged: of(false),
                    tagged: of(true),
                    macs: macs.get(&vlan).copied().unwrap_or(0),
                });
            }
        }
        views
    }

    /// Returns the forwarding entries that a filter lets through, static ones first.
    pub(crate) fn view_fdb(&self, filter: &FdbFilter) -> Result<Vec<FdbEntry>, ViewError> {
        self.check_filter(filter)?;
        let wanted = |entry: &FdbEntry| {
            filter.switch.as_ref().is_none_or(|switch| *switch == entry.switch)
                && filter.vlan.is_none_or(|vlan| vlan.get() == entry.vlan)
                && filter.port.as_ref().is_none_or(|port| *port == entry.port)
        };
        let fixed = self.config.fdb.iter().map(|entry| FdbEntry {
            switch: entry.switch.clone(),
            vlan: entry.vlan.get(),
            mac: entry.mac.to_string(),
            port: entry.port.clone(),
            kind: FdbKind::Static,
            peer: None,
            age_seconds: 0,
        });
        let mut entries: Vec<FdbEntry> = fixed.filter(wanted).collect();
        let names: BTreeMap<_, _> = self.ports.iter().map(|(name, port)| (port.id, name)).collect();
        for switch in self.config.switches.keys() {
            let mut learned: Vec<FdbEntry> = self
                .entries(switch)
                .into_iter()
                .filter_map(|entry| {
                    Some(FdbEntry {
                        switch: switch.clone(),
                        vlan: entry.vlan.get(),
                        mac: entry.mac.to_string(),
                        port: (*names.get(&entry.port)?).clone(),
                        kind: match entry.kind {
                            EntryKind::Learned => FdbKind::Dynamic,
                            EntryKind::Remote => FdbKind::Remote,
                        },
                        peer: None,
                        age_seconds: entry.age.as_secs(),
                    })
                })
                .filter(wanted)
                .collect();
            learned.sort_by(|a, b| (a.vlan, &a.mac).cmp(&(b.vlan, &b.mac)));
            entries.extend(learned);
        }
        Ok(entries)
    }

    /// Forgets learned addresses; returns how many.
    pub(crate) fn flush_fdb(&self, filter: &FdbFilter) -> Result<usize, ViewError> {
        self.check_filter(filter)?;
        let port = filter.port.as_ref().and_then(|name| self.ports.get(name));
        let scope = Scope { vlan: filter.vlan, port: port.map(|port| port.id) };
        let concerned = |name: &str| {
            filter.switch.as_deref().is_none_or(|switch| switch == name)
                && port.is_none_or(|port| port.config.switch == name)
        };
        let switches = self.switches.iter().filter(|(name, _)| concerned(name));
        Ok(switches
            .map(|(name, switch)| switch.fdb.flush(clock::now(), self.ageing(name), scope))
            .sum())
    }

    fn check_filter(&self, filter: &FdbFilter) -> Result<(), ViewError> {
        if let Some(name) =
            filter.switch.as_ref().filter(|name| !self.config.switches.contains_key(*name))
        {
            return Err(unknown("switch", name));
        }
        match filter.port.as_ref().filter(|name| !self.ports.contains_key(*name)) {
            Some(name) => Err(unknown("port", name)),
            None => Ok(()),
        }
    }

    /// Returns one screen's worth of everything.
    pub(crate) fn view_status(&self) -> Result<Status, ViewError> {
        let mut macs = self.view_fdb(&FdbFilter::default())?;
        macs.sort_by(|a, b| (&a.port, a.age_seconds).cmp(&(&b.port, b.age_seconds)));
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        macs.retain(|entry| {
            let count = shown.entry(entry.port.clone()).or_default();
            *count += 1;
            *count <= MACS_PER_PORT
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: seconds_between(self.started, clock::now()),
            workers: self.pool.workers(),
            config: self.file.exists().then(|| self.file.path().display().to_string()),
            revision: self.revision(),
            switches: self.view_switches(),
            vlans: self.view_vlans(),
            ports: self.view_ports(),
            segments: Vec::new(),
            peers: Vec::new(),
            macs,
            problems: self.problems(),
        })
    }

    /// Says what is wrong, with a hint.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, port) in &self.ports {
            let (state, reason) = port.state();
            let is_wrong = match state {
                PortState::Up => false,
                PortState::Down => port.config.enabled,
                // A guest that is switched off is no trouble; a device that does not come may be misspelt.
                PortState::Waiting => !matches!(port.config.kind, PortType::Stream(_)),
                PortState::Failed => true,
            };
            if is_wrong && let Some(reason) = reason {
                problems.push(format!("port {name}: {reason}"));
            }
            problems.extend(port.used().map(|used| {
                format!("port {name}: the host uses its device, too, and could not open it again: {used}")
            }));
            problems.extend(port.wrong_mtu(name).map(|wrong| format!("port {name}: {wrong}")));
        }
        let wanted = self.config.daemon.workers.get();
        if wanted != self.pool.workers() {
            problems.push(format!("the file asks for {wanted} workers: restart weftd to get them"));
        }
        if self.config.vpn.is_some() || !self.config.segments.is_empty() {
            problems.push(
                "this version of weftd has no tunnels: `[vpn]` and `[segment]` have no effect"
                    .to_owned(),
            );
        }
        if self.file.text() != self.running {
            problems.push(
                "transient changes are running that are not in the file: `weftctl diff` shows them"
                    .to_owned(),
            );
        }
        problems
    }

    /// Returns the running configuration and what is in the file now.
    pub(crate) fn view_config(&self) -> ConfigDocument {
        let file = self.file.read().ok().flatten().unwrap_or_else(|| self.file.text().to_owned());
        ConfigDocument {
            running: self.running.clone(),
            file,
            path: Some(self.file.path().display().to_string()),
            revision: self.revision(),
        }
    }

    /// Says what would happen to a frame.
    pub(crate) fn trace(&self, request: &TraceRequest) -> Result<Trace, ViewError> {
        let port = self.ports.get(&request.port).ok_or_else(|| unknown("port", &request.port))?;
        if !port.config.enabled {
            return Err(ViewError::Disabled(request.port.clone()));
        }
        let head = described_frame(request)?;
        let switch = &self.switches[&port.config.switch].compiled;
        let traced = switch.trace(clock::now(), port.id, &head);
        let name = |id| self.name_of(id).unwrap_or("a port that is gone").to_owned();
        let mut steps: Vec<TraceStep> = traced
            .steps
            .into_iter()
            .map(|step| TraceStep { stage: step.stage.to_owned(), text: step.text })
            .collect();
        let mut egress = Vec::new();
        let mut refusal = None;
        for (id, outcome) in traced.egress {
            let text = match outcome {
                Ok(_) if !self.is_open(id) => {
                    refusal.get_or_insert(DropReason::PortDown);
                    format!(
                        "does not leave port {}: it has no device or guest now, port-down",
                        name(id)
                    )
                }
                Ok(tags) => {
                    let vid = tags.vlan.map(|tag| tag.tci.vid());
                    egress.push(TraceEgress { port: name(id), tagged: vid.is_some(), vid });
                    let form =
                        vid.map_or("untagged".to_owned(), |vid| format!("with VLAN tag {vid}"));
                    format!("leaves port {} {form}", name(id))
                }
                Err(reason) => {
                    refusal.get_or_insert(reason);
                    format!("does not leave port {}: {reason}", name(id))
                }
            };
            steps.push(TraceStep { stage: "egress".to_owned(), text });
        }
        let reason = traced.reason.or(refusal.filter(|_| egress.is_empty()));
        let verdict = match (reason, traced.is_flood) {
            (Some(_), _) => Verdict::Drop,
            (None, true) => Verdict::Flood,
            (None, false) => Verdict::Forward,
        };
        Ok(Trace {
            verdict,
            reason: reason.map(|reason| reason.as_str().to_owned()),
            vlan: traced.vlan.map(VlanId::get),
            egress,
            steps,
        })
    }

    fn is_open(&self, id: PortId) -> bool {
        self.ports.values().any(|port| port.id == id && matches!(port.link, Link::Open(_)))
    }

    /// Returns the VLAN that has a name.
    pub(crate) fn vlan_named(&self, name: &str) -> Option<VlanId> {
        self.config.vlans.get(name).copied()
    }

    /// Returns the names of VLANs.
    pub(crate) fn vlan_names(&self) -> Vec<&str> {
        self.config.vlans.keys().map(String::as_str).collect()
    }

    fn ageing(&self, switch: &str) -> std::time::Duration {
        self.config.switches.get(switch).map(|config| config.mac_ageing).unwrap_or_default()
    }

    fn entries(&self, switch: &str) -> Vec<weft_core::Entry> {
        self.switches
            .get(switch)
            .map(|running| running.fdb.entries(clock::now(), self.ageing(switch)))
            .unwrap_or_default()
    }
}

impl Port {
    fn view(&self, name: &str) -> PortView {
        let (kind, device, socket) = match &self.config.kind {
            PortType::Netdev { device, .. } => ("netdev", Some(device.clone()), None),
            PortType::Tap { device, .. } => ("tap", Some(device.clone()), None),
            PortType::Stream(socket) => ("stream", None, Some(socket.path.clone())),
        };
        let (state, reason) = self.state();
        PortView {
            name: name.to_owned(),
            switch: self.config.switch.clone(),
            kind: kind.to_owned(),
            device,
            socket,
            vlan: vlan_json(&self.config.vlan),
            mtu: Some(self.mtu()),
            state,
            reason,
            rx: sum(self.counters.blocks().map(|block| &block.rx)),
            tx: sum(self.counters.blocks().map(|block| &block.tx)),
        }
    }

    fn state(&self) -> (PortState, Option<String>) {
        match &self.link {
            Link::Disabled => {
                (PortState::Down, Some("it is disabled in the configuration".to_owned()))
            }
            Link::Waiting(reason) => (PortState::Waiting, Some(reason.clone())),
            Link::Failed(reason) => (PortState::Failed, Some(reason.clone())),
            Link::Open(Open { device: Some(device), .. }) if !device.up => (
                PortState::Down,
                Some("its device is set down: `ip link set DEVICE up`".to_owned()),
            ),
            Link::Open(Open { device: Some(device), .. }) if !device.running => (
                PortState::Down,
                Some("its device has no carrier: nothing is attached to the other end".to_owned()),
            ),
            Link::Open(_) => (PortState::Up, None),
        }
    }
}

impl Port {
    fn used(&self) -> Option<&String> {
        match &self.link {
            Link::Open(Open { device: Some(device), .. }) => device.used.as_ref(),
            _ => None,
        }
    }

    /// Says so where the device's MTU is not what the port's asks for.
    fn wrong_mtu(&self, name: &str) -> Option<String> {
        let Link::Open(Open { device: Some(OpenDevice { kernel_mtu, .. }), .. }) = &self.link
        else {
            return None;
        };
        let PortType::Netdev { device, .. } = &self.config.kind else {
            let wrong = self.config.mtu.filter(|mtu| mtu != kernel_mtu)?;
            return Some(format!("the MTU of its device is {kernel_mtu}, not {wrong}"));
        };
        let needed = self.mtu().saturating_add(TWO_TAGS);
        (needed > *kernel_mtu).then(|| {
            format!(
                "the MTU of its device is {kernel_mtu}, and longer frames that leave with an 802.1ad tag or with two \
                 tags are dropped as `oversize`; `ip link set {device} mtu {needed}` makes room for them, or \
                 `weftctl port set {name} --mtu {}` does without",
                kernel_mtu.saturating_sub(TWO_TAGS)
            )
        })
    }
}

fn sum<'a>(blocks: impl Iterator<Item = &'a DirectionCounters>) -> Direction {
    let mut total = Direction::default();
    for block in blocks {
        total.frames += block.frames();
        total.bytes += block.bytes();
        for &reason in DropReason::ALL {
            let drops = block.drops(reason);
            if drops > 0 {
                *total.drops.entry(reason.as_str().to_owned()).or_default() += drops;
            }
        }
    }
    total
}

fn leaves_tagged(mode: &PortVlan, vlan: VlanId) -> bool {
    match mode {
        PortVlan::Access(_) | PortVlan::Dot1qTunnel { .. } => false,
        PortVlan::Trunk { native, .. } => *native != Some(Native::Untagged(vlan)),
    }
}

/// Makes the head of the frame that a request describes.
fn described_frame(request: &TraceRequest) -> Result<Head, ViewError> {
    if let Some(hex) = &request.frame {
        let bytes = from_hex(hex)?;
        return Ok(Head::read(&bytes[..bytes.len().min(Head::PREFIX)], bytes.len(), None));
    }
    let address = |text: &Option<String>, which: &str| {
        let text = text
            .as_ref()
            .ok_or_else(|| ViewError::BadFrame(format!("the frame has no {which} address")))?;
        text.parse::<MacAddr>().map_err(|error| ViewError::BadFrame(error.to_string()))
    };
    let length = request.length.unwrap_or(60).clamp(14, 65_550) as usize;
    let mut bytes = vec![0; length.min(Head::PREFIX)];
    bytes[..6].copy_from_slice(&address(&request.destination, "destination")?.octets());
    bytes[6..12].copy_from_slice(&address(&request.source, "source")?.octets());
    bytes[12..14].copy_from_slice(&request.ethertype.unwrap_or(0x0800).to_be_bytes());
    let tag = match request.tag {
        Some(vid) if vid <= 4095 => {
            let priority = Priority::new(request.pcp.unwrap_or(0), 0);
            Some(WireTag::new(Tpid::Dot1Q, Tci::from_bits(u16::from(priority.pcp()) << 13 | vid)))
        }
        Some(vid) => return Err(ViewError::BadFrame(format!("{vid} is not a VID: 0 to 4095"))),
        None => None,
    };
    Ok(Head::read(&bytes, length, tag))
}

fn from_hex(text: &str) -> Result<Vec<u8>, ViewError> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace() && *byte != b':')
        .map(|byte| (byte as char).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()
        .ok_or_else(|| ViewError::BadFrame("the frame is not hexadecimal".to_owned()))?;
    if digits.len() % 2 == 1 {
        return Err(ViewError::BadFrame(
            "the frame has an odd number of hexadecimal digits".to_owned(),
        ));
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn unknown(kind: &'static str, name: &str) -> ViewError {
    ViewError::Unknown { kind, name: name.to_owned() }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    to.as_micros().saturating_sub(from.as_micros()) / 1_000_000
}
