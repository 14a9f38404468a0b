//! The receiving side of an adapter's port: records are opened, the adapter looks at each packet, and what goes into the VLAN
//! becomes a burst, segments of a stream super-frames again. What goes to other peers leaves by the exit.

use std::{net::SocketAddr, ops::Range, os::fd::BorrowedFd, sync::Arc, time::Duration};

use weft_core::DropReason;
use weft_offload::{
    VnetHeader,
    ecn::{self, Codepoint},
    undo_checksum,
};
use weft_ports::{
    BURST, Burst, Fault, Receive, Scratch, Tally,
    udp::{LARGEST, Receiver, Record, Socket},
};
use weft_vlan::ETHERNET_HEADER;
use weft_wireguard::{Adapter, Message, Onward, Opened, Outbox, PeerId, Peers, Refusal};

use super::{
    exit::{Exit, Leaving},
    site::{Site, drop_reason},
};
use crate::clock;

/// Bytes of a burst, behind which the largest record still has room.
const BUDGET: usize = 128 * 1024;
/// Frames begin at whole cache lines, so that what is behind the Ethernet header does not share one with another's end.
const LINE: usize = 64;
/// Room for a record of the adapter's own.
const ROOM: usize = 2048;

pub(super) struct Incoming {
    site: Arc<Site>,
    receiver: Receiver,
    exit: Exit,
    opened: Opening,
    arrived: Vec<Frame>,
    leaving: Vec<Leaving>,
    tally: Tally,
    room: Box<[u8; ROOM]>,
}

/// Packets that were opened, each behind room for an Ethernet header.
struct Opening {
    memory: Box<[u8]>,
    used: usize,
    outbox: Outbox,
    /// Frames that were refused, by reason.
    drops: Vec<(DropReason, u64)>,
}

/// A frame for the VLAN.
struct Frame {
    place: Range<usize>,
    vnet: Option<VnetHeader>,
}

/// Where a packet goes.
enum Brought {
    Frame(Frame),
    Packet(Leaving),
}

impl Incoming {
    pub(super) fn new(site: Arc<Site>, socket: &Socket) -> Self {
        let memory = vec![0; BUDGET + LARGEST + 2 * LINE].into_boxed_slice();
        Self {
            site,
            receiver: socket.receiver(),
            exit: Exit::new(socket),
            opened: Opening { memory, used: 0, outbox: Outbox::default(), drops: Vec::new() },
            arrived: Vec::with_capacity(BURST),
            leaving: Vec::new(),
            tally: Tally::default(),
            room: Box::new([0; ROOM]),
        }
    }
}

impl Receive for Incoming {
    fn fd(&self) -> BorrowedFd<'_> {
        self.receiver.fd()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        let Self { site, receiver, exit, opened, arrived, leaving, tally, room } = self;
        arrived.clear();
        opened.used = 0;
        // An error of one datagram's way is no end: the socket goes on.
        let came = receiver.fill().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot receive from clients");
            false
        });
        if came {
            let peers = site.server.peers();
            let mut adapter = site.adapter();
            let now = clock::elapsed();
            let mut records = receiver.records();
            while arrived.len() + leaving.len() < 4 * BURST && opened.used < BUDGET {
                let Some(record) = records.next() else { break };
                match opened.open(now, site, &peers, &mut adapter, record) {
                    Some(Brought::Frame(frame)) => arrived.push(frame),
                    Some(Brought::Packet(packet)) => leaving.push(packet),
                    None => {}
                }
            }
            drop(adapter);
            exit.send(site, &peers, &opened.memory, leaving, tally);
            leaving.clear();
            // Routed packets are no frames of the port's: what was refused is counted with the peers.
            *tally = Tally::default();
            site.send(&peers, &mut opened.outbox, &mut room[..]);
        }
        let mut builder = scratch.builder();
        for (reason, frames) in opened.drops.drain(..) {
            builder.refuse(reason, frames);
        }
        for frame in arrived.iter() {
            builder.push(&opened.memory[frame.place.clone()], None, frame.vnet.as_ref());
        }
        Ok(builder.finish())
    }

    fn holds_more(&self) -> bool {
        self.receiver.holds_more()
    }
}

impl Opening {
    /// Opens a record, if it is one; says where its packet goes.
    fn open(
        &mut self,
        now: Duration,
        site: &Site,
        peers: &Peers,
        adapter: &mut Adapter,
        record: Record<'_>,
    ) -> Option<Brought> {
        let Record { bytes, from, mark } = record;
        let id = match Message::of(bytes) {
            Ok(Message::Record(id)) => id,
            Ok(Message::Handshake) => {
                site.handshake(from, bytes);
                return None;
            }
            Err(refusal) => {
                site.counts.bump(refusal.as_str());
                return None;
            }
        };
        let begin = self.used;
        match self.take(now, site, peers, adapter, (id, from, bytes)) {
            Ok(None) => None,
            Ok(Some(Onward::Vlan(len))) => {
                let frame = &mut self.memory[begin..begin + ETHERNET_HEADER + len];
                if mark == Codepoint::Ce && ecn::leave(frame, mark).is_err() {
                    return None;
                }
                let vnet = undo_checksum(frame);
                let place = begin..begin + ETHERNET_HEADER + len;
                self.used = place.end.next_multiple_of(LINE);
                Some(Brought::Frame(Frame { place, vnet }))
            }
            Ok(Some(Onward::Peer(peer, len))) => {
                let frame = begin..begin + ETHERNET_HEADER + len;
                self.used = frame.end.next_multiple_of(LINE);
                Some(Brought::Packet(Leaving { peer, frame, gso: None, refused: None }))
            }
            Ok(Some(Onward::Done)) => None,
            Err(refusal) => {
                site.count(id, refusal);
                None
            }
        }
    }

    /// Opens a peer's record and has the adapter look at what was in it.
    fn take(
        &mut self,
        now: Duration,
        site: &Site,
        peers: &Peers,
        adapter: &mut Adapter,
        (id, from, record): (PeerId, SocketAddr, &[u8]),
    ) -> Result<Option<Onward>, Refusal> {
        let Some(peer) = peers.get(id) else {
            site.counts.bump(Refusal::NoSession.as_str());
            return Ok(None);
        };
        let (_, room) = self.memory.split_at_mut(self.used);
        let arrived = peer.open(from, record, &mut room[ETHERNET_HEADER..])?;
        if arrived.came {
            site.came(id);
        }
        let Opened::Packet(len) = arrived.opened else { return Ok(None) };
        let frame = &mut room[..ETHERNET_HEADER + len];
        let onward = adapter.forward_packet(now, id, frame, peers.allowed(), &mut self.outbox);
        onward.map(Some).inspect_err(|refusal| {
            let reason = drop_reason(*refusal);
            match self.drops.iter_mut().find(|(counted, _)| *counted == reason) {
                Some((_, frames)) => *frames += 1,
                None => self.drops.push((reason, 1)),
            }
        })
    }
}
