//! Ports.

use weft_config::{
    PortType,
    api::{Direction, Port as PortView, PortState, Vm},
    vlan_json,
};
use weft_core::{DirectionCounters, DropReason};

use super::ViewError;
use crate::{
    control::{
        ports::device_of,
        state::{Control, Link, Open, OpenDevice, Port},
    },
    device::TWO_TAGS,
};

impl Control {
    /// Returns every port, by name, then those of tunnels and of WireGuard adapters.
    pub(crate) fn view_ports(&self) -> Vec<PortView> {
        let ports = self.ports.iter().map(|(name, port)| port.view(name, self.vm_behind(port)));
        let tunnels = self.tunnels.ports_of_peers().map(|(_, tunnel, port)| port.view(tunnel));
        ports.chain(tunnels).chain(self.view_adapter_ports()).collect()
    }

    /// Returns one port.
    pub(crate) fn view_port(&self, name: &str) -> Result<PortView, ViewError> {
        if let Some(port) = self.ports.get(name) {
            return Ok(port.view(name, self.vm_behind(port)));
        }
        let mut tunnels = self.tunnels.ports_of_peers();
        if let Some((_, tunnel, port)) = tunnels.find(|(_, _, port)| port.name == name) {
            return Ok(port.view(tunnel));
        }
        let mut adapters = self.view_adapter_ports();
        adapters.find(|port| port.name == name).ok_or_else(|| self.no_port(name).into())
    }
}

impl Port {
    fn view(&self, name: &str, vm: Option<Vm>) -> PortView {
        let (kind, device, socket) = match &self.config.kind {
            PortType::Netdev { device, .. } => ("netdev", Some(device.clone()), None),
            PortType::Tap { device, .. } => ("tap", Some(device.clone()), None),
            PortType::Stream(socket) => ("stream", None, Some(socket.path.clone())),
            PortType::VhostUser { socket, .. } => ("vhost-user", None, Some(socket.path.clone())),
        };
        let (state, reason) = self.state();
        PortView {
            name: name.to_owned(),
            switch: self.config.switch.clone(),
            kind: kind.to_owned(),
            device,
            socket,
            vm,
            vlan: vlan_json(&self.config.vlan),
            mtu: Some(self.mtu()),
            state,
            reason,
            rx: sum(self.counters.blocks().map(|block| &block.rx)),
            tx: sum(self.counters.blocks().map(|block| &block.tx)),
        }
    }

    pub(in crate::control) fn state(&self) -> (PortState, Option<String>) {
        match &self.link {
            Link::Disabled => {
                (PortState::Down, Some("it is disabled in the configuration".to_owned()))
            }
            Link::Waiting(reason) => (PortState::Waiting, Some(reason.clone())),
            Link::Failed(reason) => (PortState::Failed, Some(reason.clone())),
            Link::Open(Open { device: Some(device), .. }) if !device.up => {
                let name = device_of(&self.config).unwrap_or_default();
                (PortState::Down, Some(format!("its device is set down: `ip link set {name} up`")))
            }
            Link::Open(Open { device: Some(device), .. }) if !device.running => (
                PortState::Down,
                Some("its device has no carrier: nothing is attached to the other end".to_owned()),
            ),
            Link::Open(_) => (PortState::Up, None),
        }
    }
}

impl Port {
    pub(super) fn used(&self) -> Option<&String> {
        match &self.link {
            Link::Open(Open { device: Some(device), .. }) => device.used.as_ref(),
            _ => None,
        }
    }

    /// Says so where the device's MTU is not what the port's asks for.
    pub(super) fn wrong_mtu(&self, name: &str) -> Option<String> {
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

pub(super) fn sum<'a>(blocks: impl Iterator<Item = &'a DirectionCounters>) -> Direction {
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
