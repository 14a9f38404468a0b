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
    /// How long answers take, smoothed.
    pub(super) round_trip: Option<Duration>,
    /// The last probe of the path, and when it was sent.
    pub(super) probed: Option<(u64, Duration)>,
    /// Who waits for an answer, by the ping's nonce, and since when.
    pub(super) pings: BTreeMap<u64, (Duration, oneshot::Sender<Duration>)>,
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
            probed: None,
            pings: BTreeMap::new(),
            search: None,
        }
    }

    /// The peer is somewhere else: nothing is known of the way there.
    pub(super) fn moved(&mut self, now: Duration, address: SocketAddr) {
        self.address = Some(address);
        self.path.restart(now);
        self.peer.set_path(self.path.current());
        (self.round_trip, self.probed) = (None, None);
        self.open_way();
    }

    /// An answer with this nonce came: notes how long it took, and tells whoever waits for it.
    pub(super) fn answered(&mut self, now: Duration, nonce: u64) {
        let ping = self.pings.remove(&nonce);
        let probe = self.probed.take_if(|(probed, _)| *probed == nonce);
        let asked = ping.as_ref().map(|&(asked, _)| asked).or(probe.map(|(_, asked)| asked));
        let Some(asked) = asked else { return };
        let took = now.saturating_sub(asked);
        // RFC 6298 clause 2.
        self.round_trip = Some(self.round_trip.map_or(took, |smooth| (7 * smooth + took) / 8));
        if let Some((_, answer)) = ping {
            let _ = answer.send(took);
        }
    }

    /// Lets the workers know how the peer is sent to.
    pub(super) fn open_way(&self) {
        let way = self.session.clone().zip(self.address);
        self.peer.set_way(way.map(|(session, address)| Way { session, address }));
    }
}
