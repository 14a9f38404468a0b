//! What the control plane and the keeper tell each other.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::oneshot;
use weft_overlay::{Owner, SegmentId};
use weft_vlan::MacAddr;
use weft_vpn::{
    HostError, PeerConfig, PeerId, PeerState, PeerStatus, PresharedKey, PrivateKey, Refusal, Reset,
    Suites,
};

use super::{directory::Peer, stamps::Stamps};

/// What the control plane has the keeper do.
pub(crate) enum Command {
    /// Add a peer.
    Add(Arc<Peer>, Box<PeerConfig>, oneshot::Sender<Result<(), HostError>>),
    /// Remove a peer: nothing is sent to it or taken of it once this is answered.
    Remove(PeerId, oneshot::Sender<()>),
    /// Send to a peer there, unless it was heard elsewhere.
    SetEndpoint(PeerId, Option<SocketAddr>),
    /// Change the secret shared with a peer.
    SetPresharedKey(PeerId, Option<PresharedKey>),
    /// Change the suites allowed with a peer.
    SetSuites(PeerId, Suites),
    /// Change the keys of this host.
    SetKeys(PrivateKey, Option<PrivateKey>, oneshot::Sender<Result<(), HostError>>),
    /// End a peer's sessions and forget its greatest timestamp.
    Reset(PeerId, oneshot::Sender<Reset>),
    /// Ask a peer for an answer, in a datagram of so many bytes of payload or of as few as it takes.
    Ping(PeerId, Option<usize>, oneshot::Sender<Result<Asked, PingError>>),
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
    /// How long answers take, smoothed.
    pub(crate) round_trip: Option<Duration>,
}

/// A ping that is on its way.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Where it went.
    pub(crate) to: SocketAddr,
    /// Bytes of the datagram's payload.
    pub(crate) size: usize,
    /// How long the answer took, once it is here. Whoever drops this does not wait any more.
    pub(crate) answer: oneshot::Receiver<Duration>,
}

/// Why a ping was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PingError {
    /// There is nothing to seal it with, or nowhere to send it.
    #[error("there is no session with it")]
    NoSession,
    /// The device that leads there carries no such datagram.
    #[error("this host's own device carries no datagram of {0} bytes")]
    TooLarge(usize),
    /// The kernel refused it.
    #[error("it could not be sent: {0}")]
    Io(#[from] io::Error),
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
    /// What does not fit between a peer's segments and this host's, in words; replaces what was said before.
    Compared(PeerId, Vec<String>),
    /// An address moved too often and stays where it was.
    Frozen(SegmentId, MacAddr, Owner),
    /// It may move again.
    Thawed(SegmentId, MacAddr),
    /// What must outlive the daemon has changed.
    Stamps(Stamps),
}
