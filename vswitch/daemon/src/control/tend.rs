//! The loop that tends the ports: whatever happens to devices, queues, peers and tunnels comes in here.

use std::time::Duration;

use tokio::sync::mpsc;
use weft_config::api::Happening;

use super::{
    sockets::Connected,
    state::{Control, Shared},
    tunnels::Happened,
};
use crate::{clock, device::LinkEvent, plane::QueueEnded};

/// How often it is seen to what time alone brings about.
const TICK: Duration = Duration::from_secs(1);

/// What tells the control plane of the world.
pub(crate) struct Told {
    /// Devices that come, go and change.
    pub(crate) links: mpsc::Receiver<LinkEvent>,
    /// Queues that ended.
    pub(crate) ended: mpsc::UnboundedReceiver<QueueEnded>,
    /// Peers that connected to a socket.
    pub(crate) connected: mpsc::Receiver<Connected>,
    /// News of tunnels.
    pub(crate) happened: mpsc::UnboundedReceiver<Happened>,
}

/// Tends the ports: follows devices that come and go, queues that end, peers that connect.
pub(crate) async fn tend(control: Shared, told: Told) {
    let Told { mut links, mut ended, mut connected, mut happened } = told;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            Some(event) = links.recv() => control.lock().await.link_event(event).await,
            Some(queue) = ended.recv() => control.lock().await.queue_ended(queue).await,
            Some(peer) = connected.recv() => control.lock().await.socket_connected(peer).await,
            Some(happened) = happened.recv() => {
                control.lock().await.tunnel_happened(happened).await;
            }
            _ = tick.tick() => {
                let mut control = control.lock().await;
                control.sweep();
                control.tell_moves();
                control.settle_uplinks().await;
                control.retry_failed().await;
                control.retry_failed_adapters();
                control.follow_queues().await;
                control.take_back_overdue().await;
            }
            else => return,
        }
        control.lock().await.tell_ports();
    }
}

impl Control {
    /// Tells of addresses that moved between ports.
    fn tell_moves(&self) {
        for (name, switch) in &self.switches {
            let moves = switch.fdb.take_moves();
            for (vlan, mac, to) in moves.moves {
                let (switch, vlan, mac) = (name.clone(), vlan.get(), mac.to_string());
                // One that is gone already told of itself.
                let Some(port) = self.name_of(to).map(str::to_owned) else { continue };
                self.events.tell(Happening::MacMoved { switch, vlan, mac, port });
            }
            if moves.more > 0 {
                let (switch, moves) = (name.clone(), moves.more);
                self.events.tell(Happening::MacsMoved { switch, moves });
            }
        }
    }

    /// Reclaims a part of what has aged out of the forwarding databases.
    fn sweep(&self) {
        for (name, switch) in &self.switches {
            if let Some(config) = self.config.switches.get(name) {
                switch.fdb.sweep(clock::now(), config.mac_ageing);
            }
        }
    }
}
