//! WireGuard adapters: ports of the switch behind which stock clients are. Workers seal and open what peers have a session
//! for; one thread an adapter, its keeper, makes handshakes and keeps the time. What the adapter says of its own accord comes
//! back by a queue of its own.
//!
//! ```text
//! Switch::forward ─► Outgoing::send ─► Adapter ─► Exit (Peer::seal) ─► udp::Batch       worker
//! udp::Records ─► Incoming::receive (Peer::open) ─► Adapter ─► Switch::forward          worker
//!                     │ handshakes                      │ ARP, ND, ICMP
//!                     ▼                                 ▼
//!                  Keeper                            Answers ─► Switch::forward
//! ```

mod answers;
mod exit;
mod incoming;
mod keeper;
mod outgoing;
mod site;

use std::{io, sync::Arc};

use weft_ports::{Opened, Receive, Transmit, udp::Socket};

use self::{answers::Answers, incoming::Incoming, outgoing::Outgoing};
pub(crate) use self::{keeper::Keeper, site::Site};
pub(crate) use crate::tunnel::random;

/// Makes the queues of an adapter's port, one each way for each socket, and one for what it says of its own accord.
///
/// # Errors
/// When the system has no descriptor left.
pub(crate) fn open(site: &Arc<Site>, sockets: &[Socket]) -> io::Result<Opened> {
    let mut rx: Vec<Box<dyn Receive>> = Vec::new();
    let mut tx: Vec<Box<dyn Transmit>> = Vec::new();
    for (position, socket) in sockets.iter().enumerate() {
        rx.push(Box::new(Incoming::new(site.clone(), socket)));
        tx.push(Box::new(Outgoing::new(site.clone(), socket, position == 0)));
    }
    rx.push(Box::new(Answers::new(site.clone())));
    Ok(Opened { rx, tx })
}
