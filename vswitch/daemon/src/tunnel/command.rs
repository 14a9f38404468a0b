//! What the control plane and the keeper tell each other.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use weft_vpn::{
    HostError, PeerConfig, PeerId, PeerState, PeerStatus, PresharedKey, PrivateKey, Refusal, Suites,
};

use super::{directory::Peer, stamps::Stamps};

/// What the control plane has the keeper do.
pub(crate) enum Command {
    /// Add a peer.
    Add(Arc<Peer>, Box<PeerConfig>, oneshot::Sender<Result<(), HostError>>),
    /// Remove a peer: it is silent from here on.
    Remove(PeerId),
    /// Send to a peer there, unless it was heard elsewhere.
    SetEndpoint(PeerId, Option<SocketAddr>),
    /// Change the secret shared with a peer.
    SetPresharedKey(PeerId, Option<PresharedKey>),
    /// Change the suites allowed with a peer.
    SetSuites(PeerId, Suites),
    /// Change the keys of this host.
    SetKeys(PrivateKey, Option<PrivateKey>, oneshot::Sender<Result<(), HostError>>),
    /// Forget a peer's greatest timestamp.
    Reset(PeerId),
    /// Ask a peer for an answer.
    Ping(PeerId, oneshot::Sender<Duration>),
    /// Tell how the peers are.
    Report(oneshot::Sender<Report>),
    /// End.
    Stop,
}

/// How the tunnels are.
pub(crate) struct Report {
    /// The peers.
    pub(crate) peers: BTreeMap<PeerId, PeerReport>,
    /// Handshakes that were refused, by reason.
    pub(crate) refusals: Vec<(Refusal, u64)>,
}

/// How one tunnel is.
pub(crate) struct PeerReport {
    /// Sessions and addresses.
    pub(crate) status: PeerStatus,
    /// Bytes of a datagram's payload that the path carries, once that is known.
    pub(crate) path: Option<u16>,
    /// The round trip of the last answer.
    pub(crate) round_trip: Option<Duration>,
}

/// What the keeper tells the control plane.
#[derive(Debug)]
pub(crate) enum News {
    /// A peer's state changed.
    State(PeerId, PeerState),
    /// Initiations have no answer: its name may mean another address.
    Unanswered(PeerId),
    /// A host or a clock went back; in words.
    Trouble(PeerId, String),
    /// What must outlive the daemon has changed.
    Stamps(Stamps),
}
