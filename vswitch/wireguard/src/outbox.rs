//! What the adapter says of its own accord: frames for the VLAN and packets for peers, in one piece of memory that is
//! used again.

use crate::PeerId;

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// An Ethernet frame for the VLAN, untagged.
    Vlan,
    /// An IP packet for a peer.
    Peer(PeerId),
}

/// Frames and packets to be sent, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Where each goes, and where it ends.
    ends: Vec<(To, usize)>,
}

impl Outbox {
    /// Adds what is written behind what is there.
    pub(crate) fn put(&mut self, to: To, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push((to, self.bytes.len()));
    }

    /// Returns what is to be sent, each with where it goes.
    pub fn iter(&self) -> impl Iterator<Item = (To, &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |&(to, end)| {
            let bytes = &self.bytes[begin..end];
            begin = end;
            (to, bytes)
        })
    }

    /// Tells whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets everything; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
