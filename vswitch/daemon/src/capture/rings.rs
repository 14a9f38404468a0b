//! The workers' rings from the other end: records of all of them in the order of their times.

use std::sync::Arc;

use rtrb::Consumer;
use weft_capture::Way;
use weft_core::PortId;

use super::{
    record::{self, About},
    tap::Lost,
};

/// Bytes that are taken out of a ring at a time.
const PIECE: usize = 256 << 10;

/// The rings of all workers.
#[derive(Default)]
pub(super) struct Rings {
    rings: Vec<Ring>,
}

struct Ring {
    from: Consumer<u8>,
    lost: Arc<Lost>,
    /// What was taken out.
    bytes: Vec<u8>,
    /// How much of it was read.
    read: usize,
}

impl Rings {
    pub(super) fn add(&mut self, from: Consumer<u8>, lost: Arc<Lost>) {
        self.rings.push(Ring { from, lost, bytes: Vec::new(), read: 0 });
    }

    /// Takes out what waits, a piece of each ring at most; tells whether more waits.
    pub(super) fn fill(&mut self) -> bool {
        let mut more = false;
        for ring in &mut self.rings {
            more |= ring.fill();
        }
        more
    }

    /// Returns the earliest record of those that were taken out.
    pub(super) fn next(&mut self) -> Option<(About, &[u8])> {
        let ring = self
            .rings
            .iter_mut()
            .filter_map(|ring| Some((ring.time()?, ring)))
            .min_by_key(|&(time, _)| time)?
            .1;
        ring.next()
    }

    /// Returns how many of a port's frames found no room.
    pub(super) fn lost(&self, port: PortId, way: Way) -> u64 {
        self.rings.iter().map(|ring| ring.lost.of(port, way)).sum()
    }

    /// Returns how many frames found no room.
    pub(super) fn lost_in_all(&self) -> u64 {
        self.rings.iter().map(|ring| ring.lost.sum()).sum()
    }
}

impl Ring {
    fn fill(&mut self) -> bool {
        self.bytes.drain(..self.read);
        self.read = 0;
        let waiting = self.from.slots();
        if let Ok(chunk) = self.from.read_chunk(waiting.min(PIECE)) {
            let (first, second) = chunk.as_slices();
            self.bytes.extend_from_slice(first);
            self.bytes.extend_from_slice(second);
            chunk.commit_all();
        }
        waiting > PIECE
    }

    /// Returns when the next record was written, if all of it is there.
    fn time(&self) -> Option<u64> {
        let rest = &self.bytes[self.read..];
        let len = record::len(rest)?;
        if len > rest.len() { None } else { record::time(rest) }
    }

    fn next(&mut self) -> Option<(About, &[u8])> {
        let len = record::len(&self.bytes[self.read..])?;
        let record = self.bytes.get(self.read..self.read + len)?;
        self.read += len;
        record::read(record)
    }
}
