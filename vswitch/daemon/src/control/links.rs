//! Follows the devices of open ports: their state, their MTU, their name, and whether the host uses them itself.

use weft_config::PortType;
use weft_ports::link::Queues;

use super::state::{Control, Link, Open, OpenDevice, Port};
use crate::device::{Change, Device, LinkEvent, LinkState, Refusal, Use};

impl Control {
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
            Change::Used if self.is_of_an_uplink(event.index) => {}
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
    pub(super) async fn follow_device(&mut self, name: &str, index: u32) {
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
    pub(super) async fn tune_tap(&mut self, name: &str) {
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

    /// Opens `xdp` ports anew whose devices have got more queues or fewer, of which no event tells: what comes by a new
    /// one has no socket, and what is sent by one that is gone is lost.
    pub(super) async fn follow_queues(&mut self) {
        let open =
            self.ports.iter().filter_map(|(name, port)| match (&port.config.kind, &port.link) {
                (
                    PortType::Netdev { device, .. },
                    Link::Open(Open { queues: Some(queues), .. }),
                ) => Some((name.clone(), device.clone(), *queues)),
                _ => None,
            });
        for (name, device, had) in open.collect::<Vec<_>>() {
            let has = self.devices.queues(&device).await;
            let Some(Queues { receiving, sending }) = has.filter(|&has| has != had) else {
                continue;
            };
            tracing::info!(port = name, device, receiving, sending, "the device has other queues");
            self.close_port(&name, format!("device {device} has got other queues")).await;
            self.open_ports_on(&device).await;
        }
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
}

impl Port {
    pub(super) fn device_index(&self) -> Option<u32> {
        match &self.link {
            Link::Open(Open { device: Some(device), .. }) => Some(device.index),
            _ => None,
        }
    }
}

impl From<Device> for OpenDevice {
    fn from(device: Device) -> Self {
        let Device { index, up, running, kernel_mtu, used, .. } = device;
        Self { index, up, running, kernel_mtu, used }
    }
}
