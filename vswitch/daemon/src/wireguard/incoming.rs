//! The receiving side of an adapter's port: records are opened, the adapter looks at each packet, and what goes into the VLAN
//! becomes a burst, segments of a stream super-frames again. What goes to other peers leaves by the exit.

use std::{ops::Range, os::fd::BorrowedFd, sync::Arc, time::Duration};

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
use weft_wireguard::{Adapter, Endpoint, Message, Onward, Opened, Outbox, PeerId, Peers, Refusal};

use super::{
    exit::{Exit, Leaving},
    site::{ROOM, Site, add_drops, drop_reason},
};
use crate::clock;

/// Bytes of a burst, behind which the largest record still has room.
const BUDGET: usize = 128 * 1024;
/// Frames begin at whole cache lines, so that what is behind the Ethernet header does not share one with another's end.
const LINE: usize = 64;

pub(super) struct Incoming {
    site: Arc<Site>,
    receiver: Receiver,
    exit: Exit,
    opened: Opening,
    arrived: Vec<Frame>,
    leaving: Vec<Leaving>,
    tally: Tally,
    room: Box<[u8]>,
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
            room: vec![0; ROOM].into_boxed_slice(),
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
            for lost in leaving.iter().filter(|lost| lost.refused == Some(Refusal::NoEndpoint)) {
                let Some(from) = lost.from else { continue };
                let packet = &opened.memory[lost.frame.clone()][ETHERNET_HEADER..];
                site.adapter().other_unreachable(now, from, packet, &mut opened.outbox);
            }
            leaving.clear();
            // Routed packets are no frames that the switch sent: what was dropped of them is what came in.
            let drops = tally.drops.drain(..);
            drops.for_each(|(reason, frames)| add_drops(&mut opened.drops, reason, frames));
            *tally = Tally::default();
            let Opening { outbox, drops, .. } = opened;
            site.send(&peers, outbox, room, |reason| add_drops(drops, reason, 1));
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
        let Record { bytes, from: address, own, mark } = record;
        let from = Endpoint { address, own };
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
        match self.take(now, site, peers, adapter, (id, from, bytes, mark)) {
            Ok(None) => None,
            Ok(Some(Onward::Vlan(len))) => {
                let place = begin..begin + ETHERNET_HEADER + len;
                let vnet = undo_checksum(&mut self.memory[place.clone()]);
                self.used = place.end.next_multiple_of(LINE);
                Some(Brought::Frame(Frame { place, vnet }))
            }
            Ok(Some(Onward::Peer(peer, len))) => {
                let frame = begin..begin + ETHERNET_HEADER + len;
                self.used = frame.end.next_multiple_of(LINE);
                Some(Brought::Packet(Leaving {
                    from: Some(id),
                    peer,
                    frame,
                    gso: None,
                    refused: None,
                }))
            }
            Ok(Some(Onward::Done)) => None,
            Err(refusal) => {
                site.count(id, refusal, 1);
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
        (id, from, record, mark): (PeerId, Endpoint, &[u8], Codepoint),
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
        let onward = match carry_mark(frame, mark) {
            Ok(()) => adapter.forward_packet(now, id, frame, peers.allowed(), &mut self.outbox),
            // What it may not send at all is refused as that.
            Err(congested) => adapter
                .check_source(id, &frame[ETHERNET_HEADER..], peers.allowed())
                .and(Err(congested)),
        };
        onward.map(Some).inspect_err(|refusal| {
            add_drops(&mut self.drops, drop_reason(*refusal), 1);
        })
    }
}

/// Carries what stands in the outer header into a packet behind room for an Ethernet header, wherever it goes on to.
fn carry_mark(frame: &mut [u8], mark: Codepoint) -> Result<(), Refusal> {
    if mark == Codepoint::NotEct {
        return Ok(());
    }
    let is_ipv6 = frame.get(ETHERNET_HEADER).is_some_and(|first| first >> 4 == 6);
    let ethertype: [u8; 2] = if is_ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    frame[ETHERNET_HEADER - 2..ETHERNET_HEADER].copy_from_slice(&ethertype);
    ecn::leave(frame, mark).map_err(|_| Refusal::Congested)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_carried_into_packets_of_both_families_wherever_they_go() {
        use Codepoint::{Ce, Ect0, Ect1, NotEct};
        #[rustfmt::skip]
        let table = [
            (NotEct, NotEct, Ok(NotEct)), (NotEct, Ect0, Ok(NotEct)), (NotEct, Ce, Err(Refusal::Congested)),
            (Ect0, NotEct, Ok(Ect0)),     (Ect0, Ect1, Ok(Ect1)),     (Ect0, Ce, Ok(Ce)),
            (Ect1, Ect0, Ok(Ect1)),       (Ect1, Ce, Ok(Ce)),         (Ce, NotEct, Ok(Ce)),
        ];
        for (inner, outer, expected) in table {
            let ipv4 = [&[0x45, inner.bits()][..], &[0; 18]].concat();
            let ipv6 = [&[0x60, inner.bits() << 4][..], &[0; 38]].concat();
            for packet in [ipv4, ipv6] {
                // What an earlier packet left in the room.
                let mut frame = [&[0xee; ETHERNET_HEADER][..], &packet].concat();
                let carried = carry_mark(&mut frame, outer);
                let seen = carried.map(|()| ecn::of(&frame));
                let unmarked = frame[ETHERNET_HEADER..] == packet;
                assert!(seen == expected || outer == NotEct && unmarked, "{inner:?} {outer:?}");
            }
        }
    }

    #[test]
    fn nothing_is_too_short_to_bear_a_mark() {
        for len in ETHERNET_HEADER..ETHERNET_HEADER + 45 {
            for version in [0x45, 0x60] {
                let _ = carry_mark(&mut vec![version; len], Codepoint::Ce);
            }
        }
    }
}
