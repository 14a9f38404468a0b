//! The way out to peers: packets that the adapter has let through are sealed where they are sent from, those of one peer that
//! follow each other together. A super-frame is cut here, once.

use std::{collections::HashMap, ops::Range};

use weft_offload::{Segments, ecn::Codepoint};
use weft_ports::{
    Tally,
    udp::{Batch, Destination, Sender, Socket},
};
use weft_vlan::{ETHERNET_HEADER, Gso};
use weft_wireguard::{
    Endpoint, LONGEST_MESSAGE, Peer, PeerId, Peers, RECORD_OVERHEAD, Refusal, Sealed,
};

use super::site::{Site, drop_reason};

/// A frame whose packet goes to a peer.
pub(super) struct Leaving {
    /// Whose packet it is, unless the VLAN's.
    pub(super) from: Option<PeerId>,
    pub(super) peer: PeerId,
    /// Where the frame is, of which the packet is all behind the Ethernet header.
    pub(super) frame: Range<usize>,
    /// How it is to be cut.
    pub(super) gso: Option<Gso>,
    /// What became of it.
    pub(super) refused: Option<Refusal>,
}

/// Seals and sends. Belongs to one queue.
pub(super) struct Exit {
    sender: Sender,
    destinations: HashMap<PeerId, Destination>,
    segment: Vec<u8>,
}

impl Exit {
    pub(super) fn new(socket: &Socket) -> Self {
        Self { sender: socket.sender(), destinations: HashMap::new(), segment: Vec::new() }
    }

    /// Sends frames, in order. Which of them were refused is noted with them.
    pub(super) fn send(
        &mut self,
        site: &Site,
        peers: &Peers,
        bytes: &[u8],
        leaving: &mut [Leaving],
        tally: &mut Tally,
    ) {
        for run in leaving.chunk_by_mut(|a, b| a.peer == b.peer) {
            let id = run[0].peer;
            let peer = peers.get(id);
            let Some((peer, endpoint)) = peer.and_then(|peer| Some((peer, peer.endpoint()?)))
            else {
                run.iter_mut().for_each(|frame| frame.refused = Some(Refusal::NoEndpoint));
                let frames = run.len() as u64;
                tally.drops.push((drop_reason(Refusal::NoEndpoint), frames));
                site.count(id, Refusal::NoEndpoint, frames);
                continue;
            };
            // One for each peer that was ever sent to; forgotten when there are more than peers.
            if self.destinations.len() > peers.all().len() {
                self.destinations.retain(|id, _| peers.get(*id).is_some());
            }
            let Endpoint { address, own } = endpoint;
            let to = self.destinations.entry(id).or_insert_with(|| Destination::new(address, 0));
            if to.address() != address {
                to.move_to(address);
            }
            to.leave_from(own);
            let mut way = Way { peer, batch: self.sender.batch(to, tally), waits: 0 };
            for frame in run {
                let whole = &bytes[frame.frame.clone()];
                let waited = way.waits;
                let sent = match frame.gso {
                    None => way.put(&whole[ETHERNET_HEADER..]),
                    Some(gso) => way.put_pieces(whole, gso, &mut self.segment),
                };
                match sent {
                    Ok(()) if way.waits == waited => way.batch.frame(whole.len()),
                    // It counts when it is sent.
                    Ok(()) => {}
                    Err(refusal) => {
                        way.batch.drop_frame(drop_reason(refusal));
                        site.count(id, refusal, 1);
                        frame.refused = Some(refusal);
                    }
                }
            }
            let Way { batch, waits, .. } = way;
            batch.send();
            if waits > 0 {
                site.wanted(id);
                site.count_lost(peer, tally);
            }
        }
    }
}

/// What goes to one peer.
struct Way<'s> {
    peer: &'s Peer,
    batch: Batch<'s>,
    /// Packets that wait for a session.
    waits: u64,
}

impl Way<'_> {
    fn put(&mut self, packet: &[u8]) -> Result<(), Refusal> {
        let room = self.batch.room((packet.len() + RECORD_OVERHEAD).max(LONGEST_MESSAGE));
        match self.peer.seal(packet, room)? {
            // No congestion mark outside: not every client would carry it in.
            Sealed::Record(len, _) => self.batch.commit(len, Codepoint::NotEct),
            Sealed::Waits => self.waits += 1,
        }
        Ok(())
    }

    fn put_pieces(&mut self, frame: &[u8], gso: Gso, segment: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut segments = Segments::new(frame, gso, 0).map_err(|_| Refusal::Malformed)?;
        loop {
            segment.clear();
            if segments.next_into(segment).is_none() {
                return Ok(());
            }
            self.put(&segment[ETHERNET_HEADER..])?;
        }
    }
}
