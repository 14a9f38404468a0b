//! Where adapters listen: sockets that are bound before anything is changed, so that a change that cannot be is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use weft_config::Config;
use weft_ports::{
    OpenError,
    udp::{self, Segmentation, Socket},
};

use crate::control::{change::ChangeError, state::Control};

/// Sockets by the adapters that are to have them.
pub(in crate::control) type Ahead = BTreeMap<String, Vec<Socket>>;

/// An adapter cannot listen where it is to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {error}")]
pub(crate) struct ListenError {
    pub(super) listen: SocketAddr,
    pub(super) error: OpenError,
}

impl ListenError {
    /// Returns what the kernel said, if it was the kernel.
    pub(crate) fn errno(&self) -> Option<i32> {
        match &self.error {
            OpenError::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl Control {
    /// Has adapters that another configuration wants to listen elsewhere do so already: they stay as they are where that
    /// cannot be.
    ///
    /// # Errors
    /// The first that cannot, and why.
    pub(in crate::control) fn listen_ahead(&self, config: &Config) -> Result<Ahead, ChangeError> {
        let vpn = self.config.vpn.iter().map(|vpn| vpn.listen.port());
        let adapters = self.adapters.running().map(|(_, site)| site.config.listen.port());
        let own: BTreeSet<u16> = vpn.chain(adapters).collect();
        let mut ahead = Ahead::new();
        for (name, site) in self.adapters.running() {
            let Some(config) = config.wireguard.get(name) else { continue };
            let listen = config.listen;
            if listen == site.config.listen {
                continue;
            }
            let refused = |error| ChangeError::Listen(name.clone(), ListenError { listen, error });
            if own.contains(&listen.port()) {
                // A port that has to be left first can be had only then; the address can be looked at.
                let mut any_port = listen;
                any_port.set_port(0);
                self.listen(any_port).map_err(refused)?;
            } else {
                ahead.insert(name.clone(), self.listen(listen).map_err(refused)?);
            }
        }
        Ok(ahead)
    }

    /// Opens the sockets of an adapter.
    pub(super) fn listen(&self, listen: SocketAddr) -> Result<Vec<Socket>, OpenError> {
        let failed = |doing| move |source| OpenError::Io { doing, source };
        let sockets = udp::open(listen, self.pool.workers(), Segmentation::Kernel)?;
        for socket in &sockets {
            // Clients do not search the path's MTU, and what is narrower than `mtu` would swallow their packets.
            socket.allow_fragments().map_err(failed("let packets be cut"))?;
            // A client is answered from where it called: translators and firewalls on the way know no other address.
            socket.report_own_addresses().map_err(failed("tell own addresses apart"))?;
        }
        Ok(sockets)
    }
}
