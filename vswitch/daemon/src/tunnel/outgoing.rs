//! The sending side of a tunnel's port: frames of a burst become records, sealed where they are laid out. A record
//! carries one frame, or the small ones of a burst that belong together; what is larger than the path is cut where it
//! may be, and travels in fragments where not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use weft_core::{DropReason, PortId};
use weft_offload::{
    Cut, Fit, VnetHeader,
    ecn::{self, Codepoint},
};
use weft_overlay::{
    SegmentId,
    bundle::{BUNDLE_HEADER, BundleWriter, FRAME_HEADER, FRAMES_MAX, VNET_HEADER, size_in_bundle},
};
use weft_ports::{
    Burst, Job, Reader, Tally, Transmit,
    udp::{Batch, Destination, Sender},
};
use weft_vlan::{Offload, Priority, Tags, VlanId};
use weft_vpn::{
    FRAGMENT_HEADER, Fragments, Kind, LONGEST_BUNDLE, PAYLOAD_AT, SealError, Session, payload_room,
    record_len,
};
use zerocopy::IntoBytes;

use super::{
    directory::{Carried, Peer},
    notes::Notes,
};
use crate::clock;

/// A worker's sender, which all tunnels share that it serves.
pub(crate) type SharedSender = Arc<Mutex<Sender>>;

/// One queue of a tunnel's port.
pub(crate) struct Outgoing {
    port: PortId,
    peer: Arc<Peer>,
    sender: SharedSender,
    notes: Notes,
    to: Option<Destination>,
    dscp: u8,
    /// A bundle that is larger than the path, before it is cut.
    whole: Vec<u8>,
}

impl Outgoing {
    /// Makes the queue of one worker.
    pub(crate) fn new(
        port: PortId,
        peer: Arc<Peer>,
        sender: SharedSender,
        notes: Notes,
        dscp: u8,
    ) -> Self {
        Self { port, peer, sender, notes, to: None, dscp, whole: Vec::new() }
    }
}

impl Transmit for Outgoing {
    fn send(&mut self, burst: &Burst<'_>, jobs: &[Job], tally: &mut Tally) {
        let way = self.peer.way();
        let Some(way) = way.as_deref() else {
            jobs.iter().for_each(|job| tally.lost(job, DropReason::NoSession));
            if self.peer.want() {
                self.notes.wanted(self.peer.id());
            }
            return;
        };
        let to = match &mut self.to {
            Some(to) if to.address() == way.address => to,
            to => to.insert(Destination::new(way.address, self.dscp)),
        };
        let Some(room) = payload_room(self.peer.path().into()) else { return };
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let carried = self.peer.carried();
        let mut records = Records {
            batch: sender.batch(to, tally),
            session: &way.session,
            now: clock::elapsed(),
            room,
            largest: 0,
        };
        let mut jobs = jobs.iter().map(|job| Outbound::of(burst, job, self.port, &carried));
        let mut next = jobs.next();
        while let Some(outbound) = next.take() {
            next = match outbound {
                Err(reason) => {
                    records.batch.drop_frame(reason);
                    jobs.next()
                }
                Ok(outbound) => match outbound.fit(room) {
                    Fit::Whole => records.put_whole(outbound, &mut jobs),
                    Fit::Pieces(cut) => {
                        records.put_pieces(outbound, cut);
                        jobs.next()
                    }
                    Fit::TooLarge => {
                        records.put_fragments(outbound, &self.peer, &mut self.whole);
                        jobs.next()
                    }
                },
            };
        }
        let Records { batch, largest, .. } = records;
        batch.send();
        self.peer.sent(largest as u16);
    }

    fn flush(&mut self, _: &mut Tally) {}

    fn close(&mut self, _: &mut Tally) {}

    fn backlog(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// A frame on its way out.
struct Outbound<'b> {
    segment: SegmentId,
    priority: Priority,
    offload: Offload,
    /// Bytes of payload tags in front of what the metadata counts.
    pushed: usize,
    reader: Reader<'b>,
}

/// What a job comes to.
type Prepared<'b> = Result<Outbound<'b>, DropReason>;

impl<'b> Outbound<'b> {
    fn of(burst: &'b Burst<'_>, job: &Job, port: PortId, carried: &Carried) -> Prepared<'b> {
        let tci = job.tags.vlan.ok_or(DropReason::VlanNotMember)?.tci;
        let segment = VlanId::new(tci.vid())
            .and_then(|vlan| carried.segment_of(port, vlan))
            .ok_or(DropReason::VlanNotMember)?;
        let head = &burst.frames()[usize::from(job.frame)].head;
        let offload = head.offload().map_err(|_| DropReason::BadOffload)?;
        let inner = Job { tags: Tags { vlan: None, ..job.tags }, ..*job };
        let pushed = inner.tags.wire_len();
        let reader = burst.reader(&inner);
        Ok(Self { segment, priority: tci.priority(), offload, pushed, reader })
    }

    /// How it fits into a payload of so many bytes.
    fn fit(&self, room: usize) -> Fit {
        let room = room.saturating_sub(BUNDLE_HEADER + FRAME_HEADER);
        Fit::of(self.reader.front(), self.reader.len(), self.offload, self.pushed, room)
    }

    fn mark(&self) -> Codepoint {
        ecn::of(self.reader.front())
    }

    fn vnet(&self) -> Option<[u8; VNET_HEADER]> {
        let header = VnetHeader::announce(self.offload, self.pushed);
        (self.offload != Offload::NONE).then(|| bytes_of(&header))
    }

    /// Tells whether it may share a record with others of this segment and codepoint that leave so much room.
    fn joins(&self, segment: SegmentId, mark: Codepoint, room: usize) -> bool {
        self.segment == segment
            && self.mark() == mark
            && size_in_bundle(self.reader.len(), self.vnet().as_ref()) <= room
    }

    /// Writes it into a bundle that has room for it.
    fn write(&mut self, bundle: &mut BundleWriter<'_>) {
        let vnet = self.vnet();
        if let Some(place) = bundle.push(self.reader.len(), self.priority, vnet.as_ref()) {
            self.reader.read(place);
        }
    }
}

fn bytes_of(header: &VnetHeader) -> [u8; VNET_HEADER] {
    let mut bytes = [0; VNET_HEADER];
    bytes.copy_from_slice(header.as_bytes());
    bytes
}

/// Records to one peer, in the making.
struct Records<'s> {
    batch: Batch<'s>,
    session: &'s Session,
    now: Duration,
    /// Bytes of payload that a record may have.
    room: usize,
    /// Bytes of the largest record.
    largest: usize,
}

impl Records<'_> {
    /// Sends a frame in one record, and with it those behind it that fit; returns the first that does not.
    fn put_whole<'b>(
        &mut self,
        mut frame: Outbound<'b>,
        others: &mut impl Iterator<Item = Prepared<'b>>,
    ) -> Option<Prepared<'b>> {
        let (segment, mark, room) = (frame.segment, frame.mark(), self.room);
        let mut lengths = [0; FRAMES_MAX];
        let mut count = 0;
        let payload = &mut self.batch.room(record_len(room))[PAYLOAD_AT..];
        let Some(mut bundle) = BundleWriter::new(payload, segment) else { return others.next() };
        let next = loop {
            frame.write(&mut bundle);
            lengths[count] = frame.reader.len();
            count += 1;
            match others.next() {
                Some(Ok(other))
                    if count < FRAMES_MAX
                        && other.joins(segment, mark, room - bundle.written()) =>
                {
                    frame = other;
                }
                other => break other,
            }
        };
        let written = bundle.written();
        let sent = self.seal(Kind::Bundle, written, mark);
        lengths[..count].iter().for_each(|&len| self.count(sent, len));
        next
    }

    /// Sends a super-frame as smaller ones, a record each.
    fn put_pieces(&mut self, mut frame: Outbound<'_>, mut cut: Cut) {
        let (mark, len) = (frame.mark(), frame.reader.len());
        let mut sent = Ok(());
        let mut headers_passed = false;
        while let Some(piece) = cut.next()
            && sent.is_ok()
        {
            if !headers_passed {
                frame.reader.skip(piece.headers.len());
                headers_passed = true;
            }
            let payload = &mut self.batch.room(record_len(self.room))[PAYLOAD_AT..];
            let Some(mut bundle) = BundleWriter::new(payload, frame.segment) else { return };
            let vnet = bytes_of(&piece.vnet);
            let len = piece.headers.len() + piece.payload;
            if let Some(place) = bundle.push(len, frame.priority, Some(&vnet)) {
                let (headers, payload) = place.split_at_mut(piece.headers.len());
                headers.copy_from_slice(piece.headers);
                frame.reader.read(payload);
            }
            let written = bundle.written();
            sent = self.seal(Kind::Bundle, written, mark);
        }
        self.count(sent, len);
    }

    /// Sends a frame that no record takes in fragments.
    fn put_fragments(&mut self, mut frame: Outbound<'_>, peer: &Peer, whole: &mut Vec<u8>) {
        let (mark, len) = (frame.mark(), frame.reader.len());
        let size = BUNDLE_HEADER + size_in_bundle(len, frame.vnet().as_ref());
        if size > LONGEST_BUNDLE {
            return self.batch.drop_frame(DropReason::Oversize);
        }
        whole.resize(size, 0);
        let Some(mut bundle) = BundleWriter::new(whole, frame.segment) else { return };
        frame.write(&mut bundle);
        let Ok(fragments) = Fragments::new(peer.bundles.next(), size, self.room) else {
            return self.batch.drop_frame(DropReason::Oversize);
        };
        let mut sent = Ok(());
        for fragment in fragments {
            let piece = &whole[fragment.piece];
            let written = FRAGMENT_HEADER + piece.len();
            let payload = &mut self.batch.room(record_len(written))[PAYLOAD_AT..];
            payload[..FRAGMENT_HEADER].copy_from_slice(&fragment.header);
            payload[FRAGMENT_HEADER..written].copy_from_slice(piece);
            sent = sent.and(self.seal(Kind::Fragment, written, mark));
        }
        self.count(sent, len);
    }

    /// Seals the record that was laid out.
    fn seal(&mut self, kind: Kind, written: usize, mark: Codepoint) -> Result<(), SealError> {
        let record = self.batch.room(record_len(written));
        let len = self.session.seal(self.now, kind, written, record)?;
        self.batch.commit(len, mark);
        self.largest = self.largest.max(len);
        Ok(())
    }

    fn count(&mut self, sent: Result<(), SealError>, len: usize) {
        match sent {
            Ok(()) => self.batch.frame(len),
            // The session is about to be replaced.
            Err(_) => self.batch.drop_frame(DropReason::NoSession),
        }
    }
}
