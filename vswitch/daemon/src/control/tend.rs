//! The loop that tends the ports: whatever happens to devices, queues, peers and tunnels comes in here.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    sockets::Connected,
    state::{Control, Shared},
    tunnels::Happened,
};
use crate::{clock, device::LinkEvent, plane::QueueEnded};

/// How often aged addresses are reclaimed, failed ports tried again, queues of devices counted and unconfirmed changes
/// taken back.
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
                control.retry_failed().await;
                control.follow_queues().await;
                control.take_back_overdue().await;
            }
            else => return,
        }
    }
}

impl Control {
    /// Reclaims a part of what has aged out of the forwarding databases.
    fn sweep(&self) {
        for (name, switch) in &self.switches {
            if let Some(config) = self.config.switches.get(name) {
                switch.fdb.sweep(clock::now(), config.mac_ageing);
            }
        }
    }
}
