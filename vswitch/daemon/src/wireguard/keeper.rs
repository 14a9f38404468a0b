//! The keeper of an adapter: one thread that makes handshakes and keeps the time, of its peers and of its neighbours.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use weft_ports::{Tally, udp::Socket};
use weft_vlan::ETHERNET_HEADER;
use weft_wireguard::{Adapter, Endpoint, Outbox, Peer, PeerId, RECORD_OVERHEAD, Refusal, Server};

use super::site::{Caller, ROOM, Site, drop_reason};
use crate::clock;

/// How often the timers of peers and neighbours are looked at.
const TICK: Duration = Duration::from_millis(250);

/// What the keeper is told.
pub(super) enum Note {
    /// A message of a handshake came.
    Handshake(Caller, Endpoint, Vec<u8>),
    /// There are packets for a peer and no session.
    Wanted(PeerId),
    /// A peer has a session where it had none.
    Came(PeerId),
    /// The adapter is there: the VLAN wants to know.
    Announce,
    /// A peer is to be called, whether there is anything to say or not.
    Call(PeerId),
    /// End.
    Stop,
}

/// The keeper as the control plane sees it.
pub(crate) struct Keeper {
    site: Arc<Site>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread of an adapter that sends by this socket.
    ///
    /// # Errors
    /// When the system has none.
    pub(crate) fn start(server: Server, adapter: Adapter, socket: Socket) -> io::Result<Self> {
        let (notes, told) = channel();
        let site = Arc::new(Site::new(server, adapter, socket, notes)?);
        let office = Office { site: site.clone(), outbox: Outbox::default(), room: vec![0; ROOM] };
        let name = "weft-wireguard".into();
        let thread = Builder::new().name(name).spawn(move || office.run(&told))?;
        Ok(Self { site, thread: Some(thread) })
    }

    /// Returns what it shares with the queues.
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Tells the VLAN that the adapter is there.
    pub(crate) fn announce(&self) {
        self.site.tell(Note::Announce);
    }

    /// Calls a peer, whether there is anything to say or not.
    pub(crate) fn call(&self, peer: PeerId) {
        self.site.tell(Note::Call(peer));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.site.tell(Note::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Office {
    site: Arc<Site>,
    outbox: Outbox,
    room: Vec<u8>,
}

impl Office {
    fn run(mut self, told: &Receiver<Note>) {
        let mut due = clock::elapsed() + TICK;
        loop {
            let note = told.recv_timeout(due.saturating_sub(clock::elapsed())).ok();
            if let Some(note) = note {
                self.site.heard(&note);
                if matches!(note, Note::Stop) {
                    return;
                }
                self.hear(note);
            }
            let now = clock::elapsed();
            if now >= due {
                due = now + TICK;
                self.tick(now);
            }
        }
    }

    fn hear(&mut self, note: Note) {
        match note {
            Note::Handshake(_, from, message) => self.handshake(from, &message),
            Note::Wanted(id) | Note::Call(id) => {
                let peers = self.site.server.peers();
                if let Some((len, to)) =
                    peers.get(id).and_then(|peer| peer.initiate(&mut self.room))
                {
                    let _ = self.site.send_to(&self.room[..len], to);
                }
            }
            Note::Came(id) => {
                let peers = self.site.server.peers();
                if let Some(peer) = peers.get(id) {
                    self.came(&peer.clone());
                }
            }
            Note::Announce => {
                self.site.adapter().announce(&mut self.outbox);
                self.send();
            }
            Note::Stop => {}
        }
    }

    fn handshake(&mut self, from: Endpoint, message: &[u8]) {
        let now = clock::elapsed();
        match self.site.server.handshake(now, from, message, &mut self.room) {
            Ok(handled) => {
                if handled.reply > 0 {
                    let _ = self.site.send_to(&self.room[..handled.reply], from);
                }
                if let Some(peer) = handled.came {
                    self.came(&peer);
                }
            }
            Err(refusal) => {
                self.site.counts.bump(refusal.as_str());
                if refusal == Refusal::UnknownPeer {
                    tracing::debug!(from = %from.address, "a handshake of an unknown key");
                }
            }
        }
    }

    /// A peer has a session: what waited for it goes, and the VLAN hears where its addresses are.
    fn came(&mut self, peer: &Peer) {
        let site = self.site.clone();
        let mut sent = Tally::default();
        peer.flush(&mut self.room, |record, to| match site.send_to(record, to) {
            Ok(()) => {
                sent.frames += 1;
                sent.bytes += (ETHERNET_HEADER + record.len() - RECORD_OVERHEAD) as u64;
            }
            Err(refusal) => {
                site.count(peer.id(), refusal, 1);
                sent.drops.push((drop_reason(refusal), 1));
            }
        });
        site.count_late(peer, sent);
        let peers = site.server.peers();
        let allowed = peer.allowed();
        site.adapter().announce_peer(allowed.iter(), peers.allowed(), &mut self.outbox);
        drop(peers);
        self.send();
    }

    fn tick(&mut self, now: Duration) {
        let peers = self.site.server.peers();
        self.site.server.tick();
        let mut addresses = HashSet::with_capacity(peers.all().len());
        for peer in peers.all() {
            if let Some((len, to)) = peer.tick(now, &mut self.room) {
                let _ = self.site.send_to(&self.room[..len], to);
            }
            self.site.count_late(peer, Tally::default());
            addresses.extend(peer.endpoint().map(|endpoint| endpoint.address));
        }
        self.site.set_addresses(addresses);
        drop(peers);
        let lost = {
            let mut adapter = self.site.adapter();
            adapter.tick(now, &mut self.outbox);
            adapter.take_lost()
        };
        self.site.count_unresolved(lost);
        self.send();
    }

    fn send(&mut self) {
        let peers = self.site.server.peers();
        // Nothing of it was sent by anybody else.
        self.site.send(&peers, &mut self.outbox, &mut self.room, |_| {});
    }
}
