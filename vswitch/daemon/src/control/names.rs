//! Endpoints that are names: asked for when they are needed, again while there is no answer, and again when nobody is
//! where the last answer was.

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::sync::mpsc;
use weft_config::Endpoint;
use weft_vpn::PeerState;

use super::tunnels::Happened;

/// A name that has no answer is asked for again after this, and then after twice as long each time.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Whose endpoint it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// A tunnel's peer.
    Peer(String),
    /// A client of a WireGuard adapter.
    Client {
        /// The adapter.
        adapter: String,
        /// The client.
        peer: String,
    },
}

impl fmt::Display for Whose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => out.write_str(peer),
            Self::Client { adapter, peer } => write!(out, "{peer} of wireguard {adapter}"),
        }
    }
}

/// What asking for a name came to.
#[derive(Debug)]
pub(crate) struct Resolved {
    whose: Whose,
    endpoint: Endpoint,
    /// In the order in which they are to be tried; none where there was no answer.
    addresses: Vec<SocketAddr>,
    /// How long was waited before it was asked for.
    waited: Duration,
}

/// How far the asking for a peer's name is.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// An answer is awaited, or the time to ask again.
    is_under_way: bool,
    /// The address that was taken last.
    last: Option<SocketAddr>,
}

impl Resolved {
    /// Returns whose endpoint it is.
    pub(super) fn whose(&self) -> &Whose {
        &self.whose
    }
}

impl Asking {
    /// Asks for the name of a peer's endpoint, if it is one, unless that is under way; it is told when there is an
    /// answer.
    pub(super) fn ask(
        &mut self,
        whose: Whose,
        endpoint: Option<&Endpoint>,
        happened: &mpsc::UnboundedSender<Happened>,
    ) {
        let named = endpoint.filter(|it| matches!(it, Endpoint::Name { .. }));
        if let Some(endpoint) = named.filter(|_| !self.is_under_way) {
            self.is_under_way = true;
            ask(whose, endpoint.clone(), Duration::ZERO, happened.clone());
        }
    }

    /// Takes an answer, or that there was none, for a peer whose endpoint is this by now. Returns the address to be
    /// tried; without one the name is asked for again, unless the peer is up.
    pub(super) fn take(
        &mut self,
        resolved: Resolved,
        current: Option<&Endpoint>,
        state: PeerState,
        happened: &mpsc::UnboundedSender<Happened>,
    ) -> Option<SocketAddr> {
        self.is_under_way = false;
        let Resolved { whose, endpoint, addresses, waited } = resolved;
        if current != Some(&endpoint) {
            self.ask(whose, current, happened);
            return None;
        }
        let address = self.next_of(&addresses);
        if address.is_none() && state != PeerState::Up {
            self.is_under_way = true;
            ask(whose, endpoint, (waited * 2).clamp(RETRY_MIN, RETRY_MAX), happened.clone());
        }
        address
    }

    /// Returns the address behind the last one, so that each has its turn.
    fn next_of(&mut self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        let known = addresses.iter().position(|address| Some(*address) == self.last);
        let next = known.map_or(0, |known| (known + 1) % addresses.len());
        let address = *addresses.get(next)?;
        self.last = Some(address);
        Some(address)
    }
}

/// Returns the address that an endpoint is, if it is no name.
pub(super) fn address_of(endpoint: Option<&Endpoint>) -> Option<SocketAddr> {
    match endpoint? {
        Endpoint::Address(address) => Some(*address),
        Endpoint::Name { .. } => None,
    }
}

/// Asks for a name after a while.
fn ask(
    whose: Whose,
    endpoint: Endpoint,
    wait: Duration,
    happened: mpsc::UnboundedSender<Happened>,
) {
    let Endpoint::Name { host, port } = endpoint.clone() else { return };
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let addresses = match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                tracing::warn!(peer = %whose, host, %error, "name not found");
                Vec::new()
            }
        };
        let _ = happened.send(Happened::Resolved(Resolved {
            whose,
            endpoint,
            addresses,
            waited: wait,
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_a_name_has_its_turn() {
        let address = |last| SocketAddr::from(([10, 0, 0, last], 1));
        let mut asking = Asking::default();
        assert_eq!(asking.next_of(&[]), None);
        let both = [address(1), address(2)];
        let taken = [(); 3].map(|()| asking.next_of(&both).unwrap());
        assert_eq!(taken, [address(1), address(2), address(1)]);
        // Other addresses: from the first again.
        assert_eq!(asking.next_of(&[address(3), address(1), address(2)]), Some(address(2)));
        assert_eq!(asking.next_of(&[address(4), address(5)]), Some(address(4)));
        assert_eq!(asking.next_of(&[address(4)]), Some(address(4)));
    }
}
