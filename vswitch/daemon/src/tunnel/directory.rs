//! What workers know of the peers: the session that opens a record, the session and address that a peer is sent to
//! with, the segments that it may carry. Written by the keeper and the control plane, read without a lock.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use weft_core::PortId;
use weft_overlay::SegmentId;
use weft_vlan::VlanId;
use weft_vpn::{BundleIds, PathMtu, PeerId, Reassembly, Session};

use super::counts::Counts;

/// Who opens which record.
#[derive(Default)]
pub(crate) struct Directory {
    sessions: ArcSwap<HashMap<u32, Arc<Receiving>>>,
    addresses: ArcSwap<HashSet<SocketAddr>>,
}

/// A session that opens records, and whose it is.
pub(crate) struct Receiving {
    pub(super) session: Arc<Session>,
    pub(super) peer: Arc<Peer>,
}

impl Directory {
    /// Returns the sessions by the index that records carry.
    pub(super) fn sessions(&self) -> Guard<Arc<HashMap<u32, Arc<Receiving>>>> {
        self.sessions.load()
    }

    /// Tells whether a peer is sent to there.
    pub(super) fn is_a_peers(&self, address: SocketAddr) -> bool {
        self.addresses.load().contains(&address)
    }

    /// Replaces the addresses that peers are sent to.
    pub(super) fn set_addresses(&self, addresses: HashSet<SocketAddr>) {
        self.addresses.store(Arc::new(addresses));
    }

    /// Adds a session. The keeper alone writes.
    pub(super) fn enter(&self, session: Arc<Session>, peer: Arc<Peer>) {
        let mut sessions = HashMap::clone(&self.sessions.load());
        sessions.insert(session.index(), Arc::new(Receiving { session, peer }));
        self.sessions.store(Arc::new(sessions));
    }

    /// Lets go of a session.
    pub(super) fn leave(&self, index: u32) {
        let mut sessions = HashMap::clone(&self.sessions.load());
        sessions.remove(&index);
        self.sessions.store(Arc::new(sessions));
    }
}

/// How a peer is sent to.
pub(crate) struct Way {
    pub(crate) session: Arc<Session>,
    pub(crate) address: SocketAddr,
}

/// The segments that a peer may carry, both ways.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    inwards: HashMap<SegmentId, (PortId, VlanId)>,
    outwards: HashMap<(PortId, VlanId), SegmentId>,
}

impl FromIterator<(SegmentId, PortId, VlanId)> for Carried {
    fn from_iter<I: IntoIterator<Item = (SegmentId, PortId, VlanId)>>(segments: I) -> Self {
        let mut carried = Self::default();
        for (segment, port, vlan) in segments {
            carried.inwards.insert(segment, (port, vlan));
            carried.outwards.insert((port, vlan), segment);
        }
        carried
    }
}

impl Carried {
    /// Returns the port that frames of a segment come from, and what the segment is called here.
    pub(super) fn place_of(&self, segment: SegmentId) -> Option<(PortId, VlanId)> {
        self.inwards.get(&segment).copied()
    }

    /// Returns the segment of frames that leave by a port.
    pub(super) fn segment_of(&self, port: PortId, vlan: VlanId) -> Option<SegmentId> {
        self.outwards.get(&(port, vlan)).copied()
    }
}

/// What the workers, the keeper and the control plane share of one peer.
pub(crate) struct Peer {
    id: PeerId,
    way: ArcSwapOption<Way>,
    /// Bytes of a datagram's payload that the path carries.
    path: AtomicU16,
    /// Bytes of the largest record with frames, since the keeper asked last.
    largest_sent: AtomicU16,
    carried: ArcSwap<Carried>,
    pub(super) bundles: BundleIds,
    reassembly: Mutex<Reassembly>,
    /// Set once a frame found no session, until the keeper has heard of it.
    wanted: AtomicBool,
    /// What was refused of this peer's.
    pub(crate) counts: Counts,
}

impl Peer {
    /// Makes a peer that cannot be sent to yet; `first_bundle` should be random.
    pub(crate) fn new(id: PeerId, first_bundle: u32) -> Self {
        Self {
            id,
            way: ArcSwapOption::empty(),
            path: AtomicU16::new(PathMtu::BASE),
            largest_sent: AtomicU16::new(0),
            carried: ArcSwap::default(),
            bundles: BundleIds::beginning_at(first_bundle),
            reassembly: Mutex::default(),
            wanted: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    /// Returns its number.
    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    /// Returns how it is sent to, when it can be.
    pub(crate) fn way(&self) -> Guard<Option<Arc<Way>>> {
        self.way.load()
    }

    pub(super) fn set_way(&self, way: Option<Way>) {
        self.way.store(way.map(Arc::new));
    }

    /// Takes the way away: nobody is sending by it any more when this returns.
    pub(super) fn close_way(&self) {
        // Who has loaded it holds a reference of its own after the swap, for as long as a burst takes.
        let way = self.way.swap(None);
        while way.as_ref().is_some_and(|way| Arc::strong_count(way) > 1) {
            std::thread::yield_now();
        }
    }

    /// Returns the bytes of a datagram's payload that the path carries.
    pub(super) fn path(&self) -> u16 {
        self.path.load(Relaxed)
    }

    pub(super) fn set_path(&self, bytes: u16) {
        self.path.store(bytes, Relaxed);
    }

    /// Notes that a record of so many bytes was sent to it.
    pub(super) fn sent(&self, bytes: u16) {
        // Seldom more than was noted already, so that workers do not write to one line for each burst.
        if bytes > self.largest_sent.load(Relaxed) {
            self.largest_sent.fetch_max(bytes, Relaxed);
        }
    }

    /// Returns the bytes of the largest record since this was asked last.
    pub(super) fn take_largest_sent(&self) -> u16 {
        self.largest_sent.swap(0, Relaxed)
    }

    pub(super) fn carried(&self) -> Guard<Arc<Carried>> {
        self.carried.load()
    }

    /// Changes the segments that it may carry.
    pub(crate) fn carry(&self, carried: Carried) {
        self.carried.store(Arc::new(carried));
    }

    pub(super) fn reassembly(&self) -> MutexGuard<'_, Reassembly> {
        self.reassembly.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that there is something to send and no session; tells whether that is news.
    pub(super) fn want(&self) -> bool {
        !self.wanted.swap(true, Relaxed)
    }

    pub(super) fn heard_wanted(&self) {
        self.wanted.store(false, Relaxed);
    }
}
