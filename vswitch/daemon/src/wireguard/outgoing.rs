//! The sending side of an adapter's port: the adapter looks at each frame of a burst, and what goes to peers leaves by the
//! exit.

use std::{os::fd::BorrowedFd, sync::Arc};

use weft_core::DropReason;
use weft_offload::finish_checksum;
use weft_ports::{Burst, Job, Tally, Transmit, udp::Socket};
use weft_vlan::{ETHERNET_HEADER, Gso};
use weft_wireguard::{Adapter, Onward, Outbox, Peers, Refusal};

use super::{
    exit::{Exit, Leaving},
    site::{ROOM, Site, drop_reason},
};
use crate::clock;

pub(super) struct Outgoing {
    site: Arc<Site>,
    exit: Exit,
    /// Whether it counts for the port what becomes of frames that wait for a session: one queue does.
    counts_late: bool,
    /// The frames of a burst, one behind the other.
    bytes: Vec<u8>,
    leaving: Vec<Leaving>,
    outbox: Outbox,
    room: Box<[u8]>,
}

impl Outgoing {
    pub(super) fn new(site: Arc<Site>, socket: &Socket, counts_late: bool) -> Self {
        Self {
            site,
            exit: Exit::new(socket),
            counts_late,
            bytes: Vec::new(),
            leaving: Vec::new(),
            outbox: Outbox::default(),
            room: vec![0; ROOM].into_boxed_slice(),
        }
    }

    /// Has the adapter look at a frame; tells how many bytes of it were taken in if that was the end of it.
    fn look(
        &mut self,
        adapter: &mut Adapter,
        peers: &Peers,
        burst: &Burst<'_>,
        job: &Job,
    ) -> Result<Option<usize>, DropReason> {
        let offload = burst.frames()[usize::from(job.frame)].head.offload();
        let offload = offload.map_err(|_| DropReason::BadOffload)?;
        let mut reader = burst.reader(job);
        let begin = self.bytes.len();
        self.bytes.resize(begin + reader.len(), 0);
        let frame = &mut self.bytes[begin..];
        reader.read(frame);
        let largest = offload.gso.map(|gso| largest(gso, frame.len()));
        if let (Some(csum), None) = (offload.csum, offload.gso) {
            finish_checksum(frame, csum, job.tags.wire_len())
                .map_err(|_| DropReason::BadOffload)?;
        }
        let len = frame.len();
        let now = clock::elapsed();
        let onward = adapter.forward_frame(now, frame, largest, peers.allowed(), &mut self.outbox);
        match onward {
            Ok(Onward::Peer(peer, packet)) => {
                let frame = begin..begin + ETHERNET_HEADER + packet;
                self.leaving.push(Leaving {
                    from: None,
                    peer,
                    frame,
                    gso: offload.gso,
                    refused: None,
                });
                Ok(None)
            }
            // What a switch floods is for others mostly: not listening is no drop.
            Ok(_) | Err(Refusal::NotForUs | Refusal::NotServed) => Ok(Some(len)),
            Err(refusal) => {
                self.site.counts.bump(refusal.as_str());
                Err(drop_reason(refusal))
            }
        }
    }
}

impl Transmit for Outgoing {
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        let site = self.site.clone();
        let peers = site.server.peers();
        let mut adapter = site.adapter();
        for job in jobs {
            match self.look(&mut adapter, &peers, burst, job) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    tally.frames += 1;
                    tally.bytes += bytes as u64;
                }
                Err(reason) => tally.lost(job, reason),
            }
        }
        drop(adapter);
        self.exit.send(&site, &peers, &self.bytes, &mut self.leaving, tally);
        for lost in self.leaving.iter().filter(|frame| frame.refused == Some(Refusal::NoEndpoint)) {
            let frame = &self.bytes[lost.frame.clone()];
            site.adapter().peer_unreachable(clock::elapsed(), frame, &mut self.outbox);
        }
        site.send(&peers, &mut self.outbox, &mut self.room, |reason| {
            tally.drops.push((reason, 1));
        });
        self.leaving.clear();
        self.bytes.clear();
    }

    fn flush(&mut self, tally: &mut Tally) {
        self.site.take_late(tally);
    }

    fn close(&mut self, tally: &mut Tally) {
        self.site.take_late(tally);
    }

    fn backlog(&self) -> Option<BorrowedFd<'_>> {
        self.counts_late.then(|| self.site.belated())
    }
}

/// Returns the bytes of the longest packet that a super-frame is cut into.
fn largest(gso: Gso, len: usize) -> usize {
    let headers = usize::from(gso.header_len);
    (headers + usize::from(gso.size)).min(len) - ETHERNET_HEADER.min(headers)
}
