//! What the keeper knows of one peer.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use weft_vpn::{PathMtu, Session};

use super::directory::{Peer, Way};

pub(super) struct Kept {
    pub(super) peer: Arc<Peer>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) address: Option<SocketAddr>,
    pub(super) path: PathMtu,
    pub(super) round_trip: Option<Duration>,
    /// Who waits for an answer, by the ping's nonce.
    pub(super) pings: BTreeMap<u64, (Duration, oneshot::Sender<Duration>)>,
    /// Records that the session had sealed when that was last looked at.
    pub(super) sealed: u64,
    /// When the search for the path's MTU goes on, as it stands among all.
    pub(super) search: Option<Duration>,
}

impl Kept {
    pub(super) fn new(now: Duration, peer: Arc<Peer>) -> Self {
        Self {
            peer,
            session: None,
            address: None,
            path: PathMtu::new(now, weft_vpn::LARGEST_UDP_PAYLOAD),
            round_trip: None,
            pings: BTreeMap::new(),
            sealed: 0,
            search: None,
        }
    }

    /// Lets the workers know how the peer is sent to.
    pub(super) fn open_way(&self) {
        let way = self.session.clone().zip(self.address);
        self.peer.set_way(way.map(|(session, address)| Way { session, address }));
    }
}
