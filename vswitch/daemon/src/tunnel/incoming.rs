//! The receiving side of all tunnels of a worker: records are opened where they lie, and the frames in them become
//! bursts of the ports that they come from. Only the local `segments` of a peer say what it may bring.

use std::{io, os::fd::BorrowedFd, sync::Arc, time::Duration};

use weft_core::PortId;
use weft_offload::{
    VnetHeader,
    ecn::{self, Codepoint},
};
use weft_overlay::bundle::{self, Bundle, Frame};
use weft_ports::{
    Builder, Burst, Scratch,
    udp::{Receiver, Record, Records},
};
use weft_vlan::{Tci, Tpid, VlanId, WireTag};
use weft_vpn::{Kind, Reassembled, record_index};
use zerocopy::FromBytes;

use super::{
    directory::{Directory, Peer, Receiving},
    notes::{Caller, Notes},
};
use crate::clock;

/// What a worker receives of all tunnels.
pub(crate) struct Incoming {
    receiver: Receiver,
    directory: Arc<Directory>,
    notes: Notes,
}

/// Where a bundle's frames come from.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    port: PortId,
    vlan: VlanId,
}

/// What a record brought.
enum Brought<'b> {
    Bundle(Place, Bundle<'b>, Unwelcome),
    /// A bundle that came in fragments.
    Whole(Arc<Peer>, Reassembled, Codepoint),
}

/// The frames of a bundle that are dropped, a bit each.
type Unwelcome = u64;
const _: () = assert!(bundle::FRAMES_MAX <= Unwelcome::BITS as usize);

impl Incoming {
    /// Makes the receiving side of one worker.
    pub(crate) fn new(receiver: Receiver, directory: Arc<Directory>, notes: Notes) -> Self {
        Self { receiver, directory, notes }
    }

    /// Returns the descriptor that becomes readable when records wait.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.receiver.fd()
    }

    /// Takes the records that wait and hands out bursts with the ports that they come from; tells whether there were
    /// any.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn serve(
        &mut self,
        scratch: &mut Scratch,
        mut deliver: impl FnMut(PortId, &Burst<'_>),
    ) -> io::Result<bool> {
        if !self.receiver.fill()? {
            return Ok(false);
        }
        let sessions = self.directory.sessions();
        let mut opening = Opening {
            records: self.receiver.records(),
            find: |index| sessions.get(&index),
            directory: &self.directory,
            notes: &self.notes,
            now: clock::elapsed(),
        };
        let mut next = opening.next();
        while let Some(brought) = next.take() {
            let mut builder = scratch.builder();
            match brought {
                Brought::Bundle(place, bundle, unwelcome) => {
                    push(&mut builder, place, &bundle, unwelcome);
                    // Frames of one port share a burst, and segments of a stream become one super-frame again.
                    next = opening.next();
                    while let Some(Brought::Bundle(other, bundle, unwelcome)) = &next
                        && other.port == place.port
                        && !builder.is_full()
                    {
                        push(&mut builder, *other, bundle, *unwelcome);
                        next = opening.next();
                    }
                    deliver(place.port, &builder.finish());
                }
                Brought::Whole(peer, mut whole, mark) => {
                    if let Some((place, bundle, unwelcome)) = judge(&peer, &mut whole, mark) {
                        push(&mut builder, place, &bundle, unwelcome);
                        deliver(place.port, &builder.finish());
                    }
                    peer.reassembly().recycle(whole);
                    next = opening.next();
                }
            }
        }
        Ok(true)
    }
}

/// Opens records one by one.
struct Opening<'b, 'n, F> {
    records: Records<'b>,
    find: F,
    directory: &'n Directory,
    notes: &'n Notes,
    now: Duration,
}

impl<'b, 's, F: Fn(u32) -> Option<&'s Arc<Receiving>>> Opening<'b, '_, F> {
    /// Goes on to the next record that brings frames.
    fn next(&mut self) -> Option<Brought<'b>> {
        loop {
            let record = self.records.next()?;
            if let Some(brought) = self.open(record) {
                return Some(brought);
            }
        }
    }

    fn open(&self, record: Record<'b>) -> Option<Brought<'b>> {
        let Record { bytes, from, mark, .. } = record;
        let Some(index) = record_index(bytes) else {
            let caller =
                if self.directory.is_a_peers(from) { Caller::Peer } else { Caller::Stranger };
            self.notes.handshake(caller, from, bytes);
            return None;
        };
        let Some(Receiving { session, peer }) = (self.find)(index).map(AsRef::as_ref) else {
            self.notes.stray();
            return None;
        };
        let opened = match session.open(self.now, bytes) {
            Ok(opened) => opened,
            Err(error) => {
                peer.counts.bump(error.as_str());
                return None;
            }
        };
        if opened.first {
            self.notes.confirmed(index, from);
        } else if opened.newest && peer.way().as_ref().is_some_and(|way| way.address != from) {
            self.notes.roamed(peer, from);
        }
        let size = bytes.len();
        let payload = &mut bytes[opened.payload];
        match opened.kind {
            Kind::Empty => None,
            Kind::Bundle => {
                let (place, bundle, unwelcome) = judge(peer, payload, mark)?;
                Some(Brought::Bundle(place, bundle, unwelcome))
            }
            Kind::Fragment => {
                let inserted = peer.reassembly().insert(self.now, payload, bit(mark));
                match inserted {
                    Ok(whole) => {
                        let whole = whole?;
                        // Congestion of one fragment is the whole bundle's: RFC 3168 §5.3.
                        let is_marked = whole.marks() & bit(Codepoint::Ce) != 0;
                        let mark = if is_marked { Codepoint::Ce } else { mark };
                        Some(Brought::Whole(peer.clone(), whole, mark))
                    }
                    Err(error) => {
                        peer.counts.bump(error.as_str());
                        None
                    }
                }
            }
            Kind::Control => {
                self.notes.control(peer, size, payload);
                None
            }
            Kind::Overlay => {
                self.notes.overlay(peer, payload);
                None
            }
            Kind::Other(_) => {
                peer.counts.bump("unknown-kind");
                None
            }
        }
    }
}

fn bit(mark: Codepoint) -> u8 {
    1 << mark as u8
}

/// Reads a bundle and says where its frames come from, if its peer may bring them; carries the outer header's congestion
/// mark into them.
fn judge<'b>(
    peer: &Peer,
    payload: &'b mut [u8],
    mark: Codepoint,
) -> Option<(Place, Bundle<'b>, Unwelcome)> {
    let unwelcome = match mark {
        Codepoint::Ce | Codepoint::Ect1 => carry_mark(payload, mark),
        Codepoint::NotEct | Codepoint::Ect0 => 0,
    };
    let bundle = match bundle::frames(payload) {
        Ok(bundle) => bundle,
        Err(error) => {
            peer.counts.bump(error.as_str());
            return None;
        }
    };
    let Some((port, vlan)) = peer.carried().place_of(bundle.segment()) else {
        peer.counts.add("foreign-segment", bundle.count() as u64);
        return None;
    };
    if unwelcome != 0 {
        peer.counts.add("congestion", unwelcome.count_ones().into());
    }
    Some((Place { port, vlan }, bundle, unwelcome))
}

/// Carries the mark into each frame; returns those that must be dropped for it.
fn carry_mark(payload: &mut [u8], mark: Codepoint) -> Unwelcome {
    let begin = payload.as_ptr().addr();
    let mut places = [(0, 0); bundle::FRAMES_MAX];
    let mut count = 0;
    for frame in bundle::frames(payload).iter().flat_map(Bundle::iter) {
        places[count] = (frame.bytes.as_ptr().addr() - begin, frame.bytes.len());
        count += 1;
    }
    let mut unwelcome = 0;
    for (position, &(at, len)) in places[..count].iter().enumerate() {
        if ecn::leave(&mut payload[at..at + len], mark).is_err() {
            unwelcome |= 1 << position;
        }
    }
    unwelcome
}

/// Adds the frames of a checked bundle to a burst.
fn push<'b>(builder: &mut Builder<'b>, place: Place, bundle: &Bundle<'b>, unwelcome: Unwelcome) {
    for (position, frame) in bundle.iter().enumerate() {
        if unwelcome & 1 << position != 0 {
            continue;
        }
        let Frame { priority, vnet, bytes } = frame;
        let tag = WireTag::new(Tpid::Dot1Q, Tci::new(place.vlan, priority));
        let vnet = vnet.and_then(|bytes| VnetHeader::read_from_bytes(bytes).ok());
        builder.push(bytes, Some(tag), vnet.as_ref());
    }
}
